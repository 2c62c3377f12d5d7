package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
)

// tamper changes the stores of a place that nobody has open, behind the journal's back: that of the month, and the settings.
func (p *place) tamper(fn func(month, settings tampering)) {
	p.t.Helper()
	engine, err := level.Open(filepath.Join(p.dir, "data", "journal"), level.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer engine.Close()
	months, err := engine.Volumes(p.t.Context())
	if err != nil || len(months) == 0 {
		p.t.Fatal(months, err)
	}
	month, err := engine.Volume(p.t.Context(), months[len(months)-1], false)
	if err != nil {
		p.t.Fatal(err)
	}
	settings, err := engine.Settings(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	fn(tampering{p, month}, tampering{p, settings})
}

// tampering changes one store.
type tampering struct {
	*place
	store kv.Store
}

// pairs returns all that is stored under keys that begin with a prefix.
func (w tampering) pairs(prefix string) (list []kv.Pair) {
	w.t.Helper()
	for pair, err := range w.store.Scan(w.t.Context(), []byte(prefix), nil) {
		if err != nil {
			w.t.Fatal(err)
		}
		if !strings.HasPrefix(string(pair.Key), prefix) {
			break
		}
		list = append(list, kv.Pair{Key: slices.Clone(pair.Key), Value: slices.Clone(pair.Value)})
	}
	if len(list) < 2 {
		w.t.Fatalf("%d keys with %q", len(list), prefix)
	}
	return list
}

// put stores a value; nil removes the key.
func (w tampering) put(key, value []byte) {
	w.t.Helper()
	err := w.store.Update(w.t.Context(), nil, func(tx kv.Tx) error {
		if value == nil {
			tx.Delete(key)
		} else {
			tx.Put(key, value)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// flip flips a bit in the middle of a value.
func (w tampering) flip(pair kv.Pair) {
	w.t.Helper()
	b := slices.Clone(pair.Value)
	b[len(b)/2] ^= 4
	w.put(pair.Key, b)
}

// swap has two values change places.
func (w tampering) swap(a, b kv.Pair) {
	w.t.Helper()
	w.put(a.Key, b.Value)
	w.put(b.Key, a.Value)
}

// resign signs the note of a checkpoint anew with another key.
func (w tampering) resign(pair kv.Pair, signing string) {
	w.t.Helper()
	var c map[string]any
	if err := json.Unmarshal(pair.Value, &c); err != nil {
		w.t.Fatal(err)
	}
	n, err := evidence.Unsigned([]byte(c["note"].(string)))
	if err != nil {
		w.t.Fatal(err)
	}
	note, err := n.Sign(signing)
	if err != nil {
		w.t.Fatal(err)
	}
	c["note"] = string(note)
	b, err := json.Marshal(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(pair.Key, b)
}

// TestTampered alters an archive behind its back in the five ways that it promises to find, and shows what "copialettere verify" prints of each.
func TestTampered(t *testing.T) {
	const entries, leaves, chunks, checkpoints = "e" + anna + "\x00", "k" + anna + "\x00", "c", "kc"
	ofAll := func(list []kv.Pair) (one, two kv.Pair) { return list[0], list[1] }
	for _, test := range []struct {
		name   string
		tamper func(p *place, before string)
		prints []string // M stands for the month
	}{
		{"a flipped bit of a message", func(p *place, _ string) {
			p.tamper(func(m, _ tampering) { m.flip(m.pairs(chunks)[0]) })
		}, []string{"FAULT anna@alpha.test INBOX/M 1: "}},
		{"a flipped bit of an entry", func(p *place, _ string) {
			p.tamper(func(m, _ tampering) { m.flip(m.pairs(entries)[1]) })
		}, []string{"FAULT anna@alpha.test INBOX/M 2: "}},
		{"a flipped bit of a log", func(p *place, _ string) {
			p.tamper(func(m, _ tampering) { m.flip(m.pairs(leaves)[1]) })
		}, []string{"FAULT log of anna@alpha.test in M: its leaves do not lead to its head: one of them is another than it was"}},
		{"a dropped record", func(p *place, _ string) {
			p.tamper(func(m, _ tampering) { m.put(m.pairs(entries)[1].Key, nil) })
		}, []string{"FAULT anna@alpha.test INBOX/M 2: its log has it, and it is not there: it was removed behind the journal's back"}},
		{"a dropped record of a log", func(p *place, _ string) {
			p.tamper(func(m, _ tampering) { m.put(m.pairs(leaves)[2].Key, nil) })
		}, []string{"FAULT log of anna@alpha.test in M: leaf 2 of 4 is not there"}},
		{"a swapped pair", func(p *place, _ string) {
			p.tamper(func(m, _ tampering) { m.swap(ofAll(m.pairs(entries))) })
		}, []string{
			"FAULT anna@alpha.test INBOX/M 1: it is not as its log has it: it was altered behind the journal's back",
			"FAULT anna@alpha.test INBOX/M 2: it is not as its log has it: it was altered behind the journal's back",
		}},
		{"a swapped pair of a log", func(p *place, _ string) {
			p.tamper(func(m, _ tampering) { m.swap(m.pairs(leaves)[1], m.pairs(leaves)[2]) })
		}, []string{"FAULT log of anna@alpha.test in M: its leaves do not lead to its head: one of them is another than it was"}},
		{"a rolled-back checkpoint", func(p *place, _ string) {
			p.tamper(func(_, s tampering) { s.put(s.pairs(checkpoints)[1].Key, nil) })
		}, []string{"FAULT checkpoint 1 is not there"}},
		{"a rolled-back archive", func(p *place, before string) {
			data := filepath.Join(p.dir, "data")
			p.do(os.RemoveAll(data))
			p.do(os.CopyFS(data, os.DirFS(before)))
		}, []string{"it is of checkpoint 1, and the archive has 1 in all: the archive was put back to an earlier state"}},
		{"a re-signed log with another key", func(p *place, _ string) {
			signing, _, err := evidence.NewKey("archivio.alpha.test")
			p.do(err)
			p.tamper(func(_, s tampering) {
				for _, pair := range s.pairs(checkpoints) {
					s.resign(pair, signing)
				}
			})
		}, []string{"FAULT checkpoint 0: its note: it is signed by archivio.alpha.test+", "FAULT checkpoint 1: its note: it is signed by archivio.alpha.test+", ", which none of the known keys is"}},
		{"a re-signed log, with the key put in place of that of the data folder", func(p *place, _ string) {
			signing, verifier, err := evidence.NewKey("archivio.alpha.test")
			p.do(err)
			pub, err := os.ReadFile(filepath.Join(p.dir, "data", "evidence.pub"))
			p.do(err)
			p.tamper(func(_, s tampering) {
				for _, pair := range s.pairs(checkpoints) {
					s.resign(pair, signing)
				}
			})
			p.do(os.WriteFile(filepath.Join(p.dir, "data", "evidence.pub"), []byte(verifier+"\n"), 0o600))
			p.do(os.WriteFile(filepath.Join(p.dir, "data", "evidence.key"), []byte(signing+"\n"), 0o600))
			p.rewrite("checkpoints =", "verifier_keys = [\""+strings.TrimSpace(string(pub))+"\"]\ncheckpoints =")
		}, []string{"FAULT checkpoint 0: its note: it is signed by archivio.alpha.test+", ", which none of the known keys is"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			outside := filepath.Join(p.dir, "outside")
			p.do(os.Mkdir(outside, 0o700))
			p.configure("[evidence]\ncheckpoints = \"" + outside + "\"\n")
			p.must("init")
			p.must("mailbox", "enable", anna)
			stop := p.daemon()
			p.deliver(subject("one"), anna, anna)
			p.deliver(subject("two"), anna, anna)
			p.must("checkpoint")
			stop()
			before := filepath.Join(p.dir, "before")
			p.do(os.CopyFS(before, os.DirFS(filepath.Join(p.dir, "data"))))
			stop = p.daemon()
			p.deliver(subject("three"), anna, anna)
			p.must("checkpoint")
			stop()
			if out := p.must("verify"); strings.Contains(out, "FAULT") || !strings.Contains(out, "1 log of 4 leaves") || !strings.Contains(out, "2 compared that are kept outside") {
				t.Fatalf("before: %s", out)
			}
			month := p.entries(anna)[0].Time.Format("2006-01")
			test.tamper(p, before)
			code, out, _ := p.run("verify")
			for _, want := range test.prints {
				if want = strings.ReplaceAll(want, "M", month); code != 1 || !strings.Contains(out, want) {
					t.Errorf("exit status %d, does not print %q:\n%s", code, want, out)
				}
			}
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "FAULT") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}
