package pages

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

// fields returns a form as a browser sends it.
func fields(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

// authenticator returns the code that an app shows now (RFC 6238).
func authenticator(t *testing.T, secret string) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fff_ffff%1_000_000)
}

// begun begins a second factor, and returns the secret on the page.
func (b *browser) begun(form string) string {
	b.t.Helper()
	w := b.post(secondFactorPath+"/begin", form)
	secret := regexp.MustCompile(`<code class="secret">([A-Z2-7]{32})</code>`).FindStringSubmatch(w.Body.String())
	if w.Code != http.StatusOK || secret == nil || !strings.Contains(w.Body.String(), `src="data:image/png;base64,`) {
		b.t.Fatalf("begin: %d: %s", w.Code, mainText(w))
	}
	return secret[1]
}

// TestSecondFactorPage turns the second factor on, makes it anew and turns it off.
func TestSecondFactorPage(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(anna)
	state := func() auth.SecondFactor {
		s, err := r.archive.SecondFactor(t.Context(), r.address(anna))
		r.must(err)
		return s.SecondFactor
	}
	refused := func(path, form, says string) {
		t.Helper()
		w := b.post(secondFactorPath+path, form)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(mainText(w), says) || !strings.Contains(mainText(w), `aria-describedby="trouble"`) && path != "/confirm" {
			t.Errorf("%s %s: %d: %s", path, form, w.Code, mainText(w))
		}
	}
	if page := mainText(b.get(secondFactorPath)); !strings.Contains(page, "Adesso non è attivo") || strings.Contains(page, "second-factor/end") || !strings.Contains(page, home+"access") {
		t.Errorf("off: %s", page)
	}
	refused("/confirm", "code=123456", "Ricominciare")
	secret := b.begun("")
	if state().On {
		t.Error("on before it is confirmed")
	}
	refused("/confirm", "code=000000", "La chiave è già nell&#39;app")
	elsewhere := r.signedIn(anna)
	w := b.post(secondFactorPath+"/confirm", "code="+authenticator(t, secret))
	codes := regexp.MustCompile(`<li><code>([a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4})</code>`).FindAllStringSubmatch(w.Body.String(), -1)
	if w.Code != http.StatusOK || len(codes) != 10 || !state().On {
		t.Fatalf("confirm: %d: %s", w.Code, mainText(w))
	}
	if page := mainText(b.get(secondFactorPath)); !strings.Contains(page, "Attivo dal") || strings.Contains(page, codes[0][1]) || strings.Contains(page, secret) {
		t.Errorf("on: %s", page)
	}
	if w := elsewhere.get(home); w.Code != http.StatusSeeOther {
		t.Errorf("who has signed in elsewhere without a code stays in: %d", w.Code)
	}
	refused("/begin", "", "sbagliato")
	refused("/begin", "code=000000", "sbagliato")
	refused("/end", "code="+authenticator(t, secret), "sbagliato") // used already
	if other := b.begun(fields("code", codes[0][1])); other == secret {
		t.Error("the new key is the old one")
	}
	if w := b.post(secondFactorPath+"/end", fields("code", codes[1][1])); w.Code != http.StatusSeeOther || state().On {
		t.Errorf("end: %d: %s", w.Code, mainText(w))
	}
}

// TestSecondFactorRequired holds who must turn it on to that page, until it is on.
func TestSecondFactorRequired(t *testing.T) {
	r := newRigWith(t, rigOptions{secondFactor: true})
	for _, login := range []string{anna, "postmaster@alpha.test"} {
		b := r.signedIn(login)
		for _, path := range []string{"/", home, home + "settings"} {
			if w := b.get(path); w.Code != http.StatusSeeOther || w.Header().Get("Location") != secondFactorPath {
				t.Errorf("%s, %s: %d, to %q", login, path, w.Code, w.Header().Get("Location"))
			}
		}
		if w := b.post(home+"settings/language", "language=en"); w.Header().Get("Location") != secondFactorPath || r.setting(anna, "language") != "it" {
			t.Errorf("%s changes a setting: %d", login, w.Code)
		}
		page := b.get(secondFactorPath).Body.String()
		if !strings.Contains(page, "Il dominio lo richiede") || strings.Contains(page, `href="/mailbox/`) || strings.Contains(page, `href="/domain/`) {
			t.Errorf("%s: %s", login, page)
		}
		w := b.post(secondFactorPath+"/confirm", "code="+authenticator(t, b.begun("")))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `<a class="button" href="/">`) {
			t.Fatalf("%s: %d: %s", login, w.Code, mainText(w))
		}
		if w := b.get("/"); w.Header().Get("Location") == secondFactorPath {
			t.Errorf("%s is still held to the page", login)
		}
	}
}

// TestAppPasswords makes and revokes app passwords.
func TestAppPasswords(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(anna)
	w := b.post(home+"app-passwords", fields("name", " Thunderbird <casa> "))
	shown := regexp.MustCompile(`<code class="secret">([a-z2-9-]{34})</code>`).FindStringSubmatch(w.Body.String())
	if w.Code != http.StatusOK || shown == nil || !strings.Contains(mainText(w), "Thunderbird &lt;casa&gt;") || !strings.Contains(mainText(w), "data-copy") {
		t.Fatalf("%d: %s", w.Code, mainText(w))
	}
	if !strings.Contains(mainText(w), "Può attivarlo il postmaster") {
		t.Errorf("access by program is off, and the page does not say so: %s", mainText(w))
	}
	try := auth.Attempt{Login: anna, Password: shown[1], Protocol: auth.ProtocolIMAP}
	r.set("imap=on")
	if _, err := r.auth.Login(t.Context(), try); err != nil {
		t.Errorf("signing in by it: %v", err)
	}
	for name, wrong := range map[string]string{"empty": "", "there already": "Thunderbird <casa>", "too long": strings.Repeat("x", 61), "control": "a\x07"} {
		w := b.post(home+"app-passwords", fields("name", wrong))
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(mainText(w), "nome breve") {
			t.Errorf("%s: %d: %s", name, w.Code, mainText(w))
		}
	}
	page := mainText(b.get(home + "app-passwords"))
	if strings.Contains(page, shown[1]) || !strings.Contains(page, "Thunderbird &lt;casa&gt;") {
		t.Errorf("the list: %s", page)
	}
	// A postmaster sees and ends them, and makes none.
	p := r.signedIn("postmaster@alpha.test")
	if page := mainText(p.get(home + "app-passwords")); strings.Contains(page, `id="name"`) || !strings.Contains(page, "Thunderbird") {
		t.Errorf("for the postmaster: %s", page)
	}
	if w := p.post(home+"app-passwords/revoke", fields("name", "nothing")); w.Code != http.StatusNotFound {
		t.Errorf("revoking none: %d", w.Code)
	}
	if w := b.post(home+"app-passwords/revoke", fields("name", "Thunderbird <casa>")); w.Code != http.StatusSeeOther {
		t.Errorf("revoking: %d", w.Code)
	}
	if _, err := r.auth.Login(t.Context(), try); !errors.Is(err, auth.ErrDenied) {
		t.Errorf("signing in by a revoked one: %v", err)
	}
}

// TestDelegatesPage lets people read and ends that, as owner and as postmaster.
func TestDelegatesPage(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(anna)
	day := func(years, days int) string {
		return time.Now().In(r.zone()).AddDate(years, 0, days).Format(time.DateOnly)
	}
	for _, c := range []struct {
		name, person, until string
		status              int
		says                string
	}{
		{"no person", "", day(0, 7), 422, "l&#39;indirizzo per intero"},
		{"a name", "bruno", day(0, 7), 422, `value="bruno"`},
		{"no day", "bruno@alpha.test", "", 422, "Scrivere un giorno, come"},
		{"no such day", "bruno@alpha.test", "2027-02-30", 422, `value="2027-02-30"`},
		{"past", "bruno@alpha.test", day(0, -2), 422, "non è passato"},
		{"too far", "bruno@alpha.test", day(6, 0), 422, "cinque anni"},
		{"oneself", anna, day(0, 7), 422, "un&#39;altra persona"},
		{"today", "carla@beta.test", day(0, 0), 303, ""},
		{"a week", "bruno@alpha.test", day(0, 7), 303, ""},
	} {
		w := b.post(home+"delegates", fields("person", c.person, "until", c.until))
		if w.Code != c.status || !strings.Contains(mainText(w), c.says) {
			t.Errorf("%s: %d: %s", c.name, w.Code, mainText(w))
		}
	}
	list, err := r.archive.Delegates(t.Context(), r.address(anna))
	r.must(err)
	if len(list) != 2 || !list[1].Until.Equal(midnight(t, day(0, 8), r.zone())) {
		t.Fatalf("%+v", list)
	}
	page := mainText(b.get(home + "delegates"))
	for _, text := range []string{"bruno@alpha.test", "carla@beta.test", "titolare anna@alpha.test", dayText(policy.Italian, r.zone(), midnight(t, day(0, 7), r.zone()))} {
		if !strings.Contains(page, text) {
			t.Errorf("the list lacks %q: %s", text, page)
		}
	}
	if w := r.signedIn("bruno@alpha.test").get(home); w.Code != http.StatusOK {
		t.Errorf("the delegate: %d", w.Code)
	}
	for person, status := range map[string]int{"bruno@alpha.test": 303, "nobody@alpha.test": 404, "": 400} {
		if w := b.post(home+"delegates/revoke", fields("person", person)); w.Code != status {
			t.Errorf("revoking %q: %d: %s", person, w.Code, mainText(w))
		}
	}
	if w := r.signedIn("bruno@alpha.test").get(home); w.Code != http.StatusForbidden {
		t.Errorf("no delegate any more: %d", w.Code)
	}
	p := r.signedIn("postmaster@alpha.test")
	if w := p.post(home+"delegates", fields("person", "bruno@alpha.test", "until", day(0, 7))); w.Code != http.StatusSeeOther {
		t.Errorf("the postmaster asks: %d", w.Code)
	}
	if page := mainText(b.get(home + "delegates")); !strings.Contains(page, "in attesa del gestore") || !strings.Contains(page, "postmaster postmaster@alpha.test") {
		t.Errorf("a request, to the owner: %s", page)
	}
	if page := mainText(p.get(home + "delegates")); !strings.Contains(page, "Servono due persone") {
		t.Errorf("a request, to the postmaster: %s", page)
	}
}

// midnight returns the beginning of a day.
func midnight(t *testing.T, day string, zone *time.Location) time.Time {
	t.Helper()
	at, err := time.ParseInLocation(time.DateOnly, day, zone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// offered is what a provider offers: the archive by IMAP, the mailbox by both protocols.
func offered(t *testing.T) *setup.Guide {
	t.Helper()
	endpoint := func(text string) setup.Endpoint {
		e, err := setup.ParseEndpoint(text)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	return setup.NewGuide(setup.Config{PublicURL: "https://archivio.alpha.test", Domains: map[string]setup.Domain{"alpha.test": {
		Mailbox: setup.Servers{IMAP: endpoint("imap.alpha.test:993"), POP3: endpoint("pop.alpha.test:110"), SMTP: endpoint("smtp.alpha.test:587")},
		Archive: setup.Servers{IMAP: endpoint("archivio.alpha.test:993"), SMTP: endpoint("archivio.alpha.test:465")},
	}}})
}

// TestPrograms shows the parameters of each choice, and makes a link for a telephone.
func TestPrograms(t *testing.T) {
	r := newRigWith(t, rigOptions{guide: offered(t)})
	b := r.signedIn(anna)
	for _, c := range []struct {
		query  string
		status int
		says   []string
	}{
		{"", 200, []string{"<code>archivio.alpha.test</code>", "<code>993</code>", "<code>465</code>", `data-copy="archivio.alpha.test"`, `id="account-archive" name="account" value="archive" checked`,
			"Può attivarlo il postmaster", "programs/profile?account=archive&amp;incoming=imap", "una password per programmi"}},
		{"?account=mailbox&incoming=pop3", 200, []string{"<code>pop.alpha.test</code>", "<code>110</code>", "STARTTLS", "<code>smtp.alpha.test</code>"}},
		{"?account=mailbox", 200, []string{"<code>imap.alpha.test</code>"}},
		{"?account=archive&incoming=pop3", 200, []string{"provare l&#39;altra"}},
		{"?account=all", 400, []string{"Non è possibile"}},
		{"?account=mailbox&incoming=jmap", 400, []string{"Non è possibile"}},
	} {
		w := b.get(home + "programs" + c.query)
		if w.Code != c.status {
			t.Errorf("%q: %d", c.query, w.Code)
		}
		for _, text := range c.says {
			if !strings.Contains(mainText(w), text) {
				t.Errorf("%q does not say %q: %s", c.query, text, mainText(w))
			}
		}
	}
	w := b.post(home+"programs/link", "account=mailbox&incoming=imap")
	link := regexp.MustCompile(`https://archivio\.alpha\.test(/set-up/[\w-]+)`).FindStringSubmatch(mainText(w))
	if w.Code != http.StatusOK || link == nil || !strings.Contains(mainText(w), `src="data:image/png;base64,`) {
		t.Fatalf("the link: %d: %s", w.Code, mainText(w))
	}
	if s, err := r.archive.SetUpByLink(t.Context(), strings.TrimPrefix(link[1], "/set-up/")); err != nil || s.Account != setup.AccountMailbox {
		t.Errorf("the link is for %+v, %v", s, err)
	}
	if page := mainText(b.get(home + "log")); !strings.Contains(page, "Codice per configurare un dispositivo") {
		t.Errorf("the link is not on record: %s", page)
	}
	if w := b.post(home+"programs/link", "account=archive&incoming=pop3"); w.Code != http.StatusBadRequest {
		t.Errorf("a link for what is not offered: %d", w.Code)
	}
	w = b.get(home + "programs/profile?account=archive&incoming=imap")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != setup.ProfileType || !strings.Contains(w.Header().Get("Content-Disposition"), "attachment") ||
		!strings.Contains(w.Body.String(), "archivio.alpha.test") {
		t.Errorf("the profile: %d: %v: %s", w.Code, w.Header(), w.Body)
	}
	if w := b.get(home + "programs/profile?account=archive&incoming=pop3"); w.Code != http.StatusNotFound {
		t.Errorf("the profile of what is not offered: %d", w.Code)
	}
	if page := mainText(newRig(t).signedIn(anna).get(home + "programs")); !strings.Contains(page, "chiedere al postmaster") {
		t.Errorf("where nothing is offered: %s", page)
	}
}

// TestTerms holds the page of terms to the settings.
func TestTerms(t *testing.T) {
	r := newRig(t)
	r.set("retention=24", "quota=5GB", "when_full=defer", "filter=receipts")
	_, err := r.archive.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: anna}, r.address(anna), r.address("bruno@alpha.test"), time.Date(2028, 3, 1, 0, 0, 0, 0, r.zone()))
	r.must(err)
	b := r.signedIn(anna)
	page := mainText(b.get(home + "terms"))
	for _, text := range []string{
		"solo da quando l&#39;archivio è attivo", "alias, liste, inoltri", "24 mesi dall&#39;arrivo", "5 GB", "fa attendere la posta", "solo le ricevute", "bruno@alpha.test fino al 29 febbraio 2028",
		home + "gaps", "non si possono aggiungere",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the terms do not say %q: %s", text, page)
		}
	}
	r.set("language=en", "retention=none", "append=on")
	page = mainText(b.get(home + "terms"))
	for _, text := range []string{"only from when the archive is on", "<dd>no limit</dd>", "stay told apart"} {
		if !strings.Contains(page, text) {
			t.Errorf("the terms do not say %q: %s", text, page)
		}
	}
}
