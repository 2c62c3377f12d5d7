package lmtp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// pendingEntry is an entry that this transaction made or found, with the lines that end in its mailbox.
type pendingEntry struct {
	placement journal.Placement
	lines     []*line
}

// wanted says, before the message is in, whether any mailbox may want it.
func (t *transaction) wanted() (bool, error) {
	if t.s.direction() == journal.Sent {
		v, err := t.judgeSender()
		return v.Enabled, err
	}
	for _, n := range t.lines {
		if n.accepted && n.enabled {
			return true, nil
		}
	}
	return false, nil
}

// judgeSender gives the verdict for a sent message: the login that the MTA put into the header says whose it is. Without one the
// envelope sender has to do, and the entry is flagged.
func (t *transaction) judgeSender() (policy.Verdict, error) {
	c := &t.s.c.server.config
	sender := t.from.address
	if t.head.found && !c.SentByMailFrom {
		sender = t.head.value
	}
	if t.sentTo == "" {
		var err error
		if t.sentTo, err = c.Policy.SentTo(t.ctx, t.recipients(), t.pec.Domains); err != nil {
			return policy.Verdict{}, err
		}
	}
	v, err := c.Policy.JudgeSent(t.ctx, policy.Origin{SentTo: t.sentTo}, sender)
	if err == nil && !t.head.found && !c.SentByMailFrom {
		v.Flags = append(v.Flags, journal.FlagSenderUnverified)
	}
	return v, err
}

// commit makes the wanted entries and the records of skips durable. An error means that the message must be refused for now.
func (t *transaction) commit() error {
	if t.draft == nil {
		return nil
	}
	var intents []journal.Intent
	var skips []journal.Record
	var lines [][]*line
	var err error
	class, unclassified := t.classify()
	if t.class = class; unclassified != nil {
		// The verdict is wanted all the same, for the gap that may go on record.
		t.class = ordinary()
	}
	t.s.c.server.verdicts.RLock()
	defer t.s.c.server.verdicts.RUnlock()
	if t.s.direction() == journal.Sent {
		intents, lines, skips, err = t.judgeSent()
	} else {
		intents, lines, skips, err = t.judgeReceived()
	}
	if err != nil {
		return err
	}
	if unclassified != nil {
		return t.journalError(unclassified, intents, skips)
	}
	if len(intents)+len(skips) == 0 {
		return nil
	}
	ctx, cancel := t.journalTime()
	defer cancel()
	start := time.Now()
	placements, err := t.draft.Commit(ctx, t.envelope(), intents, skips)
	if errors.Is(err, journal.ErrFull) {
		return err
	}
	if err != nil {
		return t.journalError(err, intents, skips)
	}
	t.s.c.server.m.commit.Observe(time.Since(start))
	t.skips = len(skips)
	for i, p := range placements {
		t.tellPlaced(p)
		if p.Skipped != "" {
			t.skips++
			t.s.c.server.m.verdict(p.Skipped)
			continue
		}
		t.entries = append(t.entries, &pendingEntry{placement: p, lines: lines[i]})
		t.s.c.server.m.verdict("journaled")
	}
	for _, r := range skips {
		t.s.c.server.m.verdict(r.Reason)
	}
	return nil
}

// leastJournalTime is what a step in the journal gets although the steps before it have used up the time of the transaction.
const leastJournalTime = 5 * time.Second

// journalTime returns a context for a step in the journal. All steps of a transaction share one limit, because the MTA waits for them
// together, however many recipients there are.
func (t *transaction) journalTime() (context.Context, context.CancelFunc) {
	start := time.Now()
	left := max(t.s.c.server.config.JournalTimeout-t.journalSpent, leastJournalTime)
	ctx, cancel := context.WithTimeout(t.ctx, left)
	return ctx, func() {
		t.journalSpent += time.Since(start)
		cancel()
	}
}

// journalError does what the operator wants when the journal can not take a message: defer it, or deliver it with a gap on record.
func (t *transaction) journalError(err error, intents []journal.Intent, skips []journal.Record) error {
	if !t.s.c.server.deliver.Load() || t.ctx.Err() != nil {
		return err
	}
	gaps := make([]journal.Record, len(intents))
	for i, in := range intents {
		gaps[i] = t.record(journal.Gap, in.Mailbox, journal.ReasonJournalFault)
		gaps[i].RcptTo, gaps[i].ORCPT = in.RcptTo, in.ORCPT
	}
	ctx, cancel := t.journalTime()
	defer cancel()
	if gapErr := t.s.c.server.config.Journal.Gap(ctx, gaps...); gapErr != nil {
		return errors.Join(err, gapErr)
	}
	t.log.Error("message goes on without being journaled, a gap is on record", "mailboxes", len(gaps), "error", err)
	// Nothing is missing from the archive for the want of these.
	if skipErr := t.s.c.server.config.Journal.Record(ctx, skips...); skipErr != nil {
		t.log.Warn("reasons of skips not on record", "skips", len(skips), "error", skipErr)
	}
	return nil
}

// refusalFault returns the fault for which a message that could not be committed is refused.
func refusalFault(err error) error {
	switch {
	case errors.Is(err, errPolicy):
		return errPolicy
	case errors.Is(err, journal.ErrFull):
		return errFull
	}
	return errJournal
}

func (t *transaction) judgeReceived() (intents []journal.Intent, lines [][]*line, skips []journal.Record, err error) {
	var accepted []*line
	var judged []policy.Line
	for _, n := range t.lines {
		if !n.accepted {
			continue
		}
		orcpt, _ := n.param("ORCPT")
		notify, _ := n.param("NOTIFY")
		accepted = append(accepted, n)
		judged = append(judged, policy.Line{RcptTo: n.address, ORCPT: orcpt, Notify: notify})
	}
	origin := policy.Origin{ClientAddr: t.forward["ADDR"], QueueID: t.forward["IDENT"], OriginalTo: t.head.value,
		Header: t.draft.Header(), Group: policy.Group(pec.GroupOf(t.class.class))}
	verdicts, err := t.s.c.server.config.Policy.Judge(t.ctx, origin, judged)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", errPolicy, err)
	}
	for i, v := range verdicts {
		switch {
		case v.Journal:
			in := journal.Intent{Mailbox: v.Mailbox, Direction: journal.Received, RcptTo: judged[i].RcptTo, ORCPT: judged[i].ORCPT, Flags: v.Flags}
			t.class.describe(&in)
			in.Quota = quota(v.Quota, v.WhenFull)
			intents = append(intents, in)
			lines = append(lines, linesOf(v.Mailbox, verdicts, accepted))
		case v.Enabled && v.Reason != "":
			r := t.record(journal.Skip, v.Mailbox, v.Reason)
			r.RcptTo, r.ORCPT = judged[i].RcptTo, judged[i].ORCPT
			skips = append(skips, r)
		}
	}
	return intents, lines, skips, nil
}

// linesOf returns the lines that end in a mailbox.
func linesOf(mailbox string, verdicts []policy.Verdict, lines []*line) []*line {
	var list []*line
	for i, v := range verdicts {
		if v.Mailbox == mailbox {
			list = append(list, lines[i])
		}
	}
	return list
}

func (t *transaction) judgeSent() (intents []journal.Intent, lines [][]*line, skips []journal.Record, err error) {
	v, err := t.judgeSender()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", errPolicy, err)
	}
	if !v.Journal {
		if v.Enabled && v.Reason != "" {
			skips = append(skips, t.record(journal.Skip, v.Mailbox, v.Reason))
		}
		return nil, nil, skips, nil
	}
	in := journal.Intent{Mailbox: v.Mailbox, Direction: journal.Sent, Recipients: t.recipients(), SentTo: string(t.sentTo), Flags: v.Flags}
	t.class.describe(&in)
	in.Quota = quota(v.Quota, v.WhenFull)
	var accepted []*line
	for _, n := range t.lines {
		if n.accepted {
			accepted = append(accepted, n)
		}
	}
	return []journal.Intent{in}, [][]*line{accepted}, nil, nil
}

// recipients returns the recipients that the next hop accepted, in the order of their RCPT.
func (t *transaction) recipients() []string {
	var list []string
	for _, n := range t.lines {
		if n.accepted {
			list = append(list, n.address)
		}
	}
	return list
}

// isFull says, at RCPT, whether the mailbox of a line is one whose mail is to wait when its archive is full, and has no room for the
// message, as far as its size is known. Refused there, it does not keep the other recipients of the message waiting.
func (t *transaction) isFull(v policy.Verdict) (bool, error) {
	q := quota(v.Quota, v.WhenFull)
	if q.WhenFull != journal.DeferFull {
		return false, nil
	}
	used, err := t.s.c.server.config.Journal.Usage(t.ctx, v.Mailbox)
	if err != nil {
		return false, err
	}
	size, _ := t.from.param("SIZE")
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil || n == 0 {
		n = 1
	}
	// One that is larger than the quota would wait for ever: it is delivered, with a gap on record.
	return used+n > q.Limit && n <= q.Limit, nil
}

// quota returns the limit of a mailbox as the journal wants it.
func quota(limit int64, full policy.WhenFull) journal.Quota {
	q := journal.Quota{Limit: uint64(limit)}
	switch full {
	case policy.WhenFullDefer:
		q.WhenFull = journal.DeferFull
	case policy.WhenFullMakeRoom:
		q.WhenFull = journal.MakeRoom
	}
	return q
}

func (t *transaction) envelope() journal.Envelope {
	return journal.Envelope{
		MailFrom:    t.from.address,
		QueueID:     t.forward["IDENT"],
		Transaction: t.id,
		Peer: journal.Peer{
			Name: t.forward["NAME"], Addr: t.forward["ADDR"], Helo: t.forward["HELO"], Protocol: t.forward["PROTO"],
		},
	}
}

func (t *transaction) record(kind journal.RecordKind, mailbox, reason string) journal.Record {
	return journal.Record{
		Kind: kind, Mailbox: mailbox, Time: time.Now().UTC(), Reason: reason, Direction: t.s.direction(),
		MailFrom: t.from.address, MessageID: part.Value(t.draft.Header(), "Message-ID"),
		QueueID: t.forward["IDENT"], Transaction: t.id,
	}
}

// conclude tells the journal what the next hops made of the message.
func (t *transaction) conclude() {
	ctx, cancel := t.journalTime()
	defer cancel()
	for _, e := range t.entries {
		if err := t.concludeEntry(ctx, e); err != nil {
			// The refusal must not be passed back before the entry is withdrawn.
			t.log.Error("outcome not noted in the journal", "mailbox", e.placement.Mailbox, "error", err)
			for _, n := range e.lines {
				if n.final.Permanent() {
					n.final = faultReply(errJournal, t.id)
				}
			}
		}
	}
}

func (t *transaction) concludeEntry(ctx context.Context, e *pendingEntry) error {
	j, ref := t.s.c.server.config.Journal, e.placement.Ref
	delivered, unknown, open, refusal := false, false, false, nexthop.Reply{}
	for _, n := range e.lines {
		switch {
		case n.unknown:
			unknown = true
		case n.final.Positive():
			delivered = true
		case n.final.Permanent():
			refusal = n.final
		default:
			open = true
		}
	}
	switch {
	case delivered:
		j.Delivered(ref, t.id)
		t.learn()
		t.tellDelivered(ref)
		return nil
	case unknown:
		// The message may have been delivered: the entry keeps the state unknown.
		return nil
	case open:
		// A lost note costs nothing but a state of unknown.
		if err := j.Deferred(ctx, ref, t.id); err != nil {
			t.log.Warn("deferral not noted in the journal", "mailbox", ref.Mailbox, "error", err)
		}
		return nil
	}
	r := t.record(journal.Skip, ref.Mailbox, journal.ReasonRefused)
	r.Detail = refusal.String()
	if len(e.lines) > 0 {
		r.RcptTo = e.lines[0].address
		r.ORCPT, _ = e.lines[0].param("ORCPT")
	}
	withdrawn, err := j.Withdraw(ctx, ref, t.id, r)
	if err == nil && !withdrawn {
		t.log.Warn("refused message stays in the journal: it may have been delivered before", "mailbox", ref.Mailbox,
			"folder", ref.FolderName(), "uid", ref.UID)
	}
	return err
}
