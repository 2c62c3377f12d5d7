package export

import (
	"fmt"
	"io"
	"os"
	"path"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

// grown is a file that is written from some place on, and read back while it grows. Its methods are for one goroutine.
type grown struct {
	*outFile
	sum *digested // of all of it; writes go there

	back   *xxhash.Digest // of what was read back; of the goroutine under way, then of whoever waited for it
	read   int64          // bytes that were read back; likewise
	failed error          // why the rest was not; likewise
	under  chan struct{}  // closed when the goroutine that reads back has ended; nil for none
}

// grow opens a file to write from an offset on, or makes it. What it had behind that is cut off.
func (d *disk) grow(name string, offset int64) (*grown, error) {
	if offset == 0 {
		out, err := d.create(name)
		if err != nil {
			return nil, err
		}
		return newGrown(out), nil
	}
	if err := d.step("create " + name); err != nil {
		return nil, err
	}
	f, err := d.open(name, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	g := newGrown(&outFile{f, d, name})
	if err := f.Truncate(offset); err != nil {
		f.Close()
		return nil, err
	}
	n, err := io.Copy(io.MultiWriter(g.sum.sum, g.sum.quick), io.NewSectionReader(f, 0, offset))
	if g.sum.size = n; err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return g, nil
}

func newGrown(out *outFile) *grown {
	return &grown{outFile: out, sum: newDigested(out), back: xxhash.New()}
}

// settle makes durable what was written, and begins to read it back.
func (g *grown) settle() error {
	if err := g.sync(); err != nil {
		return err
	}
	if g.disk.key != nil {
		return nil // the end of a sealed file is written anew as it grows
	}
	g.await()
	g.under = make(chan struct{})
	go func(name string, to int64) {
		defer close(g.under)
		g.failed = g.readBack(name, to)
	}(g.name, g.sum.size)
	return nil
}

// await waits for the goroutine that reads back.
func (g *grown) await() {
	if g.under != nil {
		<-g.under
		g.under = nil
	}
}

// readBack reads the file from the disk, from where it was read before to an offset.
func (g *grown) readBack(name string, to int64) error {
	if g.failed != nil {
		return g.failed
	}
	if err := g.disk.step("read " + name); err != nil {
		return err
	}
	f, err := g.disk.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	unix.Fadvise(int(f.Fd()), g.read, to-g.read, unix.FADV_DONTNEED)
	n, err := io.CopyBuffer(struct{ io.Writer }{g.back}, io.NewSectionReader(f, g.read, to-g.read), make([]byte, 256<<10))
	g.read += n
	return err
}

// complete makes the file durable under its final name, reads back what was not yet, and compares it.
func (g *grown) complete(final string) error {
	g.await()
	err := g.sync()
	if err == nil {
		err = g.disk.rename(g.name, final)
	}
	g.outFile.Close()
	for _, folder := range []string{path.Dir(g.name), path.Dir(final)} {
		if err == nil {
			err = g.disk.syncFolder(folder)
		}
	}
	if err != nil {
		return err
	}
	if err := g.readBack(final, g.sum.size+1); err != nil {
		return fmt.Errorf("read %s back: %w", final, err)
	}
	if g.read != g.sum.size || g.back.Sum64() != g.sum.quick.Sum64() {
		return fmt.Errorf("%s: %w", final, ErrCompare)
	}
	return nil
}

// Close implements io.Closer. It waits for what is being read back.
func (g *grown) Close() error {
	g.await()
	return g.outFile.Close()
}
