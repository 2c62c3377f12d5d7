package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/kv"
)

// FolderStats is what one folder of one month holds.
type FolderStats struct {
	Mailbox     string   `json:"mailbox"`
	Month       kv.Month `json:"month"`
	Folder      string   `json:"folder"`
	Entries     uint64   `json:"entries"`
	Bytes       uint64   `json:"bytes"` // of the messages, as their owner counts them
	UIDValidity uint32   `json:"uidvalidity"`
	NextUID     uint32   `json:"next_uid"`
}

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
		here, err := j.statsOf(ctx, m, prefix)
		if err != nil && !passed.Add(j.monthError(ctx, m, err)) {
			return nil, err
		}
		list = append(list, here...)
	}
	return list, passed.Err()
}

// statsOf returns what the folders of one month hold whose counter keys begin with prefix.
func (j *Journal) statsOf(ctx context.Context, m kv.Month, prefix []byte) ([]FolderStats, error) {
	s, err := j.volume(ctx, m, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []FolderStats
	for p, err := range s.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, err
		}
		box, folder, _, err := splitFolderKey(p.Key)
		if err != nil {
			return nil, err
		}
		c, err := decodeCounters(p.Value)
		if err != nil {
			return nil, err
		}
		list = append(list, FolderStats{
			Mailbox: box, Month: m, Folder: folder, Entries: c.entries, Bytes: c.bytes, UIDValidity: c.uidValidity, NextUID: c.nextUID,
		})
	}
	return list, nil
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
