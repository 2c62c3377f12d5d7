package pec

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of an LDIF file in bytes. The index of all providers has some hundred records, with some thousand domains each.
const (
	maxLDIF       = 64 << 20
	maxLDIFLine   = 1 << 20 // with its continuations
	maxLDIFRecord = 8 << 20
)

// ldifAttribute is one line of a record: a name in lower case, without options such as ";binary", and its value.
type ldifAttribute struct {
	name  string
	value []byte
}

// ldifReader reads the content records of an LDIF file (RFC 2849). It skips values given by URL, and never fetches them. Change records are an
// error. It also skips a byte-order mark, and what ldapsearch writes besides records: references, and the result at the end.
type ldifReader struct {
	lines  *bufio.Reader
	number int    // of the physical line last read, from 1
	next   []byte // the physical line read ahead, without its end
	ahead  bool   // next holds one
	ended  bool
}

func newLDIFReader(r io.Reader) *ldifReader {
	return &ldifReader{lines: bufio.NewReaderSize(r, 64<<10)}
}

// physical reads one line without its end. At the end of the file the error is io.EOF.
func (l *ldifReader) physical() ([]byte, error) {
	if l.ahead {
		l.ahead = false
		return l.next, nil
	}
	if l.ended {
		return nil, io.EOF
	}
	var line []byte
	for {
		piece, err := l.lines.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > maxLDIFLine:
			return nil, fmt.Errorf("line %d: over %d bytes", l.number+1, maxLDIFLine)
		case errors.Is(err, io.EOF):
			l.ended = true
			if len(line) == 0 {
				return nil, io.EOF
			}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, err
		}
		if l.number++; l.number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		return trimLine(line), nil
	}
}

// trimLine removes the line end.
func trimLine(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// logical reads one line with its continuations: lines that begin with a space.
func (l *ldifReader) logical() ([]byte, error) {
	line, err := l.physical()
	if err != nil {
		return nil, err
	}
	for len(line) > 0 {
		next, err := l.physical()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(next) == 0 || next[0] != ' ' {
			l.next, l.ahead = next, true
			break
		}
		if len(line)+len(next)-1 > maxLDIFLine {
			return nil, fmt.Errorf("line %d: over %d bytes with its continuations", l.number, maxLDIFLine)
		}
		line = append(line, next[1:]...)
	}
	return line, nil
}

// record reads the next record, including its dn. At the end of the file the error is io.EOF.
func (l *ldifReader) record() ([]ldifAttribute, error) {
	var record []ldifAttribute
	size := 0
	remark := false // in a block that ldapsearch wrote beside the records
	for {
		line, err := l.logical()
		switch {
		case err == nil && len(line) == 0:
			remark = false
		case err == nil && remark && !bytes.HasPrefix(line, []byte("result:")):
			continue
		}
		switch {
		case errors.Is(err, io.EOF) && len(record) > 0:
			return record, nil
		case err != nil:
			return nil, err
		case len(line) == 0 && len(record) > 0:
			return record, nil
		case len(line) == 0 || line[0] == '#':
			continue
		}
		attribute, err := parseAttribute(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.number, err)
		}
		if attribute.name == "version" && len(record) == 0 || attribute.name == "" {
			continue
		}
		if attribute.name == "changetype" && !strings.EqualFold(string(attribute.value), "add") {
			return nil, fmt.Errorf("line %d: a record of changes, not of content", l.number)
		}
		if remark = len(record) == 0 && isRemark(attribute.name); remark {
			if code, _, _ := strings.Cut(string(attribute.value), " "); attribute.name == "result" && code != "0" {
				return nil, fmt.Errorf("line %d: the search ended with %.50q: the index is not whole", l.number, attribute.value)
			}
			continue
		}
		if len(record) == 0 && attribute.name != "dn" {
			return nil, fmt.Errorf("line %d: a record begins with dn, not %.50q", l.number, attribute.name)
		}
		if size += len(line); size > maxLDIFRecord {
			return nil, fmt.Errorf("line %d: a record of over %d bytes", l.number, maxLDIFRecord)
		}
		record = append(record, attribute)
	}
}

// isRemark reports whether ldapsearch adds lines with this name where a record would begin: "search: 2" and "result: 0 Success" at the end,
// "ref: ldap://..." if the server refers to another. Such blocks end with a blank line, as records do.
func isRemark(name string) bool { return name == "search" || name == "result" || name == "ref" }

// parseAttribute reads a logical line. The name is "" for a value given by URL.
func parseAttribute(line []byte) (ldifAttribute, error) {
	name, value, ok := strings.Cut(string(line), ":")
	if !ok || name == "" {
		return ldifAttribute{}, errors.New("not an attribute: want \"name: value\"")
	}
	name, _, _ = strings.Cut(strings.ToLower(name), ";")
	switch {
	case strings.HasPrefix(value, "<"):
		return ldifAttribute{}, nil
	case strings.HasPrefix(value, ":"):
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value[1:]))
		if err != nil {
			return ldifAttribute{}, fmt.Errorf("value of %.50q: %w", name, err)
		}
		return ldifAttribute{name, b}, nil
	}
	return ldifAttribute{name, []byte(strings.TrimLeft(value, " "))}, nil
}
