package lmtp

import (
	"slices"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
)

// tell queues a notice. notify hands it on after the final replies.
func (t *transaction) tell(n notice.Notice) {
	n.Time = time.Now()
	t.notices = append(t.notices, n)
}

// tellPlaced tells the owner that the archive is filling up, if the entry crossed a threshold, and that it will soon make room, if
// it does so when it is full.
func (t *transaction) tellPlaced(p journal.Placement, full journal.WhenFull) {
	if p.Crossed > 0 {
		t.tell(notice.Notice{Mailbox: p.Mailbox, Event: policy.NotifyFull, ID: strconv.Itoa(p.Crossed), Percent: p.Crossed})
	}
	if p.Crossed >= 90 && full == journal.MakeRoom {
		t.tell(notice.OfRoom(p.Mailbox, time.Now()))
	}
}

// tellWaiting tells the owner at once, however the transaction ends, that mail waits for room.
func (t *transaction) tellWaiting(mailbox string) {
	if notify := t.s.c.server.config.Notify; notify != nil {
		notify(notice.Notice{Mailbox: mailbox, Event: policy.NotifyFull, Time: time.Now(), ID: "100", Percent: 100})
	}
}

// tellDelivered tells the owner that a certified message has arrived, and is in the archive.
func (t *transaction) tellDelivered(r journal.Ref) {
	t.tellCertified(notice.Notice{Mailbox: r.Mailbox, ID: r.FolderName() + "/" + strconv.FormatUint(uint64(r.UID), 10)})
}

// leftOut is a mailbox that the message came to directly, and whose archive does not get it.
type leftOut struct {
	mailbox, reason string
	lines           []*line // that reach it
}

// leaveOut notes a mailbox whose archive does not get the message.
func (t *transaction) leaveOut(mailbox, reason string, lines ...*line) {
	for i := range t.leftOut {
		if o := &t.leftOut[i]; o.mailbox == mailbox {
			o.lines = append(o.lines, lines...)
			return
		}
	}
	t.leftOut = append(t.leftOut, leftOut{mailbox, reason, lines})
}

// tellLeftOut tells owners of a certified message that has arrived, and is not in the archive.
func (t *transaction) tellLeftOut() {
	for _, o := range t.leftOut {
		if slices.ContainsFunc(o.lines, func(n *line) bool { return n.final.Positive() }) {
			t.tellCertified(notice.Notice{Mailbox: o.mailbox, Reason: o.reason})
		}
	}
}

// tellCertified completes a notice of the arrival of the message, and queues it if the message is certified.
func (t *transaction) tellCertified(n notice.Notice) {
	if t.s.direction() != journal.Received || t.class == nil || pec.GroupOf(t.class.Class) != pec.Certified {
		return
	}
	n.Event = policy.NotifyCertified
	if data := t.class.Record.Message.Data; data != nil {
		n.Sender, n.Subject = data.Sender, data.Subject
	} else {
		n.Sender, n.Subject = part.Value(t.draft.Header(), "From"), part.Value(t.draft.Header(), "Subject")
	}
	t.tell(n)
}

// tellMailboxFull tells the owner at once, however the transaction ends, that the mailstore has refused a message because the live mailbox of a
// recipient is full. A reply of the hook itself says nothing of the mailbox.
func (t *transaction) tellMailboxFull(n *line, r nexthop.Reply) {
	notify := t.s.c.server.config.Notify
	if notify == nil || n.mailbox == "" || n.held || !mailboxFull(r) {
		return
	}
	notify(notice.MailboxFull(n.mailbox, 100, time.Now()))
}

// mailboxFull reports whether a reply means that a mailbox is full (RFC 3463 section 3.3). The code alone has other meanings: it counts only
// without an enhanced code.
func mailboxFull(r nexthop.Reply) bool {
	switch r.Enhanced {
	case "4.2.2", "5.2.2":
		return true
	case "":
		return r.Code == 452 || r.Code == 552
	}
	return false
}

// notify hands on the queued notices. The journal itself tells of gaps.
func (t *transaction) notify() {
	notify := t.s.c.server.config.Notify
	if notify == nil {
		return
	}
	for _, n := range t.notices {
		notify(n)
	}
}
