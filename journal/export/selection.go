package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/export/sincro"
	"copialettere/journal/kv"
	"copialettere/journal/search"
	"copialettere/policy/archive"
)

// ErrSelection says that a Selection names something that there is not. The error that wraps it says what, and what to write instead.
var ErrSelection = errors.New("bad selection")

// Selection says which messages are exported. What it names must all hold; the zero Selection takes all that a mailbox holds, the trash included.
// Others script against its names.
type Selection struct {
	Folder string    `json:"folder,omitempty"` // "INBOX/2026-11", "INBOX" for all its months, or "2026-11" for all folders of the month
	Class  string    `json:"class,omitempty"`  // one of search.Classes, or several with commas between
	Since  time.Time `json:"since,omitzero"`   // not before
	Until  time.Time `json:"until,omitzero"`   // before
}

// Check returns an error that wraps ErrSelection if there can be no such messages.
func (s Selection) Check() error {
	for _, class := range s.classes() {
		if !slices.Contains(search.Classes(), class) {
			return fmt.Errorf("%w: class %.50q: want one of %s", ErrSelection, class, strings.Join(search.Classes(), ", "))
		}
	}
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		return fmt.Errorf("%w: until: the end is not after the beginning", ErrSelection)
	}
	return nil
}

// String returns the selection as the log of a mailbox has it: archive.ExportedAll, or "class:delivery since:2026-11-01T00:00:00Z folder:INBOX/2026-11",
// with the folder last, whose name may have blanks.
func (s Selection) String() string {
	var words []string
	add := func(key, value string) {
		if value != "" {
			words = append(words, key+":"+value)
		}
	}
	add("class", s.Class)
	for _, end := range []struct {
		key string
		at  time.Time
	}{{"since", s.Since}, {"until", s.Until}} {
		if !end.at.IsZero() {
			add(end.key, end.at.UTC().Format(time.RFC3339))
		}
	}
	add("folder", s.Folder)
	if words == nil {
		return archive.ExportedAll
	}
	return strings.Join(words, " ")
}

func (s Selection) classes() []string {
	if s.Class == "" {
		return nil
	}
	return strings.Split(s.Class, ",")
}

// place returns what Folder names: a folder without its month, and a month; either may be empty.
func (s Selection) place() (folder string, month kv.Month) {
	if month, err := kv.ParseMonth(s.Folder); err == nil {
		return "", month
	}
	if folder, month, err := journal.ParseFolder(s.Folder); err == nil {
		return folder, month
	}
	return s.Folder, ""
}

// wants reports whether an entry is among those selected.
func (s Selection) wants(e *journal.Entry) bool {
	folder, month := s.place()
	at := e.Dated()
	switch {
	case month != "" && e.Month != month, folder != "" && e.Folder != folder && !strings.HasPrefix(e.Folder, folder+"/"):
		return false
	case !s.Since.IsZero() && at.Before(s.Since), !s.Until.IsZero() && !at.Before(s.Until):
		return false
	case s.Class == "":
		return true
	}
	return slices.ContainsFunc(s.classes(), func(class string) bool { return search.InClass(e, class) })
}

// wantsGap reports whether a gap touches the time of the selection.
func (s Selection) wantsGap(g *archive.Gap) bool {
	since, until := s.Since, s.Until
	if _, month := s.place(); month != "" {
		if since.Before(month.Start()) {
			since = month.Start()
		}
		if end := month.Next().Start(); until.IsZero() || until.After(end) {
			until = end
		}
	}
	return GapWithin(g, since, until)
}

// GapWithin reports whether a gap touches a time; a zero end is none.
func GapWithin(g *archive.Gap, since, until time.Time) bool {
	if g.From != nil && !until.IsZero() && !g.From.Before(until) {
		return false
	}
	switch {
	case since.IsZero() || g.Until == nil && g.Kind == archive.GapPause:
		return true
	case g.Until != nil:
		return g.Until.After(since)
	}
	return g.From == nil || !g.From.Before(since)
}

// order is what a Run is about, as export.json has it. Two runs with the same order are one export.
type order struct {
	Layout  int    `json:"layout"` // of the files: 1
	Mailbox string `json:"mailbox"`
	Form    Form   `json:"format"`
	Selection
	Sincro *sincro.Agent `json:"sincro,omitempty"` // see Options
}

func (o order) file() []byte {
	o.Since, o.Until = o.Since.UTC(), o.Until.UTC()
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // a time outside of the years 0 to 9999, which no face reads
	}
	return append(b, '\n')
}
