package notice

import (
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// Kind tells events of one kind apart, for NotifyBeforeLoss, NotifySecurity, and what NotifyGap tells of imports.
type Kind string

// The kinds.
const (
	// NotifyBeforeLoss: why messages are going to be lost to the archive.
	LossDisable   Kind = "disable"   // the archive was disabled, and will be erased
	LossRetention Kind = "retention" // the retention was shortened
	LossRun       Kind = "run"       // a run of the retention would delete much
	LossRoom      Kind = "room"      // the archive is 90 percent full, and will make room

	// NotifySecurity: what has changed.
	SecurityAppPassword     Kind = "app-password"      // a password for a program was made
	SecurityDelegate        Kind = "delegate"          // somebody else may read the archive; told whatever is chosen
	SecuritySecondFactorOff Kind = "second-factor-off" // the second factor was turned off; told whatever is chosen
	SecurityRecoveryCode    Kind = "recovery-code"     // a recovery code of the second factor was used
	SecurityExport          Kind = "export"            // messages were exported
	SecurityAddress         Kind = "address"           // the address for notices has changed; this goes to the earlier one, wanted or not

	// Neither: the code that confirms a new address for notices, and goes there.
	kindCode Kind = "code"
)

// always reports whether an owner who has an address for notices is told, whichever he has chosen: that somebody else may read the archive, or that it
// is less protected. Whoever brings that about must not be able to count on a setting.
func (n *Notice) always() bool {
	return n.Kind == SecurityDelegate || n.Kind == SecuritySecondFactorOff
}

// OfSecurity returns the notice of a change that concerns the security of an archive. The detail is what people know it by: the name of an app
// password, the address of a delegate, what was exported. It may be empty.
func OfSecurity(mailbox string, kind Kind, detail string, now time.Time) Notice {
	return Notice{Mailbox: mailbox, Event: policy.NotifySecurity, Kind: kind, Reason: detail, Time: now}
}

// OfRoom returns the notice that an archive is so full that it will soon delete its oldest messages to make room.
func OfRoom(mailbox string, now time.Time) Notice {
	return Notice{Mailbox: mailbox, Event: policy.NotifyBeforeLoss, Kind: LossRoom, Time: now, ID: "room", Percent: 90}
}

// Revised queues what owners are told of a change of settings, in the Update that makes the change, so neither comes without the other. These
// notices do not count towards the daily limit. Give it to policy.Policy.OnRevision, and call Pump.Wake when the change is made.
func (n *Pump) Revised(tx kv.Tx, r policy.Revision) error {
	for _, e := range ofRevision(&r) {
		e.Mailbox, e.Time = r.Archive, r.Time.Local()
		e.Reason = clean(e.Reason)
		if err := enqueue(tx, newKey(e.Time), &waiting{Notice: e}); err != nil {
			return err
		}
	}
	if r.After.NotifyPending == (policy.Pending{}) && r.Before.NotifyPending != r.After.NotifyPending {
		tx.Delete(codeKey(r.Archive))
	}
	return nil
}

// ofRevision returns the notices of a change, without mailbox and time.
func ofRevision(r *policy.Revision) (list []Notice) {
	before, after := &r.Before, &r.After
	if p := after.NotifyPending; p != before.NotifyPending && p.Address != (policy.Address{}) {
		list = append(list, Notice{Kind: kindCode, To: p.Address.String(), Due: p.Until})
	}
	if before.Notify != after.Notify && before.Notify != (policy.Address{}) {
		to := after.Notify.String()
		if after.Notify == (policy.Address{}) {
			to = ""
		}
		list = append(list, Notice{Event: policy.NotifySecurity, Kind: SecurityAddress, To: before.Notify.String(), Reason: to})
	}
	if d := after.RetentionDelay; d != before.RetentionDelay && d.Until.After(r.Time) {
		e := Notice{Event: policy.NotifyBeforeLoss, Kind: LossRetention, Due: d.Until, Months: after.Retention}
		if before.Retention == after.Retention {
			e.Kind = LossRun
		}
		list = append(list, e)
	}
	// Nothing comes before an erasure without a grace.
	if e := after.Erasure; e != before.Erasure && e.State == policy.ErasureDue && e.At.After(r.Time) && before.Tells(policy.NotifyBeforeLoss) {
		list = append(list, Notice{Event: policy.NotifyBeforeLoss, Kind: LossDisable, Due: e.At})
	}
	return list
}

// Wake has the notices mailed that were queued by Revised. It does not wait.
func (n *Pump) Wake() {
	if n != nil {
		wake(n.queued)
	}
}

// still reports whether a notice of a change is still true: whether what it tells of is still going to happen. Why says what has become of it.
func (n *Notice) still(s *policy.Settings, now time.Time) (why string) {
	switch n.Kind {
	case kindCode:
		if p := s.NotifyPending; p.Address.String() != n.To || !p.Until.Equal(n.Due) || !now.Before(p.Until) {
			return "its address no longer waits for confirmation"
		}
	case LossDisable:
		if s.Erasure.State != policy.ErasureDue || !s.Erasure.At.Equal(n.Due) {
			return "the archive is no longer to be erased then"
		}
	case LossRetention, LossRun:
		if !s.RetentionDelay.Until.Equal(n.Due) {
			return "the retention has changed again"
		}
	}
	return ""
}
