package export

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"copialettere/journal/export/sincro"
	"copialettere/policy/archive"
)

// tables are the files beside the messages while a Run writes them in its work folder.
type tables struct {
	run            *run
	manifest, sums *tableFile
	rows           *table
	beside         []*tableFile // those that SHA256SUMS names
	missing        []string
}

// tableFile is a file that is written in the work folder.
type tableFile struct {
	name string
	out  *outFile
	w    *bufio.Writer
	sum  *digested
}

// Write implements io.Writer.
func (f *tableFile) Write(b []byte) (int, error) { return f.w.Write(b) }

// content returns all that was written.
func (f *tableFile) content() io.Reader { return io.NewSectionReader(f.out, 0, f.sum.size) }

func (r *run) newTables() (*tables, error) {
	t := &tables{run: r}
	var err error
	if t.manifest, err = t.begin(manifestName); err != nil {
		return nil, err
	}
	if t.sums, err = t.begin(sumsName); err != nil {
		return t, err
	}
	t.rows, err = newTable(t.manifest, manifestFields)
	return t, err
}

func (t *tables) begin(name string) (*tableFile, error) {
	out, err := t.run.disk.create(t.run.temporary(name))
	if err != nil {
		return nil, err
	}
	sum := newDigested(out)
	f := &tableFile{name, out, bufio.NewWriterSize(sum, 64<<10), sum}
	if name != sumsName {
		t.beside = append(t.beside, f)
	}
	return f, nil
}

// add adds a message. Of a form with a file for each message, SHA256SUMS names that file: it has the bytes of the message.
func (t *tables) add(m *Message, s Status, p place, f Form) error {
	if s == StatusDamaged || s == StatusGone {
		why := "it cannot be read"
		if s == StatusGone {
			why = "it was moved or deleted while it was being exported"
		}
		t.missing = append(t.missing, fmt.Sprintf("%s %d: %s", m.Folder, m.UID, why))
	} else if f != FormMbox {
		if err := t.addSum(m.SHA256, p.file); err != nil {
			return err
		}
	}
	return t.rows.message(m, s, p)
}

func (t *tables) addSum(digest, name string) error {
	_, err := io.WriteString(t.sums, sumLine(digest, name))
	return err
}

// close writes the rest of the tables.
func (t *tables) close(gaps iter.Seq2[archive.Gap, error], order []byte) error {
	if err := t.rows.close(); err != nil {
		return err
	}
	table, err := t.begin(gapsName)
	if err != nil {
		return err
	}
	if _, err := writeGaps(table, gaps); err != nil {
		return err
	}
	if len(t.missing) > 0 {
		text, err := t.begin(incompleteName)
		if err != nil {
			return err
		}
		io.WriteString(text, incompleteText(t.missing))
	}
	for _, f := range t.beside {
		if err := f.w.Flush(); err != nil {
			return err
		}
		if err := t.addSum(f.sum.digest(), f.name); err != nil {
			return err
		}
	}
	if err := t.addSum(digestOf(order), orderName); err != nil {
		return err
	}
	if err := t.index(); err != nil {
		return err
	}
	return t.sums.w.Flush()
}

// index adds PIndex.xml, where the export has one: it names all that SHA256SUMS does so far.
func (t *tables) index() error {
	o := &t.run.Options
	if o.Sincro == nil {
		return nil
	}
	if err := t.sums.w.Flush(); err != nil {
		return err
	}
	f, err := t.begin(indexName)
	if err != nil {
		return err
	}
	x := sincro.Index{
		ID: t.sums.sum.digest()[:32], Label: o.Mailbox, Description: fmt.Sprintf("%s: %s (%s)", o.Mailbox, o.Selection, o.Form), Program: "copialettere", Version: o.Program,
		Agent: *o.Sincro, Time: o.made(),
	}
	err = sincro.Write(f, x, func(yield func(sincro.File, error) bool) {
		lines := bufio.NewScanner(t.sums.content())
		for lines.Scan() {
			digest, name, ok := strings.Cut(lines.Text(), "  ")
			var err error
			if !ok || strings.HasPrefix(digest, `\`) {
				err = fmt.Errorf("%s: the line %.200q", sumsName, lines.Text())
			}
			if !yield(sincro.File{Path: name, SHA256: digest}, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(sincro.File{}, err)
		}
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", indexName, err)
	}
	if err := f.w.Flush(); err != nil {
		return err
	}
	return t.addSum(f.sum.digest(), f.name)
}

// made returns when the export is made.
func (o *Options) made() time.Time {
	if o.Time.IsZero() {
		return time.Now()
	}
	return o.Time
}

// place gives the tables their places in the folder of a form that has one: first what SHA256SUMS names, then that itself.
func (t *tables) place() error {
	if len(t.missing) == 0 {
		if err := os.Remove(t.run.disk.path(incompleteName)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	for _, files := range [][]*tableFile{t.beside, {t.sums}} {
		b := batch{disk: t.run.disk}
		for _, f := range files {
			b.files = append(b.files, batchFile{f.out, f.name, f.sum.size, f.sum.quick.Sum64()})
		}
		if err := b.commit(); err != nil {
			return err
		}
	}
	return nil
}

// into adds the tables to a ZIP.
func (t *tables) into(z *zipFile) error {
	for _, f := range append(t.beside, t.sums) {
		if err := z.add(f.name, time.Time{}, f.content()); err != nil {
			return err
		}
	}
	return nil
}

func (t *tables) abandon() {
	for _, f := range append(t.beside, t.sums) {
		if f != nil {
			f.out.Close()
		}
	}
}
