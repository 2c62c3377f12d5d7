// Package practice groups the mail of a mailbox into practices: a certified message that it sent, with the receipts for it in the journal.
// Package pec reads single messages and matches them; this package reads the journal, and compares what receipts enclose with what was
// sent. It stores nothing.
package practice

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// Practice is a certified message that the mailbox sent, with what its receipts say about each recipient. Others script against the JSON
// names, here and below.
type Practice struct {
	Mailbox    string     `json:"mailbox"`
	Identifier string     `json:"identifier"`       // the provider's; empty before the first receipt
	MessageID  string     `json:"message_id"`       // as the sender's program set it
	Sender     string     `json:"sender,omitempty"` // of the envelope, as named by receipts that count
	Subject    string     `json:"subject"`
	Time       *time.Time `json:"time,omitempty"`   // when the sent message was archived
	Folder     string     `json:"folder,omitempty"` // of the sent message; empty when it is not archived
	UID        uint32     `json:"uid,omitempty"`
	// Imported says that the sent message was put in later: Time is when that was, and no hook has seen it being sent.
	Imported bool `json:"imported,omitempty"`
	// LinkedBy says how the sent message was found: "identifier", "message-id", "message-id, recipients" or "message-id, subject" (several have
	// that Message-ID), "content" (a complete receipt encloses it), or "guess" (sender, recipients, subject and time fit, but no id confirms
	// it). Empty when it is not archived.
	LinkedBy   pec.Match `json:"linked_by,omitempty"`
	Recipients []Outcome `json:"recipients"`
	Receipts   []Receipt `json:"receipts"`
	// MoreNotBelieved is how many further receipts do not count and are not listed. Only some are, since anybody can send them.
	MoreNotBelieved int `json:"more_not_believed,omitempty"`
}

// Outcome is what is known about one recipient.
type Outcome struct {
	Address string `json:"address"`
	Kind    string `json:"kind,omitempty"` // "certificato" or "esterno"
	// Status is "accepted", "not-accepted", "delivered", "failed", "late-12h", "late-24h", or "" while there is no receipt. It is
	// "failed-unnamed", "late-unnamed" or "delivered-unnamed" if a receipt is about one of several recipients without saying which, and nothing
	// more is known about this one.
	Status    pec.Status `json:"status"`
	Waiting   string     `json:"waiting,omitempty"` // while a delivery receipt is due: "under-12h", "past-12h" or "past-24h"
	Accepted  *time.Time `json:"accepted,omitempty"`
	Delivered *time.Time `json:"delivered,omitempty"`
	Receipt   string     `json:"receipt,omitempty"` // kind of the delivery receipt: "completa", "breve" or "sintetica"
	Failed    *time.Time `json:"failed,omitempty"`
	Refused   *time.Time `json:"refused,omitempty"` // by the sender's provider, with "not-accepted"
	Late      *time.Time `json:"late,omitempty"`    // the last notice of delay
	Reason    string     `json:"reason,omitempty"`  // of a failure, refusal or delay, including "unnamed" ones
	// Brief is the result of comparing a brief receipt with the archived message: "match", "mismatch", "original not archived", "not covered"
	// (the receipt has a part of the message neither whole nor as a hash), or "other name" (a file agrees under another name). It is "match"
	// only if the whole message is accounted for; otherwise BriefParts lists what is not, at most 100 parts.
	Brief      string      `json:"brief,omitempty"`
	BriefParts []BriefPart `json:"brief_parts,omitempty"`
}

// Receipt is one receipt of a practice.
type Receipt struct {
	Class      string    `json:"class"`                // as the receipt says; "rem" for one of REM
	Events     []string  `json:"events,omitempty"`     // of REM: the events of its evidences, such as "ContentConsignment"
	Equivalent string    `json:"equivalent,omitempty"` // of REM: the class of PEC receipts that say the same
	Folder     string    `json:"folder"`
	UID        uint32    `json:"uid"`
	Time       time.Time `json:"time"`               // of its arrival, or of its import
	Imported   bool      `json:"imported,omitempty"` // it was put in later, and has not come by mail through the hook
	// Recipients are those that the receipt is about, at most 100; absent if it is about all of the message, or does not say.
	Recipients []string `json:"recipients,omitempty"`
	// NotBelieved says why the receipt does not count under the rule of trust at its arrival, such as "signature invalid: ...". Empty when it
	// counts.
	NotBelieved string `json:"not_believed,omitempty"`
}

// List yields the practices of a mailbox, in whatever order their messages came. Now decides how long receipts have been due. Only receipts that the rule of
// trust believed at arrival count, and of those that were imported only what the signature of a trusted provider proves; others come with the reason. List
// yields a practice as soon as nothing more should come for it: see gathering. An error that wraps journal.ErrDamaged costs only what is damaged; any other
// ends the list.
func List(ctx context.Context, j *journal.Journal, mailbox string, now time.Time) iter.Seq2[*Practice, error] {
	return gathered(ctx, j, mailbox, j.OfPractices(ctx, mailbox, time.Time{}, time.Time{}), (*group).shown, now)
}

// gathered yields the wanted ones of the practices of entries, which come in the order of time.
func gathered(ctx context.Context, j *journal.Journal, mailbox string, entries iter.Seq2[*journal.Entry, error], wanted func(*group) bool,
	now time.Time) iter.Seq2[*Practice, error] {
	return func(yield func(*Practice, error) bool) {
		// goOn yields an error, if there is one, and reports whether to continue: damage to one entry does not end the list.
		goOn := func(err error) bool { return err == nil || yield(nil, err) && errors.Is(err, journal.ErrDamaged) }
		show := func(list []*group) bool {
			for _, p := range list {
				if !wanted(p) {
					continue
				}
				if !goOn(confirm(ctx, j, p)) {
					return false
				}
				v := p.view(now)
				v.Mailbox = mailbox
				if !goOn(checkBrief(ctx, j, p, v)) || !yield(v, nil) {
					return false
				}
			}
			return true
		}
		g := newGathering()
		for e, err := range entries {
			if err == nil {
				err = g.add(e)
			}
			if !goOn(err) {
				return
			}
			if e != nil && g.full(e.Time) && !show(g.takeOld(e.Time)) {
				return
			}
		}
		show(g.join())
	}
}

// OutcomeOf describes what receipts say about a recipient, without Waiting and Brief, which depend on more than the receipts.
func OutcomeOf(address string, o pec.Outcome) Outcome {
	v := outcomeView(address, o, time.Time{}, time.Time{})
	v.Waiting = ""
	return v
}

// outcomeView describes what is known about a recipient. Since is when the message was sent, as far as the archive knows.
func outcomeView(address string, o pec.Outcome, since, now time.Time) Outcome {
	v := Outcome{Address: address, Kind: o.Kind(), Status: o.Status(), Waiting: string(o.Waiting(since, now))}
	v.Accepted, v.Delivered, v.Failed = timeOf(o.Accepted), timeOf(o.Delivered), timeOf(o.Failed)
	v.Refused, v.Late = timeOf(o.Refused), timeOf(o.LateLast)
	switch v.Status {
	case pec.StatusDelivered:
		v.Receipt = o.Delivered.Detail
	case pec.StatusAccepted, pec.StatusUnknown:
	default:
		v.Reason = strings.TrimSpace(o.Reason().Code + " " + o.Reason().Detail)
	}
	return v
}

func timeOf(f pec.Fact) *time.Time {
	if !f.Known || f.Time.IsZero() {
		return nil
	}
	return &f.Time
}
