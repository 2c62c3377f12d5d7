package bundle

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"copialettere/journal"
	"copialettere/journal/evidence"
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
func (v *verifier) proof(folder string, listed *Listed, digest string) {
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
	if sum, bad := hex.DecodeString(digest); err == nil && bad == nil {
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
	v.stamp(folder, note)
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
	p, err := s.archive.Prove(ctx, s.who, ref)
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
