package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/kv"
)

func changes(t *testing.T, p *Policy, a Address) []Change {
	t.Helper()
	var all []Change
	for c, err := range p.Changes(t.Context(), a) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func TestEnableRefuses(t *testing.T) {
	p, store := openTest(t, testConfig())
	for _, c := range []struct {
		name    string
		address Address
		who     string
		want    error // nil for any
	}{
		{"unknown domain", Address{Local: "anna", Domain: "ext.test"}, "operator", ErrUnknownDomain},
		{"postmaster without domain", Address{Local: "postmaster", Domain: ""}, "operator", ErrUnknownDomain},
		{"no address", Address{Local: "", Domain: "alpha.test"}, "operator", ErrAddress},
		{"no author", Address{Local: "anna", Domain: "alpha.test"}, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed, err := p.Enable(t.Context(), c.address, Actor{RoleOperator, c.who})
			if err == nil || changed || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Enable = %v, %v; want %v", changed, err, c.want)
			}
		})
	}
	if keys := store.keys(); len(keys) != 0 {
		t.Errorf("written all the same: %q", keys)
	}
}

// A mailbox whose domain was removed from the configuration keeps its archive and can still be disabled.
func TestDomainLeavesTheConfiguration(t *testing.T) {
	_, store := openTest(t, testConfig(), "anna@alpha.test")
	p, err := Open(t.Context(), store, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := p.Wanted(t.Context(), "anna+x@alpha.test"); v.Mailbox != "anna@alpha.test" || !v.Enabled || err != nil {
		t.Errorf("Wanted = %+v, %v", v, err)
	}
	if changed, err := p.disable(t.Context(), mustAddress(t, "anna@alpha.test")); !changed || err != nil {
		t.Errorf("Disable = %v, %v", changed, err)
	}
}

func TestMailboxes(t *testing.T) {
	p, _ := openTest(t, testConfig(), "bruno@alpha.test", `"an na"@alpha.test`, "anna@alpha.test")
	if _, err := p.disable(t.Context(), mustAddress(t, "bruno@alpha.test")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for m, err := range p.Mailboxes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(m.Address, " ", m.Settings.Enabled))
	}
	want := []string{`"an na"@alpha.test true`, "anna@alpha.test true", "bruno@alpha.test false"}
	if !slices.Equal(got, want) {
		t.Errorf("mailboxes %q, want %q", got, want)
	}
	for range p.Mailboxes(t.Context()) {
		break // a consumer may stop at any pair
	}
}

// If another process changes the same store, the next decision must see it.
func TestChangeOfAnotherProcess(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	other, err := Open(t.Context(), store, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, enabled := range []bool{false, true} {
		set := other.disable
		if enabled {
			set = other.enable
		}
		if _, err := set(t.Context(), mustAddress(t, "anna@alpha.test")); err != nil {
			t.Fatal(err)
		}
		if v, err := p.Wanted(t.Context(), "anna@alpha.test"); v.Enabled != enabled || err != nil {
			t.Errorf("Wanted = %+v, %v; want enabled: %v", v, err, enabled)
		}
	}
}

func TestUnknownFieldsSurvive(t *testing.T) {
	p, store := openTest(t, testConfig())
	store.put("manna@alpha.test", `{"version":1,"enabled":false,"colour":{"months":12},"size":18446744073709551615,"Enabled":true}`)
	anna := mustAddress(t, "anna@alpha.test")
	if s, err := p.Settings(t.Context(), anna); err != nil || s.Enabled {
		t.Fatalf("settings %v, %v: names of fields are exact", s, err)
	}
	if _, err := p.enable(t.Context(), anna); err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(store.values["manna@alpha.test"]), &fields); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"version": "1", "enabled": "true", "changes": "1", "Enabled": "true",
		"colour": `{"months":12}`, "size": "18446744073709551615"} {
		if got := string(fields[name]); got != want {
			t.Errorf("field %q is %s, want %s", name, got, want)
		}
	}
}

// Unreadable settings stop every decision about the mailbox, and are never overwritten.
func TestUnreadableSettings(t *testing.T) {
	for _, c := range []struct {
		name, stored string
		want         error // nil for any
	}{
		{"newer version", `{"version":2,"enabled":true}`, ErrVersion},
		{"no version", `{"enabled":true}`, nil},
		{"no JSON", `{`, nil},
		{"null", `null`, nil},
		{"wrong type", `{"version":1,"enabled":"yes"}`, nil},
		{"bad time", `{"version":1,"enabled":true,"since":"yesterday"}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, store := openTest(t, testConfig())
			store.put("manna@alpha.test", c.stored)
			anna := mustAddress(t, "anna@alpha.test")
			check := func(call string, err error) {
				t.Helper()
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), "anna@alpha.test") {
					t.Errorf("%s: %v", call, err)
				}
			}
			_, err := p.Settings(t.Context(), anna)
			check("Settings", err)
			_, err = p.enable(t.Context(), anna)
			check("Enable", err)
			_, err = p.disable(t.Context(), anna)
			check("Disable", err)
			_, err = p.Wanted(t.Context(), "anna+x@alpha.test")
			check("Wanted", err)
			_, err = p.Judge(t.Context(), Origin{}, []Line{{RcptTo: "bruno@alpha.test"}, {RcptTo: "anna@alpha.test"}})
			check("Judge", err)
			for _, err := range p.Mailboxes(t.Context()) {
				check("Mailboxes", err)
			}
			if got := store.values["manna@alpha.test"]; got != c.stored {
				t.Errorf("written over: %s", got)
			}
		})
	}
}

func TestStoreFails(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	store.fail = kv.ErrUnavailable
	calls := map[string]func() error{
		"Enable":    func() error { _, err := p.enable(t.Context(), anna); return err },
		"Disable":   func() error { _, err := p.disable(t.Context(), anna); return err },
		"Settings":  func() error { _, err := p.Settings(t.Context(), anna); return err },
		"Wanted":    func() error { _, err := p.Wanted(t.Context(), "anna@alpha.test"); return err },
		"JudgeSent": func() error { _, err := p.JudgeSent(t.Context(), Origin{}, "anna@alpha.test"); return err },
		"Judge": func() error {
			verdicts, err := p.Judge(t.Context(), Origin{}, []Line{{RcptTo: "anna@alpha.test"}})
			if verdicts != nil {
				t.Errorf("verdicts of a failed store: %v", verdicts)
			}
			return err
		},
		"Mailboxes": func() (last error) {
			for _, last = range p.Mailboxes(t.Context()) {
			}
			return last
		},
		"Changes": func() (last error) {
			for _, last = range p.Changes(t.Context(), anna) {
			}
			return last
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, kv.ErrUnavailable)
		}
	}
	store.fail = nil
	if got := changes(t, p, anna); len(got) != 1 {
		t.Errorf("changes after the failures: %v", got)
	}
}

// A recorded change is never overwritten, even if the settings have lost count.
func TestChangeIsNeverEdited(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	before := changes(t, p, anna)
	store.put("manna@alpha.test", `{"version":1,"enabled":true,"since":"2026-11-21T10:00:00Z"}`)
	if changed, err := p.disable(t.Context(), anna); err == nil || changed {
		t.Fatalf("Disable = %v, %v", changed, err)
	}
	if after := changes(t, p, anna); !slices.Equal(before, after) {
		t.Errorf("changes %v, were %v", after, before)
	}
}

// Changes of one mailbox never appear among those of another whose name begins with its own.
func TestChangesOfNeighbours(t *testing.T) {
	c := testConfig()
	c.Domains = append(c.Domains, Domain{Name: "alpha.test.beta.test"})
	p, _ := openTest(t, c, "anna@alpha.test", "anna@alpha.test.beta.test", "ann@alpha.test")
	for _, name := range []string{"anna@alpha.test", "ann@alpha.test"} {
		if got := changes(t, p, mustAddress(t, name)); len(got) != 1 || got[0].Mailbox.String() != name {
			t.Errorf("changes of %s: %v", name, got)
		}
	}
}

func TestLanguageSize(t *testing.T) {
	for bytes, want := range map[uint64][2]string{
		0: {"0 B", "0 B"}, 999: {"999 B", "999 B"}, 1000: {"1.0 kB", "1,0 kB"}, 71_950: {"72.0 kB", "72,0 kB"},
		3_500_000: {"3.5 MB", "3,5 MB"}, 999_949_999: {"999.9 MB", "999,9 MB"}, 999_950_000: {"1.0 GB", "1,0 GB"}, 1e9: {"1.0 GB", "1,0 GB"}, 2.5e15: {"2500.0 TB", "2500,0 TB"},
	} {
		if got := [2]string{English.Size(bytes), Italian.Size(bytes)}; got != want {
			t.Errorf("%d: %q, want %q", bytes, got, want)
		}
	}
}
