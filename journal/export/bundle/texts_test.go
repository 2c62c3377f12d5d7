package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec/pectest"
)

// forge changes a file of an unpacked bundle, and SHA256SUMS so that it fits, as somebody who forges one would. The file may be new.
func forge(t *testing.T, dir, name string, after []byte) (restore func()) {
	t.Helper()
	path, sums := filepath.Join(dir, filepath.FromSlash(name)), filepath.Join(dir, sumsName)
	before, err := os.ReadFile(path)
	isNew := errors.Is(err, os.ErrNotExist)
	sumsBefore, err := os.ReadFile(sums)
	if err != nil {
		t.Fatal(err)
	}
	sumsAfter := bytes.Replace(sumsBefore, fmt.Appendf(nil, "%x", sha256.Sum256(before)), fmt.Appendf(nil, "%x", sha256.Sum256(after)), 1)
	if isNew {
		sumsAfter = fmt.Appendf(bytes.Clone(sumsBefore), "%x  %s\n", sha256.Sum256(after), name)
	}
	if err := errors.Join(os.WriteFile(path, after, 0o600), os.WriteFile(sums, sumsAfter, 0o600)); err != nil {
		t.Fatal(err)
	}
	return func() {
		err := os.WriteFile(path, before, 0o600)
		if isNew {
			err = os.Remove(path)
		}
		if err := errors.Join(err, os.WriteFile(sums, sumsBefore, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTexts forges tables and texts of a bundle, with SHA256SUMS made anew. Each is found, by the check that is named; what was written by another version of the
// program is not compared word by word.
func TestTexts(t *testing.T) {
	m, _ := office(t, pectest.Shapes()[0])
	dir := unpack(t, m.bundle(m.entries[0], true))
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	digest := fmt.Sprintf("%x", sha256.Sum256(read("sent/"+messageName)))
	other := strings.Repeat("0", 64)
	for name, one := range map[string]struct {
		file, old, new string // the first old becomes new; without old, new is added at the end
		want           string
		any            bool // found whatever version has made it
	}{
		"a recipient in the table":   {tableName, ",carlo@beta.test,", ",carla@beta.test,", "failed practice.csv: it is not what practice.json has: line 2 says", true},
		"a line more in the table":   {tableName, "", "x,y\r\n", "failed practice.csv: it is not what practice.json has: line 3 says", true},
		"a line less":                {tableName, "\r\n", "", "failed practice.csv: ", true},
		"the subject":                {practiceName, `"subject": "`, `"subject": "x`, "failed messages of the practice: practice.json says another subject of Sent/2026-11 1", true},
		"the time it was sent":       {practiceName, `"time": "2026-`, `"time": "2025-`, "failed messages of the practice: practice.json says another time of Sent/2026-11 1", true},
		"the message that was sent":  {practiceName, `"uid": 1`, `"uid": 9`, "failed messages of the practice: the message that was sent, Sent/2026-11 9, is not in the bundle", true},
		"a receipt":                  {practiceName, `"uid": 2`, `"uid": 9`, "failed messages of the practice: the receipt INBOX/2026-11 9 is not in the bundle", true},
		"whether a receipt counts":   {manifestName, `"signature": "verified"`, `"signature": "verified", "not_believed": "x"`, "failed messages of the practice: practice.json and bundle.json do not agree", true},
		"a result in the list":       {manifestName, `"signature": "verified"`, `"signature": "weak"`, `failed signature of receipts/01-accettazione/message.eml: bundle.json says "weak", and signature.json "verified"`, true},
		"a time in the changes":      {changesName, "\r\n20", "\r\nx20", "failed log/changes.csv: line 2: parsing time", true},
		"a change of tomorrow":       {changesName, "", "2026-12-24T00:00:00Z,a,write,off,on\r\n", "failed log/changes.csv: line 3: 2026-12-24T00:00:00Z is after the bundle was made", true},
		"changes out of order":       {changesName, "", "2020-01-01T00:00:00Z,a,write,off,on\r\n", "failed log/changes.csv: line 3: 2020-01-01T00:00:00Z is before the line above", true},
		"a change of nobody":         {changesName, ",operator root,", ",,", "failed log/changes.csv: line 2: it does not say who", true},
		"a column of the changes":    {changesName, ",who,", ",whose,", "failed log/changes.csv: line 1: its columns are", true},
		"the mark of the accesses":   {accessesName, "\ufeff", "", "failed log/access.csv: its first bytes", true},
		"an access before":           {accessesName, "", "2020-01-01T00:00:00Z,,1,anna,owner,web,,\r\n", "failed log/access.csv: line 3: it ended at 2020-01-01T00:00:00Z, before the first message came", true},
		"an access that ends before": {accessesName, ",,1,", ",2020-01-01T00:00:00Z,1,", "failed log/access.csv: line 2: it ends at 2020-01-01T00:00:00Z, before it begins", true},
		"how often":                  {accessesName, ",,1,", ",,one,", "failed log/access.csv: line 2: ", true},
		"a field more":               {accessesName, "", "x\r\n", "failed log/access.csv: line 3: ", true},
		"a digest in the sheet":      {sheetName, digest, other, "failed scheda.html: ", true},
		"no digest in the sheet":     {sheetName, "<code>" + digest + "</code>", "", "failed scheda.html: ", true},
		"a script in the sheet":      {sheetName, "</body>", "<script>1</script></body>", "failed scheda.html: ", true},
		"a time in the sheet":        {sheetName, "/11/2026 ", "/10/2026 ", "failed scheda.html: it says something else than the files: line ", false},
		"words in the sheet":         {sheetName, "certificata", "ordinaria", "failed scheda.html: it says something else than the files: line ", false},
		"a command":                  {verifyName, "", "\n    rm -rf /\n", "failed VERIFY.txt: ", true},
		"a command that is changed":  {verifyName, "-CAfile ", "-CAfile /tmp/", "failed VERIFY.txt: ", true},
		"no command":                 {verifyName, "    ", "   ", "failed VERIFY.txt: it is not what bundle.json has: line ", false},
		"a file more":                {"more.txt", "", "x", `failed SHA256SUMS: "more.txt" is no file of such a bundle`, true},
		"a text of what is missing":  {incompleteName, "", "x", `failed SHA256SUMS: "INCOMPLETE.txt" is no file of such a bundle`, true},
		"an anchor for no signature": {"sent/" + anchorName, "", "x", `failed SHA256SUMS: "sent/signature/anchor.pem" is no file of such a bundle`, true},
		"logs that are denied":       {manifestName, `"messages"`, `"no_log": "x", "messages"`, `failed SHA256SUMS: "log/access.csv" is no file of such a bundle`, true},
	} {
		var before []byte
		if name != "a file more" && one.file != incompleteName && name != "an anchor for no signature" {
			before = read(one.file)
		} else if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, one.file)), 0o700); err != nil {
			t.Fatal(err)
		}
		after := append(bytes.Clone(before), one.new...)
		if one.old != "" {
			after = bytes.Replace(before, []byte(one.old), []byte(one.new), 1)
		}
		if bytes.Equal(before, after) {
			t.Errorf("%s: no %q in %s", name, one.old, before)
			continue
		}
		restore := forge(t, dir, one.file, after)
		good, lines := checks(t, dir, VerifyOptions{})
		if all := strings.Join(lines, "\n"); good || !strings.Contains(all, one.want) || strings.Contains(all, "failed digest of") {
			t.Errorf("%s: not found as %q:\n%s", name, one.want, all)
		}
		if good, err := Verify(t.Context(), os.DirFS(dir), VerifyOptions{Program: "copialettere 0.9"}, func(Check) {}); good == one.any || err != nil {
			t.Errorf("%s, of another version: good is %v, %v", name, good, err)
		}
		restore()
	}
	for _, o := range []VerifyOptions{{}, {Program: "copialettere 0.9"}} {
		if good, err := Verify(t.Context(), os.DirFS(dir), o, func(Check) {}); !good || err != nil {
			t.Errorf("as it was, by %q: %v", o.Program, err)
		}
	}
	if good, lines := checks(t, dir, VerifyOptions{}); !good {
		t.Errorf("as it was: %q", lines)
	}
}

// TestSheetZones makes sheets in several zones. Each says what the files say.
func TestSheetZones(t *testing.T) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []*time.Location{time.UTC, rome, time.FixedZone("x", -9*3600-1800)} {
		m, _ := office(t, pectest.Shapes()[0])
		o := m.options(m.entries[0], true)
		o.Zone = zone
		b, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := b.Write(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if good, lines := checks(t, unpack(t, out.Bytes()), VerifyOptions{}); !good {
			t.Errorf("%s: %s", zone, strings.Join(lines, "\n"))
		}
	}
}

// TestNoProof makes bundles where the log of the archive gives no proof. Each says why, to people and to programs; a strict check does not accept it.
func TestNoProof(t *testing.T) {
	for _, test := range []struct {
		name    string
		err     error
		italian string
		english string
		lacks   bool // what the bundle ought to have is missing
		ends    error
	}{
		{"from before the logs", journal.ErrNoLog, "di prima che", "the message is from before the archive kept logs", false, nil},
		{"no checkpoint", fmt.Errorf("x: %w", journal.ErrNoCheckpoint), "alcun checkpoint", "no checkpoint has been made since the message came; one is made every day", false, nil},
		{"deleted meanwhile", journal.ErrNotFound, "fare di nuovo il pacchetto", "its entry has changed while the bundle was made: make the bundle again", false, nil},
		{"a damaged log", fmt.Errorf("leaf 3: %w", journal.ErrDamaged), "non si è potuto leggere", "the log of the archive could not be read; the operator is told", true, nil},
		{"a store that is away", kv.ErrUnavailable, "non si è potuto leggere", "the log of the archive could not be read; the operator is told", true, nil},
		{"a fault", errors.New("input/output error"), "non si è potuto leggere", "the log of the archive could not be read; the operator is told", true, nil},
		{"a right that was taken", policy.ErrForbidden, "", "", false, policy.ErrForbidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, _ := office(t, pectest.Shapes()[0])
			m.proofErr = test.err
			b, err := Open(t.Context(), m.options(m.entries[2], false))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := b.Write(t.Context(), &out); !errors.Is(err, test.ends) {
				t.Fatalf("%v, want %v", err, test.ends)
			}
			if test.ends != nil {
				return
			}
			dir := unpack(t, out.Bytes())
			for file, want := range map[string]string{sheetName: test.italian, verifyName: test.english, manifestName: test.english} {
				if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(b), want) || strings.Contains(string(b), "leaf 3") {
					t.Errorf("%s lacks %q, %v", file, want, err)
				}
			}
			commands(t, dir)
			for _, strict := range []bool{false, true} {
				good, lines := checks(t, dir, VerifyOptions{Strict: strict})
				word := map[bool]string{false: "skipped", true: "failed"}[strict]
				if want := word + " log of the archive: message/message.eml: " + test.english; good != (!strict && !test.lacks) || !strings.Contains(strings.Join(lines, "\n"), want) {
					t.Errorf("strict %v: good is %v, no %q:\n%s", strict, good, want, strings.Join(lines, "\n"))
				}
			}
			if _, err := os.Stat(filepath.Join(dir, incompleteName)); (err == nil) != test.lacks {
				t.Errorf("%s: %v", incompleteName, err)
			}
		})
	}
	t.Run("broken off", func(t *testing.T) {
		m, _ := office(t, pectest.Shapes()[0])
		ctx, cancel := context.WithCancel(t.Context())
		b, err := Open(ctx, m.options(m.entries[2], false))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		m.proofErr = context.Canceled
		if err := b.Write(ctx, new(bytes.Buffer)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzVerify checks bundles with files that somebody has made up.
func FuzzVerify(f *testing.F) {
	f.Add(`{"layout":1,"program":"copialettere test","kind":"practice","messages":[{"folder":"message"}]}`, `{"result":"verified","proven":true}`, `[{"identifier":"a","recipients":[]}]`, "Subject: x\r\n\r\ny")
	f.Add(`{"layout":1,"messages":[{"folder":"../x"}]}`, `{}`, `[null]`, "")
	f.Add(`{"layout":2}`, ``, ``, ``)
	f.Fuzz(func(t *testing.T, manifest, report, practices, message string) {
		files := make(fstest.MapFS)
		for name, text := range map[string]string{
			manifestName: manifest, practiceName: practices, "message/" + reportName: report, "message/" + messageName: message, "message/" + envelopeName: report,
			"message/" + digestsName: report, "message/" + proofName: report, "message/" + checkpointName: practices, "message/" + keysName: practices,
			"message/" + stampName: message, "message/" + tsaName: practices, tableName: practices, changesName: message, accessesName: message, sheetName: message, verifyName: message, "message/" + chainName: practices, "message/" + anchorName: practices, sumsName: report,
		} {
			files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o600}
		}
		if good, _ := Verify(t.Context(), files, VerifyOptions{Program: program}, func(Check) {}); good {
			t.Error("good")
		}
	})
}
