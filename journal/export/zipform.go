package export

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/flate"

	"copialettere/journal/sealing"
)

// zipForm is FormZIP. What is there of the ZIP is read as long as it is as it must be, from the front: the directory at the end is made anew. So that
// package zip can write that, what is kept is told it once more, and comes to nothing: see resumedWriter.
type zipForm struct {
	run       *run
	names     *names
	final     string // names on the disk: of the ZIP, and of it in the work folder
	part      string
	begun     bool
	zip       *zipFile
	to        *resumedWriter
	directory *outFile // of the ZIP
	out       *grown   // once something is written
	file      file     // that scan reads
	scan      *zipScanner
	files     int // in the ZIP
}

// openZIP opens a ZIP that is whole, or what there is of it. It changes nothing yet.
func openZIP(r *run) (form, error) {
	info, err := os.Stat(r.To)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: a ZIP is one file; name a file, such as archive.zip", ErrOther)
	case err == nil:
		if ours, err := r.isZIP(); err != nil || !ours {
			return nil, errors.Join(fmt.Errorf("%w: choose another file", ErrOther), err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	if err := r.begin(filepath.Dir(r.To)); err != nil {
		return nil, err
	}
	return &zipForm{run: r, names: newNames(time.UTC), final: filepath.Base(r.To), part: r.temporary("zip")}, nil
}

// isZIP reports whether what is there is a ZIP of the export that is asked for.
func (r *run) isZIP() (bool, error) {
	f, err := (&disk{root: filepath.Dir(r.To), key: r.Key}).open(filepath.Base(r.To), os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	one, err := newZIPScanner(f).next()
	return one != nil && one.is(orderName, int64(len(r.order)), digestOf(r.order)), err
}

// begin reads what is there.
func (z *zipForm) begin() (err error) {
	if z.begun {
		return nil
	}
	z.begun = true
	if _, err := os.Stat(z.run.disk.path(z.final)); err == nil {
		if err := z.run.disk.rename(z.final, z.part); err != nil {
			return err
		}
	}
	z.to = &resumedWriter{limit: math.MaxInt64}
	if z.directory, err = z.run.disk.create(z.run.temporary("directory")); err != nil {
		return err
	}
	z.zip = newZIPFile(z.to, time.UTC, z.directory)
	z.zip.now = z.run.made()
	file, err := z.run.disk.open(z.part, os.O_RDONLY)
	switch {
	case err == nil:
		forget(file)
		z.file, z.scan = file, newZIPScanner(file)
		ok, err := z.keepNext(orderName, int64(len(z.run.order)), digestOf(z.run.order))
		if err != nil || ok {
			return err
		}
	case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, sealing.ErrDamaged):
		return err
	}
	if err := z.cut(); err != nil {
		return err
	}
	z.files++
	return z.zip.add(orderName, time.Time{}, bytes.NewReader(z.run.order))
}

// keepNext keeps the next file of what is there if it is the one that is expected.
func (z *zipForm) keepNext(name string, size int64, digest string) (bool, error) {
	if z.scan == nil {
		return false, nil
	}
	one, err := z.scan.peek()
	if err != nil || one == nil || !one.is(name, size, digest) {
		return false, err
	}
	z.scan.take()
	z.files++
	err = z.zip.addRaw(&one.header, zeros{})
	return err == nil, err
}

func (z *zipForm) foresee([]*Message) {}

// needs is true once something is written: nothing is kept behind that.
func (z *zipForm) needs(m *Message) bool { return z.out != nil }

func (z *zipForm) keep(m *Message) (place, bool, error) {
	if err := z.begin(); err != nil {
		return place{}, false, err
	}
	name := z.names.eml(m)
	ok, err := z.keepNext(name, m.Size, m.SHA256)
	return place{file: name}, ok, err
}

func (z *zipForm) put(m *Message, content io.Reader) (place, error) {
	if err := z.cut(); err != nil {
		return place{}, err
	}
	name := z.names.eml(m)
	z.files++
	return place{file: name}, z.zip.add(name, m.Date, content)
}

// cut cuts off what follows the last file that is as it must be, and goes on to write.
func (z *zipForm) cut() (err error) {
	if z.out != nil {
		return nil
	}
	size := int64(0)
	if z.scan != nil {
		size = z.scan.start
		z.stopReading()
	}
	if z.out, err = z.run.disk.grow(z.part, size); err != nil {
		return err
	}
	if err := z.zip.flush(); err != nil {
		return err
	}
	return z.to.resume(z.out.sum, size)
}

func (z *zipForm) stopReading() {
	if z.file != nil {
		z.file.Close()
	}
	z.file, z.scan = nil, nil
}

func (z *zipForm) settled() bool { return false }

func (z *zipForm) settle() error {
	if z.out == nil {
		return nil
	}
	if err := z.zip.flush(); err != nil {
		return err
	}
	return z.out.settle()
}

func (z *zipForm) end(*tables) error { return z.begin() }

func (z *zipForm) finish(t *tables) (digest string, err error) {
	if err := z.cut(); err != nil {
		return "", err
	}
	if err := t.into(z.zip); err != nil {
		return "", err
	}
	if err := z.zip.close(); err != nil {
		return "", err
	}
	if err := z.out.complete(z.final); err != nil {
		return "", err
	}
	return z.out.sum.digest(), nil
}

func (z *zipForm) abandon() {
	z.stopReading()
	if z.directory != nil {
		z.directory.Close()
	}
	if z.out != nil {
		z.out.Close()
	}
}

// zeros is an endless reader. What stands in for bytes that are in the file already is never written.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// resumedWriter drops what is written to it before some offset, because a file has it already, and passes on the rest.
type resumedWriter struct {
	to     io.Writer
	offset int64
	limit  int64
}

// Write implements io.Writer.
func (w *resumedWriter) Write(b []byte) (int, error) {
	dropped := int(min(max(w.limit-w.offset, 0), int64(len(b))))
	w.offset += int64(len(b))
	if dropped == len(b) {
		return len(b), nil
	}
	n, err := w.to.Write(b[dropped:])
	return dropped + n, err
}

// resume passes on what is written from an offset on, which cannot have come yet.
func (w *resumedWriter) resume(to io.Writer, offset int64) error {
	if w.offset > offset {
		return fmt.Errorf("the ZIP resumes at %d, and %d bytes of it are told", offset, w.offset)
	}
	w.to, w.limit = to, offset
	return nil
}

// scanned is a file in a ZIP that was read through.
type scanned struct {
	header zip.FileHeader
	digest string
}

func (s *scanned) is(name string, size int64, digest string) bool {
	return s.header.Name == name && int64(s.header.UncompressedSize64) == size && s.digest == digest
}

// zipScanner reads the files of a ZIP that this package has written, from the front, without its directory.
type zipScanner struct {
	in     *counted
	r      *bufio.Reader // of in; package flate reads no byte too many from it
	plain  io.Reader     // what is inflated, a flate.Resetter; nil before the first file
	start  int64         // of the file that is read next
	end    int64         // of the one that was peeked at
	peeked *scanned
	over   bool // there is no further file that is whole
}

func newZIPScanner(r io.Reader) *zipScanner {
	in := &counted{r: r}
	return &zipScanner{in: in, r: bufio.NewReaderSize(in, 256<<10)}
}

// offset returns how much was read.
func (s *zipScanner) offset() int64 { return s.in.n - int64(s.r.Buffered()) }

// inflate returns a reader of what is deflated from here on.
func (s *zipScanner) inflate() io.Reader {
	if s.plain == nil {
		s.plain = flate.NewReader(s.r)
	} else {
		s.plain.(flate.Resetter).Reset(s.r, nil) // it never fails
	}
	return s.plain
}

// peek reads the next file, and returns the same one again until it is taken. Nil is the end of those that are whole.
func (s *zipScanner) peek() (*scanned, error) {
	if s.peeked != nil || s.over {
		return s.peeked, nil
	}
	one, err := s.next()
	if one == nil {
		s.over = true
		return nil, err
	}
	s.peeked = one
	return one, nil
}

// take goes on behind the file that was peeked at.
func (s *zipScanner) take() { s.start, s.peeked = s.end, nil }

// The parts of a ZIP, by their marks.
const (
	localMark       = 0x04034b50
	descriptorMark  = 0x08074b50
	localLength     = 30
	descriptorSize  = 16
	zipVersion      = 20
	flagDescriptor  = 0x8
	maxScannedExtra = 1 << 10
)

// next reads a file. It is nil where none follows that package zip has written as this package has it do: deflated, with the sizes behind the content.
func (s *zipScanner) next() (*scanned, error) {
	begun := s.offset()
	var fixed [localLength]byte
	if _, err := io.ReadFull(s.r, fixed[:]); err != nil {
		return nil, unlessEnd(err)
	}
	le := binary.LittleEndian
	nameLength, extraLength := int(le.Uint16(fixed[26:])), int(le.Uint16(fixed[28:]))
	h := zip.FileHeader{CreatorVersion: zipVersion, ReaderVersion: le.Uint16(fixed[4:]), Flags: le.Uint16(fixed[6:]), Method: le.Uint16(fixed[8:])}
	//lint:ignore SA1019 CreateRaw writes these two, and not Modified
	h.ModifiedTime, h.ModifiedDate = le.Uint16(fixed[10:]), le.Uint16(fixed[12:])
	if le.Uint32(fixed[:]) != localMark || h.ReaderVersion != zipVersion || h.Flags&flagDescriptor == 0 || h.Method != zip.Deflate ||
		!bytes.Equal(fixed[14:26], make([]byte, 12)) || extraLength > maxScannedExtra {
		return nil, nil
	}
	names := make([]byte, nameLength+extraLength)
	if _, err := io.ReadFull(s.r, names); err != nil {
		return nil, unlessEnd(err)
	}
	h.Name, h.Extra = string(names[:nameLength]), names[nameLength:]
	before := s.offset()
	sum, check := sha256.New(), crc32.NewIEEE()
	size, err := io.Copy(io.MultiWriter(sum, check), io.LimitReader(s.inflate(), math.MaxUint32)) // more is not read back below
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, unlessEnd(err)
	}
	h.UncompressedSize64, h.CompressedSize64, h.CRC32 = uint64(size), uint64(s.offset()-before), check.Sum32()
	var descriptor [descriptorSize]byte
	if _, err := io.ReadFull(s.r, descriptor[:]); err != nil {
		return nil, unlessEnd(err)
	}
	if h.UncompressedSize64 >= math.MaxUint32 || h.CompressedSize64 >= math.MaxUint32 || le.Uint32(descriptor[:]) != descriptorMark ||
		le.Uint32(descriptor[4:]) != h.CRC32 || le.Uint32(descriptor[8:]) != uint32(h.CompressedSize64) || le.Uint32(descriptor[12:]) != uint32(size) {
		return nil, nil
	}
	s.end = s.start + s.offset() - begun
	return &scanned{h, hex.EncodeToString(sum.Sum(nil))}, nil
}

// unlessEnd returns an error unless it only says that a file ends early, or is damaged where it is sealed.
func unlessEnd(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sealing.ErrDamaged) {
		return nil
	}
	return err
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
