package doctor

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"copialettere/journal"
	"copialettere/journal/datafolder"
)

// TestExamineKeys finds what is wrong with the keys of the mailboxes of an encrypted archive.
func TestExamineKeys(t *testing.T) {
	const first, second = "mailbox.keys", "mailbox.keys.copy"
	flip := func(p *place, name string) {
		b, err := os.ReadFile(p.path(name))
		p.do(err)
		b[len(b)-100] ^= 1
		p.do(os.WriteFile(p.path(name), b, 0o600))
	}
	for _, c := range []struct {
		name          string
		spoil         func(p *place)
		faults, notes int
	}{
		{"sound", func(p *place) {}, 0, 0},
		{"one file is lost", func(p *place) { p.do(os.Remove(p.path(second))) }, 0, 1},
		{"both files are lost", func(p *place) { p.do(os.Remove(p.path(first))); p.do(os.Remove(p.path(second))) }, 1, 0},
		{"the first is lost", func(p *place) { p.do(os.Remove(p.path(first))) }, 0, 1},
		{"one is damaged", func(p *place) { flip(p, first) }, 0, 1},
		{"the second is damaged", func(p *place) { flip(p, second) }, 0, 1},
		{"one is damaged as a whole", func(p *place) { p.do(os.Truncate(p.path(first), 10)) }, 0, 1},
		{"one is cut off", func(p *place) { p.do(os.Truncate(p.path(second), 128)) }, 0, 1},
		{"both are damaged", func(p *place) { flip(p, first); flip(p, second) }, 1, 0},
		{"another key of the operator", func(p *place) { p.o.Keys = []datafolder.Key{{2}} }, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, datafolder.Key{1})
			p.archive(3)
			c.spoil(p)
			list := slices.DeleteFunc(p.examine(), func(f Finding) bool { return f.Kind != KindKeys })
			if n := Faults(list); n != c.faults || len(list)-n != c.notes {
				t.Errorf("%+v", list)
			}
			if c.notes == 0 {
				return
			}
			// What the note says: the next start mends it.
			p.with(func(*journal.Journal) {})
			if list := slices.DeleteFunc(p.examine(), func(f Finding) bool { return f.Kind != KindKeys }); len(list) > 0 {
				t.Errorf("after a start: %+v", list)
			}
			one, err := os.ReadFile(p.path(first))
			p.do(err)
			if two, err := os.ReadFile(p.path(second)); err != nil || !bytes.Equal(one, two) {
				t.Errorf("after a start the files are not alike: %v", err)
			}
		})
	}
}
