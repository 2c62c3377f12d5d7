package level

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"copialettere/journal/durable"
	"copialettere/journal/kv"
)

// fence is the kv.Fence of a store. It is only in memory: whoever opens the folder next is the only client, and finds none.
type fence struct{ store *store }

// Fence implements kv.Engine. The committer puts up the fence between two batches, when all earlier updates are answered.
func (e *Engine) Fence(ctx context.Context, m kv.Month) (kv.Fence, error) {
	if err := checkMonth(m); err != nil {
		return nil, err
	}
	for {
		found, err := e.store(ctx, string(m), false)
		if err != nil {
			return nil, err
		}
		s := found.(*store)
		f := &fence{s}
		err = s.setFence(ctx, func() error { s.fence = f; return nil })
		if errors.Is(err, kv.ErrClosed) {
			continue // dropped just now, or the engine is closed: store knows which
		}
		if err != nil {
			return nil, fmt.Errorf("fence volume %s: %w", m, err)
		}
		return f, nil
	}
}

// setFence lets the committer change the fence of a store, unless the store is being dropped.
func (s *store) setFence(ctx context.Context, change func() error) error {
	return s.inCommitter(ctx, func() error {
		s.engine.mu.Lock()
		defer s.engine.mu.Unlock()
		if s.engine.stores[s.name] != s {
			return s.closedErr("fence")
		}
		return change()
	})
}

// Drop implements kv.Fence.
func (f *fence) Drop(ctx context.Context) error {
	return f.store.engine.remove(ctx, "drop", kv.Month(f.store.name), f, f.store.engine.erase)
}

// Lift implements kv.Fence.
func (f *fence) Lift(ctx context.Context) error {
	err := f.store.setFence(ctx, func() error {
		if f.store.fence != f {
			return kv.ErrFenced
		}
		f.store.fence = nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("lift the fence of volume %s: %w", f.store.name, err)
	}
	return nil
}

// Drop implements kv.Engine. Once the folder is renamed the volume is gone for good; after a crash its files stay until the next Open.
func (e *Engine) Drop(ctx context.Context, m kv.Month) error {
	return e.remove(ctx, "drop", m, nil, e.erase)
}

// Forget implements kv.Engine.
func (e *Engine) Forget(ctx context.Context, m kv.Month) error {
	return e.remove(ctx, "forget", m, nil, e.forget)
}

// remove takes the store of a month out of use and calls fn. If a fence is given, it must still stand.
func (e *Engine) remove(ctx context.Context, doing string, m kv.Month, fenced *fence, fn func(name string) error) error {
	if err := checkMonth(m); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	name := string(m)
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return fmt.Errorf("%s volume %s: %w", doing, name, kv.ErrClosed)
	}
	if wait, ok := e.dropping[name]; ok {
		e.mu.Unlock()
		select {
		case <-wait:
			return e.remove(ctx, doing, m, fenced, fn) // the other one may have failed
		case <-ctx.Done():
			return fmt.Errorf("%s volume %s: %w", doing, name, ctx.Err())
		}
	}
	s := e.stores[name]
	if fenced != nil && (s != fenced.store || s.fence != fenced) {
		e.mu.Unlock()
		return fmt.Errorf("%s volume %s, by another call: %w", doing, name, kv.ErrFenced)
	}
	done := make(chan struct{})
	e.dropping[name] = done
	delete(e.stores, name)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.dropping, name)
		e.mu.Unlock()
		close(done)
	}()

	if s != nil {
		// Ignore errors of closing: the whole store goes.
		_ = s.close()
	}
	if err := fn(name); err != nil {
		return fmt.Errorf("%s volume %s: %w", doing, name, err)
	}
	return nil
}

func (e *Engine) erase(name string) error {
	path := e.path(name)
	dropped := path + droppedSuffix
	switch entry, ok := e.entry(name); {
	case !ok:
		// The archive has no such volume, but a stranger may be in its place.
		if _, err := e.claim(name, false); !errors.Is(err, kv.ErrNoVolume) {
			return err
		}
		return nil
	case entry.State != stateMaking:
		if err := e.checkTag(name, entry); err != nil {
			return err
		}
	}
	// What was kept aside when the volume was mended is the same mail.
	old, err := e.asides(name)
	if err != nil {
		return err
	}
	for _, folder := range append(old, dropped) {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	err = e.step("rename " + path)
	if err == nil {
		err = os.Rename(path, dropped)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = e.syncNames(e.dir)
	if err == nil {
		err = e.enter(name, nil)
	}
	if err != nil {
		// Put the volume back. If a crash prevents that, the volume is gone, as if the drop had succeeded.
		return errors.Join(err, os.Rename(dropped, path), durable.SyncFolder(e.dir))
	}
	if err = e.step("remove " + dropped); err == nil {
		err = os.RemoveAll(dropped)
	}
	if err != nil {
		return fmt.Errorf("erase its files: %w", err)
	}
	return nil
}

// forget removes an absent volume from the register.
func (e *Engine) forget(name string) error {
	switch some, err := holdsAnything(e.path(name)); {
	case err != nil:
		return err
	case some:
		return fmt.Errorf("%s is there: move it away first", e.path(name))
	}
	e.mu.Lock()
	there := e.has(name)
	delete(e.strangers, name)
	e.mu.Unlock()
	if !there {
		return kv.ErrNoVolume
	}
	return e.enter(name, nil)
}
