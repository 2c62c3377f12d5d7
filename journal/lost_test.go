package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

const carla = "carla@alpha.test"

// take removes a range of keys from the month of the clock, past the journal, and returns it.
func (f *fixture) take(from, to []byte) KeyRange {
	f.t.Helper()
	s := f.store()
	var keys [][]byte
	for p, err := range s.Scan(f.ctx(), from, to) {
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, slices.Clone(p.Key))
	}
	err := s.Update(f.ctx(), nil, func(tx kv.Tx) error {
		for _, key := range keys {
			tx.Delete(key)
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return KeyRange{from, to}
}

func (f *fixture) takeKey(key []byte) KeyRange { return f.take(key, append(slices.Clone(key), 0)) }

func (f *fixture) takeKind(kind byte) KeyRange { return f.take([]byte{kind}, []byte{kind + 1}) }

// archived fills a month: mario has five messages and has deleted the first of six, the fifth is held; anna shares one of them; what carla had is erased.
func (f *fixture) archived() {
	f.t.Helper()
	for i := range 6 {
		f.put(mario, sized(fmt.Sprint("mario ", i+1), 200))
	}
	for i := range 2 {
		f.put(anna, sized(fmt.Sprint("anna ", i+1), 200))
	}
	f.file(words(3, 20<<10), received(mario), received(anna))
	f.put(carla, sized("carla", 200))
	f.FlushOutcomes(f.ctx())
	f.remove(ofMario(1))
	wantErr(f.t, "hold", f.Hold(f.ctx(), ofMario(5), "operator", "case 7"), nil)
	f.checkpoint(newSigner(f.t))
	if _, err := f.Erase(f.ctx(), carla, EraseOptions{}); err != nil {
		f.t.Fatal(err)
	}
	f.clock.set(f.clock.now().Add(time.Hour))
}

// settle settles losses, finds the archive sound, and finds nothing more to settle afterwards.
func (f *fixture) settle(lost ...KeyRange) *Losses {
	f.t.Helper()
	at := f.clock.now()
	l, err := f.SettleLosses(f.ctx(), "2026-11", lost, at)
	if err != nil {
		f.t.Fatal(err)
	}
	f.verify()
	again, err := f.SettleLosses(f.ctx(), "2026-11", lost, at)
	if err != nil {
		f.t.Fatal(err)
	}
	if again.Count != 0 || again.Holds != 0 || again.Rebuilt.Changes() != 0 || !slices.Equal(again.Gaps, l.Gaps) {
		f.t.Errorf("settled again: %+v, rebuilt %+v; before %+v", again, again.Rebuilt, l)
	}
	if len(f.list(carla)) > 0 {
		f.t.Error("what was erased is back")
	}
	for _, e := range f.list(mario) {
		if e.Ref == ofMario(1) || e.Subject == "mario 1" {
			f.t.Error("what was deleted is back")
		}
	}
	return l
}

// names lists messages as "mailbox folder uid subject".
func (l *Losses) names() (list []string) {
	for _, m := range l.Messages {
		list = append(list, strings.TrimSuffix(fmt.Sprintf("%s %s %d %s", m.Mailbox[:5], m.Folder, m.UID, m.Subject), " "))
	}
	slices.Sort(list)
	return list
}

func TestSettleLosses(t *testing.T) {
	entryOf := func(f *fixture, r Ref) *Entry { return f.entry(r) }
	for _, test := range []struct {
		name string
		lose func(f *fixture) []KeyRange
		want []string // lost messages
		gaps []string // of the month
		logs int
		told []string // gaps of mario
		more func(f *fixture, l *Losses)
	}{
		{name: "nothing", lose: func(f *fixture) []KeyRange { return nil }},
		{name: "an entry", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKey(entryKey(ofMario(2)))} },
			want: []string{"mario INBOX/2026-11 2"}, told: []string{"lost 1/0"}},
		{name: "a held entry", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKey(entryKey(ofMario(5)))} },
			want: []string{"mario INBOX/2026-11 5"}, told: []string{"lost 1/0"}, more: func(f *fixture, l *Losses) {
				if !l.Messages[0].Held {
					f.t.Errorf("%+v does not say that it was held", l.Messages[0])
				}
			}},
		{name: "a deleted entry", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKey(asideKey(ofMario(1)))} },
			want: []string{"mario INBOX/2026-11 1"}, more: func(f *fixture, l *Losses) {
				if !l.Messages[0].Deleted {
					f.t.Errorf("%+v does not say that it was deleted", l.Messages[0])
				}
			}},
		{name: "the bytes of a message", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.takeKey(chunkKey(entryOf(f, ofMario(3)).Chunks[0].ID))}
		},
			want: []string{"mario INBOX/2026-11 3 mario 3"}, told: []string{"lost"}},
		{name: "the bytes of a deleted message", lose: func(f *fixture) []KeyRange {
			_, e, err := decodeAside(ofMario(1), f.get1(asideKey(ofMario(1))))
			wantErr(f.t, "read", err, nil)
			return []KeyRange{f.takeKey(chunkKey(e.Chunks[0].ID))}
		}, want: []string{"mario INBOX/2026-11 1 mario 1"}},
		{name: "bytes that two share", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.takeKey(chunkKey(entryOf(f, ofMario(7)).Chunks[0].ID))}
		},
			want: []string{"anna@ INBOX/2026-11 3", "mario INBOX/2026-11 7"}, told: []string{"lost"}},
		{name: "all bytes", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKind('c')} },
			want: []string{"anna@ INBOX/2026-11 1 anna 1", "anna@ INBOX/2026-11 2 anna 2", "anna@ INBOX/2026-11 3", "mario INBOX/2026-11 1 mario 1", "mario INBOX/2026-11 2 mario 2",
				"mario INBOX/2026-11 3 mario 3", "mario INBOX/2026-11 4 mario 4", "mario INBOX/2026-11 5 mario 5", "mario INBOX/2026-11 6 mario 6", "mario INBOX/2026-11 7"},
			told: []string{"lost", "lost", "lost", "lost", "lost", "lost"}},
		{name: "a leaf", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKey(leafKey(mario, 4))} }, logs: 1},
		{name: "the last leaf", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.takeKey(leafKey(mario, f.logOf(mario).tree.Size-1))}
		}, logs: 1},
		{name: "the head of a log", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKey(totalKey(mario))} }},
		{name: "all heads", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKind('q')} }},
		{name: "the head of a log and its last leaf", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.takeKey(leafKey(mario, f.logOf(mario).tree.Size-1)), f.takeKey(totalKey(mario))}
		}, logs: 1},
		{name: "a whole log", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.take(mailboxKey('k', mario, 0), after(mailboxKey('k', mario, 0))), f.takeKey(totalKey(mario))}
		}, logs: 1},
		{name: "a leaf and an entry", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.takeKey(leafKey(mario, 4)), f.takeKey(entryKey(ofMario(2)))}
		}, logs: 1, gaps: []string{mario}, told: []string{"lost"}},
		{name: "a whole mailbox, with its log", lose: func(f *fixture) (lost []KeyRange) {
			for _, kind := range []byte("deghklopstw") {
				lost = append(lost, f.take(mailboxKey(kind, anna, 0), after(mailboxKey(kind, anna, 0))))
			}
			return append(lost, f.takeKey(totalKey(anna)))
		}, gaps: []string{anna}},
		{name: "all but the bytes", lose: func(f *fixture) (lost []KeyRange) {
			return []KeyRange{f.take([]byte{'d'}, []byte{'z'}), f.take([]byte{'a'}, []byte{'b'})}
		}, gaps: []string{"", anna, mario}, told: []string{"lost", "lost"}},
		{name: "counters", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKind('s')} }},
		{name: "counters, leaves and the last entry", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.takeKind('s'), f.takeKind('k'), f.takeKey(entryKey(ofMario(7)))}
		}, logs: 2, gaps: []string{mario}, told: []string{"lost"}},
		{name: "holds", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKind('l')} }, more: func(f *fixture, l *Losses) {
			if l.Holds != 1 {
				f.t.Errorf("%d holds", l.Holds)
			}
			if err := f.deleteErr(ofMario(5)); err == nil {
				f.t.Error("what is held was deleted")
			}
		}},
		{name: "records", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.take(mailboxKey('g', mario, 0), after(mailboxKey('g', mario, 0)))}
		},
			gaps: []string{mario}, told: []string{"lost"}},
		{name: "delivery keys", lose: func(f *fixture) []KeyRange { return []KeyRange{f.takeKind('d')} }, more: func(f *fixture, l *Losses) {
			if len(l.Notes) != 1 {
				f.t.Errorf("notes %q", l.Notes)
			}
		}},
		{name: "digests, links, spare chunks and keys among the deleted", lose: func(f *fixture) []KeyRange {
			return []KeyRange{f.takeKind('h'), f.takeKind('p'), f.takeKind('x'), f.takeKind('w')}
		}, more: func(f *fixture, l *Losses) {
			for range 2 {
				f.pass(sweepPause + time.Second)
				f.sweep(SweepOptions{})
			}
			if r := f.verify(); r.Orphans > 0 {
				f.t.Errorf("%d orphans: the bytes of what was erased stay", r.Orphans)
			}
		}},
		{name: "nobody knows what", lose: func(f *fixture) []KeyRange { return []KeyRange{{}} }, gaps: []string{"", anna, carla, mario}, told: []string{"lost", "lost"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := openFixture(t)
			f.archived()
			before := f.list(mario)
			last := before[len(before)-1].UID
			l := f.settle(test.lose(f)...)
			if names := l.names(); !slices.Equal(names, test.want) || l.Count != int64(len(test.want)) {
				t.Errorf("lost %q, want %q", names, test.want)
			}
			if !slices.Equal(l.Gaps, test.gaps) || l.Logs != test.logs {
				t.Errorf("gaps %q, want %q; %d logs, want %d", l.Gaps, test.gaps, l.Logs, test.logs)
			}
			if told := f.reasons(mario); !slices.Equal(told, test.told) {
				t.Errorf("gaps of mario %q, want %q", told, test.told)
			}
			if r := f.verify(); r.Lost != int64(len(test.want)) || r.LogsLost != int64(test.logs) || (r.LostSince != nil) != (r.Lost+r.LogsLost > 0) {
				t.Errorf("verify says %d messages and %d logs since %v", r.Lost, r.LogsLost, r.LostSince)
			}
			if test.more != nil {
				test.more(f, l)
			}
			f.checkpoint(newSigner(t))
			if next := f.put(mario, sized("next", 200)); next.UID <= last {
				t.Errorf("the next message has UID %d, and there was one of %d", next.UID, last)
			}
			f.verify()
		})
	}
}

// TestSettleTampering has keys missing beside the ranges that were lost: that stays a fault.
func TestSettleTampering(t *testing.T) {
	for _, test := range []struct {
		name string
		key  func(f *fixture) []byte
		want string
	}{
		{"an entry", func(*fixture) []byte { return entryKey(ofMario(2)) }, "its log has it, and it is not there: it was removed"},
		{"a leaf", func(*fixture) []byte { return leafKey(mario, 4) }, "leaf 4 of"},
		{"bytes", func(f *fixture) []byte { return chunkKey(f.entry(ofMario(3)).Chunks[0].ID) }, "no such key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := openFixture(t)
			f.damaged()
			f.archived()
			f.takeKey(test.key(f))
			lost := []KeyRange{f.takeKey(entryKey(ofMario(6))), f.takeKey(leafKey(anna, 1))}
			if _, err := f.SettleLosses(f.ctx(), "2026-11", lost, f.clock.now()); err != nil {
				t.Fatal(err)
			}
			r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
			if err != nil || r.Faults == 0 || !strings.Contains(strings.Join(r.Details, "\n"), test.want) {
				t.Errorf("%v, faults %q, want %q", err, r.Details, test.want)
			}
		})
	}
}

// TestSettleLossesRandom takes ranges away at random. Afterwards the archive is sound, each message is there with its bytes or told as lost, and nothing
// that was deleted or erased is back.
func TestSettleLossesRandom(t *testing.T) {
	for seed := range uint64(14) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f := openFixture(t)
			f.archived()
			there := make(map[string][]*Entry)
			for _, mailbox := range []string{mario, anna} {
				there[mailbox] = f.list(mailbox)
			}
			random := rand.New(rand.NewPCG(seed, 1))
			var keys [][]byte
			for p, err := range f.store().Scan(f.ctx(), nil, nil) {
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, p.Key)
			}
			var lost []KeyRange
			for range 1 + random.IntN(3) {
				first := random.IntN(len(keys))
				last := min(first+1+random.IntN(12), len(keys)-1)
				lost = append(lost, f.take(keys[first], keys[last]))
			}
			l := f.settle(lost...)
			for mailbox, entries := range there {
				for _, e := range entries {
					now, err := f.Entry(f.ctx(), e.Ref)
					if err == nil {
						if body := f.bytes(now.Ref); int64(len(body)) != e.Size {
							t.Errorf("%s %d has %d bytes of %d", mailbox, e.UID, len(body), e.Size)
						}
						continue
					}
					told := slices.Contains(l.Gaps, mailbox) || slices.Contains(l.Gaps, "") || slices.ContainsFunc(l.Messages, func(m LostMessage) bool {
						return m.Mailbox == mailbox && m.UID == e.UID
					})
					if !told {
						t.Errorf("%s %d is lost, and nothing says so: %+v", mailbox, e.UID, l)
					}
				}
			}
			f.put(mario, sized("next", 200))
			f.put(anna, sized("next", 200))
			f.verify()
		})
	}
}

// TestSettleLossesKilled kills the settling at one write after the other. Whatever it had done, the next try ends with the same gaps and a sound archive.
func TestSettleLossesKilled(t *testing.T) {
	kills := 0
	for n := 1; ; n += 3 {
		f := openFixture(t)
		f.onFiles()
		f.archived()
		lost := killedLosses()
		for _, r := range lost {
			f.take(r.From, r.To)
		}
		killed := f.killAt("settle", n)
		l, err := f.SettleLosses(f.ctx(), "2026-11", lost, november)
		if err != nil {
			t.Fatalf("killed at %d, then: %v", n, err)
		}
		f.verify()
		if !slices.Equal(l.Gaps, []string{mario}) || !slices.Equal(f.reasons(mario), []string{"lost"}) || !slices.Equal(f.reasons(anna), []string{"lost 1/0"}) {
			t.Errorf("killed at %d: gaps %q, %q, %q", n, l.Gaps, f.reasons(mario), f.reasons(anna))
		}
		f.close()
		if !killed {
			break
		}
		kills++
	}
	if kills < 5 {
		t.Errorf("killed %d times only", kills)
	}
}

func killedLosses() []KeyRange {
	one := func(key []byte) KeyRange { return KeyRange{key, append(bytes.Clone(key), 0)} }
	return []KeyRange{
		one(leafKey(mario, 4)), one(entryKey(ofMario(2))), one(entryKey(Ref{anna, "2026-11", "INBOX", 2})), one(totalKey(anna)), {[]byte{'s'}, []byte{'t'}},
	}
}

func TestKeyRanges(t *testing.T) {
	r := keyRanges{{[]byte("e" + "anna\x00INBOX"), []byte("h")}, {[]byte("x"), nil}}
	for _, test := range []struct {
		prefix string
		meets  bool
	}{{"e", true}, {"eanna\x00", true}, {"eaaa\x00", false}, {"emario\x00", true}, {"f", true}, {"h", false}, {"k", false}, {"z", true}, {"x", true}} {
		if r.meet([]byte(test.prefix)) != test.meets {
			t.Errorf("%q: %t", test.prefix, !test.meets)
		}
	}
	if of := r.of('e'); len(of) != 1 || string(of[0].From) != "anna\x00INBOX" || of[0].To != nil {
		t.Errorf("of e: %q", of)
	}
	if of := r.of('g'); len(of) != 1 || len(of[0].From) != 0 || of[0].To != nil {
		t.Errorf("of g: %q", of)
	}
	if of := r.of('d'); len(of) != 0 {
		t.Errorf("of d: %q", of)
	}
}
