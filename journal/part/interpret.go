package part

import "strings"

// open makes node k a container if its type says so, its header is whole and the limits allow it.
func (s *Scanner) open(k int, boundary string, blank bool) {
	n := &s.stack[k]
	p := &s.parts[n.part]
	multi, message := p.IsMultipart(), p.IsMessage()
	if !multi && !message {
		return
	}
	encoded := isEncoded(p.Encoding())
	if encoded {
		p.Odd |= OddEncoded
	}
	switch {
	case multi && (boundary == "" || len(boundary) > MaxBoundary):
		p.Odd |= OddNoBoundary
	case k >= s.limits.Depth:
		p.Odd |= OddDepth
	case multi:
		// Even with a transfer encoding: visible delimiters are not encoded, and mail programs look for them too.
		n.multi, n.digest = true, p.Type == "multipart/digest"
		s.seek(k, strings.Clone(boundary))
	case encoded || !blank:
	case len(s.parts) >= s.limits.Parts:
		p.Odd |= OddParts
	default:
		n.message, n.filled = true, true
		s.begin(k)
	}
}

// interpret fills a part from its header block and returns the boundary in the block. message says that the part is a whole message, digest
// that its default type is message/rfc822.
func (s *Scanner) interpret(p *Part, block []byte, message, digest bool) (boundary string) {
	p.Type = "text/plain"
	if digest {
		p.Type = "message/rfc822"
	}
	values := p.values()
	seen, found := 0, 0
	enveloped := message && len(s.envelopes) < maxEnvelopes && p.Odd&OddHeaderLimit == 0
	if enveloped {
		s.envelopes, s.envelopeSeen = append(s.envelopes, Envelope{Part: len(s.parts) - 1}), 0
	}
	for f := range Fields(block) {
		if f.Name == nil {
			p.Odd |= OddJunkLine
			continue
		}
		found++
		if enveloped && !s.takeEnvelope(f) {
			enveloped, s.envelopes = false, s.envelopes[:len(s.envelopes)-1]
		}
		k := slot(f.Name)
		switch {
		case k < 0:
			continue
		case seen&(1<<k) != 0:
			p.Odd |= OddDuplicateField
		case values[k] == &p.ContentType:
			boundary = s.contentType(p, f.Value)
		default:
			*values[k] = s.keep(p, unfold(f.Value, MaxField+1))
		}
		seen |= 1 << k
	}
	if message && found == 0 && p.Odd&OddHeaderLimit == 0 {
		p.Odd |= OddNoHeader
	}
	return boundary
}

// slot returns the index of a field in Part.values, or -1.
func slot(name []byte) int {
	const prefix = "content-"
	if len(name) <= len(prefix) || !equalFold(name[:len(prefix)], prefix) {
		return -1
	}
	name = name[len(prefix):]
	for k, want := range [fields]string{"type", "transfer-encoding", "disposition", "id", "description", "language"} {
		if equalFold(name, want) {
			return k
		}
	}
	return -1
}

// contentType reads a Content-Type into a part and returns the boundary parameter, even from beyond the bytes that the part keeps.
func (s *Scanner) contentType(p *Part, raw []byte) string {
	value := unfold(raw, MaxValue)
	if name, _ := mediaType(value); name == "" {
		p.Type = "text/plain"
		p.Odd |= OddType
	} else if known := typeNumber(name); known > 0 {
		p.Type = knownTypes[known-1]
	} else if s.room -= len(name); s.room >= 0 {
		p.Type = strings.Clone(name)
	} else {
		p.Type = "application/octet-stream"
		p.Odd |= OddValueLimit
	}
	boundary := ""
	if p.IsMultipart() {
		boundary = strings.TrimRight(parameter(value, "boundary"), " \t")
	}
	p.ContentType = s.keep(p, value)
	return boundary
}

// keep returns the part of a value that the table keeps.
func (s *Scanner) keep(p *Part, value string) string {
	if len(value) > MaxField {
		value = strings.Clone(value[:MaxField])
		p.Odd |= OddValueLimit
	}
	if s.room -= len(value); s.room < 0 {
		p.Odd |= OddValueLimit
		return ""
	}
	return value
}
