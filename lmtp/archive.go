package lmtp

import (
	"context"
	"errors"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// pendingEntry is an entry that this transaction made or found, with the lines that reach its mailbox.
type pendingEntry struct {
	placement journal.Placement
	lines     []*line
}

// wish is one mailbox's claim to an entry of the message.
type wish struct {
	intent journal.Intent
	lines  []*line          // all that reach the mailbox
	own    []*line          // those of them that call for the entry; each of the others alone would be skipped
	others []journal.Record // the skips of the others, for the case that no entry is made
}

// wanted reports whether any mailbox may want the message, or its owner may have to be told of it. It is asked before the message is in.
func (t *transaction) wanted() (bool, error) {
	if t.s.direction() == journal.Sent {
		v, err := t.judgeSender()
		if v.Enabled {
			t.sender = v.Mailbox
		}
		return v.Enabled || v.Renamed, err
	}
	for _, n := range t.lines {
		if n.accepted && (n.enabled || n.told) {
			return true, nil
		}
	}
	return false, nil
}

// judgeSender returns the verdict for a sent message. The login that the MTA put into the header says who sent it; without one, MAIL FROM
// does, and the entry is flagged.
func (t *transaction) judgeSender() (policy.Verdict, error) {
	defer t.patience.end()
	ctx := t.patience.begin()
	c := &t.s.c.server.config
	sender := t.from.address
	if t.head.found && !c.SentByMailFrom {
		sender = t.head.value
	}
	if t.sentTo == "" {
		var err error
		if t.sentTo, err = c.Policy.SentTo(ctx, t.recipients(), t.pec.Domains); err != nil {
			return policy.Verdict{}, err
		}
	}
	v, err := c.Policy.JudgeSent(ctx, policy.Origin{SentTo: t.sentTo, Begun: []string{t.sender}}, sender)
	if err == nil && !t.head.found && !c.SentByMailFrom {
		v.Flags = append(v.Flags, journal.FlagSenderUnverified)
	}
	return v, err
}

// commit makes the wanted entries and the records of skips durable. Where that fails, it holds the lines that call for an entry; the other
// lines never wait for the journal.
func (t *transaction) commit() {
	if t.draft == nil {
		return
	}
	defer t.patience.end()
	t.patience.begin()
	class, unclassified := t.classify(t.nextStep())
	if t.class = class; unclassified != nil {
		t.class = pec.Unclassified()
	}
	// classify may have waited for the store until the time was up. The verdict is needed all the same.
	ctx := t.nextStep()
	defer t.s.c.server.beginVerdict()()
	wishes, skips, err := t.judge(ctx, unclassified == nil)
	switch {
	case err != nil:
		t.log().Error("settings cannot be read, message refused for now", "error", err)
		t.hold(t.enabled(), errPolicy)
		return
	case len(wishes) == 0:
		t.keep(ctx, skips)
		return
	case unclassified != nil:
		t.uncommitted(ctx, unclassified, wishes, skips)
		return
	}
	start := time.Now()
	placements, err := t.draft.Commit(ctx, t.envelope(), intentsOf(wishes), skips)
	if err != nil {
		t.uncommitted(ctx, err, wishes, skips)
		return
	}
	t.s.c.server.m.commit.Observe(time.Since(start))
	for i, p := range placements {
		t.placed(ctx, &wishes[i], p)
	}
	t.skipped(skips)
}

func intentsOf(wishes []wish) []journal.Intent {
	intents := make([]journal.Intent, len(wishes))
	for i := range wishes {
		intents[i] = wishes[i].intent
	}
	return intents
}

// placed acts on what the journal did for one mailbox: entry, skip, or a full archive for which mail waits.
func (t *transaction) placed(ctx context.Context, w *wish, p journal.Placement) {
	t.tellPlaced(p, w.intent.Quota.WhenFull)
	switch {
	case p.Waits:
		t.log().Warn("archive full, mail waits at the MTA", "mailbox", p.Mailbox)
		t.tellWaiting(p.Mailbox)
		t.s.c.server.m.verdict("waits")
		t.hold(w.own, errFull)
		t.keep(ctx, w.others)
	case p.Skipped != "":
		t.skips++
		t.s.c.server.m.verdict(p.Skipped)
		t.leaveOut(p.Mailbox, p.Skipped, w.own...)
	default:
		t.entries = append(t.entries, &pendingEntry{placement: p, lines: w.lines})
		t.s.c.server.m.verdict("journaled")
	}
}

// uncommitted applies on_journal_error to a message that the journal could not take: it holds the lines that call for an entry, or lets
// them go on with a gap on record. All other lines go on. The fault may have ended ctx, the context of the journal.
func (t *transaction) uncommitted(ctx context.Context, fault error, wishes []wish, skips []journal.Record) {
	if t.ctx.Err() != nil {
		t.hold(t.enabled(), errJournal)
		return
	}
	var gaps, others []journal.Record
	var missing []*line
	for i, p := range t.archived(intentsOf(wishes)) {
		w := &wishes[i]
		switch {
		case p.Found:
			t.placed(ctx, w, p)
		case p.Skipped != "":
			skips = append(skips, t.recordOf(journal.Skip, &w.intent, p.Skipped))
		default:
			gaps = append(gaps, t.recordOf(journal.Gap, &w.intent, journal.ReasonJournalFault))
			missing = append(missing, w.own...)
			t.leaveOut(w.intent.Mailbox, journal.ReasonJournalFault, w.own...)
			others = append(others, w.others...)
		}
	}
	switch {
	case len(gaps) == 0:
		t.log().Error("journal fault, but the message is already archived or not wanted", "error", fault)
	case !t.s.c.server.deliver.Load():
		t.log().Error("message not journaled, refused for now", "mailboxes", len(gaps), "error", fault)
		t.hold(missing, errJournal)
		skips = append(skips, others...)
	default:
		if err := t.s.c.server.config.Journal.Keep(ctx, gaps...); err != nil {
			t.log().Error("message not journaled and its gap not on record, refused for now", "mailboxes", len(gaps), "error", errors.Join(fault, err))
			t.hold(missing, errJournal)
			// Do not wait for the spool a second time.
			t.unkept(append(skips, others...), err)
			return
		}
		t.log().Error("message not journaled, handed on with a gap on record", "mailboxes", len(gaps), "error", fault)
	}
	t.keep(ctx, skips)
}

// nextStep returns the context for the next step of commit in the journal. If the time is nearly used up, the step gets leastJournalTime.
func (t *transaction) nextStep() context.Context {
	t.patience.end()
	ctx := t.patience.beginLast()
	t.draft.SetContext(ctx)
	return ctx
}

// archived returns a placement for each intent, which says whether the journal already has its message. An error is only logged.
func (t *transaction) archived(intents []journal.Intent) []journal.Placement {
	ctx := t.nextStep()
	found, err := t.draft.Archived(ctx, t.envelope(), intents)
	if err != nil {
		t.log().Warn("cannot tell whether the message is already in the journal", "error", err)
	}
	return found
}

// keep puts the reasons of skips on record. If that fails, the mail still goes on: no message is missing from the archive.
func (t *transaction) keep(ctx context.Context, skips []journal.Record) {
	if len(skips) == 0 {
		return
	}
	if err := t.s.c.server.config.Journal.Keep(ctx, skips...); err != nil {
		t.unkept(skips, err)
		return
	}
	t.skipped(skips)
}

// unkept logs skips that could not be put on record, and counts them.
func (t *transaction) unkept(skips []journal.Record, err error) {
	for _, r := range skips {
		t.log().Error("reason of a skip not on record", "mailbox", r.Mailbox, "reason", r.Reason, "mail_from", r.MailFrom,
			"rcpt_to", r.RcptTo, "orcpt", r.ORCPT, "message_id", r.MessageID, "error", err)
	}
	t.skipped(skips)
}

// skipped counts skips.
func (t *transaction) skipped(skips []journal.Record) {
	t.skips += len(skips)
	for _, r := range skips {
		t.s.c.server.m.verdict(r.Reason)
	}
}

// enabled returns the accepted lines whose mailbox may want the message.
func (t *transaction) enabled() []*line {
	var list []*line
	for _, n := range t.lines {
		if n.accepted && (n.enabled || t.s.direction() == journal.Sent) {
			list = append(list, n)
		}
	}
	return list
}

// judge returns which mailboxes are to get an entry, and the skips of enabled mailboxes. If the class is not known, no filter excludes the
// message.
func (t *transaction) judge(ctx context.Context, classified bool) ([]wish, []journal.Record, error) {
	if t.s.direction() == journal.Sent {
		return t.judgeSent()
	}
	return t.judgeReceived(ctx, classified)
}

func (t *transaction) judgeReceived(ctx context.Context, classified bool) (wishes []wish, skips []journal.Record, err error) {
	accepted, judged, begun := t.linesToJudge()
	origin := t.origin()
	origin.Begun = begun
	verdicts, err := t.s.c.server.config.Policy.Judge(ctx, origin, judged)
	if err != nil {
		return nil, nil, err
	}
	skip := func(i int, reason string) journal.Record {
		r := t.record(journal.Skip, verdicts[i].Mailbox, reason)
		r.RcptTo, r.ORCPT = judged[i].RcptTo, judged[i].ORCPT
		return r
	}
	for i, v := range verdicts {
		inDoubt := !classified && v.Enabled && v.Reason == policy.ReasonFilter
		switch {
		case v.Journal || inDoubt:
			in := journal.Intent{Mailbox: v.Mailbox, Direction: journal.Received, RcptTo: judged[i].RcptTo, ORCPT: judged[i].ORCPT, Flags: v.Flags}
			describe(&in, t.class)
			in.Quota = quota(v.Quota, v.WhenFull)
			w := wish{intent: in, own: []*line{accepted[i]}, lines: []*line{accepted[i]}}
			for k, other := range verdicts {
				if k == i || inDoubt || other.Mailbox != v.Mailbox {
					continue
				}
				if w.lines = append(w.lines, accepted[k]); other.Alone == "" {
					w.own = append(w.own, accepted[k])
				} else {
					w.others = append(w.others, skip(k, other.Alone))
				}
			}
			wishes = append(wishes, w)
		case v.Renamed:
			t.addRenamed(journal.Intent{Direction: journal.Received, RcptTo: judged[i].RcptTo, ORCPT: judged[i].ORCPT}, v, accepted[i])
		case v.Enabled && v.Reason != "":
			skips = append(skips, skip(i, v.Reason))
		}
		if v.Told && v.Reason != "" && !inDoubt {
			t.leaveOut(v.Mailbox, v.Reason, accepted[i])
		}
	}
	return wishes, skips, nil
}

// origin returns what the policy must know of the message apart from its lines.
func (t *transaction) origin() policy.Origin {
	return policy.Origin{
		ClientAddr: t.forward["ADDR"], QueueID: t.forward["IDENT"], OriginalTo: t.head.value, Header: t.draft.Header(),
		Group: policy.Group(pec.GroupOf(t.class.Class)),
	}
}

// linesToJudge returns the accepted lines, and for each of them the form that the policy judges, and its archive when it came in.
func (t *transaction) linesToJudge() (accepted []*line, judged []policy.Line, begun []string) {
	for _, n := range t.lines {
		if !n.accepted {
			continue
		}
		orcpt, _ := n.param("ORCPT")
		notify, _ := n.param("NOTIFY")
		accepted, begun = append(accepted, n), append(begun, n.mailbox)
		judged = append(judged, policy.Line{RcptTo: n.address, ORCPT: orcpt, Notify: notify})
	}
	return accepted, judged, begun
}

func (t *transaction) judgeSent() (wishes []wish, skips []journal.Record, err error) {
	v, err := t.judgeSender()
	if err != nil {
		return nil, nil, err
	}
	in := journal.Intent{Mailbox: v.Mailbox, Direction: journal.Sent, Recipients: t.recipients(), SentTo: string(t.sentTo), Flags: v.Flags}
	accepted := t.enabled()
	if !v.Journal {
		if v.Renamed {
			t.renamed = []wish{renamedWish(in, v, accepted...)}
		}
		if v.Enabled && v.Reason != "" {
			skips = append(skips, t.record(journal.Skip, v.Mailbox, v.Reason))
		}
		return nil, skips, nil
	}
	describe(&in, t.class)
	in.Quota = quota(v.Quota, v.WhenFull)
	return []wish{{intent: in, lines: accepted, own: accepted}}, nil, nil
}

// recipients returns the addresses that the next hop accepted, in the order of their RCPT lines.
func (t *transaction) recipients() []string {
	var list []string
	for _, n := range t.lines {
		if n.accepted {
			list = append(list, n.address)
		}
	}
	return list
}

// quota returns a mailbox's limit, in bytes, and its when_full setting in the journal's form.
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

// recordOf returns a skip or a gap of the mailbox of an intent.
func (t *transaction) recordOf(kind journal.RecordKind, in *journal.Intent, reason string) journal.Record {
	r := t.record(kind, in.Mailbox, reason)
	r.RcptTo, r.ORCPT = in.RcptTo, in.ORCPT
	return r
}

// conclude tells the journal how the next hops answered.
func (t *transaction) conclude() {
	defer t.patience.end()
	ctx := t.patience.beginLast()
	defer t.tellLeftOut()
	for _, e := range t.entries {
		if err := t.concludeEntry(ctx, e); err != nil {
			// Until the entry is withdrawn, the refusal must not go back.
			t.log().Error("outcome not noted in the journal", "mailbox", e.placement.Mailbox, "error", err)
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
		t.learn(ctx)
		t.tellDelivered(ref)
		return nil
	case unknown:
		// The message may have been delivered, so the entry keeps the state unknown.
		return nil
	case open:
		// If the note is lost, the state stays unknown, and no more.
		if err := j.Deferred(ctx, ref, t.id); err != nil {
			t.log().Warn("deferral not noted in the journal", "mailbox", ref.Mailbox, "error", err)
		}
		return nil
	}
	return t.withdraw(ctx, e, refusal)
}

// withdraw removes an entry whose message the next hop refused for good on every line, and puts the refusal on record. The journal keeps
// an entry that is held, or may have been delivered before.
func (t *transaction) withdraw(ctx context.Context, e *pendingEntry, refusal nexthop.Reply) error {
	ref := e.placement.Ref
	r := t.record(journal.Skip, ref.Mailbox, journal.ReasonRefused)
	r.Detail = refusal.String()
	if len(e.lines) > 0 {
		r.RcptTo = e.lines[0].address
		r.ORCPT, _ = e.lines[0].param("ORCPT")
	}
	withdrawn, err := t.s.c.server.config.Journal.Withdraw(ctx, ref, t.id, r)
	if err == nil && !withdrawn {
		t.log().Warn("refused message stays in the journal: it is on hold, or may have been delivered before", "mailbox", ref.Mailbox,
			"folder", ref.FolderName(), "uid", ref.UID)
	}
	return err
}
