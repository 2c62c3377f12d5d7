package nexthop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits on a hop's reply. RFC 5321 section 4.5.3.1.5 allows 512 bytes a line; real servers send more.
const (
	maxReplyLine  = 2 << 10 // bytes, line end included
	maxReplyLines = 64
)

// Reply is a next hop's answer to one command, or to the message for one recipient.
type Reply struct {
	// Code is the reply code of RFC 5321 section 4.2: 200 to 599.
	Code int
	// Enhanced is the enhanced status code of RFC 3463 ("5.1.1"), or "" if the reply has none.
	Enhanced string
	// Lines holds the texts of the reply lines without code and separator. An enhanced code stays in the text as received. Control
	// characters are replaced by "?", so a line is safe to pass on.
	Lines []string
}

// Positive reports whether the reply is a 2xx.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Temporary reports whether the reply is a 4xx.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports whether the reply is a 5xx.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// String returns the reply on one line, for logs and errors.
func (r Reply) String() string {
	return strings.TrimRight(strconv.Itoa(r.Code)+" "+strings.Join(r.Lines, " / "), " ")
}

// readReply reads one reply of one or more lines (RFC 5321 section 4.2.1). A line may end in a bare LF. The error is io.EOF if nothing came
// at all, io.ErrUnexpectedEOF inside a reply, and wraps ErrProtocol for a malformed reply.
func readReply(r *bufio.Reader) (Reply, error) {
	var reply Reply
	for {
		line, err := readReplyLine(r)
		if err != nil {
			if err == io.EOF && reply.Lines != nil {
				err = io.ErrUnexpectedEOF
			}
			return Reply{}, err
		}
		code, last, text, ok := splitReplyLine(line)
		switch {
		case !ok:
			return Reply{}, fmt.Errorf("%w: %.60q", ErrProtocol, line)
		case reply.Lines != nil && code != reply.Code:
			return Reply{}, fmt.Errorf("%w: code %d follows code %d in one reply", ErrProtocol, code, reply.Code)
		case len(reply.Lines) == maxReplyLines:
			return Reply{}, fmt.Errorf("%w: more than %d lines", ErrProtocol, maxReplyLines)
		}
		reply.Code = code
		reply.Lines = append(reply.Lines, text)
		if reply.Enhanced == "" {
			reply.Enhanced = enhancedCode(code, text)
		}
		if last {
			return reply, nil
		}
	}
}

// readReplyLine returns one line without its end. The slice is valid until the next read.
func readReplyLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine:
		return nil, fmt.Errorf("%w: line over %d bytes", ErrProtocol, maxReplyLine)
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// splitReplyLine takes a reply line apart. A code alone is a last line without text (RFC 5321 section 4.2).
func splitReplyLine(line []byte) (code int, last bool, text string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, "", false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, true, "", true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, "", false
	}
	return code, line[3] == ' ', printable(line[4:]), true
}

// printable returns text with each control character but the tab replaced by "?". A CR could split the reply that we pass on.
func printable(text []byte) string {
	clean := []byte(nil)
	for i, b := range text {
		if b < ' ' && b != '\t' || b == 0x7f {
			if clean == nil {
				clean = bytes.Clone(text)
			}
			clean[i] = '?'
		}
	}
	if clean != nil {
		return string(clean)
	}
	return string(text)
}

// enhancedCode returns the enhanced status code at the start of text (RFC 2034 section 4, RFC 3463 section 2), or "". Its class must be
// that of the reply code.
func enhancedCode(code int, text string) string {
	field, _, _ := strings.Cut(text, " ")
	class, rest, ok := strings.Cut(field, ".")
	if !ok || class != strconv.Itoa(code/100) || class == "3" {
		return ""
	}
	subject, detail, ok := strings.Cut(rest, ".")
	if !ok || !isNumber(subject) || !isNumber(detail) {
		return ""
	}
	return field
}

// isNumber reports whether s is one to three digits.
func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 3
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }
