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

// tell keeps a notice until the final replies are given.
func (t *transaction) tell(n notice.Notice) {
	n.Time = time.Now()
	t.notices = append(t.notices, n)
}

// tellPlaced tells that a mailbox has not much room left.
func (t *transaction) tellPlaced(p journal.Placement) {
	if p.Crossed > 0 {
		t.tell(notice.Notice{Mailbox: p.Mailbox, Event: policy.NotifyFull, ID: strconv.Itoa(p.Crossed), Percent: p.Crossed})
	}
}

// tellWaiting tells at once that mail waits for room: a transaction with no other recipient has no end at which to tell it.
func (t *transaction) tellWaiting(mailbox string) {
	if notify := t.s.c.server.config.Notify; notify != nil {
		notify(notice.Notice{Mailbox: mailbox, Event: policy.NotifyFull, Time: time.Now(), ID: "100", Percent: 100})
	}
}

// tellDelivered tells that a certified message has arrived.
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

// notify hands on what there is to tell. Of gaps the journal tells.
func (t *transaction) notify() {
	notify := t.s.c.server.config.Notify
	if notify == nil {
		return
	}
	for _, n := range t.notices {
		notify(n)
	}
}
