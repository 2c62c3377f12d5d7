package httpd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// PracticeView is a practice: a certified message that the mailbox sent, and what its receipts say of each recipient. Others script
// against its names.
type PracticeView struct {
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
	LinkedBy   pec.Match         `json:"linked_by,omitempty"`
	Recipients []PracticeOutcome `json:"recipients"`
	Receipts   []PracticeReceipt `json:"receipts"`
	// MoreNotBelieved is how many more receipts there are that do not count: of these only some are told, since anybody can send them.
	MoreNotBelieved int `json:"more_not_believed,omitempty"`
}

// PracticeOutcome is what is known of one recipient.
type PracticeOutcome struct {
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

// PracticeReceipt is one receipt of a practice.
type PracticeReceipt struct {
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

func (a *admin) practice(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	uid := uint64(0)
	if text := r.FormValue("uid"); err == nil && text != "" {
		if uid, err = strconv.ParseUint(text, 10, 32); err != nil || uid == 0 {
			err = fmt.Errorf("%w: uid %.100q: want a number from 1", errRequest, text)
		}
	}
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	tell(a, out, a.practices(r.Context(), address.String(), uint32(uid), time.Now()))
}

// practices puts the messages of a mailbox together, in whatever order they came; with a UID, only the practices of sent messages that have
// it. Only receipts that the rule of trust believes count; the others are told with the reason. It yields those of which nothing more is to come
// as it reads on: see practiceGroups.
func (a *admin) practices(ctx context.Context, mailbox string, uid uint32, now time.Time) iter.Seq2[*PracticeView, error] {
	return func(yield func(*PracticeView, error) bool) {
		// goOn yields an error, if there is one. What is damaged costs nothing else.
		goOn := func(err error) bool { return err == nil || yield(nil, err) && errors.Is(err, journal.ErrDamaged) }
		show := func(list []*practiceGroup) bool {
			for _, p := range list {
				if !p.wanted(uid) {
					continue
				}
				if !goOn(a.confirm(ctx, p)) {
					return false
				}
				v := p.view(now)
				v.Mailbox = mailbox
				if !goOn(a.checkBrief(ctx, p, v)) || !yield(v, nil) {
					return false
				}
			}
			return true
		}
		g := newPracticeGroups()
		for e, err := range a.b.Journal.ListByTime(ctx, mailbox) {
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
func outcomeView(address string, o pec.Outcome, since, now time.Time) PracticeOutcome {
	v := PracticeOutcome{Address: address, Kind: o.Kind(), Status: o.Status(), Waiting: string(o.Waiting(since, now))}
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
