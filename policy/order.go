package policy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"copialettere/journal/kv"
)

// Order says what is to become of one of many mailboxes. There is one for each mailbox at most.
type Order struct {
	Mailbox     Address
	Assignments []Assignment // settings to change, as Set does; may be empty
	Enable      bool         // turn the archive on, as Enable does, after that
}

// Outcome is what an Order makes of its mailbox.
type Outcome struct {
	Mailbox  Address
	Settings Settings // as they are then
	Changes  []Change // none if nothing changes
	Refused  error    // why the order cannot be carried out; from Try only
}

// maxOrders is how many mailboxes one Update changes at most. A mailbox writes some 4 kB when all its settings change, so that an Update stays
// far below kv.MaxUpdate, and mail to these mailboxes waits for one write to the disk.
const maxOrders = 100

// Try yields what CarryOut would make of each order, in their order, or why it would refuse it. Each sees what those before it would change. Try
// changes no mailbox. An error comes from the store, and ends the list.
func (p *Policy) Try(ctx context.Context, who Actor, orders []Order) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		tx := &trial{ctx: ctx, store: p.store, written: make(map[string][]byte)}
		for _, o := range orders {
			outcome, err := p.try(tx, who, o)
			if errors.Is(err, errNotCounted) {
				if err := p.countDomains(ctx); err != nil {
					yield(Outcome{}, err)
					return
				}
				outcome, err = p.try(tx, who, o)
			}
			if tx.err != nil {
				yield(Outcome{}, err)
				return
			}
			outcome.Refused = err
			if !yield(outcome, nil) {
				return
			}
		}
	}
}

// try carries out one order on trial.
func (p *Policy) try(tx *trial, who Actor, o Order) (Outcome, error) {
	l, err := directoryIn(tx).lead(o.Mailbox)
	if err != nil {
		return Outcome{}, err
	}
	return p.carryOut(tx, l, who, o)
}

// CarryOut changes many mailboxes, each as Set and Enable would, and yields what became of each, in the order of the orders. Some mailboxes at a
// time change together, all or none, and are durable when they are yielded. It stops at the first error: the mailboxes that were not yielded did
// not change, unless the error wraps kv.ErrUnknown. To go on, carry out the same orders again. The error says which order it is about, and wraps
// what Set and Enable do.
func (p *Policy) CarryOut(ctx context.Context, who Actor, orders []Order) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		for some := range slices.Chunk(orders, maxOrders) {
			outcomes, err := p.carryOutTogether(ctx, who, some)
			if err != nil {
				yield(Outcome{}, err)
				return
			}
			for _, outcome := range outcomes {
				if !yield(outcome, nil) {
					return
				}
			}
		}
	}
}

// carryOutTogether carries out orders in one Update.
func (p *Policy) carryOutTogether(ctx context.Context, who Actor, orders []Order) (outcomes []Outcome, err error) {
	addresses := make([]Address, len(orders))
	for i, o := range orders {
		addresses[i] = o.Mailbox
	}
	err = p.update(ctx, who, addresses, func(tx kv.Tx, leads []lead) (changed bool, err error) {
		outcomes = nil
		for i, o := range orders {
			outcome, err := p.carryOut(tx, leads[i], who, o)
			if err != nil {
				return false, err
			}
			outcomes, changed = append(outcomes, outcome), changed || len(outcome.Changes) > 0
		}
		return changed, nil
	})
	return outcomes, err
}

// carryOut carries out an order inside an Update. Its mailbox leads to l.
func (p *Policy) carryOut(tx kv.Tx, l lead, who Actor, o Order) (Outcome, error) {
	act := "set"
	if o.Enable {
		act = "enable"
	}
	settings, changes, err := p.ordered(tx, l, who, o)
	if err != nil {
		return Outcome{Mailbox: o.Mailbox}, fmt.Errorf("%s %s: %w", act, o.Mailbox, err)
	}
	return Outcome{Mailbox: o.Mailbox, Settings: settings, Changes: changes}, nil
}

func (p *Policy) ordered(tx kv.Tx, l lead, who Actor, o Order) (Settings, []Change, error) {
	if err := p.maySet(who, o.Mailbox, o.Assignments); err != nil {
		return Settings{}, nil, err
	}
	if o.Enable {
		if err := p.mayEnable(who, o.Mailbox); err != nil {
			return Settings{}, nil, err
		}
	}
	now := time.Now().UTC().Round(0)
	return p.revise(tx, o.Mailbox, l, who, now, func(e *editing) error {
		if !o.Enable {
			return p.set(e, o.Mailbox, o.Assignments)
		}
		if err := p.assign(e, o.Mailbox, o.Assignments); err != nil {
			return err
		}
		return enable(e)
	})
}

// trial is a kv.Tx that writes nothing to the store.
type trial struct {
	ctx     context.Context
	store   kv.Store
	written map[string][]byte // what orders read again; nil for a deleted key
	err     error             // the first that the store returned
}

// Get implements kv.View.
func (t *trial) Get(key []byte) ([]byte, error) {
	value, ok := t.written[string(key)]
	switch {
	case ok && value == nil:
		return nil, kv.ErrNotFound
	case ok:
		return value, nil
	}
	value, err := t.store.Get(t.ctx, key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) && t.err == nil {
		t.err = err
	}
	return value, err
}

// GetAll implements kv.View.
func (t *trial) GetAll(keys [][]byte) ([][]byte, error) { return kv.GetEach(keys, t.Get) }

// Put implements kv.Tx. It forgets the changes, which nobody reads: they are most of what is written.
func (t *trial) Put(key, value []byte) {
	if key[0] != changePrefix {
		t.written[string(key)] = value
	}
}

// Delete implements kv.Tx.
func (t *trial) Delete(key []byte) { t.written[string(key)] = nil }

// In implements kv.Tx.
func (t *trial) In(kv.Month) (kv.View, error) { panic("settings are read alone") }

// Needs implements kv.Tx.
func (t *trial) Needs(kv.Staged) { panic("settings stage nothing") }
