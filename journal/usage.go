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

// usages are the bytes that mailboxes hold, month by month, for mailboxes that somebody asked about.
//
// A quota covers all months, but an Update sees only its own volume. With one process usages knows the others exactly. Every Update that
// changes the total of a mailbox says so here, while it holds the lock of the mailbox in its volume (change.setTotal): a month has the total
// of its newest Update even before that is durable. An Update that fails takes back what it said. If its outcome is unknown the mailbox is
// forgotten, and read again by Updates, which run after the doubtful one. Asking about the other months and taking the room is one step
// under mu: of two Updates in two volumes the second sees the first.
//
// Where other processes write as well, none of this counts: the Update reads the other months itself (change.readOthers).
type usages struct {
	mu        sync.Mutex
	mailboxes map[string]*usage // guarded by mu
}

// usage is what one mailbox holds; guarded by usages.mu.
type usage struct {
	months map[kv.Month]uint64 // without zeros
	whole  bool                // all months were asked
	// unknown are the months that could not be read: until they can, they count as last known, or not at all. They are tried again at
	// retryAt.
	unknown map[kv.Month]bool
	retryAt time.Time
}

// usageRetry is how long a month that could not be read is left alone.
const usageRetry = time.Minute

// maxUsages bounds the memory for usages: about 100 bytes for each month of a mailbox.
const maxUsages = 20_000

// set says what the newest Update of a volume leaves of a mailbox, in bytes.
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

// unread says that the total of a mailbox in a month cannot be read now.
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

// start begins to follow a mailbox. It returns nil if there is nothing to read, and for a mailbox already followed the months to try
// again.
func (u *usages) start(mailbox string, now time.Time) (one *usage, again []kv.Month) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one = u.mailboxes[mailbox]
	if one != nil && one.whole {
		// Wait no longer even when the clock was set back.
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

// finish says that all months of a mailbox were read. It returns false if the mailbox was forgotten since start.
func (u *usages) finish(mailbox string, one *usage) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mailboxes[mailbox] != one {
		return false
	}
	one.whole = true
	return true
}

// all returns what a mailbox holds in each month; ok is false if that is not known.
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

// used returns the bytes that a mailbox holds in all months; here is its total in the volume of the change.
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

// take counts size more bytes of a mailbox in the volume if it then holds at most limit, 0 for no limit. With a limit it returns what the
// mailbox held before in all months.
func (c *change) take(mailbox string, size, limit uint64) (used uint64, ok bool, err error) {
	here, err := c.total(mailbox)
	if err != nil {
		return 0, false, err
	}
	if limit == 0 {
		if err := c.setTotal(mailbox, here, here+size); err != nil {
			return 0, false, err
		}
		return 0, true, nil
	}
	if !c.j.alone {
		if used, err = c.used(mailbox, here); err != nil || used+size > limit {
			return used, false, err
		}
		if err := c.setTotal(mailbox, here, here+size); err != nil {
			return 0, false, err
		}
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
	return used, true, c.putTotal(mailbox, here+size)
}

// loadUsage reads what a mailbox holds if that is not known. It leaves out a month that cannot be read: mail must not wait for it.
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
	// An Update waits for those whose outcome is still open.
	err = s.Update(ctx, []string{mailbox}, func(tx kv.Tx) error {
		here, err := total(tx, mailbox)
		if err == nil {
			j.usages.set(mailbox, m, here)
		}
		return err
	})
	return j.monthError(ctx, m, err)
}

// usageByMonth returns what a mailbox holds by month, and the months in which it holds anything, oldest first.
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

// Usage returns the bytes of the messages of all entries of a mailbox, as its quota counts them. Deleted entries do not count, nor do
// months that cannot be read; those are logged.
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
