package httpd

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"howett.net/plist"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/setup"
)

// exampleGuide tells of alpha.test, of which nothing is an account of its own.
func exampleGuide() *setup.Guide {
	server := func(host string, port uint16) setup.Endpoint {
		return setup.Endpoint{Host: host, Port: port, Security: setup.TLS}
	}
	smtp := server("smtp.alpha.test", 465)
	return setup.NewGuide(setup.Config{PublicURL: "https://archivio.alpha.test", Domains: map[string]setup.Domain{"alpha.test": {
		Mailbox: setup.Servers{IMAP: server("imap.alpha.test", 993), POP3: server("pop.alpha.test", 995), SMTP: smtp},
		Archive: setup.Servers{IMAP: server("archivio.alpha.test", 993), SMTP: smtp}, ArchiveHost: "archivio.alpha.test",
	}}})
}

// visit asks the door for everybody, as a browser does that has a page of the same site open.
func (r *rig) visit(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	request := httptest.NewRequestWithContext(r.t.Context(), method, target, strings.NewReader(body))
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Web(r.backend).ServeHTTP(w, request)
	return w
}

const outlookAsks = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>%s</EMailAddress>
<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>`

// TestDiscovery asks as Thunderbird and Outlook do.
func TestDiscovery(t *testing.T) {
	r := newRig(t)
	const xmlType, jsonType, textType = "application/xml; charset=utf-8", "application/json", "text/plain; charset=utf-8"
	outlook := fmt.Sprintf(outlookAsks, "anna@alpha.test")
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		kind, want                 string // the media type, and a part of the answer
	}{
		{"autoconfig", "GET", "https://autoconfig.alpha.test/mail/config-v1.1.xml?emailaddress=anna%40alpha.test", "", 200, xmlType, "<hostname>imap.alpha.test<"},
		{"autoconfig, well-known", "GET", "https://alpha.test/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=anna@alpha.test", "", 200, xmlType, "<hostname>imap.alpha.test<"},
		{"autoconfig by the host", "GET", "http://Autoconfig.alpha.test:8080/mail/config-v1.1.xml", "", 200, xmlType, "<hostname>imap.alpha.test<"},
		{"autoconfig by the bare host", "GET", "https://alpha.test/.well-known/autoconfig/mail/config-v1.1.xml", "", 200, xmlType, "<hostname>imap.alpha.test<"},
		{"autoconfig of an archive", "GET", "https://x.test/mail/config-v1.1.xml?emailaddress=anna_alpha.test%40archivio.alpha.test", "", 200, xmlType, "<hostname>archivio.alpha.test<"},
		{"autoconfig of another domain", "GET", "https://autoconfig.alpha.test/mail/config-v1.1.xml?emailaddress=anna%40beta.test", "", 404, textType, "nothing is known"},
		{"autoconfig of nothing", "GET", "https://example.com/mail/config-v1.1.xml", "", 404, textType, "nothing is known"},
		{"autodiscover", "POST", "https://x.test/autodiscover/autodiscover.xml", outlook, 200, xmlType, "<Server>imap.alpha.test<"},
		{"autodiscover in capitals", "POST", "https://x.test/AutoDiscover/AutoDiscover.xml", outlook, 200, xmlType, "<Server>imap.alpha.test<"},
		{"autodiscover of an archive", "POST", "https://x.test/Autodiscover/Autodiscover.xml", fmt.Sprintf(outlookAsks, "a_b@archivio.alpha.test"), 200, xmlType, "<Server>archivio.alpha.test<"},
		{"autodiscover of another domain", "POST", "https://x.test/autodiscover/autodiscover.xml", fmt.Sprintf(outlookAsks, "a@beta.test"), 200, xmlType, "<ErrorCode>500<"},
		{"autodiscover of garbage", "POST", "https://x.test/autodiscover/autodiscover.xml", "garbage", 200, xmlType, "<ErrorCode>600<"},
		{"autodiscover without end", "POST", "https://x.test/autodiscover/autodiscover.xml", strings.Repeat(" ", 1<<20), 413, textType, "too large"},
		{"autodiscover by GET", "GET", "https://archivio.alpha.test/autodiscover/autodiscover.xml", "", 405, textType, "POST"},
		{"autodiscover v2", "GET", "https://x.test/autodiscover/autodiscover.json?Email=anna%40alpha.test&Protocol=Autodiscoverv1", "", 200, jsonType,
			`"Url":"https://archivio.alpha.test/autodiscover/autodiscover.xml"`},
		{"autodiscover v2 by the path", "GET", "https://x.test/Autodiscover/Autodiscover.json/v1.0/Anna@alpha.test?Protocol=AutodiscoverV1&RedirectCount=1", "", 200, jsonType, `"Url":"https://`},
		{"autodiscover v2 for ActiveSync", "GET", "https://x.test/autodiscover/autodiscover.json?Email=a&Protocol=ActiveSync", "", 400, jsonType, `"ErrorCode":"InvalidProtocol"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := r.visit(c.method, c.target, c.body)
			if w.Code != c.status || w.Header().Get("Content-Type") != c.kind || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %s %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%v", w.Header())
			}
			switch c.kind {
			case xmlType:
				if err := xml.Unmarshal(w.Body.Bytes(), new(struct{})); err != nil {
					t.Error(err)
				}
			case jsonType:
				if !json.Valid(w.Body.Bytes()) {
					t.Errorf("%s", w.Body)
				}
			}
		})
	}
}

// TestAutodiscoverRedirect asks by plain HTTP, as Outlook does for a domain without a certificate of its own.
func TestAutodiscoverRedirect(t *testing.T) {
	w := newRig(t).visit("GET", "http://autodiscover.alpha.test/Autodiscover/Autodiscover.xml", "")
	if got := w.Header().Get("Location"); w.Code != http.StatusFound || got != "https://archivio.alpha.test/autodiscover/autodiscover.xml" {
		t.Errorf("%d to %q", w.Code, got)
	}
}

// TestDiscoveryTellsNothing: what nobody signed in for is the same for a mailbox with an archive and for one that does not exist.
func TestDiscoveryTellsNothing(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=imap=on")
	for _, host := range []string{"alpha.test", "archivio.alpha.test"} {
		answers := func(local string) string {
			address := local + "@" + host
			all := r.visit("GET", "/mail/config-v1.1.xml?emailaddress="+address, "").Body.String() +
				r.visit("POST", "/autodiscover/autodiscover.xml", fmt.Sprintf(outlookAsks, address)).Body.String() +
				r.visit("GET", "/autodiscover/autodiscover.json?Email="+address+"&Protocol=AutodiscoverV1", "").Body.String()
			return strings.ReplaceAll(all, address, "ADDRESS")
		}
		for _, pair := range [][2]string{{"anna", "nobody"}, {"anna_alpha.test", "nobody_alpha.test"}} {
			if is, not := answers(pair[0]), answers(pair[1]); is != not {
				t.Errorf("%s@%s\n%s\n%s\n%s", pair[0], host, is, pair[1], not)
			}
		}
	}
}

// TestSetUpLink follows a link as a telephone does, after a messenger has looked at it.
func TestSetUpLink(t *testing.T) {
	for _, c := range []struct{ account, language, show, page, kind, want string }{
		{"archive", "it", "profile", "scarica il profilo", setup.ProfileType, "com.apple.mail.managed"},
		{"mailbox", "it", "parameters", "mostra i parametri", "text/html; charset=utf-8", "<dd>imap.alpha.test</dd>"},
		{"archive", "en", "parameters", "show the parameters", "text/html; charset=utf-8", "<dd>archivio.alpha.test</dd>"},
	} {
		t.Run(c.account+" "+c.show, func(t *testing.T) {
			r := newRig(t)
			r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
			r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=imap=on&set=language=" + c.language)
			made := get[archive.SetUpLink](r, "POST /mailboxes/{mailbox}/set-up/link?"+anna+"&account="+c.account)[0]
			path, ok := strings.CutPrefix(made.Link, "https://archivio.alpha.test")
			if !ok || made.Closed != nil || !bytes.HasPrefix(made.PNG, []byte("\x89PNG")) {
				t.Fatalf("%+v", made)
			}
			for _, method := range []string{"GET", "HEAD", "GET"} {
				w := r.visit(method, path, "")
				if w.Code != http.StatusOK || method == "GET" && !strings.Contains(w.Body.String(), c.page) || strings.Contains(w.Body.String(), "anna") {
					t.Errorf("%s: %d %s", method, w.Code, w.Body)
				}
			}
			if w := r.visit("POST", path, "show="+c.show, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"); w.Code != http.StatusForbidden {
				t.Errorf("from a page of another site: %d", w.Code)
			}
			if w := r.visit("POST", path, "show=else"); w.Code != http.StatusBadRequest {
				t.Errorf("for something else: %d", w.Code)
			}
			// As a proxy passes it on that asks by a name of its own.
			w := r.visit("POST", "http://127.0.0.1:8080"+path, "show="+c.show, "Origin", "https://archivio.alpha.test")
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != c.kind || !strings.Contains(w.Body.String(), c.want) {
				t.Fatalf("%d %s %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			if c.kind == setup.ProfileType {
				if _, err := plist.Unmarshal(w.Body.Bytes(), make(map[string]any)); err != nil {
					t.Error(err)
				}
				if got := w.Header().Get("Content-Disposition"); got != `attachment; filename="account.mobileconfig"` {
					t.Error(got)
				}
			}
			for _, method := range []string{"GET", "POST"} {
				if w := r.visit(method, path, "show="+c.show); w.Code != http.StatusGone || !strings.Contains(w.Body.String(), "Questo collegamento non vale più") {
					t.Errorf("%s of a used link: %d %s", method, w.Code, w.Body)
				}
			}
			logged := get[archive.Change](r, "GET /mailboxes/{mailbox}/log?"+anna)
			if last := logged[len(logged)-1]; last.Key != archive.KeySetUpLink || last.After != c.account+" imap" || !strings.Contains(last.Who, "root") {
				t.Errorf("on record: %+v", last)
			}
		})
	}
}

// TestSetUpLinkGone: links of which something has changed since, or that never were. All look alike.
func TestSetUpLinkGone(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	path := func() string {
		made := get[archive.SetUpLink](r, "POST /mailboxes/{mailbox}/set-up/link?"+anna)[0]
		return strings.TrimPrefix(made.Link, "https://archivio.alpha.test")
	}
	never := r.visit("GET", setup.LinkPath+strings.Repeat("A", 22), "").Body.String()
	gone := func(what, path string) {
		t.Helper()
		if w := r.visit("GET", path, ""); w.Code != http.StatusGone || w.Body.String() != never {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	gone("never made", setup.LinkPath+"x")
	first := path()
	second := path()
	gone("a newer one was made", first)
	if w := r.visit("GET", second, ""); w.Code != http.StatusOK {
		t.Errorf("the newer one: %d", w.Code)
	}
	r.mailbox("POST /mailboxes/{mailbox}/disable?now=true&confirm=anna@alpha.test&" + anna)
	third := path()
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	fourth := path()
	gone("replaced", third)
	r.mailbox("POST /mailboxes/{mailbox}/disable?confirm=anna@alpha.test&" + anna)
	if w := r.visit("GET", fourth, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "è disattivato e sarà cancellato") {
		t.Errorf("of an archive that was closed since, the page says so: %d %s", w.Code, w.Body)
	}
}

// TestSetUpRefused: what is not offered, or not chosen right, is said.
func TestSetUpRefused(t *testing.T) {
	r := newRig(t)
	for query, want := range map[string]int{
		"account=calendar": http.StatusBadRequest, "incoming=pop3": http.StatusNotFound, "account=mailbox&incoming=gopher": http.StatusBadRequest,
	} {
		for _, request := range []string{"GET /mailboxes/{mailbox}/set-up", "GET /mailboxes/{mailbox}/set-up/profile", "POST /mailboxes/{mailbox}/set-up/link"} {
			if status, lines := r.ask(request + "?" + anna + "&" + query); status != want {
				t.Errorf("%s %s: %d %q", request, query, status, lines)
			}
		}
	}
	if status, _ := r.ask("GET " + one + "/set-up?mailbox=anna@omega.test"); status != http.StatusBadRequest {
		t.Errorf("unknown domain: %d", status)
	}
	// Without a configuration of it.
	r.backend.Archive = archive.New(archive.Options{Journal: r.journal, Policy: r.policy, Auth: r.auth})
	r.handler = Admin(r.backend)
	if status, lines := r.ask("GET " + one + "/set-up?" + anna); status != http.StatusNotFound {
		t.Errorf("%d %q", status, lines)
	}
	if w := r.visit("GET", "/mail/config-v1.1.xml?emailaddress=anna@alpha.test", ""); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
}

// TestSetUpSays what keeps the account closed, and which password it needs.
func TestSetUpSays(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	closed := func(query, want string) {
		t.Helper()
		p := get[setup.Parameters](r, "GET /mailboxes/{mailbox}/set-up?"+anna+"&"+query)[0]
		if p.Closed == nil {
			p.Closed = new(policy.Label)
		}
		if !strings.Contains(p.Closed.English, want) || want == "" && p.Closed.English != "" || (p.Closed.Italian == "") != (want == "") {
			t.Errorf("%s: %+v", query, p.Closed)
		}
	}
	set := func(value string) {
		r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=" + url.QueryEscape(value))
	}
	closed("account=archive", "switched off. The postmaster")
	closed("account=mailbox", "")
	set("imap=on")
	closed("account=archive", "")
	set("protocols=pop3")
	closed("account=archive", "IMAP is switched off")
	closed("account=mailbox", "IMAP is switched off")
	closed("account=mailbox&incoming=pop3", "SMTP is switched off")
	set("protocols=pop3,smtp")
	closed("account=mailbox&incoming=pop3", "")
}
