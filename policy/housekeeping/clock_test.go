package housekeeping

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"copialettere/journal/metrics"
)

func TestClockOf(t *testing.T) {
	for _, test := range []struct {
		name string
		t    syscall.Timex
		want Clock
		text string
	}{
		{"right, in microseconds", syscall.Timex{Offset: -1500, Maxerror: 20_000}, Clock{true, -1500 * time.Microsecond, 20 * time.Millisecond},
			"synchronised, -1.5ms to correct, at most 20ms off"},
		{"right, in nanoseconds", syscall.Timex{Offset: 1500, Maxerror: 1, Status: 0x2001}, Clock{true, 1500, time.Microsecond},
			"synchronised, 2µs to correct, at most 1µs off"},
		{"nobody keeps it right", syscall.Timex{Maxerror: 16_000_000, Status: 0x40}, Clock{false, 0, 16 * time.Second}, "not synchronised: run a time service"},
	} {
		if got := clockOf(test.t); got != test.want || !strings.HasPrefix(got.String(), test.text) {
			t.Errorf("%s: %+v, %s", test.name, got, got)
		}
	}
}

// TestReadClock asks the kernel of this machine. A sandbox may forbid it; otherwise the error cannot be less than nothing.
func TestReadClock(t *testing.T) {
	c, err := ReadClock()
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOSYS):
	case err != nil || c.MaxError < 0:
		t.Errorf("%+v, %v", c, err)
	}
}

func TestClockWatch(t *testing.T) {
	var log bytes.Buffer
	var clock Clock
	var failure error
	m := new(metrics.Registry)
	w := newClockWatch(func() (Clock, error) { return clock, failure }, m, slog.New(slog.NewTextHandler(&log, nil)))
	right := Clock{true, 2 * time.Millisecond, 30 * time.Millisecond}
	for _, step := range []struct {
		name    string
		clock   Clock
		failure error
		logged  string // "" for nothing
		metrics []string
	}{
		{"right", right, nil, "", []string{"copialettere_clock_synchronised 1\n", "copialettere_clock_offset_seconds 0.002\n", "copialettere_clock_max_error_seconds 0.03\n"}},
		{"no longer", Clock{false, 0, 16 * time.Second}, nil, "level=WARN", []string{"copialettere_clock_synchronised 0\n", "copialettere_clock_max_error_seconds 16\n"}},
		{"still not", Clock{false, 0, 16 * time.Second}, nil, "", nil},
		{"forbidden", Clock{}, syscall.EPERM, "operation not permitted", []string{"copialettere_clock_synchronised NaN\n", "copialettere_clock_offset_seconds NaN\n"}},
		{"still forbidden", Clock{}, syscall.EPERM, "", nil},
		{"right again", right, nil, "level=INFO", []string{"copialettere_clock_synchronised 1\n"}},
	} {
		log.Reset()
		clock, failure = step.clock, step.failure
		w.look()
		if got := log.String(); (got != "") != (step.logged != "") || !strings.Contains(got, step.logged) {
			t.Errorf("%s: logged %q, want %q", step.name, got, step.logged)
		}
		answer := httptest.NewRecorder()
		m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		for _, want := range step.metrics {
			if !strings.Contains(answer.Body.String(), want) {
				t.Errorf("%s: the metrics lack %q:\n%s", step.name, want, answer.Body)
			}
		}
	}
}

// TestClockWatchRun sees that a watch looks at once, and ends with its channel.
func TestClockWatchRun(t *testing.T) {
	looked := make(chan struct{}, 1)
	w := newClockWatch(func() (Clock, error) {
		looked <- struct{}{}
		return Clock{Synchronised: true}, nil
	}, new(metrics.Registry), slog.New(slog.DiscardHandler))
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(quit)
	}()
	<-looked
	close(quit)
	<-ended
}
