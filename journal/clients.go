package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// Several processes may have the archive open, unless the engine says that it is alone (kv.Engine.Alone). What one of them remembers is then
// not the whole truth:
//
//   - usages: what a mailbox holds in other months is read in the update that decides on it, under the lock of the mailbox.
//   - cleaning: Expire, Sweep and Forget run under a lease besides the lock of the process. Nothing's safety rests on the lease, as a process
//     may be held up for longer than it lasts: only the holder of the fence drops a month, and the sweep is safe from other sweeps.
//   - chunks: a draft that refers to chunks stored before its last update keeps the sweep off them, or is refused.
//   - settings: the update that makes an entry asks whether the mailbox is still open, so an erasure by another process is final. The update
//     that deletes asks whether anything is held.
//   - rooms, deleting: these locks only save work. Whether there is room is decided in the update.
//   - outcomes in memory: only the process that holds them decides on their transactions. The others see unknown, and withdraw nothing.

// clean takes the lock and the lease of what only one may do at a time. The context it returns ends when the lease is lost.
func (j *Journal) clean(ctx context.Context) (cleaning context.Context, release func(), err error) {
	if err := j.cleaning.acquire(ctx); err != nil {
		return nil, nil, err
	}
	if j.alone {
		return ctx, j.cleaning.release, nil
	}
	cleaning, end, err := j.lease(ctx, "cleaning")
	if err != nil {
		j.cleaning.release()
		return nil, nil, fmt.Errorf("wait for another process: %w", err)
	}
	return cleaning, func() { end(); j.cleaning.release() }, nil
}

// A lease lasts for leaseTime after its last renewal, by the clock of whoever waits for it: no two clocks are compared.
const (
	leaseTime  = time.Minute
	leaseRenew = leaseTime / 4
)

// errLeaseLost says that this process was held up and another one has taken its place.
var errLeaseLost = errors.New("another process has taken over")

func leaseKey(name string) []byte { return []byte("y" + name) }

// lease takes a lease and renews it until release. Its value is its holder and a count that grows with each renewal.
func (j *Journal) lease(ctx context.Context, name string) (held context.Context, release func(), err error) {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return nil, nil, err
	}
	owner := make([]byte, 8)
	rand.Read(owner)
	l := &lease{store: s, key: leaseKey(name), value: binary.BigEndian.AppendUint64(owner, 0)}
	var seen []byte
	var since time.Time
	for {
		other, err := l.take(ctx, seen, time.Since(since) >= leaseTime)
		if err != nil {
			return nil, nil, err
		}
		if other == nil {
			break
		}
		if string(other) != string(seen) {
			seen, since = other, time.Now()
		}
		select {
		case <-time.After(leaseRenew):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	held, lose := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() { l.keep(ctx, stop, lose) })
	return held, func() {
		close(stop)
		renewing.Wait()
		l.end(ctx)
		lose(nil)
	}, nil
}

type lease struct {
	store kv.Store
	key   []byte
	value []byte
}

// take takes the lease if it is free, or if over says that the holder whose value was seen has not renewed it. Otherwise it returns the
// holder's value.
func (l *lease) take(ctx context.Context, seen []byte, over bool) (other []byte, err error) {
	err = l.store.Update(ctx, []string{string(l.key)}, func(tx kv.Tx) error {
		v, err := tx.Get(l.key)
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if other = v; err == nil && !(over && string(v) == string(seen)) {
			return nil
		}
		other = nil
		tx.Put(l.key, l.value)
		return nil
	})
	return other, err
}

// keep renews the lease until stop is closed, or it is lost.
func (l *lease) keep(ctx context.Context, stop <-chan struct{}, lose context.CancelCauseFunc) {
	renewed := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-time.After(leaseRenew):
		}
		next := binary.BigEndian.AppendUint64(l.value[:8:8], binary.BigEndian.Uint64(l.value[8:])+1)
		begun := time.Now()
		try, cancel := context.WithTimeout(ctx, leaseRenew)
		err := l.change(try, func(tx kv.Tx) { tx.Put(l.key, next) })
		cancel()
		switch {
		case err == nil:
			l.value, renewed = next, begun
		case errors.Is(err, errLeaseLost) || time.Since(renewed) > leaseTime/2:
			lose(fmt.Errorf("%w: %w", errLeaseLost, err))
			return
		}
	}
}

// end gives the lease up, to spare the next holder the wait.
func (l *lease) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseRenew)
	defer cancel()
	_ = l.change(ctx, func(tx kv.Tx) { tx.Delete(l.key) }) // what is left runs out by itself
}

// change changes the lease while it is still held; otherwise the error is errLeaseLost.
func (l *lease) change(ctx context.Context, fn func(tx kv.Tx)) error {
	return l.store.Update(ctx, []string{string(l.key)}, func(tx kv.Tx) error {
		v, err := tx.Get(l.key)
		if errors.Is(err, kv.ErrNotFound) || err == nil && string(v[:min(8, len(v))]) != string(l.value[:8]) {
			return errLeaseLost
		}
		if err == nil {
			fn(tx)
		}
		return err
	})
}

// sharers is how many locks stand between the sweep of a month and the drafts that refer to stored chunks: a draft takes one of them, the
// sweep all.
const sharers = 16

func sharerLock(m kv.Month, n int) string { return fmt.Sprintf("\x00chunks %s %d", m, n) }

// sweepLocks are the locks under which the sweep hides chunks from drafts.
func (w *sweeper) sweepLocks() []string {
	if w.alone {
		return nil
	}
	locks := make([]string, sharers)
	for i := range locks {
		locks[i] = sharerLock(w.month, i)
	}
	return locks
}

// errSwept says that a sweep has taken a chunk which the draft refers to. The MTA sends the message again.
var errSwept = errors.New("a chunk that the message refers to has been swept")

// storedChunk is a chunk that a draft refers to and its last update does not put.
type storedChunk struct {
	id     ChunkID
	digest Digest
	share  bool // it has an h key
}

// rests says whether the draft refers to chunks that another process may sweep, or that may not be durable.
func (d *Draft) rests() bool { return len(d.stored) > 0 }

// keepChunks checks, under a lock of the sharers, that the stored chunks of the draft are still there, and takes the marks of a sweep off
// them.
func (d *Draft) keepChunks(c *change) error {
	if !d.rests() {
		return nil
	}
	keys := make([][]byte, 0, 2*len(d.stored))
	for _, s := range d.stored {
		keys = append(keys, spareKey(s.id))
		if s.share {
			keys = append(keys, digestKey(s.digest))
		}
	}
	values, err := c.GetAll(keys)
	if err != nil {
		return err
	}
	for _, s := range d.stored {
		mark, place := values[0], []byte(nil)
		if values = values[1:]; s.share {
			place, values = values[0], values[1:]
		}
		switch _, _, state := decodeSpare(mark); state {
		case spareGarbage:
			return errSwept
		case spareMarked:
			c.Put(spareKey(s.id), []byte{})
		}
		if string(place) == string(s.id[:]) {
			continue // the chunk was put together with its digest
		}
		if _, err := c.Get(chunkKey(s.id)); errors.Is(err, kv.ErrNotFound) {
			return errSwept
		} else if err != nil {
			return err
		}
	}
	return nil
}

// readOthers reads what mailboxes hold in all other months, in the update that decides on it and holds their locks. It costs one read for
// each month, whatever the number of mailboxes: up to 48 with a retention of four years, while the locks are held. A month that cannot be
// read counts as nothing.
func (c *change) readOthers(mailboxes []string) error {
	if len(mailboxes) == 0 {
		return nil
	}
	months, err := c.j.engine.Volumes(c.ctx)
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	mailboxes = slices.Compact(slices.Sorted(slices.Values(mailboxes)))
	keys := make([][]byte, len(mailboxes))
	others := make(map[string]uint64, len(mailboxes))
	for i, mailbox := range mailboxes {
		keys[i], others[mailbox] = totalKey(mailbox), 0
	}
	for _, m := range months {
		if m == c.month {
			continue
		}
		totals, err := c.totalsIn(m, keys)
		if err != nil && c.ctx.Err() != nil {
			return err
		}
		if err != nil {
			_ = c.j.monthError(c.ctx, m, err) // it is logged
		}
		for i, bytes := range totals {
			others[mailboxes[i]] += bytes
		}
	}
	if c.others == nil {
		c.others = make(map[string]uint64)
	}
	maps.Copy(c.others, others)
	return nil
}

// totalsIn reads the totals of mailboxes, by their keys, in another month. A damaged total counts as 0, with an error.
func (c *change) totalsIn(m kv.Month, keys [][]byte) ([]uint64, error) {
	there, err := c.In(m)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	values, err := there.GetAll(keys)
	if err != nil {
		return nil, err
	}
	totals := make([]uint64, len(keys))
	for i, v := range values {
		if v == nil {
			continue
		}
		var damaged error
		if totals[i], damaged = decodeTotal(v); damaged != nil {
			err = damaged
		}
	}
	return totals, err
}

// othersNow returns what a mailbox holds in all other months.
func (c *change) othersNow(mailbox string) (uint64, error) {
	if _, known := c.others[mailbox]; !known {
		if err := c.readOthers([]string{mailbox}); err != nil {
			return 0, err
		}
	}
	return c.others[mailbox], nil
}

// staysOpen keeps the volume from being dropped, by this process or another, or fails. Only a clock set back by months leads into a volume
// that the retention is about to drop.
func (g *group) staysOpen(c *change) error {
	closing := c.j.closing.Load()
	going := closing != nil && *closing == c.month
	if !going && !c.j.alone {
		err := c.stayOpen()
		if going = errors.Is(err, ErrNotFound); err != nil && !going {
			return err
		}
	}
	if going {
		return fmt.Errorf("volume %s is about to be dropped: %w", c.month, kv.ErrUnavailable)
	}
	return nil
}

// errMailboxClosed says that a mailbox was closed after the message was judged. The MTA sends it again, and it is judged anew.
var errMailboxClosed = errors.New("the mailbox was closed meanwhile")

// openLocks appends the locks under which other processes may close the mailboxes of entries.
func (j *Journal) openLocks(locks []string, entries []candidate) []string {
	if j.alone || j.settings == nil {
		return locks
	}
	for i := range entries {
		locks = append(locks, j.settings.Lock(entries[i].Mailbox))
	}
	return locks
}

// open checks, under the openLocks, that the mailboxes of the group are still open. An erasure by this process waits for the deliveries that were judged
// before it, and not for imports: those are looked at under the lock of their mailbox, which Erase takes before it begins.
func (g *group) open(c *change) error {
	imports := slices.ContainsFunc(g.entries, func(e candidate) bool { return e.Imported != nil })
	if c.j.settings == nil || c.j.alone && !imports {
		return nil
	}
	settings, err := c.In("")
	if err != nil {
		return err
	}
	for i := range g.entries {
		mailbox := g.entries[i].Mailbox
		if open, err := c.j.settings.Open(settings, mailbox); err != nil {
			return fmt.Errorf("settings of %s: %w", mailbox, err)
		} else if !open {
			return fmt.Errorf("%s: %w", mailbox, errMailboxClosed)
		}
	}
	return nil
}

// turnSpan is how near to the turn of a month a delivery also looks for its repetition in the other month, under the lock: the two may be
// on their way at once. It is longer than a draft lives, by more than clocks should differ.
const turnSpan = 2 * time.Hour

// turning returns the month on the other side when t is near the turn of a month.
func turning(t time.Time) (other kv.Month, near bool) {
	m := kv.MonthOf(t)
	switch next := m.Next(); {
	case t.Sub(m.Start()) < turnSpan:
		return m.Previous(), true
	case next.Start().Sub(t) < turnSpan:
		return next, true
	}
	return "", false
}

// errRepeated says that a repetition has meanwhile come into the month beside.
var errRepeated = errors.New("the message is in the month beside")

// beside returns errRepeated if, near the turn of a month, one of the deliveries to be made has come into the other month.
func (g *group) beside(c *change) error {
	other, near := turning(g.d.arrival)
	if !near || g.looked {
		return nil
	}
	there, err := c.In(other)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil
	}
	var keys [][]byte
	for i := range g.entries {
		if !g.earlier[i].done() {
			keys = append(keys, g.entries[i].delivery)
		}
	}
	var values [][]byte
	if err == nil {
		values, err = there.GetAll(keys)
	}
	if err != nil {
		if c.ctx.Err() != nil {
			return err
		}
		_ = c.j.monthError(c.ctx, other, err) // it is logged
		for i := range g.entries {
			g.entries[i].unchecked()
		}
		return nil
	}
	for _, v := range values {
		if v != nil {
			return errRepeated
		}
	}
	return nil
}

// again looks once more for the deliveries in the months beside. If it finds none, beside does not ask again.
func (g *group) again(ctx context.Context) error {
	placements, err := g.d.repeated(ctx, g.entries)
	if err != nil {
		return err
	}
	g.looked = true
	for i, p := range placements {
		if p.done() {
			g.earlier[i] = p
		}
	}
	return nil
}
