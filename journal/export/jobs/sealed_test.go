package jobs

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"copialettere/journal/export"
	"copialettere/journal/sealing"
)

var keyOne, keyTwo = sealing.Key{ID: [8]byte{1}, Secret: [32]byte{1}}, sealing.Key{ID: [8]byte{2}, Secret: [32]byte{2}}

// wantSealed searches all files of the jobs, of which there must be some, for what a message or a ZIP of them would have.
func (r *rig) wantSealed(when string) {
	r.t.Helper()
	files := 0
	r.must(filepath.WalkDir(r.folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, word := range []string{anna, "ext.test", "Lettera", "Testo", "message-id", "PK\x03\x04", "INBOX"} {
			if bytes.Contains(b, []byte(word)) {
				r.t.Errorf("%s: %s has %q", when, path, word)
			}
		}
		files++
		return err
	}))
	if files < 2 {
		r.t.Errorf("%s: %d files", when, files)
	}
}

// TestSealed takes a job of an encrypted journal through an interruption, a change of the operator's key, and to its end.
func TestSealed(t *testing.T) {
	r := newRig(t, 200)
	plain := r.start(owner, export.Selection{Folder: "Sent"})
	r.box = sealing.NewBox([]sealing.Key{keyOne})
	r.open()
	if left := r.folders(); len(left) > 0 {
		t.Errorf("a job in the clear stays: %q, was %s", left, plain.ID)
	}
	v, stop := r.startHalf()
	r.wantSealed("while it is written")
	stop()
	r.wantSealed("after the stop")

	r.box = sealing.NewBox([]sealing.Key{keyTwo, keyOne})
	r.open() // with the new key
	r.box = sealing.NewBox([]sealing.Key{keyTwo})
	r.open()
	r.work()
	if v = r.get(v.ID); v.State != StateDone || r.messagesIn(v) != 200 {
		t.Errorf("in the end: %+v", v)
	}
	r.wantSealed("in the end")
	r.open()
	if again := r.get(v.ID); again != v || r.messagesIn(again) != 200 {
		t.Errorf("after a restart: %+v, want %+v", again, v)
	}
	r.box = sealing.NewBox([]sealing.Key{keyOne})
	r.open()
	if left := r.folders(); len(left) > 0 {
		t.Errorf("without its key it stays: %q", left)
	}
}

// TestSealedDamage spoils what there is of a ZIP: it is written anew from there.
func TestSealedDamage(t *testing.T) {
	for name, spoil := range map[string]func(b []byte) []byte{
		"a block":     func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"the head":    func(b []byte) []byte { b[0] ^= 1; return b },
		"cut off":     func(b []byte) []byte { return b[:len(b)*2/3] },
		"in the head": func(b []byte) []byte { return b[:10] },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 250)
			r.box = sealing.NewBox([]sealing.Key{keyOne})
			r.open()
			v := r.start(owner, export.Selection{})
			r.work()
			r.must(os.Rename(filepath.Join(r.folder, v.ID, zipName), filepath.Join(r.folder, v.ID, "whole")))
			b, err := os.ReadFile(filepath.Join(r.folder, v.ID, "whole"))
			r.must(err)
			part := filepath.Join(r.folder, v.ID, zipName+".part")
			r.must(os.Mkdir(part, 0o700))
			r.must(os.WriteFile(filepath.Join(part, "zip"), spoil(b), 0o600))
			one := r.jobs.all[v.ID]
			one.ended, one.state = ended{}, StateWaiting
			r.work()
			if v = r.get(v.ID); v.State != StateDone || r.messagesIn(v) != 250 {
				t.Errorf("in the end: %+v", v)
			}
		})
	}
}
