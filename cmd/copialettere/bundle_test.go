package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/journal/evidence"
	"copialettere/journal/export/bundle"
	"copialettere/policy/checkpoint/tsatest"
	"copialettere/policy/pec/pectest"
)

// evidencePlace returns a place with a practice in the mailbox of anna: a message sent to three, its acceptance and a delivery receipt. more is added
// to its configuration.
func evidencePlace(t *testing.T, more string) (*place, *pectest.Chain) {
	t.Helper()
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := office.Send(practiceMail, "completa")
	p, spec := sentPlace(t)
	trust := filepath.Join(p.dir, "trust.pem")
	if err := os.WriteFile(trust, office.Authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure(fmt.Sprintf("[pec]\ntrust_bundle = %q\n", trust) + more)
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.send(spec, anna, practiceMail.To, c.Original)
	p.deliver(string(c.Acceptance), anna, anna)
	p.deliver(string(c.Deliveries[0].Message), anna, anna)
	p.must("checkpoint")
	return p, c
}

// unzip unpacks a ZIP into a new folder with the program of everybody.
func unzip(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	r, err := zip.OpenReader(file)
	if err == nil {
		defer r.Close()
		err = os.CopyFS(dir, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// runVerifyText runs all commands of VERIFY.txt in an unpacked bundle. It returns the text, and how many commands were of this program, and on time stamps.
func (p *place) runVerifyText(t *testing.T, dir string) (text string, own, stamps int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "VERIFY.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "copialettere ")
		switch {
		case !strings.HasPrefix(line, "    "):
		case ok:
			own++
			args := strings.Fields(strings.ReplaceAll(command, " .", " "+dir))
			if code, out, errs := p.run(args...); code != 0 || strings.Contains(out, "failed") {
				t.Errorf("%s: exit status %d\n%s%s", command, code, out, errs)
			}
		default:
			c := exec.CommandContext(t.Context(), "sh", "-c", line)
			c.Dir = dir
			out, err := c.CombinedOutput()
			if strings.Contains(line, "openssl ts") {
				stamps++
				if !strings.Contains(string(out), "Verification: OK") {
					t.Errorf("%s says %s", line, out)
				}
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
		}
	}
	return string(b), own, stamps
}

// TestBundle makes bundles over the socket and on the data folder, and runs all the commands of VERIFY.txt on them.
func TestBundle(t *testing.T) {
	p, _ := evidencePlace(t, "")
	var sent string
	for _, e := range p.entries(anna) {
		if e.Direction == "sent" {
			sent = e.Folder
		}
	}
	received := strings.Replace(sent, "Sent", "INBOX", 1)
	for name, args := range map[string][]string{
		"practice, daemon": {sent, "1", "-practice"}, "receipt, folder": {received, "2"}, "sent, folder": {sent, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "daemon") {
				defer p.daemon()()
			}
			file := filepath.Join(t.TempDir(), "out.zip")
			if out := p.must(append([]string{"bundle", anna, "-to", file}, args...)...); !strings.Contains(out, "written, read back and checked") {
				t.Errorf("printed %s", out)
			}
			dir := unzip(t, file)
			text, own, stamps := p.runVerifyText(t, dir)
			if stamps != 0 {
				t.Errorf("%d commands on time stamps:\n%s", stamps, text)
			}
			if own != 1 {
				t.Errorf("%d commands of this program:\n%s", own, text)
			}
		})
	}
	if got := p.must("mailbox", "log", anna); !strings.Contains(got, "export of practice:1 folder:"+sent) || !strings.Contains(got, "export of bundle:2 folder:"+received) {
		t.Errorf("log: %s", got)
	}
}

// TestVerifyBundle checks the exit status and what is printed, without a configuration.
func TestVerifyBundle(t *testing.T) {
	p, c := evidencePlace(t, "")
	file := filepath.Join(p.dir, "out.zip")
	p.must("bundle", anna, "INBOX/"+p.entries(anna)[0].Time.Format("2006-01"), "2", "-to", file)
	dir := unzip(t, file)
	if err := os.Remove(filepath.Join(p.dir, "copialettere.toml")); err != nil {
		t.Fatal(err)
	}
	rogue := filepath.Join(p.dir, "rogue.pem")
	if err := os.WriteFile(rogue, pectest.NewRogue().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := unzip(t, file)
	if err := os.WriteFile(filepath.Join(changed, "message", "message.eml"), []byte(strings.Replace(string(c.Acceptance), "ACCETTAZIONE", "CONSEGNA", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(filepath.Join(p.dir, "data", "evidence.pub"))
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSpace(string(pub))
	_, other, err := evidence.NewKey("other")
	if err != nil {
		t.Fatal(err)
	}
	stamped, renoted := unzip(t, file), unzip(t, file)
	for path, text := range map[string]string{
		filepath.Join(stamped, "message", "evidence", "checkpoint.tsr"): "no stamp", filepath.Join(renoted, "message", "evidence", "checkpoint.txt"): "another note",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a false stamp":     {[]string{stamped}, 1, "failed   time stamp of message/evidence/checkpoint.txt"},
		"another note":      {[]string{renoted}, 1, "failed   log of the archive: message/message.eml: evidence/checkpoint.txt is not the note"},
		"the ZIP":           {[]string{file}, 0, "ok       signature of message/message.eml: verified"},
		"the folder":        {[]string{dir}, 0, "ok       SHA256SUMS: "},
		"the right anchor":  {[]string{file, "-trust", filepath.Join(p.dir, "trust.pem")}, 0, "the authority that you named"},
		"the log":           {[]string{file}, 0, "ok       log of the archive: message/message.eml: there in the archive of anna@alpha.test at checkpoint "},
		"the right key":     {[]string{file, "-key", own}, 0, "signed by a key that you named"},
		"another key":       {[]string{file, "-key", other}, 1, "failed   log of the archive: message/message.eml: "},
		"no key":            {[]string{file, "-key", "x"}, 2, ""},
		"another anchor":    {[]string{file, "-trust", rogue}, 1, "failed   signature of message/message.eml: untrusted"},
		"a changed message": {[]string{changed}, 1, "failed   digest of message/message.eml"},
		"no bundle":         {[]string{p.dir}, 2, ""},
		"no ZIP":            {[]string{rogue}, 2, ""},
		"nothing":           {[]string{filepath.Join(p.dir, "nothing")}, 2, ""},
		"no anchor":         {[]string{file, "-trust", file}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := p.run(append([]string{"verify-bundle"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out, tt.want) {
				t.Errorf("exit status %d\n%s%s", code, out, errs)
			}
		})
	}
	var check bundle.Check
	_, out, _ := p.run("verify-bundle", file, "-json")
	if line, _, _ := strings.Cut(out, "\n"); json.Unmarshal([]byte(line), &check) != nil || check.Outcome != bundle.OK || check.What == "" {
		t.Errorf("as JSON: %s", out)
	}
}

// TestBundleForged changes what a bundle says of a message, with its SHA256SUMS made anew: the entry in the log says otherwise.
func TestBundleForged(t *testing.T) {
	p, _ := evidencePlace(t, "")
	month := p.entries(anna)[0].Time.Format("2006-01")
	dir := map[string]string{}
	for name, args := range map[string][]string{"received": {"INBOX/" + month, "2"}, "sent": {"Sent/" + month, "1"}} {
		file := filepath.Join(p.dir, name+".zip")
		p.must(append([]string{"bundle", anna, "-to", file}, args...)...)
		dir[name] = unzip(t, file)
	}
	for name, tt := range map[string]struct{ of, file, old, new, want string }{
		"the sender":            {"received", "envelope.json", `"mail_from": "`, `"mail_from": "x`, "mail_from"},
		"the time":              {"received", "envelope.json", `"time": "20`, `"time": "19`, "time"},
		"the recipient":         {"received", "envelope.json", `"` + anna + `"` + "\n  ]", `"x@alpha.test"` + "\n  ]", "recipients"},
		"a recipient more":      {"sent", "envelope.json", `"recipients": [`, `"recipients": ["x@beta.test",`, "recipients"},
		"how it was sent":       {"sent", "envelope.json", `"sent_to": "`, `"sent_to": "x`, "sent_to"},
		"the transaction":       {"sent", "envelope.json", `"transaction": "`, `"transaction": "x`, "transaction"},
		"the direction":         {"sent", "envelope.json", `"sent",`, `"received",`, "direction"},
		"the provider":          {"received", "signature.json", `"weak_digest": false`, `"weak_digest": false, "provider": "x"`, "provider"},
		"the revocation":        {"received", "signature.json", `"weak_digest": false`, `"weak_digest": false, "revocation": "revoked"`, "revocation"},
		"the time of arrival":   {"received", "signature.json", `"arrived": "20`, `"arrived": "19`, "arrived"},
		"what was not examined": {"sent", "signature.json", `"weak_digest": false`, `"weak_digest": true`, "weak_digest"},
	} {
		t.Run(name, func(t *testing.T) {
			path, sums := filepath.Join(dir[tt.of], "message", tt.file), filepath.Join(dir[tt.of], "SHA256SUMS")
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sumsBefore, err := os.ReadFile(sums)
			if err != nil {
				t.Fatal(err)
			}
			after := bytes.Replace(before, []byte(tt.old), []byte(tt.new), 1)
			if bytes.Equal(after, before) {
				t.Fatalf("no %q in %s", tt.old, before)
			}
			write := func(b, sumsOf []byte) {
				if err := errors.Join(os.WriteFile(path, b, 0o600), os.WriteFile(sums, sumsOf, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			write(after, bytes.Replace(sumsBefore, fmt.Appendf(nil, "%x", sha256.Sum256(before)), fmt.Appendf(nil, "%x", sha256.Sum256(after)), 1))
			code, out, _ := p.run("verify-bundle", dir[tt.of])
			if want := fmt.Sprintf("failed   envelope and report: message: %s: %s is not as the log has it", tt.file, tt.want); code != 1 || !strings.Contains(out, want) || strings.Contains(out, "failed   digest of") {
				t.Errorf("exit status %d, no %q:\n%s", code, want, out)
			}
			write(before, sumsBefore)
			if code, out, _ := p.run("verify-bundle", dir[tt.of]); code != 0 || !strings.Contains(out, "ok       envelope and report: message\n") {
				t.Errorf("as it was: exit status %d\n%s", code, out)
			}
		})
	}
}

// TestBundleStamped makes bundles where an authority has stamped the checkpoint, checks them in all ways, and flips bits.
func TestBundleStamped(t *testing.T) {
	a, other := tsatest.New(t), tsatest.New(t)
	p, _ := evidencePlace(t, fmt.Sprintf("[evidence]\ntimestamp_url = %q\ntimestamp_ca = %q\n", a.Serve(), a.CA))
	month := p.entries(anna)[0].Time.Format("2006-01")
	file := filepath.Join(p.dir, "out.zip")
	p.must("bundle", anna, "Sent/"+month, "1", "-practice", "-to", file)
	dir := unzip(t, file)
	if text, own, stamps := p.runVerifyText(t, dir); own != 1 || stamps != 3 {
		t.Errorf("%d commands of this program, %d on time stamps:\n%s", own, stamps, text)
	}
	const brought, judged = "an authority by the certificates that the bundle brings: compare them", "ok       time stamp of sent/evidence/checkpoint.txt: "
	verify := func(t *testing.T, code int, want string, args ...string) {
		t.Helper()
		if got, out, errs := p.run(append([]string{"verify-bundle"}, args...)...); got != code || !strings.Contains(out, want) {
			t.Errorf("exit status %d, want %d and %q\n%s%s", got, code, want, out, errs)
		}
	}
	verify(t, 0, brought, dir)
	verify(t, 0, "CN=Prova TSA: an authority that you named", file, "-tsa", a.CA)
	verify(t, 1, "failed   time stamp of sent/evidence/checkpoint.txt: ", file, "-tsa", other.CA)
	verify(t, 2, "", file, "-tsa", file)
	for _, name := range []string{"checkpoint.txt", "checkpoint.tsr", "tsa.pem"} {
		path := filepath.Join(dir, "sent", "evidence", name)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(before) / 3, len(before) / 2, len(before) - 40} {
			b := bytes.Clone(before)
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			verify(t, 1, "failed   digest of sent/evidence/"+name, dir)
			if name == "tsa.pem" {
				continue
			}
			if _, out, _ := p.run("verify-bundle", dir); strings.Contains(out, judged) {
				t.Errorf("%s with byte %d changed: the time stamp is believed:\n%s", name, at, out)
			}
		}
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	// The archive knows another authority by now, or none that can be read: the bundle has the stamp without certificates.
	for name, ca := range map[string]string{"another": other.CA, "lost": filepath.Join(p.dir, "lost.pem")} {
		b, err := os.ReadFile(filepath.Join(p.dir, "copialettere.toml"))
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(b, []byte(a.CA), []byte(ca), 1)
		if err := os.WriteFile(filepath.Join(p.dir, "copialettere.toml"), changed, 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(p.dir, name+".zip")
		p.must("bundle", anna, "Sent/"+month, "1", "-to", file)
		if _, _, stamps := p.runVerifyText(t, unzip(t, file)); stamps != 0 {
			t.Errorf("%s: %d commands that cannot run", name, stamps)
		}
		verify(t, 0, "name them with -tsa", file)
		verify(t, 0, "an authority that you named", file, "-tsa", a.CA)
		if err := os.WriteFile(filepath.Join(p.dir, "copialettere.toml"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBundleStampedLater makes a bundle of a message whose checkpoint no authority has stamped, because none was configured yet: the note and the stamp are
// those of the next one.
func TestBundleStampedLater(t *testing.T) {
	a := tsatest.New(t)
	p, _ := evidencePlace(t, "")
	args := []string{"bundle", anna, "Sent/" + p.entries(anna)[0].Time.Format("2006-01"), "1", "-to"}
	before, after := filepath.Join(p.dir, "before.zip"), filepath.Join(p.dir, "after.zip")
	p.must(append(args, before)...)
	p.configure(fmt.Sprintf("[evidence]\ntimestamp_url = %q\ntimestamp_ca = %q\n", a.Serve(), a.CA))
	p.must("checkpoint")
	p.must(append(args, after)...)
	if code, said, _ := p.run("verify-bundle", "-strict", before); code != 1 || !strings.Contains(said, "failed   time stamp of message/evidence/checkpoint.txt: there is none") {
		t.Errorf("before: exit status %d:\n%s", code, said)
	}
	said := p.must("verify-bundle", "-strict", after)
	for _, want := range []string{"there in the archive of " + anna + " at checkpoint 0 of ", "ok       time stamp of message/evidence/checkpoint.txt: "} {
		if !strings.Contains(said, want) {
			t.Errorf("want %q in:\n%s", want, said)
		}
	}
	dir := unzip(t, after)
	text, own, stamps := p.runVerifyText(t, dir)
	if own != 1 || stamps != 1 || !strings.Contains(text, "No authority has stamped checkpoint 0, which has message/message.eml. The note and the time are those of checkpoint 1") {
		t.Errorf("%d commands of this program, %d on time stamps:\n%s", own, stamps, text)
	}
	if sheet, err := os.ReadFile(filepath.Join(dir, "scheda.html")); err != nil || !strings.Contains(string(sheet), ", con marca temporale del checkpoint numero 1, che lo comprende") {
		t.Errorf("%v: the sheet does not tell whose time stamp it is", err)
	}
}

// TestBundleRefused asks for bundles that there are not.
func TestBundleRefused(t *testing.T) {
	p, _ := evidencePlace(t, "")
	folder := "INBOX/" + p.entries(anna)[0].Time.Format("2006-01")
	there := filepath.Join(p.dir, "there.zip")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no such message": {[]string{folder, "99", "-to", filepath.Join(p.dir, "a.zip")}, 1, "no such entry"},
		"nowhere":         {[]string{folder, "1"}, 2, "-to"},
		"the file exists": {[]string{folder, "1", "-to", there}, 2, "exists"},
		"no folder":       {[]string{folder, "1", "-to", filepath.Join(p.dir, "no", "such", "a.zip")}, 1, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := p.run(append([]string{"bundle", anna}, tt.args...)...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("exit status %d\n%s%s", code, out, errs)
			}
			if left, err := filepath.Glob(filepath.Join(p.dir, "*.zip*")); err != nil || len(left) != 1 {
				t.Errorf("left %q, %v", left, err)
			}
		})
	}
}
