package kvtest

import (
	"context"
	"errors"

	"copialettere/journal/kv"
)

// Eager returns an engine on e whose stores purge all garbage at once, whatever the cost.
func Eager(e kv.Engine) kv.Engine { return eager{e} }

type eager struct{ kv.Engine }

// Volume implements kv.Engine.
func (e eager) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := e.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return eagerStore{s}, nil
}

type eagerStore struct{ kv.Store }

// purgeGroup is how many keys an eager store deletes at a time.
const purgeGroup = 100

// Purge implements kv.Store.
func (s eagerStore) Purge(ctx context.Context, garbage []kv.Garbage, done func([]kv.Garbage) error) error {
	return purgeAll(ctx, s, garbage, done)
}

// purgeAll deletes all garbage, a group at a time.
func purgeAll(ctx context.Context, s kv.Store, garbage []kv.Garbage, done func([]kv.Garbage) error) error {
	for len(garbage) > 0 {
		group := garbage[:min(len(garbage), purgeGroup)]
		err := s.Update(ctx, nil, func(tx kv.Tx) error {
			for _, g := range group {
				tx.Delete(g.Key)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := done(group); err != nil {
			return err
		}
		garbage = garbage[len(group):]
	}
	return nil
}

// dropFenced fences the volume of a month and drops it. It tries again if another fence comes between.
func dropFenced(ctx context.Context, e kv.Engine, m kv.Month) error {
	for {
		f, err := e.Fence(ctx, m)
		if errors.Is(err, kv.ErrNoVolume) {
			return nil
		}
		if err == nil {
			err = f.Drop(ctx)
		}
		if !errors.Is(err, kv.ErrFenced) {
			return err
		}
	}
}
