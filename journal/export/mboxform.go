package export

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"
)

// mboxForm is FormMbox: a file for each folder and month. What is there is read as long as it is as it must be; the rest is cut off and written.
type mboxForm struct {
	run   *run
	names *names
	name  string // of the mbox under way; "" for none
	there string // the file that has its beginning: the mbox itself, or one in the work folder; "" for none
	read  *mboxReader
	file  *os.File // that read reads
	out   *grown   // once something is written
	w     *bufio.Writer
	ended []sumOf
}

// sumOf is a file that is whole, with its digest.
type sumOf struct{ name, digest string }

func (f *mboxForm) foresee([]*Message) {}

// needs is true once something is written: nothing is kept behind that in its mbox.
func (f *mboxForm) needs(m *Message) bool { return f.out != nil && f.name == f.names.mbox(m) }

func (f *mboxForm) keep(m *Message) (place, bool, error) {
	if err := f.turnTo(f.names.mbox(m)); err != nil || f.read == nil {
		return place{}, false, err
	}
	start := f.read.offset
	changed, ok, err := f.read.matches(m)
	if err != nil || !ok {
		return place{}, false, err
	}
	return place{f.name, changed, start, f.read.offset - start}, true, nil
}

// turnTo ends the mbox under way if the next message belongs to another one, and looks what is there of that.
func (f *mboxForm) turnTo(name string) error {
	if f.name == name {
		return nil
	}
	if err := f.endMbox(); err != nil {
		return err
	}
	f.name = name
	for _, there := range []string{name, f.temporary()} {
		file, err := os.Open(f.run.disk.path(there))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		forget(file)
		f.there, f.file, f.read = there, file, newMboxReader(file)
		return nil
	}
	return nil
}

// temporary returns the name of the mbox in the work folder.
func (f *mboxForm) temporary() string {
	return f.run.temporary(strings.ReplaceAll(f.name, "/", "_"))
}

func (f *mboxForm) put(m *Message, content io.Reader) (place, error) {
	if err := f.turnTo(f.names.mbox(m)); err != nil {
		return place{}, err
	}
	if f.out == nil {
		if err := f.cut(); err != nil {
			return place{}, err
		}
	}
	start := f.out.sum.size + int64(f.w.Buffered())
	f.w.WriteString(separator(m))
	changed, err := writeMbox(f.w, content)
	if err != nil {
		return place{}, err
	}
	return place{f.name, changed, start, f.out.sum.size + int64(f.w.Buffered()) - start}, nil
}

// cut cuts off what follows the last message that is as it must be, and goes on to write.
func (f *mboxForm) cut() (err error) {
	var size int64
	if f.read != nil {
		size = f.read.offset
		f.stopReading()
	}
	if f.there == f.name {
		if err := f.run.disk.rename(f.name, f.temporary()); err != nil {
			return err
		}
	}
	if f.out, err = f.run.disk.grow(f.temporary(), size); err != nil {
		return err
	}
	f.w = bufio.NewWriterSize(f.out.sum, 256<<10)
	return nil
}

func (f *mboxForm) stopReading() {
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.read = nil, nil
}

// endMbox makes the mbox under way durable, gives it its name, and reads it back.
func (f *mboxForm) endMbox() error {
	if f.out == nil && f.read != nil {
		info, err := f.file.Stat()
		if err != nil {
			return err
		}
		if f.there == f.name && f.read.offset == info.Size() {
			f.stopReading()
			digest, _, err := f.run.disk.digestOf(f.name)
			f.ended = append(f.ended, sumOf{f.name, digest})
			f.name, f.there = "", ""
			return err
		}
		if err := f.cut(); err != nil {
			return err
		}
	}
	if f.out != nil {
		err := f.w.Flush()
		if err == nil {
			err = f.out.complete(f.name)
		}
		if err != nil {
			return err
		}
		f.ended = append(f.ended, sumOf{f.name, f.out.sum.digest()})
	}
	f.out, f.w, f.name, f.there = nil, nil, "", ""
	return nil
}

func (f *mboxForm) settled() bool { return false }

func (f *mboxForm) settle() error {
	if f.out == nil {
		return nil
	}
	if err := f.w.Flush(); err != nil {
		return err
	}
	return f.out.settle()
}

func (f *mboxForm) end(t *tables) error {
	if err := f.endMbox(); err != nil {
		return err
	}
	for _, one := range f.ended {
		if err := t.addSum(one.digest, one.name); err != nil {
			return err
		}
	}
	return nil
}

func (f *mboxForm) finish(t *tables) (string, error) { return "", t.place() }

func (f *mboxForm) abandon() {
	f.stopReading()
	if f.out != nil {
		f.out.Close()
	}
}
