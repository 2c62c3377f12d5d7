package pages

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

const home = "/mailbox/anna@alpha.test/"

// journaled journals a message of a mailbox.
func (r *rig) journaled(mailbox string, d journal.Direction) {
	r.t.Helper()
	draft := r.journal.NewDraft(r.t.Context())
	defer draft.Discard()
	r.filed++
	fmt.Fprintf(draft, "Subject: %d\r\n\r\nText\r\n", r.filed)
	_, err := draft.Commit(r.t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: mailbox, Direction: d}}, nil)
	r.must(err)
}

// mainText returns what a page says: all that is in its main element.
func mainText(w *httptest.ResponseRecorder) string {
	_, text, _ := strings.Cut(w.Body.String(), `<main id="main" tabindex="-1">`)
	text, _, _ = strings.Cut(text, "</main>")
	return text
}

// setting returns the value of a setting of a mailbox.
func (r *rig) setting(mailbox, key string) string {
	r.t.Helper()
	m, err := r.archive.Mailbox(r.t.Context(), operator, r.address(mailbox))
	r.must(err)
	return valueOf(&m, key)
}

// set changes settings of anna, as the operator.
func (r *rig) set(assignments ...string) {
	r.t.Helper()
	var list []policy.Assignment
	for _, text := range assignments {
		one, err := policy.ParseAssignment(text)
		r.must(err)
		list = append(list, one)
	}
	_, err := r.archive.Set(r.t.Context(), operator, r.address("anna@alpha.test"), list)
	r.must(err)
}

// allRights are all that an owner can be given.
func allRights() []string { return policy.OwnerKeys() }

// TestSaveSettings sends each form of the settings: it changes the setting, or says what is wrong, keeps what was typed, and changes nothing.
func TestSaveSettings(t *testing.T) {
	for _, c := range []struct {
		name, form, values string
		key, want          string
		status             int
		says               []string // the page
	}{
		{"a preset", "filter", "filter=receipts&class=other", "filter", "acceptance,delivery", 303, nil},
		{"chosen classes", "filter", "filter=choose&class=certified&class=sent-other", "filter", "certified,sent-other", 303, nil},
		{"classes unticked below a preset that stays", "filter", "filter=all&class=certified&class=acceptance", "filter", "certified,acceptance", 303, nil},
		{"a preset that stays as it is", "filter", "filter=all&class=certified&class=other&class=acceptance&class=delivery&class=sent-certified&class=sent-other", "filter", "all", 303, nil},
		{"no class", "filter", "filter=choose", "filter", "all", 422, []string{"Scegliere almeno un tipo", `id="set-filter-choose" name="filter" value="choose" checked`}},
		{"a class that there is not", "filter", "filter=choose&class=nothing", "filter", "all", 422, []string{"Scegliere almeno un tipo"}},
		{"room as people write it", "room", "quota=5+GB&when_full=defer", "quota", "5GB", 303, nil},
		{"no limit of room", "room", "quota=senza+limite", "quota", "none", 303, nil},
		{"room without a unit", "room", "quota=5&when_full=defer", "quota", "1GB", 422, []string{"numero intero maggiore di zero", `value="5"`, `value="defer" checked`}},
		{"a wrong choice beside a right one", "room", "quota=5GB&when_full=explode", "quota", "1GB", 422, []string{"Scegliere uno dei valori", `value="5GB"`}},
		{"a switch on", "manual_delete", "manual_delete=on", "manual_delete", "on", 303, nil},
		{"a switch off", "append", "", "append", "off", 303, nil},
		{"access by program", "imap", "imap=on", "imap", "on", 303, nil},
		{"write mode is confirmed first", "write", "write=on", "write", "off", 200, []string{"Prima di salvare", `name="confirmed" value="yes"`, `name="write" value="on"`}},
		{"write mode, confirmed", "write", "write=on&confirmed=yes", "write", "on", 303, nil},
		{"less retention is confirmed first", "retention", "retention=12", "retention", "none", 200, []string{"Adesso non ce n", `name="retention" value="12"`, home + "zip"}},
		{"less retention, confirmed", "retention", "retention=12&confirmed=yes", "retention", "12", 303, nil},
		{"a retention that there is not", "retention", "retention=7", "retention", "none", 422, []string{"Scegliere uno dei valori"}},
		{"making room is confirmed first", "room", "quota=1GB&when_full=make-room", "when_full", "skip", 200, []string{"i più vecchi"}},
		{"folders", "layout", "layout=type", "layout", "type", 303, nil},
		{"protocols", "protocols", "protocols=imap&protocols=smtp", "protocols", "imap,smtp", 303, nil},
		{"no protocol", "protocols", "", "protocols", "none", 303, nil},
		{"events", "notify_on", "notify_on=gap&notify_on=security", "notify_on", "gap,security", 303, nil},
		{"language", "language", "language=en", "language", "en", 303, nil},
		{"a wrong address", "notify", "notify=bruno", "notify_pending", "none", 422, []string{"un solo indirizzo", `value="bruno"`}},
		{"the mailbox itself", "notify", "notify=anna@alpha.test", "notify_pending", "none", 422, []string{"un solo indirizzo"}},
		{"no such form", "hold", "hold=off", "hold", "off", 404, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRigWith(t, rigOptions{owner: allRights()})
			b := r.signedIn("anna@alpha.test")
			w := b.post(home+"settings/"+c.form, c.values)
			if w.Code != c.status {
				t.Fatalf("%d: %s", w.Code, mainText(w))
			}
			if got := r.setting("anna@alpha.test", c.key); got != c.want {
				t.Errorf("%s is %q, want %q", c.key, got, c.want)
			}
			for _, text := range c.says {
				if !strings.Contains(mainText(w), text) {
					t.Errorf("the page does not say %q: %s", text, mainText(w))
				}
			}
			if c.status != http.StatusSeeOther {
				return
			}
			next := w.Header().Get("Location")
			if want := home + "settings?saved=" + c.form + "#form-" + c.form; next != want {
				t.Errorf("leads to %q, want %q", next, want)
			}
			path, _, _ := strings.Cut(next, "#")
			if page := mainText(b.get(path)); !strings.Contains(page, "Salvato.") && !strings.Contains(page, "Saved.") {
				t.Errorf("the page does not say that it is saved: %s", page)
			}
		})
	}
}

// TestSettingsOfOthers tries the forms as people who may not use them, and what the page shows them.
func TestSettingsOfOthers(t *testing.T) {
	r := newRig(t)
	_, err := r.archive.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, r.address("anna@alpha.test"), r.address("bruno@alpha.test"), time.Now().AddDate(0, 1, 0))
	r.must(err)
	for _, c := range []struct {
		who, path, form string
		status          int
	}{
		{"anna@alpha.test", "settings/language", "language=it", 303},
		{"anna@alpha.test", "settings/retention", "retention=6&confirmed=yes", 403},
		{"anna@alpha.test", "settings/filter", "filter=receipts", 403},
		{"anna@alpha.test", "settings/write", "write=on&confirmed=yes", 403},
		{"anna@alpha.test", "archive/pause", "", 403},
		{"anna@alpha.test", "archive/disable", "confirm=anna@alpha.test", 403},
		{"bruno@alpha.test", "settings/language", "language=en", 403},
		{"bruno@alpha.test", "app-passwords", "name=x", 403},
		{"bruno@alpha.test", "delegates", "person=bruno@alpha.test&until=2099-01-01", 403},
		{"carla@beta.test", "settings/language", "language=en", 403},
		{"postmaster@beta.test", "settings/language", "language=en", 403},
		{"postmaster@alpha.test", "settings/language", "language=it", 303},
		{"postmaster@alpha.test", "app-passwords", "name=x", 403},
	} {
		if w := r.signedIn(c.who).post(home+c.path, c.form); w.Code != c.status {
			t.Errorf("%s, %s: %d: %s", c.who, c.path, w.Code, mainText(w))
		}
	}
	page := mainText(r.signedIn("anna@alpha.test").get(home + "settings"))
	for _, text := range []string{"Questo lo cambia il postmaster", "spetta al postmaster", "<dt>Periodo di conservazione</dt><dd>senza limite</dd>", `action="/mailbox/anna@alpha.test/settings/language"`} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q: %s", text, page)
		}
	}
	for _, text := range []string{"settings/retention", "archive/pause", "archive/disable"} {
		if strings.Contains(page, text) {
			t.Errorf("the page offers %q", text)
		}
	}
	for _, path := range []string{"settings", "log", "terms", "delegates", "app-passwords", "programs"} {
		if w := r.signedIn("bruno@alpha.test").get(home + path); w.Code != http.StatusForbidden {
			t.Errorf("a delegate sees %s: %d", path, w.Code)
		}
	}
}

// TestArchiveSwitch turns the archive off and on from the pages.
func TestArchiveSwitch(t *testing.T) {
	r := newRigWith(t, rigOptions{owner: allRights()})
	b := r.signedIn("anna@alpha.test")
	for range 3 {
		r.journaled("anna@alpha.test", journal.Received)
	}
	state := func() string {
		m, err := r.archive.Mailbox(t.Context(), operator, r.address("anna@alpha.test"))
		r.must(err)
		return strings.TrimSpace(m.Archive + " " + m.Erasure)
	}
	for _, c := range []struct {
		path, form string
		status     int
		says       string
		state      string
	}{
		{"archive/pause", "", 303, "", "paused"},
		{"archive/resume", "", 303, "", "on"},
		{"archive/disable", "confirm=anna", 422, "scrivere anna@alpha.test", "on"},
		{"archive/disable", "", 422, "scrivere anna@alpha.test", "on"},
		{"archive/disable", "confirm=+anna@alpha.test+", 303, "", "off due"},
		{"archive/restore", "", 303, "", "on"},
		{"archive/disable", "confirm=anna@alpha.test", 303, "", "off due"},
		{"archive/enable", "", 303, "", "on"},
	} {
		w := b.post(home+c.path, c.form)
		if w.Code != c.status || !strings.Contains(mainText(w), c.says) || state() != c.state {
			t.Errorf("%s %s: %d, %s: %s", c.path, c.form, w.Code, state(), mainText(w))
		}
		if next := w.Header().Get("Location"); next != "" {
			if w := b.get(next); w.Code != http.StatusOK || !strings.Contains(mainText(w), `class="note done"`) {
				t.Errorf("%s: after it %d: %s", c.path, w.Code, mainText(w))
			}
		}
	}
	page := mainText(b.get(home + "archive/disable"))
	for _, text := range []string{"<strong>3 messaggi</strong>", monthText(policy.Italian, time.Now().In(r.zone()).Format("2006-01")), home + "zip", "dopo il"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page that asks does not say %q: %s", text, page)
		}
	}
	_, err := r.archive.HoldMailbox(t.Context(), operator, r.address("anna@alpha.test"), "causa 12")
	r.must(err)
	if page := mainText(b.get(home + "archive/disable")); strings.Contains(page, `name="confirm"`) || !strings.Contains(page, "blocco legale") {
		t.Errorf("under a hold the page asks: %s", page)
	}
	if w := b.post(home+"archive/disable", "confirm=anna@alpha.test"); w.Code != http.StatusConflict || state() != "on" {
		t.Errorf("disabled under a hold: %d, %s", w.Code, state())
	}
}

// TestLimits sets more than the operator lets the domain have.
func TestLimits(t *testing.T) {
	r := newRigWith(t, rigOptions{owner: allRights(), limits: policy.Limits{Archives: 1, Quota: 2e9, Retention: 24}, defaults: []policy.Assignment{{Key: "retention", Value: "12"}}})
	b := r.signedIn(anna)
	for path, says := range map[string]string{
		"settings/room?quota=3GB": "al massimo 2,0 GB per casella", "settings/retention?retention=36": "al massimo 24 mesi", "settings/room?quota=none": "al massimo 2,0 GB",
	} {
		path, form, _ := strings.Cut(path, "?")
		w := b.post(home+path, form)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(mainText(w), says) || r.setting(anna, "quota") != "1GB" || r.setting(anna, "retention") != "12" {
			t.Errorf("%s: %d: %s", form, w.Code, mainText(w))
		}
	}
	w := r.signedIn("bruno@alpha.test").post("/mailbox/bruno@alpha.test/archive/enable", "")
	if w.Code != http.StatusConflict || !strings.Contains(mainText(w), "un limite di archivi") {
		t.Errorf("one archive too many: %d: %s", w.Code, mainText(w))
	}
}

// TestFirstEnable turns an archive on that never was, and shows what is archived from then on.
func TestFirstEnable(t *testing.T) {
	r := newRigWith(t, rigOptions{owner: allRights()})
	const mine = "/mailbox/bruno@alpha.test/"
	b := r.signedIn("bruno@alpha.test")
	if page := mainText(b.get(mine + "settings")); !strings.Contains(page, mine+"archive/enable") || strings.Contains(page, "archive/disable") {
		t.Errorf("off: %s", page)
	}
	if w := b.get(mine + "archive/disable"); w.Code != http.StatusSeeOther {
		t.Errorf("disabling what is off: %d", w.Code)
	}
	w := b.post(mine+"archive/enable", "")
	if page := mainText(b.get(w.Header().Get("Location"))); !strings.Contains(page, "L&#39;archivio è attivo.") || !strings.Contains(page, "solo da quando") {
		t.Errorf("to %q: %s", w.Header().Get("Location"), page)
	}
	if page := mainText(b.get(mine)); !strings.Contains(page, "attivo dal") {
		t.Errorf("on: %s", page)
	}
}

// TestRetentionNumbers holds the warning before a shorter retention to what it would delete.
func TestRetentionNumbers(t *testing.T) {
	then := time.Now().AddDate(0, -8, 0)
	now := then
	r := newRigWith(t, rigOptions{owner: allRights(), now: func() time.Time { return now }})
	for range 2 {
		r.journaled("anna@alpha.test", journal.Received)
	}
	now = time.Now()
	r.journaled("anna@alpha.test", journal.Received)
	b := r.signedIn("anna@alpha.test")
	page := mainText(b.post(home+"settings/retention", "retention=6"))
	byMonth := fmt.Sprintf(`<td>%s</td><td class="number">2</td>`, monthText(policy.Italian, string(kv.MonthOf(then))))
	if !strings.Contains(page, "più vecchi di 6 mesi: adesso sono 2,") || !strings.Contains(page, byMonth) {
		t.Errorf("the page says %s", page)
	}
	day := func(at time.Time) template.HTML {
		return timeElement(at, dayText(policy.Italian, zoneOf(httptest.NewRequest(http.MethodGet, "/", nil)), at))
	}
	if page := mainText(b.get(home + "archive/disable")); !strings.Contains(page, fmt.Sprintf("il più vecchio è del %s, il più nuovo del %s.", day(then), day(now))) {
		t.Errorf("switching the archive off would lose %s", page)
	}
	r.set("retention=6")
	if w := b.post(home+"settings/retention", "retention=12"); w.Code != http.StatusSeeOther {
		t.Errorf("a longer retention must be confirmed: %d", w.Code)
	}
}

// TestNotifyAddress enters an address for notices, and confirms it by the code that is sent there.
func TestNotifyAddress(t *testing.T) {
	r := newRigWith(t, rigOptions{tells: true})
	b := r.signedIn("anna@alpha.test")
	if w := b.post(home+"notify/confirm", "code=AAAAA-AAAAA"); w.Code != http.StatusUnprocessableEntity || !strings.Contains(mainText(w), "non si può più confermare") {
		t.Errorf("a code for nothing: %d: %s", w.Code, mainText(w))
	}
	if w := b.post(home+"settings/notify", "notify=anna@elsewhere.test"); w.Code != http.StatusSeeOther {
		t.Fatalf("%d: %s", w.Code, mainText(w))
	}
	if page := mainText(b.get(home + "settings")); !strings.Contains(page, "<strong>anna@elsewhere.test</strong>") || !strings.Contains(page, `name="code"`) {
		t.Errorf("the page asks for no code: %s", page)
	}
	if page := mainText(b.get(home)); !strings.Contains(page, "non è ancora confermato") {
		t.Errorf("the first page does not say so: %s", page)
	}
	w := b.post(home+"settings/notify", "notify=anna@elsewhere.test")
	if path, _, _ := strings.Cut(w.Header().Get("Location"), "#"); !strings.Contains(mainText(b.get(path)), "dieci minuti dopo") {
		t.Errorf("asked for another code at once, to %q", w.Header().Get("Location"))
	}
	var sent string
	r.must(r.notices.Deliver(t.Context(), time.Now(), func(_ context.Context, _, _ string, mail []byte) error {
		sent += string(mail)
		return nil
	}))
	code := regexp.MustCompile(`[2-9A-Z]{5}-[2-9A-Z]{5}`).FindString(sent)
	if code == "" {
		t.Fatalf("no code in %s", sent)
	}
	for _, wrong := range []string{"", "AAAAA-AAAAA"} {
		w := b.post(home+"notify/confirm", "code="+wrong)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(mainText(w), `id="trouble-code"`) || r.setting("anna@alpha.test", "notify") != "none" {
			t.Errorf("code %q: %d: %s", wrong, w.Code, mainText(w))
		}
	}
	if w := b.post(home+"notify/confirm", "code="+strings.ToLower(code)); w.Code != http.StatusSeeOther {
		t.Errorf("%d: %s", w.Code, mainText(w))
	}
	if got := r.setting("anna@alpha.test", "notify"); got != "anna@elsewhere.test" {
		t.Errorf("notices go to %q", got)
	}
	if w := b.post(home+"settings/notify", "notify="); w.Code != http.StatusSeeOther || r.setting("anna@alpha.test", "notify") != "none" {
		t.Errorf("taking it away: %d", w.Code)
	}
}

// TestHomeOf shows the first page to the owner in several states, and to a delegate.
func TestHomeOf(t *testing.T) {
	who := policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}
	for _, c := range []struct {
		name    string
		prepare func(r *rig)
		login   string
		says    []string
		silent  []string
	}{
		{"empty", func(*rig) {}, "anna@alpha.test",
			[]string{"attivo dal", "<meter", "<dd>nessuna</dd>", "Si archivia: tutti i messaggi", "Nessuno riceve gli avvisi", `role="search"`}, []string{"<table", "quasi pieno"}},
		{"filled", func(r *rig) {
			r.journaled("anna@alpha.test", journal.Received)
			r.journaled("anna@alpha.test", journal.Sent)
		}, "anna@alpha.test",
			[]string{"Messaggi: 2.", "<table", "Ultimo messaggio ricevuto</dt><dd><time", "Ultimo messaggio inviato</dt><dd><time"}, nil},
		{"nearly full", func(r *rig) { r.journaled("anna@alpha.test", journal.Received); r.set("quota=25B") }, "anna@alpha.test",
			[]string{"quasi pieno: 80%", "non viene archiviata", "(80%)"}, nil},
		{"full, and mail waits", func(r *rig) { r.journaled("anna@alpha.test", journal.Received); r.set("quota=5B", "when_full=defer") }, "anna@alpha.test",
			[]string{"L&#39;archivio è pieno.", "la posta nuova aspetta"}, nil},
		{"no quota", func(r *rig) { r.set("quota=none") }, "anna@alpha.test", []string{"senza limite di spazio"}, []string{"<meter"}},
		{"paused", func(r *rig) {
			_, err := r.archive.Pause(r.t.Context(), operator, r.address("anna@alpha.test"))
			r.must(err)
		}, "anna@alpha.test",
			[]string{"in pausa dal", `<a href="/mailbox/anna@alpha.test/gaps">1</a>`}, nil},
		{"off", func(*rig) {}, "bruno@alpha.test", []string{"non viene archiviata"}, []string{`role="search"`, "<meter"}},
		{"closing", func(r *rig) {
			_, err := r.archive.Disable(r.t.Context(), operator, r.address("anna@alpha.test"), "anna@alpha.test", false)
			r.must(err)
		}, "anna@alpha.test", []string{"sarà cancellato con tutto il suo contenuto"}, []string{`role="search"`}},
		{"held", func(r *rig) {
			_, err := r.archive.HoldMailbox(r.t.Context(), operator, r.address("anna@alpha.test"), "causa 12")
			r.must(err)
		}, "anna@alpha.test", []string{"blocco legale"}, []string{"causa 12"}},
		{"delegate", func(r *rig) {
			_, err := r.archive.AddDelegate(r.t.Context(), who, r.address("anna@alpha.test"), r.address("bruno@alpha.test"), time.Date(2028, 3, 1, 0, 0, 0, 0, r.zone()))
			r.must(err)
		}, "bruno@alpha.test", []string{"di un&#39;altra persona", "29 febbraio 2028", `role="search"`}, []string{"avvisi"}},
		{"English", func(r *rig) { r.set("language=en") }, "anna@alpha.test", []string{"The archive has been on since", "<dd>none</dd>"}, []string{"archivio"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.prepare(r)
			path := home
			if c.login == "bruno@alpha.test" && c.name == "off" {
				path = "/mailbox/bruno@alpha.test/"
			}
			w := r.signedIn(c.login).get(path)
			page := mainText(w)
			if w.Code != http.StatusOK {
				t.Fatalf("%d: %s", w.Code, page)
			}
			for _, text := range c.says {
				if !strings.Contains(page, text) {
					t.Errorf("the page does not say %q: %s", text, page)
				}
			}
			for _, text := range c.silent {
				if strings.Contains(page, text) {
					t.Errorf("the page says %q: %s", text, page)
				}
			}
		})
	}
}

// zone returns the zone of a browser that tells none.
func (r *rig) zone() *time.Location {
	r.t.Helper()
	zone, err := time.LoadLocation(defaultZone)
	r.must(err)
	return zone
}

// TestMonthBars draws the chart of more months than it shows.
func TestMonthBars(t *testing.T) {
	var months []archive.MonthUsage
	for i := range 30 {
		month := time.Date(2024, time.Month(1+i), 1, 0, 0, 0, 0, time.UTC)
		one := archive.MonthUsage{}
		r, err := kv.ParseMonth(month.Format("2006-01"))
		if err != nil {
			t.Fatal(err)
		}
		one.Month, one.Entries, one.Bytes = r, 1, uint64(100+i)
		months = append(months, one)
	}
	newest, years := monthBars(months)
	if len(newest) != shownMonths || newest[0].Month != "2026-06" || newest[0].Percent != 100 || newest[11].Month != "2025-07" {
		t.Errorf("months %+v", newest)
	}
	if want := []monthBar{{"2025", 6, 687, 687. / 1266 * 100}, {"2024", 12, 1266, 100}}; !slices.Equal(years, want) {
		t.Errorf("years %+v", years)
	}
	if newest, years := monthBars(nil); newest != nil || years != nil {
		t.Errorf("of nothing %v, %v", newest, years)
	}
}

// TestLog reads the log of a mailbox in words, and page by page.
func TestLog(t *testing.T) {
	r := newRigWith(t, rigOptions{owner: allRights()})
	b := r.signedIn("anna@alpha.test")
	for i := range 60 {
		r.set("manual_delete=" + []string{"on", "off"}[i%2])
	}
	if w := b.post(home+"settings/retention", "retention=12&confirmed=yes"); w.Code != http.StatusSeeOther {
		t.Fatalf("%d", w.Code)
	}
	_, err := r.archive.HoldMailbox(t.Context(), operator, r.address("anna@alpha.test"), "causa 12")
	r.must(err)
	page := mainText(b.get(home + "log"))
	for _, text := range []string{"titolare anna@alpha.test", "gestore root", "Periodo di conservazione", ">12 mesi<", ">sì: causa 12<", "Blocco legale"} {
		if !strings.Contains(page, text) {
			t.Errorf("the log does not say %q: %s", text, page)
		}
	}
	if n := strings.Count(page, "<tr>"); n != 1+logRows {
		t.Errorf("%d rows", n)
	}
	older := regexp.MustCompile(`href="(/mailbox/anna@alpha.test/log\?before=\d+)"`).FindStringSubmatch(page)
	if older == nil {
		t.Fatalf("no older page: %s", page)
	}
	second := mainText(b.get(older[1]))
	if !strings.Contains(second, ">attivo<") || strings.Contains(second, "?before=") || !strings.Contains(second, "Dall&#39;inizio") {
		t.Errorf("the older page: %s", second)
	}
	for _, path := range []string{"log?before=x", "log?before=-1"} {
		if w := b.get(home + path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := b.get(home + "log?before=0"); w.Code != http.StatusOK {
		t.Errorf("before nothing: %d", w.Code)
	}
}

// TestLogWords holds the words of changes that other people and acts make.
func TestLogWords(t *testing.T) {
	v := &visit{language: policy.English, zone: time.UTC}
	for _, c := range []struct{ key, value, want string }{
		{policy.KeyArchive, "paused", "paused"},
		{policy.KeyQuota, "none", "no limit"},
		{policy.KeyHold, "off", "off"},
		{policy.KeyErasure, "due 2026-11-29T10:00:00Z", "due, after 29 Nov 2026 10:00:00 +00:00"},
		{policy.KeyNotifyPending, "a@x.test until 2026-11-29T10:00:00Z", "a@x.test, until 29 Nov 2026 10:00:00 +00:00"},
		{policy.KeyRetentionDelay, "all until 2026-11-29T10:00:00Z", "no limit, until 29 Nov 2026 10:00:00 +00:00"},
		{auth.KeyDelegate, "b@x.test until 2026-11-29T10:00:00Z", "b@x.test, until 29 Nov 2026 10:00:00 +00:00"},
		{auth.KeyDelegate, "b@x.test until 2026-11-29T10:00:00Z, waits for the operator", "b@x.test, until 29 Nov 2026 10:00:00 +00:00, waits for the operator"},
		{auth.KeySecondFactor, "renewed", "renewed"},
		{auth.KeySecondFactor, "on", "on"},
		{auth.KeyAppPassword, "due 2026", "due 2026"},
		{policy.KeyFilter, "", ""},
		{archive.KeyExport, export.Selection{}.String(), "all"},
		{archive.KeyExport, export.Selection{Class: "acceptance,rem", Since: time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC), Folder: "Imported/a b/2026-11"}.String(),
			"acceptance receipts, rem, since 29 Nov 2026 10:00:00 +00:00, Imported/a b/2026-11"},
		{archive.KeyExport, "messages:1", "one message"},
	} {
		if got := v.valueText(c.key, c.value); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.key, c.value, got, c.want)
		}
	}
	for _, c := range []struct{ role, name, want string }{
		{"owner", "a@x.test", "owner a@x.test"}, {"", "operator root", "operator root"}, {"program", "erasure", "the program (erasure)"}, {"", "root", "root"}, {"token", "panel", "the program “panel” of the provider"},
	} {
		if got := v.actorText(policy.Role(c.role), c.name); got != c.want {
			t.Errorf("%s %s: %q", c.role, c.name, got)
		}
	}
}

// TestTabs shows each reader the pages that he may open, and where he is.
func TestTabs(t *testing.T) {
	r := newRig(t)
	_, err := r.archive.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: anna}, r.address(anna), r.address("bruno@alpha.test"), time.Now().AddDate(0, 1, 0))
	r.must(err)
	tabs := regexp.MustCompile(`<li><a href="/mailbox/anna@alpha\.test/([a-z]*)"( aria-current="true")?>[^<]`)
	for _, c := range []struct{ login, path, want string }{
		{anna, home, "[] messages practices gaps settings access programs"},
		{anna, home + "settings", " messages practices gaps [settings] access programs"},
		{anna, home + "app-passwords", " messages practices gaps [settings] access programs"},
		{anna, home + "programs", " messages practices gaps settings access [programs]"},
		{"bruno@alpha.test", home, "[] messages practices gaps"},
		{"postmaster@alpha.test", home + "log", "[settings] access programs"},
		{"carla@beta.test", home, ""},
	} {
		_, page, _ := strings.Cut(r.signedIn(c.login).get(c.path).Body.String(), `<nav class="tabs"`)
		page, _, _ = strings.Cut(page, "</nav>")
		var got []string
		for _, one := range tabs.FindAllStringSubmatch(page, -1) {
			if one[2] != "" {
				one[1] = "[" + one[1] + "]"
			}
			got = append(got, one[1])
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.login, c.path, got, c.want)
		}
	}
}
