package journal

import (
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// Report is what Verify found. The archive is sound if Faults is 0.
type Report struct {
	Volumes  int   `json:"volumes"`
	Entries  int64 `json:"entries"`
	Imported int64 `json:"imported,omitempty"` // of the entries: brought in later, and not journaled
	Bytes    int64 `json:"bytes"`              // of the messages of all entries
	Chunks   int64 `json:"chunks"`
	Stored   int64 `json:"stored"`   // bytes of all chunks as stored
	Orphans  int64 `json:"orphans"`  // chunks from before the start that no entry refers to, or not yet; no fault
	Unknown  int64 `json:"unknown"`  // entries whose delivery is not known
	Deferred int64 `json:"deferred"` // entries that wait for the MTA's retry
	Gaps     int64 `json:"gaps"`
	// Logs and Leaves are those of the Merkle logs, of which LogsSince tells since when the archive keeps them; Unlogged are entries from before that are
	// in none yet.
	Logs      int64      `json:"logs,omitempty"`
	Leaves    int64      `json:"leaves,omitempty"`
	LogsSince *time.Time `json:"logs_since,omitempty"`
	Unlogged  int64      `json:"unlogged,omitempty"`
	PutBack   int64      `json:"put_back,omitempty"` // logs that a restore from a backup put back to an earlier state, as is on record
	// Lost are messages that were lost with a damaged disk, as their logs say, LogsLost logs that were begun anew because leaves of the one before were
	// lost, and LostSince is when the last of that was put on record. None of it is a fault.
	Lost      int64      `json:"lost,omitempty"`
	LogsLost  int64      `json:"logs_lost,omitempty"`
	LostSince *time.Time `json:"lost_since,omitempty"`
	// Checkpoints are those in the archive, Stamped those of them with a time stamp, Outside the notes that were kept outside and compared.
	Checkpoints    int64      `json:"checkpoints,omitempty"`
	LastCheckpoint *time.Time `json:"last_checkpoint,omitempty"`
	Stamped        int64      `json:"stamped,omitempty"`
	Outside        int64      `json:"outside,omitempty"`

	Faults  int64    `json:"faults"`
	Details []string `json:"details,omitempty"` // the first faults in words, and each month that could not be read
	// PassedOver are the months that could not be read, or not to their end. They are missing from the other numbers, wholly or in part.
	PassedOver []kv.Month `json:"passed_over,omitempty"`

	tell func(detail string) // called for each of Details; may be nil
}

// maxDetails is how many faults a Report describes.
const maxDetails = 100

func (r *Report) fault(format string, args ...any) {
	if r.Faults++; r.Faults <= maxDetails {
		r.detail(fmt.Sprintf(format, args...))
	}
}

func (r *Report) detail(text string) {
	r.Details = append(r.Details, text)
	if r.tell != nil {
		r.tell(text)
	}
}

// lost notes when something was put on record as lost.
func (r *Report) lost(count *int64, at time.Time) {
	if *count++; r.LostSince == nil || r.LostSince.Before(at) {
		r.LostSince = &at
	}
}

// passOver reports a month that cannot be read.
func (r *Report) passOver(m kv.Month, err error) {
	r.Faults++
	r.detail(fmt.Sprintf("%v: it is passed over", err))
	r.PassedOver = append(r.PassedOver, m)
}
