package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/preservation"
)

// keysOf lists the keys of a data folder that name a mailbox, by store and first byte.
func keysOf(t *testing.T, a *opened, mailbox string) []string {
	t.Helper()
	settings, err := a.folder.Engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stores := map[string]kv.Store{"settings": settings}
	months, err := a.folder.Engine.Volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range months {
		if stores[string(m)], err = a.folder.Engine.Volume(t.Context(), m, false); err != nil {
			t.Fatal(err)
		}
	}
	var kinds []string
	for name, s := range stores {
		if name != "settings" {
			name = "volume"
		}
		for p, err := range s.Scan(t.Context(), nil, nil) {
			if err != nil {
				t.Fatal(err)
			}
			// A notice that waits has the name in its value.
			if strings.Contains(string(p.Key), mailbox) || p.Key[0] == 'w' && strings.Contains(string(p.Value), mailbox) {
				kinds = append(kinds, name+" "+string(p.Key[:1]))
			}
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// TestErasureLeaves erases an archive that has everything there can be in one. Only its settings, the log and the gaps stay.
func TestErasureLeaves(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*testing.T, *daemon, policy.Address) // what an erasure had done when it was broken off
	}{
		{"at once", func(*testing.T, *daemon, policy.Address) {}},
		{"broken off at the start", func(t *testing.T, k *daemon, a policy.Address) {
			if err := k.archive.policy.Erasing(t.Context(), a.String()); err != nil {
				t.Fatal(err)
			}
		}},
		{"broken off behind the journal", func(t *testing.T, k *daemon, a policy.Address) {
			if err := k.archive.policy.Erasing(t.Context(), a.String()); err != nil {
				t.Fatal(err)
			}
			if _, err := k.archive.journal.Erase(t.Context(), a.String(), journal.EraseOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := noticePlace(t, nexthoptest.Script{})
			k, _ := keeperOf(t, p)
			enableNotices(t, k)
			busyArchive(t, k)
			address, err := policy.ParseAddress(anna)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"settings l", "settings m", "settings v", "settings w", "volume a", "volume d", "volume e", "volume g", "volume k", "volume o", "volume p", "volume q",
				"volume s", "volume t", "volume w"}
			if got := keysOf(t, k.archive, anna); !slices.Equal(got, want) {
				t.Errorf("before: %q, want %q", got, want)
			}
			who := policy.Actor{Role: policy.RoleOperator, Name: "test"}
			if _, err := k.archive.policy.Disable(t.Context(), address, who, anna, 0); err != nil {
				t.Fatal(err)
			}
			c.before(t, k, address)
			for range 2 {
				k.house.Keep(t.Context(), time.Now())
			}
			if s, err := k.archive.policy.Settings(t.Context(), address); err != nil || s.Erasure.State != policy.ErasureDone {
				t.Errorf("erasure: %+v, %v", s.Erasure, err)
			}
			want = []string{"settings l", "settings m", "volume a", "volume g"}
			if got := keysOf(t, k.archive, anna); !slices.Equal(got, want) {
				t.Errorf("left: %q, want %q", got, want)
			}
			if n := entriesOf(t, k, "bruno@alpha.test"); n != 2 {
				t.Errorf("bruno has %d entries, want 2", n)
			}
			verified(t, k)
		})
	}
}

// busyArchive files messages of anna, moves and deletes some, and queues notices.
func busyArchive(t *testing.T, k *daemon) {
	t.Helper()
	j := k.archive.journal
	addEntries(t, k, "bruno@alpha.test", 2)
	if _, err := k.backend.Load().Archive.AddPackage(t.Context(), anna, preservation.Package{Day: "2026-11-29", Name: "2026-11-29_" + anna + ".zip"}); err != nil {
		t.Fatal(err)
	}
	var refs []journal.Ref
	for i := range 5 {
		d := j.NewDraft(t.Context())
		fmt.Fprintf(d, "Subject: %d\r\n\r\nText\r\n", i)
		in := journal.Intent{Mailbox: anna, Direction: journal.Received, Links: []string{"practice"}}
		placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{in}, nil)
		d.Discard()
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, placed[0].Ref) // of unknown delivery
	}
	if _, err := j.Move(t.Context(), refs[0].Only(), journal.Trash, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Delete(t.Context(), refs[1].Only(), "test"); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	err := j.Record(t.Context(), journal.Record{Kind: journal.Gap, Mailbox: anna, Time: now, Reason: journal.ReasonFull},
		journal.Record{Kind: journal.Skip, Mailbox: anna, Time: now, Reason: policy.ReasonAlias})
	if err != nil {
		t.Fatal(err)
	}
	n := k.archive.notices
	n.Tell(notice.Notice{Mailbox: anna, Event: policy.NotifyFull, Time: now, ID: "90", Percent: 90})
	n.Close()
}
