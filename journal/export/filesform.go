package export

import (
	"io"
	"path/filepath"
	"strconv"
	"time"

	"copialettere/journal/durable"
)

// filesForm is FormEML and FormMaildir: a file for each message. While a batch is committed, the next one is written.
type filesForm struct {
	run   *run
	names *names
	batch *batch
	under chan error        // gets the result of the commit that is under way; nil for none
	there map[*Message]bool // of the messages that were foreseen
	made  map[string]bool   // Maildirs that are whole
	next  int               // number of the next temporary file
}

func newFilesForm(r *run) *filesForm {
	return &filesForm{run: r, names: newNames(time.UTC), batch: &batch{disk: r.disk}, made: make(map[string]bool)}
}

// foresee verifies what is there of messages, several at a time.
func (f *filesForm) foresee(list []*Message) {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = f.name(m)
	}
	holds := make([]bool, len(list))
	atOnce(len(list), func(i int) { holds[i] = f.run.disk.holds(names[i], list[i].Size, list[i].SHA256) })
	f.there = make(map[*Message]bool)
	for i, m := range list {
		f.there[m] = holds[i]
	}
}

func (f *filesForm) needs(m *Message) bool { return !f.there[m] }

func (f *filesForm) keep(m *Message) (place, bool, error) {
	return place{file: f.name(m)}, f.there[m], nil
}

// name returns the final name of the file of a message.
func (f *filesForm) name(m *Message) string {
	if f.run.Form == FormMaildir {
		folder, name := f.names.maildir(m)
		return folder + "/cur/" + name
	}
	return f.names.eml(m)
}

func (f *filesForm) put(m *Message, content io.Reader) (place, error) {
	name := f.name(m)
	f.next++
	temporary := f.run.temporary(strconv.Itoa(f.next))
	if f.run.Form == FormMaildir {
		folder, base := f.names.maildir(m)
		if err := f.makeMaildir(folder); err != nil {
			return place{}, err
		}
		temporary = folder + "/tmp/" + base
	}
	if err := f.batch.add(temporary, name, content, m.Size, m.SHA256, m.Date); err != nil {
		return place{}, err
	}
	if f.batch.full() {
		return place{file: name}, f.commit()
	}
	return place{file: name}, nil
}

// commit begins to commit what was written, once the commit before has ended.
func (f *filesForm) commit() error {
	if err := f.await(); err != nil {
		return err
	}
	full := f.batch
	f.batch, f.under = &batch{disk: f.run.disk}, make(chan error, 1)
	go func(under chan<- error) { under <- full.commit() }(f.under)
	return nil
}

// await waits for the commit that is under way.
func (f *filesForm) await() error {
	if f.under == nil {
		return nil
	}
	err := <-f.under
	f.under = nil
	return err
}

// makeMaildir makes the folders that make a folder a Maildir.
func (f *filesForm) makeMaildir(folder string) error {
	if f.made[folder] {
		return nil
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := durable.MakeFolder(filepath.Join(f.run.disk.path(folder), sub)); err != nil {
			return err
		}
	}
	f.made[folder] = true
	return nil
}

func (f *filesForm) settled() bool { return f.under == nil && len(f.batch.files) == 0 }

func (f *filesForm) settle() error {
	if err := f.await(); err != nil {
		return err
	}
	return f.batch.commit()
}

func (f *filesForm) end(*tables) error { return nil }

func (f *filesForm) finish(t *tables) (string, error) { return "", t.place() }

func (f *filesForm) abandon() {
	f.await() // an error that ended the Run came first
	f.batch.abandon()
}
