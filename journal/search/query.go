package search

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// Query says which messages are wanted. What it names must all hold; the zero Query wants all messages that are not in the trash.
//
// A text is found anywhere in a value, also inside a word; case, accents and typographic signs do not matter. See the package comment for what the
// values of a message are.
type Query struct {
	Folder string // "INBOX/2026-11", "INBOX" for all months of it, "2026-11" for all folders of the month; "" for all but the trash

	Text    []string // each in any of the values
	From    []string
	To      []string
	Subject []string
	File    []string // names of files

	Classes    []string          // one of them: groups of pec.Group, and classes of pec.Class
	Direction  journal.Direction // 0 for both
	Since      time.Time         // not before; zero for no limit
	Until      time.Time         // before; zero for no limit
	MinSize    int64             // bytes, at least
	MaxSize    int64             // at most; 0 for no limit
	Attachment bool              // only with attachments: see pec.Message.Attachments
}

// ErrQuery says that a Query cannot be answered. The error that wraps it names the field and what to write instead.
var ErrQuery = errors.New("bad search")

const (
	// maxQuery is the most bytes of a search in words. A longer one is no search but a mistake.
	maxQuery = 4096
	// maxTexts is the most texts that are looked for.
	maxTexts = 64
)

// IsZero reports whether the query wants all messages that are not in the trash.
func (q *Query) IsZero() bool { return q.Folder == "" && q.all() }

// all reports whether the query wants all messages of its folder.
func (q *Query) all() bool {
	return !q.hasTexts() && len(q.Classes) == 0 && q.Direction == 0 && q.Since.IsZero() && q.Until.IsZero() && q.MinSize <= 0 && q.MaxSize <= 0 && !q.Attachment
}

func (q *Query) hasTexts() bool {
	return len(q.Text)+len(q.From)+len(q.To)+len(q.Subject)+len(q.File) > 0
}

// check returns an error that wraps ErrQuery if the query cannot be answered.
func (q *Query) check() error {
	for _, class := range q.Classes {
		if !isClass(class) {
			return fmt.Errorf("%w: class %.50q: want one of %s", ErrQuery, class, strings.Join(Classes(), ", "))
		}
	}
	if n := len(q.Text) + len(q.From) + len(q.To) + len(q.Subject) + len(q.File); n > maxTexts {
		return fmt.Errorf("%w: %d words: want at most %d", ErrQuery, n, maxTexts)
	}
	switch {
	case q.Direction != 0 && q.Direction != journal.Received && q.Direction != journal.Sent:
		return fmt.Errorf("%w: direction: want received or sent", ErrQuery)
	case !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until):
		return fmt.Errorf("%w: since: the end is not after the beginning", ErrQuery)
	case q.MaxSize > 0 && q.MinSize > q.MaxSize:
		return fmt.Errorf("%w: size: the largest is less than the smallest", ErrQuery)
	}
	return nil
}

// Classes returns the names by which messages can be looked for: the groups of filters, the classes of package pec, and presets of filters.
func Classes() []string {
	var list []string
	for _, class := range policy.Labels(policy.VocabularyClasses) {
		list = append(list, class.Name)
	}
	for _, class := range []pec.Class{pec.PostaCertificata, pec.Anomalia, pec.Accettazione, pec.NonAccettazione, pec.PresaInCarico, pec.AvvenutaConsegna,
		pec.ErroreConsegna, pec.PreavvisoErroreConsegna, pec.RilevazioneVirus, pec.REM, pec.Ordinary} {
		list = append(list, string(class))
	}
	return list
}

func isClass(name string) bool { return slices.Contains(Classes(), name) }

// month returns the month that Folder names.
func (q *Query) month() (kv.Month, bool) {
	if month, err := kv.ParseMonth(q.Folder); err == nil {
		return month, true
	}
	_, month, err := journal.ParseFolder(q.Folder)
	return month, err == nil
}

// folder returns what Folder names, without the month; "" for all folders but the trash.
func (q *Query) folder() string {
	if _, err := kv.ParseMonth(q.Folder); err == nil {
		return ""
	}
	if name, _, err := journal.ParseFolder(q.Folder); err == nil {
		return name
	}
	return q.Folder
}

// inFolder reports whether the query wants messages of a folder of the journal in a month.
func (q *Query) inFolder(folder string, m kv.Month) bool {
	if month, ok := q.month(); ok && month != m {
		return false
	}
	wanted := q.folder()
	if wanted == "" {
		return folder != journal.Trash
	}
	return folder == wanted || strings.HasPrefix(folder, wanted+"/")
}

// String returns the query in the words that ParseQuery reads. Times are days in their own zone where they can be.
func (q Query) String() string {
	var words []string
	add := func(key string, values ...string) {
		for _, v := range values {
			if v = cleaned(v); v != "" {
				words = append(words, key+quoted(v))
			}
		}
	}
	add("", q.Text...)
	add("from:", q.From...)
	add("to:", q.To...)
	add("subject:", q.Subject...)
	add("file:", q.File...)
	add("class:", q.Classes...)
	if q.Direction != 0 {
		add("direction:", q.Direction.String())
	}
	if !q.Since.IsZero() {
		add("since:", dayOrTime(q.Since))
	}
	if !q.Until.IsZero() {
		add("before:", dayOrTime(q.Until))
	}
	if q.MinSize > 0 {
		add("size:>", formatSize(q.MinSize))
	}
	if q.MaxSize > 0 {
		add("size:<", formatSize(q.MaxSize))
	}
	if q.Attachment {
		add("has:", "attachment")
	}
	add("in:", q.Folder)
	return strings.Join(words, " ")
}

// quoted returns a value as one word of a search.
func quoted(value string) string {
	if strings.ContainsAny(value, " :") {
		return `"` + value + `"`
	}
	return value
}

// cleaned returns a value without quotes and control characters, which no search can hold.
func cleaned(value string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(value, "\ufffd"), func(r rune) bool { return r == '"' || isBlank(r) }), " ")
}

// dayOrTime returns a time as a day if it is the beginning of one.
func dayOrTime(t time.Time) string {
	if day := t.Format(time.DateOnly); len(day) == len(time.DateOnly) {
		if again, err := time.ParseInLocation(time.DateOnly, day, t.Location()); err == nil && again.Equal(t) {
			return day
		}
	}
	return t.Format(time.RFC3339Nano)
}

// sizeUnits are the units of sizes, the largest first.
var sizeUnits = [...]struct {
	name   string
	factor int64
}{{"gb", 1e9}, {"mb", 1e6}, {"kb", 1e3}, {"b", 1}}

// formatSize writes a size in the largest unit that leaves a whole number.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.factor && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + strings.ToUpper(u.name)
		}
	}
	return "0B"
}

// parseSize reads a size as formatSize writes it, in any case; without a unit in bytes. The number may have a comma or a point.
func parseSize(text string) (int64, bool) {
	text = strings.ToLower(text)
	factor := int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, factor = rest, u.factor
			break
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n * factor, n >= 0 && n <= math.MaxInt64/factor/2
	}
	n, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64)
	return int64(n * float64(factor)), err == nil && n >= 0 && n*float64(factor) < 1<<50
}
