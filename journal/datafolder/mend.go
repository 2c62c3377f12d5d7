package datafolder

import (
	"context"
	"path/filepath"

	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
)

// Fault is what is wrong with a file or a store of the journal.
type Fault = level.Fault

// Mended is what Mend has done.
type Mended = level.Mended

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

// CheckSpool reads the gap spool of a data folder that nobody has open: see journal.CheckSpool.
func (o Options) SpoolKeys() ([][32]byte, error) { return spoolKeys(o.Keys) }
