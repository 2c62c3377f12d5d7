package archive

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/policy"
)

// TestGiveBack gives a message back in the name of everybody, to a mailstore that answers in each way, and looks at what is on record then.
func TestGiveBack(t *testing.T) {
	a := open(t)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	anna, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Enable(t.Context(), root, anna); err != nil {
		t.Fatal(err)
	}
	d := a.journal.NewDraft(t.Context())
	io.WriteString(d, "Subject: 1\r\n\r\nText\r\n")
	placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: anna.String(), Direction: journal.Received}}, nil)
	d.Discard()
	if err != nil {
		t.Fatal(err)
	}
	owner := policy.Actor{Role: policy.RoleOwner, Name: anna.String()}
	taken := func(commit func() error) (string, error) { return "250 ok", commit() }
	fails := func(reply string, err error) func(func() error) (string, error) {
		return func(commit func() error) (string, error) { return reply, errors.Join(err, commit()) }
	}
	for _, c := range []struct {
		name   string
		who    policy.Actor
		store  func(commit func() error) (string, error)
		again  bool
		state  string
		err    error
		record string // the acts that come on record
	}{
		{"a stranger", policy.Actor{Role: policy.RoleOwner, Name: "bruno@alpha.test"}, taken, false, "", policy.ErrForbidden, ""},
		{"the postmaster of another domain", policy.Actor{Role: policy.RolePostmaster, Name: "post@beta.test"}, taken, false, "", policy.ErrForbidden, ""},
		{"no mailstore", owner, nil, false, "", ErrMailstore, ""},
		{"refused", owner, fails("452 full", ErrMailstoreRefused), false, GivenBackRefused, nil, "give-back, not-given-back 452 full"},
		{"gone before the dot", owner, fails("", ErrMailstore), false, "", ErrMailstore, "give-back, not-given-back the mailstore does not answer"},
		{"not reached", owner, func(func() error) (string, error) { return "", ErrMailstore }, false, "", ErrMailstore, ""},
		{"damaged", owner, func(func() error) (string, error) { return "", journal.ErrDamaged }, false, GivenBackDamaged, nil, ""},
		{"deleted meanwhile", owner, func(func() error) (string, error) { return "", journal.ErrNotFound }, false, GivenBackAbsent, nil, ""},
		{"taken", owner, taken, false, GivenBackDone, nil, "give-back"},
		{"a second time", owner, taken, false, "", ErrGivenBack, ""},
		{"a second time, asked for", policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}, taken, true, GivenBackDone, nil, "give-back"},
		{"no answer to the dot", owner, fails("", ErrMailstoreUnknown), true, GivenBackUnknown, nil, "give-back"},
	} {
		a.options.Mailstore = nil
		if c.store != nil {
			a.options.Mailstore = func(_ context.Context, to policy.Address, size int64, message io.WriterTo, commit func() error) (string, error) {
				var b strings.Builder
				if n, err := message.WriteTo(&b); err != nil || to != anna || n != size || b.String() != "Subject: 1\r\n\r\nText\r\n" {
					t.Errorf("%s: %s gets %q, %v", c.name, to, b.String(), err)
				}
				return c.store(commit)
			}
		}
		before := len(givenBackActs(t, a, anna))
		state := ""
		var failed error
		for g, err := range a.GiveBack(t.Context(), c.who, placed[0].Ref.Only(), c.again) {
			state, failed = g.State, err
		}
		if state != c.state || !errors.Is(failed, c.err) || c.err == nil && failed != nil {
			t.Errorf("%s: %q, %v, want %q, %v", c.name, state, failed, c.state, c.err)
		}
		if got := strings.Join(givenBackActs(t, a, anna)[before:], ", "); got != c.record {
			t.Errorf("%s: on record is %q, want %q", c.name, got, c.record)
		}
	}

	// What was handed over has no live mailbox.
	v, err := a.HandOver(t.Context(), root, anna, anna.String())
	if err != nil {
		t.Fatal(err)
	}
	s := placed[0].Ref.Only()
	s.Mailbox = v.Closed
	for _, err := range a.GiveBack(t.Context(), root, s, true) {
		if !errors.Is(err, ErrRequest) {
			t.Errorf("of a mailbox that was handed over: %v", err)
		}
	}
}

// givenBackActs returns the acts of a mailbox, with what they say.
func givenBackActs(t *testing.T, a *Archive, mailbox policy.Address) (list []string) {
	t.Helper()
	for c, err := range a.Log(t.Context(), mailbox) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Number == 0 {
			list = append(list, strings.TrimSpace(c.Key+" "+c.After))
		}
	}
	return list
}
