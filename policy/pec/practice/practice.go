// Package practice puts the mail of a mailbox together into practices: a certified message that it sent, with the receipts that the journal
// holds of it. Package pec reads single messages and matches them; this package reads the journal, and compares what receipts enclose with
// what was sent. It stores nothing.
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

// Practice is a practice: a certified message that the mailbox sent, and what its receipts say of each recipient. Others script
// against its names.
type Practice struct {
	Mailbox    string     `json:"mailbox"`
	Identifier string     `json:"identifier"`       // the provider's; empty before the first receipt
	MessageID  string     `json:"message_id"`       // the one that the sender's program set
	Sender     string     `json:"sender,omitempty"` // of the envelope, as receipts name it that count
	Subject    string     `json:"subject"`
	Time       *time.Time `json:"time,omitempty"`   // when the sent message was archived
	Folder     string     `json:"folder,omitempty"` // of the sent message; empty when it is not archived
	UID        uint32     `json:"uid,omitempty"`
	// LinkedBy says by what the sent message was found: "identifier", "message-id", "message-id, recipients" and "message-id, subject" (several
	// have that Message-ID), "content" (a complete receipt encloses it), or "guess", where sender, recipients, subject and time fit, and
	// no id tells. Empty when it is not archived.
	LinkedBy   pec.Match `json:"linked_by,omitempty"`
	Recipients []Outcome `json:"recipients"`
	Receipts   []Receipt `json:"receipts"`
	// MoreNotBelieved is how many more receipts there are that do not count: of these only some are told, since anybody can send them.
	MoreNotBelieved int `json:"more_not_believed,omitempty"`
}

// Outcome is what is known of one recipient.
type Outcome struct {
	Address string `json:"address"`
	Kind    string `json:"kind,omitempty"` // "certificato" or "esterno"
	// Status is "accepted", "not-accepted", "delivered", "failed", "late-12h", "late-24h", or "" while there is no receipt. It is
	// "failed-unnamed", "late-unnamed" or "delivered-unnamed" where a receipt is about one of several recipients and does not say about which, and
	// of this one nothing else is known.
	Status    pec.Status `json:"status"`
	Waiting   string     `json:"waiting,omitempty"` // while a delivery receipt is to come: "under-12h", "past-12h" or "past-24h"
	Accepted  *time.Time `json:"accepted,omitempty"`
	Delivered *time.Time `json:"delivered,omitempty"`
	Receipt   string     `json:"receipt,omitempty"` // kind of the delivery receipt: "completa", "breve" or "sintetica"
	Failed    *time.Time `json:"failed,omitempty"`
	Refused   *time.Time `json:"refused,omitempty"` // by the sender's provider, with "not-accepted"
	Late      *time.Time `json:"late,omitempty"`    // the last notice of delay
	Reason    string     `json:"reason,omitempty"`  // of a failure, refusal or delay, also of one that is "unnamed"
	// Brief is what comparing a brief receipt with the archived message gave: "match", "mismatch", "original not archived", or "not
	// covered" where the message has a part that the receipt has neither whole nor as a hash, or "other name" where a file that agrees has
	// another name there. It is "match" only when everything in the message is accounted for; else BriefParts tells what is not.
	Brief      string      `json:"brief,omitempty"`
	BriefParts []BriefPart `json:"brief_parts,omitempty"`
}

// Receipt is one receipt of a practice.
type Receipt struct {
	Class      string    `json:"class"`                // as the receipt says; "rem" of one of REM
	Events     []string  `json:"events,omitempty"`     // of REM: what its evidences tell of, such as "ContentConsignment"
	Equivalent string    `json:"equivalent,omitempty"` // of REM: the class of PEC's receipts that tell the same
	Folder     string    `json:"folder"`
	UID        uint32    `json:"uid"`
	Time       time.Time `json:"time"` // of its arrival
	// NotBelieved says why the receipt does not count, by the rule of trust at its arrival: "signature invalid: ..." for example. Empty when it
	// counts.
	NotBelieved string `json:"not_believed,omitempty"`
}

// List puts the messages of a mailbox together, in whatever order they came; with a UID, only the practices of sent messages that have
// it. Only receipts that the rule of trust believes count; the others are told with the reason. It yields those of which nothing more is to come
// as it reads on: see gathering.
func List(ctx context.Context, j *journal.Journal, mailbox string, uid uint32, now time.Time) iter.Seq2[*Practice, error] {
	return func(yield func(*Practice, error) bool) {
		// goOn yields an error, if there is one. What is damaged costs nothing else.
		goOn := func(err error) bool { return err == nil || yield(nil, err) && errors.Is(err, journal.ErrDamaged) }
		show := func(list []*group) bool {
			for _, p := range list {
				if !p.wanted(uid) {
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
		for e, err := range j.ListByTime(ctx, mailbox) {
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

// outcomeView describes what is known of a recipient; since is when the message was sent, as far as the archive knows.
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
