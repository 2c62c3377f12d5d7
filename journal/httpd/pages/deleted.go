package pages

import (
	"net/http"
	"strconv"

	"copialettere/journal"
	"copialettere/policy/archive"
)

func deletedRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/deleted", For: OfMailbox, Right: archive.RightRead, serve: (*visit).showDeleted},
		{Pattern: "POST /mailbox/{mailbox}/deleted", For: OfMailbox, Right: archive.RightDelete, form: maxSelection, serve: (*visit).bringBack},
	}
}

// deletedPage is what was deleted by hand, the last deleted first.
type deletedPage struct {
	Rows    []deletedRow
	Total   int
	Restore bool // the reader may bring messages back
	Here    string
	First   string
	Older   string
}

// deletedRow is a deleted message.
type deletedRow struct {
	listRow
	Folder string // where it was, in words
	Until  string // until when it can be brought back
	By     string
}

func (v *visit) showDeleted() error {
	r := v.reader()
	before, _ := strconv.ParseUint(v.URL.Query().Get("before"), 10, 32) // anything else is the beginning
	list, next, total, err := r.Deleted(v.Context(), uint32(before), perPage)
	if err != nil {
		return err
	}
	access, err := r.Access(v.Context())
	if err != nil {
		return err
	}
	page := deletedPage{Total: total, Restore: access.Delete, Here: v.path("deleted")}
	whole := 0
	for _, d := range list {
		row := deletedRow{Folder: folderText(v.language, d.FolderName())}
		if d.At.IsZero() {
			row.listRow = listRow{Value: placeValue(d.Ref), Damaged: true}
		} else {
			row.listRow, row.Until = v.listRow(d.Entry, nil, &whole), listTime(v.language, v.zone, d.At.Add(journal.DeletedGrace))
			row.By = cut(calm(v.actorText("", d.Who)), shownWho)
		}
		page.Rows = append(page.Rows, row)
	}
	if before > 0 {
		page.First = "deleted"
		page.Here += "?before=" + strconv.FormatUint(before, 10)
	}
	if next > 0 {
		page.Older = "deleted?before=" + uidText(next)
	}
	return v.render(http.StatusOK, "deleted.html", page)
}

// bringBack takes deletions back. It needs no confirmation: nothing is lost by it.
func (v *visit) bringBack() error {
	s, err := v.selected()
	if err != nil {
		return err
	}
	if s.query != nil {
		if s.folders, err = v.allDeleted(); err != nil {
			return err
		}
	}
	return v.act(s.folders, "restored", func(one journal.Selection) (*journal.Done, error) {
		return v.pages.options.Archive.Undelete(v.Context(), v.who, one)
	})
}

// allDeleted returns all that was deleted and can be brought back.
func (v *visit) allDeleted() ([]journal.Selection, error) {
	list, _, _, err := v.reader().Deleted(v.Context(), 0, int(^uint(0)>>1))
	if err != nil {
		return nil, err
	}
	var values []string
	for _, d := range list {
		values = append(values, placeValue(d.Ref))
	}
	if len(values) == 0 {
		return nil, nil
	}
	s, err := parseSelection(values)
	return s.folders, err
}
