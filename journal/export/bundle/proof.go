package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/evidence"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// The names of files in the folder of a message that prove that it was in the archive.
const (
	proofName      = "evidence/proof.json"        // an evidence.Proof
	checkpointName = "evidence/checkpoint.txt"    // the signed note in it
	stampName      = "evidence/checkpoint.tsr"    // the answer of a time stamping authority about that file (RFC 3161), DER; absent where there is none
	tsaName        = "evidence/tsa.pem"           // the root certificates of that authority, PEM; absent where the archive knows none that made the stamp
	keysName       = "evidence/verifier-keys.txt" // the verifier keys of the archive, one a line
)

// Proof shows that a message was in the archive when a checkpoint was made.
type Proof struct {
	*journal.Proof
	Keys []string // verifier keys of the archive
	// Authority has the root certificates of the time stamping authority, PEM; nil where the archive knows none. AuthorityError says why they cannot be
	// read: a bundle does without.
	Authority      []byte
	AuthorityError error
}

// ParseStampRoots reads root certificates of time stamping authorities, PEM, as VerifyOptions has them.
func ParseStampRoots(text []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in PEM")
	}
	return roots, nil
}

// proofOf adds the proof of a message to its folder. It returns nil, and why, where there is none.
func (w *writer) proofOf(folder string, m *message) (*Proof, string, error) {
	p, err := w.Source.Proof(w.ctx, m.entry.Ref)
	switch {
	case errors.Is(err, journal.ErrNoLog):
		return nil, "the message is from before the archive kept logs", nil
	case errors.Is(err, journal.ErrNoCheckpoint):
		return nil, "no checkpoint has been made since the message came; one is made every day", nil
	case err != nil:
		return nil, "", fmt.Errorf("proof of %s %d: %w", m.entry.FolderName(), m.entry.UID, err)
	}
	logged, err := journal.ParseEntry(m.entry.Ref, p.Entry)
	if err != nil {
		return nil, "", err
	}
	logged.State = m.entry.State
	// Recipients may have been added to a sent message since it was read.
	if name, err := differing(m.envelope, envelopeOf(logged, m.scanned)); err != nil || name != "" {
		return nil, "its entry has changed while the bundle was made: make the bundle again", err
	}
	if err := w.addJSON(folder+"/"+proofName, p.Proof.Proof); err != nil {
		return nil, "", err
	}
	if err := w.addBytes(folder+"/"+checkpointName, []byte(p.Note)); err != nil {
		return nil, "", err
	}
	if len(p.Checkpoint.Stamp) > 0 {
		if err := w.addBytes(folder+"/"+stampName, p.Checkpoint.Stamp); err != nil {
			return nil, "", err
		}
		if err := w.addAuthority(folder, p); err != nil {
			return nil, "", err
		}
	}
	return p, "", w.addBytes(folder+"/"+keysName, []byte(strings.Join(p.Keys, "\n")+"\n"))
}

// addAuthority adds the certificates of the authority that stamped a checkpoint, where they are its: the archive may know another one by now. Else it
// takes them away from the proof.
func (w *writer) addAuthority(folder string, p *Proof) error {
	err := p.AuthorityError
	if err == nil && p.Authority != nil {
		var roots *x509.CertPool
		if roots, err = ParseStampRoots(p.Authority); err == nil {
			_, err = evidence.CheckStamp(p.Checkpoint.Stamp, sha256.Sum256([]byte(p.Note)), roots)
		}
	}
	if err != nil {
		w.Logger.Error("a bundle has no certificates of the time stamping authority", "mailbox", w.Mailbox, "checkpoint", p.Checkpoint.Number, "error", err)
		p.Authority = nil
	}
	if p.Authority == nil {
		return nil
	}
	return w.addBytes(folder+"/"+tsaName, p.Authority)
}

// proofText tells how to check the proofs.
func (w *writer) proofText(line func(format string, args ...any)) {
	line("3. The log of the archive: that a message was in it when a signed checkpoint was made. \"copialettere verify-bundle\" checks it; compare the key in")
	line("   %s with the one that the provider publishes, or name that with -key.", keysName)
	line("   Il registro dell'archivio: che un messaggio vi era quando è stato firmato un checkpoint. Lo verifica \"copialettere verify-bundle\".")
	for _, s := range w.shown {
		if s.Proof == nil {
			line("   No proof for %s/%s: %s.", s.Folder, messageName, s.NoProof)
			continue
		}
		w.stampText(line, &s)
	}
}

// stampText tells how to check the time of a checkpoint. -attime is needed since the certificates of an authority end; -partial_chain, since what the
// operator trusts may be an authority below the root.
func (w *writer) stampText(line func(format string, args ...any), s *shown) {
	c := s.Proof.Checkpoint
	if len(c.Stamp) == 0 {
		line("   No authority has stamped the time of the checkpoint of %s/%s: its time is that of the clock of the archive.", s.Folder, messageName)
		return
	}
	stamp, err := evidence.ReadStamp(c.Stamp)
	if err != nil {
		line("   The time stamp of the checkpoint of %s/%s cannot be read.", s.Folder, messageName)
		return
	}
	ca := s.Folder + "/" + tsaName
	if s.Proof.Authority == nil {
		ca = "tsa.pem"
		line("   The time of the checkpoint of %s/%s was stamped by an authority whose root certificates are not in this bundle.", s.Folder, messageName)
		line("   Get them from it, put them into tsa.pem outside this folder, and run there, with the path of this folder before the names:")
	} else {
		line("   The time of the checkpoint of %s/%s was stamped by an authority: the command must say \"Verification: OK\".", s.Folder, messageName)
		line("   L'ora del checkpoint è marcata da un'autorità: il comando deve rispondere \"Verification: OK\".")
		line("   Compare %s with the certificates that the authority publishes. Confrontarlo con i certificati che l'autorità pubblica.", ca)
	}
	command := fmt.Sprintf("openssl ts -verify -data %[1]s/%[2]s -in %[1]s/%[3]s -CAfile %[4]s -partial_chain -attime %[5]d", s.Folder, checkpointName, stampName, ca, stamp.Time.Unix())
	if s.Proof.Authority == nil {
		line("   %s", command)
		return
	}
	line("")
	line("    %s", command)
	line("")
}

// proof checks the proof of a message, where the bundle has one.
func (v *verifier) proof(folder string, listed *Listed, one *scanned, body io.ReaderAt) {
	what := "log of the archive: " + folder + "/" + messageName
	var p Proof
	p.Proof = new(journal.Proof)
	b, err := v.read(folder+"/"+proofName, maxTable)
	if errors.Is(err, fs.ErrNotExist) {
		v.skip(what, "the bundle has no proof of it")
		return
	}
	if err == nil {
		err = json.Unmarshal(b, &p.Proof.Proof)
	}
	keys, where := v.Keys, "a key that you named"
	if err == nil && keys == nil {
		where = "a key that the bundle brings: compare it"
		var text []byte
		text, err = v.read(folder+"/"+keysName, 1<<20)
		keys = strings.Fields(string(text))
	}
	var note []byte
	if err == nil {
		if note, err = v.read(folder+"/"+checkpointName, 1<<20); err == nil && string(note) != p.Note {
			err = fmt.Errorf("%s is not the note of the proof", checkpointName)
		}
	}
	var message evidence.Hash
	if sum, bad := hex.DecodeString(one.sha256); err == nil && bad == nil {
		copy(message[:], sum)
	}
	if err != nil {
		v.fail(what, err.Error())
		return
	}
	proved, err := p.Proof.Check(message, keys)
	switch {
	case err != nil:
		v.fail(what, err.Error())
	case proved.Leaf.Folder+"/"+proved.Month != listed.Of || proved.Leaf.UID != listed.UID:
		v.fail(what, printableText(fmt.Sprintf("the proof is of %s/%s %d", proved.Leaf.Folder, proved.Month, proved.Leaf.UID)))
	default:
		// An archive keeps its first name in its logs, whatever address leads to it now.
		v.ok(what, printableText(fmt.Sprintf("there in the archive of %s at checkpoint %d of %s, of %s, signed by %s", proved.Mailbox, proved.Number, proved.Since.UTC().Format("2006-01-02T15:04:05Z"), proved.Note.Origin, where)))
	}
	if err == nil {
		v.result("envelope and report: "+folder, v.asLogged(folder, p.Entry, &proved, one, body))
	}
	v.stamp(folder, note)
}

// asLogged returns an error if the envelope or the report of a message is not what the entry in the log says. The state is in no log, and the archive of a
// mailbox may have been made under another address.
func (v *verifier) asLogged(folder string, stored []byte, proved *evidence.Proved, one *scanned, body io.ReaderAt) error {
	ref := journal.Ref{Mailbox: proved.Mailbox, Month: kv.Month(proved.Month), Folder: proved.Leaf.Folder, UID: proved.Leaf.UID}
	e, err := journal.ParseEntry(ref, stored)
	if err != nil {
		return fmt.Errorf("the entry of the log: %w", err)
	}
	m := &message{entry: e, body: body, scanned: one, envelope: envelopeOf(e, one)}
	if err := m.readRecord(); err != nil {
		return fmt.Errorf("the entry of the log: %w", err)
	}
	var envelope Envelope
	if err := v.readJSON(folder+"/"+envelopeName, &envelope); err != nil {
		return err
	}
	m.envelope.Mailbox, m.envelope.State = envelope.Mailbox, envelope.State
	if name, err := differing(&envelope, m.envelope); err != nil || name != "" {
		return errors.Join(err, fmt.Errorf("%s: %s is not as the log has it", envelopeName, name))
	}
	var said Report
	if err := v.readJSON(folder+"/"+reportName, &said); err != nil {
		return err
	}
	logged, _ := reportOf(folder, m)
	for _, r := range []*Report{&said, logged} { // wording, which may change from one program to the next
		r.Words, r.OpenSSL, r.NoOpenSSL = policy.Label{}, "", ""
	}
	if name, err := differing(&said, logged); err != nil || name != "" {
		return errors.Join(err, fmt.Errorf("%s: %s is not as the log has it", reportName, name))
	}
	return nil
}

// differing returns the first name, in the order of the alphabet, that two values do not have alike as JSON; empty for none.
func differing(a, b any) (string, error) {
	var fields [2]map[string]json.RawMessage
	for i, v := range []any{a, b} {
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &fields[i])
		}
		if err != nil {
			return "", err
		}
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(fields[0])), maps.Keys(fields[1]))
	slices.Sort(names)
	for _, name := range names {
		if !bytes.Equal(fields[0][name], fields[1][name]) {
			return name, nil
		}
	}
	return "", nil
}

// stamp checks the time stamp of a checkpoint, where there is one.
func (v *verifier) stamp(folder string, note []byte) {
	what := "time stamp of " + folder + "/" + checkpointName
	der, err := v.read(folder+"/"+stampName, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		v.skip(what, "there is none: the time of the checkpoint is that of the clock of the archive")
		return
	}
	var s evidence.Stamp
	var roots *x509.CertPool
	var who string
	if err == nil {
		if roots, who, err = v.stampRoots(folder); err == nil {
			s, err = evidence.CheckStamp(der, sha256.Sum256(note), roots)
		}
	}
	if err != nil {
		v.fail(what, err.Error())
		return
	}
	v.ok(what, printableText(fmt.Sprintf("%s, by %s: %s", s.Time.Format("2006-01-02T15:04:05Z"), s.Signer, who)))
}

// stampRoots returns by which certificates the authority of a time stamp is judged, and how to tell that; nil where there are none.
func (v *verifier) stampRoots(folder string) (roots *x509.CertPool, who string, err error) {
	if v.StampRoots != nil {
		return v.StampRoots, "an authority that you named", nil
	}
	text, err := v.read(folder+"/"+tsaName, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "who that is was not judged, since the bundle has no certificates of the authority: name them with -tsa", nil
	}
	if err == nil {
		roots, err = ParseStampRoots(text)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", tsaName, err)
	}
	return roots, "an authority by the certificates that the bundle brings: compare them, or name yours with -tsa", nil
}

// Proof implements Source.
func (s *archived) Proof(ctx context.Context, ref journal.Ref) (*Proof, error) {
	ref.Mailbox = s.mailbox.String()
	p, err := s.prover.Prove(ctx, ref)
	if err != nil {
		return nil, err
	}
	proof := &Proof{Proof: p}
	if len(p.Checkpoint.Stamp) > 0 {
		proof.Authority, proof.AuthorityError = s.archive.StampCA()
	}
	proof.Keys, err = s.archive.VerifierKeys()
	return proof, err
}
