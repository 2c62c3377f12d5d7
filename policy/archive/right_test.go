package archive

import (
	"errors"
	"slices"
	"testing"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/policy"
)

// open returns an archive of the domains alpha.test, whose postmaster is post@alpha.test, and beta.test.
func open(t *testing.T) *Archive {
	t.Helper()
	a, _ := openOn(t)
	return a
}

// openOn is open on a given settings store.
func openOn(t *testing.T) (*Archive, kv.Store) {
	t.Helper()
	engine, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(engine, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(j.Close(), engine.Close()); err != nil {
			t.Error(err)
		}
	})
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(t.Context(), settings, policy.Config{
		Domains: []policy.Domain{{Name: "alpha.test", Postmasters: []string{"post@alpha.test"}}, {Name: "beta.test"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Journal: j, Policy: p}), settings
}

// TestActsNeedRights lets everybody try everything with one message: a forbidden act is refused before anything is done.
func TestActsNeedRights(t *testing.T) {
	a := open(t)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	anna, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	d := a.journal.NewDraft(t.Context())
	placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: anna.String(), Direction: journal.Received}}, nil)
	d.Discard()
	if err != nil {
		t.Fatal(err)
	}
	ref := placed[0].Ref
	acts := map[string]func(policy.Actor) error{
		"delete": func(who policy.Actor) (err error) {
			_, err = a.Delete(t.Context(), who, ref.Only())
			return err
		},
		"empty": func(who policy.Actor) (err error) {
			_, err = a.Empty(t.Context(), who, ref)
			return err
		},
		"undelete": func(who policy.Actor) (err error) {
			_, err = a.Undelete(t.Context(), who, ref.Only())
			return err
		},
		"hold":    func(who policy.Actor) error { return a.Hold(t.Context(), who, ref, "case 1") },
		"release": func(who policy.Actor) error { return a.Release(t.Context(), who, ref, "closed") },
		"move": func(who policy.Actor) (err error) {
			_, err = a.Move(t.Context(), who, ref.Only(), journal.Trash)
			return err
		},
	}
	owner := policy.Actor{Role: policy.RoleOwner, Name: anna.String()}
	for _, who := range []policy.Actor{owner, {Role: policy.RoleOwner, Name: "bruno@alpha.test"}, {Role: policy.RolePostmaster, Name: "post@beta.test"}} {
		for name, act := range acts {
			want := policy.ErrForbidden
			if who == owner && name != "hold" && name != "release" {
				want = ErrReadOnly
			}
			if err := act(who); !errors.Is(err, want) {
				t.Errorf("%s by %s: %v, want %v", name, who, err, want)
			}
		}
	}
	if err := a.Forget(t.Context(), owner, "2020-01"); !errors.Is(err, policy.ErrForbidden) {
		t.Errorf("an owner gives up a month: %v", err)
	}
	if _, err := a.Set(t.Context(), root, anna, []policy.Assignment{{Key: policy.KeyManualDelete, Value: "on"}}); err != nil {
		t.Fatal(err)
	}
	post := policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}
	for _, step := range []struct {
		act  string
		who  policy.Actor
		want error
	}{
		{"move", owner, ErrReadOnly}, {"hold", post, nil}, {"delete", owner, journal.ErrHeld}, {"empty", owner, journal.ErrHeld},
		{"delete", post, policy.ErrForbidden}, {"empty", post, policy.ErrForbidden}, {"release", post, nil}, {"delete", owner, nil},
		{"undelete", post, policy.ErrForbidden}, {"undelete", owner, nil}, {"empty", owner, nil},
	} {
		if err := acts[step.act](step.who); !errors.Is(err, step.want) {
			t.Errorf("%s by %s: %v, want %v", step.act, step.who, err, step.want)
		}
	}
	var log []string
	for c, err := range a.Log(t.Context(), anna) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Number == 0 {
			log = append(log, c.Key+" by "+c.Who)
		}
	}
	want := []string{
		"hold by " + post.String(), "release by " + post.String(), "delete by " + owner.String(), "undelete by " + owner.String(), "empty by " + owner.String(),
	}
	if !slices.Equal(log, want) {
		t.Errorf("on record: %q, want %q", log, want)
	}
}
