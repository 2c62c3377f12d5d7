package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// DomainLogQuery chooses what is listed of the logs of all mailboxes of a domain.
type DomainLogQuery struct {
	Mailbox string    // a part of the address
	Who     string    // a part of who did it, or of who signed in
	Key     string    // the key of a change or the kind of an act; the result of a sign-in; empty for all
	From    time.Time // zero for the beginning
	Until   time.Time // exclusive; zero for now
	After   string    // the Next of the page before
	Limit   int       // the most lines of a page; required
}

// takes reports whether a line of that time and person is chosen.
func (q *DomainLogQuery) takes(at time.Time, who, key string) bool {
	return !at.Before(q.From) && (q.Until.IsZero() || at.Before(q.Until)) && (q.Key == "" || q.Key == key) &&
		strings.Contains(strings.ToLower(who), strings.ToLower(strings.TrimSpace(q.Who)))
}

// DomainLog returns the changes of the settings of all mailboxes of a domain and the acts on their messages, newest first, and what follows. Of each
// mailbox it reads no more than the page can show. It passes over damaged acts: Log tells of them. It needs RightLook in the domain.
func (a *Archive) DomainLog(ctx context.Context, who policy.Actor, domain string, q DomainLogQuery) (list []Change, next string, err error) {
	mailboxes, err := a.ofDomain(ctx, who, domain, q.Mailbox)
	if err != nil {
		return nil, "", err
	}
	lines, err := newNewest[Change](q.After, q.Limit)
	if err != nil {
		return nil, "", err
	}
	names := make(map[string]string)
	for _, m := range mailboxes {
		address := m.Address.String()
		names[m.Archive] = address
		for c, err := range a.policy.ChangesBack(ctx, m.Archive) {
			if err != nil {
				return nil, "", fmt.Errorf("log of %s: %w", domain, err)
			}
			if c.Time.Before(q.From) || lines.full(c.Time) {
				break
			}
			if q.takes(c.Time, c.Who, c.Key) {
				lines.add(c.Time, fmt.Sprintf("%s %020d", address, ^c.Number), Change{Mailbox: address, Number: c.Number, Change: c})
			}
		}
	}
	wanted := func(archive string) bool { return names[archive] != "" }
	for act, err := range a.journal.ActsSince(ctx, q.From, wanted) {
		if err != nil {
			return nil, "", fmt.Errorf("log of %s: %w", domain, err)
		}
		if c := viewAct(names[act.Mailbox], act); q.takes(c.Time, c.Who, c.Key) {
			lines.add(c.Time, c.Mailbox+" "+c.Key+" "+c.Before, c)
		}
	}
	list, next = lines.page()
	return list, next, nil
}

// DomainAccess is a line of the access logs of a domain.
type DomainAccess struct {
	Mailbox string `json:"mailbox"`
	auth.Access
}

// DomainAccesses returns who signed in to the mailboxes of a domain, and who failed to, newest first, and what follows. It needs RightLook in the domain.
func (a *Archive) DomainAccesses(ctx context.Context, who policy.Actor, domain string, q DomainLogQuery) (list []DomainAccess, next string, err error) {
	mailboxes, err := a.ofDomain(ctx, who, domain, q.Mailbox)
	if err != nil {
		return nil, "", err
	}
	lines, err := newNewest[DomainAccess](q.After, q.Limit)
	if err != nil {
		return nil, "", err
	}
	for _, m := range mailboxes {
		address := m.Address.String()
		goOn := func(at time.Time) bool { return !at.Before(q.From) && !lines.full(at) }
		for one, err := range a.options.Auth.AccessesBack(ctx, m.Archive, goOn) {
			if err != nil {
				return nil, "", fmt.Errorf("sign-ins of %s: %w", domain, err)
			}
			if q.takes(one.Time, one.Login+" "+one.Address, string(one.Result)) {
				lines.add(one.Time, fmt.Sprintf("%s %s %s %s", address, one.Login, one.Address, one.Protocol), DomainAccess{address, one})
			}
		}
	}
	list, next = lines.page()
	return list, next, nil
}

// ofDomain returns the mailboxes of a domain whose addresses have a text in them.
func (a *Archive) ofDomain(ctx context.Context, who policy.Actor, domain, text string) (list []policy.Mailbox, err error) {
	if err := a.May(ctx, who, RightLook, policy.Address{Domain: domain}); err != nil {
		return nil, err
	}
	text = strings.ToLower(strings.TrimSpace(text))
	for m, err := range a.policy.Mailboxes(ctx) {
		if err != nil {
			return nil, fmt.Errorf("mailboxes of %s: %w", domain, err)
		}
		if m.Address.Domain == domain && strings.Contains(m.Address.String(), text) {
			list = append(list, m)
		}
	}
	return list, nil
}

// newest keeps the newest lines after a position in a log that is listed newest first.
type newest[T any] struct {
	after line[T]
	limit int
	list  []line[T]
	cut   bool // list holds the newest ones of all added before, in order
}

// line is one line of a log; the key orders those of one time.
type line[T any] struct {
	at    time.Time
	key   string
	value T
}

// order puts the newer first.
func (l line[T]) order(other line[T]) int {
	if c := other.at.Compare(l.at); c != 0 {
		return c
	}
	return strings.Compare(l.key, other.key)
}

// newNewest begins a page after a position, as page returns it.
func newNewest[T any](after string, limit int) (*newest[T], error) {
	n := &newest[T]{limit: limit}
	if after == "" {
		return n, nil
	}
	at, key, _ := strings.Cut(after, " ")
	var err error
	if n.after.at, err = time.Parse(time.RFC3339Nano, at); err != nil {
		return nil, fmt.Errorf("%w: after %.100q: want what the page before gives", ErrRequest, after)
	}
	n.after.key = key
	return n, nil
}

// full reports whether nothing of that time, or older, is on the page.
func (n *newest[T]) full(at time.Time) bool {
	return n.cut && at.Before(n.list[len(n.list)-1].at)
}

// add adds a line.
func (n *newest[T]) add(at time.Time, key string, value T) {
	l := line[T]{at, key, value}
	if !n.after.at.IsZero() && l.order(n.after) <= 0 {
		return
	}
	n.list = append(n.list, l)
	if len(n.list) > 4*n.limit {
		n.trim()
	}
}

// trim keeps the newest lines: those of the page, and one to tell that more follow.
func (n *newest[T]) trim() {
	slices.SortStableFunc(n.list, line[T].order)
	if len(n.list) > n.limit {
		n.list, n.cut = n.list[:n.limit+1], true
	}
}

// page returns the lines, newest first, and the position that the next page begins after; empty at the end.
func (n *newest[T]) page() (list []T, next string) {
	n.trim()
	for i, l := range n.list {
		if i == n.limit {
			last := n.list[i-1]
			return list, last.at.UTC().Format(time.RFC3339Nano) + " " + last.key
		}
		list = append(list, l.value)
	}
	return list, ""
}

// WhyOn yields what is known of a mailbox from one time to another, as Why does, in no order: its entries, skips and gaps, and when its archive was off
// or paused. It reads no more than the months of that time. It passes over what cannot be read.
func (a *Archive) WhyOn(ctx context.Context, address policy.Address, from, until time.Time) (list []Verdict, err error) {
	m, err := a.there(ctx, address)
	if err != nil {
		return nil, err
	}
	within := func(t time.Time) bool { return !t.Before(from) && t.Before(until) }
	for pause, err := range a.policy.Pauses(ctx, address) {
		if err != nil {
			return nil, err
		}
		v, ok := verdictOfPause(address, pause)
		if ok && v.Time.Before(until) && (v.Until == nil || v.Until.After(from)) {
			list = append(list, v)
		}
	}
	a.journal.FlushOutcomes(ctx)
	stats, err := a.journal.Stats(ctx, m.Archive)
	if err != nil && !errors.Is(err, journal.ErrDamaged) {
		return nil, fmt.Errorf("why, of %s: %w", address, err)
	}
	for _, f := range stats {
		if f.Month.Start().After(until) || !f.Month.Next().Start().After(from) {
			continue
		}
		for e, err := range a.journal.FiledHeads(ctx, m.Archive, f.Month, f.Folder, 1, f.NextUID) {
			switch {
			case errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrNotFound):
			case err != nil:
				return nil, fmt.Errorf("why, of %s: %w", address, err)
			case within(e.Time):
				v := verdictOfEntry(address, e)
				v.State = "" // heads have none
				list = append(list, v)
			}
		}
	}
	for r, err := range a.journal.RecordsBetween(ctx, m.Archive, from, until) {
		if err != nil {
			return nil, fmt.Errorf("why, of %s: %w", address, err)
		}
		if r.Time.Before(until) {
			list = append(list, verdictOfRecord(address, r))
		}
	}
	return list, nil
}
