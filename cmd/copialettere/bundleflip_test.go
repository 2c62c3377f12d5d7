package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"copialettere/policy/checkpoint/tsatest"
)

// altered is an unpacked bundle, in which one file after the other is changed.
type altered struct {
	*place
	dir string
}

// file returns a file of the bundle.
func (a *altered) file(name string) []byte {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir, filepath.FromSlash(name)))
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *altered) write(name string, b []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, filepath.FromSlash(name)), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// found returns what verify-bundle says has failed when a file is changed: as it is, or with SHA256SUMS made anew.
func (a *altered) found(name string, after []byte, sums bool, flags ...string) (code int, failed []string) {
	a.t.Helper()
	before, sumsBefore := a.file(name), a.file("SHA256SUMS")
	a.write(name, after)
	if sums {
		a.write("SHA256SUMS", bytes.Replace(sumsBefore, fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(before), name), fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(after), name), 1))
	}
	code, out, _ := a.run(append([]string{"verify-bundle", a.dir}, flags...)...)
	a.write("SHA256SUMS", sumsBefore)
	a.write(name, before)
	for line := range strings.Lines(out) {
		if check, ok := strings.CutPrefix(line, "failed   "); ok {
			failed = append(failed, strings.TrimSpace(check))
		}
	}
	return code, failed
}

// heldBy is which check finds a changed byte in a file even if SHA256SUMS is made anew, by the end of its name. What is not here is held by SHA256SUMS alone, in
// part: the logs, what the MTA answered, and what a person is to compare with what is published.
var heldBy = map[string]string{
	"message.eml": `digests of .*/message.eml|signature of `, "digests.json": `digests of .*/message.eml`, "daticert.xml": `/daticert.xml`, "postacert.eml": `/postacert.eml`,
	"smime.p7s": `/signature/smime.p7s`, "chain.pem": `signature of .*chain.pem`, "anchor.pem": `signature of .*anchor.pem`, "proof.json": `log of the archive: `,
	"checkpoint.txt": `log of the archive: .*checkpoint.txt is not the note`, "checkpoint.tsr": `time stamp of `, "verifier-keys.txt": `log of the archive: `,
	"practice.csv": `practice.csv: it is not what practice.json has`, "scheda.html": `scheda.html: it says something else than the files`,
	"VERIFY.txt": `VERIFY.txt: it is not what bundle.json has`,
}

// TestBundleFlipped flips a bit in each file of a bundle of a practice. Each is found by its digest, and each that heldBy has also where SHA256SUMS was made anew.
func TestBundleFlipped(t *testing.T) {
	authority := tsatest.New(t)
	p, _ := evidencePlace(t, fmt.Sprintf("[evidence]\ntimestamp_url = %q\ntimestamp_ca = %q\n", authority.Serve(), authority.CA))
	file := filepath.Join(p.dir, "out.zip")
	p.must("bundle", anna, "Sent/"+p.entries(anna)[0].Time.Format("2006-01"), "1", "-practice", "-to", file)
	a := &altered{p, unzip(t, file)}
	p.must("verify-bundle", a.dir, "-strict")
	files, held := 0, make(map[string]bool)
	err := fs.WalkDir(os.DirFS(a.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		after := a.file(name)
		at := len(after) / 2
		if strings.HasSuffix(name, ".tsr") {
			at = len(after) - 40 // in the signature
		}
		after[at] ^= 1
		code, failed := a.found(name, after, false)
		want := "digest of " + name + ": the file was changed"
		switch all := strings.Join(failed, "\n"); {
		case name == "SHA256SUMS" && code == 1:
		case name == "bundle.json" && code == 2: // it is no bundle any more
		case code != 1 || !strings.Contains(all, want):
			t.Errorf("%s: exit status %d, no %q:\n%s", name, code, want, all)
		}
		for end, check := range heldBy {
			if !strings.HasSuffix(name, "/"+end) && name != end {
				continue
			}
			held[end] = true
			code, failed := a.found(name, after, true)
			all := strings.Join(failed, "\n")
			if code != 1 || !regexp.MustCompile(check).MatchString(all) || strings.Contains(all, "digest of "+name) {
				t.Errorf("%s, with SHA256SUMS made anew: exit status %d, no %q:\n%s", name, code, check, all)
			}
			t.Logf("%s is held by: %s", name, all)
		}
		return nil
	})
	if err != nil || files < 30 || len(held) != len(heldBy) {
		t.Errorf("%d files, %d of %d names, %v", files, len(held), len(heldBy), err)
	}
}

// TestBundleStrict leaves out what a court wants. Without -strict it is skipped, and with it the check fails.
func TestBundleStrict(t *testing.T) {
	authority := tsatest.New(t)
	p, _ := evidencePlace(t, fmt.Sprintf("[evidence]\ntimestamp_url = %q\ntimestamp_ca = %q\n", authority.Serve(), authority.CA))
	file := filepath.Join(p.dir, "out.zip")
	p.must("bundle", anna, "INBOX/"+p.entries(anna)[0].Time.Format("2006-01"), "2", "-to", file)
	pub, err := os.ReadFile(filepath.Join(p.dir, "data", "evidence.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(pub))
	const log, stamp = "log of the archive: message/message.eml: ", "time stamp of message/evidence/checkpoint.txt: "
	for _, test := range []struct {
		name  string
		flags []string
		leave []string // what is taken out of the bundle
		empty string   // a file that is made empty
		plain int      // the exit status without -strict
		want  string   // what -strict says; empty: nothing fails
	}{
		{"whole", nil, nil, "", 0, ""},
		{"no proof", nil, []string{"proof.json", "checkpoint.txt", "checkpoint.tsr", "tsa.pem", "verifier-keys.txt"}, "", 0, log + "the bundle has no proof of it"},
		{"no checkpoint", nil, []string{"checkpoint.txt"}, "", 1, log + "open message/evidence/checkpoint.txt"},
		{"no time stamp", nil, []string{"checkpoint.tsr", "tsa.pem"}, "", 0, stamp + "there is none"},
		{"no certificates of the authority", nil, []string{"tsa.pem"}, "", 0, stamp + "who that is was not judged"},
		{"no certificates, and they are named", []string{"-tsa", authority.CA}, []string{"tsa.pem"}, "", 0, ""},
		{"no key", nil, []string{"verifier-keys.txt"}, "", 0, log + "the bundle brings no verifier key: name that which the provider publishes, with -key"},
		{"no key, and it is named", []string{"-key", key}, []string{"verifier-keys.txt"}, "", 0, ""},
		{"an empty file of keys", nil, nil, "verifier-keys.txt", 1, log + "evidence/verifier-keys.txt names no key: name that which the provider publishes, with -key"},
		{"an empty file of keys, and the key is named", []string{"-key", key}, nil, "verifier-keys.txt", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := unzip(t, file)
			evidence := func(name string) string { return filepath.Join(dir, "message", "evidence", name) }
			var err error
			for _, name := range test.leave {
				err = errors.Join(err, os.Remove(evidence(name)))
			}
			if test.empty != "" {
				err = errors.Join(err, os.WriteFile(evidence(test.empty), []byte("\n"), 0o600))
			}
			sums := ""
			err = errors.Join(err, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() && name != "SHA256SUMS" {
					var b []byte
					b, err = os.ReadFile(filepath.Join(dir, name))
					sums += fmt.Sprintf("%x  %s\n", sha256.Sum256(b), name)
				}
				return err
			}), os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums), 0o600))
			if err != nil {
				t.Fatal(err)
			}
			failed := func(flags ...string) (int, string) {
				code, out, _ := p.run(append(append([]string{"verify-bundle", dir}, test.flags...), flags...)...)
				var list []string
				for line := range strings.Lines(out) {
					// The texts for people tell of what was taken out; that they no longer fit is looked at elsewhere.
					if strings.HasPrefix(line, "failed") && !strings.Contains(line, "scheda.html: ") && !strings.Contains(line, "VERIFY.txt: ") {
						list = append(list, line)
					}
				}
				if list == nil {
					code = 0
				}
				return code, strings.Join(list, "")
			}
			if code, said := failed(); code != test.plain {
				t.Errorf("exit status %d, want %d:\n%s", code, test.plain, said)
			}
			code, said := failed("-strict")
			if (code == 1) != (test.want != "") || !strings.Contains(said, test.want) {
				t.Errorf("-strict: exit status %d, no %q:\n%s", code, test.want, said)
			}
		})
	}
}
