package pages

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/archive"
)

func listRoutes() []Route {
	return []Route{{Pattern: "GET /mailbox/{mailbox}/messages", For: OfMailbox, Right: archive.RightRead, serve: (*visit).showList}}
}

// perPage is how many messages are on one page of a list. What a line may take is set by the limit of a page, 60 kB.
const perPage = 50

// listPage is a list of messages: of a folder, or found by a search.
type listPage struct {
	Title  string
	Folder string   // as the query has it
	Query  string   // as q has it
	Words  []string // what is looked for
	Form   searchForm
	Tree   []folderKind
	More   int // folders that are not in Tree
	All    bool
	Rows   []listRow
	Total  int      // -1 if it is not known
	Passed []string // months that could not be read
	// MoreGaps is how many gaps of the time of this page are not in Rows.
	MoreGaps int

	First, Newer, Older    string // paths; empty where there is none
	Here                   string // path of this page
	Check                  string // path of this page with all its messages selected
	Checked                bool
	Several                bool // the list has more than this page
	Delete, Move, GiveBack bool // the reader may
	Import                 bool
	Zip                    string
}

// HasMessages reports whether the page has a message, and not only gaps.
func (p *listPage) HasMessages() bool {
	return slices.ContainsFunc(p.Rows, func(r listRow) bool { return r.Gap == nil })
}

// listRow is a line of a list: a message or a gap.
type listRow struct {
	summary
	Gap     *gapRow
	Value   string // names the message to forms
	Path    string
	Time    string
	Size    string
	Whole   string // the whole subject, where Subject is cut
	Damaged bool   // the message cannot be read
}

// What a line of a list shows at most, in bytes of HTML.
const (
	shownSubject = 150
	shownWho     = 64
	// shownWhole is for all subjects of a page that are cut, and shownWholeOne for one.
	shownWhole    = 5000
	shownWholeOne = 400
)

func (v *visit) showList() error {
	values := v.URL.Query()
	q, trouble := v.query(values)
	page := listPage{Folder: q.Folder, Words: v.queryWords(q), Form: v.searchForm(q), Total: -1, Checked: values.Get("checked") != ""}
	stats, damaged, err := v.folders()
	if err != nil {
		return err
	}
	page.Tree, page.More = folderTree(v.language, stats, damaged, q.Folder)
	page.Title = v.t("Tutti i messaggi", "All messages")
	if page.All = q.Folder == ""; !page.All {
		page.Title = folderText(v.language, q.Folder)
	}
	if len(page.Words) > 0 {
		page.Title = v.t("Risultati della ricerca", "Search results")
	}
	page.Query = queryValues(q).Get("q")
	if trouble != "" {
		page.Form.Trouble, page.Form.Open = trouble, true
		page.Form.keep(values)
		return v.render(http.StatusBadRequest, "list.html", &page)
	}
	if err := v.fill(&page, q, values); err != nil {
		return err
	}
	return v.render(http.StatusOK, "list.html", &page)
}

// keep puts back what was typed.
func (f *searchForm) keep(values url.Values) {
	f.Words, f.From, f.To, f.Subject, f.File = values.Get("q"), values.Get("from"), values.Get("to"), values.Get("subject"), values.Get("file")
	f.Since, f.Until, f.Min, f.Max = values.Get("since"), values.Get("until"), values.Get("min"), values.Get("max")
}

// fill puts the messages into a list, and the gaps that lie between them.
func (v *visit) fill(page *listPage, q search.Query, values url.Values) error {
	r := v.reader()
	after, err := search.ParsePosition(values.Get("after"))
	if err != nil {
		after = search.Position{} // begin at the first page
	}
	found, err := v.pages.options.Search.Find(v.Context(), r, q, after, perPage)
	if err != nil {
		return err
	}
	access, err := r.Access(v.Context())
	if err != nil {
		return err
	}
	page.Total, page.Delete, page.Move, page.GiveBack = found.Total, access.Delete, access.Move, access.GiveBack
	page.Import = access.Append
	for _, m := range found.Passed.Months() {
		page.Passed = append(page.Passed, monthText(v.language, string(m)))
	}
	v.turnPages(page, q, after, found.Next, values.Get("back"))
	held, err := v.held(r, found.Entries)
	if err != nil {
		return err
	}
	var gaps []archive.Gap
	if showsGaps(q) {
		if gaps, _, err = v.gaps(); err != nil {
			return err
		}
	}
	whole, shown, from := shownWhole, 0, listName(q, after)
	for _, row := range found.Rows(q, after, gaps) {
		if row.Gap == nil {
			line := v.listRow(row.Entry, held, &whole)
			if from != "" && from != "folder="+url.QueryEscape(row.Entry.FolderName()) {
				line.Path += "?list=" + url.QueryEscape(from)
			}
			page.Rows = append(page.Rows, line)
			continue
		}
		if shown++; shown > gapsInList {
			page.MoreGaps++
			continue
		}
		g := v.gapRow(row.Gap)
		page.Rows = append(page.Rows, listRow{Gap: &g})
	}
	for i := range page.Rows {
		for _, place := range found.Damaged {
			page.Rows[i].Damaged = page.Rows[i].Damaged || page.Rows[i].Value == placeValue(place)
		}
	}
	return nil
}

// showsGaps reports whether a list is of all messages of a folder or a time, and so shows what is missing among them.
func showsGaps(q search.Query) bool {
	whole := search.Query{Folder: q.Folder, Direction: q.Direction, Since: q.Since, Until: q.Until}
	return whole.String() == q.String()
}

// gapsInList is how many gaps stand in one page of a list. The others are on the page of gaps.
const gapsInList = 10

// maxBack is how many pages a list remembers, to turn back to.
const maxBack = 10

// turnPages puts the paths to other pages into a list. A page only knows its own beginning, so it is told those of the pages before it.
func (v *visit) turnPages(page *listPage, q search.Query, after, next search.Position, back string) {
	page.Here = v.path("messages") + queryText(q, "after", after.String(), "back", back)
	page.Check = listPath(q, "after", after.String(), "back", back, "checked", "1")
	page.Several = !next.IsZero() || !after.IsZero()
	page.Zip = "zip" + queryText(q)
	before := strings.FieldsFunc(back, func(r rune) bool { return r == '.' })
	if !after.IsZero() {
		page.First = listPath(q)
		if n := len(before); n > 0 {
			page.Newer = listPath(q, "after", strings.TrimLeft(before[n-1], "-"), "back", strings.Join(before[:n-1], "."))
		}
	}
	if !next.IsZero() {
		here := after.String()
		if here == "" {
			here = "-" // the first page
		}
		before = append(before, here)
		page.Older = listPath(q, "after", next.String(), "back", strings.Join(before[max(0, len(before)-maxBack):], "."))
	}
}

// longestName is how many bytes the name of a list may take in the link of a message: a page has 50 of them.
const longestName = 150

// allMessages is listName of the first page of all messages.
const allMessages = "all"

// listName names a page of a list to the pages of its messages, which lead back to it. It is empty if it would be too long.
func listName(q search.Query, after search.Position) string {
	name := cmp.Or(strings.TrimPrefix(queryText(q, "after", after.String()), "?"), allMessages)
	if len(url.QueryEscape(name)) > longestName {
		return ""
	}
	return name
}

// listBefore returns the path of the list that the reader of a message comes from, and its listName; otherwise that of the folder.
func (v *visit) listBefore(folder string) (path, name string) {
	values, err := url.ParseQuery(v.FormValue("list"))
	if err != nil || len(values) == 0 {
		values = url.Values{"folder": {folder}}
	}
	q, _ := v.query(values)
	after, _ := search.ParsePosition(values.Get("after"))
	name = listName(q, after)
	return v.path("messages") + queryText(q, "after", after.String()), name
}

// held returns which of some entries are under a hold of their own.
func (v *visit) held(r *archive.Reader, entries []*journal.Entry) (map[string]bool, error) {
	folders := make(map[string]journal.Selection)
	for _, e := range entries {
		s := e.Only()
		s.UIDs = journal.AllUIDs()
		folders[e.FolderName()] = s
	}
	held := make(map[string]bool)
	for _, s := range folders {
		uids, err := r.HeldIn(v.Context(), s)
		if err != nil && !errors.Is(err, journal.ErrDamaged) {
			return nil, err
		}
		for uid := range uids.Each() {
			s.UIDs = nil
			held[placeValue(journal.Ref{Month: s.Month, Folder: s.Folder, UID: uid})] = true
		}
	}
	return held, nil
}

// listRow returns the line of a message. whole is how many bytes are left for whole subjects.
func (v *visit) listRow(e *journal.Entry, held map[string]bool, whole *int) listRow {
	row := listRow{summary: summarize(e, v.language), Value: placeValue(e.Ref), Path: messagePath(e.Ref), Time: listTime(v.language, v.zone, e.Dated())}
	row.Size = sizeText(v.language, e.Size)
	if held[row.Value] {
		row.States = append(row.States, badge{"warn", v.t("blocco legale", "legal hold")})
	}
	subject := row.Subject
	if row.Subject = cut(subject, shownSubject); row.Subject != subject {
		if text := cut(subject, min(shownWholeOne, *whole)); len(text) > len(row.Subject) {
			row.Whole = text
			*whole -= shownWholeOne
		}
	}
	row.Who = cut(row.Who, shownWho)
	return row
}

// messagePath returns the path of the page of a message, relative to the pages of its mailbox.
func messagePath(r journal.Ref) string {
	return "messages/" + url.PathEscape(r.FolderName()) + "/" + uidText(r.UID)
}

// listTime returns a time as lists have it: "29/11/2026 10:11 +01:00".
func listTime(l policy.Language, zone *time.Location, t time.Time) string {
	layout := "02/01/2006 15:04 -07:00"
	if l == policy.English {
		layout = "2 Jan 2006 15:04 -07:00"
	}
	return t.In(zone).Format(layout)
}
