package pages

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/search"
	"copialettere/policy/archive"
)

// A form names messages in fields m: "INBOX/2026-11 5", or several of a folder with points between, which a form need not escape:
// "INBOX/2026-11 1-20.22". With the field all it means whatever folder and q ask for. The page that asks for a confirmation names the messages that it
// has counted, so what comes meanwhile is not among them.

// maxSelection is how much of the body of a form with a selection is read, in bytes: 100,000 messages of which every other one is selected.
const maxSelection = 1 << 20

// selection is what a form has selected, by folder. The selections have no mailbox.
type selection struct {
	folders []journal.Selection
	query   *search.Query // instead, whatever a query wants
}

// placeValue returns the value that names a message.
func placeValue(r journal.Ref) string { return r.FolderName() + " " + uidText(r.UID) }

// selectionValue returns the value that names the messages of a selection.
func selectionValue(s journal.Selection) string {
	text, _ := s.UIDs.MarshalText() // it never fails
	return s.FolderName() + " " + strings.ReplaceAll(string(text), ",", ".")
}

// selected reads what a form has selected. Nothing is an error, which says so.
func (v *visit) selected() (selection, error) {
	if err := v.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return selection{}, err
		}
		return selection{}, fmt.Errorf("%w: %w", archive.ErrRequest, err)
	}
	if v.FormValue("all") != "" {
		q, trouble := v.query(v.Form)
		if trouble != "" {
			return selection{}, fmt.Errorf("%w: query", archive.ErrRequest)
		}
		return selection{query: &q}, nil
	}
	values := v.Form["m"]
	if uid := v.FormValue("uid"); uid != "" { // from the page of a message
		values = append(values, v.FormValue("folder")+" "+uid)
	}
	if len(values) == 0 {
		return selection{}, complain(http.StatusBadRequest, "Non è stato scelto nessun messaggio. Tornare indietro e sceglierne almeno uno.",
			"No message was selected. Go back and select one at least.")
	}
	return parseSelection(values)
}

// parseSelection reads fields m.
func parseSelection(values []string) (selection, error) {
	byFolder := make(map[string]*journal.Selection)
	texts := make(map[string][]string)
	for _, value := range values {
		i := strings.LastIndexByte(value, ' ')
		if i < 0 {
			return selection{}, fmt.Errorf("%w: message %.100q: want FOLDER UID", archive.ErrRequest, value)
		}
		name := value[:i]
		if byFolder[name] == nil {
			folder, month, err := journal.ParseFolder(name)
			if err != nil {
				return selection{}, fmt.Errorf("%w: %w", archive.ErrRequest, err)
			}
			byFolder[name] = &journal.Selection{Month: month, Folder: folder}
		}
		texts[name] = append(texts[name], strings.ReplaceAll(value[i+1:], ".", ","))
	}
	var s selection
	for name, folder := range byFolder {
		var err error
		if folder.UIDs, err = journal.ParseUIDs(strings.Join(texts[name], ",")); err != nil {
			return selection{}, fmt.Errorf("%w: %w", archive.ErrRequest, err)
		}
		s.folders = append(s.folders, *folder)
	}
	sortSelections(s.folders)
	return s, nil
}

// sortSelections puts selections into the order of months, then of folders.
func sortSelections(list []journal.Selection) {
	slices.SortFunc(list, func(a, b journal.Selection) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Folder, b.Folder))
	})
}

// counted is a selection as the archive has it: no more than what is there.
type counted struct {
	folders  []journal.Selection
	messages uint64
	bytes    uint64
	passed   journal.PassedOver // months that could not be read
}

// count looks a selection up.
func (v *visit) count(s selection) (counted, error) {
	r := v.reader()
	c := counted{}
	if s.query != nil {
		found, err := v.pages.options.Search.Select(v.Context(), r, *s.query)
		if err != nil {
			return counted{}, err
		}
		s.folders, c.passed = found.Messages, found.Passed
		sortSelections(s.folders)
	}
	stats, err := r.MonthFolders(v.Context())
	var passed journal.PassedOver
	if err != nil && !errors.As(err, &passed) {
		return counted{}, err
	}
	there := make(map[string]journal.FolderStats)
	for _, f := range stats {
		there[f.Folder+archive.FolderSeparator+string(f.Month)] = f
	}
	for _, folder := range s.folders {
		for _, bad := range passed {
			if bad.Month == folder.Month {
				c.passed.Add(bad)
			}
		}
		holds, ok := there[folder.FolderName()]
		if !ok {
			continue
		}
		uids := folder.UIDs
		if folder.UIDs, err = v.countIn(r, holds, uids, &c); err != nil {
			if !c.passed.Add(err) {
				return counted{}, err
			}
		} else if folder.UIDs != nil {
			c.folders = append(c.folders, folder)
		}
	}
	return c, nil
}

// countIn adds those of some messages to a count that are in a folder, and returns them. Of many it reads the whole folder once.
func (v *visit) countIn(r *archive.Reader, holds journal.FolderStats, wanted journal.UIDs, c *counted) (journal.UIDs, error) {
	if len(wanted) == 0 || holds.NextUID < 2 {
		return nil, nil
	}
	var uids []uint32
	n := 0 // the range of wanted that is next
	first, last := wanted[0].First, min(wanted[len(wanted)-1].Last, holds.NextUID-1)
	for o, err := range r.Outlines(v.Context(), holds, first, last) {
		if o.UID == 0 {
			return nil, err
		}
		for n < len(wanted) && wanted[n].Last < o.UID {
			n++
		}
		if n < len(wanted) && wanted[n].First <= o.UID {
			uids = append(uids, o.UID)
			c.messages++
			c.bytes += uint64(o.Size)
		}
	}
	return journal.UIDsOf(uids), v.Context().Err()
}
