package archive

import (
	"context"
	"errors"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// FolderSeparator separates the levels of a folder name.
const FolderSeparator = "/"

// ErrNoFolder says that a mailbox has no folder of a name.
var ErrNoFolder = errors.New("no such folder")

// Folder is a folder of an archive as mail programs see it: "INBOX" with "INBOX/2026-11" and so on for what was received, "Posta inviata" or
// "Sent" with its months for what was sent; "Cestino" or "Trash" for what was deleted by hand and can be brought back, whatever its month. With
// layout=type it is "2026", "2026/11" and so on, and in them the folders of the types of messages.
type Folder struct {
	Name string // in the language of the mailbox, in ASCII
	// Holds is what lies in it; nil for a folder that holds only folders. Of what was deleted by hand it has no month.
	Holds *journal.FolderStats
	// Kind is the name under which the journal files the messages of the folder, or of those in it: "INBOX", "Sent", journal.Trash.
	// Empty for the folders of a year and of a month with layout=type.
	Kind string
	// Type is the type, a name of policy.VocabularyClasses, of the only messages that it shows of a folder of the journal; Holds then counts only those,
	// with the UIDVALIDITY and the next UID of that folder. Empty if it shows all.
	Type string
	// Err says why what lies in it cannot be read now; it is then as if nothing did.
	Err error
}

// folderNames are the names of the journal's folders in the languages of mailboxes. What is not among them keeps its name.
var folderNames = map[string]policy.Label{
	journal.FolderOf(journal.Sent): {Italian: "Posta inviata", English: "Sent"},
	journal.Archived:               {Italian: "Archiviati a mano", English: "Archived by hand"},
	journal.Imported:               {Italian: "Importati", English: "Imported"},
	journal.Trash:                  {Italian: "Cestino", English: "Trash"},
}

// shownFolder returns the name of a folder of the journal in a language. What was imported keeps the names of its source.
func shownFolder(kept string, language policy.Language) string {
	if label, ok := folderNames[kept]; ok {
		return label.In(language)
	}
	if own, ok := strings.CutPrefix(kept, journal.Imported+FolderSeparator); ok {
		return folderNames[journal.Imported].In(language) + FolderSeparator + own
	}
	return kept
}

// withParents sorts names of folders, so that whatever lies in a folder follows it at once, and adds those in which they lie.
func withParents(names []string) []string {
	slices.SortFunc(names, compareFolders)
	var all []string
	there := make(map[string]bool)
	add := func(name string) {
		if !there[name] {
			there[name] = true
			all = append(all, name)
		}
	}
	for _, name := range names {
		for i := range name {
			if strings.HasPrefix(name[i:], FolderSeparator) {
				add(name[:i])
			}
		}
		add(name)
	}
	return all
}

// compareFolders sorts names of folders by level.
func compareFolders(one, other string) int {
	return slices.Compare(strings.Split(one, FolderSeparator), strings.Split(other, FolderSeparator))
}

// Folders returns all folders of the archive, each after the one that it lies in. INBOX and the folder of sent messages are always there, that
// of deleted ones where messages may be deleted or something lies in it. A month that cannot be read has its folders, with Err set.
func (r *Reader) Folders(ctx context.Context) ([]Folder, error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	access, err := r.Access(ctx)
	if err != nil {
		return nil, err
	}
	stats, err := r.archive.journal.Stats(ctx, m.Archive)
	var passed journal.PassedOver
	if err != nil && !errors.As(err, &passed) {
		return nil, err
	}
	deleted, err := r.deletedFolder(ctx, m, access)
	if err != nil {
		return nil, err
	}
	if access.Layout == policy.LayoutType {
		return r.foldersByType(ctx, access, stats, passed, deleted)
	}
	return foldersByMonth(access, stats, passed, deleted), nil
}

// foldersByMonth is Folders for layout=month.
func foldersByMonth(access Access, stats []journal.FolderStats, passed journal.PassedOver, deleted *journal.FolderStats) []Folder {
	kinds := []string{journal.FolderOf(journal.Received), journal.FolderOf(journal.Sent)}
	if access.Append {
		kinds = append(kinds, journal.Archived)
	}
	if deleted != nil {
		kinds = append(kinds, journal.Trash)
	}
	own := len(kinds)
	months := make(map[string][]Folder)
	for _, s := range stats {
		if !slices.Contains(kinds, s.Folder) {
			kinds = append(kinds, s.Folder)
		}
		months[s.Folder] = append(months[s.Folder], Folder{Holds: &s, Kind: s.Folder, Name: monthName(s.Folder, s.Month, access.Language)})
	}
	for _, bad := range passed {
		for _, kind := range kinds[:2] {
			name := monthName(kind, bad.Month, access.Language)
			months[kind] = append(slices.DeleteFunc(months[kind], func(f Folder) bool { return f.Name == name }), Folder{Name: name, Kind: kind, Err: bad})
		}
	}
	var list []Folder
	for _, kind := range append(kinds[:own:own], withParents(kinds[own:])...) {
		top := Folder{Name: shownFolder(kind, access.Language), Kind: kind}
		if kind == journal.Trash {
			top.Holds = deleted
		}
		list = append(list, top)
		slices.SortFunc(months[kind], func(a, b Folder) int { return strings.Compare(a.Name, b.Name) })
		list = append(list, months[kind]...)
	}
	return list
}

// deletedFolder returns what was deleted by hand. It is nil where nothing was and nothing may be.
func (r *Reader) deletedFolder(ctx context.Context, m policy.Mailbox, access Access) (*journal.FolderStats, error) {
	deleted, err := r.archive.journal.DeletedFolder(ctx, m.Archive, access.Delete)
	if errors.Is(err, journal.ErrNotFound) || err == nil && !access.Delete && deleted.Entries == 0 {
		return nil, nil
	}
	return &deleted, err
}

func monthName(kind string, m kv.Month, language policy.Language) string {
	return shownFolder(kind, language) + FolderSeparator + string(m)
}

// Folder returns the folder of a name, or an error that wraps ErrNoFolder; of one in a month that cannot be read, the error of the month. The case of INBOX does not matter, also at the front of a name.
func (r *Reader) Folder(ctx context.Context, name string) (Folder, error) {
	if top, rest, _ := strings.Cut(name, FolderSeparator); strings.EqualFold(top, "INBOX") {
		name = strings.TrimSuffix("INBOX"+FolderSeparator+rest, FolderSeparator)
	}
	list, err := r.Folders(ctx)
	if err != nil {
		return Folder{}, err
	}
	for _, f := range list {
		if f.Name == name {
			return f, f.Err
		}
		if f.Err != nil && strings.HasPrefix(name, f.Name+FolderSeparator) {
			err = f.Err
		}
	}
	if err != nil {
		return Folder{}, err
	}
	return Folder{}, ErrNoFolder
}

// Refresh returns a folder as it is now. One that was dropped meanwhile is empty.
func (r *Reader) Refresh(ctx context.Context, f Folder) (Folder, error) {
	holds, err := r.openFolder(ctx, f)
	if holds == nil {
		return f, err
	}
	if f.deleted() {
		now, err := r.archive.journal.DeletedFolder(ctx, holds.Mailbox, false)
		if errors.Is(err, journal.ErrNotFound) { // erased meanwhile
			now, err = *holds, nil
			now.Entries, now.Bytes = 0, 0
		}
		if err == nil {
			f.Holds = &now
		}
		return f, err
	}
	now, err := r.archive.journal.Folder(ctx, holds.Mailbox, holds.Month, holds.Folder)
	if err == nil && f.Type != "" {
		now, err = r.archive.types.part(ctx, r.archive.journal, now, f.Type)
	}
	if errors.Is(err, journal.ErrNotFound) {
		now, err = *holds, nil
		now.Entries, now.Bytes = 0, 0
	}
	if err != nil {
		return f, err
	}
	f.Holds = &now
	return f, nil
}
