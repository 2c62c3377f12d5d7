package imapd

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"copialettere/journal"
)

// A literal cannot be taken back once its size is told. So where a piece of a message turns out to be unreadable within one, the connection ends: no
// program must take fewer bytes, or others, for the message. What is short is read before its size is told, and the reply then says NO. What is long is
// not, which would take twice the work; but once a connection has ended over a message, that message is read to its end first each time, so that a
// program gets past it when it comes back.

const (
	maxTried   = 64 << 10 // bytes that are read before their size is told
	maxSpoiled = 10_000   // messages that are known to have ended connections
)

// spoiled are the messages over which connections have ended. The zero value is ready for use.
type spoiled struct {
	mu       sync.Mutex
	messages map[journal.Ref]bool // guarded by mu
}

func (s *spoiled) add(r journal.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.messages == nil || len(s.messages) == maxSpoiled {
		s.messages = make(map[journal.Ref]bool)
	}
	s.messages[r] = true
}

func (s *spoiled) has(r journal.Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages[r]
}

// tried returns a function that writes the same size bytes as write, which are known to be readable where that is tried.
func (s *spoiled) tried(r journal.Ref, size int64, write func(io.Writer) error) (func(io.Writer) error, error) {
	var n counter
	switch {
	case size <= maxTried:
		text := bytes.NewBuffer(make([]byte, 0, size))
		if err := write(io.MultiWriter(text, &n)); err != nil || int64(n) != size {
			return nil, fmt.Errorf("%d bytes of %d can be read: %w", n, size, orShort(err))
		}
		return func(w io.Writer) error { _, err := w.Write(text.Bytes()); return err }, nil
	case s.has(r):
		if err := write(&n); err != nil || int64(n) != size {
			return nil, fmt.Errorf("%d bytes of %d can be read: %w", n, size, orShort(err))
		}
	}
	return write, nil
}

func orShort(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}
