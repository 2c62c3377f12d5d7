package notice

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/part"
	"copialettere/policy"
)

// maxText is how many characters a notice shows of a sender or a subject.
const maxText = 200

// clean makes a sender's text fit to be shown: it decodes encoded words (RFC 2047), puts all on one line, removes control characters and marks
// that change the direction of text, and cuts. Cleaning twice does no harm.
func clean(value string) string {
	value = strings.Join(strings.Fields(harmless(part.Decode(value))), " ")
	if utf8.RuneCountInString(value) > maxText {
		value = string([]rune(value)[:maxText-1]) + "…"
	}
	return value
}

// harmless replaces the white space and the control characters of a text by spaces, and removes marks that change the direction of text.
func harmless(value string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r), r == utf8.RuneError:
			return -1
		case unicode.IsControl(r), unicode.IsSpace(r):
			return ' '
		}
		return r
	}, value)
}

func messageID(key []byte, from string) string {
	return "<notice." + hex.EncodeToString(key[len("wq"):]) + from[strings.LastIndexByte(from, '@'):] + ">"
}

// compose writes the message of a notice (RFC 5322), in pure ASCII if its addresses are. Auto-Submitted (RFC 3834) keeps vacation programs from
// answering.
func (q *Queue) compose(w *waiting, id, from, to string, l policy.Language) []byte {
	subject, body := q.render(w, l)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: %s\r\n", from, to, encodeSubject(subject),
		w.Time.Format("Mon, 02 Jan 2006 15:04:05 -0700"), id)
	fmt.Fprintf(&b, "Auto-Submitted: auto-generated\r\nContent-Language: %s\r\n", languageOf(l))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	// Writing to a buffer and closing the writer cannot fail.
	encoder := quotedprintable.NewWriter(&b)
	encoder.Write([]byte(body))
	encoder.Close()
	return b.Bytes()
}

// encodeSubject writes a header value as encoded words of at most 75 characters, one a line (RFC 2047 section 2). A short value in plain ASCII
// stays as it is, unless it looks like an encoded word.
func encodeSubject(s string) string {
	plain := len(s) < 65 && !strings.Contains(s, "=?")
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] <= '~'
	}
	if plain {
		return s
	}
	const maxBytes = 42 // 56 characters of base64
	var words []string
	for s != "" {
		n := 0
		for n < len(s) {
			_, size := utf8.DecodeRuneInString(s[n:])
			if n+size > maxBytes {
				break
			}
			n += size
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, "\r\n ")
}

func languageOf(l policy.Language) policy.Language {
	if l == policy.English {
		return l
	}
	return policy.Italian
}

// text is a subject and a body with placeholders in braces.
type text struct{ subject, body string }

// render fills in the text of a notice.
func (q *Queue) render(w *waiting, l policy.Language) (subject, body string) {
	l = languageOf(l)
	t := textOf(&w.Notice, l)
	if w.Digest {
		t = digestText(&w.Notice, l)
	}
	if w.More > 0 {
		t.body += "\n" + moreText(l)
	}
	t.body += "\n" + footer(&w.Notice, l)
	// A single pass, so placeholders in a sender's text stay as they are.
	arrived := w.Arrived
	if arrived.IsZero() {
		arrived = w.Time
	}
	entries, size, oldest := "?", "?", "?"
	if !w.Oldest.IsZero() {
		oldest = w.Oldest.Format(timeForm(l))
	}
	if w.Counted || w.Event != policy.NotifyBeforeLoss {
		entries, size = strconv.FormatUint(w.Entries, 10), l.Size(w.Bytes)
	}
	reason := policy.Labels(policy.VocabularyReasons).Label(w.Reason).In(l)
	if w.Kind == PullFailing {
		reason = PullCause(w.Reason).In(l)
	}
	r := strings.NewReplacer(
		"{mailbox}", w.Mailbox, "{time}", w.Time.Format(timeForm(l)), "{arrived}", arrived.Format(timeForm(l)), "{sender}", orNone(clean(w.Sender), l),
		"{subject}", orNone(clean(w.Subject), l), "{percent}", strconv.Itoa(w.Percent), "{reason}", orNone(reason, l),
		"{entries}", entries, "{size}", size, "{oldest}", oldest, "{due}", w.Due.In(w.Time.Location()).Format(timeForm(l)),
		"{months}", strconv.Itoa(w.Months), "{detail}", orNone(clean(w.Reason), l), "{code}", shownCode(w.code), "{more}", strconv.Itoa(w.More),
		"{text}", w.Text, "{list}", q.listText(w, l), "{host}", q.options.Host)
	return r.Replace(t.subject), r.Replace(t.body)
}

// textOf returns the text of a notice, with its placeholders.
func textOf(n *Notice, l policy.Language) text {
	switch {
	case n.Cause != "":
		return operatorText(n.Cause)
	case n.Kind == PullFailing || n.Kind == PullAgain:
		return pullText(n.Kind, l)
	case n.Event == policy.NotifyGap:
		return gapText(n.Reason, l)
	case n.Kind != "":
		return kindText(n, l)
	case n.Event == policy.NotifyMailboxFull:
		return mailboxFullText(n.Percent, l)
	case n.Event == policy.NotifyCertified && n.Reason != "":
		return leftOutText(l)
	}
	return texts(l)[n.Event]
}

func timeForm(l policy.Language) string {
	if l == policy.English {
		return "2 January 2006, 15:04 (-0700)"
	}
	return "02/01/2006, 15:04 (-0700)"
}
