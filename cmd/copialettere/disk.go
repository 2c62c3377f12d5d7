package main

import (
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// diskEvery is how often the free space of the data folder is looked at.
const diskEvery = 5 * time.Second

// diskWatch keeps the disk from filling up: below one watermark it warns, below the other the journal takes no new messages.
type diskWatch struct {
	mu      sync.Mutex
	config  config.Disk // guarded by mu
	log     *slog.Logger
	statfs  func() (free, capacity int64, err error)
	suspend func(cause error)
	free    *metrics.Gauge

	warned, stopped bool // guarded by mu
}

func newDiskWatch(c *config.Config, a *dataFolder, log *slog.Logger) *diskWatch {
	return &diskWatch{
		config: c.Disk, log: log, suspend: a.journal.Suspend,
		free: a.metrics.Gauge("copialettere_disk_free_bytes", "Free space of the data folder's file system for the daemon's user."),
		statfs: func() (int64, int64, error) {
			var fs syscall.Statfs_t
			err := syscall.Statfs(c.Data, &fs)
			return int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize, err
		},
	}
}

// run looks at the disk now and then until quit is closed.
func (d *diskWatch) run(quit <-chan struct{}) {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			d.look()
		}
	}
}

// configure puts other watermarks in force.
func (d *diskWatch) configure(c config.Disk) {
	d.mu.Lock()
	d.config = c
	d.mu.Unlock()
	d.look()
}

func (d *diskWatch) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	free, capacity, err := d.statfs()
	if err != nil {
		d.log.Error("free space of the data folder not known", "error", err)
		return
	}
	d.free.Set(free)
	warn := free < d.config.Warn.Of(capacity)
	if warn && !d.warned {
		d.log.Warn("the disk of the data folder fills up", "free_bytes", free, "warn", d.config.Warn.String(), "stop", d.config.Stop.String())
	}
	d.warned = warn
	stop := free < d.config.Stop.Of(capacity)
	if stop == d.stopped {
		return
	}
	if d.stopped = stop; !stop {
		d.suspend(nil)
		d.log.Info("the journal takes messages again", "free_bytes", free)
		return
	}
	d.suspend(fmt.Errorf("%w: %d bytes are free on its disk, and it stops below %s", kv.ErrUnavailable, free, d.config.Stop))
	d.log.Error("the disk of the data folder is nearly full: the journal takes no more messages", "free_bytes", free, "stop", d.config.Stop.String())
}
