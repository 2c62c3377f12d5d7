// Package pages is the archive in the browser: for the owner of a mailbox, who looks for a message, and for the postmaster of a domain, who decides on
// its mailboxes. It reads requests and writes HTML; package archive does the work and checks the rights, as behind every door.
//
// # The way of a request
//
// New returns a handler over one table, Routes. A request becomes a visit: who asks (the session of the cookie), about which mailbox or domain (the
// path), in which language and time zone. The Right of the route is checked by Archive.May before its function runs. The function renders a template or
// redirects. An error becomes a page in one place (errors.go).
//
// What changes something is a POST and ends in a redirect; a POST from another site is refused by the handler around this one. Everything works without
// JavaScript.
//
// # Texts
//
// All texts are in Italian and English, side by side: {{t "Cerca" "Search"}} in a template, visit.t in Go. A page is in the language of the mailbox of
// whoever has signed in, before in that of the browser. Times are in the reader's zone, which the browser tells by a cookie, with the offset.
//
// # What a page may load
//
// A page needs one request beside itself, the style sheet. Icons and the script are in the page; the policy of the page allows that script by its digest,
// and nothing from other hosts. The package stores nothing.
package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"copialettere/journal/export/jobs"
	"copialettere/journal/export/pull"
	"copialettere/journal/httpd"
	"copialettere/journal/httpd/body"
	"copialettere/journal/httpd/clamd"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

//go:embed all:templates style.css script.js
var files embed.FS

// Options are what Pages works with. Archive and Auth are required.
type Options struct {
	Archive *archive.Archive
	Auth    *auth.Authenticator
	Search  *search.Index // a new one where nil
	Exports *jobs.Jobs    // what is written in the background; without it there are no pages of that
	// Pulls imports mail from other servers; if nil, a Service of its own does, which runs nothing by itself.
	Pulls *pull.Service
	// Brand returns how the provider presents itself in a domain, or everywhere with an empty one. May be nil.
	Brand func(domain string) Brand
	// Remote returns the address of the browser; by default that of the connection. Behind a proxy it is not that.
	Remote func(*http.Request) netip.Addr
	// Scanner examines files for viruses before they are downloaded. May be nil.
	Scanner *clamd.Scanner
	Version string       // of the program, for evidence bundles
	Logger  *slog.Logger // slog.Default where nil
}

// Brand is how the provider presents itself. Every field may be empty.
type Brand struct {
	Title       string // the name of the service
	Logo        string // the path of the picture on this host
	SupportURL  string // where people get help
	MoreRoomURL string // where an owner gets more room
}

// What one reader has under way and waiting.
const (
	mostPages   = 4
	mostWaiting = 50 // the page of a message may have 40 frames, which a browser asks for at once
	longestWait = 10 * time.Second
)

// Pages serves the pages. It may serve concurrently.
type Pages struct {
	options  Options
	mux      *http.ServeMux
	pristine map[policy.Language]map[string]*template.Template // never executed
	style    stylesheet
	policy   string // the Content-Security-Policy of a page
	script   template.JS
	// sanitizer makes the HTML of mail harmless.
	sanitizer *body.Sanitizer

	turns *httpd.Turns // of readers by login
	zips  *httpd.Turns // one ZIP of each at a time

	imports *httpd.Turns // one import of each at a time
	uploads *httpd.Turns // mostUploads of all

	mu    sync.Mutex
	ready map[variant]*template.Template // guarded by mu

}

// stylesheet is the style sheet and its path, which changes with it.
type stylesheet struct {
	path string
	text []byte
}

// New returns the pages. It fails only if a template is wrong, which a test would find.
func New(o Options) (*Pages, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Search == nil {
		o.Search = search.New(search.Options{})
	}
	if o.Pulls == nil {
		o.Pulls = pull.NewService(o.Logger, nil)
		o.Pulls.Configure(o.Archive, false)
	}
	if o.Brand == nil {
		o.Brand = func(string) Brand { return Brand{} }
	}
	if o.Remote == nil {
		o.Remote = remoteOf
	}
	p := &Pages{
		options: o, mux: http.NewServeMux(), pristine: make(map[policy.Language]map[string]*template.Template), ready: make(map[variant]*template.Template),
		turns: httpd.NewTurns(mostPages, mostWaiting, longestWait), zips: httpd.NewTurns(1, 0, 0),
		imports: httpd.NewTurns(1, 0, 0), uploads: httpd.NewTurns(mostUploads, mostWaiting, longestWait),
		sanitizer: body.NewSanitizer(),
	}
	if err := p.load(); err != nil {
		return nil, err
	}
	for _, route := range Routes() {
		p.mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, &route) })
	}
	p.mux.HandleFunc("GET "+p.style.path, p.serveStyle)
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, &Route{For: Anybody, serve: func(*visit) error { return errNoPage }})
	})
	return p, nil
}

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// serveStyle answers with the style sheet. Its path changes with it, so browsers may keep it.
func (p *Pages) serveStyle(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Write(p.style.text)
}

func newStylesheet(text []byte) stylesheet {
	sum := sha256.Sum256(text)
	return stylesheet{"/style-" + hex.EncodeToString(sum[:6]) + ".css", text}
}

// remoteOf returns the address of the connection.
func remoteOf(r *http.Request) netip.Addr {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap()
}
