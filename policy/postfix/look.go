package postfix

import (
	"context"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

const (
	postmapTime = 10 * time.Second // from a change of the maps to a check, for postmap to run
	lookEvery   = time.Hour
	maxNamed    = 20 // how many mailboxes a log line names
)

// keepLooking runs the standing check until ctx ends: at the start, after each change of the maps, and every hour.
func (k *Keeper) keepLooking(ctx context.Context) {
	l := looker{Keeper: k, suspects: make(map[journal.Direction][]string), told: make(map[journal.Direction][]string)}
	timer := time.NewTimer(postmapTime)
	defer timer.Stop()
	due := time.Now().Add(postmapTime)
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.written:
			// A stream of changes must not postpone the check for ever.
			if time.Until(due) > postmapTime {
				due = time.Now().Add(postmapTime)
			}
		case <-timer.C:
			due = time.Now().Add(lookEvery)
			if sure := l.look(ctx); !sure {
				due = time.Now().Add(postmapTime)
			}
		}
		timer.Reset(time.Until(due))
	}
}

// looker is the state of the goroutine that runs the standing check.
type looker struct {
	*Keeper
	suspects map[journal.Direction][]string // found not routed by the previous check, sorted
	told     map[journal.Direction][]string // reported as not routed, sorted
}

// look checks all enabled mailboxes. A mailbox counts as not routed when two checks in a row find it so, because it may have been enabled a
// moment ago. It reports false if another check must follow soon for that.
func (l *looker) look(ctx context.Context) (sure bool) {
	mailboxes, err := l.mailboxes(ctx)
	if err != nil {
		l.log.Error("cannot read which mailboxes Postfix has to route through the hook", "error", err)
		return true
	}
	begun := time.Now()
	found := ask(ctx, l.config.Load(), mailboxes)
	if ctx.Err() != nil {
		return true
	}
	l.log.Debug("asked Postfix whether it routes mail through the hook", "mailboxes", len(mailboxes), "duration", time.Since(begun))
	sure = true
	states := make(map[policy.Address]map[journal.Direction]State, len(mailboxes))
	for _, a := range mailboxes {
		states[a] = make(map[journal.Direction]State, len(directions))
	}
	var unrouted, news []string
	for _, d := range directions {
		list, allSure := l.lookAt(d, mailboxes, found, states)
		sure = sure && allSure
		unrouted, news = append(unrouted, list...), append(news, l.tell(d, list)...)
	}
	l.mu.Lock()
	l.routes = states
	l.mu.Unlock()
	if len(news) > 0 && l.options.Unrouted != nil {
		slices.Sort(unrouted)
		l.options.Unrouted(slices.Compact(unrouted))
	}
	return sure
}

// lookAt evaluates one direction. It returns the mailboxes that are not routed, sorted, and false if some were found so for the first time.
func (l *looker) lookAt(d journal.Direction, mailboxes []policy.Address, found map[policy.Address]map[journal.Direction]Route,
	states map[policy.Address]map[journal.Direction]State) (unrouted []string, sure bool) {
	var suspects []string
	unknown, why := 0, Route{}
	for _, a := range mailboxes {
		name := a.String()
		route, ok := found[a][d]
		switch {
		case !ok:
			continue
		case route.State == NotRouted:
			suspects = append(suspects, name)
			if _, again := slices.BinarySearch(l.suspects[d], name); !again {
				continue
			}
			unrouted = append(unrouted, name)
		case route.State == Unknown:
			unknown, why = unknown+1, route
		}
		states[a][d] = route.State
	}
	slices.Sort(suspects)
	slices.Sort(unrouted)
	l.suspects[d] = suspects
	l.gauges.unrouted[d].Set(int64(len(unrouted)))
	if l.gauges.unknown[d].Value() == 0 && unknown > 0 {
		l.log.Warn("Postfix could not be asked whether it routes mail through the hook", "direction", d.String(), "mailboxes", unknown,
			"why", why.Detail, "remedy", why.Remedy)
	}
	l.gauges.unknown[d].Set(int64(unknown))
	return unrouted, len(suspects) == len(unrouted)
}

// tell logs what has changed since the previous check, and returns the mailboxes that are newly not routed.
func (l *looker) tell(d journal.Direction, unrouted []string) (news []string) {
	before := l.told[d]
	l.told[d] = unrouted
	for _, name := range unrouted {
		if _, old := slices.BinarySearch(before, name); !old {
			news = append(news, name)
		}
	}
	switch {
	case len(news) > 0:
		l.log.Error("Postfix does not route mail of archived mailboxes through the hook, so it is not archived; \"copialettere check ADDR\" tells why",
			"direction", d.String(), "mailboxes", len(unrouted), "new", news[:min(len(news), maxNamed)])
	case len(unrouted) < len(before):
		l.log.Info("Postfix routes mail of more archived mailboxes through the hook again", "direction", d.String(), "not_routed", len(unrouted))
	}
	return news
}
