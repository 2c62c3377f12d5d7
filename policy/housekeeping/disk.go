package housekeeping

import (
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// diskEvery is how often a DiskWatch checks the free space of the data folder.
const diskEvery = 5 * time.Second

// Watermark is an amount of free space.
type Watermark interface {
	Of(capacity int64) int64 // in bytes, on a file system of that many bytes
	String() string          // for people
}

// Watermarks say below how much free space a DiskWatch warns, and below how much it stops the journal.
type Watermarks struct{ Warn, Stop Watermark }

// DiskWatch keeps the disk from filling up: below one watermark it warns, below the other it stops the journal from taking new messages.
type DiskWatch struct {
	mu      sync.Mutex
	marks   Watermarks // guarded by mu
	log     *slog.Logger
	statfs  func() (free, capacity int64, err error)
	suspend func(cause error)
	free    *metrics.Gauge

	warned, stopped bool // guarded by mu
}

// NewDiskWatch returns a watch over the file system of a folder. suspend stops the journal from taking messages, for the given cause; with nil
// the journal takes them again.
func NewDiskWatch(folder string, w Watermarks, suspend func(cause error), m *metrics.Registry, log *slog.Logger) *DiskWatch {
	return &DiskWatch{
		marks: w, log: log, suspend: suspend,
		free: m.Gauge("copialettere_disk_free_bytes", "Free space of the data folder's file system for the daemon's user."),
		statfs: func() (int64, int64, error) {
			var fs syscall.Statfs_t
			err := syscall.Statfs(folder, &fs)
			return int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize, err
		},
	}
}

// Run looks at the disk every few seconds until quit is closed.
func (d *DiskWatch) Run(quit <-chan struct{}) {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			d.Look()
		}
	}
}

// Configure puts other watermarks in force.
func (d *DiskWatch) Configure(w Watermarks) {
	d.mu.Lock()
	d.marks = w
	d.mu.Unlock()
	d.Look()
}

// State reports whether there was less free space than the watermarks when a watch last looked.
func (d *DiskWatch) State() (low, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.warned, d.stopped
}

// Spare returns how many bytes are free above the first watermark; fewer than none where less is free.
func (d *DiskWatch) Spare() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	free, capacity, err := d.statfs()
	if err != nil {
		return 0, fmt.Errorf("read the free space of the data folder: %w", err)
	}
	return free - d.marks.Warn.Of(capacity), nil
}

// Look looks at the disk now.
func (d *DiskWatch) Look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	free, capacity, err := d.statfs()
	if err != nil {
		d.log.Error("cannot read the free space of the data folder", "error", err)
		return
	}
	d.free.Set(free)
	warn := free < d.marks.Warn.Of(capacity)
	if warn && !d.warned {
		d.log.Warn("the disk of the data folder is filling up", "free_bytes", free, "warn", d.marks.Warn.String(), "stop", d.marks.Stop.String())
	}
	d.warned = warn
	stop := free < d.marks.Stop.Of(capacity)
	if stop == d.stopped {
		return
	}
	if d.stopped = stop; !stop {
		d.suspend(nil)
		d.log.Info("the journal takes messages again", "free_bytes", free)
		return
	}
	d.suspend(fmt.Errorf("%w: %d bytes are free on its disk, less than the limit of %s", kv.ErrUnavailable, free, d.marks.Stop))
	d.log.Error("the disk of the data folder is nearly full: the journal takes no more messages", "free_bytes", free, "stop", d.marks.Stop.String())
}
