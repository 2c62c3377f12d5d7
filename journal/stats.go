package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"copialettere/journal/kv"
)

// FolderStats is what one folder of one month holds.
type FolderStats struct {
	Mailbox     string   `json:"mailbox"`
	Month       kv.Month `json:"month"`
	Folder      string   `json:"folder"`
	Entries     uint64   `json:"entries"`
	Imported    uint64   `json:"imported,omitempty"` // of the entries: brought in later, and not journaled
	Bytes       uint64   `json:"bytes"`              // of the messages, as their owner counts them
	UIDValidity uint32   `json:"uidvalidity"`
	NextUID     uint32   `json:"next_uid"`
}

// Size returns how much the folder holds.
func (f FolderStats) Size() Size { return Size{f.Entries, f.Imported, f.Bytes} }

// Stats returns what every folder holds, by month, mailbox and folder; only those of one mailbox if mailbox is not empty. The error is
// PassedOver if months were; the list then has all others.
func (j *Journal) Stats(ctx context.Context, mailbox string) ([]FolderStats, error) {
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	prefix := []byte{'s'}
	if mailbox != "" {
		if err := checkMailbox(mailbox); err != nil {
			return nil, err
		}
		prefix = mailboxKey('s', mailbox, 0)
	}
	var list []FolderStats
	var passed PassedOver
	for _, m := range months {
		before := len(list)
		for f, err := range j.statsOf(ctx, m, prefix) {
			if err == nil {
				list = append(list, f)
				continue
			}
			list = list[:before]
			if !passed.Add(err) {
				return nil, err
			}
		}
	}
	return list, passed.Err()
}

// Size is how much there is of something.
type Size struct {
	Entries  uint64 `json:"entries"`
	Imported uint64 `json:"imported,omitempty"` // of the entries: brought in later, and not journaled
	Bytes    uint64 `json:"bytes"`              // of the messages, as their owner counts them
}

// Add adds another size.
func (s *Size) Add(other Size) {
	s.Entries += other.Entries
	s.Imported += other.Imported
	s.Bytes += other.Bytes
}

// Sizes returns what each mailbox that has entries holds in all months and folders. It reads the counters one after the other and holds no more
// than its result. The error is PassedOver if months were; the result then has all others.
func (j *Journal) Sizes(ctx context.Context) (map[string]Size, error) {
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	sizes := make(map[string]Size)
	var passed PassedOver
	for _, m := range months {
		here, err := j.sizesIn(ctx, m)
		if err != nil && !passed.Add(err) {
			return nil, err
		}
		for mailbox, size := range here {
			size.Add(sizes[mailbox])
			sizes[mailbox] = size
		}
	}
	return sizes, passed.Err()
}

// sizesIn returns what each mailbox that has entries in a month holds there.
func (j *Journal) sizesIn(ctx context.Context, m kv.Month) (map[string]Size, error) {
	sizes := make(map[string]Size)
	for f, err := range j.statsOf(ctx, m, []byte{'s'}) {
		if err != nil {
			return nil, err
		}
		if f.Entries > 0 {
			size := sizes[f.Mailbox]
			size.Add(f.Size())
			sizes[f.Mailbox] = size
		}
	}
	return sizes, nil
}

// statsOf yields what the folders of one month hold whose counter keys begin with prefix, by mailbox and folder. An error that may be of the
// month alone is a MonthError.
func (j *Journal) statsOf(ctx context.Context, m kv.Month, prefix []byte) iter.Seq2[FolderStats, error] {
	return func(yield func(FolderStats, error) bool) {
		s, err := j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			return
		}
		if err != nil {
			yield(FolderStats{}, j.monthError(ctx, m, err))
			return
		}
		for p, err := range s.Scan(ctx, prefix, after(prefix)) {
			var f FolderStats
			if err == nil {
				f, err = folderStats(m, p)
			}
			if err != nil {
				yield(FolderStats{}, j.monthError(ctx, m, err))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

// folderStats reads the counters of a folder.
func folderStats(m kv.Month, p kv.Pair) (FolderStats, error) {
	box, folder, _, err := splitFolderKey(p.Key)
	if err != nil {
		return FolderStats{}, err
	}
	c, err := decodeCounters(p.Value)
	if err != nil {
		return FolderStats{}, err
	}
	return FolderStats{
		Mailbox: box, Month: m, Folder: folder, Entries: c.entries, Imported: c.imported, Bytes: c.bytes, UIDValidity: c.uidValidity, NextUID: c.nextUID,
	}, nil
}

// ClassStats is what one mailbox holds of one class of messages in one direction.
type ClassStats struct {
	Mailbox   string `json:"mailbox"`
	Direction string `json:"direction"`
	Class     string `json:"class"` // as believed
	Entries   uint64 `json:"entries"`
	Bytes     uint64 `json:"bytes"` // of the messages
}

// ClassStats counts the entries of a mailbox by direction and class, in that order. It reads all of them.
func (j *Journal) ClassStats(ctx context.Context, mailbox string) ([]ClassStats, error) {
	counts := make(map[ClassStats]*ClassStats)
	for e, err := range j.List(ctx, mailbox) {
		if err != nil {
			return nil, fmt.Errorf("count by class: %w", err)
		}
		name := ClassStats{Mailbox: mailbox, Direction: e.Direction.String(), Class: e.Class}
		if counts[name] == nil {
			one := name
			counts[name] = &one
		}
		counts[name].Entries++
		counts[name].Bytes += uint64(e.Size)
	}
	var list []ClassStats
	for _, c := range counts {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b ClassStats) int {
		return cmp.Or(cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Class, b.Class))
	})
	return list, nil
}
