package httpd

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/export/jobs"
	"copialettere/journal/export/pull"
	"copialettere/journal/metrics"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// Backend is what the doors need to answer.
type Backend struct {
	Archive *archive.Archive
	Metrics *metrics.Registry
	Version string
	Logger  *slog.Logger
	// Ready returns why mail to enabled mailboxes would wait now, in words that anybody may read; nothing while it would not. May be nil.
	Ready func(ctx context.Context) []string
	// Search finds messages; if nil, an Index of its own does.
	Search *search.Index
	// Pulls imports mail from other servers; if nil, a Service of its own does, which runs nothing by itself.
	Pulls *pull.Service
	// Exports are written in the background; nil where no daemon runs.
	Exports *jobs.Jobs
	// Pages are what Web shows to browsers; nil for none.
	Pages http.Handler
	// TrustedProxies are those in front of Web whose word is taken for the address of a client.
	TrustedProxies []netip.Prefix
	// Logos are the pictures that Web serves beside the pages.
	Logos []Logo
	// Remote returns the address of a client of Web; if nil, that of the connection.
	Remote func(*http.Request) netip.Addr
}

// Admin returns the operator's interface: all routes, and what Metrics serves.
func Admin(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(Prefix+"/", newAPI(b, door{who: operator}))
	mux.Handle("/", Metrics(b.Metrics, b.Ready))
	return mux
}

// door is what differs between the ways to the routes.
type door struct {
	// who returns who sent a request. On an error nothing is done, and the error is the answer.
	who func(*http.Request) (policy.Actor, error)
	// remote returns the address of the client; nil where it has none.
	remote func(*http.Request) netip.Addr
	// public is set where clients are not the operator: they learn of a fault only that there was one, and have to read on.
	public bool
}

// from returns the address of the client; the zero Addr where it has none.
func (d door) from(r *http.Request) netip.Addr {
	if d.remote == nil {
		return netip.Addr{}
	}
	return d.remote(r)
}

// operator is the door of the admin socket. The mode of the socket decides who gets this far.
func operator(r *http.Request) (policy.Actor, error) {
	return policy.Actor{Role: policy.RoleOperator, Name: r.URL.Query().Get("who")}, nil
}

// api answers the routes behind a door.
type api struct {
	b     Backend
	door  door
	turns *Turns        // of programs at a public door; nil at others
	pace  *archive.Pace // of those who read messages
	mux   *http.ServeMux
}

// What one program has under way and waiting at a public door.
const (
	mostRequests = 8
	mostWaiting  = 100
	longestWait  = 10 * time.Second
)

// newAPI returns a handler of all routes.
func newAPI(b Backend, d door) *api {
	if b.Logger == nil {
		b.Logger = slog.New(slog.DiscardHandler)
	}
	if b.Search == nil {
		b.Search = search.New(search.Options{})
	}
	if b.Pulls == nil {
		b.Pulls = pull.NewService(b.Logger, nil)
		b.Pulls.Configure(b.Archive, false)
	}
	a := &api{b: b, door: d, pace: b.Archive.NewPace(), mux: http.NewServeMux()}
	if d.public {
		a.turns = NewTurns(mostRequests, mostWaiting, longestWait)
	}
	for _, route := range Routes() {
		a.mux.HandleFunc(route.Method+" "+Prefix+route.Path, func(w http.ResponseWriter, r *http.Request) { a.serve(&route, w, r) })
	}
	return a
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := a.mux.Handler(r); pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	answer := newAnswer(w, r, false)
	if allowed == nil {
		answer.problem(Problem{Status: http.StatusNotFound, Type: typeOf("not-found"), Title: "There is no such route", Detail: "See " + Prefix + "/openapi.json."})
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	answer.problem(Problem{
		Status: http.StatusMethodNotAllowed, Type: typeOf("method"), Title: "The method is not allowed", Detail: "This route takes " + strings.Join(allowed, ", ") + ".",
	})
}

// call is one request under way.
type call struct {
	*http.Request
	w       http.ResponseWriter
	out     *answer
	who     policy.Actor
	mailbox policy.Address // zero where the route is not about one
	domain  string         // of a route about the mailboxes of a domain; empty for all
	body    any            // a pointer to a value of the type of Route.Body; nil without one
}

// inTurn serves a call when it is the turn of whoever asks. The bytes of messages have no turns: they take as long as the client takes to read them.
func (a *api) inTurn(c *call, route *Route) error {
	if _, content := route.Answer.(Content); a.turns != nil && !content {
		release, ok := a.turns.Take(c.Context(), c.who.Name)
		if !ok {
			return errBusy
		}
		defer release()
	}
	return route.serve(a, c)
}

func (a *api) serve(route *Route, w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r}
	if a.door.public {
		p := NewPatient(w, nil)
		if r.Method == http.MethodGet || route.Right == archive.RightRead { // an act is done when its answer comes, whoever may ask for another
			p = NewPatient(w, func() error { return a.entitled(&call{Request: r}, route) })
		}
		defer p.Close()
		w = p
	}
	c.w, c.out = w, newAnswer(w, r, route.Many)
	if c.out.lines && !r.ProtoAtLeast(1, 1) {
		c.out.problem(problemOf(errVersion))
		return
	}
	err := a.admit(c, route)
	if err == nil {
		err = a.inTurn(c, route)
	}
	if err != nil {
		c.out.fail(a, route, err)
		return
	}
	if !route.streams() {
		c.out.end()
	}
}

// admit reads who asks and about what, checks the right to the route, and reads what the request brings.
func (a *api) admit(c *call, route *Route) (err error) {
	if err := a.entitled(c, route); err != nil {
		return err
	}
	if route.Right == archive.RightRead {
		if err := a.b.Archive.Reads(c.Context(), c.who, c.mailbox, a.door.from(c.Request)); err != nil {
			return err
		}
	}
	if err := c.checkQuery(route); err != nil || !route.takesJSON() {
		return err
	}
	c.body, err = readBody(c.w, c.Request, route.Body)
	return err
}

// entitled reads who asks and about what, and checks the right to the route.
func (a *api) entitled(c *call, route *Route) (err error) {
	if c.who, err = a.door.who(c.Request); err != nil {
		return err
	}
	about := policy.Address{}
	switch {
	case route.ofMailbox():
		if c.mailbox, err = mailboxOf(c.Request); err != nil {
			return err
		}
		about = c.mailbox
	case route.ofDomain():
		if c.domain, err = a.domainOf(c); err != nil {
			return err
		}
		about.Domain = c.domain
	}
	if route.Record && c.who.Name == "" {
		return fmt.Errorf("%w: who: name the operator", errRequest)
	}
	if route.Right == "" {
		return nil
	}
	return a.b.Archive.May(c.Context(), c.who, route.Right, about)
}

// domainOf returns the domain that a request is about. A token that names none means its own.
func (a *api) domainOf(c *call) (string, error) {
	domain := c.query("domain")
	if domain == "" && c.who.Role == policy.RoleToken {
		return a.b.Archive.TokenDomain(c.Context(), c.who)
	}
	if domain == "" && c.who.Role == policy.RoleOperator {
		return "", nil
	}
	return policy.CanonicalDomain(domain)
}

// checkQuery refuses a query that cannot be read, of which net/url leaves parts out, and parameters that a route does not take, or not twice.
func (c *call) checkQuery(route *Route) error {
	values, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: the query cannot be read: escape it, %% as %%25 and ; as %%3B", errRequest)
	}
	takes := []string{"who"} // of the admin socket
	for _, p := range route.Parameters() {
		takes = append(takes, p.Name)
	}
	for name, list := range values {
		if len(list) > 1 && name != "set" {
			return fmt.Errorf("%w: the parameter %.100q is there %d times", errRequest, name, len(list))
		}
		if !slices.Contains(takes, name) {
			return fmt.Errorf("%w: unknown parameter %.100q: this route takes %q", errRequest, name, strings.Join(takes[1:], ", "))
		}
	}
	return nil
}

// query returns a parameter of the query, empty if absent.
func (c *call) query(name string) string { return c.URL.Query().Get(name) }

var errRequest = archive.ErrRequest

func mailboxOf(r *http.Request) (policy.Address, error) {
	s := r.PathValue("mailbox")
	a, err := policy.ParseMailbox(s)
	if err == nil && a.Domain == "" {
		err = fmt.Errorf("%q: %w: want an address with its domain", s, policy.ErrAddress)
	}
	return a, err
}

// folder reads which folder a request is about. The UID is 0.
func (c *call) folder() (journal.Ref, error) {
	folder, month, err := journal.ParseFolder(c.PathValue("folder"))
	if err != nil {
		return journal.Ref{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	return journal.Ref{Mailbox: c.mailbox.String(), Month: month, Folder: folder}, nil
}

// ref reads which message a request is about.
func (c *call) ref() (journal.Ref, error) {
	ref, err := c.folder()
	if err != nil {
		return ref, err
	}
	uid, err := strconv.ParseUint(c.PathValue("uid"), 10, 32)
	if err != nil || uid == 0 {
		return journal.Ref{}, fmt.Errorf("%w: uid %.100q: want a number from 1", errRequest, c.PathValue("uid"))
	}
	ref.UID = uint32(uid)
	return ref, nil
}

// flag reads a parameter that is true or false. Absent means false.
func (c *call) flag(name string) (bool, error) {
	text := c.query(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: %s=%.100q: want true or false", errRequest, name, text)
	}
	return value, nil
}
