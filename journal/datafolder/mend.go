package datafolder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
	"copialettere/journal/kv/level"
)

// Fault is what is wrong with a file or a store of the journal.
type Fault = level.Fault

// Kinds of faults: see level.FaultKind.
const (
	FaultRegister = level.FaultRegister
	FaultStranger = level.FaultStranger
	FaultAbsent   = level.FaultAbsent
	FaultUnread   = level.FaultUnread
	FaultKey      = level.FaultKey
	FaultCurrent  = level.FaultCurrent
	FaultManifest = level.FaultManifest
	FaultMissing  = level.FaultMissing
	FaultTable    = level.FaultTable
	FaultLog      = level.FaultLog
	FaultMark     = level.FaultMark
	FaultHalf     = level.FaultHalf
	FaultMended   = level.FaultMended
	FaultAside    = level.FaultAside
	FaultForeign  = level.FaultForeign
)

// ErrLoss says that a store is not mended because that would lose keys.
var ErrLoss = level.ErrLoss

// Mended is what Mend has done.
type Mended = level.Mended

// Format returns the number of the format that Open gives a folder.
func (o Options) Format() int { return formatOf(o.Keys) }

// ExamineKeys looks at the keys of the mailboxes in a data folder that nobody has open, and changes nothing: see keyed.Examine. There are none where the
// journal is not encrypted.
func ExamineKeys(folder string, o Options) (keyed.Health, error) {
	id, err := readIdentity(folder)
	if err != nil || !isKeyed(id.Format) {
		return keyed.Health{}, err
	}
	wrappers, err := wrappers(o.Keys)
	if err != nil {
		return keyed.Health{}, err
	}
	return keyed.Examine(filepath.Join(folder, mailboxKeysFile), wrappers)
}

// FormatOf returns the number of the format of a data folder.
func FormatOf(folder string) (int, error) {
	id, err := readIdentity(folder)
	return id.Format, err
}

// ErrUnsettled says that a month was mended, and that what it has lost is not on record yet.
var ErrUnsettled = errors.New("not settled")

// settled returns an error that is ErrUnsettled where Mend has mended a month of the journal and Mended.Settle was not called.
func settled(folder string) error {
	months, err := level.Unsettled(filepath.Join(folder, journalFolder))
	if err != nil {
		return err
	}
	if len(months) > 0 {
		return fmt.Errorf("%s: %v was mended, and what is lost of it is %w: \"copialettere doctor -mend\" goes on", folder, months, ErrUnsettled)
	}
	return nil
}

// engineOptions are those of a journal that is looked at and not opened.
func engineOptions(folder string, o Options) (dir string, opts level.Options, err error) {
	id, err := check(folder)
	return filepath.Join(folder, journalFolder), level.Options{Logger: o.Logger, Archive: id.ID, Keys: o.Keys}, err
}

// Examine looks at the journal in a data folder that nobody has open, reads all of it, and changes nothing: see level.Examine.
// The error is ErrInUse where another process has it open, and otherwise says why it could not look.
func Examine(ctx context.Context, folder string, o Options) ([]Fault, error) {
	dir, opts, err := engineOptions(folder, o)
	if err != nil {
		return nil, err
	}
	faults, err := level.Examine(ctx, dir, opts)
	return faults, mark(err)
}

// Peek calls fn with a view of the settings of a data folder that nobody has open, and changes nothing. The error is ErrInUse as above.
func Peek(ctx context.Context, folder string, o Options, fn func(settings kv.View) error) error {
	dir, opts, err := engineOptions(folder, o)
	if err != nil {
		return err
	}
	return mark(level.Peek(ctx, dir, "", opts, fn))
}

// Mend mends a month of the journal, or the settings for an empty one, in a data folder that nobody has open: see level.Mend.
func Mend(ctx context.Context, folder string, month kv.Month, o Options) (*Mended, error) {
	dir, opts, err := engineOptions(folder, o)
	if err != nil {
		return nil, err
	}
	mended, err := level.Mend(ctx, dir, month, opts)
	return mended, mark(err)
}

// SpoolKeys returns the keys that seal the gap spool: see journal.Options.
func (o Options) SpoolKeys() ([][32]byte, error) { return spoolKeys(o.Keys) }
