package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"copialettere/journal/durable"
	"copialettere/journal/sealing"
)

// ErrCompare says that a file that was written reads otherwise from the disk.
var ErrCompare = errors.New("what was written reads otherwise: the disk cannot be trusted")

// disk is the file system that is written to. Names are relative to its root.
type disk struct {
	root string
	key  *[32]byte // files are sealed by it: see package sealing; nil where they are in the clear
	// step is called before everything that can fail: "create NAME", "write NAME", "sync NAME", "rename NAME", "read NAME". Tests make it fail. Commit
	// calls it from several goroutines.
	step    func(what string) error
	buffers sync.Pool // *[64 << 10]byte, which files are read back with
}

func (d *disk) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

// create creates a file, or makes it empty, and the folders that it lies in.
func (d *disk) create(name string) (*outFile, error) {
	if err := d.step("create " + name); err != nil {
		return nil, err
	}
	flags := os.O_RDWR | os.O_CREATE | os.O_TRUNC
	f, err := os.OpenFile(d.path(name), flags, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err := durable.MakeFolder(filepath.Dir(d.path(name))); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(d.path(name), flags, 0o600)
	}
	if err != nil {
		return nil, err
	}
	out, err := d.sealed(f, sealing.Create)
	if err != nil {
		return nil, err
	}
	return &outFile{file: out, disk: d, name: name}, nil
}

// file is a file of a disk, sealed or not.
type file interface {
	io.ReadWriteSeeker
	io.ReaderAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Fd() uintptr
}

// open opens a file for reading, and with os.O_RDWR for writing too.
func (d *disk) open(name string, flag int) (file, error) {
	f, err := os.OpenFile(d.path(name), flag, 0)
	if err != nil {
		return nil, err
	}
	return d.sealed(f, sealing.Open)
}

// sealed returns a file that is sealed, or is to be, as what it holds, and closes it where that fails.
func (d *disk) sealed(f *os.File, open func(*os.File, [32]byte) (*sealing.File, error)) (file, error) {
	if d.key == nil {
		return f, nil
	}
	s, err := open(f, *d.key)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// rename gives a file its final name, which a later sync of the folder makes durable.
func (d *disk) rename(from, to string) error {
	if err := d.step("rename " + to); err != nil {
		return err
	}
	err := os.Rename(d.path(from), d.path(to))
	if errors.Is(err, os.ErrNotExist) {
		if err := durable.MakeFolder(filepath.Dir(d.path(to))); err != nil {
			return err
		}
		err = os.Rename(d.path(from), d.path(to))
	}
	return err
}

func (d *disk) syncFolder(name string) error {
	if err := d.step("sync " + name); err != nil {
		return err
	}
	return durable.SyncFolder(d.path(name))
}

// digestOf reads a file from the disk, and not from memory where the system lets us, and returns its SHA-256.
func (d *disk) digestOf(name string) (digest string, size int64, err error) {
	if err := d.step("read " + name); err != nil {
		return "", 0, err
	}
	f, err := d.open(name, os.O_RDONLY)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	forget(f)
	buffer, _ := d.buffers.Get().(*[64 << 10]byte)
	if buffer == nil {
		buffer = new([64 << 10]byte)
	}
	defer d.buffers.Put(buffer)
	sum := sha256.New()
	size, err = io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{f}, buffer[:])
	return hex.EncodeToString(sum.Sum(nil)), size, err
}

// holds reports whether a file has a size and a digest. One that cannot be read has not.
func (d *disk) holds(name string, size int64, digest string) bool {
	info, err := os.Stat(d.path(name))
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false
	}
	got, _, err := d.digestOf(name)
	return err == nil && got == digest
}

// forget takes what is synced of a file out of the memory of the system, so the next read is from the disk. It is no more than a wish.
func forget(f file) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// outFile is a file that is written.
type outFile struct {
	file
	disk *disk
	name string
}

// Write implements io.Writer.
func (f *outFile) Write(b []byte) (int, error) {
	if err := f.disk.step("write " + f.name); err != nil {
		return 0, err
	}
	return f.file.Write(b)
}

// content returns all that was written.
func (f *outFile) content() io.Reader { return io.NewSectionReader(f, 0, 1<<62) }

// sync makes the content durable.
func (f *outFile) sync() error {
	if err := f.disk.step("sync " + f.name); err != nil {
		return err
	}
	return f.file.Sync()
}

// Limits of a batch.
const (
	batchFiles   = 256
	batchBytes   = 32 << 20
	batchWorkers = 32
)

// batch is files that are made durable together, which is several times as fast as one by one.
type batch struct {
	disk  *disk
	files []batchFile
	bytes int64
}

// batchFile is a file of a batch, written and still open.
type batchFile struct {
	*outFile
	final  string
	size   int64
	digest string
}

// add writes content to a file, which gets its final name with the commit.
func (b *batch) add(temporary, final string, content io.Reader, size int64, digest string, date time.Time) error {
	f, err := b.disk.create(temporary)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", final, err)
	}
	if !date.IsZero() {
		if err := os.Chtimes(b.disk.path(temporary), date, date); err != nil {
			f.Close()
			return fmt.Errorf("date of %s: %w", final, err)
		}
	}
	b.files = append(b.files, batchFile{f, final, size, digest})
	b.bytes += size
	return nil
}

func (b *batch) full() bool { return len(b.files) >= batchFiles || b.bytes >= batchBytes }

// commit makes the files durable, renames them, syncs their folders, and compares what the disk has of them with their digests.
func (b *batch) commit() error {
	defer b.abandon()
	if err := b.sync(); err != nil {
		return err
	}
	var folders []string
	for i := range b.files {
		f := &b.files[i]
		if err := b.disk.rename(f.name, f.final); err != nil {
			return err
		}
		for _, name := range []string{filepath.Dir(f.name), filepath.Dir(f.final)} {
			if !slices.Contains(folders, name) {
				folders = append(folders, name)
			}
		}
	}
	for _, folder := range folders {
		if err := b.disk.syncFolder(folder); err != nil {
			return err
		}
	}
	return b.each(func(f *batchFile) error { return b.disk.compare(f.final, f.size, f.digest) })
}

// sync makes the content of the files durable: all at once, which asks the disk for less than one by one. Where that fails it may be for files of others,
// so each is then asked for by itself.
func (b *batch) sync() error {
	if len(b.files) > 1 {
		for i := range b.files {
			if err := b.disk.step("sync " + b.files[i].name); err != nil {
				return fmt.Errorf("sync %s: %w", b.files[i].final, err)
			}
		}
		if unix.Syncfs(int(b.files[0].Fd())) == nil {
			return nil
		}
	}
	return b.each(func(f *batchFile) error {
		if err := f.sync(); err != nil {
			return fmt.Errorf("sync %s: %w", f.final, err)
		}
		return nil
	})
}

// compare reads a file back, and returns ErrCompare if it is not as it was written.
func (d *disk) compare(name string, size int64, digest string) error {
	got, n, err := d.digestOf(name)
	if err != nil {
		return fmt.Errorf("read %s back: %w", name, err)
	}
	if n != size || got != digest {
		return fmt.Errorf("%s: %w", name, ErrCompare)
	}
	return nil
}

// each calls do with all files, several at a time, and returns the errors.
func (b *batch) each(do func(*batchFile) error) error {
	errs := make([]error, len(b.files))
	atOnce(len(b.files), func(i int) { errs[i] = do(&b.files[i]) })
	return errors.Join(errs...)
}

// atOnce calls do with the numbers below n, several at a time, and returns when all have returned.
func atOnce(n int, do func(i int)) {
	var group sync.WaitGroup
	turns := make(chan struct{}, batchWorkers)
	for i := range n {
		turns <- struct{}{}
		group.Go(func() {
			do(i)
			<-turns
		})
	}
	group.Wait()
}

// abandon closes all files, and begins the next batch.
func (b *batch) abandon() {
	for _, f := range b.files {
		f.Close()
	}
	b.files, b.bytes = b.files[:0], 0
}

// maxHeld is how much of a message is held in memory before it goes to a file.
const maxHeld = 4 << 20

// held is the bytes of one message, in memory or in a file.
type held struct {
	memory bytes.Buffer
	file   *outFile // nil while memory suffices
	disk   *disk
	name   string
}

// Write implements io.Writer.
func (h *held) Write(b []byte) (int, error) {
	if h.file == nil && h.memory.Len()+len(b) > maxHeld {
		var err error
		if h.file, err = h.disk.create(h.name); err != nil {
			return 0, err
		}
		if _, err := h.file.Write(h.memory.Bytes()); err != nil {
			return 0, err
		}
		h.memory = bytes.Buffer{}
	}
	if h.file != nil {
		return h.file.Write(b)
	}
	return h.memory.Write(b)
}

// reader returns the bytes from the first on. Another call begins again.
func (h *held) reader() io.Reader {
	if h.file == nil {
		return bytes.NewReader(h.memory.Bytes())
	}
	return h.file.content()
}

// reset forgets the message.
func (h *held) reset() {
	h.memory.Reset()
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}
