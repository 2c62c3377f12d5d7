package lmtp

import (
	"context"
	"errors"
	"io"
	"time"

	"copialettere/lmtp/nexthop"
)

// hold keeps the message from going on for some lines. Each gets a temporary refusal, so the MTA brings the message again.
func (t *transaction) hold(lines []*line, fault error) {
	for _, n := range lines {
		n.held = true
		if n.final.Code == 0 {
			n.final = faultReply(fault, t.id)
		}
	}
}

// holdBack keeps the dot from the next hops that would deliver to held lines, because one dot delivers to all that a hop accepted. If the
// hop accepted other lines too, it gets the message anew for those alone.
func (t *transaction) holdBack() {
	deadline := time.Now().Add(resendTimeout)
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
			t.resend(deadline, l.hop, free)
		}
	}
}

// resendTimeout bounds holdBack, over all its hops. The MTA waits for it as well as for journal_timeout and final_timeout; the
// configuration bounds those two to leave room for it.
const resendTimeout = 30 * time.Second

// resend hands the message to a next hop from the start, up to the dot, for lines that it accepted before. Its replies replace the earlier
// ones. The message comes from the draft, even from one that the journal did not take.
func (t *transaction) resend(deadline time.Time, hop *nexthop.Hop, lines []*line) {
	ctx, cancel := context.WithDeadlineCause(t.ctx, deadline, nexthop.ErrTimeout)
	defer cancel()
	l := newLeg(t, hop)
	t.legs = append(t.legs, l)
	for _, n := range lines {
		n.leg = l
		l.rcpt(n)
	}
	l.askData()
	if l.ready = t.reopened(ctx, l, lines); !l.ready {
		return
	}
	defer context.AfterFunc(ctx, l.conn.Abort)()
	// The held lines may have used up the time for the journal.
	t.draft.SetContext(ctx)
	_, body := t.draft.Finish()
	if _, err := io.Copy(l.conn, io.NewSectionReader(messageReader{body}, 0, t.draft.Size())); err != nil {
		l.fail(err)
		t.log().Warn("message not handed on", "error", err)
	}
}

// reopened reads the replies to MAIL, RCPT and DATA of a leg that resend made. It reports whether the hop now takes the message; if not, it
// has given the lines their final replies, or the leg has failed.
func (t *transaction) reopened(ctx context.Context, l *leg, lines []*line) bool {
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
		t.log().Warn("message not handed on", "error", err)
	case r.Code != 354:
		t.setFinal(l, r)
	case !accepted:
		l.fail(errAborted)
	default:
		return true
	}
	return false
}

// messageReader reads a message back from the journal. It marks errors as errJournal.
type messageReader struct{ body io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (m messageReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := m.body.ReadAt(p, offset)
	if err != nil && err != io.EOF {
		err = errors.Join(errJournal, err)
	}
	return n, err
}
