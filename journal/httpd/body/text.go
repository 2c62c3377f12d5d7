package body

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/part"
	"copialettere/policy/pec"
)

const (
	// MaxText is how many bytes of a plain text can be shown, in UTF-8.
	MaxText = 2 << 20

	maxLine   = 64 << 10 // bytes of one line; a longer one is broken
	maxQuotes = 8        // quotes in each other; deeper ones are shown at that depth
	maxLink   = 2 << 10  // bytes of a URL that is made a link
)

// WriteText writes the plain text of a part as HTML: quotes as blockquote elements, URLs as links, each paragraph of flowed text (RFC 3676) in one
// line. White space is kept, for a style with white-space: pre-wrap. It writes whole lines, up to limit bytes of text and at most MaxText, and reports
// whether the text goes on. Errors are those of the message and of w.
func WriteText(w io.Writer, l *pec.Located, limit int) (cut bool, err error) {
	source := &limited{from: l.Text(), left: min(limit, MaxText)}
	_, params := part.Params(l.Part.ContentType)
	t := texter{out: bufio.NewWriter(w), flowed: strings.EqualFold(params["format"], "flowed"), joins: strings.EqualFold(params["delsp"], "yes")}
	lines := bufio.NewReaderSize(source, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			t.line(string(line), err == bufio.ErrBufferFull)
		}
		if err != nil && err != bufio.ErrBufferFull {
			break
		}
	}
	t.quote(0)
	flushed := t.out.Flush()
	if source.fault != nil {
		return false, fmt.Errorf("read text: %w", source.fault)
	}
	return source.cut, flushed
}

// texter writes the lines of a text.
type texter struct {
	out    *bufio.Writer
	flowed bool
	joins  bool // DelSp=yes: the space that flows is not part of the text
	depth  int  // of quotes
	flows  bool // the paragraph goes on in the next line
	broken bool // the line goes on in the next one that is read: it is longer than maxLine
}

// line writes a line, which is broken if its end is not read yet.
func (t *texter) line(line string, broken bool) {
	text := strings.TrimRight(line, "\r\n")
	depth := t.depth
	if !t.broken {
		depth, text = quoted(text, t.flowed)
	}
	switch {
	case t.broken || t.flows && depth == t.depth && text != "-- ":
	default:
		if t.flows {
			t.out.WriteString("\n")
		}
		t.quote(depth)
	}
	t.broken, t.flows = broken, t.flowed && strings.HasSuffix(text, " ") && text != "-- "
	if t.flows && t.joins {
		text = text[:len(text)-1]
	}
	t.linked(text)
	if !t.broken && !t.flows {
		t.out.WriteString("\n")
	}
}

// quoted returns how deep a line is quoted, and its text. Flowed text has no space between the marks, and one to stuff the line (RFC 3676 4.4, 4.5).
func quoted(line string, flowed bool) (depth int, text string) {
	rest := line
	for strings.HasPrefix(rest, ">") {
		depth++
		if rest = rest[1:]; !flowed && strings.HasPrefix(rest, " >") {
			rest = rest[1:]
		}
	}
	if flowed || depth > 0 {
		rest = strings.TrimPrefix(rest, " ")
	}
	// mbox readers left the mark before "From " at the start of a line.
	if !flowed && depth == 1 && strings.HasPrefix(line, ">From ") {
		return 0, line[1:]
	}
	return depth, rest
}

// quote opens or closes quotes until the text is at a depth.
func (t *texter) quote(depth int) {
	for ; t.depth < depth; t.depth++ {
		if t.depth < maxQuotes {
			t.out.WriteString("<blockquote>")
		}
	}
	for ; t.depth > depth; t.depth-- {
		if t.depth <= maxQuotes {
			t.out.WriteString("</blockquote>")
		}
	}
}

// linked writes text with its URLs as links.
func (t *texter) linked(text string) {
	for {
		start := nextURL(text)
		if start < 0 {
			break
		}
		length := urlLength(text[start:])
		t.plain(text[:start])
		if u := text[start : start+length]; length <= maxLink && len(u) > len("https://") {
			fmt.Fprintf(t.out, `<a href="%s" target="_blank" rel="noreferrer noopener nofollow">%s</a>`, html.EscapeString(u), html.EscapeString(u))
		} else {
			t.plain(u)
		}
		text = text[start+length:]
	}
	t.plain(text)
}

// nextURL returns where the next URL begins, or -1.
func nextURL(text string) int {
	for from := 0; ; {
		i := strings.Index(text[from:], "://")
		if i < 0 {
			return -1
		}
		for _, scheme := range []string{"https", "http"} {
			if start := from + i - len(scheme); start >= from && strings.EqualFold(text[start:from+i], scheme) && startsWord(text[:start]) {
				return start
			}
		}
		from += i + len("://")
	}
}

// startsWord reports whether a word can begin after text.
func startsWord(text string) bool {
	r, _ := utf8.DecodeLastRuneInString(text)
	return text == "" || !unicode.IsLetter(r) && !unicode.IsDigit(r)
}

// urlLength returns how many bytes of a text that begins with a URL belong to it. Punctuation at its end, and a bracket that it does not open, are the
// sentence's.
func urlLength(text string) int {
	end, opened := 0, 0
	for i, r := range text {
		if r <= ' ' || strings.ContainsRune(`<>"`, r) || unicode.IsSpace(r) || bidiControl(r) {
			break
		}
		switch {
		case r == '(':
			opened++
		case r == ')' && opened == 0:
			return end
		case r == ')':
			opened--
		}
		if !strings.ContainsRune(".,;:!?'*]}", r) {
			end = i + utf8.RuneLen(r)
		}
	}
	return end
}

// plain writes text without control characters.
func (t *texter) plain(text string) {
	t.out.WriteString(html.EscapeString(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, text)))
}
