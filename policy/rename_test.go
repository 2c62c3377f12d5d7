package policy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	old   = "anna@alpha.test"
	newer = "anna.rossi@alpha.test"
)

func mustMailbox(t testing.TB, s string) Address {
	t.Helper()
	a, err := ParseMailbox(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (p *Policy) mustRename(t testing.TB, from, to string) {
	t.Helper()
	if changed, err := p.Rename(t.Context(), mustMailbox(t, from), mustMailbox(t, to), operator()); err != nil || !changed {
		t.Fatalf("rename %s to %s: %v, %v", from, to, changed, err)
	}
}

func (p *Policy) mustHandOver(t testing.TB, a string) string {
	t.Helper()
	closed, err := p.HandOver(t.Context(), mustMailbox(t, a), operator(), a)
	if err != nil {
		t.Fatal(err)
	}
	return closed.String()
}

func (p *Policy) mustSet(t testing.TB, a, text string) {
	t.Helper()
	if _, err := p.Set(t.Context(), mustMailbox(t, a), operator(), assignments(t, text)); err != nil {
		t.Fatal(err)
	}
}

func mailboxOf(t testing.TB, p *Policy, a string) Mailbox {
	t.Helper()
	m, err := p.Mailbox(t.Context(), mustMailbox(t, a))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// archives returns each mailbox with its archive, as "ADDRESS=ARCHIVE", in the order of Mailboxes.
func archives(t testing.TB, p *Policy) (list []string) {
	t.Helper()
	for m, err := range p.Mailboxes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m.Address.String()+"="+m.Archive)
	}
	return list
}

func TestParseMailbox(t *testing.T) {
	for _, c := range []struct {
		name, text, want string // want is empty for a refusal
	}{
		{"an address", "Anna@Alpha.test", old},
		{"handed over", "Anna@Alpha.test~2026-11-29", old + "~2026-11-29"},
		{"handed over again that day", old + "~2026-11-29.2", old + "~2026-11-29.2"},
		{"a tilde in the local part", "anna~2026-11-29@alpha.test", "anna~2026-11-29@alpha.test"},
		{"a quoted local part", `"an na@x~2026-11-29"@alpha.test`, `"an na@x~2026-11-29"@alpha.test`},
		{"no domain", "postmaster~2026-11-29", ""},
		{"no such day", old + "~2026-02-30", ""},
		{"day of another form", old + "~2026-1-2", ""},
		{"number one", old + "~2026-11-29.1", ""},
		{"number with a zero", old + "~2026-11-29.02", ""},
		{"name of an archive", old + "/2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseMailbox(c.text)
			if (err == nil) != (c.want != "") || err == nil && a.String() != c.want || err != nil && !errors.Is(err, ErrAddress) {
				t.Fatalf("%q, %v", a, err)
			}
			if again, err := ParseMailbox(a.String()); c.want != "" && (again != a || err != nil) {
				t.Errorf("again: %q, %v", again, err)
			}
			// No mail and no login leads to a closed mailbox.
			if a.Closed != "" {
				if _, err := ParseAddress(a.String()); err == nil {
					t.Errorf("%s is an address", a)
				}
			}
		})
	}
}

// TestRename follows an archive from address to address.
func TestRename(t *testing.T) {
	p, store := openTest(t, testConfig(), old)
	p.mustSet(t, old, "retention=24 quota=5GB notify=anna@ext.test")
	if _, err := p.Hold(t.Context(), mustAddress(t, old), operator(), "case 1"); err != nil {
		t.Fatal(err)
	}
	before := mailboxOf(t, p, old)
	log := changes(t, p, mustAddress(t, old))
	moves := []struct {
		from, to string
		want     string // what Mailboxes has then
	}{
		{old, newer, newer + "=" + old},
		{newer, "anna@beta.test", "anna@beta.test=" + old},
		{"anna@beta.test", old, old + "=" + old},
		{old, newer, newer + "=" + old},
	}
	for _, m := range moves {
		told := false
		p.OnChange(func() { told = true })
		p.mustRename(t, m.from, m.to)
		if got := archives(t, p); !slices.Equal(got, []string{m.want}) || !told {
			t.Fatalf("after %s to %s: %q, told %v", m.from, m.to, got, told)
		}
		now := mailboxOf(t, p, m.to)
		if now.Settings != before.Settings || now.Archive != before.Archive || now.Address != mustAddress(t, m.to) {
			t.Errorf("after %s to %s: %+v, before %+v", m.from, m.to, now, before)
		}
		if of, err := p.MailboxOf(t.Context(), old); err != nil || of != now {
			t.Errorf("of the archive: %+v, %v", of, err)
		}
		log = append(log, Change{Role: RoleOperator, Who: "op", Key: KeyAddress, Before: m.from, After: m.to})
		if got := changes(t, p, mustAddress(t, m.to)); !slices.Equal(describeChanges(got), describeChanges(log)) {
			t.Errorf("log %q, want %q", describeChanges(got), describeChanges(log))
		}
		if _, to, gone, err := p.Gone(t.Context(), mustAddress(t, m.from)); !gone || err != nil || to.String() != m.to {
			t.Errorf("%s is gone: %v, to %s, %v", m.from, gone, to, err)
		}
		if _, _, gone, err := p.Gone(t.Context(), mustAddress(t, m.to)); gone || err != nil {
			t.Errorf("%s is gone: %v, %v", m.to, gone, err)
		}
	}
	for name, ask := range map[string]func(tx memoryTx) (bool, error){
		"on":   func(tx memoryTx) (bool, error) { return ArchiveOn(tx, old) },
		"held": func(tx memoryTx) (bool, error) { return AnyHeld(tx, "bruno@alpha.test", old) },
	} {
		if yes, err := ask(memoryTx(store.values)); !yes || err != nil {
			t.Errorf("the archive is %s: %v, %v", name, yes, err)
		}
	}
	// Repeated, as after an answer that was lost.
	if changed, err := p.Rename(t.Context(), mustAddress(t, old), mustAddress(t, newer), operator()); changed || err != nil {
		t.Errorf("again: %v, %v", changed, err)
	}
	// Somebody else gets the old address, and nothing of the archive.
	if _, err := p.enable(t.Context(), mustAddress(t, old)); err != nil {
		t.Fatal(err)
	}
	if got, want := archives(t, p), []string{newer + "=" + old, old + "=" + old + "/2"}; !slices.Equal(got, want) {
		t.Errorf("mailboxes %q, want %q", got, want)
	}
	if got := describeChanges(changes(t, p, mustAddress(t, old))); !slices.Equal(got, []string{"operator op: archive off -> on"}) {
		t.Errorf("log of the newcomer: %q", got)
	}
	if m := mailboxOf(t, p, old); m.Settings.Held() || m.Settings.Retention != 0 {
		t.Errorf("the newcomer has %+v", m)
	}
	if _, _, gone, err := p.Gone(t.Context(), mustAddress(t, old)); gone || err != nil {
		t.Errorf("%s is gone: %v, %v", old, gone, err)
	}
	if of, err := p.MailboxOf(t.Context(), old+"/2"); err != nil || of.Address != mustAddress(t, old) {
		t.Errorf("of the newcomer's archive: %+v, %v", of, err)
	}
}

func TestRenameRefuses(t *testing.T) {
	const free = "free@alpha.test"
	for _, c := range []struct {
		name     string
		prepare  func(t *testing.T, p *Policy)
		from, to string
		who      Actor
		want     error
		says     string
	}{
		{"nothing there", nil, "carla@alpha.test", free, operator(), ErrNoArchive, ""},
		{"the same address", nil, old, old, operator(), ErrAddress, "the same"},
		{"an archive there", nil, old, "bruno@alpha.test", operator(), ErrTaken, "close and erase"},
		{"a held one there", func(t *testing.T, p *Policy) {
			if _, err := p.Hold(t.Context(), mustAddress(t, free), operator(), "case"); err != nil {
				t.Fatal(err)
			}
		}, old, free, operator(), ErrTaken, ""},
		{"unknown domain", nil, old, "anna@ext.test", operator(), ErrUnknownDomain, "ext.test"},
		{"a mailbox with an extension", nil, old, "bruno+x@alpha.test", operator(), ErrAddress, "bruno@alpha.test with an extension"},
		{"itself with an extension", nil, old, "anna+x@alpha.test", operator(), ErrAddress, "with an extension"},
		{"where notices go", func(t *testing.T, p *Policy) {
			p.mustSet(t, old, "notify="+free)
			if _, err := p.confirm(t.Context(), mustAddress(t, old)); err != nil {
				t.Fatal(err)
			}
		}, old, free, operator(), ErrSetting, "notices"},
		{"being erased", func(t *testing.T, p *Policy) {
			for _, step := range []string{"disable now", "erasing"} {
				if _, err := acts()[step](p, t.Context(), mustAddress(t, old)); err != nil {
					t.Fatal(err)
				}
			}
		}, old, free, operator(), ErrErasing, ""},
		{"handed over", func(t *testing.T, p *Policy) { p.mustHandOver(t, old) }, old + "~" + time.Now().UTC().Format(time.DateOnly), free, operator(),
			ErrClosed, ""},
		{"to the name of a closed one", nil, old, free + "~2026-11-29", operator(), ErrAddress, "handed over"},
		{"its owner", nil, old, free, Actor{RoleOwner, old}, ErrForbidden, ""},
		{"a postmaster of another domain", nil, old, free, Actor{RolePostmaster, "postmaster@beta.test"}, ErrForbidden, ""},
		{"a postmaster to another domain", nil, old, "anna@beta.test", Actor{RolePostmaster, "postmaster@alpha.test"}, ErrForbidden, "operator"},
		{"nobody", nil, old, free, Actor{RoleOperator, ""}, errNoAuthor, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, store := openTest(t, testConfig(), old, "bruno@alpha.test")
			if c.prepare != nil {
				c.prepare(t, p)
			}
			before := maps.Clone(store.values)
			changed, err := p.Rename(t.Context(), mustMailbox(t, c.from), mustMailbox(t, c.to), c.who)
			if changed || !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("%v, %v, want %v", changed, err, c.want)
			}
			if !maps.Equal(store.values, before) {
				t.Error("something was written")
			}
		})
	}
	t.Run("a postmaster within the domain may", func(t *testing.T) {
		p, _ := openTest(t, testConfig(), old)
		if _, err := p.Rename(t.Context(), mustAddress(t, old), mustAddress(t, newer), Actor{RolePostmaster, "postmaster@alpha.test"}); err != nil {
			t.Error(err)
		}
	})
}

// An address that was set up and has no archive gives way; what is on record of it stays.
func TestRenameDisplaces(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, p *Policy)
		log     string // the first change that stays on record
	}{
		{"only set up", func(t *testing.T, p *Policy) { p.mustSet(t, newer, "retention=12") }, "retention none -> 12"},
		{"erased", func(t *testing.T, p *Policy) {
			for _, step := range []string{"enable", "disable now", "erasing", "erased"} {
				if _, err := acts()[step](p, t.Context(), mustAddress(t, newer)); err != nil {
					t.Fatal(step, err)
				}
			}
		}, "archive off -> on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := openTest(t, testConfig(), old)
			c.prepare(t, p)
			p.mustRename(t, old, newer)
			aside := newer + "~" + time.Now().UTC().Format(time.DateOnly)
			if got, want := archives(t, p), []string{aside + "=" + newer, newer + "=" + old}; !slices.Equal(got, want) {
				t.Errorf("mailboxes %q, want %q", got, want)
			}
			log := describeChanges(changes(t, p, mustMailbox(t, aside)))
			if !strings.Contains(log[0], c.log) || !strings.HasSuffix(log[len(log)-1], "address "+newer+" -> "+aside) {
				t.Errorf("log of what gave way: %q", log)
			}
			if got := mailboxOf(t, p, newer); !got.Settings.Enabled || got.Settings.Retention != 0 {
				t.Errorf("the archive has %+v", got)
			}
		})
	}
}

// TestJudgeRenamed judges messages for an address whose archive has gone on to another one.
func TestJudgeRenamed(t *testing.T) {
	p, _ := openTest(t, testConfig(), old, "bruno@alpha.test", "bruno+own@alpha.test")
	p.mustRename(t, "bruno+own@alpha.test", "carla@alpha.test")
	early, err := p.Wanted(t.Context(), old)
	if err != nil || early.Mailbox != old || !early.Enabled || early.Renamed {
		t.Fatalf("before: %+v, %v", early, err)
	}
	p.mustRename(t, old, newer)
	direct := func(a string) Line { return Line{RcptTo: a, ORCPT: "rfc822;" + strings.ReplaceAll(a, "+", "+2B")} }
	for _, c := range []struct {
		name  string
		lines []Line
		begun []string
		want  []string
	}{
		{"to the new address", []Line{direct(newer)}, nil, want(old + " journal")},
		{"to the old one", []Line{direct(old)}, nil, want(old + " renamed")},
		{"to the old one with an extension", []Line{direct("anna+x@alpha.test")}, nil, want(old + " renamed")},
		{"to the new one with an extension", []Line{direct("anna.rossi+x@alpha.test")}, nil, want(old + " journal")},
		{"to the old one, begun before", []Line{direct(old)}, []string{old}, want(old + " journal")},
		{"to the old one with an extension, begun before", []Line{direct("anna+x@alpha.test")}, []string{old}, want(old + " journal")},
		{"to the old one, begun for another", []Line{direct(old)}, []string{"bruno@alpha.test"}, want(old + " renamed")},
		{"to both", []Line{direct(old), direct(newer)}, nil, want(old+" duplicate", old+" journal")},
		{"to both, begun before", []Line{direct(newer), direct(old)}, []string{"", old}, want(old+" journal", old+" duplicate")},
		{"to both and another, begun before", []Line{direct(old), direct("bruno@alpha.test"), direct(newer)}, []string{old, "bruno@alpha.test"},
			want(old+" journal", "bruno@alpha.test journal", old+" duplicate")},
		{"an extension that was a mailbox", []Line{direct("bruno+own@alpha.test")}, nil, want("bruno@alpha.test journal")},
		{"an extension that was a mailbox, begun before", []Line{direct("bruno+own@alpha.test")}, []string{"bruno+own@alpha.test"},
			want("bruno+own@alpha.test journal")},
		{"an alias of the new one", one(newer, "rfc822;"+old), nil, want(old + " alias")},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := header(received)
			o.Begun = c.begun
			verdicts, err := p.Judge(t.Context(), o, c.lines)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range verdicts {
				got = append(got, describe(v))
				if v.Renamed != (v.Reason == ReasonRenamed) || v.Renamed && v.Enabled {
					t.Errorf("%+v", v)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for _, c := range []struct{ name, login, begun, want string }{
		{"sent by the new login", newer, "", old + " journal"},
		{"sent by the old login", old, "", old + " renamed"},
		{"sent by the old login, begun before", old, old, old + " journal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := p.JudgeSent(t.Context(), Origin{Begun: []string{c.begun}}, c.login)
			if got := describe(v); err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
	t.Run("archive off", func(t *testing.T) {
		if _, err := p.disable(t.Context(), mustAddress(t, newer)); err != nil {
			t.Fatal(err)
		}
		if v, err := p.Wanted(t.Context(), old); err != nil || v.Enabled || v.Renamed || v.Mailbox != old {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

// checkDirectory checks that each address leads to one archive and back.
func checkDirectory(t *testing.T, p *Policy) {
	t.Helper()
	seen := make(map[Address]bool)
	for m, err := range p.Mailboxes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[m.Address] {
			t.Errorf("%s has two archives", m.Address)
		}
		seen[m.Address] = true
		if led, err := p.Mailbox(t.Context(), m.Address); err != nil || led != m {
			t.Errorf("%s leads to %+v, %v, want %+v", m.Address, led, err, m)
		}
		if of, err := p.MailboxOf(t.Context(), m.Archive); err != nil || of != m {
			t.Errorf("%s is of %+v, %v, want %+v", m.Archive, of, err, m)
		}
		if replayed := replay(t, changes(t, p, m.Address)); replayed != m.Settings {
			t.Errorf("%s: replayed %v, stored %v", m.Address, values(replayed), values(m.Settings))
		}
		checkPauses(t, pauses(t, p, m.Address), m.Settings)
	}
}

// TestChangingHands takes random steps with a few addresses. Each archive keeps its name, and what its log says; nobody gets another's archive.
func TestChangingHands(t *testing.T) {
	refusals := []error{ErrHeld, ErrNotOn, ErrErasing, ErrNotClosing, ErrNoArchive, ErrTaken, ErrClosed, ErrSetting, ErrAddress}
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 6))
			p, _ := openTest(t, testConfig(), old)
			addresses := []Address{mustAddress(t, old), mustAddress(t, newer), mustAddress(t, "anna@beta.test")}
			names := slices.Sorted(maps.Keys(acts()))
			owners := make(map[string]string) // by archive: what the log said last
			for range 80 {
				time.Sleep(time.Duration(r.IntN(40)) * time.Hour)
				a, b := addresses[r.IntN(len(addresses))], addresses[r.IntN(len(addresses))]
				var err error
				switch r.IntN(4) {
				case 0:
					_, err = p.Rename(t.Context(), a, b, operator())
				case 1:
					var closed Address
					if closed, err = p.HandOver(t.Context(), a, operator(), a.String()); err == nil && len(addresses) < 8 {
						addresses = append(addresses, closed)
					}
				case 2:
					_, err = p.Set(t.Context(), a, operator(), randomAssignments(r))
				case 3:
					_, err = closedActs()[names[r.IntN(len(names))]](p, t.Context(), a)
				}
				if err != nil && !slices.ContainsFunc(refusals, func(target error) bool { return errors.Is(err, target) }) {
					t.Fatal(err)
				}
				for m, err := range p.Mailboxes(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					log := strings.Join(describeChanges(changes(t, p, m.Address)), "\n")
					if !strings.HasPrefix(log, owners[m.Archive]) {
						t.Fatalf("the log of %s was\n%s\nand is\n%s", m.Archive, owners[m.Archive], log)
					}
					owners[m.Archive] = log
				}
			}
			checkDirectory(t, p)
		})
	}
}

// TestRenameAtOnce renames a mailbox to and fro while others change and ask it.
func TestRenameAtOnce(t *testing.T) {
	store := &locked{memory: newMemory()}
	p, err := Open(t.Context(), store, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	a, b := mustAddress(t, old), mustAddress(t, newer)
	if _, err := p.enable(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	var asking, renaming sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		asking.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for {
				select {
				case <-stop:
					return
				default:
				}
				first, err := p.Wanted(t.Context(), old)
				if err != nil {
					t.Error(err)
				}
				second, err := p.Wanted(t.Context(), newer)
				if err != nil {
					t.Error(err)
				}
				o := Origin{Begun: []string{first.Mailbox, second.Mailbox}}
				verdicts, err := p.Judge(t.Context(), o, []Line{{RcptTo: old}, {RcptTo: newer}})
				if err != nil {
					t.Error(err)
					continue
				}
				if count := 0; true {
					for _, v := range verdicts {
						if v.Journal {
							count++
						}
					}
					if count != 1 {
						t.Errorf("%d entries for %+v", count, verdicts)
					}
				}
				if m, err := p.MailboxOf(t.Context(), old); err != nil {
					t.Error(err)
				} else if _, err := p.Set(t.Context(), m.Address, operator(), []Assignment{{KeyRetention, []string{"6", "12"}[r.IntN(2)]}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	renaming.Go(func() {
		for range 100 {
			if _, err := p.Rename(t.Context(), a, b, operator()); err != nil && !errors.Is(err, ErrTaken) {
				t.Error(err)
			}
			if _, err := p.Rename(t.Context(), b, a, operator()); err != nil && !errors.Is(err, ErrTaken) {
				t.Error(err)
			}
		}
	})
	renaming.Wait()
	close(stop)
	asking.Wait()
	checkDirectory(t, p)
}
