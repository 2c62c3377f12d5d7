package level

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
)

var errPowerCut = errors.New("the power is cut")

// disk is a disk in memory that behaves as badly as a real one. A power cut loses everything unsynced, names of files too. Writes and
// syncs fail on demand.
type disk struct {
	mu      sync.Mutex
	folders map[string]*folder
	power   int           // counts the power cuts: a storage opened before the last one is dead
	off     bool          // the power is off
	opens   int           // counts the tries to open a folder
	hold    chan struct{} // if not nil, syncs wait until it is closed
	fault   kvtest.Fault
	armed   bool             // fault will happen
	only    storage.FileType // if not 0, fault happens only to files of this type
	trace   []string         // what was done, if tracing
	tracing bool
}

type folder struct {
	current, stable         map[storage.FileDesc]*inode // names as seen, and as a power cut leaves them
	currentMeta, stableMeta storage.FileDesc
	locked                  bool
}

// inode is the content of a file. Files are only appended to.
type inode struct {
	data   []byte
	stable []byte // the content that a power cut leaves
	clean  int    // data up to here is never written again: it was written, or its sync failed
}

func newDisk() *disk { return &disk{folders: make(map[string]*folder)} }

// open opens the storage of a folder.
func (d *disk) open(name string) (storage.Storage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opens++
	if d.off {
		return nil, errPowerCut
	}
	if d.folders[name] == nil {
		d.folders[name] = &folder{
			current: make(map[storage.FileDesc]*inode), stable: make(map[storage.FileDesc]*inode),
		}
	}
	return &session{disk: d, folder: d.folders[name], power: d.power}, nil
}

// cut cuts the power. A random part of the unsynced writes remains.
func (d *disk) cut(r *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power++
	d.off, d.armed = true, false
	for _, f := range d.folders {
		f.locked = false
		f.current, f.currentMeta = maps.Clone(f.stable), f.stableMeta
		for _, n := range f.current {
			if tail := len(n.data) - len(n.stable); tail > 0 && n.clean == len(n.stable) {
				n.stable = append(n.stable, n.data[len(n.stable):len(n.stable)+r.IntN(tail+1)]...)
			}
			n.data = bytes.Clone(n.stable)
			n.clean = len(n.data)
		}
	}
}

// holdSync makes all syncs wait until hold is closed.
func (d *disk) holdSync(hold chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hold = hold
}

func (d *disk) erase(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.folders, name)
}

// happens reports whether the armed fault is one of faults, and disarms it unless it lasts.
func (d *disk) happens(faults ...kvtest.Fault) bool {
	for _, f := range faults {
		if d.armed && d.fault == f {
			d.armed = f == kvtest.NoSpace
			return true
		}
	}
	return false
}

func (d *disk) record(format string, args ...any) {
	if d.tracing {
		d.trace = append(d.trace, fmt.Sprintf(format, args...))
	}
}

// session is a storage.Storage on a folder of a disk.
type session struct {
	disk   *disk
	folder *folder
	power  int
	closed bool
}

var _ storage.Storage = (*session)(nil)

// do runs an operation if there is power.
func (s *session) do(operation func() error) error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	if s.power != s.disk.power {
		return errPowerCut
	}
	return operation()
}

func (s *session) Log(string) {}

func (s *session) Lock() (storage.Locker, error) {
	return s, s.do(func() error {
		if s.folder.locked {
			return storage.ErrLocked
		}
		s.folder.locked = true
		return nil
	})
}

func (s *session) Unlock() {
	_ = s.do(func() error { s.folder.locked = false; return nil })
}

func (s *session) SetMeta(fd storage.FileDesc) error {
	return s.do(func() error {
		if s.disk.happens(kvtest.NoSpace) {
			return syscall.ENOSPC
		}
		s.disk.record("current %s", fd)
		s.folder.currentMeta, s.folder.stableMeta = fd, fd
		s.folder.stable = maps.Clone(s.folder.current)
		return nil
	})
}

func (s *session) GetMeta() (fd storage.FileDesc, err error) {
	err = s.do(func() error {
		if fd = s.folder.currentMeta; fd.Zero() || s.folder.current[fd] == nil {
			return fs.ErrNotExist
		}
		return nil
	})
	return fd, err
}

func (s *session) List(types storage.FileType) (fds []storage.FileDesc, err error) {
	err = s.do(func() error {
		for fd := range s.folder.current {
			if fd.Type&types != 0 {
				fds = append(fds, fd)
			}
		}
		return nil
	})
	return fds, err
}

func (s *session) Open(fd storage.FileDesc) (r storage.Reader, err error) {
	err = s.do(func() error {
		n := s.folder.current[fd]
		if n == nil {
			return fs.ErrNotExist
		}
		r = &reader{bytes.NewReader(n.data)}
		return nil
	})
	return r, err
}

func (s *session) Create(fd storage.FileDesc) (w storage.Writer, err error) {
	err = s.do(func() error {
		if s.disk.happens(kvtest.NoSpace) {
			return syscall.ENOSPC
		}
		s.disk.record("create %s", fd)
		n := new(inode)
		s.folder.current[fd] = n
		w = &writer{session: s, fd: fd, inode: n}
		return nil
	})
	return w, err
}

func (s *session) Remove(fd storage.FileDesc) error {
	return s.do(func() error {
		if s.folder.current[fd] == nil {
			return fs.ErrNotExist
		}
		s.disk.record("remove %s", fd)
		delete(s.folder.current, fd)
		return nil
	})
}

func (s *session) Rename(from, to storage.FileDesc) error {
	return s.do(func() error {
		if s.folder.current[from] == nil {
			return fs.ErrNotExist
		}
		s.folder.current[to] = s.folder.current[from]
		delete(s.folder.current, from)
		return nil
	})
}

func (s *session) SyncNames() error {
	return s.do(func() error {
		s.disk.record("sync names")
		s.folder.stable = maps.Clone(s.folder.current)
		return nil
	})
}

func (s *session) Close() error {
	return s.do(func() error { s.closed = true; return nil })
}

type reader struct{ *bytes.Reader }

func (r *reader) Close() error { return nil }

type writer struct {
	session *session
	fd      storage.FileDesc
	inode   *inode
}

func (w *writer) Write(p []byte) (n int, err error) {
	err = w.session.do(func() error {
		d := w.session.disk
		if len(p) == 0 {
			return nil
		}
		d.record("write %s", w.fd)
		switch {
		case d.happens(kvtest.NoSpace):
			return syscall.ENOSPC
		case d.happens(kvtest.FailedWrite):
			return syscall.EIO
		case d.happens(kvtest.ShortWrite):
			n = len(p) / 2
			w.inode.data = append(w.inode.data, p[:n]...)
			return io.ErrShortWrite
		}
		n = len(p)
		w.inode.data = append(w.inode.data, p...)
		return nil
	})
	return n, err
}

func (w *writer) Sync() error {
	w.session.disk.mu.Lock()
	hold := w.session.disk.hold
	w.session.disk.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return w.session.do(func() error {
		d, n := w.session.disk, w.inode
		d.record("sync %s", w.fd)
		failed := false
		switch {
		case d.only != 0 && d.only&w.fd.Type == 0:
		case d.happens(kvtest.SyncFailedLost):
			// As in Linux: the pages count as clean, can be read, and are never written.
			n.clean = len(n.data)
			return syscall.EIO
		case d.happens(kvtest.SyncFailedGone):
			n.data = bytes.Clone(n.stable)
			return syscall.EIO
		case d.happens(kvtest.SyncFailedKept):
			failed = true
		}
		n.stable = append(n.stable, make([]byte, len(n.data)-len(n.stable))...)
		copy(n.stable[n.clean:], n.data[n.clean:])
		n.clean = len(n.data)
		if w.fd.Type == storage.TypeManifest { // as goleveldb's storage on files does
			w.session.folder.stable = maps.Clone(w.session.folder.current)
		}
		if failed {
			return syscall.EIO
		}
		return nil
	})
}

func (w *writer) Close() error { return nil }

// onBadDisk is an engine on a disk in memory, with its acknowledged marks in files.
type onBadDisk struct {
	*disk
	dir  string
	opts Options
	rand *rand.Rand
}

var _ kvtest.Faulty = (*onBadDisk)(nil)

func newBadDisk(t testing.TB) *onBadDisk {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed of the disk: %d", seed)
		}
	})
	return &onBadDisk{disk: newDisk(), dir: t.TempDir(), rand: rand.New(rand.NewPCG(seed, 0))}
}

func (f *onBadDisk) Open(t testing.TB) kv.Engine {
	f.mu.Lock()
	f.off = false
	f.mu.Unlock()
	opts := f.opts
	opts.Storage = func(name string) (storage.Storage, error) {
		// The folder of a volume that was dropped is gone, or new and without a mark.
		if _, err := os.Stat(filepath.Join(f.dir, name, markName)); errors.Is(err, fs.ErrNotExist) {
			f.erase(name)
		}
		return f.open(name)
	}
	opts.Logger = testLogger(t)
	e, err := Open(f.dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TakeAway implements kvtest.Absent.
func (f *onBadDisk) TakeAway(t testing.TB, m kv.Month) (putBack func()) {
	putFolderBack := takeAway(t, f.dir, m)
	name := cmp.Or(string(m), settingsName)
	f.mu.Lock()
	defer f.mu.Unlock()
	files := f.folders[name]
	delete(f.folders, name)
	return func() {
		putFolderBack()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.folders[name] = files
	}
}

func (f *onBadDisk) Inject(fault kvtest.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.armed = fault, true
}

func (f *onBadDisk) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
}

// PowerCut implements kvtest.Faulty. Half of the time the marks are older afterwards.
func (f *onBadDisk) PowerCut(t testing.TB, e kv.Engine) {
	f.cut(f.rand)
	e.Close() // its disk is dead: ignore errors
	if f.rand.IntN(2) == 0 {
		return
	}
	marks, err := filepath.Glob(filepath.Join(f.dir, "*", markName))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range marks {
		if err := os.WriteFile(path, encodeMark(0), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Damage implements kvtest.Faulty.
func (f *onBadDisk) Damage(t testing.TB, m kv.Month, damage kvtest.Damage) {
	n, fd := f.newestLog(t, m)
	if len(n.data) < 1000 {
		t.Fatalf("%s has %d bytes, too few to damage", fd, len(n.data))
	}
	switch damage {
	case kvtest.FlippedInside:
		n.data[len(n.data)/2] ^= 0x10
	case kvtest.FlippedAtEnd:
		n.data[len(n.data)-3] ^= 0x10
	case kvtest.CutOff:
		n.data = n.data[:len(n.data)-3]
	case kvtest.HalfWritten:
		// The beginning of a record of 200 bytes, as a crash in a write leaves it.
		n.data = append(n.data, 1, 2, 3, 4, 200, 0, 1, 'b', 'e', 'g')
	case kvtest.ZerosAtEnd:
		n.data = append(n.data, make([]byte, 5000)...)
	}
	n.stable, n.clean = bytes.Clone(n.data), len(n.data)
}

func (f *onBadDisk) newestLog(t testing.TB, m kv.Month) (*inode, storage.FileDesc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var newest storage.FileDesc
	for fd := range f.folders[string(m)].current {
		if fd.Type == storage.TypeJournal && fd.Num >= newest.Num {
			newest = fd
		}
	}
	n := f.folders[string(m)].current[newest]
	if n == nil {
		t.Fatalf("volume %s has no log", m)
	}
	return n, newest
}
