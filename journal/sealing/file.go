package sealing

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

const (
	fileMagic  = "\xffcopialettere\x00f1"
	saltSize   = 16
	fileHead   = len(fileMagic) + saltSize
	blockSize  = 64 << 10
	blockTotal = nonceSize + blockSize + tagSize
)

// File is a sealed file, which is written at its end and read anywhere. Its methods are for one goroutine at a time.
type File struct {
	f      *os.File
	aead   cipher.AEAD
	whole  int64  // full blocks on the disk
	tail   []byte // what follows them
	dirty  bool   // the disk does not have the tail
	at     int64  // for Read
	cached []byte // the block that was read last
	number int64  // of cached
	broken error  // a block could not be written: nothing is, any more
}

// Create makes a file of a file that is open for reading and writing, and empties it. The File closes it.
func Create(f *os.File, key [32]byte) (*File, error) {
	head := append(make([]byte, 0, fileHead), fileMagic...)[:fileHead]
	rand.Read(head[len(fileMagic):])
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return nil, err
	}
	return newFile(f, key, head)
}

func newFile(f *os.File, key [32]byte, head []byte) (*File, error) {
	secret, err := hkdf.Key(sha256.New, key[:], head[len(fileMagic):], "copialettere sealed file", 32)
	if err != nil {
		return nil, err
	}
	return &File{f: f, aead: newGCM(secret), number: -1}, nil
}

// Open opens a file that Create has made with the same key. The File closes it. The error wraps ErrDamaged where it is none.
func Open(f *os.File, key [32]byte) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, fileHead)
	if _, err := f.ReadAt(head, 0); err == io.EOF || err == nil && string(head[:len(fileMagic)]) != fileMagic {
		return nil, fmt.Errorf("%s is not sealed as it must be: %w", f.Name(), ErrDamaged)
	} else if err != nil {
		return nil, err
	}
	file, err := newFile(f, key, head)
	if err != nil {
		return nil, err
	}
	body := info.Size() - int64(fileHead)
	file.whole = body / blockTotal
	if rest := body % blockTotal; rest > nonceSize+tagSize {
		// The last block is written anew as the file grows. Where a crash has torn it, the file ends before it.
		if file.tail, err = file.read(file.whole, rest); err != nil {
			file.tail, file.dirty = nil, true
		}
	}
	return file, nil
}

// Size returns how many bytes were written.
func (f *File) Size() int64 { return f.whole*blockSize + int64(len(f.tail)) }

func aboutBlock(number int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(number)) }

// read reads a block of so many bytes on the disk.
func (f *File) read(number, size int64) ([]byte, error) {
	b := make([]byte, size)
	if _, err := f.f.ReadAt(b, int64(fileHead)+number*blockTotal); err != nil {
		return nil, err
	}
	block, err := f.aead.Open(b[nonceSize:nonceSize], b[:nonceSize], b[nonceSize:], aboutBlock(number))
	if err != nil {
		return nil, fmt.Errorf("block %d of %s: %w", number, f.f.Name(), ErrDamaged)
	}
	return block, nil
}

// write writes a block.
func (f *File) write(number int64, block []byte) error {
	b := make([]byte, nonceSize, nonceSize+len(block)+tagSize)
	rand.Read(b)
	_, err := f.f.WriteAt(f.aead.Seal(b, b, block, aboutBlock(number)), int64(fileHead)+number*blockTotal)
	return err
}

// Write implements io.Writer: it writes at the end. Less than a block waits for Sync or Close.
func (f *File) Write(p []byte) (int, error) {
	if f.broken != nil {
		return 0, f.broken
	}
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), blockSize-len(f.tail))
		f.tail = append(f.tail, p[:n]...)
		f.dirty = true
		p = p[n:]
		if len(f.tail) < blockSize {
			continue
		}
		if err := f.write(f.whole, f.tail); err != nil {
			f.broken = err
			return total - len(p), err
		}
		f.whole++
		f.tail, f.dirty = f.tail[:0], false
	}
	return total, nil
}

// flush writes what waits.
func (f *File) flush() error {
	if f.broken != nil || !f.dirty {
		return f.broken
	}
	// What is cut off, or was torn, must not follow.
	err := f.f.Truncate(int64(fileHead) + f.whole*blockTotal)
	if err == nil && len(f.tail) > 0 {
		err = f.write(f.whole, f.tail)
	}
	f.broken, f.dirty = err, err != nil
	return err
}

// Sync makes all that was written durable.
func (f *File) Sync() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.f.Sync()
}

// Truncate cuts the file off at a size that it has.
func (f *File) Truncate(size int64) error {
	if size < 0 || size > f.Size() {
		return fmt.Errorf("cut %s off at %d of %d bytes: %w", f.f.Name(), size, f.Size(), os.ErrInvalid)
	}
	if whole := size / blockSize; whole < f.whole {
		block, err := f.read(whole, blockTotal)
		if err != nil {
			return err
		}
		f.whole, f.tail = whole, block
	}
	f.tail, f.dirty, f.number = f.tail[:size-f.whole*blockSize], true, -1
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, os.ErrInvalid
	}
	for n < len(p) {
		if offset >= f.Size() {
			return n, io.EOF
		}
		number := offset / blockSize
		block := f.tail
		if number < f.whole {
			if f.number != number {
				if f.cached, err = f.read(number, blockTotal); err != nil {
					f.number = -1
					return n, err
				}
				f.number = number
			}
			block = f.cached
		}
		copied := copy(p[n:], block[offset-number*blockSize:])
		n += copied
		offset += int64(copied)
	}
	return n, nil
}

// Read implements io.Reader. It reads from the beginning, or from where Seek says; Write does not go by that.
func (f *File) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker, for Read.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.Size()
	}
	if offset < 0 {
		return 0, os.ErrInvalid
	}
	f.at = offset
	return offset, nil
}

// Close writes what waits, and closes the file.
func (f *File) Close() error {
	err := f.flush()
	if err2 := f.f.Close(); err == nil {
		err = err2
	}
	return err
}

// Fd returns the descriptor of the file on the disk.
func (f *File) Fd() uintptr { return f.f.Fd() }

// Name returns the name of the file on the disk.
func (f *File) Name() string { return f.f.Name() }
