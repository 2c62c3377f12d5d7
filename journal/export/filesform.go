package export

import (
	"io"
	"path/filepath"
	"strconv"
	"time"

	"copialettere/journal/durable"
)

// filesForm is FormEML and FormMaildir: a file for each message. While a batch is read back, the next one is made durable, and the one after that written.
type filesForm struct {
	run   *run
	names *names
	batch *batch
	under []*commitment     // that are under way, oldest first
	there map[*Message]bool // of the messages that were foreseen
	made  map[string]bool   // Maildirs that are whole
	next  int               // number of the next temporary file
}

// mostUnder is how many batches are committed at a time.
const mostUnder = 2

// commitment is a batch that is being committed.
type commitment struct {
	durable chan struct{} // closed when its files are durable, or cannot be
	done    chan struct{} // closed when err is set
	err     error
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
	atOnce(len(list), batchWorkers, func(i int) { holds[i] = f.run.disk.holds(names[i], list[i].Size, list[i].SHA256) })
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
	if err := f.batch.add(temporary, name, content, m.Date); err != nil {
		return place{}, err
	}
	if f.batch.full() {
		return place{file: name}, f.commit()
	}
	return place{file: name}, nil
}

// commit begins to commit what was written, once the batches before are far enough.
func (f *filesForm) commit() error {
	if err := f.await(mostUnder - 1); err != nil {
		return err
	}
	var before *commitment
	if len(f.under) > 0 {
		before = f.under[len(f.under)-1]
		<-before.durable
	}
	full, c := f.batch, &commitment{durable: make(chan struct{}), done: make(chan struct{})}
	f.batch, f.under = &batch{disk: f.run.disk}, append(f.under, c)
	go func() {
		defer close(c.done)
		defer full.abandon()
		c.err = full.makeDurable()
		close(c.durable)
		if before != nil {
			<-before.done
		}
		if c.err == nil {
			c.err = full.compare()
		}
	}()
	return nil
}

// await waits until no more than so many batches are being committed.
func (f *filesForm) await(left int) error {
	for len(f.under) > left {
		c := f.under[0]
		<-c.done
		f.under = f.under[1:]
		if c.err != nil {
			return c.err
		}
	}
	return nil
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

func (f *filesForm) settled() bool { return len(f.under) == 0 && len(f.batch.files) == 0 }

func (f *filesForm) settle() error {
	if err := f.await(0); err != nil {
		return err
	}
	return f.batch.commit()
}

func (f *filesForm) end(*tables) error { return nil }

func (f *filesForm) finish(t *tables) (string, error) { return "", t.place() }

func (f *filesForm) abandon() {
	for _, c := range f.under {
		<-c.done // an error that ended the Run came first
	}
	f.batch.abandon()
}
