package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/kv"
)

// Mending is what was done about one store.
type Mending struct {
	Month  kv.Month        `json:"month"`            // empty: the settings
	Kept   int64           `json:"kept"`             // records that could be read in damaged tables
	Old    string          `json:"old,omitempty"`    // where the damaged store is kept
	Losses *journal.Losses `json:"losses,omitempty"` // nil where nothing is lost

	mended *datafolder.Mended // nil where a log of the last writes was damaged, and the store was opened, or will be, without what it has lost
	at     time.Time          // when
}

// lostWrites are the keys that writes which a log has lost may have had. What they had of gaps and of delivery keys is not told: the engine has put the
// lost writes themselves on record as a gap, and Rebuild makes delivery keys anew.
var lostWrites = []journal.KeyRange{{To: []byte("d")}, {From: []byte("e"), To: []byte("g")}, {From: []byte("h")}}

// mendedKinds are the faults for which a store is mended before the journal is opened.
var mendedKinds = []string{
	string(datafolder.FaultCurrent), string(datafolder.FaultManifest), string(datafolder.FaultMissing), string(datafolder.FaultTable),
	string(datafolder.FaultLog), string(datafolder.FaultMended), string(datafolder.FaultHalf),
}

// Mend mends the stores and files of a data folder that nobody has open, as findings of Examine tell that it can. It goes on past a store that cannot be
// mended, which the error names. What it returns is to be settled: see Settle. After an error or a crash call Examine and Mend again.
func Mend(ctx context.Context, o Options, found []Finding) ([]Mending, error) {
	var errs []error
	var months []kv.Month
	logs := make(map[kv.Month]time.Time) // when a log of a month was seen to be damaged
	for _, f := range found {
		if at := logDamaged(f); at.After(logs[f.Month]) {
			logs[f.Month] = at
		}
		switch {
		case f.Kind == KindMode && f.Mendable:
			errs = append(errs, closeToOthers(f.File))
		case f.Kind == KindLeftover:
			errs = append(errs, os.RemoveAll(f.File))
		case f.Mendable && slices.Contains(mendedKinds, f.Kind) && o.inStore(f) && !slices.Contains(months, f.Month):
			months = append(months, f.Month)
		}
	}
	var done []Mending
	for _, m := range months {
		mended, err := datafolder.Mend(ctx, o.Folder, m, o.folder())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if mended.Old != "" {
			done = append(done, Mending{Month: m, Kept: mended.Kept, Old: mended.Old, mended: mended})
		}
	}
	for _, m := range slices.Sorted(maps.Keys(logs)) {
		done = append(done, Mending{Month: m, at: logs[m]})
	}
	return done, errors.Join(errs...)
}

// LeftByLog reports whether a finding is the copy of a damaged log of a month: the store was opened without what that log has lost, and Settle puts on
// record what that was. Once it was, it does no harm to do so again.
func LeftByLog(f Finding) bool {
	return f.Kind == string(datafolder.FaultAside) && !logDamaged(f).IsZero()
}

// logDamaged returns when a log of the last writes of a month was damaged: now where the store was not opened since, else as the copy that was kept aside
// says. Otherwise it is zero.
func logDamaged(f Finding) time.Time {
	if f.Month == "" {
		return time.Time{}
	}
	if f.Kind == string(datafolder.FaultLog) {
		return time.Now().UTC().Truncate(time.Second)
	}
	rest, found := strings.CutPrefix(filepath.Base(f.File), "damaged-")
	seconds, _, _ := strings.Cut(rest, "-")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if f.Kind != string(datafolder.FaultAside) || !found || err != nil {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// inStore reports whether a finding is of a store, and not of the folder of the journal.
func (o Options) inStore(f Finding) bool {
	return f.Month != "" || strings.HasPrefix(f.File, filepath.Join(o.Folder, datafolder.JournalFolder, "settings"))
}

func closeToOthers(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	return os.Chmod(file, info.Mode().Perm()&^0o066)
}

// Settle puts on record in the journal what the mending of its stores has lost, and recreates what follows from the messages. The journal is on a data
// folder that was opened with Mending, and nobody else uses it. After an error or a crash call Examine, Mend and Settle again.
func Settle(ctx context.Context, j *journal.Journal, done []Mending) error {
	for i := range done {
		one := &done[i]
		if one.mended == nil {
			losses, err := j.SettleLosses(ctx, one.Month, lostWrites, one.at)
			if err != nil {
				return err
			}
			one.Losses = losses
			continue
		}
		if one.Month != "" && len(one.mended.Lost) > 0 {
			var lost []journal.KeyRange
			for _, s := range one.mended.Lost {
				lost = append(lost, journal.KeyRange(s))
			}
			at, err := mendedAt(one.Old)
			if err != nil {
				return err
			}
			if one.Losses, err = j.SettleLosses(ctx, one.Month, lost, at); err != nil {
				return err
			}
		}
		if err := one.mended.Settle(); err != nil {
			return fmt.Errorf("note that %s is settled: %w", one.Month, err)
		}
	}
	return nil
}

// mendedAt returns when a store was mended: the name of the one that is kept aside ends with it. It is the same in each try.
func mendedAt(old string) (time.Time, error) {
	seconds, err := strconv.ParseInt(old[strings.LastIndexByte(old, '-')+1:], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s does not tell when it was kept aside: %w", old, err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
