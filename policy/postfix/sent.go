package postfix

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"copialettere/policy"
)

// restrictionLists are the parameters of smtpd(8) that can lead to a FILTER, in the order of their evaluation.
var restrictionLists = [...]string{
	"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions", "smtpd_relay_restrictions",
	"smtpd_recipient_restrictions", "smtpd_data_restrictions", "smtpd_end_of_data_restrictions",
}

// maxNesting bounds how deep restriction classes may refer to each other.
const maxNesting = 10

// sentRoutes determines whether the mail of a login is filtered at every port where users can log in.
type sentRoutes struct {
	config   *Config
	services []service
	logins   []string // the login keys of all mailboxes
	tables   map[string]*table
}

func newSentRoutes(c *Config, s *settings, mailboxes []policy.Address) *sentRoutes {
	r := &sentRoutes{config: c, tables: make(map[string]*table)}
	for _, one := range s.services {
		if one.login() {
			r.services = append(r.services, one)
		}
	}
	for _, a := range mailboxes {
		r.logins = append(r.logins, loginKeys(c, a)...)
	}
	return r
}

// route returns the route of one mailbox. Its mail must be filtered at every port where users can log in.
func (r *sentRoutes) route(ctx context.Context, a policy.Address) Route {
	if len(r.services) == 0 {
		return Route{State: NotRouted, Detail: "no smtpd in master.cf lets users log in (smtpd_sasl_auth_enable)",
			Remedy: "add the lines of contrib/postfix/master.cf to the submission entries"}
	}
	var route Route
	for i := range r.services {
		route = r.routeBy(ctx, &r.services[i], loginKeys(r.config, a))
		if route.State != Routed {
			break
		}
	}
	if route.State != Routed && r.config.ByMailFrom {
		return unasked(errors.New("with identity = \"mail-from\" only what is filtered by the login, or for all, can be looked up"),
			"send a message as the user, and see \"copialettere list\"")
	}
	return route
}

// routeBy returns the route of a mailbox at one port. One of its logins must be filtered: a map kept by hand has only the form in use.
func (r *sentRoutes) routeBy(ctx context.Context, s *service, logins []string) Route {
	first := r.routeAt(ctx, s, logins[0])
	for _, login := range logins[1:] {
		if first.State == Routed {
			break
		}
		if one := r.routeAt(ctx, s, login); one.State == Routed {
			return one
		}
	}
	return first
}

// routeAt returns the route of one login at one port.
func (r *sentRoutes) routeAt(ctx context.Context, s *service, login string) Route {
	if filter := s.value("content_filter"); filter != "" && "FILTER "+filter == r.config.Sent {
		return Route{State: Routed, Detail: fmt.Sprintf("content_filter of %s is %s", s.name, filter)}
	}
	w := walk{sentRoutes: r, service: s, login: login}
	for _, name := range restrictionLists {
		w.list(ctx, name, s.value(name), 0)
		switch {
		case w.err != nil:
			return unasked(w.err, r.config.readable(w.err, "the restrictions", SendersMap))
		case w.found != "":
			return Route{State: Routed, Detail: fmt.Sprintf("%s of %s: %s", name, s.name, w.found)}
		}
	}
	detail := fmt.Sprintf("nothing in the restrictions of %s leads %s to %s", s.name, login, r.config.Sent)
	if len(w.asked) > 0 {
		detail += fmt.Sprintf("; check_sasl_access was asked in %s", w.asked)
	}
	return Route{State: NotRouted, Detail: detail, Remedy: r.missing(s, w.asked, login)}
}

func (r *sentRoutes) missing(s *service, asked tables, login string) string {
	if r.config.Folder != "" && len(asked) == 0 {
		return fmt.Sprintf("add -o smtpd_data_restrictions=$copialettere_submission_restrictions to %s in master.cf, or "+
			"-o smtpd_sasl_auth_enable=no where nobody is to log in", s.name)
	}
	return r.config.missing("check_sasl_access of "+s.name, asked, SendersMap, []string{login}, r.config.Sent)
}

// walk evaluates the restrictions of a port for a login, as smtpd(8) does.
type walk struct {
	*sentRoutes
	service *service
	login   string
	found   string // what leads to the hook; "" so far if nothing does
	asked   tables // the tables that were asked for the login
	err     error
}

// list evaluates one list of restrictions. It reports whether the evaluation ends there.
func (w *walk) list(ctx context.Context, name, value string, depth int) (decided bool) {
	if depth > maxNesting {
		return false
	}
	list := items(value)
	for i := 0; i < len(list) && w.err == nil; i++ {
		item := list[i]
		switch {
		case item == w.config.Sent:
			w.found = name + " has " + item + " for all"
		case item == "check_sasl_access" && i+1 < len(list):
			i++
			if w.access(ctx, list[i], depth) {
				return true
			}
		case item == "permit", item == "permit_sasl_authenticated", item == "reject", item == "defer":
			return true
		case w.isClass(item):
			if w.list(ctx, item, w.service.value(item), depth+1) {
				return true
			}
		}
		if w.found != "" {
			return true
		}
	}
	return w.err != nil
}

func (w *walk) isClass(item string) bool {
	for _, name := range items(w.service.value("smtpd_restriction_classes")) {
		if name == item {
			return true
		}
	}
	return false
}

// access looks up the login in a table of access(5). The answer may be a list of restrictions.
func (w *walk) access(ctx context.Context, name string, depth int) (decided bool) {
	t := w.table(name)
	w.asked = append(w.asked, t)
	value, ok, err := t.lookup(ctx, w.login)
	if err != nil {
		w.err = err
		return true
	}
	if !ok {
		return false
	}
	if value == w.config.Sent {
		w.found = fmt.Sprintf("check_sasl_access %s has %s for %s", name, value, w.login)
		return true
	}
	word, _, _ := strings.Cut(value, " ")
	switch strings.ToUpper(word) {
	case "OK", "REJECT", "DEFER":
		return true
	case "FILTER", "DUNNO", "PREPEND", "INFO", "WARN", "HOLD", "REDIRECT", "BCC", "DISCARD":
		return false
	}
	return w.list(ctx, name, value, depth+1)
}

// table returns the table of that name.
func (r *sentRoutes) table(name string) *table {
	if r.tables[name] == nil {
		r.tables[name] = &table{name: name, keys: r.logins}
	}
	return r.tables[name]
}
