package bundle

import (
	"context"
	"crypto/sha256"
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
	keysName       = "evidence/verifier-keys.txt" // the verifier keys of the archive, one a line
)

// Proof shows that a message was in the archive when a checkpoint was made.
type Proof struct {
	*journal.Proof
	Keys []string // verifier keys of the archive
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
	}
	return p, "", w.addBytes(folder+"/"+keysName, []byte(strings.Join(p.Keys, "\n")+"\n"))
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
		if len(s.Proof.Checkpoint.Stamp) > 0 {
			line("   The time of the checkpoint, with the root certificates of the time stamping authority in tsa.pem (-attime as well, once they have ended):")
			line("   openssl ts -verify -data %[1]s/%[2]s -in %[1]s/%[3]s -CAfile tsa.pem", s.Folder, checkpointName, stampName)
		} else {
			line("   No authority has stamped the time of the checkpoint of %s/%s: its time is that of the clock of the archive.", s.Folder, messageName)
		}
	}
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
	if err == nil {
		s, err = evidence.CheckStamp(der, sha256.Sum256(note), nil)
	}
	if err != nil {
		v.fail(what, err.Error())
		return
	}
	v.ok(what, printableText(fmt.Sprintf("%s, by %s: who that is, openssl ts -verify tells", s.Time.Format("2006-01-02T15:04:05Z"), s.Signer)))
}

// Proof implements Source.
func (s *archived) Proof(ctx context.Context, ref journal.Ref) (*Proof, error) {
	ref.Mailbox = s.mailbox.String()
	p, err := s.archive.Prove(ctx, s.who, ref)
	if err != nil {
		return nil, err
	}
	keys, err := s.archive.VerifierKeys()
	return &Proof{p, keys}, err
}
