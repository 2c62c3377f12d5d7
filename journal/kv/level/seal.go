package level

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// A sealed store has all of its LevelDB files sealed with AES-256-GCM under keys derived from the key of the store (see sealkey.go). LevelDB sees what it
// wrote; the disk has nothing in the clear. Each file begins with
//
//	magic    16 bytes, sealMagic
//	salt     16 random bytes: the key of the file is HKDF-SHA256 of the key of the store, with this salt
//
// Nonces are 12 bytes: a counter (8 bytes, big-endian), three zero bytes, and 1 in the last block of a table, else 0. No key is used for two files.
//
// A table is read at random places, and written once: it is a row of blocks of sealBlock bytes and their tags (16 bytes); only the last is shorter.
//
// A log or a manifest grows write by write, and is read from its beginning: it is a row of frames, each with the length of what was written (4 bytes,
// big-endian) and that, sealed, the length being authenticated too. A frame that is cut off at the end is the trace of a crash, as are zeros. A frame
// that does not open is damage: it reads as bytes 0xff, which LevelDB's checksums then report as they would any damage, and the next frame follows.
//
// CURRENT names a manifest, and stays as it is. LevelDB's LOG names keys, and is not written.

const (
	sealMagic   = "\xffcopialettere\x00s1"
	sealSalt    = 16
	sealHead    = len(sealMagic) + sealSalt
	sealBlock   = 4096
	sealTag     = 16
	sealFrame   = 4 // length of a frame
	damagedByte = 0xff
	// maxFrame is the largest write that is one frame, in bytes.
	maxFrame = 1 << 20
)

// errSealed says that a file is not sealed as it must be, or was altered.
var errSealed = errors.New("not sealed as it must be, or altered")

// sealed is a storage whose files are sealed.
type sealed struct {
	storage.Storage
	key [32]byte // of the store
}

// Log implements storage.Storage: the lines would name keys.
func (s *sealed) Log(string) {}

// fileCipher returns the cipher of a file.
func (s *sealed) fileCipher(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.key[:], salt, "copialettere file", 32)
	if err != nil {
		return nil, err
	}
	return newGCM(key)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sealNonce(counter uint64, last bool) []byte {
	nonce := binary.BigEndian.AppendUint64(make([]byte, 0, 12), counter)
	if last {
		return append(nonce, 0, 0, 0, 1)
	}
	return append(nonce, 0, 0, 0, 0)
}

// Create implements storage.Storage.
func (s *sealed) Create(fd storage.FileDesc) (storage.Writer, error) {
	head := append(make([]byte, 0, sealHead), sealMagic...)
	head = head[:sealHead]
	rand.Read(head[len(sealMagic):])
	aead, err := s.fileCipher(head[len(sealMagic):])
	if err != nil {
		return nil, err
	}
	w, err := s.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(head); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	if inBlocks(fd) {
		return &blockWriter{Writer: w, aead: aead}, nil
	}
	return &frameWriter{Writer: w, aead: aead}, nil
}

// inBlocks says whether a file is a table, or will be one.
func inBlocks(fd storage.FileDesc) bool {
	return fd.Type == storage.TypeTable || fd.Type == storage.TypeTemp
}

// Open implements storage.Storage.
func (s *sealed) Open(fd storage.FileDesc) (storage.Reader, error) {
	r, err := s.Storage.Open(fd)
	if err != nil {
		return nil, err
	}
	opened, err := s.open(fd, r)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return opened, nil
}

func (s *sealed) open(fd storage.FileDesc, r storage.Reader) (storage.Reader, error) {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	head := make([]byte, sealHead)
	n, err := r.ReadAt(head, 0)
	switch {
	case err != nil && err != io.EOF:
		return nil, err
	case n < sealHead && !inBlocks(fd):
		return &frameReader{Reader: r, at: size, size: size}, nil // cut off by a crash: it is empty
	case n < sealHead || string(head[:len(sealMagic)]) != sealMagic:
		return nil, &storage.ErrCorrupted{Fd: fd, Err: errSealed}
	}
	aead, err := s.fileCipher(head[len(sealMagic):])
	if err != nil {
		return nil, err
	}
	if inBlocks(fd) {
		return newBlockReader(fd, r, aead, size), nil
	}
	return &frameReader{Reader: r, aead: aead, at: int64(sealHead), size: size}, nil
}

// blockWriter writes a table. The last block is written by Sync, which ends the file.
type blockWriter struct {
	storage.Writer
	aead  cipher.AEAD
	block []byte // what is not written yet: always something, unless the file is empty
	n     uint64
	ended bool
}

// Write implements io.Writer.
func (w *blockWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, errors.New("a table is written to after its end")
	}
	total := len(p)
	for len(p) > 0 {
		if len(w.block) == sealBlock {
			if err := w.flush(false); err != nil {
				return total - len(p), err
			}
		}
		n := min(len(p), sealBlock-len(w.block))
		w.block = append(w.block, p[:n]...)
		p = p[n:]
	}
	return total, nil
}

func (w *blockWriter) flush(last bool) error {
	_, err := w.Writer.Write(w.aead.Seal(nil, sealNonce(w.n, last), w.block, nil))
	w.n++
	w.block = w.block[:0]
	return err
}

func (w *blockWriter) end() error {
	if w.ended {
		return nil
	}
	w.ended = true
	return w.flush(true)
}

// Sync implements storage.Writer.
func (w *blockWriter) Sync() error {
	if err := w.end(); err != nil {
		return err
	}
	return w.Writer.Sync()
}

// Close implements io.Closer.
func (w *blockWriter) Close() error { return errors.Join(w.end(), w.Writer.Close()) }

// blockReader reads a table.
type blockReader struct {
	storage.Reader
	fd     storage.FileDesc
	aead   cipher.AEAD
	blocks int64
	size   int64 // of what was written
	at     int64 // for Read
}

func newBlockReader(fd storage.FileDesc, r storage.Reader, aead cipher.AEAD, size int64) *blockReader {
	body := size - int64(sealHead)
	blocks := (body + sealBlock + sealTag - 1) / (sealBlock + sealTag)
	return &blockReader{Reader: r, fd: fd, aead: aead, blocks: blocks, size: max(body-blocks*sealTag, 0)}
}

// ReadAt implements io.ReaderAt.
func (r *blockReader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("a table is read before its beginning")
	}
	for n < len(p) {
		if off >= r.size {
			return n, io.EOF
		}
		block, err := r.block(off / sealBlock)
		if err != nil {
			return n, err
		}
		if off%sealBlock >= int64(len(block)) {
			return n, io.EOF
		}
		copied := copy(p[n:], block[off%sealBlock:])
		n += copied
		off += int64(copied)
	}
	return n, nil
}

func (r *blockReader) block(i int64) ([]byte, error) {
	b := make([]byte, sealBlock+sealTag)
	n, err := r.Reader.ReadAt(b, int64(sealHead)+i*(sealBlock+sealTag))
	if err != nil && err != io.EOF {
		return nil, err
	}
	block, err := r.aead.Open(b[:0], sealNonce(uint64(i), i == r.blocks-1), b[:n], nil)
	if err != nil {
		return nil, &storage.ErrCorrupted{Fd: r.fd, Err: fmt.Errorf("block %d: %w", i, errSealed)}
	}
	return block, nil
}

// Read implements io.Reader.
func (r *blockReader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p, r.at)
	r.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *blockReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("a table is read before its beginning")
	}
	r.at = offset
	return offset, nil
}

// frameWriter writes a log or a manifest.
type frameWriter struct {
	storage.Writer
	aead cipher.AEAD
	n    uint64
}

// Write implements io.Writer. What was written is one write of the file below: a crash leaves all of a frame, or its beginning.
func (w *frameWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		part := p[:min(len(p), maxFrame)]
		frame := binary.BigEndian.AppendUint32(make([]byte, 0, sealFrame+len(part)+sealTag), uint32(len(part)))
		frame = w.aead.Seal(frame, sealNonce(w.n, false), part, frame)
		w.n++
		if _, err := w.Writer.Write(frame); err != nil {
			return total - len(p), err
		}
		p = p[len(part):]
	}
	return total, nil
}

// frameReader reads a log or a manifest from its beginning.
type frameReader struct {
	storage.Reader
	aead    cipher.AEAD
	at      int64 // of the next frame
	size    int64 // of the file
	n       uint64
	rest    []byte // of the frame that was opened last
	damaged bool
}

// Read implements io.Reader.
func (r *frameReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.damaged {
			return r.fill(p)
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next opens the next frame. The error is io.EOF at the end, and where a crash has cut the file off.
func (r *frameReader) next() error {
	var length [sealFrame]byte
	if r.size-r.at < sealFrame {
		return io.EOF
	}
	if _, err := r.Reader.ReadAt(length[:], r.at); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	switch {
	case n == 0 || n > maxFrame:
		return r.broken()
	case r.at+sealFrame+n+sealTag > r.size:
		return io.EOF
	}
	b := make([]byte, n+sealTag)
	if _, err := r.Reader.ReadAt(b, r.at+sealFrame); err != nil {
		return err
	}
	rest, err := r.aead.Open(nil, sealNonce(r.n, false), b, length[:])
	if err != nil {
		rest = bytes.Repeat([]byte{damagedByte}, int(n))
	}
	r.rest = rest
	r.n++
	r.at += sealFrame + n + sealTag
	return nil
}

// broken says what follows a frame that does not open: nothing where the rest is zeros, damage otherwise.
func (r *frameReader) broken() error {
	b := make([]byte, 64<<10)
	for at := r.at; at < r.size; {
		n, err := r.Reader.ReadAt(b[:min(int64(len(b)), r.size-at)], at)
		for _, c := range b[:n] {
			if c != 0 {
				r.damaged = true
				return nil
			}
		}
		if err != nil && err != io.EOF {
			return err
		}
		if at += int64(n); n == 0 {
			break
		}
	}
	return io.EOF
}

// fill reads damage.
func (r *frameReader) fill(p []byte) (int, error) {
	n := min(int64(len(p)), r.size-r.at)
	if n <= 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = damagedByte
	}
	r.at += n
	return int(n), nil
}

// ReadAt implements io.ReaderAt. Nothing reads a log at random places.
func (r *frameReader) ReadAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("a log is read from its beginning: %w", os.ErrInvalid)
}

// Seek implements io.Seeker.
func (r *frameReader) Seek(int64, int) (int64, error) {
	return 0, fmt.Errorf("a log is read from its beginning: %w", os.ErrInvalid)
}

// sealedSize returns how large a table of so many bytes is on the disk.
func sealedSize(size int64) int64 {
	return int64(sealHead) + size + max((size+sealBlock-1)/sealBlock, 1)*sealTag
}

// unsealed returns what was written to a log or a manifest, from what is on the disk, as far as it goes.
func unsealed(key [32]byte, fd storage.FileDesc, content []byte) ([]byte, error) {
	r, err := (&sealed{key: key}).open(fd, inMemory{bytes.NewReader(content)})
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// inMemory is a storage.Reader.
type inMemory struct{ *bytes.Reader }

// Close implements io.Closer.
func (inMemory) Close() error { return nil }

// onMedium returns the storage with the files as they are on the disk, sealed or not.
func onMedium(s storage.Storage) storage.Storage {
	if f, ok := s.(*files); ok {
		s = f.Storage
	}
	if sealed, ok := s.(*sealed); ok {
		return sealed.Storage
	}
	return s
}
