package bundle

import (
	"bytes"
	"cmp"
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

// proof checks the proof of a message, where the bundle has one.
func (v *verifier) proof(folder string, listed *Listed, one *scanned, body io.ReaderAt) {
	what := "log of the archive: " + folder + "/" + messageName
	var p Proof
	p.Proof = new(journal.Proof)
	b, err := v.read(folder+"/"+proofName, maxTable)
	if errors.Is(err, fs.ErrNotExist) {
		v.lacks(what, cmp.Or(listed.NoProof, "the bundle has no proof of it"))
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
		if errors.Is(err, fs.ErrNotExist) {
			v.lacks(what, "the bundle brings no verifier key: name that which the provider publishes, with -key")
			return
		}
		if keys = strings.Fields(string(text)); err == nil && len(keys) == 0 {
			err = fmt.Errorf("%s names no key: name that which the provider publishes, with -key", keysName)
		}
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
		v.lacks(what, "there is none: the time of the checkpoint is that of the clock of the archive")
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
	if roots == nil && v.Strict {
		v.fail(what, who)
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
