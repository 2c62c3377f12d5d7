package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/journal/datafolder"
)

const bruno = "bruno@alpha.test"

// fileOf archives a message of a mailbox.
func (h *house) fileOf(mailbox, subject string) {
	h.t.Helper()
	f, j := h.open(h.data)
	defer h.close(f, j)
	d := j.NewDraft(context.Background())
	defer d.Discard()
	fmt.Fprintf(d, "Subject: %s\r\n\r\ntext\r\n", subject)
	placed, err := d.Commit(context.Background(), journal.Envelope{Transaction: subject}, []journal.Intent{{Mailbox: mailbox, Direction: journal.Received}}, nil)
	h.must(err)
	j.Delivered(placed[0].Ref, subject)
}

// erase erases the archive of a mailbox.
func (h *house) erase(mailbox string) {
	h.t.Helper()
	f, j := h.open(h.data)
	defer h.close(f, j)
	_, err := j.Erase(context.Background(), mailbox, journal.EraseOptions{})
	h.must(err)
}

// listed returns what a restored archive has of a mailbox, with "damaged" for what cannot be read, and how many faults Verify finds.
func (h *house) listed(mailbox string) (got []string, faults int64) {
	h.t.Helper()
	f, j := h.open(h.new)
	defer h.close(f, j)
	for e, err := range j.List(context.Background(), mailbox) {
		if errors.Is(err, journal.ErrDamaged) && strings.Contains(err.Error(), "lost or was destroyed") {
			got = append(got, "damaged")
			continue
		}
		h.must(err)
		got = append(got, e.Transaction)
	}
	r, err := j.Verify(context.Background(), journal.EvidenceOptions{}, nil)
	h.must(err)
	return got, r.Faults
}

func (h *house) generations() []*Generation {
	h.t.Helper()
	f, err := Open(h.disk, Options{})
	h.must(err)
	list, err := f.Generations()
	h.must(errors.Join(err, f.Close()))
	return list
}

// TestKeysOfErased destroys the key of a mailbox in the backups of before, too, whatever step breaks off.
func TestKeysOfErased(t *testing.T) {
	h := newHouse(t, datafolder.Key{1})
	h.fileOf(anna, "a1")
	h.fileOf(bruno, "b1")
	_, err := h.write(Options{Begin: true, Keep: 100})
	h.must(err)
	wrapped, err := os.ReadFile(filepath.Join(h.data, datafolder.MailboxKeyFiles()[0]))
	h.must(err)
	wrapped = wrapped[2*128+32 : 2*128+112] // of bruno
	has := func() (files []string) {
		h.must(filepath.WalkDir(h.disk, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, wrapped) {
				files = append(files, path)
			}
			return err
		}))
		return files
	}
	if len(has()) != 1 {
		t.Fatalf("before: %q", has())
	}
	h.erase(bruno)
	for n, more := 0, true; more; n += 3 {
		count := 0
		_, err := h.write(Options{Keep: 100, step: failAt(n, &count)})
		if more = errors.Is(err, errInjected); !more {
			h.must(err)
		}
		h.wantChecked(fmt.Sprint("step ", n), len(h.generations()))
	}
	if left := has(); left != nil {
		t.Errorf("the key is still in %q", left)
	}
	first := h.generations()[0].Taken
	for name, c := range map[string]struct {
		o    RestoreOptions
		want []string
	}{
		"the newest":       {RestoreOptions{}, nil},
		"the first":        {RestoreOptions{Generation: first}, nil},
		"the first, alone": {RestoreOptions{Generation: first, Alone: true}, []string{"damaged"}},
	} {
		h.must(os.RemoveAll(h.new))
		c.o.Archives, c.o.Keys = archives(anna), h.keys
		_, err := Restore(t.Context(), h.disk, h.new, c.o)
		h.must(err)
		got, _ := h.listed(anna)
		of, faults := h.listed(bruno)
		if !slices.Equal(got, []string{"a1"}) || !slices.Equal(of, c.want) || (faults > 0) != (c.want != nil) {
			t.Errorf("%s: %q and %q, %d faults", name, got, of, faults)
		}
	}
}

// TestKeysOfTwoLines restores an older backup alone, goes on from there, and then restores one that was taken on the first line: the newest one does not know
// the keys that were made for it.
func TestKeysOfTwoLines(t *testing.T) {
	h := newHouse(t, datafolder.Key{1})
	h.fileOf(anna, "a1")
	for _, subject := range []string{"", "b1"} {
		if subject != "" {
			h.fileOf(bruno, subject)
		}
		_, err := h.write(Options{Begin: true, Keep: 100})
		h.must(err)
	}
	list := h.generations()
	_, err := h.restore(RestoreOptions{Generation: list[0].Taken, Alone: true})
	h.must(err)
	h.must(os.RemoveAll(h.data))
	h.must(os.Rename(h.new, h.data))
	h.fileOf("carla@alpha.test", "c1")
	h.fileOf(bruno, "b2")
	_, err = h.write(Options{Keep: 100})
	h.must(err)
	_, err = h.restore(RestoreOptions{Generation: list[1].Taken})
	h.must(err)
	// The newest one has no b1, so it counts as deleted: but it could be read.
	if got, faults := h.listed(bruno); len(got) > 0 || faults > 0 {
		t.Errorf("restored: %q, %d faults", got, faults)
	}
	h.must(os.RemoveAll(h.new))
	_, err = h.restore(RestoreOptions{Generation: list[1].Taken, Alone: true})
	h.must(err)
	if got, faults := h.listed(bruno); !slices.Equal(got, []string{"b1"}) || faults > 0 {
		t.Errorf("restored alone: %q, %d faults", got, faults)
	}
}

// TestKeyWhileCopied has a mailbox get its key while a backup copies what lies beside the journal.
func TestKeyWhileCopied(t *testing.T) {
	h := newHouse(t, datafolder.Key{1})
	f, j := h.open(h.data)
	s, err := source(f, h.data)
	h.must(err)
	freeze := s.Freeze
	s.Freeze = func(ctx context.Context) (*Frozen, error) {
		d := j.NewDraft(ctx)
		defer d.Discard()
		fmt.Fprintf(d, "Subject: late\r\n\r\ntext\r\n")
		if _, err := d.Commit(ctx, journal.Envelope{Transaction: "late"}, []journal.Intent{{Mailbox: anna, Direction: journal.Received}}, nil); err != nil {
			return nil, err
		}
		return freeze(ctx)
	}
	_, err = Write(t.Context(), h.disk, s, Options{Begin: true})
	h.must(err)
	h.close(f, j)
	_, err = h.restore(RestoreOptions{})
	h.must(err)
	if got, faults := h.listed(anna); !slices.Equal(got, []string{"late"}) || faults > 0 {
		t.Errorf("restored: %q, %d faults", got, faults)
	}
}
