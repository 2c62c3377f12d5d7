package pec

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"copialettere/journal/part"
)

// Evidence is one evidence of a REM message (ETSI EN 319 522-3, or the older TS 102 640-2), with its values as they stand there.
// A message may hold several. Which event stands for which PEC receipt is not settled: nothing is concluded from them.
type Evidence struct {
	Part              int    // index in the part table
	Name              string // file name, decoded
	Event             string // ERDSEventId or EventCode: a URI
	Time              string // EventTime
	Identifier        string // EvidenceIdentifier
	MessageIdentifier string // MessageIdentifier
}

// readREM looks for REM fields in the headers of the parts inside a part, and for evidences among the XML parts.
func (m *Message) readREM(r io.ReaderAt, t *part.Table, container int, documents []int) {
	count := 0
	for i := range t.Children(container) {
		if count++; count > maxParts {
			break
		}
		p := &t.Parts[i]
		header := make([]byte, min(p.Body-p.Header, maxPartHeader))
		n, _ := r.ReadAt(header, p.Header)
		header = header[:n]
		for f := range part.Fields(header) {
			if f.Name != nil && isREM(f.Name) {
				m.Declared.addREM(header, f, i)
			}
		}
	}
	if len(m.Declared.REM) == 0 {
		return
	}
	m.Class = REM
	for _, i := range documents[:min(len(documents), maxEvidence)] {
		p := &t.Parts[i]
		if e, err := parseEvidence(xmlReader(r, p)); err == nil {
			e.Part, e.Name = i, clip(p.Name())
			m.Evidence = append(m.Evidence, e)
		}
	}
}

var errNoEvidence = errors.New("the root element is no evidence")

// parseEvidence reads the fields of an evidence by their local names, at the top level of the document, since qualified and unqualified
// ones occur. At most 256 KiB are read.
func parseEvidence(r io.Reader) (Evidence, error) {
	d := xml.NewDecoder(io.LimitReader(r, maxCertification))
	d.Strict = false
	d.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	var e Evidence
	var slot *string
	depth := 0
	for {
		token, err := d.RawToken()
		switch {
		case errors.Is(err, io.EOF) && e.Event != "":
			return e, nil
		case err != nil:
			return Evidence{}, fmt.Errorf("read evidence: %w", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			slot = nil
			switch {
			case depth == 1 && !strings.Contains(token.Name.Local, "Evidence"):
				return Evidence{}, errNoEvidence
			case depth == 2:
				slot = e.slot(token.Name.Local)
			}
		case xml.CharData:
			if slot != nil {
				set(slot, clip(strings.TrimSpace(string(token))))
			}
		case xml.EndElement:
			depth--
			slot = nil
		}
	}
}

// slot returns where the text of an element goes, or nil.
func (e *Evidence) slot(name string) *string {
	switch name {
	case "ERDSEventId", "EventCode":
		return &e.Event
	case "EventTime":
		return &e.Time
	case "EvidenceIdentifier":
		return &e.Identifier
	case "MessageIdentifier":
		return &e.MessageIdentifier
	}
	return nil
}
