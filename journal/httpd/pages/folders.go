package pages

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/search"
	"copialettere/policy"
)

// folderNames are what pages call the folders of the journal. What is not among them keeps its name.
var folderNames = map[string]policy.Label{
	journal.FolderOf(journal.Received): {Italian: "Ricevuti", English: "Received"},
	journal.FolderOf(journal.Sent):     {Italian: "Inviati", English: "Sent"},
	journal.Archived:                   {Italian: "Archiviati a mano", English: "Archived by hand"},
	journal.Trash:                      {Italian: "Cestino", English: "Trash"},
	journal.Imported:                   {Italian: "Importati", English: "Imported"},
}

// folderText returns what pages call a folder: "Ricevuti, novembre 2026" for "INBOX/2026-11", "Ricevuti" for "INBOX", "novembre 2026" for "2026-11".
func folderText(l policy.Language, name string) string {
	folder, month, err := journal.ParseFolder(name)
	if err != nil {
		if m, err := kv.ParseMonth(name); err == nil {
			return monthText(l, string(m))
		}
		return kindText(l, name)
	}
	return kindText(l, folder) + ", " + monthText(l, string(month))
}

func kindText(l policy.Language, folder string) string {
	if label, ok := folderNames[folder]; ok {
		return label.In(l)
	}
	if own, ok := strings.CutPrefix(folder, journal.Imported+"/"); ok {
		return kindText(l, journal.Imported) + "/" + calm(own)
	}
	return calm(folder)
}

// folderLink is a folder to go to.
type folderLink struct {
	Name    string // the folder, as queries have it
	Text    string
	Entries uint64
	Here    bool
	Damaged bool // it cannot be read, so Entries lacks it
}

// folderKind is a folder of the journal with its months.
type folderKind struct {
	folderLink
	Years []folderYear // newest first
}

// folderYear is a year of a folder. Only some years have their months.
type folderYear struct {
	folderLink
	Months []folderLink // newest first
}

// maxKinds is how many folders are shown beside the months of each. Imported folders can be more.
const maxKinds = 30

// folderTree returns the folders of a mailbox, of which one is shown: those of received and sent mail are always there. The months are those of the newest
// year and of the year that is shown. more is how many folders are left out.
func folderTree(l policy.Language, stats []journal.FolderStats, damaged []kv.Month, shown string) (kinds []folderKind, more int) {
	names := []string{journal.FolderOf(journal.Received), journal.FolderOf(journal.Sent)}
	byKind := make(map[string][]journal.FolderStats)
	for _, s := range stats {
		if s.Entries > 0 {
			byKind[s.Folder] = append(byKind[s.Folder], s)
		}
	}
	for _, m := range damaged {
		for _, name := range names {
			byKind[name] = append(byKind[name], journal.FolderStats{Folder: name, Month: m})
		}
	}
	var others []string
	for name := range byKind {
		if !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	slices.SortFunc(others, func(a, b string) int { return cmp.Or(cmp.Compare(orderOfKind(a), orderOfKind(b)), cmp.Compare(a, b)) })
	names = append(names, others...)
	if len(names) > maxKinds {
		names, more = names[:maxKinds], len(names)-maxKinds
	}
	for _, name := range names {
		kinds = append(kinds, kindOfFolder(l, name, byKind[name], damaged, shown))
	}
	return kinds, more
}

// orderOfKind puts what was imported with the folders of its source behind the folders that everybody has.
func orderOfKind(name string) int { return strings.Count(name, "/") }

func kindOfFolder(l policy.Language, name string, months []journal.FolderStats, damaged []kv.Month, shown string) folderKind {
	kind := folderKind{folderLink: folderLink{Name: name, Text: kindText(l, name), Here: shown == name}}
	slices.SortFunc(months, func(a, b journal.FolderStats) int { return cmp.Compare(b.Month, a.Month) })
	for i, s := range months {
		month := folderLink{
			Name: name + "/" + string(s.Month), Text: monthText(l, string(s.Month)), Entries: s.Entries, Damaged: slices.Contains(damaged, s.Month),
		}
		month.Here = month.Name == shown
		year := string(s.Month)[:4]
		if i == 0 || kind.Years[len(kind.Years)-1].Text != year {
			kind.Years = append(kind.Years, folderYear{folderLink: folderLink{Name: month.Name, Text: year}})
		}
		y := &kind.Years[len(kind.Years)-1]
		y.Entries += s.Entries
		kind.Entries += s.Entries
		if len(kind.Years) == 1 || strings.HasPrefix(shown, name+"/"+year) || strings.HasPrefix(shown, year) {
			y.Months = append(y.Months, month)
		}
		y.Damaged = y.Damaged || month.Damaged
	}
	return kind
}

// folders returns what the folders of the mailbox hold, and the months that could not be read.
func (v *visit) folders() ([]journal.FolderStats, []kv.Month, error) {
	stats, err := v.reader().MonthFolders(v.Context())
	var passed journal.PassedOver
	if err != nil && !errors.As(err, &passed) {
		return nil, nil, err
	}
	return stats, passed.Months(), nil
}

// listPath returns the path of the list of what a query wants, after a position, relative to the pages of the mailbox.
func listPath(q search.Query, more ...string) string {
	return "messages" + queryText(q, more...)
}
