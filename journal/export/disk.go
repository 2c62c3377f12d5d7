package export

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
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
	f, err := openFile(d.path(name), flags)
	if errors.Is(err, os.ErrNotExist) {
		if err := durable.MakeFolder(filepath.Dir(d.path(name))); err != nil {
			return nil, err
		}
		f, err = openFile(d.path(name), flags)
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
	f, err := openFile(d.path(name), flag)
	if err != nil {
		return nil, err
	}
	return d.sealed(f, sealing.Open)
}

// openFile opens a file as os.OpenFile does, without what that does for files that can be waited for: for a small one these are many system calls.
func openFile(path string, flag int) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flag|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
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
	sum := sha256.New()
	size, err = d.read(name, sum, forget)
	return hex.EncodeToString(sum.Sum(nil)), size, err
}

// read writes what a file has to a hash. Before that it calls prepare with the file.
func (d *disk) read(name string, to hash.Hash, prepare func(file)) (size int64, err error) {
	if err := d.step("read " + name); err != nil {
		return 0, err
	}
	f, err := d.open(name, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	prepare(f)
	buffer, _ := d.buffers.Get().(*[64 << 10]byte)
	if buffer == nil {
		buffer = new([64 << 10]byte)
	}
	defer d.buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{f}, buffer[:])
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

// refresh forgets a file, and has the system begin to read it from the disk.
func refresh(f file) {
	forget(f)
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_WILLNEED)
}

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
	batchWorkers = 32 // where each waits for the disk
	batchAhead   = 32 // files that are on their way from the disk
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
	final string
	size  int64
	sum   uint64 // xxHash of what was written: see digested
}

// add writes content to a file, which gets its final name with the commit.
func (b *batch) add(temporary, final string, content io.Reader, date time.Time) error {
	f, err := b.disk.create(temporary)
	if err != nil {
		return err
	}
	sum := xxhash.New()
	size, err := io.Copy(io.MultiWriter(f, sum), content)
	if err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", final, err)
	}
	if !date.IsZero() {
		if err := os.Chtimes(b.disk.path(temporary), date, date); err != nil {
			f.Close()
			return fmt.Errorf("date of %s: %w", final, err)
		}
	}
	b.files = append(b.files, batchFile{f, final, size, sum.Sum64()})
	b.bytes += size
	return nil
}

func (b *batch) full() bool { return len(b.files) >= batchFiles || b.bytes >= batchBytes }

// commit makes the files durable, renames them, syncs their folders, and compares what the disk has of them with their digests.
func (b *batch) commit() error {
	defer b.abandon()
	if err := b.makeDurable(); err != nil {
		return err
	}
	return b.compare()
}

// makeDurable makes the files durable under their final names.
func (b *batch) makeDurable() error {
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
	return nil
}

// compare reads the files back. The next ones are on their way from the disk meanwhile, so few goroutines suffice.
func (b *batch) compare() error {
	for i := range b.files[:min(len(b.files), batchAhead)] {
		refresh(b.files[i].file)
	}
	errs := make([]error, len(b.files))
	atOnce(len(b.files), runtime.GOMAXPROCS(0), func(i int) {
		if i+batchAhead < len(b.files) {
			refresh(b.files[i+batchAhead].file)
		}
		errs[i] = b.compareOne(&b.files[i])
	})
	return errors.Join(errs...)
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

// compareOne reads a file back, which was refreshed, and returns ErrCompare if it is not as it was written.
func (b *batch) compareOne(f *batchFile) error {
	sum := xxhash.New()
	n, err := b.disk.read(f.final, sum, func(file) {})
	if err != nil {
		return fmt.Errorf("read %s back: %w", f.final, err)
	}
	if n != f.size || sum.Sum64() != f.sum {
		return fmt.Errorf("%s: %w", f.final, ErrCompare)
	}
	return nil
}

// each calls do with all files, several at a time, and returns the errors.
func (b *batch) each(do func(*batchFile) error) error {
	errs := make([]error, len(b.files))
	atOnce(len(b.files), batchWorkers, func(i int) { errs[i] = do(&b.files[i]) })
	return errors.Join(errs...)
}

// atOnce calls do with the numbers below n, in their order, so many at a time, and returns when all have returned.
func atOnce(n, workers int, do func(i int)) {
	var group sync.WaitGroup
	var next atomic.Int64
	for range min(n, workers) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
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
