package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// usages are the bytes that mailboxes hold, month by month, of those mailboxes for which somebody asked.
//
// A quota is over all months, and an Update sees one volume only. What the others hold is known here exactly as long as this process
// is the only one that writes: every Update that changes the total of a mailbox says so here while it holds the lock of the mailbox
// in its volume (change.setTotal), so a month has the total that its newest Update left, also before that is durable. An Update that
// fails takes back what it said, or has the mailbox forgotten where its outcome is unknown; it is then read again by Updates, which
// run behind the doubtful one. Asking what the other months hold and taking the room is one step under mu, so that of two Updates in
// two volumes the second sees the first.
//
// Where other processes write as well, none of that counts: the Update reads what the other months hold (change.othersNow).
type usages struct {
	mu        sync.Mutex
	mailboxes map[string]*usage // guarded by mu
}

// usage is what one mailbox holds; guarded by usages.mu.
type usage struct {
	months map[kv.Month]uint64 // without zeros
	whole  bool                // all months were asked
	// unknown are the months that could not be read: what they hold counts as it was last known, or not at all, until they can. They are
	// tried again at retryAt.
	unknown map[kv.Month]bool
	retryAt time.Time
}

// usageRetry is how long a month that could not be read is not asked again.
const usageRetry = time.Minute

// maxUsages bounds the memory for usages: about 100 bytes for each month that a mailbox has.
const maxUsages = 20_000

// set says what the newest Update of a volume leaves of a mailbox.
func (u *usages) set(mailbox string, m kv.Month, total uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.setLocked(mailbox, m, total)
}

func (u *usages) setLocked(mailbox string, m kv.Month, total uint64) {
	one := u.mailboxes[mailbox]
	if one == nil {
		return
	}
	delete(one.unknown, m)
	if total == 0 {
		delete(one.months, m)
	} else {
		one.months[m] = total
	}
}

// unread says that what a mailbox holds in a month cannot be read now.
func (u *usages) unread(mailbox string, m kv.Month) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.mailboxes[mailbox]
	if one == nil {
		return
	}
	if one.unknown == nil {
		one.unknown = make(map[kv.Month]bool)
	}
	one.unknown[m] = true
}

func (u *usages) forget(mailbox string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.mailboxes, mailbox)
}

// dropped says that the volume of a month is gone.
func (u *usages) dropped(m kv.Month) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.mailboxes {
		delete(one.months, m)
		delete(one.unknown, m)
	}
}

// start begins to follow a mailbox; it returns nil when nothing is to be read. Of one that is followed already it returns the months that are to
// be tried again.
func (u *usages) start(mailbox string, now time.Time) (one *usage, again []kv.Month) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one = u.mailboxes[mailbox]
	if one != nil && one.whole {
		// Also when the clock was set back, it is not waited for longer.
		if wait := one.retryAt.Sub(now); len(one.unknown) == 0 || wait > 0 && wait <= usageRetry {
			return nil, nil
		}
		one.retryAt = now.Add(usageRetry)
		return one, slices.Sorted(maps.Keys(one.unknown))
	}
	if one == nil {
		if u.mailboxes == nil {
			u.mailboxes = make(map[string]*usage)
		}
		for other := range u.mailboxes {
			if len(u.mailboxes) < maxUsages {
				break
			}
			delete(u.mailboxes, other)
		}
		one = &usage{months: make(map[kv.Month]uint64)}
		u.mailboxes[mailbox] = one
	}
	one.retryAt = now.Add(usageRetry)
	return one, nil
}

// finish says that all months of a mailbox were asked, if it was not forgotten since start.
func (u *usages) finish(mailbox string, one *usage) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mailboxes[mailbox] != one {
		return false
	}
	one.whole = true
	return true
}

// all returns what a mailbox holds in each month; ok is false when that is not known.
func (u *usages) all(mailbox string) (months map[kv.Month]uint64, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.mailboxes[mailbox]
	if one == nil || !one.whole {
		return nil, false
	}
	return maps.Clone(one.months), true
}

// others returns the bytes of all months but one; the caller holds mu.
func (one *usage) others(m kv.Month) (sum uint64) {
	for month, bytes := range one.months {
		if month != m {
			sum += bytes
		}
	}
	return sum
}

var errUsageUnknown = errors.New("usage of the mailbox is not known")

// used returns the bytes that a mailbox holds in all months, of which the volume of the change holds here.
func (c *change) used(mailbox string, here uint64) (uint64, error) {
	if !c.j.alone {
		others, err := c.othersNow(mailbox)
		return others + here, err
	}
	u := &c.j.usages
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.mailboxes[mailbox]
	if one == nil || !one.whole {
		return 0, errUsageUnknown
	}
	return one.others(c.month) + here, nil
}

// take counts size more bytes of a mailbox in the volume, if with them it holds no more than limit; 0 is no limit. It returns what
// the mailbox held before in all months, where there is a limit.
func (c *change) take(mailbox string, size, limit uint64) (used uint64, ok bool, err error) {
	here, err := total(c, mailbox)
	if err != nil {
		return 0, false, err
	}
	if limit == 0 {
		c.setTotal(mailbox, here, here+size)
		return 0, true, nil
	}
	if !c.j.alone {
		if used, err = c.used(mailbox, here); err != nil || used+size > limit {
			return used, false, err
		}
		c.setTotal(mailbox, here, here+size)
		return used, true, nil
	}
	u := &c.j.usages
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.mailboxes[mailbox]
	if one == nil || !one.whole {
		return 0, false, errUsageUnknown
	}
	if used = one.others(c.month) + here; used+size > limit {
		return used, false, nil
	}
	c.remember(mailbox, here)
	u.setLocked(mailbox, c.month, here+size)
	c.putTotal(mailbox, here+size)
	return used, true, nil
}

// loadUsage reads what a mailbox holds, if that is not known. A month that cannot be read is left out: mail must not wait for it.
func (j *Journal) loadUsage(ctx context.Context, mailbox string) error {
	for {
		one, months := j.usages.start(mailbox, j.now())
		if one == nil {
			return nil
		}
		if months == nil {
			var err error
			if months, err = j.engine.Volumes(ctx); err != nil {
				return fmt.Errorf("list volumes: %w", err)
			}
		}
		for _, m := range months {
			err := j.loadUsageIn(ctx, mailbox, m)
			var month *MonthError
			if errors.As(err, &month) {
				j.usages.unread(mailbox, m)
			} else if err != nil {
				return fmt.Errorf("read usage of %s in %s: %w", mailbox, m, err)
			}
		}
		if j.usages.finish(mailbox, one) {
			return nil
		}
	}
}

// loadUsageIn reads what a mailbox holds in one month.
func (j *Journal) loadUsageIn(ctx context.Context, mailbox string, m kv.Month) error {
	s, err := j.volume(ctx, m, false)
	if errors.Is(err, kv.ErrNoVolume) {
		j.usages.set(mailbox, m, 0)
		return nil
	}
	if err != nil {
		return err
	}
	// An Update, because it waits for those whose outcome is still open.
	err = s.Update(ctx, []string{mailbox}, func(tx kv.Tx) error {
		here, err := total(tx, mailbox)
		if err == nil {
			j.usages.set(mailbox, m, here)
		}
		return err
	})
	return j.monthError(ctx, m, err)
}

// usageByMonth returns what a mailbox holds in each month that holds anything, and those months, oldest first.
func (j *Journal) usageByMonth(ctx context.Context, mailbox string) (map[kv.Month]uint64, []kv.Month, error) {
	if !j.alone {
		j.usages.forget(mailbox)
	}
	for {
		if err := j.loadUsage(ctx, mailbox); err != nil {
			return nil, nil, err
		}
		if months, ok := j.usages.all(mailbox); ok {
			return months, slices.Sorted(maps.Keys(months)), nil
		}
	}
}

// Usage returns the bytes of the messages of all entries of a mailbox, as its quota counts them. What was deleted does not count, nor does
// what a month holds that cannot be read: it is logged which those are.
func (j *Journal) Usage(ctx context.Context, mailbox string) (uint64, error) {
	if err := checkMailbox(mailbox); err != nil {
		return 0, err
	}
	months, _, err := j.usageByMonth(ctx, mailbox)
	var sum uint64
	for _, bytes := range months {
		sum += bytes
	}
	return sum, err
}
