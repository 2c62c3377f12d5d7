package archive

import (
	"context"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// KeyExport is the key under which the log of a mailbox tells of exports of its messages: after has what was selected, as ExportedAll, as
// "messages:6" where messages were chosen, "bundle:7 folder:INBOX/2026-11" of an evidence bundle of that message, "practice:7 folder:Sent/2026-11" of one
// of its practice, or as export.Selection.String has it.
const KeyExport = "export"

// ExportedAll stands for all messages of a mailbox in its log.
const ExportedAll = "all"

// NoteExport puts on record that somebody exports messages of a mailbox. What says which, as for KeyExport. It needs RightRead.
func (a *Archive) NoteExport(ctx context.Context, who policy.Actor, mailbox policy.Address, what string) error {
	if err := a.May(ctx, who, RightRead, mailbox); err != nil {
		return err
	}
	return a.policy.Note(ctx, mailbox, who, KeyExport, func(kv.Tx, string, time.Time) (before, after string, err error) { return "", what, nil })
}
