package archive

import (
	"slices"
	"testing"

	"copialettere/journal"
	"copialettere/policy"
)

// TestExpireChangedHands runs the retention over archives whose addresses have changed: what holds for each is what its own mailbox says.
func TestExpireChangedHands(t *testing.T) {
	const anna, rossi = "anna@alpha.test", "anna.rossi@alpha.test"
	operator := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	address := func(s string) policy.Address {
		a, err := policy.ParseMailbox(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	set := func(a *Archive, mailbox, retention string) {
		if _, err := a.Set(t.Context(), operator, address(mailbox), []policy.Assignment{{Key: policy.KeyRetention, Value: retention}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, a *Archive) (mailbox string) // returns the name that the archive has then
		removed uint64
	}{
		{"renamed", func(t *testing.T, a *Archive) string {
			if _, err := a.Rename(t.Context(), operator, address(anna), address(rossi)); err != nil {
				t.Fatal(err)
			}
			return rossi
		}, 150},
		{"renamed, and the next owner of the old address keeps everything", func(t *testing.T, a *Archive) string {
			if _, err := a.Rename(t.Context(), operator, address(anna), address(rossi)); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Enable(t.Context(), operator, address(anna)); err != nil {
				t.Fatal(err)
			}
			set(a, anna, "none")
			return rossi
		}, 150},
		{"handed over, and the next person keeps everything", func(t *testing.T, a *Archive) string {
			v, err := a.HandOver(t.Context(), operator, address(anna), anna)
			if err != nil {
				t.Fatal(err)
			}
			set(a, anna, "none")
			return v.Closed
		}, 150},
		{"handed over, and the next person keeps little", func(t *testing.T, a *Archive) string {
			v, err := a.HandOver(t.Context(), operator, address(anna), anna)
			if err != nil {
				t.Fatal(err)
			}
			set(a, v.Closed, "none")
			return v.Closed
		}, 0},
		{"renamed under a hold", func(t *testing.T, a *Archive) string {
			if _, err := a.HoldMailbox(t.Context(), operator, address(anna), "case"); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Rename(t.Context(), operator, address(anna), address(rossi)); err != nil {
				t.Fatal(err)
			}
			return rossi
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, _ := old(t)
			var told []string
			o.Expired = func(r *journal.ExpireReport) {
				for _, e := range r.Expired {
					told = append(told, e.Mailbox)
				}
			}
			a := New(o)
			if _, err := a.Enable(t.Context(), operator, address(anna)); err != nil {
				t.Fatal(err)
			}
			set(a, anna, "6")
			mailbox := c.prepare(t, a)
			report, err := a.Expire(t.Context(), ExpireRequest{Yes: true})
			if err != nil || report.Removed.Entries != c.removed {
				t.Fatalf("%+v, %v", report, err)
			}
			if c.removed == 0 {
				return
			}
			// Notices go by the name of the archive, people by the address.
			if !slices.Equal(told, []string{anna}) || len(report.Expired) != 1 || report.Expired[0].Mailbox != mailbox {
				t.Errorf("told of %q, report %+v", told, report.Expired)
			}
			if report, err := o.Journal.Verify(t.Context(), journal.EvidenceOptions{}, nil); err != nil || report.Faults > 0 {
				t.Errorf("verify: %+v, %v", report, err)
			}
		})
	}
}
