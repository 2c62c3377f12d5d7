package search

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// ParseQuery reads a search as people type it: ParseQueryIn with days in UTC.
func ParseQuery(text string) (Query, error) { return ParseQueryIn(text, time.UTC) }

// ParseQueryIn reads a search as people type it, with days in their zone. Words are texts; "words in quotes" are one text. A word with one of these
// names in front, English or Italian, in any case, is about one field:
//
//	from:, da:                   sender
//	to:, a:                      recipients
//	subject:, oggetto:           subject
//	file:, allegato:             names of files
//	class:, tipo:                a class or group, see Classes; or receipts, ricevute
//	direction:, direzione:       received, ricevuti, sent, inviati
//	date:, data:                 a day, month or year, or two with .. between: 2026-11-28, 28/11/2026, 2026-11, 11/2026, 2026
//	since:, dal:; until:, al:    the first and the last of them
//	before:, prima:              the first day, month or year, or time, that is not wanted any more
//	size:, dimensione:           >1MB, <20kB, or two with .. between
//	has:, con:                   attachment, allegati
//	in:, cartella:               a folder: INBOX, Sent/2026-11, 2026-11
//
// What makes no sense is taken as words: no text that people type is an error, unless it is longer than any search.
func ParseQueryIn(text string, zone *time.Location) (Query, error) {
	var q Query
	if len(text) > maxQuery {
		return q, fmt.Errorf("%w: over %d bytes: write fewer words", ErrQuery, maxQuery)
	}
	for _, w := range wordsOf(text) {
		if w.key == "" || !q.set(w.key, w.value, zone) {
			q.Text = append(q.Text, w.text())
		}
	}
	q.dropSigns()
	return q, q.check()
}

// dropSigns drops the texts that are only signs, as in "Rossi & Figli", unless there is nothing else to look for.
func (q *Query) dropSigns() {
	var words []string
	for _, text := range q.Text {
		if hasWord(fold(text)) {
			words = append(words, text)
		}
	}
	if rest := *q; words == nil {
		if rest.Text = nil; rest.IsZero() {
			return
		}
	}
	q.Text = words
}

// word is one word of a search.
type word struct {
	key   string // in front of the colon, in lower case; "" where there is none
	value string
	typed string // key as it was typed, with the colon
}

func (w word) text() string { return w.typed + w.value }

// wordsOf cuts a text into words. A quote that is not closed counts as a blank.
func wordsOf(text string) []word {
	var list []word
	text = strings.ToValidUTF8(text, "\ufffd")
	for {
		text = strings.TrimLeftFunc(text, isBlank)
		if text == "" {
			return list
		}
		var w word
		if i := strings.IndexFunc(text, func(r rune) bool { return r == ':' || r == '"' || isBlank(r) }); i > 0 && text[i] == ':' {
			if key := strings.ToLower(text[:i]); fieldNames[key] != "" {
				w.key, w.typed, text = fieldNames[key], text[:i+1], text[i+1:]
			}
		}
		w.value, text = valueOf(text)
		if w.value == "" {
			w.key = "" // a name alone is a word
		}
		if w.text() != "" {
			list = append(list, w)
		}
	}
}

// valueOf takes a value from the front of a text: what is between quotes, or all up to a blank or quote.
func valueOf(text string) (value, rest string) {
	if quoted, ok := strings.CutPrefix(text, `"`); ok {
		if i := strings.IndexByte(quoted, '"'); i >= 0 {
			return cleaned(quoted[:i]), quoted[i+1:]
		}
		text = quoted
	}
	i := strings.IndexFunc(text, func(r rune) bool { return r == '"' || isBlank(r) })
	if i < 0 {
		i = len(text)
	}
	return text[:i], text[i:]
}

func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// fieldNames are the names of fields that people may type, and what they stand for.
var fieldNames = map[string]string{
	"from": "from", "da": "from", "mittente": "from",
	"to": "to", "a": "to", "destinatario": "to",
	"subject": "subject", "oggetto": "subject",
	"file": "file", "allegato": "file", "filename": "file",
	"class": "class", "tipo": "class", "classe": "class",
	"direction": "direction", "direzione": "direction",
	"date": "date", "data": "date",
	"since": "since", "dal": "since", "after": "since", "dopo": "since",
	"until": "until", "al": "until",
	"before": "before", "prima": "before",
	"size": "size", "dimensione": "size",
	"has": "has", "con": "has",
	"in": "in", "cartella": "in",
}

// set takes in what a field is to be, and reports whether that makes sense.
func (q *Query) set(key, value string, zone *time.Location) bool {
	switch key {
	case "from":
		q.From = append(q.From, value)
	case "to":
		q.To = append(q.To, value)
	case "subject":
		q.Subject = append(q.Subject, value)
	case "file":
		q.File = append(q.File, value)
	case "class":
		classes := classesNamed(strings.ToLower(value))
		q.Classes = append(q.Classes, classes...)
		return classes != nil
	case "direction":
		d, ok := directions[strings.ToLower(value)]
		if ok {
			q.Direction = d
		}
		return ok
	case "has":
		switch strings.ToLower(value) {
		case "attachment", "attachments", "allegato", "allegati":
			q.Attachment = true
			return true
		}
		return false
	case "in":
		q.Folder = value
	case "size":
		return q.setSize(value)
	default:
		return q.setDate(key, value, zone)
	}
	return true
}

// directions are the names of directions that people may type.
var directions = map[string]journal.Direction{
	"received": journal.Received, "ricevuti": journal.Received, "ricevuto": journal.Received, "sent": journal.Sent, "inviati": journal.Sent, "inviato": journal.Sent,
}

// classesNamed returns the classes that a name stands for; nil if none.
func classesNamed(name string) []string {
	switch name {
	case "receipts", "ricevute":
		return []string{string(pec.Acceptance), string(pec.Delivery)}
	case "accettazioni":
		return []string{string(pec.Acceptance)}
	case "consegne":
		return []string{string(pec.Delivery)}
	case "certificati", "pec":
		return []string{string(pec.Certified)}
	}
	if isClass(name) {
		return []string{name}
	}
	return nil
}

// setSize reads "1MB..2MB", ">1MB" or "<1MB".
func (q *Query) setSize(value string) bool {
	least, most, ok := strings.Cut(value, "..")
	switch {
	case ok:
	case strings.HasPrefix(value, "<"):
		least, most = "", strings.TrimPrefix(value[1:], "=")
	case strings.HasPrefix(value, ">"):
		least, most = strings.TrimPrefix(value[1:], "="), ""
	default:
		return false
	}
	if least == "" && most == "" {
		return false
	}
	smallest, largest := q.MinSize, q.MaxSize
	if least != "" {
		if smallest, ok = parseSize(least); !ok || smallest == 0 {
			return false
		}
	}
	if most != "" {
		if largest, ok = parseSize(most); !ok || largest == 0 {
			return false
		}
	}
	if largest > 0 && smallest > largest {
		return false
	}
	q.MinSize, q.MaxSize = smallest, largest
	return true
}

// setDate narrows the time. What leaves no time makes no sense.
func (q *Query) setDate(key, value string, zone *time.Location) bool {
	since, until := q.Since, q.Until
	first, last := value, value
	if i := strings.Index(value, ".."); i >= 0 && key == "date" {
		first, last = value[:i], value[i+2:]
	}
	if first == "" && last == "" {
		return false
	}
	if first != "" && (key == "date" || key == "since") {
		start, _, ok := parseDate(first, zone)
		if !ok {
			return false
		}
		if start.After(since) || since.IsZero() {
			since = start
		}
	}
	if last != "" && key != "since" {
		start, end, ok := parseDate(last, zone)
		if key == "before" {
			end = start
		}
		if !ok {
			return false
		}
		if end.Before(until) || until.IsZero() {
			until = end
		}
	}
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return false
	}
	q.Since, q.Until = since, until
	return true
}

// The forms of days, months and years.
var (
	formYearFirst = regexp.MustCompile(`^(\d{4})(?:[-/.](\d{1,2})(?:[-/.](\d{1,2}))?)?$`)
	formDayFirst  = regexp.MustCompile(`^(?:(\d{1,2})[-/.])?(\d{1,2})[-/.](\d{4})$`)
)

// parseDate returns the beginning of a day, month or year, and that of the next one; of a time, that time and a nanosecond more.
func parseDate(text string, zone *time.Location) (start, next time.Time, ok bool) {
	if len(text) > len(time.DateOnly) {
		t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text))
		t = t.In(zone) // so that String can tell whether it is the beginning of a day
		return t, t.Add(1), err == nil && inYears(t.Year())
	}
	var digits [3]string // year, month, day
	if m := formYearFirst.FindStringSubmatch(text); m != nil {
		digits = [3]string{m[1], m[2], m[3]}
	} else if m := formDayFirst.FindStringSubmatch(text); m != nil {
		digits = [3]string{m[3], m[2], m[1]}
	} else {
		return start, next, false
	}
	n := [3]int{1: 1, 2: 1}
	for i, d := range digits {
		if d != "" {
			n[i], _ = strconv.Atoi(d) // the forms allow only digits
		}
	}
	day := time.Date(n[0], time.Month(n[1]), n[2], 12, 0, 0, 0, time.UTC)
	if !inYears(n[0]) || day.Day() != n[2] || int(day.Month()) != n[1] {
		return start, next, false
	}
	switch {
	case digits[2] != "":
		next = day.AddDate(0, 0, 1)
	case digits[1] != "":
		next = day.AddDate(0, 1, 0)
	default:
		next = day.AddDate(1, 0, 0)
	}
	return startOfDay(day, zone), startOfDay(next, zone), true
}

func startOfDay(day time.Time, zone *time.Location) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
}

// inYears reports whether a year is one that mail can be of. Before 1970 offsets of zones had seconds, which RFC 3339 cannot write.
func inYears(year int) bool { return year >= 1970 && year <= 2200 }
