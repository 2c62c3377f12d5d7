package housekeeping

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// percent is a watermark in percent.
type percent int64

func (p percent) Of(capacity int64) int64 { return capacity / 100 * int64(p) }
func (p percent) String() string          { return fmt.Sprintf("%d%%", int64(p)) }

func TestDiskWatch(t *testing.T) {
	var log bytes.Buffer
	var free int64
	var suspended error
	var failure error
	d := &DiskWatch{
		marks: Watermarks{Warn: percent(10), Stop: percent(3)},
		log:   slog.New(slog.NewTextHandler(&log, nil)), free: new(metrics.Gauge),
		statfs:  func() (int64, int64, error) { return free, 1000, failure },
		suspend: func(cause error) { suspended = cause },
	}
	for _, step := range []struct {
		name    string
		free    int64
		stopped bool
		logged  string // what the step adds to the log; empty for nothing
	}{
		{"plenty", 500, false, ""},
		{"at the first watermark", 100, false, ""},
		{"below it", 99, false, "filling up"},
		{"still below it", 98, false, ""},
		{"at the second", 30, false, ""},
		{"below that", 29, true, "nearly full"},
		{"still", 1, true, ""},
		{"room again", 31, false, "again"},
		{"full again", 0, true, "nearly full"},
		{"all free", 1000, false, "again"},
		{"fills up once more", 50, false, "filling up"},
	} {
		log.Reset()
		free = step.free
		d.Look()
		if (suspended != nil) != step.stopped || suspended != nil && !errors.Is(suspended, kv.ErrUnavailable) {
			t.Errorf("%s: suspended for %v, want %v", step.name, suspended, step.stopped)
		}
		if got := log.String(); (got != "") != (step.logged != "") || !strings.Contains(got, step.logged) {
			t.Errorf("%s: logged %q, want %q", step.name, got, step.logged)
		}
		if spare, err := d.Spare(); spare != step.free-100 || err != nil {
			t.Errorf("%s: %d bytes to spare, %v", step.name, spare, err)
		}
		if d.free.Value() != step.free {
			t.Errorf("%s: metric says %d", step.name, d.free.Value())
		}
	}
	failure = errors.New("no such disk")
	log.Reset()
	if _, err := d.Spare(); !errors.Is(err, failure) {
		t.Errorf("to spare on a disk that fails: %v", err)
	}
	if d.Look(); !strings.Contains(log.String(), "no such disk") {
		t.Errorf("a failed look was logged as %q", log.String())
	}
}
