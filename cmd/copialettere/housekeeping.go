package main

import (
	"context"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/policy/archive"
	"copialettere/policy/housekeeping"
)

// newHouse returns the housekeeper of a daemon.
func newHouse(d *daemon) *housekeeping.Keeper {
	a := d.archive
	return housekeeping.New(housekeeping.Options{
		Journal: a.journal, Policy: a.policy, Settings: a.folder.Settings, Made: a.folder.Made, Logger: d.log, Metrics: a.metrics,
		Checkpoints: a.checkpoints, Refused: a.notices.RetentionRefused, Faulty: a.notices.Faulty,
		Erased: func(archive string) {
			a.search.Forget(archive)
			a.exports.Forget(archive)
		},
		Look: func(now time.Time) {
			d.pec.Load().Look(now)
			a.search.Rest()
		},
		AwaitVerdicts: func(ctx context.Context) error {
			for _, h := range d.hooks {
				if err := h.AwaitVerdicts(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// scheduleOf returns the schedule of the housekeeping that a configuration asks for.
func scheduleOf(c *config.Config, acts *archive.Archive) housekeeping.Schedule {
	return housekeeping.Schedule{
		Archive: acts, Hour: c.Retention.Hour, Minute: c.Retention.Minute, KeepSkips: keepSkips(c),
		KeepLogs: c.Logs.Keep, VerifyEvery: c.Verify.Every, VerifyRate: c.Verify.Rate,
	}
}

func watermarks(c *config.Config) housekeeping.Watermarks {
	return housekeeping.Watermarks{Warn: c.Disk.Warn, Stop: c.Disk.Stop}
}
