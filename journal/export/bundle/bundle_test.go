package bundle

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
	"copialettere/policy/pec/practice"
)

const anna = "anna@alpha.test"

// program has made the bundles of these tests.
const program = "copialettere test"

// mailbox is a Source in memory.
type mailbox struct {
	t         *testing.T
	entries   []*journal.Entry
	bytes     map[journal.Ref][]byte
	verifier  *pec.Verifier
	practices []*practice.Practice
	noted     []string
	noteErr   error
	forbidden bool // the logs
	broken    map[journal.Ref]error
	proofErr  error // journal.ErrNoLog where nil
}

func newMailbox(t *testing.T, v *pec.Verifier) *mailbox {
	return &mailbox{t: t, verifier: v, bytes: make(map[journal.Ref][]byte), broken: make(map[journal.Ref]error)}
}

// add archives a message that arrived at a time.
func (m *mailbox) add(direction journal.Direction, at time.Time, content []byte) *journal.Entry {
	m.t.Helper()
	s := part.NewScanner(part.DefaultLimits())
	s.Write(content)
	table := s.Close()
	header := s.Header()
	e := &journal.Entry{
		Ref:       journal.Ref{Mailbox: anna, Month: "2026-11", Folder: journal.FolderOf(direction), UID: uint32(len(m.entries) + 1)},
		Envelope:  journal.Envelope{MailFrom: "bruno@beta.test", Peer: journal.Peer{Addr: "192.0.2.7", Name: "mx.beta.test"}, QueueID: "4bYx", Transaction: "t1"},
		Direction: direction, Time: at.UTC(), RcptTo: anna, Size: int64(len(content)), SHA256: sha256.Sum256(content), Class: "ordinary", Parts: *table,
		From: part.Value(header, "From"), To: part.Value(header, "To"), Subject: part.Value(header, "Subject"), Date: part.Value(header, "Date"),
		MessageID: part.Value(header, "Message-ID"),
	}
	if direction == journal.Sent {
		e.Recipients, e.RcptTo, e.SentTo = []string{"carlo@beta.test"}, "", "certified"
	}
	r := pec.Record{Message: *pec.Read(bytes.NewReader(content), table, header)}
	if r.Message.Class != pec.Ordinary {
		var err error
		if r.Signature, err = m.verifier.Verify(m.t.Context(), bytes.NewReader(content), table, r.Message.Declared.From, at); err != nil {
			m.t.Fatal(err)
		}
		e.Class, e.Signature = string(r.Message.Class), string(r.Signature.Result)
		if e.Certification, err = r.AppendBinary(nil); err != nil {
			m.t.Fatal(err)
		}
	}
	m.entries = append(m.entries, e)
	m.bytes[e.Ref] = content
	return e
}

// Message implements Source.
func (m *mailbox) Message(_ context.Context, ref journal.Ref) (*journal.Entry, io.ReaderAt, error) {
	if err := m.broken[ref]; err != nil {
		return nil, nil, err
	}
	for _, e := range m.entries {
		if e.Ref == ref {
			return e, bytes.NewReader(m.bytes[ref]), nil
		}
	}
	return nil, nil, journal.ErrNotFound
}

// Practices implements Source.
func (m *mailbox) Practices(_ context.Context, chosen practice.Chosen, _ time.Time) ([]*practice.Practice, error) {
	var list []*practice.Practice
	for _, p := range m.practices {
		if p.Identifier == chosen.Identifier || p.Folder == chosen.Sent.FolderName() && p.UID == chosen.Sent.UID {
			list = append(list, p)
		}
	}
	if list == nil {
		return nil, journal.ErrNotFound
	}
	return list, nil
}

// Note implements Source.
func (m *mailbox) Note(_ context.Context, what string) error {
	m.noted = append(m.noted, what)
	return m.noteErr
}

// Proof implements Source: there is no log. TestBundle of cmd/copialettere has one.
func (m *mailbox) Proof(context.Context, journal.Ref) (*Proof, error) {
	return nil, cmp.Or(m.proofErr, journal.ErrNoLog)
}

// Changes implements Source.
func (m *mailbox) Changes(_ context.Context, refs []journal.Ref, since time.Time) iter.Seq2[archive.Change, error] {
	return func(yield func(archive.Change, error) bool) {
		if m.forbidden {
			yield(archive.Change{}, policy.ErrForbidden)
			return
		}
		yield(archive.Change{Number: 1, Change: policy.Change{Time: since, Who: "operator root", Key: "write", Before: "off", After: "=on"}}, nil)
	}
}

// Accesses implements Source.
func (m *mailbox) Accesses(_ context.Context, since time.Time) iter.Seq2[auth.Access, error] {
	return func(yield func(auth.Access, error) bool) {
		yield(auth.Access{Time: since, Count: 1, Login: anna, Role: policy.RoleOwner, Protocol: auth.ProtocolWeb, Result: auth.ResultOK}, nil)
	}
}

// options are those of a bundle of an entry.
func (m *mailbox) options(e *journal.Entry, whole bool) Options {
	return Options{Source: m, Mailbox: anna, Ref: e.Ref, Practice: whole, Program: "test", Now: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC), Zone: time.UTC}
}

// bundle returns the ZIP of a bundle.
func (m *mailbox) bundle(e *journal.Entry, whole bool) []byte {
	m.t.Helper()
	b, err := Open(m.t.Context(), m.options(e, whole))
	if err != nil {
		m.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Write(m.t.Context(), &out); err != nil {
		m.t.Fatal(err)
	}
	return out.Bytes()
}

// unpack unpacks a ZIP into a new folder.
func unpack(t *testing.T, b []byte) string {
	t.Helper()
	dir := t.TempDir()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err == nil {
		err = os.CopyFS(dir, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// checks returns what Verify tells of a folder, in lines.
func checks(t *testing.T, dir string, o VerifyOptions) (good bool, lines []string) {
	t.Helper()
	o.Program = program
	good, err := Verify(t.Context(), os.DirFS(dir), o, func(c Check) { lines = append(lines, fmt.Sprintf("%s %s: %s", c.Outcome, c.What, c.Why)) })
	if err != nil {
		t.Fatal(err)
	}
	return good, lines
}

// commands runs the commands of VERIFY.txt but for those of this program, and returns how many were OpenSSL's.
func commands(t *testing.T, dir string) (openssl int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, verifyName))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for line := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !ok || strings.HasPrefix(command, "copialettere ") {
			continue
		}
		c := exec.CommandContext(t.Context(), "sh", "-c", command)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil || strings.Contains(command, "openssl cms") && !strings.Contains(string(out), "CMS Verification successful") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		if ran++; strings.Contains(command, "openssl") {
			openssl++
		}
	}
	if ran == 0 {
		t.Errorf("no command:\n%s", text)
	}
	return openssl
}

// office returns a mailbox with a practice: a sent message with its acceptance and a delivery receipt, and the messages in this order.
func office(t *testing.T, shape pectest.Shape) (*mailbox, *pectest.Chain) {
	o := pectest.NewOffice(shape, shape)
	trusted, err := pec.ParseBundle(o.Authority.PEM())
	if err != nil {
		t.Fatal(err)
	}
	m := newMailbox(t, pec.NewVerifier(trusted, nil))
	c := o.Send(pectest.Mail{From: anna, To: []string{"carlo@beta.test"}, Subject: `<script>alert("1")</script> perché`, MessageID: "auto", Text: "Testo.\n",
		Attachments: []pectest.Attachment{{Name: "offerta.pdf", Type: "application/pdf", Content: []byte("%PDF-1.4")}}}, "")
	sent := m.add(journal.Sent, c.Time, c.Original)
	taken := m.add(journal.Received, c.Time.Add(time.Second), c.Acceptance)
	delivered := m.add(journal.Received, c.Time.Add(2*time.Minute), c.Deliveries[0].Message)
	made := pec.Practice{Identifier: c.Identifier}
	for _, e := range m.entries[1:] {
		var r pec.Record
		if err := r.UnmarshalBinary(e.Certification); err != nil {
			t.Fatal(err)
		}
		made.Apply(&r.Message)
	}
	var outcomes []practice.Outcome
	for key, o := range made.States {
		outcomes = append(outcomes, practice.OutcomeOf(key.Recipient, o))
	}
	receipt := func(e *journal.Entry) practice.Receipt {
		return practice.Receipt{Class: e.Class, Folder: e.FolderName(), UID: e.UID, Time: e.Time}
	}
	m.practices = []*practice.Practice{{
		Mailbox: anna, Identifier: c.Identifier, Subject: c.Mail.Subject, Folder: sent.FolderName(), UID: sent.UID, Time: &sent.Time,
		Recipients: outcomes,
		Receipts:   []practice.Receipt{receipt(taken), receipt(delivered)},
	}}
	return m, c
}

// TestBundle makes bundles, runs the commands that they tell, and checks them.
func TestBundle(t *testing.T) {
	for _, shape := range pectest.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			m, c := office(t, shape)
			envelope := m.add(journal.Received, c.Time.Add(time.Minute), c.Envelope)
			plain := m.add(journal.Received, c.Time, []byte("Subject: x\r\n\r\nText\r\n"))
			for name, one := range map[string]struct {
				of      *journal.Entry
				whole   bool
				openssl int
				folders []string
			}{
				"ordinary":              {plain, false, 0, []string{"message"}},
				"sent":                  {m.entries[0], false, 0, []string{"message"}},
				"envelope":              {envelope, false, 1, []string{"message"}},
				"practice":              {m.entries[0], true, 2, []string{"sent", "receipts/01-accettazione", "receipts/02-avvenuta-consegna"}},
				"practice of a receipt": {m.entries[2], true, 2, []string{"sent", "receipts/01-accettazione", "receipts/02-avvenuta-consegna"}},
			} {
				t.Run(name, func(t *testing.T) {
					dir := unpack(t, m.bundle(one.of, one.whole))
					if got := commands(t, dir); got != one.openssl {
						t.Errorf("%d commands of OpenSSL, want %d", got, one.openssl)
					}
					if good, lines := checks(t, dir, VerifyOptions{}); !good || strings.Count(strings.Join(lines, "\n"), "ok signature of ") != one.openssl {
						t.Errorf("checks: %s", strings.Join(lines, "\n"))
					}
					for _, folder := range one.folders {
						b, err := os.ReadFile(filepath.Join(dir, folder, messageName))
						if err != nil || !slices.ContainsFunc(m.entries, func(e *journal.Entry) bool { return bytes.Equal(m.bytes[e.Ref], b) }) {
							t.Errorf("%s: %v", folder, err)
						}
					}
				})
			}
			if want := fmt.Sprintf("practice:%d folder:Sent/2026-11", m.entries[0].UID); !slices.Contains(m.noted, want) {
				t.Errorf("noted %q, want %q", m.noted, want)
			}
		})
	}
}

// TestContents looks at what is in a bundle of a practice.
func TestContents(t *testing.T) {
	m, c := office(t, pectest.Shapes()[0])
	dir := unpack(t, m.bundle(m.entries[0], true))
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	receipt := "receipts/02-avvenuta-consegna/"
	if got := read(receipt + postacertName); got != string(c.Rewritten) {
		t.Errorf("postacert.eml: %q", got)
	}
	for name, want := range map[string]string{
		receipt + daticertName: "<identificativo>" + c.Identifier + "</identificativo>",
		receipt + reportName:   `"result": "verified"`,
		receipt + envelopeName: `"peer_addr": "192.0.2.7"`,
		receipt + digestsName:  `"name": "offerta.pdf"`,
		receipt + anchorName:   "BEGIN CERTIFICATE",
		tableName:              c.Identifier + ",carlo@beta.test,certificato,delivered,",
		changesName:            ",operator root,write,off,'=on",
		accessesName:           ",1,anna@alpha.test,owner,web,",
		sheetName:              "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; perché",
	} {
		if got := read(name); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q:\n%s", name, want, got)
		}
	}
	if sheet := read(sheetName); strings.Contains(sheet, "<script") || strings.Contains(sheet, "http://") || strings.Contains(sheet, "https://") {
		t.Errorf("the sheet names a resource:\n%s", sheet)
	}
}

// TestSheetPrints prints the sheet to PDF, as a person does.
func TestSheetPrints(t *testing.T) {
	m, _ := office(t, pectest.Shapes()[0])
	dir := unpack(t, m.bundle(m.entries[0], true))
	pdf := filepath.Join(dir, "scheda.pdf")
	profile, err := os.MkdirTemp("", "copialettere-chromium")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile) // its processes may still write there
	c := exec.CommandContext(t.Context(), "chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+profile, "--host-resolver-rules=MAP * ~NOTFOUND",
		"--no-pdf-header-footer", "--print-to-pdf="+pdf, filepath.Join(dir, sheetName))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(pdf)
	if err != nil || !bytes.HasPrefix(b, []byte("%PDF-")) || !bytes.Contains(b, []byte("%%EOF")) || !bytes.Contains(b, []byte("/Type /Page")) {
		t.Errorf("%v, %d bytes: %.20q", err, len(b), b)
	}
}

// TestForms verifies signatures of forms that OpenSSL reads only with help, or not by its defaults.
func TestForms(t *testing.T) {
	o := pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[0])
	trusted, err := pec.ParseBundle(o.Authority.PEM())
	if err != nil {
		t.Fatal(err)
	}
	c := o.Send(pectest.Mail{From: "bruno@beta.test", To: []string{anna}, Subject: "x", Text: "y\n"}, "")
	below := func(a *pectest.Authority, edit func(*x509.Certificate)) []byte {
		sub := a.Subordinate("Autorità intermedia", edit)
		id := sub.Issue(o.Sender.Address(), "ALPHA", o.Sender.Identity.Key, nil)
		id.Extra = []*x509.Certificate{sub.Certificate}
		return c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Identity: id}})
	}
	old := pectest.NewAuthority()
	old.SHA1 = true
	for name, one := range map[string]struct {
		content []byte
		help    bool // the parts are given to OpenSSL
	}{
		"as sent":              {c.Envelope, false},
		"a comment":            {bytes.Replace(c.Envelope, []byte("multipart/signed;"), []byte("multipart/signed (S/MIME);"), 1), true},
		"continued boundary":   {bytes.Replace(c.Envelope, []byte(`boundary="----3F1A5C7E9B2D4F60"`), []byte(`boundary*0="----3F1A5C7E"; boundary*1="9B2D4F60"`), 1), true},
		"SHA-1":                {c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Digest: crypto.SHA1}}), false},
		"authority in between": {below(o.Authority, nil), false},
		"chain with SHA-1":     {below(old, nil), false},
		"lines that end in LF": {bytes.ReplaceAll(c.Envelope, []byte("\r\n"), []byte("\n")), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMailbox(t, pec.NewVerifier(trusted, nil, pec.WithSHA1Chains()))
			e := m.add(journal.Received, c.Time, one.content)
			dir := unpack(t, m.bundle(e, false))
			text, err := os.ReadFile(filepath.Join(dir, verifyName))
			if err != nil || strings.Contains(string(text), "tail -c") != one.help {
				t.Errorf("help %v, want %v: %s", !one.help, one.help, text)
			}
			want := map[bool]string{true: "weak", false: "verified"}[name == "chain with SHA-1"]
			if e.Signature != want {
				t.Errorf("signature %s, want %s", e.Signature, want)
			}
			if got := commands(t, dir); got != 1 {
				t.Errorf("%d commands of OpenSSL: %s", got, text)
			}
			if good, lines := checks(t, dir, VerifyOptions{}); !good {
				t.Error(strings.Join(lines, "\n"))
			}
		})
	}
}

// TestChanged changes files of a bundle: each file by one byte, and what can be found in other ways also with SHA256SUMS made anew, as somebody who
// changes a message would.
func TestChanged(t *testing.T) {
	m, _ := office(t, pectest.Shapes()[0])
	whole := m.bundle(m.entries[0], true)
	dir := unpack(t, whole)
	r, err := zip.NewReader(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found := func() bool {
		good, err := Verify(t.Context(), os.DirFS(dir), VerifyOptions{}, func(Check) {})
		return err != nil || !good
	}
	for _, f := range r.File {
		before := read(f.Name)
		after := bytes.Clone(before)
		after[len(after)/2] ^= 1
		if write(f.Name, after); !found() {
			t.Errorf("%s: a byte that was changed is not found", f.Name)
		}
		write(f.Name, before)
	}
	sums := read(sumsName)
	const receipt = "receipts/02-avvenuta-consegna/"
	for name, one := range map[string]struct{ file, old, new string }{
		"the text of a message":      {receipt + messageName, "Testo", "Altro"},
		"the message that was sent":  {"sent/" + messageName, "Testo", "Altro"},
		"a digest":                   {"sent/" + digestsName, `"size": 8`, `"size": 9`},
		"a digest of the list":       {manifestName, `"size": `, `"size": 1`},
		"the subject in an envelope": {"sent/" + envelopeName, "alert", "Alert"},
		"a copy":                     {receipt + daticertName, "avvenuta-consegna", "errore-consegna"},
		"another copy":               {receipt + postacertName, "Testo", "Altro"},
		"the result":                 {receipt + reportName, `"result": "verified"`, `"result": "weak"`},
		"the time of judgement":      {receipt + reportName, `"judged_at": "2026-11-03T09:12:12Z"`, `"judged_at": "2026-11-03T09:12:13Z"`},
		"a name in the chain":        {receipt + reportName, `"subject": "`, `"subject": "x`},
		"a state":                    {practiceName, `"status": "delivered"`, `"status": "accepted"`},
		"a time":                     {practiceName, `"delivered": "2026-11-03T09:12`, `"delivered": "2026-11-03T09:13`},
		"a recipient":                {practiceName, `"address": "carlo@`, `"address": "carla@`},
		"the class":                  {manifestName, `"class": "avvenuta-consegna"`, `"class": "accettazione"`},
		"a certificate of the chain": {receipt + chainName, "", string(pectest.NewRogue().PEM())},
		"the chain, its end":         {receipt + chainName, "-----BEGIN CERTIFICATE-----", string(pectest.NewRogue().PEM()) + "-----BEGIN CERTIFICATE-----"},
		"the anchor":                 {receipt + anchorName, "", string(pectest.NewRogue().PEM())},
	} {
		before := read(one.file)
		after := []byte(one.new)
		if one.old != "" {
			after = bytes.Replace(before, []byte(one.old), []byte(one.new), 1)
		}
		if bytes.Equal(after, before) {
			t.Errorf("%s: %s has no %q:\n%s", name, one.file, one.old, before)
		}
		write(one.file, after)
		write(sumsName, bytes.Replace(sums, fmt.Appendf(nil, "%x", sha256.Sum256(before)), fmt.Appendf(nil, "%x", sha256.Sum256(after)), 1))
		if !found() {
			t.Errorf("%s: not found", name)
		}
		write(one.file, before)
		write(sumsName, sums)
	}
	if good, lines := checks(t, dir, VerifyOptions{}); !good {
		t.Errorf("as it was: %q", lines)
	}
	write("more", nil)
	if !found() {
		t.Error("a file more is not found")
	}
}

// TestAnchors trusts an authority of one's own choice.
func TestAnchors(t *testing.T) {
	m, _ := office(t, pectest.Shapes()[0])
	dir := unpack(t, m.bundle(m.entries[2], false))
	for name, one := range map[string]struct {
		authority *pectest.Authority
		good      bool
	}{"the right one": {pectest.NewAuthority(), true}, "another one": {pectest.NewRogue(), false}} {
		trusted, err := pec.ParseBundle(one.authority.PEM())
		if err != nil {
			t.Fatal(err)
		}
		if good, lines := checks(t, dir, VerifyOptions{Anchors: trusted}); good != one.good {
			t.Errorf("%s: %s", name, strings.Join(lines, "\n"))
		}
	}
}

// TestMissing makes bundles where something cannot be read, or may not be seen.
func TestMissing(t *testing.T) {
	t.Run("a receipt", func(t *testing.T) {
		m, _ := office(t, pectest.Shapes()[0])
		m.broken[m.entries[1].Ref] = fmt.Errorf("chunk: %w", journal.ErrDamaged)
		dir := unpack(t, m.bundle(m.entries[0], true))
		if b, err := os.ReadFile(filepath.Join(dir, incompleteName)); err != nil || !strings.Contains(string(b), "INBOX/2026-11 2 (receipts/01-accettazione)") {
			t.Errorf("%s, %v", b, err)
		}
		if good, lines := checks(t, dir, VerifyOptions{}); good {
			t.Errorf("good: %q", lines)
		}
	})
	t.Run("the message", func(t *testing.T) {
		m, _ := office(t, pectest.Shapes()[0])
		m.bytes[m.entries[0].Ref] = append(bytes.Clone(m.bytes[m.entries[0].Ref]), "changed"...)
		m.entries[0].Size += 7
		if _, err := Open(t.Context(), m.options(m.entries[0], false)); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("error %v", err)
		}
		if m.noted != nil {
			t.Errorf("noted %q", m.noted)
		}
	})
	t.Run("no practice", func(t *testing.T) {
		m, _ := office(t, pectest.Shapes()[0])
		m.practices = nil
		if _, err := Open(t.Context(), m.options(m.entries[0], true)); !errors.Is(err, ErrNoPractice) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("the record", func(t *testing.T) {
		m, _ := office(t, pectest.Shapes()[0])
		m.noteErr = policy.ErrForbidden
		if _, err := Open(t.Context(), m.options(m.entries[0], false)); !errors.Is(err, policy.ErrForbidden) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("the logs", func(t *testing.T) {
		m, _ := office(t, pectest.Shapes()[0])
		m.forbidden = true
		dir := unpack(t, m.bundle(m.entries[0], false))
		if _, err := os.Stat(filepath.Join(dir, "log")); !os.IsNotExist(err) {
			t.Errorf("log: %v", err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, sheetName)); err != nil || !strings.Contains(string(b), "non contiene l'estratto dei registri") {
			t.Errorf("sheet: %v", err)
		}
		if good, lines := checks(t, dir, VerifyOptions{}); !good {
			t.Errorf("%q", lines)
		}
	})
}

// failing fails after so many bytes.
type failing struct{ left int }

var errFull = errors.New("no space left")

// Write implements io.Writer.
func (f *failing) Write(b []byte) (int, error) {
	if len(b) > f.left {
		n := f.left
		f.left = 0
		return n, errFull
	}
	f.left -= len(b)
	return len(b), nil
}

// TestFaults lets the writing of a bundle fail at many places: each fault comes back, and what there is then is no bundle.
func TestFaults(t *testing.T) {
	m, _ := office(t, pectest.Shapes()[0])
	size := len(m.bundle(m.entries[0], true))
	for at := 0; at < size; at += 1 + size/97 {
		b, err := Open(t.Context(), m.options(m.entries[0], true))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Write(t.Context(), &failing{at}); !errors.Is(err, errFull) {
			t.Errorf("fault at %d of %d: %v", at, size, err)
		}
	}
}
