package imapd

import (
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal"
	"copialettere/journal/part"
)

// The replies to FETCH that programs ask for by the ten thousand are lines without literals. Where all in them is plain ASCII, as nearly always, they
// are written here: go-imap, which takes apart and puts together each string on its own, needs twice the time. What it writes is the same.

// inLine reports whether the reply to a FETCH may be one line.
func inLine(o *imap.FetchOptions) bool {
	return o.BodyStructure == nil && len(o.BodySection) == 0 && len(o.BinarySection) == 0 && len(o.BinarySectionSize) == 0 && !o.ModSeq
}

// appendLine appends the reply for a message, or reports false where go-imap must write it. e may be nil where the view knows all that is asked for.
func (f *fetching) appendLine(b []byte, i int, e *journal.Entry) ([]byte, bool) {
	o := f.options
	b = append(strconv.AppendUint(append(b, "* "...), uint64(i+1), 10), " FETCH "...)
	open := byte('(')
	item := func(name string) {
		b = append(append(b, open), name...)
		open = ' '
	}
	if o.UID {
		item("UID ")
		b = strconv.AppendUint(b, uint64(f.s.selected.uids[i]), 10)
	}
	if o.Flags {
		if f.s.selected.marked[f.s.selected.uids[i]] {
			item(`FLAGS (\Seen \Deleted)`)
		} else {
			item(`FLAGS (\Seen)`)
		}
	}
	if o.InternalDate {
		item("INTERNALDATE ")
		b = e.Dated().AppendFormat(b, `"_2-Jan-2006 15:04:05 -0700"`)
	}
	if o.RFC822Size {
		item("RFC822.SIZE ")
		b = strconv.AppendInt(b, e.Size, 10)
	}
	if o.Envelope {
		item("ENVELOPE ")
		values, ok := prepared(e, 0)
		if !ok {
			return b, false
		}
		if b, ok = appendEnvelope(b, &values.Values); !ok {
			return b, false
		}
	}
	return append(b, ")\r\n"...), open == ' '
}

// appendEnvelope appends an ENVELOPE from the values of a header, or reports false where something in it is not plain.
func appendEnvelope(b []byte, values *[len(part.Envelope{}.Values)]string) (_ []byte, plain bool) {
	b = append(b, '(')
	if written := values[part.EnvelopeDate]; isPlainDate(written) {
		b = append(append(append(b, '"'), written...), '"')
	} else if date := dateOf(written); date.IsZero() {
		b = append(b, "NIL"...)
	} else {
		b = date.AppendFormat(b, `"Mon, 02 Jan 2006 15:04:05 -0700"`)
	}
	b = append(b, ' ')
	if b, plain = appendText(b, values[part.EnvelopeSubject]); !plain {
		return b, false
	}
	begin := len(b)
	if b, plain = appendAddresses(append(b, ' '), values[part.EnvelopeFrom]); !plain {
		return b, false
	}
	end := len(b)
	for _, field := range [...]part.EnvelopeField{part.EnvelopeSender, part.EnvelopeReplyTo, part.EnvelopeTo, part.EnvelopeCc, part.EnvelopeBcc} {
		if values[field] == "" && (field == part.EnvelopeSender || field == part.EnvelopeReplyTo) {
			b = append(b, b[begin:end]...)
			continue
		}
		if b, plain = appendAddresses(append(b, ' '), values[field]); !plain {
			return b, false
		}
	}
	for _, field := range [...]part.EnvelopeField{part.EnvelopeInReplyTo, part.EnvelopeMessageID} {
		if b, plain = appendID(append(b, ' '), values[field]); !plain {
			return b, false
		}
	}
	return append(b, ')'), true
}

// isPlainDate reports whether a date is written as go-imap would write it: "Mon, 02 Nov 2026 09:12:00 +0100".
func isPlainDate(s string) bool {
	if len(s) != len(plainDate) || s[16] != ' ' || s[19] != ':' || s[22] != ':' || s[25] != ' ' || s[26] != '+' && (s[26] != '-' || s[27:] == "0000") {
		return false
	}
	year, hour, minute, second, zone, zoneMinute := number(s[12:16]), number(s[17:19]), number(s[20:22]), number(s[23:25]), number(s[27:29]), number(s[29:31])
	if year < 1900 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || zone < 0 || zone > 14 || zoneMinute < 0 || zoneMinute > 59 {
		return false
	}
	month := strings.Index("JanFebMarAprMayJunJulAugSepOctNovDec", s[8:11])
	if month < 0 || month%3 != 0 {
		return false
	}
	var day [len("Mon, 02 Jan 2006")]byte
	return string(time.Date(year, time.Month(month/3+1), number(s[5:7]), 0, 0, 0, 0, time.UTC).AppendFormat(day[:0], plainDate[:len(day)])) == s[:len(day)]
}

const plainDate = "Mon, 02 Jan 2006 15:04:05 -0700"

// number returns the number that digits are, or -1.
func number(digits string) (n int) {
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return -1
		}
		n = 10*n + int(digits[i]-'0')
	}
	return n
}

// maxQuoted is how long a quoted string of go-imap can be, in bytes. Longer ones are literals.
const maxQuoted = 4096

// appendText appends a text as a quoted string, or NIL for "".
func appendText(b []byte, s string) ([]byte, bool) {
	if s == "" {
		return append(b, "NIL"...), true
	}
	if len(s) > maxQuoted {
		return b, false
	}
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return b, false
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"'), true
}

// appendID appends the one id of a Message-ID or In-Reply-To field, or NIL for none.
func appendID(b []byte, s string) ([]byte, bool) {
	switch {
	case s == "":
	case len(s) < 3 || len(s) > part.MaxMessageID || s[0] != '<' || strings.IndexByte(s, '>') != len(s)-1 || strings.IndexByte(s, ' ') >= 0:
		return b, false
	}
	return appendText(b, s)
}

// appendAddresses appends a list of addresses that are written as "local@domain", "Name <local@domain>" or "\"Name\" <local@domain>".
func appendAddresses(b []byte, s string) ([]byte, bool) {
	if s == "" {
		return append(b, "NIL"...), true
	}
	b = append(b, '(')
	for more := true; more; {
		var name, address string
		if name, address, s, more = cutAddress(s); address == "" {
			return b, false
		}
		at := strings.LastIndexByte(address, '@')
		if at <= 0 || at == len(address)-1 {
			return b, false
		}
		var plain bool
		b = append(b, '(')
		if b, plain = appendText(b, name); !plain {
			return b, false
		}
		if b, plain = appendText(append(b, " NIL "...), address[:at]); !plain {
			return b, false
		}
		if b, plain = appendText(append(b, ' '), address[at+1:]); !plain {
			return b, false
		}
		b = append(b, ')')
	}
	return append(b, ')'), true
}

// cutAddress cuts the first address off a list. The address is "" where it is not written in one of the forms of appendAddresses.
func cutAddress(s string) (name, address, rest string, more bool) {
	s = strings.TrimLeft(s, " ")
	if strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s[1:], '"') + 1
		if end == 0 {
			return "", "", "", false
		}
		name, s = s[1:end], strings.TrimLeft(s[end+1:], " ")
		if !strings.HasPrefix(s, "<") || strings.IndexByte(name, '\\') >= 0 || name != strings.Trim(name, " ") {
			return "", "", "", false
		}
	}
	address, rest, more = strings.Cut(s, ",")
	address = strings.TrimRight(address, " ")
	if open := strings.IndexByte(address, '<'); open >= 0 {
		if address[len(address)-1] != '>' || name != "" && open > 0 {
			return "", "", "", false
		}
		if open > 0 {
			name = strings.TrimRight(address[:open], " ")
			if strings.ContainsAny(name, `"():;<>\`) || strings.Contains(name, "  ") {
				return "", "", "", false
			}
		}
		address = address[open+1 : len(address)-1]
	}
	if strings.ContainsAny(address, " \"():;<>\\") {
		return "", "", "", false
	}
	return name, address, rest, more
}
