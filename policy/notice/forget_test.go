package notice

import (
	"context"
	"errors"
	"strings"
	"testing"

	"copialettere/journal/kv"
)

// kept counts the stored notices and histories that contain the name of a mailbox.
func (r *rig) kept(mailbox string) (n int) {
	r.t.Helper()
	for p, err := range r.store.Scan(r.t.Context(), []byte("w"), []byte("x")) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.Contains(string(p.Key)+string(p.Value), mailbox) {
			n++
		}
	}
	return n
}

// unavailableStore is a store that cannot write.
type unavailableStore struct{ kv.Store }

func (unavailableStore) Update(context.Context, []string, func(kv.Tx) error) error {
	return kv.ErrUnavailable
}

// TestForget forgets the notices of a mailbox, at rest and while one of them is being sent.
func TestForget(t *testing.T) {
	forget := func(r *rig) {
		r.t.Helper()
		if err := Forget(r.t.Context(), r.store, anna); err != nil {
			r.t.Fatal(err)
		}
	}
	sending := func(answer error) func(*rig) {
		return func(r *rig) {
			r.answer = func(string) error {
				forget(r)
				return answer
			}
			r.add(full(75))
			r.deliver(start())
		}
	}
	for _, c := range []struct {
		name string
		with func(r *rig)
		left int // of anna
	}{
		{"nothing", forget, 0},
		{"history only", func(r *rig) { r.add(full(75)); r.deliver(start()); forget(r) }, 0},
		{"some that wait", func(r *rig) { r.add(full(75)); r.add(full(90)); forget(r) }, 0},
		{"some over the cap", func(r *rig) {
			for i := range 10 {
				r.add(full(i))
			}
			forget(r)
		}, 0},
		{"one that is not taken now", func(r *rig) {
			r.answer = func(string) error { return errors.New("450 later") }
			r.add(full(75))
			r.deliver(start())
			forget(r)
		}, 0},
		{"while it is sent", sending(nil), 0},
		{"while it is refused", sending(ErrRefused), 0},
		{"while it is not taken", sending(errors.New("450 later")), 0},
		{"while its fate becomes unknown", sending(ErrUnknown), 0},
		{"while the relay is not reached", sending(ErrUnreachable), 0},
		{"twice", func(r *rig) { r.add(full(75)); forget(r); forget(r) }, 0},
		{"and once more", func(r *rig) { r.add(full(75)); forget(r); r.add(full(75)) }, 2},
		{"the store fails", func(r *rig) {
			r.add(full(75))
			if err := Forget(r.t.Context(), unavailableStore{r.store}, anna); !errors.Is(err, kv.ErrUnavailable) {
				r.t.Errorf("forget: %v", err)
			}
		}, 2},
		{"the store has failed", func(r *rig) {
			r.add(full(75))
			if err := Forget(r.t.Context(), unavailableStore{r.store}, anna); err == nil {
				r.t.Error("forgotten by a store that fails")
			}
			forget(r)
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			const other = "anna@alpha.test.ext" // begins with anna's name
			for _, key := range []string{"wm" + other, "wq\xff"} {
				err := r.store.Update(t.Context(), nil, func(tx kv.Tx) error {
					tx.Put([]byte(key), []byte(`{"mailbox":"`+other+`","next":"2100-01-01T00:00:00Z"}`))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			c.with(r)
			if got := r.kept(anna) - r.kept(other); got != c.left {
				t.Errorf("%d keys of %s are left, want %d", got, anna, c.left)
			}
			if got := r.kept(other); got != 2 {
				t.Errorf("%d keys of %s are left, want 2", got, other)
			}
		})
	}
}
