package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBundleWithoutLog makes bundles where the log, its checkpoints or the keys are damaged or lost. The message is handed out all the same, and the bundle says in
// words what it lacks; only what is wrong with the archive makes it incomplete.
func TestBundleWithoutLog(t *testing.T) {
	for _, test := range []struct {
		name   string
		spoil  func(p *place)
		code   int    // of bundle
		says   string // in VERIFY.txt
		strict string // what verify-bundle -strict says has failed
	}{
		{"a flipped bit of the log", func(p *place) {
			p.tamper(func(m, _ tampering) { m.flip(m.pairs("k" + anna + "\x00")[2]) })
		}, 1, "No proof for message/message.eml: the log of the archive could not be read; the operator is told.", "whole: the bundle itself says that it lacks message/evidence: the log of the archive cannot be read"},
		{"a leaf that is gone", func(p *place) {
			p.tamper(func(m, _ tampering) { m.put(m.pairs("k" + anna + "\x00")[1].Key, nil) })
		}, 1, "No proof for message/message.eml: the log of the archive could not be read; the operator is told.", "log of the archive: message/message.eml: the log of the archive could not be read"},
		{"a checkpoint that cannot be read", func(p *place) {
			p.tamper(func(_, s tampering) {
				for _, pair := range s.pairs("kc") {
					s.put(pair.Key, []byte("{"))
				}
			})
		}, 1, "No proof for message/message.eml: the log of the archive could not be read; the operator is told.", "log of the archive: message/message.eml: the log of the archive could not be read"},
		{"no verifier keys", func(p *place) {
			pub := filepath.Join(p.dir, "data", "evidence.pub")
			p.do(os.Remove(pub))
			p.do(os.Mkdir(pub, 0o700))
		}, 0, "The verifier keys of the archive could not be read for message/message.eml", "log of the archive: message/message.eml: the bundle brings no verifier key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, c := evidencePlace(t, "")
			p.must("checkpoint")
			key, err := os.ReadFile(filepath.Join(p.dir, "data", "evidence.pub"))
			p.do(err)
			test.spoil(p)
			file := filepath.Join(p.dir, "out.zip")
			code, out, errs := p.run("bundle", anna, "INBOX/"+p.entries(anna)[0].Time.Format("2006-01"), "2", "-to", file)
			if code != test.code {
				t.Fatalf("exit status %d, want %d\n%s%s", code, test.code, out, errs)
			}
			dir := unzip(t, file)
			if b, err := os.ReadFile(filepath.Join(dir, "message", "message.eml")); err != nil || string(b) != string(c.Deliveries[0].Message) {
				t.Errorf("the message: %v, %d bytes", err, len(b))
			}
			if b, err := os.ReadFile(filepath.Join(dir, "VERIFY.txt")); err != nil || !strings.Contains(string(b), test.says) {
				t.Errorf("VERIFY.txt does not say %q: %v\n%s", test.says, err, b)
			}
			if _, err := os.Stat(filepath.Join(dir, "INCOMPLETE.txt")); (err == nil) != (test.code == 1) {
				t.Errorf("INCOMPLETE.txt: %v", err)
			}
			if code, out, _ := p.run("verify-bundle", dir); code != test.code {
				t.Errorf("verify-bundle: exit status %d\n%s", code, out)
			}
			if code, out, _ := p.run("verify-bundle", dir, "-strict"); code != 1 || !strings.Contains(out, "failed   "+test.strict) {
				t.Errorf("verify-bundle -strict: exit status %d, no %q\n%s", code, test.strict, out)
			}
			if test.code == 0 {
				if out := p.must("verify-bundle", dir, "-key", strings.TrimSpace(string(key))); !strings.Contains(out, "signed by a key that you named") {
					t.Errorf("with the key: %s", out)
				}
			}
		})
	}
}
