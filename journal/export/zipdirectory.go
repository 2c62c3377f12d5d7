package export

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// segmentFiles is how many files package zip writes before its directory is taken from it.
const segmentFiles = 1000

// zipFile is a ZIP that is written as it comes. A ZIP ends with a directory of all its files, which package zip keeps in memory until then, some 300 bytes
// each. So after segmentFiles files its writer is ended, and another goes on behind them: what the first has written as the end of a ZIP goes to directory,
// without the end record. Close writes all of that behind the last file, and one end record.
type zipFile struct {
	out        *zip.Writer // of this segment
	files      int         // of this segment
	to         *zipTarget
	compressor *flate.Writer
	directory  directory
	records    uint64 // in directory
	zone       *time.Location
	now        time.Time
}

// directory keeps the directory of a ZIP until it is written.
type directory interface {
	io.Writer
	content() io.Reader // all that was written
}

// inMemory is a directory that is kept in memory, about 130 bytes of a file.
type inMemory struct{ bytes.Buffer }

func (d *inMemory) content() io.Reader { return &d.Buffer }

// zipTarget counts what is written, or holds it.
type zipTarget struct {
	w       io.Writer
	written int64
	held    *bytes.Buffer // takes what is written; nil while w does
}

// Write implements io.Writer.
func (t *zipTarget) Write(b []byte) (int, error) {
	if t.held != nil {
		return t.held.Write(b)
	}
	n, err := t.w.Write(b)
	t.written += int64(n)
	return n, err
}

func newZIPFile(w io.Writer, zone *time.Location, d directory) *zipFile {
	// Files come one after the other, so one compressor serves them all. To make one takes longer than to compress most messages.
	compressor, _ := flate.NewWriter(nil, flate.BestSpeed) // it fails with a level that there is not
	z := &zipFile{to: &zipTarget{w: w}, compressor: compressor, directory: d, zone: zone, now: time.Now()}
	z.beginSegment()
	return z
}

func (z *zipFile) beginSegment() {
	z.out, z.files = zip.NewWriter(z.to), 0
	z.out.SetOffset(z.to.written)
	z.out.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		z.compressor.Reset(w)
		return z.compressor, nil
	})
}

// add adds a file. The zero date is now.
func (z *zipFile) add(name string, date time.Time, content io.Reader) error {
	if date.IsZero() {
		date = z.now
	}
	w, err := z.begin(func() (io.Writer, error) {
		return z.out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: ZIPTime(date.In(z.zone))})
	})
	if err == nil {
		_, err = io.Copy(w, content)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// addRaw adds a file that is compressed already.
func (z *zipFile) addRaw(h *zip.FileHeader, compressed io.Reader) error {
	w, err := z.begin(func() (io.Writer, error) { return z.out.CreateRaw(h) })
	if err == nil {
		_, err = io.CopyN(w, compressed, int64(h.CompressedSize64))
	}
	return err
}

// begin begins a file, in the next segment where this one is full.
func (z *zipFile) begin(create func() (io.Writer, error)) (io.Writer, error) {
	if z.files == segmentFiles {
		if err := z.endSegment(); err != nil {
			return nil, err
		}
		z.beginSegment()
	}
	z.files++
	return create()
}

// flush writes what was added, but for the end of the last file.
func (z *zipFile) flush() error { return z.out.Flush() }

// close ends the ZIP.
func (z *zipFile) close() error {
	if err := z.endSegment(); err != nil {
		return err
	}
	start := z.to.written
	size, err := io.Copy(z.to, z.directory.content())
	if err == nil {
		_, err = z.to.Write(endRecords(z.records, uint64(size), uint64(start)))
	}
	return err
}

// endSegment writes the end of the last file, and takes the directory apart.
func (z *zipFile) endSegment() error {
	if err := z.out.Flush(); err != nil {
		return err
	}
	var end bytes.Buffer
	z.to.held = &end
	err := z.out.Close()
	z.to.held = nil
	if err != nil {
		return err
	}
	start, length, err := findDirectory(end.Bytes())
	if err != nil {
		return err
	}
	if _, err := z.to.Write(end.Next(int(start - z.to.written))); err != nil {
		return err
	}
	z.records += uint64(z.files)
	_, err = z.directory.Write(end.Next(int(length)))
	return err
}

// The records at the end of a ZIP, by their marks and lengths (APPNOTE.TXT 4.3.14 to 4.3.16).
const (
	endMark         = 0x06054b50
	endLength       = 22
	end64Mark       = 0x06064b50
	end64Length     = 56
	locator64Mark   = 0x07064b50
	locator64Length = 20
	zip64Version    = 45
)

// findDirectory reads the records that package zip has written last: where the directory begins in the ZIP, and how long it is.
func findDirectory(end []byte) (start, length int64, err error) {
	le := binary.LittleEndian
	record := end[max(0, len(end)-endLength):]
	if len(record) < endLength || le.Uint32(record) != endMark {
		return 0, 0, errors.New("package zip has ended a ZIP otherwise than it did")
	}
	start, length = int64(le.Uint32(record[16:])), int64(le.Uint32(record[12:]))
	if start != math.MaxUint32 && length != math.MaxUint32 {
		return start, length, nil
	}
	record = end[max(0, len(end)-endLength-locator64Length-end64Length):]
	if len(record) < end64Length || le.Uint32(record) != end64Mark {
		return 0, 0, errors.New("package zip has ended a large ZIP otherwise than it did")
	}
	return int64(le.Uint64(record[48:])), int64(le.Uint64(record[40:])), nil
}

// endRecords returns the end of a ZIP with a directory of so many records and bytes, that begins at start.
func endRecords(records, size, start uint64) (b []byte) {
	le := binary.LittleEndian
	if records >= math.MaxUint16 || size >= math.MaxUint32 || start >= math.MaxUint32 {
		b = le.AppendUint32(b, end64Mark)
		b = le.AppendUint64(b, end64Length-12) // of what follows
		b = le.AppendUint16(b, zip64Version)
		b = le.AppendUint16(b, zip64Version)
		b = append(b, make([]byte, 8)...) // one disk
		for _, n := range []uint64{records, records, size, start} {
			b = le.AppendUint64(b, n)
		}
		b = le.AppendUint32(b, locator64Mark)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint64(b, start+size)
		b = le.AppendUint32(b, 1)
	}
	b = le.AppendUint32(b, endMark)
	b = append(b, make([]byte, 4)...) // one disk
	for range 2 {
		b = le.AppendUint16(b, uint16(min(records, math.MaxUint16)))
	}
	b = le.AppendUint32(b, uint32(min(size, math.MaxUint32)))
	b = le.AppendUint32(b, uint32(min(start, math.MaxUint32)))
	return append(b, 0, 0) // no comment
}
