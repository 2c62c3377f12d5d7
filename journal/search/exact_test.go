package search

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// scanned returns the subjects of all entries but those in the trash, newest first, as the journal has them.
func (r *rig) scanned() []string {
	r.t.Helper()
	var entries []*journal.Entry
	mailbox, err := r.policy.Mailbox(r.t.Context(), r.reader.Mailbox())
	r.check(err)
	for e, err := range r.journal.List(r.t.Context(), mailbox.Archive) {
		r.check(err)
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *journal.Entry) int {
		return key{b.Dated().UnixNano(), b.Ref}.compare(key{a.Dated().UnixNano(), a.Ref})
	})
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Subject)
	}
	return list
}

// TestExact checks after everything that can happen to messages that lists and searches show what the journal has.
func TestExact(t *testing.T) {
	r := newRig(t)
	var refs []journal.Ref
	for _, month := range []string{"2026-01", "2026-08", "2026-09"} {
		r.clock(month + "-15 10:00")
		for n := range 6 {
			refs = append(refs, r.plain(fmt.Sprintf("message %s %d", month, n)))
		}
	}
	erase := func(address policy.Address) error {
		m, err := r.policy.Mailbox(t.Context(), address)
		if err == nil {
			_, err = r.archive.Disable(t.Context(), root, address, address.String(), true)
		}
		if err == nil {
			_, err = r.journal.Erase(t.Context(), m.Archive, journal.EraseOptions{})
		}
		return err
	}
	rossi := r.address("anna.rossi@alpha.test")
	for _, step := range []struct {
		name string
		do   func() error
		want int
	}{
		{"nothing", func() error { return nil }, 18},
		{"arrival", func() error { r.plain("message new"); return nil }, 19},
		{"move", func() error {
			_, err := r.archive.Move(t.Context(), root, journal.Selection{Mailbox: r.anna.String(), Month: "2026-08", Folder: "INBOX", UIDs: journal.UIDsOf([]uint32{2, 4})}, "Sent")
			return err
		}, 19},
		{"delete", func() error {
			_, err := r.archive.Delete(t.Context(), root, journal.Selection{Mailbox: r.anna.String(), Month: "2026-09", Folder: "INBOX", UIDs: journal.UIDsOf([]uint32{1, 3})})
			return err
		}, 17},
		{"delete and arrival", func() error {
			_, err := r.archive.Delete(t.Context(), root, refs[16].Only())
			r.plain("message newer")
			return err
		}, 17},
		{"undelete", func() error {
			_, err := r.archive.Undelete(t.Context(), root, journal.Selection{Mailbox: r.anna.String(), Month: "2026-09", Folder: "INBOX", UIDs: journal.UIDsOf([]uint32{1, 3})})
			return err
		}, 19},
		{"retention", func() error {
			r.set("retention=6")
			_, err := r.archive.Expire(t.Context(), archive.ExpireRequest{Yes: true})
			return err
		}, 13},
		{"rename", func() error {
			_, err := r.archive.Rename(t.Context(), root, r.anna, rossi)
			r.reader = r.archive.Reader(owner(rossi), rossi)
			return err
		}, 13},
		{"erase", func() error { return erase(rossi) }, 0},
		{"enabled again", func() error {
			r.clock("2026-09-20 10:00")
			_, err := r.archive.Enable(t.Context(), root, rossi)
			if err == nil {
				_, err = r.archive.Set(t.Context(), root, rossi, []policy.Assignment{{Key: "imap", Value: "on"}})
			}
			m, mailboxErr := r.policy.Mailbox(t.Context(), rossi)
			for range 3 {
				_, fileErr := fileNow(r.journal, m.Archive, journal.Intent{}, "x@ext.test", "Subject: message "+r.journal.NewTransaction()+"\r\n\r\n")
				err = errors.Join(err, fileErr)
			}
			return errors.Join(err, mailboxErr)
		}, 3},
		{"handed over", func() error {
			_, err := r.archive.HandOver(t.Context(), root, rossi, rossi.String())
			if err == nil {
				_, err = r.archive.Enable(t.Context(), root, rossi)
			}
			if err == nil {
				_, err = r.archive.Set(t.Context(), root, rossi, []policy.Assignment{{Key: "imap", Value: "on"}})
			}
			if _, findErr := r.index.Find(t.Context(), r.reader, Query{}, Position{}, 0); !errors.Is(findErr, policy.ErrForbidden) {
				t.Errorf("handed over, to the reader of before: %v", findErr)
			}
			r.reader = r.archive.Reader(owner(rossi), rossi)
			return err
		}, 0},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.name == "erase" {
			if page, err := r.index.Find(t.Context(), r.reader, Query{}, Position{}, 0); !errors.Is(err, auth.ErrClosed) || len(page.Entries) > 0 {
				t.Errorf("erased: %+v, %v", page, err)
			}
			continue
		}
		want := r.scanned()
		if len(want) != step.want {
			t.Fatalf("%s: the journal has %q, want %d", step.name, want, step.want)
		}
		for _, text := range []string{"", "message"} {
			if got := r.find(text); !slices.Equal(got, want) && !(len(got)+len(want) == 0) {
				t.Errorf("%s, %q:\n%q, want\n%q", step.name, text, got, want)
			}
		}
	}
}

// TestRecipientsAdded looks for a recipient whom the MTA handed over in a later transaction, which adds it to the entry.
func TestRecipientsAdded(t *testing.T) {
	r := newRig(t)
	for _, rcpt := range []string{"primo@ext.test", "secondo@ext.test"} {
		in := journal.Intent{Direction: journal.Sent, Recipients: []string{rcpt}}
		r.file(in, "anna@alpha.test", "From: anna@alpha.test\r\nSubject: a molti\r\n\r\n")
		if got := r.find("to:" + rcpt); len(got) != 1 {
			t.Errorf("%s: %q", rcpt, got)
		}
		if got := r.find("to:primo"); len(got) != 1 {
			t.Errorf("the first, after %s: %q", rcpt, got)
		}
	}
	r.later(growing)
	if got := r.find("to:secondo"); len(got) != 1 {
		t.Errorf("later: %q", got)
	}
	for id, c := range r.index.of {
		if young := c.Value.(*catalogue).young; len(young) > 0 {
			t.Errorf("%v: %d messages are still looked at again", id, len(young))
		}
	}
}

// TestWhileChanging searches while messages arrive and are moved: each is found, once.
func TestWhileChanging(t *testing.T) {
	r := newRig(t)
	const stays, rounds = 20, 12
	const moves = (attempts - 1) / 2 // of each month during one search
	months := []kv.Month{"2026-08", "2026-09"}
	for _, month := range months {
		r.clock(string(month) + "-15 10:00")
		for n := range stays {
			r.plain(fmt.Sprintf("stays %d", n))
		}
	}
	arrive := func() {
		for range 5 {
			if _, err := fileNow(r.journal, r.anna.String(), journal.Intent{}, "x@ext.test", "Subject: came "+r.journal.NewTransaction()+"\r\n\r\n"); err != nil {
				t.Error(err)
			}
		}
	}
	move := func(month kv.Month, round int) {
		for i := range moves {
			from, to := "INBOX", "Sent"
			if (round*moves+i)%2 == 1 {
				from, to = to, from
			}
			_, err := r.archive.Move(context.Background(), root, journal.Selection{Mailbox: r.anna.String(), Month: month, Folder: from, UIDs: journal.AllUIDs()}, to)
			if err != nil && !errors.Is(err, journal.ErrNotFound) {
				t.Error(err)
			}
		}
	}
	before := r.time()
	for round := range rounds {
		var changing sync.WaitGroup
		changing.Go(arrive)
		for _, month := range months {
			changing.Go(func() { move(month, round) })
		}
		for _, q := range []Query{{Text: []string{"stays"}}, {Until: before}}[round%2:][:1] {
			page, err := r.index.Find(t.Context(), r.reader, q, Position{}, MaxLimit)
			r.check(err)
			seen := make(map[string]int)
			for _, e := range page.Entries {
				seen[fmt.Sprint(e.Month, e.Subject)]++
			}
			for _, month := range months {
				for n := range stays - 1 { // the last one is of the very time
					if subject := fmt.Sprint(month, fmt.Sprintf("stays %d", n)); seen[subject] != 1 {
						t.Errorf("round %d, %s: %q %d times of %d", round, q, subject, seen[subject], page.Total)
					}
				}
			}
		}
		changing.Wait()
	}
	if got := len(r.find("stays")); got != 2*stays {
		t.Errorf("afterwards: %d, want %d", got, 2*stays)
	}
}
