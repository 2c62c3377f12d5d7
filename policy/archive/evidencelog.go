package archive

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/pec/practice"
)

// evidenceKeys are the changes of a mailbox that matter for what may have happened to one of its messages: whether it was archived, could be changed,
// deleted, kept or erased, and what was taken out.
var evidenceKeys = []string{policy.KeyArchive, policy.KeyErasure, policy.KeyAddress, policy.KeyHold, policy.KeyRetention, policy.KeyWrite, policy.KeyManualDelete, policy.KeyAppend, KeyExport, KeyLog}

// LinkedPractices returns the practices of one sent message of a mailbox, or that with an identifier: see practice.Linked.
func (a *Archive) LinkedPractices(ctx context.Context, address policy.Address, chosen practice.Chosen, now time.Time) ([]*practice.Practice, error) {
	m, err := a.there(ctx, address)
	if err != nil {
		return nil, err
	}
	list, err := practice.Linked(ctx, a.journal, m.Archive, chosen, now)
	for _, p := range list {
		p.Mailbox = address.String()
	}
	return list, err
}

// EvidenceLog yields what the log of a mailbox tells that concerns some of its messages, ordered by time: the acts on each of them, wherever it lay then,
// and the changes since a time that decided what could happen to them. It needs RightLook. Errors are as those of Log.
func (a *Archive) EvidenceLog(ctx context.Context, who policy.Actor, address policy.Address, messages []journal.Ref, since time.Time) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := a.May(ctx, who, RightLook, address); err != nil {
			yield(Change{}, err)
			return
		}
		var list []Change
		for c, err := range a.Log(ctx, address) {
			switch {
			case err != nil:
				if !yield(Change{}, err) || !errors.Is(err, journal.ErrDamaged) {
					return
				}
			case c.Key == KeyLog, c.Number > 0 && slices.Contains(evidenceKeys, c.Key) && !c.Time.Before(since):
				list = append(list, c)
			}
		}
		acts, err := a.actsOn(ctx, address, messages)
		if err != nil {
			yield(Change{}, err)
			return
		}
		list = append(list, acts...)
		slices.SortStableFunc(list, func(a, b Change) int { return a.Time.Compare(b.Time) })
		for _, c := range list {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// actsOn returns the acts on messages, each as acts on one message alone, in no order. What is damaged is left out: Log has told of it.
func (a *Archive) actsOn(ctx context.Context, address policy.Address, messages []journal.Ref) ([]Change, error) {
	m, err := a.policy.Mailbox(ctx, address)
	if err != nil {
		return nil, err
	}
	var acts []*journal.Act
	for act, err := range a.journal.Acts(ctx, m.Archive) {
		if err != nil && !errors.Is(err, journal.ErrDamaged) {
			return nil, err
		}
		if err == nil {
			acts = append(acts, act)
		}
	}
	slices.SortStableFunc(acts, func(a, b *journal.Act) int { return a.Time.Compare(b.Time) })
	// place is where a message lay after the act that is looked at.
	type place struct {
		folder string
		uid    uint32
	}
	at := make(map[place]bool)
	for _, ref := range messages {
		at[place{ref.FolderName(), ref.UID}] = true
	}
	var list []Change
	for _, act := range slices.Backward(acts) {
		moves := act.To.UID > 0
		to, stop := iter.Pull(act.ToUIDs.Each())
		for uid := range act.UIDs.Each() {
			before, after := place{act.From.FolderName(), uid}, place{act.From.FolderName(), uid}
			if moves {
				after.folder = act.To.FolderName()
				after.uid, _ = to()
			}
			if !at[after] {
				continue
			}
			delete(at, after)
			at[before] = true
			one := *act
			one.From.UID = uid
			one.UIDs = one.From.Only().UIDs
			if moves {
				one.To.UID = after.uid
				one.ToUIDs = one.To.Only().UIDs
			}
			list = append(list, viewAct(address.String(), &one))
		}
		stop()
	}
	return list, nil
}

// EvidenceAccesses yields who was let in to a mailbox since a time, oldest first, without the addresses of the clients. It needs RightLook.
func (a *Archive) EvidenceAccesses(ctx context.Context, who policy.Actor, address policy.Address, since time.Time) iter.Seq2[auth.Access, error] {
	return func(yield func(auth.Access, error) bool) {
		if err := a.May(ctx, who, RightLook, address); err != nil {
			yield(auth.Access{}, err)
			return
		}
		for one, err := range a.Accesses(ctx, address) {
			last := one.Time
			if one.Until.After(last) {
				last = one.Until
			}
			if err == nil && (one.Result != auth.ResultOK || last.Before(since)) {
				continue
			}
			one.Address = ""
			if !yield(one, err) {
				return
			}
		}
	}
}
