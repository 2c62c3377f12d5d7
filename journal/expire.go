package journal

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"copialettere/journal/kv"
)

// ErrAbnormal says that a run of the retention was refused; ExpireReport.Abnormal tells why.
var ErrAbnormal = errors.New("abnormal run of the retention")

// Defaults of ExpireOptions.
const (
	DefaultMaxShare = 0.2
	DefaultMaxPause = 45 * 24 * time.Hour
)

// expireFloor is how many entries a run may always delete, whatever their share.
const expireFloor = 100

// ExpireOptions are the options of Expire.
type ExpireOptions struct {
	// Mailboxes tells for how many months from its arrival an entry of a mailbox is kept, 0 for always, and whether the caller knows of a
	// hold on the whole mailbox, which spares the run a look at it. Each deletion asks Settings.Held all the same.
	Mailboxes func(mailbox string) (months int, hold bool)

	Now      time.Time     // the time of the run; zero: by the clock of the journal
	DryRun   bool          // only count
	Yes      bool          // run even if that is abnormal
	MaxShare float64       // the share of all entries, from 0 to 1, that a run may delete; 0: DefaultMaxShare
	MaxPause time.Duration // the longest time since the last run before the clock is doubted; 0: DefaultMaxPause
	Progress func(month kv.Month, removed Removed)
}

// Expired is what a run deletes, or would delete, of one mailbox and month.
type Expired struct {
	Mailbox string   `json:"mailbox"`
	Month   kv.Month `json:"month"`
	Removed
	Held uint64 `json:"held,omitempty"` // entries that are expired and stay because they are held
}

// ExpireReport is the result of a run, or the preview of one.
type ExpireReport struct {
	Time     time.Time  `json:"time"`
	DryRun   bool       `json:"dry_run,omitempty"`
	All      uint64     `json:"all"` // entries of the whole journal before the run
	Expired  []Expired  `json:"expired,omitempty"`
	Removed  Removed    `json:"removed"`            // the sum of Expired
	Purged   Removed    `json:"purged"`             // entries deleted before by hand whose grace was over
	Dropped  []kv.Month `json:"dropped,omitempty"`  // months that went as a whole
	Damaged  uint64     `json:"damaged,omitempty"`  // entries that cannot be read, and stay; Verify tells of them
	Abnormal []string   `json:"abnormal,omitempty"` // why the run is abnormal
	// PassedOver are the months that could not be read or worked on. The other numbers leave them out, but for what was deleted before
	// that showed.
	PassedOver []kv.Month `json:"passed_over,omitempty"`
}

// AddMonths returns the time so many calendar months later, in UTC, on the last day of a month too short.
func AddMonths(t time.Time, months int) time.Time {
	t = t.UTC()
	first := time.Date(t.Year(), t.Month()+time.Month(months), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

// expiry is one run.
type expiry struct {
	j      *Journal
	ctx    context.Context
	o      ExpireOptions
	report *ExpireReport
	passed PassedOver
}

// pass says whether an error costs only one month, and then puts that among those passed over.
func (x *expiry) pass(m kv.Month, err error) bool {
	if !x.passed.Add(x.j.monthError(x.ctx, m, err)) {
		return false
	}
	x.report.PassedOver = x.passed.Months()
	return true
}

// Expire deletes the entries older than the retention of their mailbox, and those put aside whose grace is over. A month long over, of
// which all is to go, is dropped as a whole; its gaps and acts stay in the settings. What else it frees is for Sweep. It works in small
// steps: after an error or a crash the next run does the rest. Each run is on record: see Runs.
//
// With ErrAbnormal nothing was deleted. With PassedOver those months are not dropped and nothing more of them is deleted; the others are
// done. In both cases the report is valid.
func (j *Journal) Expire(ctx context.Context, o ExpireOptions) (*ExpireReport, error) {
	if o.Now.IsZero() {
		o.Now = j.now()
	}
	o.Now = o.Now.UTC()
	o.MaxShare = cmp.Or(o.MaxShare, DefaultMaxShare)
	o.MaxPause = cmp.Or(o.MaxPause, DefaultMaxPause)
	ctx, release, err := j.clean(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	x := &expiry{j: j, ctx: ctx, o: o, report: &ExpireReport{Time: o.Now, DryRun: o.DryRun}}
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	if err := x.count(months); err != nil {
		return nil, fmt.Errorf("preview of the retention: %w", err)
	}
	if err := x.judge(); err != nil {
		return nil, err
	}
	if o.DryRun {
		return x.report, x.passed.Err()
	}
	if len(x.report.Abnormal) > 0 && !o.Yes {
		return x.report, ErrAbnormal
	}
	x.report.Removed, x.report.Expired, x.report.Damaged = Removed{}, nil, 0
	// Do not delete what was not counted, even if it can be read by now.
	for _, m := range slices.DeleteFunc(months, x.passed.has) {
		if err := x.month(m); err != nil && !x.pass(m, err) {
			return x.report, fmt.Errorf("retention in %s: %w", m, err)
		}
	}
	if err := j.recordRun(ctx, x.report); err != nil {
		return x.report, err
	}
	return x.report, x.passed.Err()
}

// expires says whether an entry of a mailbox that arrived at t is to go.
func (x *expiry) expires(mailbox string, t time.Time) bool {
	months, hold := x.o.Mailboxes(mailbox)
	return !hold && months > 0 && !AddMonths(t, months).After(x.o.Now)
}

// mailboxEntries is a mailbox in one volume, with the number of its entries.
type mailboxEntries struct {
	mailbox string
	entries uint64
}

func mailboxesIn(ctx context.Context, s kv.Store) ([]mailboxEntries, error) {
	var list []mailboxEntries
	for p, err := range s.Scan(ctx, []byte{'s'}, []byte{'s' + 1}) {
		if err != nil {
			return nil, err
		}
		mailbox, _, _, err := splitFolderKey(p.Key)
		if err != nil {
			return nil, fmt.Errorf("counters %q: %w", p.Key, err)
		}
		c, err := decodeCounters(p.Value)
		if err != nil {
			return nil, fmt.Errorf("counters %q: %w", p.Key, err)
		}
		if n := len(list); n == 0 || list[n-1].mailbox != mailbox {
			list = append(list, mailboxEntries{mailbox: mailbox})
		}
		list[len(list)-1].entries += c.entries
	}
	return list, nil
}

// count fills the report with what the run would delete.
func (x *expiry) count(months []kv.Month) error {
	for _, m := range months {
		list, all, err := x.countMonth(m)
		if err != nil && !x.pass(m, err) {
			return fmt.Errorf("volume %s: %w", m, err)
		}
		x.report.All += all
		for _, here := range list {
			x.add(here)
		}
	}
	return nil
}

// countMonth counts what the run would delete of one month, and all that it holds.
func (x *expiry) countMonth(m kv.Month) (expired []Expired, all uint64, err error) {
	s, err := x.j.volume(x.ctx, m, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	list, err := mailboxesIn(x.ctx, s)
	if err != nil {
		return nil, 0, err
	}
	for _, one := range list {
		all += one.entries
		if one.entries == 0 || !x.expires(one.mailbox, m.Start()) {
			continue
		}
		here := Expired{Mailbox: one.mailbox, Month: m}
		for e, err := range x.expired(s, m, one.mailbox) {
			if err != nil {
				return nil, 0, err
			}
			if held, err := hasKey(x.ctx, s, holdKey(e.Ref)); err != nil {
				return nil, 0, err
			} else if held {
				here.Held++
			} else {
				here.add(e)
			}
		}
		expired = append(expired, here)
	}
	return expired, all, nil
}

func (x *expiry) add(e Expired) {
	if e.Entries == 0 && e.Held == 0 {
		return
	}
	x.report.Expired = append(x.report.Expired, e)
	x.report.Removed.Entries += e.Entries
	x.report.Removed.Bytes += e.Bytes
}

func hasKey(ctx context.Context, s kv.Store, key []byte) (bool, error) {
	_, err := s.Get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// expired yields the entries of a mailbox in one volume that are to go, those that are held included.
func (x *expiry) expired(s kv.Store, m kv.Month, mailbox string) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		prefix := mailboxKey('e', mailbox, 0)
		for p, err := range s.Scan(x.ctx, prefix, after(prefix)) {
			if err != nil {
				yield(nil, err)
				return
			}
			e, err := entryOf(m, p)
			if err != nil {
				x.report.Damaged++ // it must not stop the others
				continue
			}
			if x.expires(mailbox, e.Time) && !yield(e, nil) {
				return
			}
		}
	}
}

// judge fills in why the run is abnormal. Only a clock that is ahead deletes what should stay. The time since the last run reveals it,
// because there is one every day. Entries do not: they came by the same clock. A run on record that is later than this one was made while
// the clock was ahead; or the clock is behind now, which deletes too little, never too much.
func (x *expiry) judge() error {
	r := x.report
	if n := r.Removed.Entries; n > expireFloor && float64(n) > x.o.MaxShare*float64(r.All) {
		r.Abnormal = append(r.Abnormal, fmt.Sprintf("%d of %d entries would be deleted, more than %.0f %%", n, r.All, 100*x.o.MaxShare))
	}
	doubt, err := x.j.doubtClock(x.ctx, x.o.Now, x.o.MaxPause)
	if doubt != "" {
		r.Abnormal = append(r.Abnormal, doubt)
	}
	return err
}

// doubtClock says why the clock that shows now may be ahead, if so.
func (j *Journal) doubtClock(ctx context.Context, now time.Time, maxPause time.Duration) (string, error) {
	last, err := j.LastRun(ctx, now)
	if err != nil || last.IsZero() || now.Sub(last) <= maxPause {
		return "", err
	}
	return fmt.Sprintf("the last run was at %s: is the clock right?", last.Format(time.RFC3339)), nil
}

// month deletes what is to go of one volume.
func (x *expiry) month(m kv.Month) error {
	s, err := x.j.volume(x.ctx, m, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil
	}
	if err != nil {
		return err
	}
	if dropped, err := x.drop(s, m); dropped || err != nil {
		return err
	}
	list, err := mailboxesIn(x.ctx, s)
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.entries == 0 || !x.expires(one.mailbox, m.Start()) {
			continue
		}
		here := Expired{Mailbox: one.mailbox, Month: m}
		err := x.mailbox(s, &here)
		x.add(here)
		if err != nil {
			return err
		}
	}
	return x.j.purge(x.ctx, s, m, x.purges, &x.report.Purged, &x.report.Damaged)
}

// mailbox deletes what is to go of one mailbox in one volume.
func (x *expiry) mailbox(s kv.Store, here *Expired) error {
	entries := groups[Ref]{size: entryGroup, do: func(group []Ref) error {
		var removed Expired
		err := x.j.update(x.ctx, s, here.Month, x.j.deletionLocks(here.Mailbox), func(c *change) error {
			removed = Expired{}
			for _, r := range group {
				e, err := c.remove(r, RemovedExpired, false)
				switch {
				case errors.Is(err, ErrHeld):
					removed.Held++
				case errors.Is(err, ErrNotFound): // moved or deleted meanwhile
				case err != nil:
					return err
				default:
					removed.add(e)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		here.Entries += removed.Entries
		here.Bytes += removed.Bytes
		here.Held += removed.Held
		if x.o.Progress != nil {
			x.o.Progress(here.Month, here.Removed)
		}
		return nil
	}}
	for e, err := range x.expired(s, here.Month, here.Mailbox) {
		if err != nil {
			return err
		}
		if err := entries.add(e.Ref); err != nil {
			return err
		}
	}
	return entries.flush()
}

// purges says whether an entry that was put aside is to go for good. A superseded one has no grace: it stays as long as if it were listed.
func (x *expiry) purges(a *aside, e *Entry) bool {
	if _, hold := x.o.Mailboxes(e.Mailbox); hold {
		return false
	}
	return a.over(x.o.Now) || x.expires(e.Mailbox, e.Time)
}

// A Run is a run of the retention on record; those refused are not.
type Run struct {
	Time    time.Time  `json:"time"`
	Removed Removed    `json:"removed"`
	Purged  Removed    `json:"purged"`
	Dropped []kv.Month `json:"dropped,omitempty"`
	// PassedOver are the months that the run could not read or work on.
	PassedOver []kv.Month `json:"passed_over,omitempty"`
}

func (j *Journal) recordRun(ctx context.Context, r *ExpireReport) error {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return fmt.Errorf("record run of the retention: %w", err)
	}
	value, err := json.Marshal(Run{Time: r.Time, Removed: r.Removed, Purged: r.Purged, Dropped: r.Dropped, PassedOver: r.PassedOver})
	if err != nil {
		return fmt.Errorf("record run of the retention: %w", err)
	}
	key := binary.BigEndian.AppendUint64([]byte{'j'}, uint64(r.Time.UnixNano()))
	err = s.Update(ctx, []string{"retention"}, func(tx kv.Tx) error {
		tx.Put(key, value)
		return nil
	})
	if err != nil {
		return fmt.Errorf("record run of the retention: %w", err)
	}
	return nil
}

// Runs yields the runs of the retention that are on record, oldest first.
func (j *Journal) Runs(ctx context.Context) iter.Seq2[*Run, error] {
	return func(yield func(*Run, error) bool) {
		s, err := j.engine.Settings(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for p, err := range s.Scan(ctx, []byte{'j'}, []byte{'j' + 1}) {
			var r *Run
			if err == nil {
				r = new(Run)
				err = json.Unmarshal(p.Value, r)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// LastRun returns the time of the last run of the retention not after upTo, zero for none: runs of a clock that was ahead do not count.
func (j *Journal) LastRun(ctx context.Context, upTo time.Time) (time.Time, error) {
	var last time.Time
	for r, err := range j.Runs(ctx) {
		if err != nil {
			return time.Time{}, fmt.Errorf("look for the last run of the retention: %w", err)
		}
		if !r.Time.After(upTo) {
			last = r.Time
		}
	}
	return last, nil
}
