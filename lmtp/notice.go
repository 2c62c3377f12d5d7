package lmtp

import (
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
)

// tell queues a notice. notify hands it on after the final replies.
func (t *transaction) tell(n notice.Notice) {
	n.Time = time.Now()
	t.notices = append(t.notices, n)
}

// tellPlaced tells the owner that the archive is filling up, if the entry crossed a threshold.
func (t *transaction) tellPlaced(p journal.Placement) {
	if p.Crossed > 0 {
		t.tell(notice.Notice{Mailbox: p.Mailbox, Event: policy.NotifyFull, ID: strconv.Itoa(p.Crossed), Percent: p.Crossed})
	}
}

// tellWaiting tells the owner at once, however the transaction ends, that mail waits for room.
func (t *transaction) tellWaiting(mailbox string) {
	if notify := t.s.c.server.config.Notify; notify != nil {
		notify(notice.Notice{Mailbox: mailbox, Event: policy.NotifyFull, Time: time.Now(), ID: "100", Percent: 100})
	}
}

// tellDelivered tells the owner that a certified message has arrived.
func (t *transaction) tellDelivered(r journal.Ref) {
	if t.s.direction() != journal.Received || t.class == nil || pec.GroupOf(t.class.class) != pec.Certified {
		return
	}
	n := notice.Notice{Mailbox: r.Mailbox, Event: policy.NotifyCertified, ID: r.FolderName() + "/" + strconv.FormatUint(uint64(r.UID), 10)}
	if data := t.class.record.Message.Data; data != nil {
		n.Sender, n.Subject = data.Sender, data.Subject
	} else {
		n.Sender, n.Subject = part.Value(t.draft.Header(), "From"), part.Value(t.draft.Header(), "Subject")
	}
	t.tell(n)
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
