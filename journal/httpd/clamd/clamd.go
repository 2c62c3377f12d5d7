// Package clamd asks a ClamAV daemon about files, over its INSTREAM command (clamd(8)).
package clamd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	// MaxSize is how many bytes of a file are sent to the daemon. Its own limit, StreamMaxLength, is 25 MiB unless it is configured otherwise.
	MaxSize = 100 << 20

	chunkSize = 64 << 10
	dialTime  = 5 * time.Second
	stepTime  = 30 * time.Second // for one chunk
	scanTime  = 2 * time.Minute  // for the answer after the last one
)

var (
	// ErrUnexamined says that the daemon did not examine a file. The error that wraps it says why.
	ErrUnexamined = errors.New("file not examined for viruses")
	// ErrTooLarge is an ErrUnexamined: the file is larger than MaxSize, or than the daemon takes.
	ErrTooLarge = fmt.Errorf("%w: it is too large", ErrUnexamined)
)

// Scanner asks one daemon. It may be used concurrently; each scan has a connection of its own.
type Scanner struct{ network, address string }

// New returns a Scanner for a daemon at an address, as net.Dial takes it: "unix" and a path, or "tcp" and host and port.
func New(network, address string) *Scanner { return &Scanner{network, address} }

// Scan sends a file to the daemon and returns the name of the signature that it found; empty for none. An error of content is returned as it is, any
// other wraps ErrUnexamined.
func (s *Scanner) Scan(ctx context.Context, content io.Reader) (signature string, err error) {
	dialer := net.Dialer{Timeout: dialTime}
	nc, err := dialer.DialContext(ctx, s.network, s.address)
	if err != nil {
		return "", unexamined("connect to clamd", err)
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = send(nc, content)
	var fault *contentError
	if errors.As(err, &fault) {
		return "", fault.error
	}
	if errors.Is(err, ErrTooLarge) {
		return "", err
	}
	// The daemon may have answered before the end, as it does when it takes no more.
	nc.SetReadDeadline(time.Now().Add(scanTime))
	answer, readErr := bufio.NewReader(io.LimitReader(nc, 4<<10)).ReadString(0)
	if readErr != nil {
		return "", unexamined("send to clamd", errors.Join(err, readErr))
	}
	return verdict(strings.TrimRight(answer, "\x00\n"))
}

// contentError is an error of the file.
type contentError struct{ error }

// send sends a file: each chunk after its length, and an empty one at the end.
func send(nc net.Conn, content io.Reader) error {
	buffer := make([]byte, 4+chunkSize)
	if err := write(nc, []byte("zINSTREAM\x00")); err != nil {
		return err
	}
	for sent := 0; ; {
		n, err := io.ReadFull(content, buffer[4:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return &contentError{err}
		}
		if n > 0 {
			if sent += n; sent > MaxSize {
				return ErrTooLarge
			}
			binary.BigEndian.PutUint32(buffer, uint32(n))
			if err := write(nc, buffer[:4+n]); err != nil {
				return err
			}
		}
		if err != nil {
			return write(nc, make([]byte, 4))
		}
	}
}

func write(nc net.Conn, b []byte) error {
	nc.SetWriteDeadline(time.Now().Add(stepTime))
	_, err := nc.Write(b)
	return err
}

// verdict reads the answer of the daemon.
func verdict(answer string) (signature string, err error) {
	answer = strings.TrimPrefix(answer, "stream: ")
	switch name, found := strings.CutSuffix(answer, " FOUND"); {
	case found && name != "":
		return name, nil
	case answer == "OK":
		return "", nil
	case strings.HasPrefix(answer, "INSTREAM size limit exceeded"):
		return "", ErrTooLarge
	}
	return "", fmt.Errorf("%w: clamd answers %.100q", ErrUnexamined, answer)
}

func unexamined(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnexamined, doing, err)
}
