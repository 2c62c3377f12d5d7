package httpd

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"copialettere/journal"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// Backend is what Admin needs to answer.
type Backend struct {
	Archive *archive.Archive
	Metrics *metrics.Registry
	Version string
	Logger  *slog.Logger
	// Ready returns why mail to enabled mailboxes would wait now, in words that anybody may read; nothing while it would not. May be nil.
	Ready func(ctx context.Context) []string
	// Pages are what Web shows to browsers; nil for none.
	Pages http.Handler
}

// Admin returns the operator's interface: all routes, and what Metrics serves.
func Admin(b Backend) http.Handler {
	mux := http.NewServeMux()
	(&api{b}).route(mux, operator)
	mux.Handle("/", Metrics(b.Metrics, b.Ready))
	return mux
}

// Door returns who sent a request. On an error nothing is done, and the error is the answer.
type Door func(*http.Request) (policy.Actor, error)

// operator is the door of the admin socket. The mode of the socket decides who gets this far.
func operator(r *http.Request) (policy.Actor, error) {
	return policy.Actor{Role: policy.RoleOperator, Name: r.FormValue("who")}, nil
}

// api answers the routes.
type api struct{ b Backend }

// call is one request under way.
type call struct {
	*http.Request
	w       http.ResponseWriter
	out     *lines
	who     policy.Actor
	mailbox policy.Address // zero where the route is about all mailboxes
}

// route registers all routes behind a door.
func (a *api) route(mux *http.ServeMux, door Door) {
	for _, route := range Routes() {
		mux.HandleFunc(route.Method+" "+Prefix+route.Path, func(w http.ResponseWriter, r *http.Request) {
			c := &call{Request: r, w: w, out: newLines(w)}
			err := a.admit(c, &route, door)
			if err == nil {
				err = route.serve(a, c)
			}
			if err != nil {
				c.out.fail(a.b.Logger, err)
			}
		})
	}
}

// admit reads who asks and about which mailbox, and checks the right to the route.
func (a *api) admit(c *call, route *Route, door Door) (err error) {
	if c.who, err = door(c.Request); err != nil {
		return err
	}
	if route.Right != "" && route.Right != archive.RightOperate {
		if c.mailbox, err = mailboxOf(c.Request); err != nil {
			return err
		}
	}
	if route.Record && c.who.Name == "" {
		return fmt.Errorf("%w: who: name the operator", errRequest)
	}
	if route.Right == "" {
		return nil
	}
	return a.b.Archive.May(c.Context(), c.who, route.Right, c.mailbox)
}

var errRequest = archive.ErrRequest

func mailboxOf(r *http.Request) (policy.Address, error) {
	s := r.FormValue("mailbox")
	a, err := policy.ParseMailbox(s)
	if err == nil && a.Domain == "" {
		err = fmt.Errorf("%q: %w: want an address with its domain", s, policy.ErrAddress)
	}
	return a, err
}

// folder reads which folder a request is about: folder=F. The UID is 0.
func (c *call) folder() (journal.Ref, error) {
	folder, month, err := journal.ParseFolder(c.FormValue("folder"))
	if err != nil {
		return journal.Ref{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	return journal.Ref{Mailbox: c.mailbox.String(), Month: month, Folder: folder}, nil
}

// ref reads which message a request is about: folder=F&uid=N.
func (c *call) ref() (journal.Ref, error) {
	ref, err := c.folder()
	if err != nil {
		return ref, err
	}
	uid, err := strconv.ParseUint(c.FormValue("uid"), 10, 32)
	if err != nil || uid == 0 {
		return journal.Ref{}, fmt.Errorf("%w: uid %.100q: want a number from 1", errRequest, c.FormValue("uid"))
	}
	ref.UID = uint32(uid)
	return ref, nil
}

// flag reads a parameter that is true or false. Absent means false.
func (c *call) flag(name string) (bool, error) {
	text := c.FormValue(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: %s=%.100q: want true or false", errRequest, name, text)
	}
	return value, nil
}
