package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// Usage is what one mailbox takes, for billing. Others script against its names.
type Usage struct {
	Mailbox string     `json:"mailbox"`
	Domain  string     `json:"domain"`
	Archive string     `json:"archive"`         // as in Mailbox
	Since   *time.Time `json:"since,omitempty"` // as in Mailbox; absent without an archive
	journal.Size
	Quota   int64    `json:"quota,omitempty"`   // bytes; absent for none
	Percent *float64 `json:"percent,omitempty"` // of the quota, rounded down to a tenth; absent without one
}

// Usages yields what each mailbox takes that was ever set up, in the order of the names of their archives; with a domain only those of the domain. It reads
// counters, no entries. At the end comes journal.PassedOver, as an error, if months that cannot be read are not counted.
func (a *Archive) Usages(ctx context.Context, domain string) iter.Seq2[Usage, error] {
	return func(yield func(Usage, error) bool) {
		if domain != "" {
			var err error
			if domain, err = policy.CanonicalDomain(domain); err != nil {
				yield(Usage{}, err)
				return
			}
		}
		sizes, err := a.journal.Sizes(ctx)
		var passed journal.PassedOver
		if err != nil && !errors.As(err, &passed) {
			yield(Usage{}, fmt.Errorf("usage: %w", err))
			return
		}
		for m, err := range a.policy.Mailboxes(ctx) {
			if err == nil && domain != "" && m.Address.Domain != domain {
				continue
			}
			if !yield(viewUsage(m, sizes[m.Archive]), err) || err != nil {
				return
			}
		}
		if err := passed.Err(); err != nil {
			yield(Usage{}, err)
		}
	}
}

func viewUsage(m policy.Mailbox, size journal.Size) Usage {
	s := m.Settings
	u := Usage{Mailbox: m.Address.String(), Domain: m.Address.Domain, Archive: string(m.State()), Since: timeOrNil(s.Since), Size: size, Quota: s.Quota}
	if s.Quota > 0 {
		percent := float64(int64(float64(size.Bytes)/float64(s.Quota)*1000)) / 10
		u.Percent = &percent
	}
	return u
}

// MonthUsage is what one mailbox holds of the mail of one month. The parts are by folder, where messages are now: received mail comes into INBOX,
// and a message that was moved counts where it was moved to. Others script against its names.
type MonthUsage struct {
	Mailbox string   `json:"mailbox"`
	Month   kv.Month `json:"month"`
	journal.Size
	Received journal.Size `json:"received"` // in INBOX
	Sent     journal.Size `json:"sent"`     // in Sent
	Trash    journal.Size `json:"trash"`    // in Trash
	Archived journal.Size `json:"archived"` // in Archived, by hand
	Imports  journal.Size `json:"imports"`  // in Imported and the folders in it, from files and other servers
}

// MonthUsages yields what a mailbox holds by month of arrival, oldest first, without the months of which it holds nothing. It reads counters, no
// entries. At the end comes journal.PassedOver, as an error, if months that cannot be read are left out.
func (a *Archive) MonthUsages(ctx context.Context, address policy.Address) iter.Seq2[MonthUsage, error] {
	return func(yield func(MonthUsage, error) bool) {
		m, err := a.there(ctx, address)
		if err != nil {
			yield(MonthUsage{}, err)
			return
		}
		stats, err := a.journal.Stats(ctx, m.Archive)
		var passed journal.PassedOver
		if err != nil && !errors.As(err, &passed) {
			yield(MonthUsage{}, fmt.Errorf("usage: %w", err))
			return
		}
		months := make(map[kv.Month]*MonthUsage)
		for _, f := range stats {
			if f.Entries == 0 {
				continue
			}
			if months[f.Month] == nil {
				months[f.Month] = &MonthUsage{Mailbox: address.String(), Month: f.Month}
			}
			months[f.Month].count(f)
		}
		for _, month := range slices.Sorted(maps.Keys(months)) {
			if !yield(*months[month], nil) {
				return
			}
		}
		if err := passed.Err(); err != nil {
			yield(MonthUsage{}, err)
		}
	}
}

// count adds what a folder holds.
func (u *MonthUsage) count(f journal.FolderStats) {
	size := f.Size()
	u.Add(size)
	top, _, _ := strings.Cut(f.Folder, FolderSeparator)
	switch top {
	case journal.FolderOf(journal.Received):
		u.Received.Add(size)
	case journal.FolderOf(journal.Sent):
		u.Sent.Add(size)
	case journal.Trash:
		u.Trash.Add(size)
	case journal.Archived:
		u.Archived.Add(size)
	case journal.Imported:
		u.Imports.Add(size)
	}
}

// Latest is when a mailbox last got a message and when it last sent one, as far as its archive has it. Others script against its names.
type Latest struct {
	Received *time.Time `json:"received,omitempty"`
	Sent     *time.Time `json:"sent,omitempty"`
}

// Latest returns the times of the newest messages of a mailbox. What was put in by hand counts as none, nor does what was moved elsewhere. The error is
// journal.PassedOver if months that cannot be read are left out.
func (a *Archive) Latest(ctx context.Context, address policy.Address) (Latest, error) {
	m, err := a.there(ctx, address)
	if err != nil {
		return Latest{}, err
	}
	stats, err := a.journal.Stats(ctx, m.Archive)
	var passed journal.PassedOver
	if err != nil && !errors.As(err, &passed) {
		return Latest{}, fmt.Errorf("newest messages of %s: %w", address, err)
	}
	v, err := a.latest(ctx, stats)
	if err != nil {
		return v, fmt.Errorf("newest messages of %s: %w", address, err)
	}
	return v, passed.Err()
}

// latest returns the times of the newest messages in the folders of a mailbox.
func (a *Archive) latest(ctx context.Context, stats []journal.FolderStats) (v Latest, err error) {
	slices.SortStableFunc(stats, func(f, g journal.FolderStats) int { return cmp.Compare(g.Month, f.Month) })
	for _, f := range stats {
		var into **time.Time
		switch f.Folder {
		case journal.FolderOf(journal.Received):
			into = &v.Received
		case journal.FolderOf(journal.Sent):
			into = &v.Sent
		}
		if into == nil || *into != nil || f.Entries == f.Imported {
			continue
		}
		if *into, err = a.latestOf(ctx, f); err != nil {
			return v, err
		}
	}
	return v, nil
}

// latestOf returns the time of the newest message of a folder that was not put in by hand; nil where there is none. It reads backwards, in steps that
// grow.
func (a *Archive) latestOf(ctx context.Context, f journal.FolderStats) (newest *time.Time, err error) {
	for last, step := f.NextUID-1, uint32(8); last > 0 && last < math.MaxUint32 && newest == nil; step *= 4 {
		first := max(last, step) - step + 1
		for e, err := range a.journal.FiledHeads(ctx, f.Mailbox, f.Month, f.Folder, first, last) {
			switch {
			case errors.Is(err, journal.ErrDamaged) || err == nil && e.Imported != nil:
			case err != nil:
				return nil, err
			default:
				newest = &e.Time
			}
		}
		last = first - 1
	}
	return newest, nil
}

// Span is of when the messages of a mailbox are, by the date that lists them: that of their arrival, or the own one of what was put in by hand.
type Span struct {
	Oldest, Newest time.Time // both zero where there are no messages, or none that has a date
}

func (s *Span) add(at time.Time) {
	if s.Oldest.IsZero() || at.Before(s.Oldest) {
		s.Oldest = at
	}
	if at.After(s.Newest) {
		s.Newest = at
	}
}

// Span returns of when the messages of a mailbox are. It reads no more than the first and the last month, and folders that hold what was put in by hand.
// The error is journal.PassedOver if months that cannot be read are left out.
func (a *Archive) Span(ctx context.Context, address policy.Address) (span Span, err error) {
	m, err := a.there(ctx, address)
	if err != nil {
		return span, err
	}
	stats, err := a.journal.Stats(ctx, m.Archive)
	var passed journal.PassedOver
	if err != nil && !errors.As(err, &passed) {
		return span, fmt.Errorf("oldest and newest message of %s: %w", address, err)
	}
	stats = slices.DeleteFunc(stats, func(f journal.FolderStats) bool { return f.Entries == 0 })
	var first, last kv.Month
	for _, f := range stats {
		if f.Entries > f.Imported {
			first, last = min(cmp.Or(first, f.Month), f.Month), max(last, f.Month)
		}
	}
	for _, f := range stats {
		if f.Month != first && f.Month != last && f.Imported == 0 {
			continue
		}
		for o, err := range a.journal.Outlines(ctx, f.Mailbox, f.Month, f.Folder, 1, math.MaxUint32) {
			switch {
			case passed.Add(err), errors.Is(err, journal.ErrDamaged), errors.Is(err, journal.ErrNotFound):
			case err != nil:
				return span, fmt.Errorf("oldest and newest message of %s: %w", address, err)
			case !o.Dated.IsZero():
				span.add(o.Dated)
			}
		}
	}
	return span, passed.Err()
}
