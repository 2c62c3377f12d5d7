package export

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"copialettere/policy/archive"
)

// ZIPTime returns a time that all fields of a ZIP can hold: those before 1980 and after 2107 would be read as others, and the seconds since 1970 that
// most programs prefer end in February 2106.
func ZIPTime(t time.Time) time.Time {
	return t.AddDate(min(max(t.Year(), 1980), 2105)-t.Year(), 0, 0)
}

// maxPart is how many bytes of a table a ZIP holds before it begins another part of it.
const maxPart = 4 << 20

// ZIP writes messages of an archive into a ZIP of FormZIP while it is being sent, which cannot be resumed. Whatever their number it holds in memory a
// line of the directory for each, and at most maxPart of each table: of a long one manifest.csv is followed by manifest-2.csv, and so on. It is for one
// goroutine.
type ZIP struct {
	file           *zipFile
	names          *names
	manifest, sums zipPart
	table          *table // writes manifest
	missing        []string
}

// zipPart is what is held of a table.
type zipPart struct {
	bytes.Buffer
	name, ext string
	number    int
}

// next returns the name of the part that is to be written, and begins the next one.
func (p *zipPart) next() string {
	if p.number++; p.number == 1 {
		return p.name + p.ext
	}
	return p.name + "-" + strconv.Itoa(p.number) + p.ext
}

// NewZIP returns a ZIP that is written to w, with the times of a zone.
func NewZIP(w io.Writer, zone *time.Location) *ZIP {
	z := &ZIP{file: newZIPFile(w, zone, new(inMemory)), names: newNames(zone)}
	z.manifest.name, z.manifest.ext, z.sums.name = "manifest", ".csv", "SHA256SUMS"
	z.beginManifest()
	return z
}

func (z *ZIP) beginManifest() {
	z.table, _ = newTable(&z.manifest, manifestFields) // a buffer takes everything
}

// Add adds a message. The caller has compared content with size and digest of the message.
func (z *ZIP) Add(m *Message, content io.Reader) error {
	name := z.names.eml(m)
	if err := z.file.add(name, m.Date, content); err != nil {
		return err
	}
	z.sums.WriteString(sumLine(m.SHA256, name))
	return z.row(m, StatusExported, place{file: name})
}

// Miss tells of a message that cannot be read.
func (z *ZIP) Miss(m *Message) error {
	z.missing = append(z.missing, fmt.Sprintf("%s %d", m.Folder, m.UID))
	return z.row(m, StatusDamaged, place{})
}

// MissOther tells of something else that cannot be read.
func (z *ZIP) MissOther(what string) { z.missing = append(z.missing, what) }

// row adds a line to the manifest.
func (z *ZIP) row(m *Message, s Status, p place) error {
	if err := z.table.message(m, s, p); err != nil {
		return err
	}
	if err := z.table.close(); err != nil {
		return err
	}
	if z.manifest.Len() >= maxPart {
		if err := z.flushManifest(); err != nil {
			return err
		}
		z.beginManifest()
	}
	if z.sums.Len() >= maxPart {
		return z.flush(&z.sums)
	}
	return nil
}

func (z *ZIP) flushManifest() error {
	if err := z.table.close(); err != nil {
		return err
	}
	return z.flush(&z.manifest)
}

// flush writes a part of a table. Sums of its own have all but those of SHA256SUMS.
func (z *ZIP) flush(p *zipPart) error {
	name := p.next()
	if p != &z.sums {
		z.sums.WriteString(sumLine(digestOf(p.Bytes()), name))
	}
	err := z.file.add(name, time.Time{}, &p.Buffer)
	p.Reset()
	return err
}

// Close adds the gaps and the rest of the tables, and ends the ZIP. After an error it is not whole.
func (z *ZIP) Close(gaps iter.Seq2[archive.Gap, error]) error {
	if err := z.flushManifest(); err != nil {
		return err
	}
	table := zipPart{name: "gaps", ext: ".csv"}
	damaged, err := writeGaps(&table, gaps)
	if err != nil {
		return err
	}
	if damaged {
		z.MissOther(gapsUnread)
	}
	if err := z.flush(&table); err != nil {
		return err
	}
	if len(z.missing) > 0 {
		text := zipPart{Buffer: *bytes.NewBufferString(incompleteText(z.missing)), name: "INCOMPLETE", ext: ".txt"}
		if err := z.flush(&text); err != nil {
			return err
		}
	}
	if err := z.flush(&z.sums); err != nil {
		return err
	}
	return z.file.close()
}
