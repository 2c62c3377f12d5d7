package pages

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a machine without a database of zones still shows times in the reader's

	"copialettere/journal/httpd"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

const (
	sessionCookie = "__Host-copialettere" // the prefix keeps other hosts from setting it (RFC 6265bis section 4.1.3.2)
	zoneCookie    = "zone"                // the time zone of the browser, which the script sets
)

// maxForm is how much of the body of a form is read, in bytes, by a route that does not say otherwise.
const maxForm = 256 << 10

// visit is one request under way.
type visit struct {
	*http.Request
	w        http.ResponseWriter
	pages    *Pages
	session  *auth.Session // nil for who has not signed in
	language policy.Language
	zone     *time.Location
	who      policy.Actor   // as whom the reader acts here; the login itself on pages about neither a mailbox nor a domain
	mailbox  policy.Address // of the path; zero without one
	domain   string         // of the path, or that of the mailbox; empty without both
}

// serve answers a request by a route.
func (p *Pages) serve(w http.ResponseWriter, r *http.Request, route *Route) {
	r.Body = http.MaxBytesReader(w, r.Body, cmp.Or(route.form, maxForm))
	v := &visit{Request: r, w: w, pages: p, language: httpd.LanguageOf(r), zone: zoneOf(r)}
	err := v.admit(route)
	if route.slow {
		patient := httpd.NewPatient(w, func() error { return v.again(route) })
		defer patient.Close()
		v.w = patient
	}
	if err == nil {
		err = v.inTurn(route)
	}
	if err != nil {
		v.fail(err)
	}
}

// again returns an error if the reader may not have any more what a long answer gives.
func (v *visit) again(route *Route) error {
	now := &visit{Request: v.Request, pages: v.pages}
	if err := now.signedIn(); err != nil {
		return err
	}
	return now.entitled(route)
}

// untilFirst calls a function before the first byte of an answer.
type untilFirst struct {
	http.ResponseWriter
	first func()
}

// Write implements http.ResponseWriter.
func (u *untilFirst) Write(b []byte) (int, error) {
	u.first()
	return u.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (u *untilFirst) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// inTurn serves a visit when it is the turn of the reader. The turn ends with the visit, or when a slow answer begins.
func (v *visit) inTurn(route *Route) error {
	if v.session != nil {
		release, ok := v.pages.turns.Take(v.Context(), v.session.Login.String())
		if !ok {
			v.w.Header().Set("Retry-After", "10")
			return complain(http.StatusTooManyRequests, "Troppe pagine sono già in preparazione. Aspettare che finiscano, poi riprovare.",
				"Too many pages are being prepared already. Wait for them, then try again.")
		}
		release = sync.OnceFunc(release)
		defer release()
		if route.slow {
			v.w = &untilFirst{v.w, release}
		}
	}
	return route.serve(v)
}

// errSignIn says that the page is for who has signed in.
var errSignIn = errors.New("not signed in")

// admit finds out who asks, and whether the page is for him.
func (v *visit) admit(route *Route) error {
	err := v.signedIn()
	if _, bad := url.ParseQuery(v.URL.RawQuery); bad != nil && err == nil {
		return fmt.Errorf("%w: %w", archive.ErrRequest, bad) // net/url would leave parts of it out
	}
	if err != nil && !errors.Is(err, errSignIn) {
		return err
	}
	switch {
	case route.For == Anybody:
		return nil
	case err != nil:
		return err
	case v.session.SetUpSecondFactor && route.For != Unready:
		v.redirect(secondFactorPath, "")
		return errAnswered
	}
	if err := v.entitled(route); err != nil || route.For != OfMailbox {
		return err
	}
	return v.pages.options.Archive.Reads(v.Context(), v.who, v.mailbox, v.pages.options.Remote(v.Request))
}

// entitled finds out as whom the reader acts in the mailbox or the domain of the path, and checks the right to the page.
func (v *visit) entitled(route *Route) error {
	v.who = v.session.Actor
	switch route.For {
	case OfMailbox:
		return v.admitToMailbox(route.Right)
	case OfDomain:
		return v.admitToDomain(route.Right)
	}
	return nil
}

// signedIn reads the session of the cookie.
func (v *visit) signedIn() error {
	cookie, err := v.Cookie(sessionCookie)
	if err != nil {
		return errSignIn
	}
	s, err := v.pages.options.Auth.Session(v.Context(), cookie.Value)
	if errors.Is(err, auth.ErrNoSession) {
		return errSignIn
	}
	if err != nil {
		return err
	}
	v.session = &s
	v.language, err = v.pages.options.Archive.Language(v.Context(), s.Login)
	return err
}

func (v *visit) admitToMailbox(right archive.Right) error {
	if err := v.readMailbox(); err != nil {
		return err
	}
	if v.session.Confined() && v.mailbox != v.session.Login {
		return fmt.Errorf("%s: %w for a session that a link has opened", v.mailbox, policy.ErrForbidden)
	}
	var err error
	if v.who, err = v.pages.options.Auth.ActorIn(v.Context(), v.session.Login, v.mailbox); err != nil {
		return err
	}
	return v.pages.options.Archive.May(v.Context(), v.who, right, v.mailbox)
}

func (v *visit) admitToDomain(right archive.Right) error {
	domain, err := policy.CanonicalDomain(v.PathValue("domain"))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoPage, err)
	}
	if v.PathValue("mailbox") != "" {
		if err := v.readMailbox(); err != nil {
			return err
		}
		if v.mailbox.Domain != domain {
			return errNoPage
		}
	}
	v.domain = domain
	if v.session.Confined() {
		return fmt.Errorf("%s: %w for a session that a link has opened", domain, policy.ErrForbidden)
	}
	if v.who, err = v.pages.options.Archive.ActorOf(v.Context(), v.session.Login, domain); err != nil || v.mailbox == (policy.Address{}) {
		return err
	}
	return v.pages.options.Archive.May(v.Context(), v.who, right, v.mailbox)
}

func (v *visit) readMailbox() (err error) {
	if v.mailbox, err = policy.ParseMailbox(v.PathValue("mailbox")); err != nil || v.mailbox.Domain == "" {
		return fmt.Errorf("%w: %w", errNoPage, policy.ErrAddress)
	}
	v.domain = v.mailbox.Domain
	return nil
}

// t returns a text in the language of the page, with the arguments in the places of fmt.Sprintf.
func (v *visit) t(italian, english string, args ...any) string {
	return text(v.language, italian, english, args...)
}

func text(l policy.Language, italian, english string, args ...any) string {
	s := policy.Label{Italian: italian, English: english}.In(l)
	if len(args) == 0 {
		return s
	}
	return fmt.Sprintf(s, args...)
}

// path returns the path of a page about the mailbox, escaped: v.path("messages", folder, "7").
func (v *visit) path(parts ...string) string { return mailboxPath(v.mailbox.String(), parts...) }

func mailboxPath(mailbox string, parts ...string) string {
	return "/mailbox/" + url.PathEscape(mailbox) + "/" + escaped(parts)
}

func domainPath(domain string, parts ...string) string {
	return "/domain/" + url.PathEscape(domain) + "/" + escaped(parts)
}

func escaped(parts []string) string {
	list := make([]string, len(parts))
	for i, part := range parts {
		list[i] = url.PathEscape(part)
	}
	return strings.Join(list, "/")
}

// redirect ends a visit with another page, which begins with the message that something is done: a key of doneTexts, or nothing. The path may have a
// query.
func (v *visit) redirect(path, done string) {
	if done != "" {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		path += separator + "done=" + url.QueryEscape(done)
	}
	v.w.Header().Set("Location", path)
	v.w.WriteHeader(http.StatusSeeOther)
}

// localPath returns the path that a form gives, if it is one of this host; otherwise the fallback.
func localPath(path, fallback string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return fallback
	}
	return path
}

// defaultZone is for browsers that do not tell theirs.
const defaultZone = "Europe/Rome"

// zoneOf returns the time zone of the browser.
func zoneOf(r *http.Request) *time.Location {
	name := defaultZone
	if cookie, err := r.Cookie(zoneCookie); err == nil && len(cookie.Value) < 64 {
		if told, err := url.QueryUnescape(cookie.Value); err == nil && told != "" && told != "Local" {
			name = told
		}
	}
	for _, one := range []string{name, defaultZone} {
		if zone, err := time.LoadLocation(one); err == nil {
			return zone
		}
	}
	return time.UTC
}

// may reports whether the reader has a right in the mailbox, and its settings allow to make use of it.
func may(m *archive.Mailbox, right archive.Right) bool { return slices.Contains(m.May, string(right)) }
