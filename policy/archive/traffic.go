package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/postfix"
)

const (
	trafficDays  = 30              // for how long messages are counted by hour
	verdictDays  = 7               // for how long verdicts are counted
	trafficFor   = 2 * time.Second // how long one call reads; the next one goes on
	maxSurveyed  = 64              // domains of which a Survey keeps what it has counted
	recordsLimit = 200_000         // records that one call counts
)

// traffic is what came in to the mailboxes of a domain. Messages are counted as they are read, each once: what was moved or deleted before that is not
// among them, and what is deleted later still is.
type traffic struct {
	hours   map[int64]*Flow     // by the hour, counted from 1970
	counted map[folderID]uint32 // the UID from which a folder has not been counted
	missing int                 // messages that are not counted yet
	at      time.Time           // when it was last brought up to date
	reasons map[verdictReason]uint64
	capped  bool // there are more records than were counted
	waiting journal.Waiting
}

// Flow is what came in a span of time, without what was put in by hand.
type Flow struct{ Received, Sent journal.Size }

// verdictReason is what was decided, and why.
type verdictReason struct {
	gap    bool
	reason string
}

// Bytes returns how much came in.
func (f Flow) Bytes() uint64 { return f.Received.Bytes + f.Sent.Bytes }

// Day is what came in one day.
type Day struct {
	Start time.Time // in the zone that was asked for
	Flow
}

// Reason is how often something was not archived for one reason.
type Reason struct {
	Gap    bool // the archive lacks it; otherwise it was skipped, as it should be
	Reason string
	Count  uint64
}

// DomainHealth is how well the archives of a domain run. But for Suspended, Disk, Verified, Faults and Retention it is of the domain alone.
type DomainHealth struct {
	Days    []Day // the last 30, oldest first; the last is today
	Missing int   // messages that are not counted yet: look again
	// Journaled is how many messages came in since the time from which Reasons counts.
	Since     time.Time
	Journaled uint64
	Reasons   []Reason // most frequent first
	Capped    bool     // there are more than were counted
	Waiting   journal.Waiting
	// Unrouted are mailboxes whose mail does not pass through the hook, by the last standing check; Checked is false where there is none.
	Unrouted  []string
	Checked   bool
	Suspended bool      // the journal takes no messages
	Disk      DiskState // how much room the disk of the journal has
	Verified  time.Time // when the journal was last verified as a whole; zero for never
	Faults    bool      // that found faults
	Retention time.Time // when the retention last ran; zero for never
}

// DiskState says whether a disk has room.
type DiskState string

// The states of a disk.
const (
	DiskUnknown DiskState = ""
	DiskEnough  DiskState = "enough"
	DiskLow     DiskState = "low"  // below the mark at which the operator is warned
	DiskFull    DiskState = "full" // below the mark at which the journal stops
)

// DomainHealth returns how well the archives of a domain run, by days of a time zone. It needs RightLook in the domain. The first call reads the
// messages of the last 30 days, two seconds at a time; later ones what has come since. Other counts may be a minute old.
func (a *Archive) DomainHealth(ctx context.Context, who policy.Actor, domain string, zone *time.Location) (DomainHealth, error) {
	mailboxes, err := a.ofDomain(ctx, who, domain, "")
	if err != nil {
		return DomainHealth{}, err
	}
	h := DomainHealth{Suspended: a.journal.Suspended() != nil}
	if a.options.Disk != nil {
		h.Disk = a.options.Disk()
	}
	if err := a.count(ctx, domain, mailboxes, zone, &h); err != nil {
		return h, fmt.Errorf("health of %s: %w", domain, err)
	}
	for _, m := range mailboxes {
		for _, r := range a.options.Postfix.Routes(m.Address) {
			if h.Checked = true; r.State == postfix.NotRouted && m.State() == policy.StateOn {
				h.Unrouted = append(h.Unrouted, m.Address.String())
			}
		}
	}
	slices.Sort(h.Unrouted)
	h.Unrouted = slices.Compact(h.Unrouted)
	pass, err := a.journal.LastPass(ctx)
	if err != nil {
		return h, fmt.Errorf("health of %s: %w", domain, err)
	}
	if pass != nil {
		h.Verified, h.Faults = pass.Ended, pass.Report.Faults > 0 || len(pass.Report.PassedOver) > 0
	}
	if h.Retention, err = a.journal.LastRun(ctx, time.Now()); err != nil {
		return h, fmt.Errorf("health of %s: %w", domain, err)
	}
	return h, nil
}

// count fills in what the survey knows of a domain, and brings that up to date first.
func (a *Archive) count(ctx context.Context, domain string, mailboxes []policy.Mailbox, zone *time.Location, h *DomainHealth) error {
	end, err := a.survey.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	t := a.survey.domain(domain)
	archives := make(map[string]bool, len(mailboxes))
	for _, m := range mailboxes {
		archives[m.Archive] = true
	}
	now := time.Now()
	if now.Sub(t.at) > surveyFor || t.missing > 0 {
		if err := t.bring(ctx, a.journal, archives, now); err != nil {
			return err
		}
	}
	h.Since = now.AddDate(0, 0, -verdictDays)
	h.Days, h.Missing, h.Capped, h.Waiting = t.days(now.In(zone)), t.missing, t.capped, t.waiting
	for at, flow := range t.hours {
		if at*hour >= h.Since.Unix() {
			h.Journaled += flow.Received.Entries + flow.Sent.Entries
		}
	}
	for r, n := range t.reasons {
		h.Reasons = append(h.Reasons, Reason{r.gap, r.reason, n})
	}
	slices.SortFunc(h.Reasons, func(a, b Reason) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason)) })
	return nil
}

// domain returns what is known of a domain. The caller holds the turn.
func (s *Survey) domain(name string) *traffic {
	t := s.traffic[name]
	if t == nil {
		if len(s.traffic) >= maxSurveyed {
			oldest := ""
			for name, t := range s.traffic {
				if oldest == "" || t.at.Before(s.traffic[oldest].at) {
					oldest = name
				}
			}
			delete(s.traffic, oldest)
		}
		t = &traffic{hours: make(map[int64]*Flow), counted: make(map[folderID]uint32)}
		s.traffic[name] = t
	}
	return t
}

// midnight returns the beginning of a day, so many days after that of a time.
func midnight(t time.Time, days int) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day()+days, 0, 0, 0, 0, t.Location())
}

const hour = int64(time.Hour / time.Second)

// days returns the flow of the last days, the last of them that of a time, in its zone.
func (t *traffic) days(now time.Time) []Day {
	days := make([]Day, trafficDays)
	for i := range days {
		days[i].Start = midnight(now, i+1-trafficDays)
		end := midnight(now, i+2-trafficDays).Unix()
		for h := days[i].Start.Unix() / hour; h*hour < end; h++ {
			if flow := t.hours[h]; flow != nil {
				days[i].Received.Add(flow.Received)
				days[i].Sent.Add(flow.Sent)
			}
		}
	}
	return days
}

// bring counts what has come since the last time, and reads the records anew.
func (t *traffic) bring(ctx context.Context, j *journal.Journal, archives map[string]bool, now time.Time) error {
	since := now.AddDate(0, 0, -trafficDays-1)
	maps.DeleteFunc(t.hours, func(h int64, _ *Flow) bool { return h*hour < since.Unix() })
	first := kv.MonthOf(since)
	maps.DeleteFunc(t.counted, func(id folderID, _ uint32) bool { return id.month < first })
	t.missing = 0
	for month := first; month <= kv.MonthOf(now); month = month.Next() {
		stats, err := j.MonthStats(ctx, month)
		if errors.Is(err, journal.ErrDamaged) {
			continue // the list of mailboxes tells
		}
		if err != nil {
			return err
		}
		for _, f := range stats {
			if !archives[f.Mailbox] || f.Folder != journal.FolderOf(journal.Received) && f.Folder != journal.FolderOf(journal.Sent) {
				continue
			}
			if err := t.folder(ctx, j, f, since, now.Add(trafficFor)); err != nil {
				return err
			}
		}
	}
	if err := t.records(ctx, j, archives, now); err != nil {
		return err
	}
	t.at = now
	return nil
}

// folder counts the messages of a folder that are not counted yet, until a time.
func (t *traffic) folder(ctx context.Context, j *journal.Journal, f journal.FolderStats, since, until time.Time) error {
	id := folderID{f.Mailbox, f.Month, f.Folder}
	next := max(t.counted[id], 1)
	if next >= f.NextUID {
		return nil
	}
	if time.Now().After(until) {
		t.missing += int(f.NextUID - next)
		return nil
	}
	for o, err := range j.Outlines(ctx, f.Mailbox, f.Month, f.Folder, next, f.NextUID-1) {
		switch {
		case errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrNotFound) || o.Imported:
			continue
		case err != nil:
			return err
		case time.Now().After(until):
			t.counted[id] = o.UID
			t.missing += int(f.NextUID - o.UID)
			return nil
		case o.Dated.Before(since):
			continue
		}
		h := o.Dated.Unix() / hour
		if t.hours[h] == nil {
			t.hours[h] = new(Flow)
		}
		into := &t.hours[h].Received
		if f.Folder == journal.FolderOf(journal.Sent) {
			into = &t.hours[h].Sent
		}
		into.Add(journal.Size{Entries: 1, Bytes: uint64(o.Size)})
	}
	t.counted[id] = f.NextUID
	return nil
}

// records counts the skips and gaps of the last days by their reasons, and what has no outcome.
func (t *traffic) records(ctx context.Context, j *journal.Journal, archives map[string]bool, now time.Time) error {
	t.reasons, t.capped, t.waiting = make(map[verdictReason]uint64), false, journal.Waiting{}
	n := 0
	for r, err := range j.EveryRecordSince(ctx, now.AddDate(0, 0, -verdictDays), func(archive string) bool { return archives[archive] }) {
		if err != nil {
			return err
		}
		if n++; n > recordsLimit {
			t.capped = true
			break
		}
		t.reasons[verdictReason{r.Kind == journal.Gap, r.Reason}]++
	}
	waiting, err := j.WaitingSince(ctx, now.AddDate(0, 0, -trafficDays))
	if err != nil {
		return err
	}
	for archive, w := range waiting {
		if archives[archive] {
			t.waiting.Deferred += w.Deferred
			t.waiting.Unknown += w.Unknown
		}
	}
	return nil
}
