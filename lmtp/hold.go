package lmtp

import (
	"context"
	"errors"
	"io"
	"time"

	"copialettere/lmtp/nexthop"
)

// hold keeps the message from going on for lines, which the MTA is to bring again. LMTP has a reply for each of them.
func (t *transaction) hold(lines []*line, fault error) {
	for _, n := range lines {
		n.held = true
		if n.final.Code == 0 {
			n.final = faultReply(fault, t.id)
		}
	}
}

// holdBack keeps the dot from the next hops that would deliver for lines that are held. Where a hop has accepted others as well, the
// message goes there anew for those alone: one dot is for all that were accepted.
func (t *transaction) holdBack() {
	deadline := time.Now().Add(againTimeout)
	for _, l := range t.legs {
		if !l.ready || l.err != nil {
			continue
		}
		held, free := false, []*line(nil)
		for _, n := range t.lines {
			switch {
			case n.leg != l || !n.accepted:
			case n.held:
				held = true
			case n.final.Code == 0:
				free = append(free, n)
			}
		}
		if !held {
			continue
		}
		l.fail(errAborted)
		if len(free) > 0 {
			t.again(deadline, l.hop, free)
		}
	}
}

// againTimeout is what holdBack may take, with all its hops. The bounds that the configuration sets to journal_timeout and final_timeout leave
// room for it, since the MTA waits for all three.
const againTimeout = 30 * time.Second

// again hands the message to a next hop from the start, as far as the dot, for lines that it had accepted before. What it says now counts.
// The message is read back from the draft, also from one that the journal did not take.
func (t *transaction) again(deadline time.Time, hop *nexthop.Hop, lines []*line) {
	ctx, cancel := context.WithDeadlineCause(t.ctx, deadline, nexthop.ErrTimeout)
	defer cancel()
	l := newLeg(t, hop)
	t.legs = append(t.legs, l)
	for _, n := range lines {
		n.leg = l
		l.rcpt(n)
	}
	l.askData()
	mail, accepted := l.mailReply(ctx), false
	for _, n := range lines {
		r, err := l.rcptReply(ctx, n)
		switch {
		case err != nil:
		case !mail.Positive():
			n.final = mail
		case !r.Positive():
			n.final = r
		default:
			accepted = true
		}
	}
	r, err := l.reply(ctx)
	switch {
	case err != nil:
		t.log.Warn("message not handed on", "error", err)
		return
	case r.Code != 354:
		t.setFinal(l, r)
		return
	case !accepted:
		l.fail(errAborted)
		return
	}
	l.ready = true
	defer context.AfterFunc(ctx, l.conn.Abort)()
	// The lines that are held may have used up the time for the journal.
	t.draft.SetContext(ctx)
	_, body := t.draft.Finish()
	if _, err := io.Copy(l.conn, io.NewSectionReader(messageReader{body}, 0, t.draft.Size())); err != nil {
		l.fail(err)
		t.log.Warn("message not handed on", "error", err)
	}
}

// messageReader reads a message back from the journal, whose errors are a fault of ours.
type messageReader struct{ body io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (m messageReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := m.body.ReadAt(p, offset)
	if err != nil && err != io.EOF {
		err = errors.Join(errJournal, err)
	}
	return n, err
}
