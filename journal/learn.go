package journal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
)

// A goroutine of the journal makes the dictionaries of the month that mail is written to. It reads back some of the messages that are delivered, all of them
// as long as there is no dictionary, and then a few a second at most. Deliveries only tell it of their entries, and never wait for it.
const (
	firstRound  = 128                    // messages before the first dictionary of a month
	mostRound   = 1 << 14                // and, at most, before the next one: twice as many each time
	samplePause = 250 * time.Millisecond // between two messages that are read back, once there is a dictionary or nothing to make one of
	learnRetry  = time.Minute            // after the store has failed
)

// learning is how deliveries tell of what they do.
type learning struct {
	months chan kv.Month // in which a draft found no dictionaries
	refs   chan Ref      // of messages that were delivered
	next   atomic.Int64  // nanoseconds since 1970, when the next one is told of
	pause  atomic.Int64  // nanoseconds from one to the next
}

func newLearning() learning {
	return learning{months: make(chan kv.Month, 1), refs: make(chan Ref, 2*firstRound)}
}

// delivered tells of a message that was delivered, if it is time for one.
func (l *learning) delivered(r Ref) {
	now, next := time.Now().UnixNano(), l.next.Load()
	if now < next || !l.next.CompareAndSwap(next, now+l.pause.Load()) {
		return
	}
	select {
	case l.refs <- r:
	default:
	}
}

// dictionariesFor returns the dictionaries that a draft in a month uses, nil for none.
func (j *Journal) dictionariesFor(m kv.Month) *monthDictionaries {
	c := j.dictionaries.current.Load()
	if c != nil && c.month == m {
		return c
	}
	select {
	case j.learning.months <- m:
	default:
	}
	return nil
}

// learn looks for dictionaries, and makes them, until ctx ends.
func (j *Journal) learn(ctx context.Context) {
	l := &learner{j: j, ctx: ctx, pieces: codec.NewLearner()}
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case m := <-j.learning.months:
			if m == l.month || time.Since(l.failed) < learnRetry {
				continue
			}
			err = l.enter(m)
		case r := <-j.learning.refs:
			if r.Month != l.month {
				continue
			}
			err = l.sample(r)
		}
		if err != nil && ctx.Err() == nil {
			l.failed, l.month = time.Now(), ""
			j.log.Warn("the dictionaries of a month cannot be used or made: its mail takes more space until they can", "error", err)
		}
	}
}

// learner is the state of learn.
type learner struct {
	j      *Journal
	ctx    context.Context
	pieces *codec.Learner

	month  kv.Month // that is being learned from; empty: none
	list   *codec.Dictionaries
	failed time.Time // when the store failed last
}

// enter begins with a month. One without dictionaries takes over the newest of the month before.
func (l *learner) enter(m kv.Month) error {
	drops := l.j.dictionaries.drops.Load()
	s, err := l.j.engine.Volume(l.ctx, m, false)
	if err != nil {
		return fmt.Errorf("month %s: %w", m, err)
	}
	list, err := l.j.readDictionaries(l.ctx, m, s)
	if err != nil {
		return err
	}
	if list == nil {
		if list, err = l.takeOver(m, s); err != nil {
			return err
		}
	}
	return l.use(m, s, list, drops)
}

// takeOver copies the newest dictionary of the month before. If that has none, or cannot be read, there is none.
func (l *learner) takeOver(m kv.Month, s kv.Store) (*codec.Dictionaries, error) {
	before := m.Previous()
	from, err := l.j.engine.Volume(l.ctx, before, false)
	if err != nil {
		return nil, nil //nolint:nilerr // a month that cannot be read costs only itself
	}
	list, err := l.j.readDictionaries(l.ctx, before, from)
	if err != nil || list == nil {
		return nil, nil //nolint:nilerr // as above
	}
	return l.j.addDictionary(l.ctx, m, s, list.Newest().Content)
}

// use has drafts use the dictionaries of a month, once the newest is known to be durable: another process may just have made it.
func (l *learner) use(m kv.Month, s kv.Store, list *codec.Dictionaries, drops uint64) error {
	if number := list.Newest().Number; number != 0 {
		err := s.Update(l.ctx, []string{dictionaryLock(m)}, func(tx kv.Tx) error {
			values, err := tx.GetAll([][]byte{dictionaryKey(dictionaryKind, number), dictionaryKey(dictionaryCopyKind, number)})
			if err == nil && (values[0] == nil || values[1] == nil) {
				err = kv.ErrNotFound
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("dictionary %d of %s: %w", number, m, err)
		}
	}
	l.month, l.list = m, list
	l.j.dictionaries.keep(m, list, drops)
	l.j.dictionaries.use(m, list, drops)
	l.j.learning.pause.Store(0)
	if list != nil {
		l.j.learning.pause.Store(int64(samplePause))
	}
	return nil
}

// sample reads a message back and counts its pieces. One that is gone, or damaged, does not count.
func (l *learner) sample(r Ref) error {
	s, err := l.j.engine.Volume(l.ctx, r.Month, false)
	if err != nil {
		return fmt.Errorf("month %s: %w", r.Month, err)
	}
	value, err := s.Get(l.ctx, entryKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read an entry: %w", err)
	}
	e, err := decodeEntry(r, value)
	if err != nil || !l.pieces.Fresh(voteNames(e)...) {
		return nil //nolint:nilerr // Verify reports it
	}
	pieces := [][]byte{value}
	for _, c := range e.Chunks {
		if c.Size > 2*codec.MostWithDictionary {
			continue
		}
		value, err := s.Get(l.ctx, chunkKey(c.ID))
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		text, err := l.j.decodeWith(l.ctx, r.Month, s, value, func(list *codec.Dictionaries) ([]byte, error) { return l.j.codec.Unfolded(value, nil, list) })
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		if len(text) <= codec.MostWithDictionary {
			pieces = append(pieces, text)
		}
	}
	l.pieces.Vote(r.Mailbox, pieces...)
	if l.pieces.Messages() < min(firstRound<<len(l.list.Numbers()), mostRound) {
		return nil
	}
	return l.round(s)
}

// voteNames are the names of a message under which it votes once, to however many mailboxes it goes.
func voteNames(e *Entry) []string {
	names := make([]string, 0, 2+len(e.Chunks))
	names = append(names, string(e.SHA256[:]))
	if e.MessageID != "" {
		names = append(names, e.MessageID)
	}
	for _, c := range e.Chunks {
		names = append(names, string(c.ID[:]))
	}
	return names
}

// round ends a round, with a new dictionary if that is worth it.
func (l *learner) round(s kv.Store) error {
	l.j.learning.pause.Store(int64(samplePause))
	content := l.pieces.Round(l.list.Newest().Content)
	if content == nil {
		return nil
	}
	drops := l.j.dictionaries.drops.Load()
	list, err := l.j.addDictionary(l.ctx, l.month, s, content)
	if errors.Is(err, errNoNumber) {
		return nil
	}
	if err != nil {
		return err
	}
	l.j.log.Info("a dictionary was made of what repeats in the mail of many mailboxes", "month", l.month, "dictionary", list.Newest().Number, "bytes", len(content))
	return l.use(l.month, s, list, drops)
}
