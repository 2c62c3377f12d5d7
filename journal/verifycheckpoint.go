package journal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// checkpoints checks the checkpoints: their heads, their signatures, their time stamps, that each holds all before it, and what was kept outside.
func (v *verifier) checkpoints(o EvidenceOptions) error {
	settings, err := v.j.engine.Settings(v.ctx)
	if err != nil {
		return err
	}
	st, err := getEvidence(storeView{v.ctx, settings})
	if err != nil {
		return err
	}
	outside := v.outside(o)
	var tree evidence.Tree
	var origin string
	whole := true
	for c, err := range v.j.Checkpoints(v.ctx, 0) {
		if errors.Is(err, ErrDamaged) {
			v.report.fault("%v", err)
			whole = false
			break
		}
		if err != nil {
			return err
		}
		if c.Number >= st.Checkpoints {
			break // made meanwhile
		}
		if c.Number != tree.Size {
			v.report.fault("checkpoint %d is not there", tree.Size)
			whole = false
			break
		}
		if err := v.heads(settings, c); err != nil {
			return err
		}
		tree.Append(evidence.TextHash(c.Text))
		v.note(c, &tree, &origin, o)
		v.againstOutside(outside, &tree)
		v.report.Checkpoints, v.report.LastCheckpoint = tree.Size, &c.Time
	}
	if whole && tree.Size < st.Checkpoints {
		v.report.fault("checkpoint %d is not there", tree.Size)
		whole = false
	}
	if edge, _ := tree.AppendBinary(nil); whole && st.Checkpoints > 0 && !bytes.Equal(edge, st.Tree) {
		v.report.fault("the checkpoints are not those that the archive has counted")
	}
	if err := v.missingMonths(settings); err != nil {
		return err
	}
	for _, n := range outside {
		if n.Size > tree.Size {
			v.report.fault("%s: it is of checkpoint %d, and the archive has %d in all: the archive was put back to an earlier state", n.name, n.Size-1, tree.Size)
		}
	}
	return nil
}

// missingMonths reports the logs that checkpoints have, that have not ended, and whose month is not there at all.
func (v *verifier) missingMonths(settings kv.Store) error {
	months, err := v.j.engine.Volumes(v.ctx)
	if err != nil {
		return err
	}
	missing := make(map[string]int)
	for last, err := range lastHeads(v.ctx, settings) {
		if errors.Is(err, ErrDamaged) {
			v.report.fault("%v", err)
			continue
		}
		if err != nil {
			return err
		}
		if last.Ended == "" && !slices.Contains(months, kv.Month(last.Month)) {
			missing[last.Month]++
		}
	}
	for _, month := range slices.Sorted(maps.Keys(missing)) {
		v.report.fault("month %s is not there, and nothing says why: checkpoints have %d logs of it", month, missing[month])
	}
	return nil
}

// heads checks that a checkpoint stands for the heads that are on record for it.
func (v *verifier) heads(settings kv.Store, c *StoredCheckpoint) error {
	var tree evidence.Tree
	for text, err := range headsOf(v.ctx, settings, c.Number) {
		if err != nil {
			return err
		}
		tree.Append(evidence.TextHash(text))
	}
	if tree.Size != c.Heads || tree.Root() != c.Root {
		v.report.fault("checkpoint %d: the heads of its logs are not those that it was made of", c.Number)
	}
	return nil
}

// note checks the note of a checkpoint against the tree up to it.
func (v *verifier) note(c *StoredCheckpoint, tree *evidence.Tree, origin *string, o EvidenceOptions) {
	n, err := evidence.Unsigned([]byte(c.Note))
	if err == nil && len(o.Keys) > 0 {
		n, err = evidence.Open([]byte(c.Note), o.Keys)
	}
	if *origin == "" {
		*origin = n.Origin
	}
	switch {
	case err != nil:
		v.report.fault("checkpoint %d: its note: %v", c.Number, err)
	case n.Size != tree.Size || n.Root != tree.Root():
		v.report.fault("checkpoint %d: its note is not of the checkpoints up to it", c.Number)
	case n.Origin != *origin:
		v.report.fault("checkpoint %d: its note is of %s, and the first is of %s", c.Number, n.Origin, *origin)
	}
	if len(c.Stamp) == 0 {
		return
	}
	v.report.Stamped++
	if o.StampRoots == nil {
		return
	}
	if _, err := evidence.CheckStamp(c.Stamp, sha256.Sum256([]byte(c.Note)), o.StampRoots); err != nil {
		v.report.fault("checkpoint %d: its time stamp: %v", c.Number, err)
	}
}

// outsideNote is a note from outside, as it was opened.
type outsideNote struct {
	evidence.Note
	name string
}

// outside opens the notes from outside.
func (v *verifier) outside(o EvidenceOptions) []outsideNote {
	var list []outsideNote
	for _, file := range o.Outside {
		n, err := evidence.Unsigned(file.Note)
		if err == nil && len(o.Keys) > 0 {
			n, err = evidence.Open(file.Note, o.Keys)
		}
		if err != nil {
			v.report.fault("%s: %v", file.Name, err)
			continue
		}
		list = append(list, outsideNote{n, file.Name})
	}
	v.report.Outside = int64(len(list))
	return list
}

// againstOutside compares the tree up to a checkpoint with the notes from outside that have as many.
func (v *verifier) againstOutside(outside []outsideNote, tree *evidence.Tree) {
	for _, n := range outside {
		if n.Size == tree.Size && n.Root != tree.Root() {
			v.report.fault("%s: it is signed for another history than that of checkpoint %d: the archive was put back to an earlier state, or made anew", n.name, n.Size-1)
		}
	}
}
