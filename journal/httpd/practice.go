package httpd

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// PracticeView is a practice: a certified message that the mailbox sent, and what its receipts say of each recipient. Others script
// against its names.
type PracticeView struct {
	Mailbox    string            `json:"mailbox"`
	Identifier string            `json:"identifier"` // the provider's; empty before the first receipt
	MessageID  string            `json:"message_id"` // the one that the sender's program set
	Subject    string            `json:"subject"`
	Time       *time.Time        `json:"time,omitempty"`   // when the sent message was archived
	Folder     string            `json:"folder,omitempty"` // of the sent message; empty when it is not archived
	UID        uint32            `json:"uid,omitempty"`
	Recipients []PracticeOutcome `json:"recipients"`
	Receipts   []PracticeReceipt `json:"receipts"`

	sent  *journal.Entry           // nil when it is not archived
	links map[string]bool          // ids by which the sent message is found
	brief map[string]*briefReceipt // by recipient
}

// briefReceipt is a brief delivery receipt: it proves something together with the message that was sent.
type briefReceipt struct {
	entry  *journal.Entry
	record pec.Record
}

// PracticeOutcome is what is known of one recipient.
type PracticeOutcome struct {
	Address string `json:"address"`
	Kind    string `json:"kind,omitempty"` // "certificato" or "esterno"
	// Status is "accepted", "not-accepted", "delivered", "failed", "late-12h", "late-24h", or "" while there is no receipt.
	Status    pec.Status `json:"status"`
	Waiting   string     `json:"waiting,omitempty"` // while a delivery receipt is to come: "under-12h", "past-12h" or "past-24h"
	Accepted  *time.Time `json:"accepted,omitempty"`
	Delivered *time.Time `json:"delivered,omitempty"`
	Receipt   string     `json:"receipt,omitempty"` // kind of the delivery receipt: "completa", "breve" or "sintetica"
	Failed    *time.Time `json:"failed,omitempty"`
	Refused   *time.Time `json:"refused,omitempty"` // by the sender's provider, with "not-accepted"
	Late      *time.Time `json:"late,omitempty"`    // the last notice of delay
	Reason    string     `json:"reason,omitempty"`  // of a failure, refusal or delay
	// Brief is what comparing a brief receipt with the archived message gave: "match", "mismatch", "original not archived", or "not
	// covered" where the message has a named part of which the receipt says nothing.
	Brief string `json:"brief,omitempty"`
}

// PracticeReceipt is one receipt of a practice.
type PracticeReceipt struct {
	Class  string    `json:"class"`
	Folder string    `json:"folder"`
	UID    uint32    `json:"uid"`
	Time   time.Time `json:"time"` // of its arrival
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
	var list []*PracticeView
	if err == nil {
		list, err = a.practices(r.Context(), address.String(), uint32(uid), time.Now())
	}
	for _, p := range list {
		out.write(p)
	}
	if err != nil {
		out.fail(a.b.Logger, err)
	}
}

// practices puts the messages of a mailbox together, in whatever order they came; with a UID, only the practices of sent messages that have
// it. Only receipts that the rule of trust believes count. Where something is damaged, the error is of that, and the rest is there.
func (a *admin) practices(ctx context.Context, mailbox string, uid uint32, now time.Time) ([]*PracticeView, error) {
	g := &practiceGroups{byID: make(map[string]*PracticeView), sent: make(map[string]*journal.Entry), states: make(pec.States)}
	var damaged damages
	for e, err := range a.b.Journal.List(ctx, mailbox) {
		if damaged.count(err) {
			continue
		}
		if err == nil {
			err = g.add(e)
		}
		if err != nil {
			return nil, err
		}
	}
	list := g.join(uid)
	for _, p := range list {
		p.Mailbox = mailbox
		p.describe(g.states, now)
		if err := a.checkBrief(ctx, p); err != nil && !damaged.count(err) {
			return nil, err
		}
	}
	return list, damaged.err()
}

// practiceGroups gathers the messages of practices.
type practiceGroups struct {
	byID   map[string]*PracticeView  // by the provider's identifier
	order  []*PracticeView           // as they were first met
	sent   map[string]*journal.Entry // sent messages by every id that they bear
	mails  []*journal.Entry          // sent messages in their order
	states pec.States
}

func (g *practiceGroups) add(e *journal.Entry) error {
	if e.Direction == journal.Sent {
		g.mails = append(g.mails, e)
		for _, link := range e.Links {
			if _, id, _ := strings.Cut(link, ":"); g.sent[id] == nil {
				g.sent[id] = e
			}
		}
		return nil
	}
	if len(e.Certification) == 0 || e.Class == string(pec.Ordinary) {
		return nil
	}
	var c pec.Record
	if err := c.UnmarshalBinary(e.Certification); err != nil {
		return fmt.Errorf("%s %s %d: %w", e.Mailbox, e.FolderName(), e.UID, err)
	}
	if len(c.Message.Events()) == 0 {
		return nil
	}
	l := c.Message.Links()
	p := g.byID[l.Identifier]
	if p == nil {
		p = &PracticeView{Identifier: l.Identifier, Subject: c.Message.Data.Subject, links: make(map[string]bool), brief: make(map[string]*briefReceipt)}
		g.byID[l.Identifier] = p
		g.order = append(g.order, p)
	}
	p.links[l.Identifier] = true
	if l.Client != "" {
		p.links[l.Client], p.MessageID = true, l.Client
	}
	g.states.Apply(&c.Message)
	p.Receipts = append(p.Receipts, PracticeReceipt{Class: e.Class, Folder: e.FolderName(), UID: e.UID, Time: e.Time})
	for _, event := range c.Message.Events() {
		if event.Kind == pec.EventDelivered && event.Detail == pec.ReceiptBrief {
			p.brief[event.Recipient] = &briefReceipt{e, c}
		}
	}
	return nil
}

// join finds the sent message of each practice, and the sent messages that wait for their first receipt.
func (g *practiceGroups) join(uid uint32) []*PracticeView {
	list := []*PracticeView{}
	taken := make(map[*journal.Entry]bool)
	for _, p := range g.order {
		for id := range p.links {
			if e := g.sent[id]; e != nil {
				p.sent, taken[e] = e, true
			}
		}
		if uid == 0 || p.sent != nil && p.sent.UID == uid {
			list = append(list, p)
		}
	}
	for _, e := range g.mails {
		if !taken[e] && (uid == 0 && e.SentTo == "certified" || uid != 0 && e.UID == uid) {
			list = append(list, &PracticeView{sent: e})
		}
	}
	return list
}

// describe fills in what the receipts say.
func (p *PracticeView) describe(states pec.States, now time.Time) {
	p.Recipients, p.Receipts = []PracticeOutcome{}, append([]PracticeReceipt{}, p.Receipts...)
	known := make(map[string]bool)
	for key, o := range states {
		if key.Identifier == p.Identifier {
			known[key.Recipient] = true
			p.Recipients = append(p.Recipients, outcomeView(key.Recipient, o, now))
		}
	}
	if e := p.sent; e != nil {
		p.Folder, p.UID, p.Time, p.Subject = e.FolderName(), e.UID, &e.Time, part.Decode(e.Subject)
		p.MessageID = cmp.Or(p.MessageID, strings.Trim(e.MessageID, "<> "))
		for _, address := range e.Recipients {
			if address = pec.NormalAddress(address); !known[address] {
				known[address] = true
				p.Recipients = append(p.Recipients, PracticeOutcome{Address: address})
			}
		}
	}
	slices.SortFunc(p.Recipients, func(a, b PracticeOutcome) int { return cmp.Compare(a.Address, b.Address) })
}

func outcomeView(address string, o pec.Outcome, now time.Time) PracticeOutcome {
	v := PracticeOutcome{Address: address, Kind: o.RecipientKind, Status: o.Status()}
	v.Accepted, v.Delivered, v.Failed = timeOf(o.Accepted), timeOf(o.Delivered), timeOf(o.Failed)
	v.Refused, v.Late = timeOf(o.Refused), timeOf(o.LateLast)
	switch v.Status {
	case pec.StatusDelivered:
		v.Receipt = o.Delivered.Detail
	case pec.StatusFailed:
		v.Reason = strings.TrimSpace(o.Failed.Code + " " + o.Failed.Detail)
	case pec.StatusRefused:
		v.Reason = strings.TrimSpace(o.Refused.Code + " " + o.Refused.Detail)
	case pec.StatusLate12, pec.StatusLate24:
		v.Reason = strings.TrimSpace(o.LateLast.Code + " " + o.LateLast.Detail)
	}
	if o.Awaited() {
		v.Waiting = "under-12h"
		switch since := now.Sub(o.Accepted.Time); {
		case !o.Accepted.Known || o.Accepted.Time.IsZero():
		case since >= 24*time.Hour:
			v.Waiting = "past-24h"
		case since >= 12*time.Hour:
			v.Waiting = "past-12h"
		}
	}
	return v
}

func timeOf(f pec.Fact) *time.Time {
	if !f.Known || f.Time.IsZero() {
		return nil
	}
	return &f.Time
}

// checkBrief compares the brief receipts of a practice with the message that was sent.
func (a *admin) checkBrief(ctx context.Context, p *PracticeView) error {
	for i := range p.Recipients {
		r := p.brief[p.Recipients[i].Address]
		if r == nil {
			continue
		}
		result, err := a.briefResult(ctx, r, p.sent)
		if err != nil {
			return err
		}
		p.Recipients[i].Brief = string(result)
	}
	return nil
}

// briefResult is the worst result of the parts of a brief receipt.
func (a *admin) briefResult(ctx context.Context, r *briefReceipt, sent *journal.Entry) (pec.HashResult, error) {
	switch {
	case sent == nil:
		return pec.HashNoOriginal, nil
	case r.record.Message.Postacert < 0:
		// A brief receipt that encloses nothing proves nothing.
		return pec.HashMismatch, nil
	}
	receipt, err := a.b.Journal.Body(ctx, r.entry)
	if err != nil {
		return "", err
	}
	inner, table, err := pec.Enclosed(receipt, &r.entry.Parts, r.record.Message.Postacert)
	if err != nil {
		return "", fmt.Errorf("open brief receipt: %w", err)
	}
	original, err := a.b.Journal.Body(ctx, sent)
	if err != nil {
		return "", err
	}
	checks, err := pec.BriefHashes(inner, table, original, &sent.Parts)
	if err != nil {
		return "", fmt.Errorf("compare brief receipt: %w", err)
	}
	for _, c := range checks {
		if c.Result != pec.HashMatch {
			return c.Result, nil
		}
	}
	return pec.HashMatch, nil
}
