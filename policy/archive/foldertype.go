package archive

import (
	"context"
	"errors"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// layout=type shows an archive as owners of certified mailboxes of other providers know it: by year, month and type of message.
//
//	INBOX                                     holds nothing; what is put into it by hand goes to the folder of its month and type
//	Posta inviata                             likewise, as \Sent; and Archiviati a mano, where messages may be put in
//	Cestino                                   what was deleted by hand, as in the other layout
//	2026/11/Posta certificata ricevuta        and the other types, as far as they hold something, or held what is in Cestino
//	2026/11/Archiviati a mano                 other folders of the journal, whole
//
// The folder of a type is a part of one folder of the journal, of INBOX or Sent of one month, and has its UIDs, its UIDVALIDITY and its next UID. So
// the name of a folder, UIDVALIDITY and UID together name the same message for good (RFC 9051 section 2.3.1.1), whatever the layout and the language
// were in between, and neither needs new values of UIDVALIDITY. UIDs of other types are missing between them, and the next UID rises with them: to a
// program it is as if those messages had come and gone.

// messageType is a type of messages with the folder of the journal in which it can lie.
type messageType struct {
	name   string // of policy.VocabularyClasses
	folder string
	label  policy.Label // in ASCII, and without FolderSeparator
}

// messageTypes returns the types in the order in which they are shown.
func messageTypes() []messageType {
	received, sent := journal.FolderOf(journal.Received), journal.FolderOf(journal.Sent)
	return []messageType{
		{string(pec.Certified), received, policy.Label{Italian: "Posta certificata ricevuta", English: "Certified mail received"}},
		{string(pec.Other), received, policy.Label{Italian: "Posta non certificata ricevuta", English: "Other mail received"}},
		{string(pec.Acceptance), received, policy.Label{Italian: "Ricevute di accettazione", English: "Acceptance receipts"}},
		{string(pec.Delivery), received, policy.Label{Italian: "Ricevute di consegna", English: "Delivery receipts"}},
		{string(pec.SentCertified), sent, policy.Label{Italian: "Inviati a destinatari certificati", English: "Sent to certified recipients"}},
		{string(pec.SentOther), sent, policy.Label{Italian: "Inviati a destinatari non certificati", English: "Sent to other recipients"}},
	}
}

// typeLabel returns the label of a type.
func typeLabel(name string) policy.Label {
	for _, t := range messageTypes() {
		if t.name == name {
			return t.label
		}
	}
	return policy.Label{}
}

// isTypeName reports whether a type has a name in a language.
func isTypeName(name string, language policy.Language) bool {
	return slices.ContainsFunc(messageTypes(), func(t messageType) bool { return t.label.In(language) == name })
}

// monthPath returns the folder of a month: "2026/11".
func monthPath(m kv.Month) string { return strings.ReplaceAll(string(m), "-", FolderSeparator) }

// placeName returns the name under which a mail program finds an entry of a folder of the journal.
func placeName(layout policy.Layout, folder string, m kv.Month, kind string, language policy.Language) string {
	switch {
	case layout != policy.LayoutType:
		return monthName(folder, m, language)
	case kind == "":
		name := shownFolder(folder, language)
		if isTypeName(name, language) {
			name += "_" // what lies in it must not hide behind the folder of the type
		}
		return monthPath(m) + FolderSeparator + name
	}
	return monthPath(m) + FolderSeparator + typeLabel(kind).In(language)
}

// byTypes lists the folders of an archive for layout=type.
type byTypes struct {
	reader  *Reader
	access  Access
	deleted map[place]journal.Size // by where it lay
	months  map[kv.Month][]Folder
	bad     map[kv.Month]error
}

// foldersByType is Folders for layout=type.
func (r *Reader) foldersByType(ctx context.Context, access Access, stats []journal.FolderStats, passed journal.PassedOver, deleted *journal.FolderStats) ([]Folder, error) {
	b := &byTypes{reader: r, access: access, months: make(map[kv.Month][]Folder), bad: make(map[kv.Month]error)}
	if deleted != nil {
		var err error
		b.deleted, _, err = r.archive.types.places(ctx, r.archive.journal, *deleted)
		if err != nil && !errors.Is(err, journal.ErrNotFound) && !errors.Is(err, journal.ErrDamaged) {
			return nil, err
		}
	}
	for _, bad := range passed {
		b.bad[bad.Month] = bad
	}
	for _, s := range stats {
		if err := b.add(ctx, s); errors.Is(err, journal.ErrDamaged) {
			b.bad[s.Month] = err
		} else if err != nil && !errors.Is(err, journal.ErrNotFound) {
			return nil, err
		}
	}
	for m, err := range b.bad {
		b.months[m] = b.unread(m, err)
	}
	list := []Folder{b.top(journal.FolderOf(journal.Received)), b.top(journal.FolderOf(journal.Sent))}
	if access.Append {
		list = append(list, b.top(journal.Archived))
	}
	if deleted != nil {
		trash := b.top(journal.Trash)
		trash.Holds = deleted
		list = append(list, trash)
	}
	return append(list, b.years()...), nil
}

func (b *byTypes) top(kept string) Folder {
	return Folder{Name: shownFolder(kept, b.access.Language), Kind: kept}
}

// add adds the folders for what lies in a folder of the journal.
func (b *byTypes) add(ctx context.Context, s journal.FolderStats) error {
	if typeOf(s.Folder, "", "") == "" {
		if s.Entries > 0 || b.deleted[place{s.Month, s.Folder, ""}].Entries > 0 {
			b.months[s.Month] = append(b.months[s.Month],
				Folder{Name: placeName(policy.LayoutType, s.Folder, s.Month, "", b.access.Language), Holds: &s, Kind: s.Folder})
		}
		return nil
	}
	sizes, at, err := b.reader.archive.types.places(ctx, b.reader.archive.journal, s)
	if err != nil {
		return err
	}
	for _, t := range messageTypes() {
		p := place{s.Month, s.Folder, t.name}
		if t.folder != s.Folder || sizes[p].Entries == 0 && b.deleted[p].Entries == 0 {
			continue
		}
		holds := partOf(at, sizes[p])
		b.months[s.Month] = append(b.months[s.Month],
			Folder{Name: placeName(policy.LayoutType, s.Folder, s.Month, t.name, b.access.Language), Holds: &holds, Kind: s.Folder, Type: t.name})
	}
	return nil
}

// unread returns the folders of a month that cannot be read: all that it may have, or a program would forget what it knows of them.
func (b *byTypes) unread(m kv.Month, err error) []Folder {
	var list []Folder
	for _, t := range messageTypes() {
		list = append(list, Folder{Name: placeName(policy.LayoutType, t.folder, m, t.name, b.access.Language), Kind: t.folder, Type: t.name, Err: err})
	}
	return list
}

// years returns the folders of all months, each after those in which it lies; those of types come before others.
func (b *byTypes) years() []Folder {
	var months []kv.Month
	for m := range b.months {
		months = append(months, m)
	}
	slices.Sort(months)
	var list []Folder
	last := ""
	for _, m := range months {
		path := monthPath(m)
		if year, _, _ := strings.Cut(path, FolderSeparator); year != last {
			list = append(list, Folder{Name: year})
			last = year
		}
		list = append(list, Folder{Name: path, Err: b.bad[m]})
		types := slices.DeleteFunc(slices.Clone(b.months[m]), func(f Folder) bool { return f.Type == "" })
		list = append(list, types...)
		list = append(list, withinMonth(path, b.months[m], b.access.Language)...)
	}
	return list
}

// withinMonth returns the folders of a month that are of no type, with those in which they lie.
func withinMonth(path string, all []Folder, language policy.Language) []Folder {
	byKind := make(map[string]Folder)
	var kinds []string
	for _, f := range all {
		if f.Type == "" {
			byKind[f.Kind] = f
			kinds = append(kinds, f.Kind)
		}
	}
	var list []Folder
	for _, kind := range withParents(kinds) {
		f, ok := byKind[kind]
		if !ok {
			f = Folder{Name: path + FolderSeparator + shownFolder(kind, language)}
		}
		list = append(list, f)
	}
	return list
}

// takerByType is taker for layout=type. The folder of a type takes nothing: which one a message goes to, is for the message to say.
func takerByType(name string, today kv.Month, language policy.Language) (string, error) {
	if top, _, within := cutFolder(name); !within {
		for _, kept := range handFolders() {
			if top == shownFolder(kept, language) {
				return kept, nil
			}
		}
		if _, err := kv.ParseMonth(name + "-01"); err == nil || top == shownFolder(journal.Trash, language) {
			return "", ErrTarget
		}
		return "", ErrNoFolder
	}
	levels := strings.Split(name, FolderSeparator)
	m, err := kv.ParseMonth(strings.Join(levels[:2], "-"))
	switch {
	case err != nil || len(levels) > 3:
		return "", ErrNoFolder
	case len(levels) == 2:
		return "", ErrTarget
	case levels[2] == shownFolder(journal.Archived, language):
		if m != today {
			return "", ErrOtherMonth
		}
		return journal.Archived, nil
	case isTypeName(levels[2], language):
		return "", ErrType
	}
	return "", ErrNoFolder
}

// fits returns ErrType unless all messages of a folder will be shown in another one if they are filed in the journal's folder of which that is a part.
func (r *Reader) fits(ctx context.Context, f Folder, uids []uint32, to Folder) error {
	if to.Type == "" {
		return nil
	}
	for _, s := range journal.UIDsOf(uids) {
		for e, err := range r.Heads(ctx, f, s.First, s.Last) {
			switch {
			case e == nil:
				return err
			case err != nil: // it stays where it is
			case typeOf(to.Holds.Folder, e.Class, e.SentTo) != to.Type:
				return ErrType
			}
		}
	}
	return ctx.Err()
}
