package bundle

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"copialettere/journal"
	"copialettere/journal/evidence"
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
	// Keys are the verifier keys of the archive. KeysError says why they cannot be read: a bundle does without.
	Keys      []string
	KeysError error
	// Authority has the root certificates of the time stamping authority, PEM; nil where the archive knows none. AuthorityError says why they cannot be
	// read: a bundle does without.
	Authority      []byte
	AuthorityError error
}

// Later returns the number of the checkpoint whose note the proof has, where that is a later one than the checkpoint that it proves; else 0.
func (p *Proof) Later() int64 {
	if n, err := evidence.Unsigned([]byte(p.Note)); err == nil && n.Size-1 > p.Checkpoint.Number {
		return n.Size - 1
	}
	return 0
}

// ParseStampRoots reads root certificates of time stamping authorities, PEM, as VerifyOptions has them.
func ParseStampRoots(text []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in PEM")
	}
	return roots, nil
}

// Why a message has no proof.
var (
	beforeLogs = policy.Label{Italian: "il messaggio è di prima che l'archivio tenesse i registri", English: "the message is from before the archive kept logs"}
	notYet     = policy.Label{
		Italian: "dall'arrivo del messaggio non è stato fatto alcun checkpoint; se ne fa uno al giorno",
		English: "no checkpoint has been made since the message came; one is made every day",
	}
	unreadable = policy.Label{Italian: "il registro dell'archivio non si è potuto leggere; il gestore è avvisato", English: "the log of the archive could not be read; the operator is told"}
	changed    = policy.Label{
		Italian: "il messaggio è stato cambiato mentre il pacchetto veniva fatto: fare di nuovo il pacchetto",
		English: "its entry has changed while the bundle was made: make the bundle again",
	}
	noProofs = []policy.Label{beforeLogs, notYet, unreadable, changed}
)

// noProofOf returns the words for why there is no proof, by the English ones, which bundle.json has.
func noProofOf(english string) policy.Label {
	for _, l := range noProofs {
		if l.English == english {
			return l
		}
	}
	return policy.Label{Italian: english, English: english}
}

// prove makes the proof of a message. Without one it says why: what is wrong with a log is no reason to withhold the message.
func (w *writer) prove(m *message) (*Proof, policy.Label, error) {
	p, err := w.Source.Proof(w.ctx, m.entry.Ref)
	var logged *journal.Entry
	if err == nil {
		logged, err = journal.ParseEntry(m.entry.Ref, p.Entry)
	}
	if err == nil && len(p.Keys) > 0 {
		// A note that is signed with another key may still be checked with that one.
		var signed *evidence.SignedError
		if _, failed := p.Check(evidence.Hash(m.entry.SHA256), p.Keys); !errors.As(failed, &signed) {
			err = failed
		}
	}
	var differs string
	if err == nil {
		logged.State = m.entry.State
		// Recipients may have been added to a sent message since it was read.
		differs, err = differing(m.envelope, envelopeOf(logged, m.scanned))
	}
	switch {
	case w.ctx.Err() != nil:
		return nil, policy.Label{}, w.ctx.Err()
	case errors.Is(err, policy.ErrForbidden):
		return nil, policy.Label{}, err
	case errors.Is(err, journal.ErrNoLog):
		return nil, beforeLogs, nil
	case errors.Is(err, journal.ErrNoCheckpoint):
		return nil, notYet, nil
	case errors.Is(err, journal.ErrNotFound), err == nil && differs != "":
		return nil, changed, nil
	case err != nil:
		w.Logger.Error("a bundle has no proof of a message", "mailbox", w.Mailbox, "folder", m.entry.FolderName(), "uid", m.entry.UID, "error", err)
		return nil, unreadable, nil
	}
	return p, policy.Label{}, nil
}

// proofOf adds the proof of a message to its folder. It returns nil, and why, where there is none.
func (w *writer) proofOf(folder string, m *message) (*Proof, policy.Label, error) {
	p, why, err := w.prove(m)
	if why == unreadable {
		w.manifest.Missing = append(w.manifest.Missing, folder+"/evidence: the log of the archive cannot be read")
	}
	if p == nil {
		return nil, why, err
	}
	err = w.addJSON(folder+"/"+proofName, p.Proof.Proof)
	if err == nil {
		err = w.addBytes(folder+"/"+checkpointName, []byte(p.Note))
	}
	if err == nil && len(p.Stamp) > 0 {
		if err = w.addBytes(folder+"/"+stampName, p.Stamp); err == nil {
			err = w.addAuthority(folder, p)
		}
	}
	if p.KeysError != nil {
		w.Logger.Error("a bundle has no verifier keys", "mailbox", w.Mailbox, "error", p.KeysError)
	}
	if err == nil && len(p.Keys) > 0 {
		err = w.addBytes(folder+"/"+keysName, []byte(strings.Join(p.Keys, "\n")+"\n"))
	}
	return p, why, err
}

// addAuthority adds the certificates of the authority that stamped a checkpoint, where they are its: the archive may know another one by now. Else it
// takes them away from the proof.
func (w *writer) addAuthority(folder string, p *Proof) error {
	err := p.AuthorityError
	if err == nil && p.Authority != nil {
		var roots *x509.CertPool
		if roots, err = ParseStampRoots(p.Authority); err == nil {
			_, err = evidence.CheckStamp(p.Stamp, sha256.Sum256([]byte(p.Note)), roots)
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
			line("   No proof for %s/%s: %s.", s.Folder, messageName, s.NoProof.English)
			continue
		}
		if len(s.Proof.Keys) == 0 {
			line("   The verifier keys of the archive could not be read for %s/%s: name the one that the provider publishes with -key.", s.Folder, messageName)
		}
		stampText(line, &s)
	}
}

// stampText tells how to check the time of a checkpoint. -attime is needed since the certificates of an authority end; -partial_chain, since what the
// operator trusts may be an authority below the root.
func stampText(line func(format string, args ...any), s *shown) {
	if len(s.Proof.Stamp) == 0 {
		line("   No authority has stamped the time of the checkpoint of %s/%s: its time is that of the clock of the archive.", s.Folder, messageName)
		return
	}
	stamp, err := evidence.ReadStamp(s.Proof.Stamp)
	if err != nil {
		line("   The time stamp of the checkpoint of %s/%s cannot be read.", s.Folder, messageName)
		return
	}
	if later := s.Proof.Later(); later > 0 {
		line("   No authority has stamped checkpoint %d, which has %s/%s. The note and the time are those of checkpoint %d, which holds it.", s.Proof.Checkpoint.Number, s.Folder, messageName, later)
		line("   Il checkpoint %d non ha marca temporale: la nota e l'ora sono del checkpoint %d, che lo comprende.", s.Proof.Checkpoint.Number, later)
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

// Proof implements Source.
func (s *archived) Proof(ctx context.Context, ref journal.Ref) (*Proof, error) {
	ref.Mailbox = s.mailbox.String()
	p, err := s.prover.Prove(ctx, ref)
	if err != nil {
		return nil, err
	}
	proof := &Proof{Proof: p}
	if len(p.Stamp) > 0 {
		proof.Authority, proof.AuthorityError = s.archive.StampCA()
	}
	proof.Keys, proof.KeysError = s.archive.VerifierKeys()
	return proof, nil
}
