package part

import "bytes"

const (
	// maxLateName is how many bytes of a field beyond the limit are read to find its name.
	maxLateName = 64
	// maxLate is how many bytes of a sought field are kept, even beyond the limit.
	maxLate = 4 << 10
	// maxLateREM is how many REM fields are kept beyond the limit.
	maxLateREM = 16
)

// sought are the names, in lower case, of the fields kept even beyond the limit: those of a Part, those that a journal entry keeps, and those
// that tell package policy/pec the class and the practice of a message. Fields that begin with REM- or X-REM- are sought too.
var sought = [...]string{"content-type", "content-transfer-encoding", "content-disposition", "content-id", "content-description",
	"content-language", "from", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references", "x-ricevuta", "x-trasporto",
	"x-tiporicevuta", "x-riferimento-message-id", "x-verificasicurezza", "x-mittente"}

// headerBlock keeps a header block as it streams by, within a limit. A long field does not hide those after it: it keeps at most MaxValue
// bytes of each field, and beyond the limit the first field of each sought name. It always keeps whole lines.
type headerBlock struct {
	kept    []byte
	over    bool   // something was left out
	start   int    // where the current field begins in kept
	room    int    // bytes that the current field may have
	granted bool   // it is sought, and has the room for that
	cut     bool   // its rest is left out
	late    uint32 // sought names found beyond the limit, one bit each
	rem     int    // REM fields found beyond the limit
}

// reset empties the block. It drops a buffer of more than keep bytes.
func (h *headerBlock) reset(keep int) {
	kept := h.kept[:0]
	if cap(kept) > keep {
		kept = nil
	}
	*h = headerBlock{kept: kept}
}

// write takes bytes of one line; first says that they begin the line.
func (h *headerBlock) write(b []byte, first bool, limit int) {
	if first && b[0] != ' ' && b[0] != '\t' || len(h.kept) == 0 && h.room == 0 {
		h.endField(limit)
		h.start, h.granted, h.cut = len(h.kept), false, false
		h.room = min(MaxValue, max(limit-h.start, maxLateName))
	}
	if h.cut {
		return
	}
	b = h.take(b)
	if len(b) == 0 {
		return
	}
	if h.room < MaxValue && !h.granted {
		if h.granted = h.seek(); h.granted {
			h.room = max(h.room, maxLate)
			b = h.take(b)
		} else {
			// Better no field than half of one.
			h.kept = h.kept[:h.start]
		}
	}
	h.cut = len(b) > 0 || !h.granted
	h.over = h.over || h.cut
}

// take keeps the bytes that the current field has room for, and returns the rest.
func (h *headerBlock) take(b []byte) []byte {
	n := min(len(b), h.room-(len(h.kept)-h.start))
	h.kept = append(h.kept, b[:n]...)
	return b[n:]
}

// endField ends the current field.
func (h *headerBlock) endField(limit int) {
	switch {
	case h.cut:
		if n := len(h.kept); n > h.start && h.kept[n-1] != '\n' {
			h.kept = append(h.kept, crlf...)
		}
	case len(h.kept) > limit && !h.granted:
		if h.granted = h.seek(); !h.granted {
			h.kept, h.over = h.kept[:h.start], true
		}
	}
}

// seek reports whether the current field is sought and the first of its name beyond the limit.
func (h *headerBlock) seek() bool {
	field := h.kept[h.start:]
	end := fieldName(field)
	if end < 0 {
		return false
	}
	name := bytes.TrimRight(field[:end], " \t")
	for i, want := range sought {
		if equalFold(name, want) {
			found := h.late&(1<<i) == 0
			h.late |= 1 << i
			return found
		}
	}
	if len(name) > 2 && equalFold(name[:2], "x-") {
		name = name[2:]
	}
	if len(name) > 4 && equalFold(name[:4], "rem-") {
		h.rem++
		return h.rem <= maxLateREM
	}
	return false
}
