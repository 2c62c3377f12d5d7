// Package archive is what may be done with the archives of mailboxes, and asked of them. It joins the journal, which knows no settings, with
// the settings, which know no message. Every face (the admin socket and the commands, the API and the pages, IMAP, export, search) calls it
// and holds no logic of its own: a right is checked and an act carried out here, whoever asks.
//
// # The way of an act
//
// "Delete this message" goes through the same rooms from every door:
//
//	copialettere delete     cmd/copialettere reads the arguments and sends POST /api/v1/message/delete, over the admin socket to the daemon,
//	                        or where none runs to a handler of its own on the data folder
//	the admin socket        journal/httpd finds the route, its Door says who asks, and May whether he may at all
//	another face            says by itself who asks, and begins here:
//	policy/archive          Delete checks the right of the actor, the settings of the mailbox and its hold
//	policy                  gives the settings
//	journal                 deletes the entry unless it is held, and puts the act on record, in one update
//
// The journal and the settings of an Archive can only be reached through its methods, so a face that has no journal of its own cannot
// leave one of these steps out.
//
// The package stores nothing of its own. Types that others script against have their names in JSON here; faces pass them on as they are.
package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec/practice"
)

// ErrRequest says that what was asked for cannot be.
var ErrRequest = errors.New("bad request")

// Options are what an Archive stands on. Journal and Policy are required.
type Options struct {
	Journal *journal.Journal
	Policy  *policy.Policy
	// Grace is for how long a disable can be taken back; zero means policy.DefaultGrace.
	Grace time.Duration
	// MaxShare is the part of all entries, up to 1, that a run of the retention deletes without being told to; zero means
	// journal.DefaultMaxShare.
	MaxShare float64
	// Changed is called after a change of a mailbox after which an archive may have to be erased at once. It must not block. May be nil.
	Changed func()
	// Expired is called with the report of every run of the retention that deleted anything, before Expire returns, also of one that broke off
	// and told what it had done until then. May be nil.
	Expired func(*journal.ExpireReport)
}

// Archive is the archives of all mailboxes. It does not change; all methods may be called concurrently.
type Archive struct {
	journal *journal.Journal
	policy  *policy.Policy
	options Options
}

// New returns an Archive over an open journal and its settings, which stay the caller's to close.
func New(o Options) *Archive {
	if o.Grace == 0 {
		o.Grace = policy.DefaultGrace
	}
	return &Archive{o.Journal, o.Policy, o}
}

// changed tells of a change after which an archive may have to be erased.
func (a *Archive) changed() {
	if a.options.Changed != nil {
		a.options.Changed()
	}
}

// Entries yields the entries of a mailbox, by month, folder and UID. What is damaged is an error that wraps journal.ErrDamaged, behind which
// the rest follows.
func (a *Archive) Entries(ctx context.Context, address policy.Address) iter.Seq2[*journal.Entry, error] {
	return func(yield func(*journal.Entry, error) bool) {
		a.journal.Settle(ctx)
		a.journal.List(ctx, address.String())(yield)
	}
}

// Superseded yields the entries of a mailbox that a newer one superseded, and that count nowhere.
func (a *Archive) Superseded(ctx context.Context, address policy.Address) iter.Seq2[*journal.SupersededEntry, error] {
	return a.journal.Superseded(ctx, address.String())
}

// Practices yields what the receipts of certified messages say that a mailbox sent; with a uid other than 0 only those of sent messages that
// have it.
func (a *Archive) Practices(ctx context.Context, address policy.Address, uid uint32, now time.Time) iter.Seq2[*practice.Practice, error] {
	return practice.List(ctx, a.journal, address.String(), uid, now)
}

// Stats returns the entries and bytes by folder, of one mailbox or, with nil, of all. With an error that wraps journal.ErrDamaged the list is
// of what can be read.
func (a *Archive) Stats(ctx context.Context, address *policy.Address) ([]journal.FolderStats, error) {
	mailbox := ""
	if address != nil {
		mailbox = address.String()
	}
	return a.journal.Stats(ctx, mailbox)
}

// Verify checks the whole journal: see journal.Journal.Verify.
func (a *Archive) Verify(ctx context.Context, progress func(kv.Month, int64)) (*journal.Report, error) {
	return a.journal.Verify(ctx, progress)
}

// Forget gives up for good a month that is not there any more.
func (a *Archive) Forget(ctx context.Context, who policy.Actor, m kv.Month) error {
	if err := a.May(who, RightOperate, policy.Address{}); err != nil {
		return err
	}
	return a.journal.Forget(ctx, m, who.String())
}

// located adds where an entry was looked for to the error that nothing is there.
func located(ref journal.Ref, err error) error {
	if errors.Is(err, journal.ErrNotFound) {
		return fmt.Errorf("%s %s %d: %w", ref.Mailbox, ref.FolderName(), ref.UID, err)
	}
	return err
}
