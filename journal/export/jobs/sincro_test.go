package jobs

import (
	"archive/zip"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"copialettere/journal/export"
	"copialettere/journal/export/sincro"
)

// TestSincro has a ZIP that names who answers for it, also after a restart.
func TestSincro(t *testing.T) {
	r := newRig(t, 2)
	agent := &sincro.Agent{ID: "VATIT-01234567890", Name: "Alpha S.r.l.", Document: "Contratto 12/2026"}
	asked, err := r.jobs.Start(t.Context(), owner, r.address(anna), export.Selection{}, agent)
	r.must(err)
	plain := r.start(owner, export.Selection{})
	r.open()
	r.work()
	for _, one := range []struct {
		id   string
		want bool
	}{{asked.ID, true}, {plain.ID, false}} {
		v := r.get(one.id)
		if v.State != StateDone || r.messagesIn(v) != 2 || (v.Sincro != nil) != one.want || one.want && *v.Sincro != *agent {
			t.Fatalf("%+v", v)
		}
		f, err := r.jobs.Open(t.Context(), owner, r.address(anna), one.id)
		r.must(err)
		z, err := zip.NewReader(f.file, v.Size)
		r.must(err)
		index, err := z.Open("PIndex.xml")
		if !one.want {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("an index that nobody asked for: %v", err)
			}
			f.Close()
			continue
		}
		r.must(err)
		b, err := io.ReadAll(index)
		r.must(err)
		f.Close()
		if text := string(b); strings.Count(text, "<sincro:File ") < 4 || !strings.Contains(text, "Alpha S.r.l.") || !strings.Contains(text, agent.ID) {
			t.Errorf("the index: %s", text)
		}
	}
}
