package browser

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/httpd/pages"
)

// reader is somebody who goes through all the pages that there are for him, in a language.
type reader struct {
	language          string
	narrow            bool // his window, when axe-core looks
	owner, postmaster string
	off, broken       string // mailboxes with an archive that is off, and with a message that cannot be read
	delegate          string
}

var readers = []reader{
	{"it", false, mario, postmaster, chiusa, guasta, bruno},
	{"en", true, mary, hostmaster, closed, damaged, brian},
}

// stop is a page of a tour.
type stop struct {
	who     string     // has signed in; nobody if empty
	path    string     // of the page; empty to stay on the one before
	then    func(*tab) // what the reader does on it, which leads to another one; may be nil
	status  int        // 200 if 0
	picture string     // the name of its picture, if it is a main page
	mail    bool       // it is what others wrote, whatever that looks like
	sandbox bool       // its policy lets no script run, not even that of the checks
}

// elsewhere are the routes that show no page of their own, and why. A route under a mailbox is meant under a domain, too.
var elsewhere = map[string]string{
	"GET /{$}":       "leads to the first page of the reader",
	"POST /sign-out": "leads to the sign-in",
	"GET /mailbox/{mailbox}/messages/{folder}/{uid}/raw":     "is a download",
	"POST /mailbox/{mailbox}/messages/{folder}/{uid}/bundle": "is a download",
	"GET /mailbox/{mailbox}/programs/profile":                "is a download",
	"GET /mailbox/{mailbox}/exports/{export}/zip":            "is a download",
	"POST /mailbox/{mailbox}/exports/remove":                 "leads to the exports",
	"POST /mailbox/{mailbox}/access/end":                     "leads to the sign-ins",
	"POST /mailbox/{mailbox}/app-passwords/revoke":           "leads to the app passwords",
	"POST /mailbox/{mailbox}/delegates/revoke":               "leads to the delegates",
	"POST /mailbox/{mailbox}/pulls/run":                      "leads to the imports from other servers",
	"POST /mailbox/{mailbox}/pulls/remove":                   "leads to the imports from other servers",
	"POST /mailbox/{mailbox}/archive/enable":                 "leads to the settings",
	"POST /mailbox/{mailbox}/archive/restore":                "leads to the settings",
	"POST /mailbox/{mailbox}/archive/pause":                  "leads to the settings",
	"POST /mailbox/{mailbox}/archive/resume":                 "leads to the settings",
	"POST /mailbox/{mailbox}/notify/confirm":                 "leads to the settings, or shows them as they are when something typed is wrong",
	"POST /domain/{domain}/several":                          "leads to the mailboxes",
	"POST /mailbox/{mailbox}/release":                        "leads to the mailbox of the domain",
	"POST /mailbox/{mailbox}/second-factor/end":              "leads to the mailbox of the domain",
}

// tours are what was seen on them.
type tours struct {
	mu       sync.Mutex
	visited  map[string]bool // routes that have answered with a page; guarded by mu
	statuses map[int64]bool  // guarded by mu
}

// testPages looks at every page in both languages, in Italian on a desktop in light and dark, and in English in a narrow window, the main pages in light
// and dark: it has nothing that axe-core finds. Each is light, and fits windows of all sizes, also with the text at twice its size.
func testPages(t *testing.T, s *site) {
	seen := tours{visited: make(map[string]bool), statuses: make(map[int64]bool)}
	t.Run("tours", func(t *testing.T) {
		for _, r := range readers {
			t.Run(r.language, func(t *testing.T) {
				t.Parallel()
				s.tour(t, r, &seen)
			})
		}
	})
	if t.Failed() {
		return
	}
	for _, route := range pages.Routes() {
		_, other := elsewhere[strings.Replace(route.Pattern, "/domain/{domain}/mailboxes/", "/mailbox/", 1)]
		if other == seen.visited[route.Pattern] {
			t.Errorf("%s: is a page of it visited, and is it in the list of those without: %v", route.Pattern, other)
		}
	}
	for _, status := range []int64{400, 403, 404, 410, 422, 429, 500, 503} {
		if !seen.statuses[status] {
			t.Errorf("no page with status %d was seen", status)
		}
	}
}

// tour stops at each page of a reader.
func (s *site) tour(t *testing.T, r reader, seen *tours) {
	mux := http.NewServeMux()
	for _, route := range pages.Routes() {
		mux.HandleFunc(route.Pattern, func(http.ResponseWriter, *http.Request) {})
	}
	tabs := make(map[string]*tab)
	for _, p := range s.stops(t, r) {
		x := tabs[p.who]
		if x == nil {
			x = s.newTab(t, look{language: r.language})
			x.bringAxe()
			if p.who != "" {
				x.signIn(p.who)
			}
			tabs[p.who] = x
		}
		if p.path != "" {
			x.open(p.path)
		}
		if p.then != nil {
			p.then(x)
		}
		l := x.loaded()
		if want := int64(cmp.Or(p.status, http.StatusOK)); l.status != want {
			t.Errorf("%s %s: status %d, want %d", l.method, l.url, l.status, want)
		}
		q, err := http.NewRequest(l.method, l.url, nil)
		if err != nil || l.kind != "text/html" {
			t.Errorf("%s %s is %s, %v", l.method, l.url, l.kind, err)
			continue
		}
		_, pattern := mux.Handler(q)
		seen.mu.Lock()
		seen.visited[pattern], seen.statuses[l.status] = true, true
		seen.mu.Unlock()
		if heading, err := evaluate[string](x, "document.documentElement.lang + document.querySelectorAll('h1').length"); err != nil || heading != r.language+"1" && !p.mail && !p.sandbox {
			t.Errorf("%s: language and headings %s, %v", x.location(), heading, err)
		}
		if !l.light() {
			t.Errorf("%s has %d bytes and asks for %q", x.location(), l.bytes, l.others)
		}
		if p.sandbox {
			x.bypass(true)
			x.do(chromedp.Reload())
		}
		if !p.mail {
			x.sound(r.narrow, p.picture != "" || !r.narrow && p.status == 0)
		}
		if p.sandbox {
			x.bypass(false)
		}
		x.takePictures(p.picture, r.language)
	}
}

// takePictures takes pictures of the page in all looks, with -screenshots.
func (x *tab) takePictures(name, language string) {
	x.testing.Helper()
	if *screenshots == "" || name == "" || language != "it" {
		return
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		x.testing.Fatal(err)
	}
	for _, l := range []look{{}, {dark: true}, {phone: true}, {phone: true, dark: true}} {
		x.dress(l)
		picture := x.picture()
		config, err := png.DecodeConfig(bytes.NewReader(picture))
		if err != nil || (image.Point{config.Width, config.Height}) != l.size() {
			x.testing.Errorf("%s: %dx%d, %v", name, config.Width, config.Height, err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, name+"-"+l.String()+".png"), picture, 0o644); err != nil {
			x.testing.Fatal(err)
		}
	}
	x.dress(look{})
}

// messagePath returns the page of the message of a mailbox with a subject.
func (s *site) messagePath(t *testing.T, box, subject string) string {
	t.Helper()
	for _, e := range s.hook.List(t, box) {
		if e.Subject == subject {
			return fmt.Sprintf("/mailbox/%s/messages/%s/%d", box, url.PathEscape(e.Folder), e.UID)
		}
	}
	t.Fatalf("%s has no message %q", box, subject)
	return ""
}

// stops returns the way of a reader through all pages.
func (s *site) stops(t *testing.T, r reader) []stop {
	return slices.Concat(s.strangerStops(t), s.listStops(t, r), s.exportStops(t, r), s.messageStops(t, r), s.settingStops(r), s.setUpStops(r), s.accountStops(t, r), s.otherStops(r),
		s.domainStops(r), s.domainMailboxStops(r), s.busyStops(t, r))
}

// press returns what presses a button or link.
func press(name string) func(*tab) { return func(x *tab) { x.press(name) } }

// fillIn returns what fills a field in, by its label, and presses a button.
func fillIn(label, text, button string) func(*tab) {
	return func(x *tab) {
		x.fill(label, text)
		x.press(button)
	}
}

// addPull returns what adds an account from which mail is imported. Owners cannot reach this machine.
func addPull(name string) func(*tab) {
	return func(x *tab) {
		x.fill("Nome, a scelta|A name of your choice", name)
		x.fill("Server IMAP|IMAP server", "127.0.0.1")
		x.fill("Nome utente|User name", "mario@pec.test")
		x.fill("Password di|Password of", "x")
		x.press("Aggiungi|Add")
	}
}

// addDelegate returns what lets somebody read.
func addDelegate(person, until, button string) func(*tab) {
	return func(x *tab) {
		x.fill("Indirizzo con cui|Address by which", person)
		x.fill("Ultimo giorno|Last day", until)
		x.press(button)
	}
}

// strangerStops are the pages for those who have not signed in.
func (s *site) strangerStops(t *testing.T) []stop {
	signIn := func(x *tab) {
		x.fill("Indirizzo|Address", chiave)
		fillIn("Password", rig.Password, "Entra|Sign in")(x)
	}
	return []stop{
		{path: "/sign-in", picture: "sign-in"},
		{path: "/nothing/there", status: 404, picture: "not-found"},
		{path: "/sign-in/nothing", status: 403},
		{path: "/sign-in", then: func(x *tab) {
			x.fill("Indirizzo|Address", "nobody@alpha.test")
			fillIn("Password", "sbagliata", "Entra|Sign in")(x)
		}, status: 403},
		{path: "/sign-in", then: signIn},
		{then: fillIn("Codice|Code", "000000", "Entra|Sign in"), status: 403},
	}
}

// listStops are the pages that show many messages.
func (s *site) listStops(t *testing.T, r reader) []stop {
	box := "/mailbox/" + r.owner + "/"
	at := func(path string) stop { return stop{who: r.owner, path: box + path} }
	choose := func(button string) func(*tab) {
		return func(x *tab) {
			x.choose("Scegli INBOX|Select INBOX")
			x.press(button)
		}
	}
	list := []stop{at(""), at("messages"), at("messages?q=contratto"), at("messages?q=zzz"), at("gaps"), at("deleted"), at("practices"), at("import")}
	for i, name := range []string{"home", "list", "search", "nothing-found", "gaps", "deleted", "practices", "import"} {
		list[i].picture = name
	}
	wrong := at("messages?min=much")
	wrong.status = http.StatusBadRequest
	practice := at("practices")
	practice.then = press("Contratto di fornitura 2026")
	zip, remove, move, give := at("messages"), at("messages"), at("messages"), at("messages")
	give.then = choose("Rimetti nella casella…|Put back into the mailbox…")
	zip.then, remove.then, move.then = choose("Scarica come ZIP|Download as ZIP"), choose("Elimina…|Delete…"), choose("Sposta…|Move…")
	imported := at("import")
	imported.then = uploadZIP(t)
	back := at("deleted")
	back.then = press("Recupera i messaggi scelti|Bring back those selected")
	back.status = http.StatusBadRequest
	return append(list, wrong, at("messages?checked=1"), at("messages?folder=Sent"), at("messages?from=anna&class=certified&attachment=1"), practice, at("zip"), zip, remove, move, give, stop{who: r.owner, then: press("Rimetti nella casella|Put back")}, imported, back)
}

// uploadZIP sends a ZIP of which nothing is taken, so that nothing changes.
func uploadZIP(t *testing.T) func(*tab) {
	name := filepath.Join(t.TempDir(), "posta.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for entry, text := range map[string]string{"Lavoro/offerta.msg": "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "leggimi.txt": "Ciao.\n", "Inbox.msf": ""} {
		w, err := z.Create(entry)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return func(x *tab) {
		x.do(chromedp.SetUploadFiles("input[type=file]", []string{name}))
		x.press("Importa|Import")
		x.see("posta.zip: Lavoro/offerta.msg")
	}
}

// exportStops are the page of the exports before, while and after one is written. The script brings it up to date.
func (s *site) exportStops(t *testing.T, r reader) []stop {
	path := "/mailbox/" + r.owner + "/exports"
	return []stop{
		{who: r.owner, path: path},
		{who: r.owner, path: path, then: func(x *tab) {
			x.fill("Dal giorno|From the day", "2026-11-30")
			x.fill("Al giorno|To the day", "2026-11-29")
			x.press("Prepara lo ZIP|Prepare the ZIP")
		}, status: 422},
		{who: r.owner, path: path, then: func(x *tab) {
			x.press("Per un servizio di conservazione a norma|For a service for legal preservation")
			x.fill("Nome o ragione sociale|Name of the person or company", "Alpha S.r.l.")
			x.press("Prepara lo ZIP|Prepare the ZIP")
		}, status: 422},
		{who: r.owner, path: path, then: func(x *tab) {
			x.press("Prepara lo ZIP|Prepare the ZIP")
			x.wait("the export to be written", `document.querySelector('a.button[href$="/zip"]') !== null && document.querySelector("[data-live]") === null`)
			x.open(path) // which asks for itself no more
		}, picture: "exports"},
		{who: r.owner, then: func(x *tab) {
			if name, b := x.download("Scarica lo ZIP|Download the ZIP"); !strings.HasSuffix(name, ".zip") || !bytes.HasPrefix(b, []byte("PK")) {
				t.Errorf("%s: %d bytes", name, len(b))
			}
			x.press("Elimina|Remove")
		}},
	}
}

// messageStops are pages of one message.
func (s *site) messageStops(t *testing.T, r reader) []stop {
	message := func(subject string) string { return s.messagePath(t, r.owner, subject) }
	newsletter := message("Le novità di novembre")
	return []stop{
		{who: r.owner, path: message("CONSEGNA: Contratto di fornitura 2026"), picture: "message"},
		{who: r.owner, path: newsletter, picture: "message-html"},
		{who: r.owner, path: message("ANOMALIA MESSAGGIO: Listino di dicembre"), picture: "message-anomaly"},
		{who: r.owner, path: message("POSTA CERTIFICATA: Contratto controfirmato")},
		{who: r.owner, path: message("Preventivo per il tetto")},
		{who: r.owner, path: message("Preventivo per il tetto"), then: press("preventivo.txt"), status: http.StatusServiceUnavailable},
		{who: r.owner, path: message("Convocazione assemblea")},
		{who: r.owner, path: message("POSTA CERTIFICATA: Contratto controfirmato") + "/print", sandbox: true},
		{who: r.owner, path: newsletter + "/print", sandbox: true},
		{who: r.owner, path: newsletter + "/body/1", mail: true},
		{who: r.owner, path: message("Preventivo per il tetto") + "/body/1", mail: true},
		{who: r.owner, path: strings.TrimSuffix(newsletter, "/1") + "/4000", status: http.StatusNotFound},
		{who: r.broken, path: "/mailbox/" + r.broken + "/messages"},
		{who: r.broken, path: "/mailbox/" + r.broken + "/messages", then: press("INBOX/"), status: http.StatusInternalServerError},
	}
}

// settingStops are the pages of the settings, with what they say when something is wrong.
func (s *site) settingStops(r reader) []stop {
	box := "/mailbox/" + r.owner + "/"
	return []stop{
		{who: r.owner, path: box + "access", picture: "access"},
		{who: r.owner, path: box + "settings", picture: "settings"},
		{who: r.owner, path: box + "settings?saved=filter"},
		{who: r.owner, path: box + "settings", then: fillIn("Indirizzo per gli avvisi|Address for notices", r.owner, "Salva: Indirizzo|Save: Address"), status: 422, picture: "settings-trouble"},
		{who: r.owner, path: box + "delegates", then: addDelegate("x@alpha", "2020-01-01", "Lascia leggere|Let read"), status: 422},
		{who: r.owner, path: box + "delegates", then: addDelegate(r.delegate, time.Now().AddDate(0, 1, 0).Format(time.DateOnly), "Lascia leggere|Let read")},
		{who: r.owner, path: box + "delegates", picture: "delegates"},
		{who: r.owner, path: box + "pulls", then: addPull("a/b"), status: 422},
		{who: r.owner, path: box + "pulls", then: addPull("PEC di prima")},
		{who: r.owner, path: box + "pulls", picture: "pulls"},
		{who: r.owner, path: box + "pulls", then: press("Prova|Test")},
		{who: r.owner, path: box + "terms", picture: "terms"},
		{who: r.owner, path: box + "log", picture: "log"},
		{who: r.owner, path: box + "archive/disable", picture: "disable"},
		{who: r.owner, path: box + "archive/disable", then: fillIn("Per confermare|To confirm", "no", "Disattiva l'archivio|Switch the archive off"), status: 422},
		{who: r.off, path: "/mailbox/" + r.off + "/"},
		{who: r.off, path: "/mailbox/" + r.off + "/settings"},
	}
}

// setUpStops are the pages for mail programs. The link of a QR code leads a phone to pages of its own.
func (s *site) setUpStops(r reader) []stop {
	box, link := "/mailbox/"+r.owner+"/", ""
	return []stop{
		{who: r.owner, path: box + "programs", picture: "programs"},
		{who: r.owner, path: box + "programs?account=mailbox&incoming=pop3"},
		{who: r.owner, path: box + "programs?account=nothing", status: 400},
		{who: r.owner, path: box + "programs", then: press("Crea un codice QR|Make a QR code")},
		{who: r.owner, then: func(x *tab) {
			x.press(s.origin + "/set-up/")
			link = x.location()
		}},
		{who: r.owner, then: press("Altro dispositivo|Another device")},
		{who: r.owner, path: box, then: func(x *tab) { x.open(link) }, status: 410},
	}
}

// accountStops are the pages of passwords and the second factor.
func (s *site) accountStops(t *testing.T, r reader) []stop {
	box := "/mailbox/" + r.owner + "/"
	secret := ""
	return []stop{
		{who: r.owner, path: box + "app-passwords", picture: "app-passwords"},
		{who: r.owner, path: box + "app-passwords", then: fillIn("Per quale programma|For which program", "Tablet", "Crea|Make")},
		{who: r.owner, path: box + "app-passwords", then: fillIn("Per quale programma|For which program", "Tablet", "Crea|Make"), status: 422},
		{who: r.owner, path: "/account/second-factor", picture: "second-factor"},
		{who: r.owner, path: "/account/second-factor", then: press("Comincia|Begin")},
		{who: r.owner, then: func(x *tab) {
			secret = x.textOf("code.secret")
			fillIn("Codice|Code", "000000", "Attiva|Switch on")(x)
		}, status: 422},
		{who: r.owner, then: func(x *tab) { fillIn("Codice|Code", totp(t, secret, time.Now()), "Attiva|Switch on")(x) }},
		{who: r.owner, path: "/account/second-factor"},
		{who: r.owner, then: fillIn("Codice dell'app o di recupero|Code of the app", "000000", "Crea una chiave|Make a new key"), status: 422},
		{who: r.owner, path: "/account/second-factor", then: func(x *tab) {
			if _, err := evaluate[any](x, `document.getElementById("end-code").focus()`); err != nil {
				t.Fatal(err)
			}
			x.write("000000")
			x.press("Disattiva il secondo fattore|Switch the second factor off")
		}, status: 422},
	}
}

// otherStops are pages of the archive of somebody else.
func (s *site) otherStops(r reader) []stop {
	return []stop{
		{who: r.delegate, path: "/mailbox/" + r.owner + "/"},
		{who: r.delegate, path: "/mailbox/" + r.owner + "/messages"},
		{who: r.delegate, path: "/mailbox/" + r.owner + "/settings", status: http.StatusForbidden},
		{who: r.delegate, path: "/mailbox/" + olga + "/", status: http.StatusForbidden},
		{who: r.postmaster, path: "/mailbox/" + r.owner + "/messages", status: http.StatusForbidden},
	}
}

// domainStops are the pages about a domain.
func (s *site) domainStops(r reader) []stop {
	const domain = "/domain/alpha.test/"
	return []stop{
		{who: r.postmaster, path: domain, picture: "domain"},
		{who: r.postmaster, path: domain + "?q=zzz"},
		{who: r.postmaster, path: domain, then: fillIn("Attivare l'archivio|Switch on the archive", "x@elsewhere.test", "Attiva|Switch on"), status: 422},
		{who: r.postmaster, path: domain + "several?act=retention%3D12&mailbox=" + r.owner},
		{who: r.postmaster, path: domain + "several?act=retention%3D12", status: 400},
		{who: r.postmaster, path: domain + "log", picture: "domain-log"},
		{who: r.postmaster, path: domain + "log?who=nobody"},
		{who: r.postmaster, path: domain + "log?from=2026-11-29&to=2020-01-01"},
		{who: r.postmaster, path: domain + "access"},
		{who: r.postmaster, path: domain + "access?who=nobody"},
		{who: r.postmaster, path: domain + "health", picture: "health"},
		{who: r.postmaster, path: "/domain/gamma.test/", status: http.StatusForbidden},
	}
}

// domainMailboxStops are the pages about one mailbox of a domain.
func (s *site) domainMailboxStops(r reader) []stop {
	box := "/domain/alpha.test/mailboxes/" + r.owner + "/"
	list := []stop{{who: r.postmaster, path: box, picture: "domain-mailbox"}}
	for _, name := range []string{"settings", "gaps", "why", "why?id=x@ext.test", "access", "log", "terms", "programs", "delegates", "app-passwords", "address", "archive/disable"} {
		list = append(list, stop{who: r.postmaster, path: box + name})
	}
	return append(list,
		stop{who: r.postmaster, path: box + "programs", then: press("Crea un codice QR|Make a QR code")},
		stop{who: r.postmaster, path: "/domain/alpha.test/mailboxes/" + r.off + "/"},
		stop{who: r.postmaster, path: box, then: fillIn("Motivo|Reason", " ", "Metti il blocco|Place the legal"), status: 422},
		stop{who: r.postmaster, path: box + "settings", then: fillIn("Spazio|Room", "many", "Salva: Spazio|Save: Room"), status: 422},
		stop{who: r.postmaster, path: box + "archive/disable", then: fillIn("Per confermare|To confirm", "no", "Disattiva l'archivio|Switch the archive off"), status: 422},
		stop{who: r.postmaster, path: box + "address", then: func(x *tab) {
			x.choose("Anche la casella|The live mailbox")
			fillIn("Nuovo indirizzo|New address", "x@nowhere.test", "Cambia l'indirizzo|Change the address")(x)
		}, status: 422},
		stop{who: r.postmaster, path: box + "address", then: fillIn("Per confermare|To confirm", "no", "Passa l'indirizzo|Give the address"), status: 422},
		stop{who: r.postmaster, path: box + "delegates", then: addDelegate("x@alpha", "2020-01-01", "Chiedi|Ask"), status: 422},
	)
}

// busyStops are what a reader sees who has too much under way.
func (s *site) busyStops(t *testing.T, r reader) []stop {
	box := "/mailbox/" + r.owner + "/"
	return []stop{{who: r.owner, path: box + "zip", then: func(x *tab) {
		stop := x.holdZIP(t, box+"zip")
		defer stop()
		x.press("Scarica lo ZIP|Download the ZIP")
	}, status: http.StatusTooManyRequests}}
}

// holdZIP begins to download a ZIP as the reader of a tab, and reads only how it begins. It is under way until stop is called.
func (x *tab) holdZIP(t *testing.T, path string) (stop func()) {
	t.Helper()
	r, err := chromedp.Call(x.ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{}
	connection, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(x.origin, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	connection.(*net.TCPConn).SetReadBuffer(4 << 10)
	connection.SetDeadline(time.Now().Add(patience))
	secured := tls.Client(connection, certificate.client().Transport.(*http.Transport).TLSClientConfig)
	q, err := http.NewRequest(http.MethodPost, x.origin+path, strings.NewReader("all=1"))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range r.Cookies {
		q.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	if err := q.Write(secured); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(secured), q)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %v", path, answer, err)
	}
	return func() { connection.Close() }
}
