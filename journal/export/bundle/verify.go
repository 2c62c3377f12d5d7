package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"copialettere/policy/pec"
	"copialettere/policy/pec/practice"
)

// Limits of what Verify reads: a bundle within them takes at most some 100 MB of memory, whatever it holds.
const (
	maxFiles     = 50_000
	maxTable     = 64 << 20  // bytes of a table or of JSON
	maxUnpacked  = 256 << 20 // bytes of a message in a ZIP, which is unpacked into a temporary file
	maxSumsBytes = 16 << 20
)

// Outcome is how a check ended.
type Outcome string

// The outcomes. Others script against them.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // it cannot be checked, and the bundle does not claim that it can
)

// Check is one check of a bundle. Others script against its names.
type Check struct {
	Outcome Outcome `json:"outcome"`
	What    string  `json:"what"`          // such as "signature of message/message.eml"
	Why     string  `json:"why,omitempty"` // why it failed or was skipped; of a check that is ok, what is to be known of it
}

// ErrNoBundle says that something is no bundle: there is nothing to check.
var ErrNoBundle = errors.New("not an evidence bundle")

// VerifyOptions say what Verify trusts beside what the bundle brings.
type VerifyOptions struct {
	// Anchors are trusted authorities. Nil trusts what the archive trusted, which the bundle says: its checks then say so.
	Anchors []*x509.Certificate
	// Keys are the verifier keys of checkpoints that count. Nil takes those that the bundle brings: its checks then say so.
	Keys []string
	// StampRoots are the root certificates of the time stamping authorities that count. Nil takes those that the bundle brings: its checks then say so.
	StampRoots *x509.CertPool
	// Strict has a check fail where the proof of a message, its checkpoint or a time stamp that can be judged is left out.
	Strict bool
	// Program is this program with its version, as Manifest.Program has it: what the same one has written for people must be as it would write it. Of
	// another one, only digests and commands are compared.
	Program string
	// Temporary is the folder for files that are read several times; empty for that of the system.
	Temporary string
}

// OpenPath opens a bundle: a ZIP, or the folder that it was unpacked into. The caller calls close.
func OpenPath(path string) (files fs.FS, close func() error, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		return os.DirFS(path), func() error { return nil }, nil
	}
	r, err := zip.OpenReader(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: %w", path, ErrNoBundle, err)
	}
	seen := make(map[string]bool)
	for _, f := range r.File {
		if len(seen) > maxFiles || seen[f.Name] || !fs.ValidPath(strings.TrimSuffix(f.Name, "/")) {
			r.Close()
			return nil, nil, fmt.Errorf("%s: %w: the file %.100q is there twice, leads outside, or is one too many", path, ErrNoBundle, f.Name)
		}
		seen[f.Name] = true
	}
	return r, r.Close, nil
}

// verifier checks one bundle.
type verifier struct {
	VerifyOptions
	ctx       context.Context
	files     fs.FS
	manifest  Manifest
	tell      func(Check)
	good      bool
	practices []*practice.Practice // as the bundle says
	made      []pec.Practice       // what the receipts say that were read so far, by the index of practices
	shown     []shown              // what was read of each message
	known     map[string]bool      // the files that the bundle is to have, as far as they were come upon
}

// Verify makes all checks of a bundle, and tells of each. It reports whether none has failed. The error wraps ErrNoBundle where there is nothing to check.
func Verify(ctx context.Context, files fs.FS, o VerifyOptions, tell func(Check)) (good bool, err error) {
	v := &verifier{VerifyOptions: o, ctx: ctx, files: files, tell: tell, good: true, known: make(map[string]bool)}
	b, err := v.read(manifestName, maxTable)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrNoBundle, err)
	}
	if err := json.Unmarshal(b, &v.manifest); err != nil || v.manifest.Layout == 0 {
		return false, fmt.Errorf("%w: %s cannot be read: %w", ErrNoBundle, manifestName, err)
	}
	if v.manifest.Layout != Version {
		return false, fmt.Errorf("%w: layout %d, and this program reads %d: use a newer one", ErrNoBundle, v.manifest.Layout, Version)
	}
	v.sums()
	if len(v.manifest.Messages) == 0 || len(v.manifest.Messages) > maxMessages {
		v.fail("messages", fmt.Sprintf("the bundle lists %d", len(v.manifest.Messages)))
	}
	if v.manifest.Kind == OfPractice {
		v.readPractices()
	}
	for _, m := range v.manifest.Messages {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		v.message(&m)
	}
	v.states()
	v.texts()
	v.others()
	if len(v.manifest.Missing) > 0 {
		v.fail("whole", "the bundle itself says that it lacks "+strings.Join(v.manifest.Missing, ", "))
	}
	return v.good, ctx.Err()
}

func (v *verifier) ok(what, why string) { v.tell(Check{OK, what, why}) }
func (v *verifier) fail(what, why string) {
	v.good = false
	v.tell(Check{Failed, what, printableText(why)})
}
func (v *verifier) skip(what, why string) { v.tell(Check{Skipped, what, printableText(why)}) }

// lacks tells of a check that cannot be made since the bundle lacks what a strict one has.
func (v *verifier) lacks(what, why string) {
	if v.Strict {
		v.fail(what, why)
		return
	}
	v.skip(what, why)
}

// result tells of a check that failed with an error, or is ok.
func (v *verifier) result(what string, err error) {
	if err != nil {
		v.fail(what, err.Error())
		return
	}
	v.ok(what, "")
}

// read reads a file of at most so many bytes.
func (v *verifier) read(name string, most int64) ([]byte, error) {
	f, err := v.files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: over %d bytes", name, most)
	}
	return b, err
}

// readJSON reads a file into a value.
func (v *verifier) readJSON(name string, into any) error {
	b, err := v.read(name, maxTable)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// digest returns the SHA-256 of a file.
func (v *verifier) digest(name string) (string, error) {
	f, err := v.files.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, &interrupted{v.ctx, f}); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// interrupted is a reader that ends with its context.
type interrupted struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (r *interrupted) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// sums checks SHA256SUMS: each file that it names, and that it names all.
func (v *verifier) sums() {
	b, err := v.read(sumsName, maxSumsBytes)
	if err != nil {
		v.fail(sumsName, err.Error())
		return
	}
	named := make(map[string]bool)
	bad := 0
	for line := range strings.Lines(string(b)) {
		digest, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || !fs.ValidPath(name) || named[name] {
			v.fail(sumsName, fmt.Sprintf("the line %.100q cannot be read, or is there twice", line))
			bad++
			continue
		}
		named[name] = true
		got, err := v.digest(name)
		switch {
		case err != nil:
			v.fail("digest of "+name, err.Error())
			bad++
		case got != digest:
			v.fail("digest of "+name, "the file was changed: it has "+got)
			bad++
		}
	}
	err = fs.WalkDir(v.files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !named[name] && name != sumsName {
			v.fail(sumsName, fmt.Sprintf("%.200q does not belong to the bundle", name))
			bad++
		}
		return err
	})
	if err != nil {
		v.fail(sumsName, err.Error())
		bad++
	}
	if bad == 0 {
		v.ok(fmt.Sprintf("%s: %d files", sumsName, len(named)), "")
	}
}

// message checks the files of a message.
func (v *verifier) message(listed *Listed) {
	folder := listed.Folder
	if !fs.ValidPath(folder) || folder == "." {
		v.fail("message", fmt.Sprintf("%.100q is no folder", folder))
		return
	}
	name := folder + "/" + messageName
	body, size, done, err := v.openBody(name)
	if err != nil {
		v.fail(name, err.Error())
		return
	}
	defer done()
	one, err := scan(body, size)
	if err != nil {
		v.fail(name, err.Error())
		return
	}
	v.result("digests of "+name, v.digests(folder, listed, one, body, size))
	for file, i := range one.copies() {
		v.known[folder+"/"+file] = true
		v.result(folder+"/"+file, v.sameContent(folder+"/"+file, content(body, one.table, i)))
	}
	v.signature(folder, one, body)
	v.proof(folder, listed, one, body)
	v.show(listed, one)
	if listed.NotBelieved == "" {
		ids := one.found.Practices()
		for i := range v.made {
			if slices.Contains(ids, v.made[i].Identifier) {
				v.made[i].Apply(one.found)
			}
		}
	}
}

// openBody opens a message for reading at any place: a file as it is, and one in a ZIP as a temporary copy.
func (v *verifier) openBody(name string) (body io.ReaderAt, size int64, done func(), err error) {
	f, err := v.files.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, nil, err
	}
	if at, ok := f.(io.ReaderAt); ok {
		return at, info.Size(), func() { f.Close() }, nil
	}
	defer f.Close()
	if info.Size() > maxUnpacked {
		return nil, 0, nil, fmt.Errorf("%s: over %d bytes: unpack the bundle and check the folder", name, maxUnpacked)
	}
	copied, err := os.CreateTemp(v.Temporary, "copialettere-bundle-")
	if err != nil {
		return nil, 0, nil, err
	}
	done = func() {
		copied.Close()
		os.Remove(copied.Name())
	}
	if size, err = io.Copy(copied, io.LimitReader(&interrupted{v.ctx, f}, maxUnpacked)); err != nil {
		done()
		return nil, 0, nil, err
	}
	return copied, size, done, nil
}

// digests compares what the bundle says of a message with its bytes.
func (v *verifier) digests(folder string, listed *Listed, one *scanned, body io.ReaderAt, size int64) error {
	var envelope Envelope
	if err := v.readJSON(folder+"/"+envelopeName, &envelope); err != nil {
		return err
	}
	var said Digests
	if err := v.readJSON(folder+"/"+digestsName, &said); err != nil {
		return err
	}
	got, err := one.digests(v.ctx, body, size)
	if err != nil {
		return err
	}
	switch {
	case listed.SHA256 != one.sha256 || listed.Size != size:
		return fmt.Errorf("%s has another digest or size: the message is not the one that was journaled", manifestName)
	case envelope.SHA256 != one.sha256 || envelope.Size != size:
		return fmt.Errorf("%s has another digest or size", envelopeName)
	case envelope.Folder != listed.Of || envelope.UID != listed.UID || envelope.Class != listed.Class || envelope.Mailbox != v.manifest.Mailbox:
		return fmt.Errorf("%s and %s name different messages, or of different classes", envelopeName, manifestName)
	case envelope.Header != one.header:
		return fmt.Errorf("%s has another header", envelopeName)
	case said.Message != got.Message:
		return fmt.Errorf("%s has another digest of the message", digestsName)
	case !slices.Equal(said.Parts, got.Parts):
		return fmt.Errorf("%s has other parts: the message has %d, with these digests not all of them", digestsName, len(got.Parts))
	}
	return nil
}

// sameContent returns an error if a file differs from a part.
func (v *verifier) sameContent(name string, part io.Reader) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, part); err != nil {
		return err
	}
	got, err := v.digest(name)
	if err == nil && got != hex.EncodeToString(sum.Sum(nil)) {
		err = errors.New("it is no copy of the part of the message")
	}
	return err
}

// signature verifies the signature of a message anew, and compares that with the report.
func (v *verifier) signature(folder string, one *scanned, body io.ReaderAt) {
	what := "signature of " + folder + "/" + messageName
	var report Report
	var envelope Envelope
	err := v.readJSON(folder+"/"+reportName, &report)
	if err == nil {
		err = v.readJSON(folder+"/"+envelopeName, &envelope)
	}
	if err != nil {
		v.fail(what, err.Error())
		return
	}
	chain, err := v.chain(folder, &report)
	if err != nil {
		v.fail(what, err.Error())
		return
	}
	if !report.Proven || report.Result != pec.ResultVerified && report.Result != pec.ResultWeak {
		v.skip(what, report.NoOpenSSL)
		return
	}
	verify := func(anchors []*x509.Certificate) (pec.Signature, error) {
		s, err := pec.NewVerifier(anchors, nil, pec.WithSHA1Chains()).Verify(v.ctx, body, one.table, one.found.Declared.From, envelope.Time)
		if err == nil && !s.Proven() {
			err = fmt.Errorf("%s: %s", s.Result, s.Reason)
		}
		return s, err
	}
	where := "the authority that the archive trusted: compare it"
	s, err := verify(chain[len(chain)-1:])
	if err == nil && (!s.Moment(envelope.Time).Equal(report.JudgedAt) || !s.SigningTime.Equal(report.SigningTime) || s.Digest != report.Digest || !report.fits(folder, one, &s)) {
		err = errors.New(reportName + " says otherwise")
	}
	if err == nil && v.Anchors != nil {
		where = "the authority that you named"
		s, err = verify(v.Anchors)
	}
	if err != nil {
		v.fail(what, err.Error())
		return
	}
	v.ok(what, fmt.Sprintf("%s, %s, by %s, under %s (%s)", s.Result, s.Digest, subjectOf(s.Chain[0]), subjectOf(s.Chain[len(s.Chain)-1]), where))
}

// chain compares the certificates that the bundle has of a signature with the report, and returns those of one that is proven: its anchor is the last of
// them, and apart.
func (v *verifier) chain(folder string, report *Report) ([]*x509.Certificate, error) {
	if len(report.Chain) == 0 {
		if report.Proven {
			return nil, fmt.Errorf("%s names no certificates", reportName)
		}
		return nil, nil
	}
	text, err := v.read(folder+"/"+chainName, 1<<20)
	if err != nil {
		return nil, err
	}
	// Those of a signature that is not proven may be anything, and need not be certificates that can be read.
	rest := text
	for i := 0; ; i++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil && i == len(report.Chain) {
			break
		}
		if block == nil || i == len(report.Chain) || certificateOf(block.Bytes, false).SHA256 != report.Chain[i].SHA256 {
			return nil, fmt.Errorf("%s has other certificates than %s", chainName, reportName)
		}
	}
	if !report.Proven {
		return nil, nil
	}
	chain, err := pec.ParseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", chainName, err)
	}
	if text, err = v.read(folder+"/"+anchorName, 1<<20); err != nil {
		return nil, err
	}
	anchor, err := pec.ParseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", anchorName, err)
	}
	if len(anchor) != 1 || !anchor[0].Equal(chain[len(chain)-1]) {
		return nil, fmt.Errorf("%s is not the last certificate of %s", anchorName, chainName)
	}
	return chain, nil
}

// fits reports whether a report says what a verification finds under the same authority.
func (r *Report) fits(folder string, one *scanned, s *pec.Signature) bool {
	for i := range r.Chain {
		if i >= len(s.Chain) || !reflect.DeepEqual(r.Chain[i], certificateOf(s.Chain[i], i == len(s.Chain)-1)) {
			return false
		}
	}
	command, why := opensslOf(folder, one.table, r)
	return len(r.Chain) == len(s.Chain) && r.OpenSSL == command && r.NoOpenSSL == why && r.Result == s.Result
}

// subjectOf names a certificate of a chain.
func subjectOf(b []byte) string {
	c := certificateOf(b, false)
	return fmt.Sprintf("%s (SHA-256 %s)", printableText(c.Subject), c.SHA256)
}

// readPractices reads what the bundle says of practices.
func (v *verifier) readPractices() {
	err := v.readJSON(practiceName, &v.practices)
	if n := len(v.practices); err == nil && (n == 0 || n > maxMessages || slices.Contains(v.practices, nil)) {
		err = fmt.Errorf("the bundle has %d practices", n)
	}
	if err != nil {
		v.fail("practice", err.Error())
		v.practices = nil
	}
	for _, p := range v.practices {
		v.made = append(v.made, pec.Practice{Identifier: p.Identifier})
	}
}

// states compares what the bundle says of each recipient with what the receipts say.
func (v *verifier) states() {
	for i, p := range v.practices {
		what := "states of the practice"
		if p.Identifier != "" {
			what += " " + printableText(p.Identifier)
		}
		if len(v.manifest.Missing) > 0 {
			v.skip(what, "the bundle lacks receipts")
			continue
		}
		v.result(what, sameStates(p, &v.made[i]))
	}
}

// sameOutcome reports whether two outcomes say the same.
func sameOutcome(a, b practice.Outcome) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
