package housekeeping

import (
	"fmt"
	"log/slog"
	"math"
	"syscall"
	"time"

	"copialettere/journal/metrics"
)

// clockEvery is how often a ClockWatch looks at the clock.
const clockEvery = time.Minute

// Clock is what the kernel knows of how right the machine's clock is (adjtimex(2)). The time of arrival is evidence, so it matters.
type Clock struct {
	Synchronised bool          // a time service keeps the clock right, and has told the kernel so
	Offset       time.Duration // what is still to be corrected; the clock is behind where it is positive
	MaxError     time.Duration // how far the clock is off at most; it grows while nothing corrects it
}

// Bits of the status that adjtimex(2) returns.
const (
	statusUnsynchronised = 0x0040 // STA_UNSYNC
	statusNanoseconds    = 0x2000 // STA_NANO: the offset is in nanoseconds, otherwise in microseconds
)

// ReadClock asks the kernel about the clock, and changes nothing. A sandbox may forbid that, which is an error.
func ReadClock() (Clock, error) {
	var t syscall.Timex
	if _, err := syscall.Adjtimex(&t); err != nil {
		return Clock{}, fmt.Errorf("ask the kernel whether the clock is right (adjtimex): %w", err)
	}
	return clockOf(t), nil
}

func clockOf(t syscall.Timex) Clock {
	unit := time.Microsecond
	if t.Status&statusNanoseconds != 0 {
		unit = time.Nanosecond
	}
	return Clock{
		Synchronised: t.Status&statusUnsynchronised == 0,
		Offset:       time.Duration(t.Offset) * unit,
		MaxError:     time.Duration(t.Maxerror) * time.Microsecond,
	}
}

// String describes the clock, for people.
func (c Clock) String() string {
	if !c.Synchronised {
		return "not synchronised: run a time service, such as systemd-timesyncd, or chrony with rtcsync in its configuration"
	}
	return fmt.Sprintf("synchronised, %s to correct, at most %s off", c.Offset.Round(time.Microsecond), c.MaxError.Round(time.Microsecond))
}

// ClockWatch warns while nothing keeps the clock of the machine right.
type ClockWatch struct {
	log     *slog.Logger
	read    func() (Clock, error)
	problem string // what was last logged; "" while the clock is right
}

// NewClockWatch returns a watch over the clock of the machine, and adds its state to the metrics. Each scrape reads the clock anew.
func NewClockWatch(m *metrics.Registry, log *slog.Logger) *ClockWatch {
	return newClockWatch(ReadClock, m, log)
}

func newClockWatch(read func() (Clock, error), m *metrics.Registry, log *slog.Logger) *ClockWatch {
	gauge := func(name, help string, value func(Clock) float64) {
		m.GaugeFunc(name, help, func() float64 {
			c, err := read()
			if err != nil {
				return math.NaN()
			}
			return value(c)
		})
	}
	gauge("copialettere_clock_synchronised", "1 while a time service keeps the clock of the machine right, otherwise 0; NaN where the kernel does not tell.",
		func(c Clock) float64 {
			if c.Synchronised {
				return 1
			}
			return 0
		})
	gauge("copialettere_clock_offset_seconds", "What a time service is still to correct: positive where the clock is behind.",
		func(c Clock) float64 { return c.Offset.Seconds() })
	gauge("copialettere_clock_max_error_seconds", "How far the clock is off at most, as the kernel estimates it.",
		func(c Clock) float64 { return c.MaxError.Seconds() })
	return &ClockWatch{log: log, read: read}
}

// Run looks at the clock now and every minute until quit is closed.
func (w *ClockWatch) Run(quit <-chan struct{}) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		w.look()
		select {
		case <-quit:
			return
		case <-tick.C:
		}
	}
}

// look logs what has changed.
func (w *ClockWatch) look() {
	c, err := w.read()
	var problem string
	switch {
	case err != nil:
		problem = err.Error()
	case !c.Synchronised:
		problem = c.String()
	}
	if problem == w.problem {
		return
	}
	if w.problem = problem; problem != "" {
		w.log.Warn("nothing vouches for the clock, and with it for the times of arrival in the archive", "clock", problem)
	} else {
		w.log.Info("the clock is synchronised", "offset", c.Offset, "max_error", c.MaxError)
	}
}
