// Package archive holds what may be done with, and asked about, the archives of mailboxes. It joins the journal, which knows no settings, with
// the settings, which know no messages. Every face (the admin socket and the commands, the API and the pages, IMAP, export, search) calls it
// and holds no logic of its own: rights are checked and acts carried out here, whoever asks.
//
// # The way of an act
//
// "Delete this message" passes the same rooms from every door:
//
//	copialettere delete     cmd/copialettere reads the arguments and sends POST .../messages/{folder}/delete over the admin socket to the daemon.
//	                        If no daemon runs, it calls a handler of its own on the data folder
//	the admin socket        journal/httpd finds the route; its Door says who asks, and May whether he may at all
//	another face            finds out by itself who asks, and begins here:
//	policy/archive          Delete finds the archive to which the address leads, and checks the right of the actor, the settings of the mailbox
//	                        and its hold
//	policy                  gives the settings
//	journal                 deletes the entry unless it is held, and puts the act on record, in one update
//
// A face without a journal of its own reaches journal and settings only through the methods of an Archive, so it cannot skip a step.
//
// The package stores nothing of its own. Its types fix the JSON names that others script against; faces pass them on unchanged.
package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/checkpoint"
	"copialettere/policy/dovecot"
	"copialettere/policy/notice"
	"copialettere/policy/pec/practice"
	"copialettere/policy/postfix"
	"copialettere/policy/preservation"
	"copialettere/policy/setup"
	"copialettere/policy/source"
)

// ErrRequest says that a request is malformed. The error that wraps it says what is wrong.
var ErrRequest = errors.New("bad request")

// Options are what an Archive works with. Journal and Policy are required.
type Options struct {
	Journal *journal.Journal
	Policy  *policy.Policy
	// Grace is how long a Disable can be taken back; zero means policy.DefaultGrace.
	Grace time.Duration
	// MaxShare is the largest part of all entries, up to 1, that a retention run deletes without ExpireRequest.Yes; zero means
	// journal.DefaultMaxShare.
	MaxShare float64
	// KeepLogs is for how many months changes of settings, acts on messages and what receipts said of recipients are kept, and KeepSkips how long
	// records of skips are. Privacy tells of them.
	KeepLogs  int
	KeepSkips time.Duration
	// Changed is called after a change of a mailbox or its messages that may make an archive due for erasure. It must not block. May be nil.
	Changed func()
	// Expired is called before Expire returns, with the report of every retention run that deleted anything. A run that broke off reports what
	// it had done until then. May be nil.
	Expired func(*journal.ExpireReport)
	// Notices takes what owners are to be told; nil if the configuration has no [notices].
	Notices *notice.Pump
	// Auth signs people in, and keeps the log of it. It is required for app passwords, the second factor and delegates; without it nobody has signed in.
	Auth *auth.Authenticator
	// Guide knows how programs are set up; nil if nothing is configured of that.
	Guide *setup.Guide
	// Links keeps the set-up links. It is required for them.
	Links *setup.Links
	// Dovecot keeps the files by which Dovecot obeys the switches; nil if the configuration has no [dovecot].
	Dovecot *dovecot.Keeper
	// Mailstore is where messages are given back; nil if there is none.
	Mailstore Mailstore
	// MaxMessage is the largest message that may be put in by hand, in bytes; zero means DefaultMaxMessage.
	MaxMessage int64
	// Certification returns what is known about certified mail now. If nil, the signature of no message that is put in is verified.
	Certification func() Certification
	// Types is kept where an Archive is made anew over the same journal; if nil, New makes one.
	Types *Types
	// Survey is kept where an Archive is made anew over the same journal; if nil, New makes one.
	Survey *Survey
	// Known is kept where an Archive is made anew over the same journal; if nil, New makes one.
	Known *Known
	// Sources keeps what is known of the accounts from which mail is imported. It is required for that.
	Sources *source.Store
	// Disk tells whether the disk of the journal has room. May be nil.
	Disk func() DiskState
	// Freeze freezes the whole journal, so that it can be copied; nil where it cannot be.
	Freeze func(context.Context) (*Frozen, error)
	// Leaving is closed when the process is about to end. May be nil.
	Leaving <-chan struct{}
	// Exports returns the exports of an archive, by its name, that lie in the data folder. May be nil.
	Exports func(archive string) []Exported
	// Preservation keeps what is known of packages for legal preservation; nil for none. A package without a receipt is overdue after Overdue.
	Preservation *preservation.Ledger
	Overdue      time.Duration
	// Checkpoints makes the checkpoints; without it none are made, and a verification judges no signature.
	Checkpoints *checkpoint.Maker
	// Postfix knows how Postfix routes the mail of mailboxes; nil if the configuration has no [postfix].
	Postfix *postfix.Keeper
}

// Exported is an export that lies in the data folder.
type Exported struct {
	Asked time.Time
	Size  int64 // bytes; 0 until it is written
}

// Archive stands for the archives of all mailboxes. But for what Types, Survey and Known learn it is immutable; all methods may be called concurrently.
type Archive struct {
	journal *journal.Journal
	policy  *policy.Policy
	types   *Types
	survey  *Survey
	known   *Known
	options Options
}

// New returns an Archive over an open journal and its settings. The caller keeps both and closes them.
func New(o Options) *Archive {
	if o.Grace == 0 {
		o.Grace = policy.DefaultGrace
	}
	if o.Guide == nil {
		o.Guide = setup.NewGuide(setup.Config{})
	}
	if o.Types == nil {
		o.Types = NewTypes()
	}
	if o.Survey == nil {
		o.Survey = NewSurvey()
	}
	if o.Known == nil {
		o.Known = NewKnown()
	}
	return &Archive{o.Journal, o.Policy, o.Types, o.Survey, o.Known, o}
}

// changed reports a change that may make an archive due for erasure.
func (a *Archive) changed() {
	if a.options.Changed != nil {
		a.options.Changed()
	}
}

// Entries yields the entries of a mailbox that a listing wants: see journal.Journal.Listed. For damaged ones it yields an error that wraps
// journal.ErrDamaged, and goes on with the rest.
func (a *Archive) Entries(ctx context.Context, address policy.Address, l journal.Listing) iter.Seq2[*journal.Entry, error] {
	return of(ctx, a, address, func(archive string) iter.Seq2[*journal.Entry, error] {
		a.journal.FlushOutcomes(ctx)
		return views(a.journal.Listed(ctx, archive, l), func(e *journal.Entry) (*journal.Entry, bool) {
			e.Mailbox = address.String()
			return e, true
		})
	})
}

// Superseded yields the entries of a mailbox that newer ones superseded, those that a listing wants; its Newest does not count. They count nowhere else.
func (a *Archive) Superseded(ctx context.Context, address policy.Address, l journal.Listing) iter.Seq2[*journal.SupersededEntry, error] {
	return of(ctx, a, address, func(archive string) iter.Seq2[*journal.SupersededEntry, error] {
		return views(a.journal.Superseded(ctx, archive), func(e *journal.SupersededEntry) (*journal.SupersededEntry, bool) {
			e.Mailbox, e.By.Mailbox = address.String(), address.String()
			return e, l.Wants(e.Entry)
		})
	})
}

// Practices yields the practices of a mailbox: its sent certified messages with what their receipts say. A uid other than 0 limits them to sent
// messages with that UID; a messageID, to those that have to do with it: see practice.WithID. Only one of the two may be given. The error wraps ErrRequest
// if messageID contains no ID.
func (a *Archive) Practices(ctx context.Context, address policy.Address, uid uint32, messageID string, now time.Time) iter.Seq2[*practice.Practice, error] {
	return of(ctx, a, address, func(archive string) iter.Seq2[*practice.Practice, error] {
		list := practice.List(ctx, a.journal, archive, now)
		switch id := part.MessageID(messageID); {
		case messageID != "" && id == "":
			list = func(yield func(*practice.Practice, error) bool) { yield(nil, noID(messageID)) }
		case messageID != "":
			list = practice.WithID(ctx, a.journal, archive, id, now)
		case uid != 0:
			list = practice.Sent(ctx, a.journal, archive, uid, now)
		}
		return views(list, func(p *practice.Practice) (*practice.Practice, bool) {
			p.Mailbox = address.String()
			return p, true
		})
	})
}

// Stats returns the entries and bytes by folder, of one mailbox or, with nil, of all. With an error that wraps journal.ErrDamaged, the list
// covers what can be read.
func (a *Archive) Stats(ctx context.Context, address *policy.Address) ([]journal.FolderStats, error) {
	archive := ""
	if address != nil {
		m, err := a.there(ctx, *address)
		if err != nil {
			return nil, err
		}
		archive = m.Archive
	}
	stats, err := a.journal.Stats(ctx, archive)
	for i := range stats {
		stats[i].Mailbox = a.address(ctx, stats[i].Mailbox)
	}
	return stats, err
}

// Forget gives up a missing month for good: see journal.Journal.Forget. It needs RightOperate.
func (a *Archive) Forget(ctx context.Context, who policy.Actor, m kv.Month) error {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return err
	}
	return a.journal.Forget(ctx, m, who.String())
}

// located adds the place of an entry to the error that it was not found.
func located(ref journal.Ref, err error) error {
	if errors.Is(err, journal.ErrNotFound) {
		return fmt.Errorf("%s %s %d: %w", ref.Mailbox, ref.FolderName(), ref.UID, err)
	}
	return err
}
