//go:build bench

package imapd

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal"
	"copialettere/journal/part"
)

// shelf holds folders of messages that can be changed in all ways that IMAP knows, in memory. All programs see the same one.
type shelf struct {
	mu         sync.Mutex
	folders    map[string]*box // by name
	subscribed map[string]bool // by name
	validity   uint32          // the last one given
	changed    chan struct{}   // closed and made anew at each change
}

// box is a folder. Its fields are guarded by the mutex of its shelf.
type box struct {
	validity, next uint32
	letters        []*letter
}

// letter is a message in a box. Of its fields only flags change.
type letter struct {
	entry *journal.Entry
	text  string
	flags []imap.Flag
	fresh bool // no program has been told of it (RFC 3501 section 2.3.2, \Recent)
	gone  bool
}

func newShelf() *shelf {
	h := &shelf{folders: make(map[string]*box), subscribed: make(map[string]bool), changed: make(chan struct{})}
	h.create("INBOX")
	return h
}

func (h *shelf) create(name string) *box {
	h.validity++
	h.folders[name] = &box{validity: h.validity, next: 1}
	return h.folders[name]
}

// tell wakes all that wait for changes.
func (h *shelf) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// file puts a message into a box.
func (h *shelf) file(b *box, text string, at time.Time, flags []imap.Flag) uint32 {
	scanner := part.NewScanner(part.DefaultLimits())
	scanner.Write([]byte(text))
	table := scanner.Close()
	header := []byte(text[:table.Parts[0].Body])
	e := &journal.Entry{Ref: journal.Ref{UID: b.next}, Time: at, Size: int64(len(text)), Parts: *table, Date: part.Value(header, "Date")}
	b.next++
	b.letters = append(b.letters, &letter{entry: e, text: text, flags: changedFlags(nil, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: flags}), fresh: true})
	h.tell()
	return e.UID
}

// remove takes messages out of a box.
func (h *shelf) remove(b *box, which func(*letter) bool) {
	b.letters = slices.DeleteFunc(b.letters, func(l *letter) bool {
		l.gone = l.gone || which(l)
		return l.gone
	})
	h.tell()
}

func sameFlag(a, b imap.Flag) bool { return strings.EqualFold(string(a), string(b)) }

func hasFlag(flags []imap.Flag, f imap.Flag) bool {
	return slices.ContainsFunc(flags, func(g imap.Flag) bool { return sameFlag(f, g) })
}

// changedFlags returns flags as a STORE leaves them. \Recent cannot be changed.
func changedFlags(flags []imap.Flag, change *imap.StoreFlags) []imap.Flag {
	var list []imap.Flag
	if change.Op != imap.StoreFlagsSet {
		list = slices.Clone(flags)
	}
	for _, f := range change.Flags {
		switch {
		case sameFlag(f, recent):
		case change.Op == imap.StoreFlagsDel:
			list = slices.DeleteFunc(list, func(g imap.Flag) bool { return sameFlag(f, g) })
		case !hasFlag(list, f):
			list = append(list, f)
		}
	}
	return list
}

func (b *box) status(name string, o *imap.StatusOptions) *imap.StatusData {
	var all, unseen, deleted, recent uint32
	var size int64
	for _, l := range b.letters {
		all++
		size += l.entry.Size
		if !hasFlag(l.flags, imap.FlagSeen) {
			unseen++
		}
		if hasFlag(l.flags, imap.FlagDeleted) {
			deleted++
		}
		if l.fresh {
			recent++
		}
	}
	return &imap.StatusData{Mailbox: name, NumMessages: &all, UIDNext: imap.UID(b.next), UIDValidity: b.validity, NumUnseen: &unseen, NumDeleted: &deleted,
		NumRecent: &recent, Size: &size, DeletedStorage: new(int64)}
}

func (l *letter) message(ctx context.Context) message {
	return message{ctx: ctx, entry: l.entry, body: strings.NewReader(l.text)}
}
