// Package dovecot makes the provider's Dovecot, and what asks it for passwords, follow the switches and the app passwords of mailboxes. It writes
// files that passdbs of Dovecot read (contrib/dovecot), so what was switched off stays off while the daemon is down.
//
// # The folder
//
//	deny.imap        mailboxes whose protocols lack imap
//	deny.pop3        mailboxes whose protocols lack pop3
//	deny.smtp        mailboxes whose protocols lack smtp: the service by which Postfix asks
//	deny.submission  the same mailboxes, for Dovecot's own submission service
//	deny.sieve       mailboxes without imap and pop3: what edits rules (ManageSieve) is for programs that read
//	deny.2fa         mailboxes whose second factor is on, or whose domain asks for one: the main password opens nothing but webmail
//	app              app passwords
//
// Each is a passwd-file of Dovecot. A line of a deny file is ADDRESS:, and that of an app password
//
//	ADDRESS|SHA256:::::::nopassword=y copia_app=ID
//
// where SHA256, in lower-case hexadecimal, is that of the password. Each app password has two lines, one for its form with hyphens and one for that
// without. Dovecot looks up the name together with the digest of what was typed, so a line that is found is the right password. ID is that of
// auth.AppDigest. Empty lines and those that begin with # are comments.
//
// The address is the one that leads to the archive now, in lower case, and in both forms of its domain where xn-- has another. A mailbox that was
// handed over is in no file under its former address. The files have all mailboxes that were set up, whatever the state of their archives: the
// switches are those of the live mailbox. An address that no line can hold (with a colon, a vertical bar, a percent sign or a control character, or
// with # in front) is logged and counted; Dovecot takes none of those for a login as it is installed (auth_username_chars).
//
// # When they are in force
//
// Dovecot takes a file that is absent for one that denies nobody, so they are all written before it starts, and never removed. A file that it cannot
// read stops all logins: each has mode 0640, and the
// owner and the group of the folder. Where that cannot be, the old file stays.
//
// Dovecot (2.3 and 2.4) looks at a file at most once in a second of the clock, and then at its size and the second of its modification only. So a file
// is replaced by one of another size, and Sync returns in the second after: from then on every login is decided by the new file. A file is replaced
// atomically (journal/durable), and only if it differs.
package dovecot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// ErrFiles means that the files could not be written. What they should say is in the settings, and Run tries again.
var ErrFiles = errors.New("the files for Dovecot could not be written")

const (
	writeAgain = 10 * time.Second // retry after a fault
	writeAnew  = time.Hour        // without a change, to undo edits by hand
	logEvery   = time.Hour        // how often the same fault is logged
)

// Options are what a Keeper needs. Folder and Policy are required.
type Options struct {
	Folder  string // absolute path
	Policy  *policy.Policy
	Auth    *auth.Authenticator
	Logger  *slog.Logger      // slog.Default where nil
	Metrics *metrics.Registry // nothing is shown where nil

	step func(what string) error // of durable.WriteShared: in tests, a fault
}

// Keeper writes the files. All methods may be called concurrently. A nil Keeper, for a configuration without [dovecot], does nothing.
type Keeper struct {
	options Options
	changed chan struct{} // has room for one: a mailbox changed
	asked   atomic.Uint64 // counts calls of Sync
	failing *metrics.Gauge
	faults  *metrics.Counter
	leftOut *metrics.Gauge

	turn   chan struct{} // has room for the one that writes, and guards what follows
	done   uint64        // the last call of Sync that the files cover
	err    error         // of the last writing
	fault  string        // that was logged last; "" if it is over
	logged time.Time     // when that was
}

// New returns a Keeper, which has written nothing yet.
func New(o Options) *Keeper {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = new(metrics.Registry)
	}
	return &Keeper{
		options: o, changed: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		failing: o.Metrics.Gauge("copialettere_dovecot_files_failing", "1 while the files for Dovecot cannot be written."),
		faults:  o.Metrics.Counter("copialettere_dovecot_file_errors_total", "Times that the files for Dovecot could not be written."),
		leftOut: o.Metrics.Gauge("copialettere_dovecot_files_left_out", "Mailboxes whose address cannot be written into a file for Dovecot."),
	}
}

// Sync brings the files up to date with all that was changed before it was called. Once it has returned nil, every login to Dovecot is decided by
// them; that may take a second. The error wraps ErrFiles; each file is then either old or new.
func (k *Keeper) Sync(ctx context.Context) error {
	if k == nil {
		return nil
	}
	wanted := k.asked.Add(1)
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrFiles, ctx.Err())
	}
	if k.done >= wanted {
		return k.err // somebody else's call began to write after this one came
	}
	covers := k.asked.Load()
	// Whoever waits behind this call relies on it too.
	written, err := k.write(context.WithoutCancel(ctx))
	// Files that need no change may have been written a moment ago by a process that was killed.
	if written > 0 || k.done == 0 {
		untilSeen()
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrFiles, err)
	}
	k.done, k.err = covers, err
	k.tell(err)
	return err
}

// untilSeen waits for the second in which Dovecot looks at the files again.
func untilSeen() {
	// The clock of the file system lags by a tick.
	next := time.Now().Truncate(time.Second).Add(time.Second + 20*time.Millisecond)
	time.Sleep(time.Until(next))
}

// tell counts and logs a fault and its end. It repeats the same fault once an hour.
func (k *Keeper) tell(err error) {
	if err == nil {
		if k.fault != "" {
			k.options.Logger.Info("the files for Dovecot are written again", "folder", k.options.Folder)
		}
		k.fault = ""
		k.failing.Set(0)
		return
	}
	k.failing.Set(1)
	k.faults.Inc()
	if err.Error() != k.fault || time.Since(k.logged) > logEvery {
		k.fault, k.logged = err.Error(), time.Now()
		k.options.Logger.Error("Dovecot goes by the switches and app passwords as they were, and this will be tried again",
			"folder", k.options.Folder, "error", err)
	}
}

// Changed tells the Keeper that a mailbox may have changed. It does not block. Whoever must know that the files follow calls Sync.
func (k *Keeper) Changed() {
	if k == nil {
		return
	}
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Run brings the files up to date at once, after each change, after each fault and every hour, until quit is closed.
func (k *Keeper) Run(quit <-chan struct{}) {
	if k == nil {
		return
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-quit:
			return
		case <-k.changed:
		case <-again.C:
		}
		if k.Sync(context.Background()) == nil {
			again.Reset(writeAnew)
		} else {
			again.Reset(writeAgain)
		}
	}
}
