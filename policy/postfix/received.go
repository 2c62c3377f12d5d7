package postfix

import (
	"context"
	"fmt"
	"strings"

	"copialettere/journal"
	"copialettere/policy"
)

// ask asks Postfix for the routes of mailboxes, in each direction that the hook takes.
func ask(ctx context.Context, c *Config, mailboxes []policy.Address) map[policy.Address]map[journal.Direction]Route {
	found := make(map[policy.Address]map[journal.Direction]Route, len(mailboxes))
	s, err := readSettings(ctx)
	var received *receivedRoutes
	var sent *sentRoutes
	if err == nil {
		received, sent = newReceivedRoutes(c, s, mailboxes), newSentRoutes(c, s, mailboxes)
	}
	for _, a := range mailboxes {
		found[a] = make(map[journal.Direction]Route, len(directions))
		for _, d := range directions {
			switch {
			case !c.takes(d):
				continue
			case err != nil:
				found[a][d] = unasked(err, "run \"postconf\" as the daemon's user: it has to be able to read main.cf and master.cf")
			case d == journal.Received:
				found[a][d] = received.route(ctx, a)
			default:
				found[a][d] = sent.route(ctx, a)
			}
			r := found[a][d]
			r.Direction = d.String()
			found[a][d] = r
		}
	}
	return found
}

// unasked returns the route of a mailbox when Postfix could not be asked.
func unasked(err error, remedy string) Route {
	return Route{State: Unknown, Detail: "Postfix could not be asked: " + err.Error(), Remedy: remedy}
}

// receivedRoutes determines the route of received mail as trivial-rewrite(8) does: by transport_maps, then by the transport of the address class.
type receivedRoutes struct {
	config    *Config
	main      map[string]string
	transport tables // transport_maps
	aliases   tables // virtual_alias_maps
	mailbox   tables // mailbox_transport_maps, keyed by local part
	classes   []class
}

func newReceivedRoutes(c *Config, s *settings, mailboxes []policy.Address) *receivedRoutes {
	r := &receivedRoutes{config: c, main: s.main}
	var transport, aliases, domains, locals []string
	seen := make(map[string]bool)
	add := func(to *[]string, kind string, keys ...string) {
		for _, key := range keys {
			if !seen[kind+key] {
				seen[kind+key] = true
				*to = append(*to, key)
			}
		}
	}
	for _, a := range mailboxes {
		for _, f := range r.forms(a) {
			keys, _ := r.transportKeys(f)
			add(&transport, "t", keys...)
			keys, _ = r.aliasKeys(f)
			add(&aliases, "a", keys...)
			add(&domains, "d", domainKeys(f.domain)...)
			keys, _ = r.localKeys(f)
			add(&locals, "l", keys...)
		}
	}
	r.transport, r.aliases = tablesOf(s.main["transport_maps"], transport), tablesOf(s.main["virtual_alias_maps"], aliases)
	r.mailbox = tablesOf(s.main["mailbox_transport_maps"], locals)
	r.classes = newClasses(s.main, domains)
	return r
}

// form is an address with one form of its domain.
type form struct{ local, short, domain string } // short is local without its extension; "" if it has none

// forms returns a mailbox with each form of its domain, the ASCII form first.
func (r *receivedRoutes) forms(a policy.Address) []form {
	f := form{local: external(a.Local), domain: policy.ASCIIDomain(a.Domain)}
	if without, ok := a.WithoutExtension(r.main["recipient_delimiter"]); ok {
		f.short = external(without.Local)
	}
	if f.domain == a.Domain {
		return []form{f}
	}
	other := f
	other.domain = a.Domain
	return []form{f, other}
}

// whole returns the whole address, then the address without its extension.
func (f form) whole() []string {
	keys := []string{f.local + "@" + f.domain}
	if f.short != "" {
		keys = append(keys, f.short+"@"+f.domain)
	}
	return keys
}

// transportKeys returns the keys of transport(5) in the order of lookup, and for how many of them tables of patterns are asked.
func (r *receivedRoutes) transportKeys(f form) (keys []string, whole int) {
	keys = append(f.whole(), f.domain)
	for _, parent := range parents(f.domain) {
		keys = append(keys, "."+parent)
	}
	return append(keys, "*"), 1
}

// aliasKeys returns the keys of virtual(5).
func (r *receivedRoutes) aliasKeys(f form) (keys []string, whole int) {
	return append(f.whole(), "@"+f.domain), 1
}

// localKeys returns the keys of mailbox_transport_maps (local(8)).
func (r *receivedRoutes) localKeys(f form) (keys []string, whole int) {
	keys = []string{f.local}
	if f.short != "" {
		keys = append(keys, f.short)
	}
	return keys, len(keys)
}

// route returns the route of one mailbox; if it differs between the forms of the domain, the worst.
func (r *receivedRoutes) route(ctx context.Context, a policy.Address) Route {
	forms := r.forms(a)
	worst := r.routeOf(ctx, a, forms[0])
	for _, f := range forms[1:] {
		one := r.routeOf(ctx, a, f)
		if one.State == Routed || worst.State == NotRouted {
			continue
		}
		if in, err := r.classOf(ctx, f.domain); in == nil && err == nil {
			continue // Postfix takes no mail for the domain in this form
		}
		worst = one
	}
	return worst
}

// routeOf returns the route of one form of an address.
func (r *receivedRoutes) routeOf(ctx context.Context, a policy.Address, f form) Route {
	if to := r.alias(ctx, a, f); to != nil {
		return Route{State: NotRouted,
			Detail: fmt.Sprintf("virtual_alias_maps (%s) makes %s of %s, so no mail comes under this address", to.table, to.value, to.key),
			Remedy: "enable the mailbox that the mail is delivered to"}
	}
	keys, whole := r.transportKeys(f)
	found, err := r.transport.search(ctx, keys, whole)
	switch {
	case err != nil:
		return unasked(err, r.config.readable(err, "transport_maps", TransportMap))
	case found == nil || found.value == "" || strings.HasPrefix(found.value, ":"): // an empty transport means the default (transport(5))
		return r.byClass(ctx, a, f)
	case found.value == r.config.Received:
		return Route{State: Routed, Detail: fmt.Sprintf("transport_maps (%s) sends %s to %s", found.table, found.key, found.value)}
	}
	return Route{State: NotRouted,
		Detail: fmt.Sprintf("transport_maps (%s) sends %s to %s, not to %s", found.table, found.key, found.value, r.config.Received),
		Remedy: r.missing(a)}
}

// alias returns the entry of an address in virtual_alias_maps if mail then goes to other addresses only. It returns nil otherwise, and also if
// the maps cannot be asked: this is an extra check.
func (r *receivedRoutes) alias(ctx context.Context, a policy.Address, f form) *lookedUp {
	keys, whole := r.aliasKeys(f)
	to, err := r.aliases.search(ctx, keys, whole)
	if err != nil || to == nil {
		return nil
	}
	for _, target := range items(to.value) {
		if strings.HasPrefix(target, "@") {
			target = f.local + target
		}
		address, err := policy.ParseAddress(target)
		if err != nil {
			return nil
		}
		if without, _ := address.WithoutExtension(r.main["recipient_delimiter"]); address == a || without == a {
			return nil
		}
	}
	return to
}

// byClass returns the route by the transport of the address class.
func (r *receivedRoutes) byClass(ctx context.Context, a policy.Address, f form) Route {
	in, err := r.classOf(ctx, f.domain)
	if err != nil {
		return unasked(fmt.Errorf("the class of the domain %s: %w", f.domain, err), r.config.readable(err, "transport_maps", TransportMap))
	}
	name := "default_transport"
	if in != nil {
		name = in.transport
	}
	value := r.main[name]
	if name == "local_transport" && value != r.config.Received {
		// local(8) may hand the mail on.
		name, value = "mailbox_transport", r.main["mailbox_transport"]
		keys, whole := r.localKeys(f)
		found, err := r.mailbox.search(ctx, keys, whole)
		if err != nil {
			return unasked(err, r.config.readable(err, "transport_maps", TransportMap))
		}
		if found != nil {
			name, value = "mailbox_transport_maps ("+found.table+")", found.value
		}
	}
	if value == r.config.Received {
		return Route{State: Routed, Detail: fmt.Sprintf("%s is %s for %s", name, value, f.domain)}
	}
	detail := fmt.Sprintf("transport_maps (%s) has nothing for %s@%s, and %s is %q", r.transport, f.local, f.domain, name, value)
	if name == "" {
		detail = fmt.Sprintf("%s is in virtual_alias_domains: Postfix delivers no mail to it", f.domain)
	}
	return Route{State: NotRouted, Detail: detail, Remedy: r.missing(a)}
}

// missing returns the remedy for a mailbox that is not routed.
func (r *receivedRoutes) missing(a policy.Address) string {
	return r.config.missing("transport_maps of main.cf", r.transport, TransportMap, addressKeys(a)[:1], r.config.Received)
}
