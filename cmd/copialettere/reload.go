package main

import (
	"errors"
	"log/slog"
	"os"
	"strings"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/policy/pec/files"
)

// reloading is what a daemon needs to reload its configuration. With the zero value it never does.
type reloading struct {
	file   string
	level  *slog.LevelVar   // of its log
	signal <-chan os.Signal // SIGHUP
}

// reload reloads the configuration at each signal, until the daemon stops.
func (d *daemon) reload(r reloading) {
	for {
		select {
		case <-d.quit:
			return
		case <-r.signal:
		}
		if err := d.reloadOnce(r); err != nil {
			var bad config.Errors
			if errors.As(err, &bad) {
				for _, one := range bad {
					d.log.Error("configuration not taken", "error", one.Error())
				}
			} else {
				d.log.Error("configuration not taken", "error", err)
			}
			d.log.Error("the configuration could not be reloaded: the one before stays in force", "file", r.file)
		}
	}
}

// reloadOnce reads the file and puts in force all that needs no restart. On an error it changes nothing.
func (d *daemon) reloadOnce(r reloading) error {
	file, err := config.Load(r.file)
	if err != nil {
		return err
	}
	running := d.config.Load()
	next, changes := running.Reloaded(file)
	watch := d.pec.Load()
	if pathsOf(running.PEC) != pathsOf(next.PEC) {
		// Read them all first: an error in the last must not leave the first in force.
		sources := sourcesOf(next.PEC)
		if err := files.Check(sources); err != nil {
			return err
		}
		if watch, err = files.Open(sources, d.archive.metrics, d.log); err != nil {
			return err
		}
	}
	if err := d.archive.policy.Reconfigure(policyConfig(next)); err != nil {
		return err
	}
	if r.level != nil {
		r.level.Set(next.Log.Level)
	}
	d.configure(next)
	d.pec.Store(watch)
	d.disk.Configure(watermarks(next))
	if h := d.hooks[journal.Received]; h != nil {
		h.SetDeliverOnJournalError(next.Received.OnJournalError == config.JournalErrorDeliver)
	}
	if h := d.hooks[journal.Sent]; h != nil {
		h.SetDeliverOnJournalError(next.Sent.OnJournalError == config.JournalErrorDeliver)
	}
	for _, w := range next.Warnings {
		d.log.Warn(w.Error())
	}
	var taken, restart []string
	for _, c := range changes {
		if c.Restart {
			restart = append(restart, c.Key)
		} else {
			taken = append(taken, c.Key)
		}
	}
	d.log.Info("configuration reloaded", "file", r.file, "taken", strings.Join(taken, ", "))
	if len(restart) > 0 {
		d.log.Warn("the configuration has changes that need a restart", "keys", strings.Join(restart, ", "))
	}
	return nil
}

// pathsOf returns the keys of [pec] whose change needs its files to be read again.
func pathsOf(c config.PEC) config.PEC {
	c.Trust = ""
	return c
}
