package export

import (
	"io"
	"path/filepath"
	"strconv"

	"copialettere/journal/durable"
)

// filesForm is FormEML and FormMaildir: a file for each message.
type filesForm struct {
	run   *run
	names *names
	batch batch
	made  map[string]bool // Maildirs that are whole
	next  int             // number of the next temporary file
}

func (f *filesForm) keep(m *Message) (place, bool, error) {
	name := f.name(m)
	return place{file: name}, f.run.disk.holds(name, m.Size, m.SHA256), nil
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
		return place{file: name}, f.batch.commit()
	}
	return place{file: name}, nil
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
	if f.made == nil {
		f.made = make(map[string]bool)
	}
	f.made[folder] = true
	return nil
}

func (f *filesForm) settled() bool                    { return len(f.batch.files) == 0 }
func (f *filesForm) settle() error                    { return f.batch.commit() }
func (f *filesForm) end(*tables) error                { return nil }
func (f *filesForm) abandon()                         { f.batch.abandon() }
func (f *filesForm) finish(t *tables) (string, error) { return "", t.place() }
