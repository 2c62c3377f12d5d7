package pec

import (
	"slices"
	"time"
)

// Sent describes an archived sent message, as far as the search for a practice's message needs it.
type Sent struct {
	Own        string    // ClientLink of its Message-ID; "" if the sender's program set none
	Client     string    // ClientLink of the former Message-ID, if the access point rewrote the message before it was archived
	Sender     string    // of the envelope; "" if unknown
	Recipients []string  // of the envelope
	Subject    string    // decoded
	Time       time.Time // when it was archived
}

// Match says what linked a practice to a sent message. Others script against the values.
type Match string

// The ways. All but the last two rest on ids. MatchGuess is no more than a guess.
const (
	MatchNone       Match = ""
	MatchIdentifier Match = "identifier" // the message bears the provider's id
	MatchMessageID  Match = "message-id" // the receipts name its Message-ID, and no other sent message has it
	// MatchRecipients and MatchSubject: several sent messages have the Message-ID that the receipts name. Only this one went to the recipients
	// that they list, or has their subject.
	MatchRecipients Match = "message-id, recipients"
	MatchSubject    Match = "message-id, subject"
	// MatchContent is a guess confirmed by content: a complete delivery receipt encloses the text of the message. MatchSent never returns it: it
	// does not read content.
	MatchContent Match = "content"
	// MatchGuess: sender, recipients, subject and time fit, but no id confirms it; or several messages with the Message-ID fit, and this is
	// the last one before the acceptance.
	MatchGuess Match = "guess"
)

const (
	// guessAfter is how long after sending the first event of a practice linked by guess may come: a day until the message reaches the access
	// point, and a day until it is delivered (RFC 6109 3.1.6).
	guessAfter = 48 * time.Hour
	// maxCandidates is the most sent messages with one Message-ID, or with one subject in that time, that are compared with a practice: the
	// last ones before it.
	maxCandidates = 100
	// guessBefore is how much the clocks of provider and archive may differ.
	guessBefore = 10 * time.Minute
)

// Matched is the sent message of a practice.
type Matched struct {
	Sent int // index in the list; -1 for none
	By   Match
}

// MatchSent finds the sent message of each practice; the result has one element for each. Several practices may share a message: an MTA passes a
// message with many recipients on in several transactions, and the provider gives each an id. The result does not depend on the order of the
// lists, unless two sent messages have the same time.
func MatchSent(practices []*Practice, sent []Sent) []Matched {
	m := newMatcher(sent)
	result := make([]Matched, len(practices))
	var open []int // practices that ids do not settle, latest first
	for i, p := range practices {
		if result[i] = m.byID(p); result[i].Sent < 0 {
			open = append(open, i)
		} else {
			m.take(p, result[i].Sent)
		}
	}
	slices.SortStableFunc(open, func(a, b int) int { return practices[b].Time().Compare(practices[a].Time()) })
	for _, i := range open {
		if result[i] = m.guess(practices[i]); result[i].Sent >= 0 {
			m.take(practices[i], result[i].Sent)
		}
	}
	return result
}

// matcher looks for sent messages. Its lists of indices are in order of time.
type matcher struct {
	sent      []Sent
	subjects  []string         // of the sent messages, in the form of bareSubject
	normal    [][]string       // their recipients in the form of NormalAddress, sorted; nil until needed
	byOwn     map[string][]int // by Message-ID
	byClient  map[string][]int // by former Message-ID
	bySubject map[string][]int
	taken     map[int]map[string]bool // by sent message: the recipients that practices already account for
}

func newMatcher(sent []Sent) *matcher {
	m := &matcher{sent: sent, subjects: make([]string, len(sent)), normal: make([][]string, len(sent)), byOwn: make(map[string][]int), byClient: make(map[string][]int), bySubject: make(map[string][]int),
		taken: make(map[int]map[string]bool)}
	order := make([]int, len(sent))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return sent[a].Time.Compare(sent[b].Time) })
	for _, i := range order {
		s := &sent[i]
		if s.Own != "" {
			m.byOwn[s.Own] = append(m.byOwn[s.Own], i)
		}
		if s.Client != "" && s.Client != s.Own {
			m.byClient[s.Client] = append(m.byClient[s.Client], i)
		}
		m.subjects[i] = bareSubject(s.Subject)
		m.bySubject[m.subjects[i]] = append(m.bySubject[m.subjects[i]], i)
	}
	return m
}

// byID finds the sent message by the ids that receipts name.
func (m *matcher) byID(p *Practice) Matched {
	if list := m.byOwn[ClientLink(p.Identifier)]; len(list) == 1 && m.sameSender(p, list[0]) {
		return Matched{list[0], MatchIdentifier}
	}
	if list, by := m.candidates(p); len(list) == 1 {
		return Matched{list[0], by}
	}
	return Matched{Sent: -1}
}

// candidates returns the sent messages with the Message-ID that receipts name, without those that the receipts are plainly not about, and what
// narrowed the list.
func (m *matcher) candidates(p *Practice) (list []int, by Match) {
	if p.Client == "" {
		return nil, MatchNone
	}
	for _, ids := range [...]map[string][]int{m.byOwn, m.byClient} {
		list = append(list, m.before(p, ids[ClientLink(p.Client)])...)
	}
	list = slices.DeleteFunc(list, func(i int) bool { return !m.sameSender(p, i) })
	by = MatchMessageID
	if others := slices.DeleteFunc(slices.Clone(list), func(i int) bool { return !m.mayBe(p, i) }); len(others) < len(list) {
		list, by = others, MatchRecipients
	}
	narrow := func(how Match, ok func(i int) bool) {
		others := slices.DeleteFunc(slices.Clone(list), func(i int) bool { return !ok(i) })
		if len(others) > 0 && len(others) < len(list) {
			list, by = others, how
		}
	}
	narrow(MatchRecipients, func(i int) bool { return m.common(p, i) == len(p.Listed) })
	narrow(MatchRecipients, func(i int) bool { return m.common(p, i) == max(len(p.Listed), len(m.recipients(i))) })
	narrow(MatchSubject, func(i int) bool { return m.subjects[i] == bareSubject(p.Subject) })
	return list, by
}

// guess picks a sent message for a practice that ids do not settle: the last one before the practice began, among those with its Message-ID, or
// else among those that fit and that no id contradicts.
func (m *matcher) guess(p *Practice) Matched {
	list, _ := m.candidates(p)
	if len(list) == 0 {
		for _, i := range m.before(p, m.bySubject[bareSubject(p.Subject)]) {
			if s := &m.sent[i]; (s.Own == "" || p.Client == "") && m.fits(p, i) {
				list = append(list, i)
			}
		}
	}
	best := -1
	for _, i := range list {
		if !m.isTaken(p, i) && (best < 0 || m.sent[i].Time.After(m.sent[best].Time)) {
			best = i
		}
	}
	if best < 0 {
		return Matched{Sent: -1}
	}
	return Matched{best, MatchGuess}
}

// before returns the last messages of a list that were sent before the practice began, or of the whole list if none was.
func (m *matcher) before(p *Practice, list []int) []int {
	if at := p.Time(); !at.IsZero() && len(list) > 1 {
		end, _ := slices.BinarySearchFunc(list, at.Add(guessBefore), func(i int, t time.Time) int { return m.sent[i].Time.Compare(t) })
		if end > 0 {
			list = list[:end]
		}
	}
	return list[max(0, len(list)-maxCandidates):]
}

// take notes that a practice accounts for the recipients it lists of a sent message.
func (m *matcher) take(p *Practice, i int) {
	if m.taken[i] == nil {
		m.taken[i] = make(map[string]bool)
	}
	for _, address := range p.Listed {
		m.taken[i][address] = true
	}
}

// isTaken reports whether another practice already accounts for a recipient that this one lists.
func (m *matcher) isTaken(p *Practice, i int) bool {
	taken := m.taken[i]
	return slices.ContainsFunc(p.Listed, func(address string) bool { return taken[address] })
}

// recipients returns the recipients of a sent message in the form of NormalAddress, sorted.
func (m *matcher) recipients(i int) []string {
	if m.normal[i] == nil {
		list := make([]string, 0, len(m.sent[i].Recipients))
		for _, address := range m.sent[i].Recipients {
			list = append(list, NormalAddress(address))
		}
		slices.Sort(list)
		m.normal[i] = slices.Compact(list)
	}
	return m.normal[i]
}

// common counts the recipients that both the receipts and the sent message have.
func (m *matcher) common(p *Practice, i int) int {
	count, list := 0, m.recipients(i)
	for _, address := range p.Listed {
		if _, found := slices.BinarySearch(list, address); found {
			count++
		}
	}
	return count
}

// mayBe reports whether receipts that name the Message-ID of a sent message may be about it: they list one of its recipients, or have its
// subject. If not, they may be about another message with the same id that was not archived.
func (m *matcher) mayBe(p *Practice, i int) bool {
	return len(p.Listed) == 0 || len(m.sent[i].Recipients) == 0 || m.common(p, i) > 0 || m.subjects[i] == bareSubject(p.Subject)
}

// fits reports whether a sent message agrees with everything that receipts say besides ids. The caller has compared the subject.
func (m *matcher) fits(p *Practice, i int) bool {
	s, at := &m.sent[i], p.Time()
	return !at.IsZero() && !s.Time.After(at.Add(guessBefore)) && at.Sub(s.Time) <= guessAfter &&
		len(p.Listed) > 0 && m.common(p, i) == len(p.Listed) && m.sameSender(p, i)
}

// sameSender reports whether receipts and a sent message name the same sender, if both name one. Whoever gets certified mail learns its
// Message-ID, and may send mail with the same one: the receipts for it are genuine, and he may pass them on.
func (m *matcher) sameSender(p *Practice, i int) bool {
	sender := m.sent[i].Sender
	return p.Sender == "" || sender == "" || p.Sender == NormalAddress(sender)
}
