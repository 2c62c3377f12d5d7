package codec

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// Voters is in messages of how many mailboxes a piece must occur to come into a dictionary. What one person wrote does not: when the archive of a mailbox is
// erased, no dictionary holds anything that only its messages had.
const Voters = 5

// Pieces are cut by content, so that they are found again wherever they stand: a piece ends where a hash over its last 8 bytes says so.
const (
	pieceLeast = 16  // bytes of the shortest piece
	pieceMost  = 256 // and of the longest
	pieceBits  = 3   // of the hash that are zero at an end: behind the shortest length one comes about every 8 bytes
)

// Bounds of a Learner.
const (
	maxSeen      = 1 << 12 // names of messages
	maxPieces    = 1 << 15 // pieces that are counted
	maxQualified = 1 << 17 // bytes of the pieces that qualify
)

// Learner looks for what repeats in messages of many mailboxes, and makes dictionaries of it. Its memory is bounded: what is rare is forgotten. It is for one
// goroutine.
type Learner struct {
	seed      maphash.Seed
	seen      map[uint64]bool   // messages that have voted lately, by hash
	pieces    map[uint64]*piece // by hash
	qualified int               // bytes of all content
	order     int               // how many pieces have qualified
	bytes     int               // of the messages that voted, those of older rounds for less
	messages  int               // of this round
}

// piece is what is known of a piece.
type piece struct {
	voters  [Voters - 1]uint32 // hashes of the first mailboxes; 0 for none
	votes   int                // messages, those of older rounds for less
	content []byte             // once it qualifies; nil before
	order   int                // in which it qualified: neighbours stay together
}

// NewLearner returns a learner that knows nothing yet.
func NewLearner() *Learner {
	return &Learner{seed: maphash.MakeSeed(), seen: make(map[uint64]bool), pieces: make(map[uint64]*piece)}
}

// Messages returns how many messages have voted since the last call of Round.
func (l *Learner) Messages() int { return l.messages }

// Fresh says whether no message of one of these names, or with a chunk of one of them, has voted lately, and notes the names. A message that goes to many mailboxes votes once.
func (l *Learner) Fresh(names ...string) bool {
	if len(l.seen)+len(names) > maxSeen {
		clear(l.seen)
	}
	fresh := true
	for _, name := range names {
		h := maphash.String(l.seed, name)
		fresh = fresh && !l.seen[h]
		l.seen[h] = true
	}
	return fresh
}

// Vote counts the pieces of what is stored of a message of a mailbox: its unfolded chunks, and what is packed.
func (l *Learner) Vote(mailbox string, stored ...[]byte) {
	voter := uint32(maphash.String(l.seed, mailbox)) | 1
	l.messages++
	for _, chunk := range stored {
		l.bytes += len(chunk)
		cut(chunk, func(content []byte) { l.count(voter, content) })
	}
	if len(l.pieces) > maxPieces {
		l.forget()
	}
}

// count counts one piece.
func (l *Learner) count(voter uint32, content []byte) {
	h := maphash.Bytes(l.seed, content)
	p := l.pieces[h]
	if p == nil {
		p = new(piece)
		l.pieces[h] = p
	}
	p.votes++
	if p.content != nil {
		return
	}
	for i := range p.voters {
		switch p.voters[i] {
		case voter:
			return
		case 0:
			p.voters[i] = voter
			return
		}
	}
	if l.qualified+len(content) <= maxQualified {
		p.content, p.order = slices.Clone(content), l.order
		l.order++
		l.qualified += len(content)
	}
}

// forget makes room: of the pieces that do not qualify, those go that one mailbox has, and where that is not enough all.
func (l *Learner) forget() {
	for _, voters := range [...]int{1, Voters} {
		for h, p := range l.pieces {
			if p.content == nil && (voters == Voters || p.voters[voters] == 0) {
				delete(l.pieces, h)
			}
		}
		if len(l.pieces) <= maxPieces/2 {
			return
		}
	}
}

// Round ends a round. It returns what the next dictionary would hold, and nil if that would save too little beside the current one, which may be empty. What
// was counted so far counts half from now on.
func (l *Learner) Round(current []byte) []byte {
	has := make(map[uint64]bool)
	cut(current, func(content []byte) { has[maphash.Bytes(l.seed, content)] = true })
	var list []*piece
	for _, p := range l.pieces {
		if p.content != nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *piece) int { return cmp.Or(b.votes-a.votes, a.order-b.order) })
	size, gain, covered := 0, 0, 0
	for i, p := range list {
		if size += len(p.content); size > MaxDictionary {
			list = list[:i]
			break
		}
		gain += p.votes * len(p.content)
	}
	for h := range has {
		if p := l.pieces[h]; p != nil && p.content != nil {
			covered += p.votes * len(p.content)
		}
	}
	gain -= covered
	var next []byte
	if gain > l.bytes/worth && gain > covered/2 {
		slices.SortFunc(list, func(a, b *piece) int { return a.order - b.order })
		for _, p := range list {
			next = append(next, p.content...)
		}
	}
	l.halve()
	return next
}

// worth is the share of the bytes of messages that a dictionary must cover beyond the one before it, one in so many, besides half of what that covers. It is
// a small share: certified mail may be a small part of all mail.
const worth = 64

// halve has what was counted so far count half, and forgets what counts nothing.
func (l *Learner) halve() {
	l.messages, l.bytes = 0, l.bytes/2
	for h, p := range l.pieces {
		if p.votes /= 2; p.votes == 0 {
			l.qualified -= len(p.content)
			delete(l.pieces, h)
		}
	}
}

// cut calls each for the pieces of text. What stands behind the last end of one is none.
func cut(text []byte, each func(content []byte)) {
	start := 0
	for end := pieceLeast; end <= len(text); end++ {
		n := end - start
		if n < pieceLeast {
			continue
		}
		if n == pieceMost || binary.LittleEndian.Uint64(text[end-8:])*0x9e3779b97f4a7c15>>(64-pieceBits) == 0 {
			each(text[start:end])
			start = end
		}
	}
}
