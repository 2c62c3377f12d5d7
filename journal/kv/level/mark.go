package level

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"copialettere/journal/durable"
)

const (
	markName  = "ACKNOWLEDGED"
	markMagic = "acK1"
	markSize  = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark is the acknowledged mark: how far the database must reach when it is opened again.
type mark struct {
	f     *os.File
	dirty atomic.Bool // written since it was synced
}

// openMark opens the mark in a folder and returns its sequence number. A missing mark is created durably, as 0. A damaged one counts as
// 0, and damaged is set.
func openMark(dir string) (m *mark, seq uint64, damaged bool, err error) {
	path := filepath.Join(dir, markName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		m, err := createMark(path)
		return m, 0, false, err
	}
	if err != nil {
		return nil, 0, false, fmt.Errorf("open acknowledged mark: %w", err)
	}
	var b [markSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, 0, false, fmt.Errorf("read acknowledged mark: %w", err)
	}
	seq, ok := decodeMark(b[:n])
	return &mark{f: f}, seq, !ok, nil
}

func createMark(path string) (*mark, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create acknowledged mark: %w", err)
	}
	m := &mark{f: f}
	if err = m.write(0); err == nil {
		err = m.sync()
	}
	if err == nil {
		err = durable.SyncFolder(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("create acknowledged mark: %w", err)
	}
	return m, nil
}

func encodeMark(seq uint64) []byte {
	b := append(make([]byte, 0, markSize), markMagic...)
	b = binary.BigEndian.AppendUint64(b, seq)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeMark(b []byte) (seq uint64, ok bool) {
	if len(b) != markSize || string(b[:4]) != markMagic || crc32.Checksum(b[:12], castagnoli) != binary.BigEndian.Uint32(b[12:]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[4:]), true
}

// write sets the mark in place. It is durable only after sync.
func (m *mark) write(seq uint64) error {
	m.dirty.Store(true)
	_, err := m.f.WriteAt(encodeMark(seq), 0)
	return err
}

// renew sets the mark whatever the file has. It is durable only after sync.
func (m *mark) renew(seq uint64) error {
	if err := m.f.Truncate(markSize); err != nil {
		return err
	}
	return m.write(seq)
}

func (m *mark) sync() error {
	if !m.dirty.Swap(false) {
		return nil
	}
	return m.f.Sync()
}

func (m *mark) close() error {
	return errors.Join(m.sync(), m.f.Close())
}
