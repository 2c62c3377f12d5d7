package search

import (
	"cmp"
	"slices"
	"sort"

	"copialettere/journal"
)

// matcher is a Query made ready.
type matcher struct {
	query *Query
	terms []term
	since int64 // nanoseconds since 1970; so is until
	until int64
	all   bool // the query wants all messages of the folder
}

func newMatcher(q *Query) *matcher {
	m := &matcher{query: q, terms: termsOf(q), until: 1<<63 - 1, since: -1 << 63}
	if !q.Since.IsZero() {
		m.since = q.Since.UnixNano()
	}
	if !q.Until.IsZero() {
		m.until = q.Until.UnixNano()
	}
	m.all = len(m.terms) == 0 && !q.Attachment && len(q.Classes) == 0 && q.Direction == 0 && q.Since.IsZero() && q.Until.IsZero() && q.MinSize <= 0 && q.MaxSize <= 0
	return m
}

// needsTexts reports whether it takes a catalogue with texts.
func (m *matcher) needsTexts() bool { return len(m.terms) > 0 || m.query.Attachment }

// hits are the messages of a folder that match.
type hits struct {
	count int   // in all of the folder
	keys  []key // the first of them after a position, newest first
}

// match returns the messages of a catalogue that match, of the keys at most so many.
func (m *matcher) match(c *catalogue, after Position, most int) hits {
	wanted, count := m.wanted(c)
	h := hits{count: count}
	for i := c.endBefore(after) - 1; i >= 0 && len(h.keys) < most; i-- {
		if n := c.order[i]; wanted == nil || wanted[n/64]&(1<<(n%64)) != 0 {
			h.keys = append(h.keys, c.keyOf(int(n)))
		}
	}
	return h
}

// wanted returns one bit for each message of a catalogue, set if it matches, and how many those are. Without bits all do.
func (m *matcher) wanted(c *catalogue) (bits []uint64, count int) {
	if m.all {
		return nil, len(c.uids)
	}
	bits = make([]uint64, (len(c.uids)+63)/64)
	kinds := m.kindsOf(c)
	take := func(n int) {
		if kinds[c.kinds[n]] && m.fits(c, n) {
			bits[n/64] |= 1 << (n % 64)
			count++
		}
	}
	if len(m.terms) == 0 {
		for n := range c.uids {
			take(n)
		}
		return bits, count
	}
	for n := range found(m.terms, c.texts, c.ends) {
		take(n)
	}
	return bits, count
}

// kindsOf tells of each kind of messages whether it is wanted.
func (m *matcher) kindsOf(c *catalogue) []bool {
	list := make([]bool, len(c.kindList))
	for i, k := range c.kindList {
		list[i] = (m.query.Direction == 0 || k.direction == m.query.Direction) &&
			(len(m.query.Classes) == 0 || slices.ContainsFunc(m.query.Classes, k.in))
	}
	return list
}

// fits reports whether a message is of the time and the size wanted, and has attachments if it is to.
func (m *matcher) fits(c *catalogue, n int) bool {
	at, size, q := c.times[n], c.sizes[n], m.query
	return m.since <= at && at < m.until && size >= q.MinSize && (q.MaxSize <= 0 || size <= q.MaxSize) && (!q.Attachment || c.attached[n])
}

// key is where a message stands in lists.
type key struct {
	at    int64 // nanoseconds since 1970
	place journal.Ref
}

// compare orders keys by time, then by month, folder and UID.
func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(k.at, other.at), cmp.Compare(k.place.Month, other.place.Month), cmp.Compare(k.place.Folder, other.place.Folder),
		cmp.Compare(k.place.UID, other.place.UID))
}

func (c *catalogue) keyOf(n int) key {
	return key{c.times[n], journal.Ref{Mailbox: c.id.mailbox, Month: c.id.month, Folder: c.id.folder, UID: c.uids[n]}}
}

// endBefore returns how many messages in the order of the catalogue are older than a position, and so come after it in a list.
func (c *catalogue) endBefore(after Position) int {
	if after.IsZero() {
		return len(c.order)
	}
	return sort.Search(len(c.order), func(i int) bool { return c.keyOf(int(c.order[i])).compare(after.key) >= 0 })
}
