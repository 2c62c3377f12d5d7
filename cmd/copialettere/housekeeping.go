package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/httpd"
	"copialettere/policy"
	"copialettere/policy/notice"
)

// How often the daemon keeps house, forgets the records of skips, and gives the room of deleted messages back.
const (
	housekeeping = time.Minute
	expireEvery  = time.Hour
	sweepEvery   = 90 * time.Minute // a chunk goes in the second sweep, at least an hour after the first
	sweepAllDay  = time.Sunday      // when a sweep reads the whole journal, for what broken transfers have left
	remindEvery  = 24 * time.Hour   // how often it is logged that a hold stands in the way of an erasure
)

// wait keeps house until ctx ends or a listener fails.
func (d *daemon) wait(ctx context.Context) {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	k := newKeeper(d)
	// What is to be erased at once does not wait for a sweep or a run of the retention.
	within, stop := context.WithCancel(ctx)
	var erasing sync.WaitGroup
	erasing.Go(func() { k.eraseWhenAsked(within) })
	defer erasing.Wait()
	defer stop()
	for {
		k.keepHouse(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case err := <-d.failed:
			d.log.Error("listener failed", "error", err)
			return
		case <-tick.C:
		}
	}
}

// keeper does what is due in the archive beside the mail: each step goes on where it was broken off.
type keeper struct {
	*daemon
	expired time.Time // when skips were last expired
	tried   time.Time // when the retention last ran, or was refused
	swept   time.Time // when the last sweep was
	all     time.Time // when the last one of everything was

	erasures sync.Mutex           // held while archives are erased
	reminded map[string]time.Time // by mailbox: when it was logged that it can not be erased; guarded by erasures
}

func newKeeper(d *daemon) *keeper {
	return &keeper{daemon: d, reminded: make(map[string]time.Time)}
}

func (k *keeper) keepHouse(ctx context.Context, now time.Time) {
	k.pec.Load().look(now)
	if err := k.archive.journal.Unspool(ctx); err != nil {
		k.failed(ctx, "gaps are still spooled", err)
	}
	if now.Sub(k.expired) >= expireEvery {
		k.expired = now
		k.expireSkips(ctx, now)
	}
	k.erase(ctx, now)
	k.retain(ctx, now)
	if now.Sub(k.swept) >= sweepEvery {
		k.swept = now
		k.sweep(ctx, now)
	}
}

// failed logs an error, unless it is that the daemon is being stopped: the next start goes on.
func (k *keeper) failed(ctx context.Context, what string, err error, more ...any) {
	if ctx.Err() == nil {
		k.log.Error(what, append(more, "error", err)...)
	}
}

// sweep gives the room of deleted messages back.
func (k *keeper) sweep(ctx context.Context, now time.Time) {
	all := now.Weekday() == sweepAllDay && now.Hour() >= k.config.Load().Retention.Hour && now.Sub(k.all) >= 24*time.Hour
	report, err := k.archive.journal.Sweep(ctx, journal.SweepOptions{All: all})
	if errors.Is(err, journal.ErrDamaged) {
		k.failed(ctx, "sweep without some months", err)
		err = nil
	}
	switch {
	case err != nil:
		k.failed(ctx, "sweep broken off, will be tried again", err)
	case all:
		k.all = now
		fallthrough
	case report.Deleted > 0:
		k.log.Info("sweep", "chunks", report.Deleted, "bytes", report.Bytes, "all", all)
	}
}

func (k *keeper) expireSkips(ctx context.Context, now time.Time) {
	keep := config.DefaultKeepSkips // also those of sent mail are on record
	if received := k.config.Load().Received; received != nil {
		keep = received.KeepSkips
	}
	n, err := k.archive.journal.ExpireSkips(ctx, now.Add(-keep))
	if err != nil {
		k.failed(ctx, "records of skips not expired", err)
	} else if n > 0 {
		k.log.Info("records of skips expired", "records", n)
	}
}

// eraseWhenAsked erases what is to be erased whenever a change of a mailbox asks for it, until ctx ends.
func (k *keeper) eraseWhenAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.erasing:
			k.erase(ctx, time.Now())
		}
	}
}

// erase erases the archives whose grace is over.
func (k *keeper) erase(ctx context.Context, now time.Time) {
	k.erasures.Lock()
	defer k.erasures.Unlock()
	for m, err := range k.archive.policy.Closing(ctx) {
		if err == nil {
			err = k.eraseMailbox(ctx, m.Address)
		}
		switch {
		case err == nil:
		case errors.Is(err, journal.ErrHeld), errors.Is(err, policy.ErrHeld):
			if mailbox := m.Address.String(); now.Sub(k.reminded[mailbox]) >= remindEvery {
				k.reminded[mailbox] = now
				k.log.Warn("archive not erased: a legal hold stands", "mailbox", mailbox, "error", err)
			}
		case errors.Is(err, journal.ErrDamaged):
			if mailbox := m.Address.String(); now.Sub(k.reminded[mailbox]) >= remindEvery {
				k.reminded[mailbox] = now
				k.log.Error("archive not erased: a month of it can not be read, and may be under a hold", "mailbox", mailbox, "error", err)
			}
		default:
			k.failed(ctx, "archive not erased, will be tried again", err, "mailbox", m.Address.String())
		}
	}
}

func (k *keeper) eraseMailbox(ctx context.Context, a policy.Address) error {
	// An entry that is held must stop it before the erasure is a fact.
	for h, err := range k.archive.journal.Holdings(ctx, a.String()) {
		if err == nil {
			err = fmt.Errorf("%s %d: %w: %s", h.FolderName(), h.UID, journal.ErrHeld, h.Reason)
		}
		return err
	}
	if err := k.archive.policy.Erasing(ctx, a); err != nil {
		return err
	}
	// A message that was judged while the archive was on must not come behind the erasure.
	for _, h := range k.hooks {
		if err := h.AwaitVerdicts(ctx); err != nil {
			return err
		}
	}
	removed, err := k.archive.journal.Erase(ctx, a.String(), journal.EraseOptions{})
	if err != nil {
		return err
	}
	settings, err := k.archive.engine.Settings(ctx)
	if err == nil {
		err = notice.Forget(ctx, settings, a.String())
	}
	if err != nil {
		return err
	}
	k.log.Info("archive erased", "mailbox", a.String(), "entries", removed.Entries, "bytes", removed.Bytes, "damaged", removed.Damaged)
	return k.archive.policy.Erased(ctx, a)
}

// retain runs the retention once a day, at its hour or as soon after it as the daemon is up.
func (k *keeper) retain(ctx context.Context, now time.Time) {
	r := k.config.Load().Retention
	due := time.Date(now.Year(), now.Month(), now.Day(), r.Hour, r.Minute, 0, 0, now.Location())
	if now.Before(due) {
		due = due.AddDate(0, 0, -1)
	}
	// A clock that was ahead must not put the next run off to where it was.
	if !k.tried.Before(due) && !k.tried.After(now) {
		return
	}
	last, err := k.archive.journal.LastRun(ctx, now)
	if err == nil && !last.Before(due) {
		k.tried = last
		return
	}
	if err != nil {
		k.failed(ctx, "retention not run", err)
		return
	}
	report, err := k.backend.Load().Expire(ctx, httpd.ExpireRequest{})
	if report != nil && errors.Is(err, journal.ErrDamaged) {
		k.failed(ctx, "retention without some months", err)
		err = nil
	}
	switch {
	case err == nil:
		k.tried = now
		k.log.Info("retention run", "entries", report.Removed.Entries, "bytes", report.Removed.Bytes, "months_dropped", len(report.Dropped))
	case errors.Is(err, journal.ErrAbnormal):
		k.tried = now
		k.log.Error("retention refused: look at it with \"copialettere retention -dry-run\"", "reasons", report.Abnormal)
	default:
		k.failed(ctx, "retention broken off, will be tried again", err)
	}
}
