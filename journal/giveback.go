package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"copialettere/journal/kv"
)

// A message that is given back goes to the live mailbox once more. The journal does not hand it on: it keeps on record that somebody did. The act
// ActGiveBack is durable before the mailstore can have the message, so no message is given back that the record does not tell of. If the mailstore
// then refuses it, a second act says so: ActNotGivenBack, with its words.

// RecordGiveBack puts on record that the message of an entry is about to be given back. The error is ErrNotFound if there is no such entry.
func (j *Journal) RecordGiveBack(ctx context.Context, r Ref, who string) error {
	now := j.now().UTC()
	return j.act(ctx, r, func(c *change) error {
		if _, err := c.entry(r); err != nil {
			return err
		}
		return c.putActOn(ActGiveBack, who, now, r, Ref{}, "")
	})
}

// RecordNotGivenBack puts on record that the last RecordGiveBack of an entry came to nothing, and why. The entry need not be there any more.
func (j *Journal) RecordNotGivenBack(ctx context.Context, r Ref, who, why string) error {
	now := j.now().UTC()
	return j.act(ctx, r, func(c *change) error {
		return c.putActOn(ActNotGivenBack, who, now, r, Ref{}, cut(why, recordDetailMax))
	})
}

// GivenBack returns, by UID, the last act by which messages of a selection were given back, wherever they were then. What was not is not in it.
func (j *Journal) GivenBack(ctx context.Context, s Selection) (map[uint32]*Act, error) {
	if err := checkMailbox(s.Mailbox); err != nil {
		return nil, err
	}
	store, err := j.volume(ctx, s.Month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	given := make(map[giveBackPlace][]*Act)
	prefix := mailboxKey('a', s.Mailbox, 0)
	for p, err := range store.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, fmt.Errorf("acts of %s: %w", s.Mailbox, err)
		}
		a, err := decodeAct(s.Mailbox, p.Value)
		if err != nil {
			continue // Verify and Acts tell of it
		}
		followGiveBack(given, a)
	}
	found := make(map[uint32]*Act)
	for place, acts := range given {
		if place.folder == s.Folder && s.UIDs.has(place.uid) && len(acts) > 0 {
			found[place.uid] = acts[len(acts)-1]
		}
	}
	return found, nil
}

// giveBackPlace is where a message is in its month.
type giveBackPlace struct {
	folder string
	uid    uint32
}

// followGiveBack takes one more act into what was given back, by the place where the messages are after it.
func followGiveBack(given map[giveBackPlace][]*Act, a *Act) {
	at := giveBackPlace{a.From.Folder, a.From.UID}
	switch {
	case a.Kind == ActGiveBack:
		given[at] = append(given[at], a)
	case a.Kind == ActNotGivenBack:
		if acts := given[at]; len(acts) > 0 {
			given[at] = acts[:len(acts)-1]
		}
	case a.To.UID > 0 && len(given) > 0:
		next, stop := iter.Pull(a.ToUIDs.Each())
		defer stop()
		for uid := range a.UIDs.Each() {
			to, _ := next()
			from := giveBackPlace{a.From.Folder, uid}
			if acts, ok := given[from]; ok {
				delete(given, from)
				given[giveBackPlace{a.To.Folder, to}] = acts
			}
		}
	}
}
