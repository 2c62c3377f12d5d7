package journal

import (
	"context"
	"errors"
	"fmt"

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

// Stats returns what every folder holds, by month, mailbox and folder; of one mailbox when mailbox is not empty.
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
	for _, m := range months {
		s, err := j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		if err != nil {
			return nil, err
		}
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
	}
	return list, nil
}
