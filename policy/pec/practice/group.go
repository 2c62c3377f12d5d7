package practice

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// gathering collects the messages of practices, which come in order of time. A practice leaves when nothing was added to it for age: the last
// receipt comes a day after the message was sent (RFC 6109 3.1.6), or when an MTA gives up. If mostGathered messages come within that
// time, the older half of the practices leaves, and receipts that come later stand alone. Receipts that are not believed do not count towards
// mostGathered, since anybody can send them: after mostClaims of them, practices with no believed receipt leave.
type gathering struct {
	byID     map[string]*group // by the provider's id
	order    []*group          // in the order in which they began
	mails    []sentMail        // sent messages, in order
	sent     []pec.Sent        // the same messages, for pec.MatchSent
	gathered int               // sent messages and believed receipts
	oldest   time.Time         // of those; zero if there are none
	claims   int               // receipts that are not believed
}

const (
	age          = 60 * 24 * time.Hour
	mostGathered = 10000 // about 10 MB
	mostClaims   = 1000  // at worst 20 MB
	// maxNotBelieved is the most receipts that are not believed listed in one practice.
	maxNotBelieved = 10
	// maxAbout is the most recipients that a receipt names as those that it is about.
	maxAbout = 100
)

func newGathering() *gathering {
	return &gathering{byID: make(map[string]*group)}
}

// full reports whether to take out old practices, after a message with the given time.
func (g *gathering) full(at time.Time) bool {
	return g.gathered >= mostGathered || g.claims >= mostClaims || !g.oldest.IsZero() && at.Sub(g.oldest) > 2*age
}

// count notes one more message.
func (g *gathering) count(at time.Time) {
	g.gathered++
	if g.oldest.IsZero() || at.Before(g.oldest) {
		g.oldest = at
	}
}

// takeOld takes out the practices to which nothing was added for age, or the older half, or those of claims alone. Practices of one sent
// message stay together.
func (g *gathering) takeOld(at time.Time) []*group {
	if g.claims >= mostClaims {
		return g.takeClaims()
	}
	groups := g.join()
	last := make(map[any]time.Time) // by sent message, or by practice without one
	key := func(p *group) any {
		if p.sent != nil {
			return p.sent
		}
		return p
	}
	for _, p := range groups {
		if t := p.last(); t.After(last[key(p)]) {
			last[key(p)] = t
		}
	}
	before := at.Add(-age)
	if g.gathered >= mostGathered {
		times := slices.SortedFunc(maps.Values(last), time.Time.Compare)
		if middle := times[len(times)/2]; middle.After(before) {
			before = middle
		}
	}
	index := make(map[*sentMail]int, len(g.mails))
	for i := range g.mails {
		index[&g.mails[i]] = i
	}
	var old []*group
	rest := newGathering()
	kept := make(map[*sentMail]bool)
	for _, p := range groups {
		if !last[key(p)].After(before) {
			old = append(old, p)
			continue
		}
		if s := p.sent; s != nil && !kept[s] {
			kept[s] = true
			rest.mails, rest.sent = append(rest.mails, *s), append(rest.sent, g.sent[index[s]])
			rest.count(last[s])
		}
		if len(p.receipts) > 0 {
			rest.byID[p.Identifier], rest.order = p, append(rest.order, p)
			for _, r := range p.receipts {
				if r.NotBelieved == "" {
					rest.count(last[key(p)])
				} else {
					rest.claims++
				}
			}
			p.unmatch()
		}
	}
	*g = *rest
	return old
}

// takeClaims takes out the practices without a believed receipt.
func (g *gathering) takeClaims() []*group {
	g.join()
	g.claims = 0
	var claimed []*group
	g.order = slices.DeleteFunc(g.order, func(p *group) bool {
		if p.States == nil {
			claimed = append(claimed, p)
			delete(g.byID, p.Identifier)
			return true
		}
		p.unmatch()
		return false
	})
	return claimed
}

// last returns when the practice's last message came.
func (p *group) last() (at time.Time) {
	if p.sent != nil {
		at = p.sent.time
	}
	for _, r := range p.receipts {
		if r.Time.After(at) {
			at = r.Time
		}
	}
	return at
}

// group is one practice, or a sent message without one.
type group struct {
	pec.Practice               // what believed receipts say
	claimed      *pec.Practice // what other receipts say; used only to find the sent message while no receipt is believed
	receipts     []Receipt
	notBelieved  int                    // number of receipts that are not believed, listed or not
	brief        map[string]journal.Ref // brief delivery receipts by recipient
	complete     *journal.Ref           // the first complete delivery receipt
	sent         *sentMail              // nil when it is not archived
	by           pec.Match
	others       []string // recipients of the sent message that no practice covers
}

// sentMail is what a practice shows about its sent message.
type sentMail struct {
	ref       journal.Ref
	time      time.Time
	subject   string
	messageID string
	certified bool // at least one recipient has PEC
	imported  bool
}

// unmatch forgets the sent message: the next join finds it again.
func (p *group) unmatch() { p.sent, p.by, p.others = nil, "", nil }

// add takes in an entry: a sent message, or a receipt. Other entries are ignored. An error wraps journal.ErrDamaged.
func (g *gathering) add(e *journal.Entry) error {
	if e.Direction == journal.Sent {
		g.addSent(e)
		return nil
	}
	if len(e.Certification) == 0 {
		return nil
	}
	var c pec.Record
	if err := c.UnmarshalBinary(e.Certification); err != nil {
		return fmt.Errorf("%s %s %d: %w: %w", e.Mailbox, e.FolderName(), e.UID, journal.ErrDamaged, err)
	}
	ids := c.Message.Practices()
	if len(ids) == 0 {
		return nil
	}
	receipt := receiptView(e, &c.Message)
	receipt.NotBelieved = notBelieved(e, &c)
	for _, id := range ids {
		g.group(id).apply(&c.Message, receipt)
		if receipt.NotBelieved == "" {
			g.count(e.Time)
		} else {
			g.claims++
		}
	}
	if receipt.NotBelieved == "" {
		g.addDelivery(e.Ref, &c.Message)
	}
	return nil
}

// addDelivery notes a delivery receipt that can be compared with the sent message.
func (g *gathering) addDelivery(ref journal.Ref, m *pec.Message) {
	for _, event := range m.Events() {
		p := g.group(event.Identifier)
		switch {
		case event.Kind != pec.EventDelivered:
		case event.Detail == pec.ReceiptBrief && !event.Unnamed:
			p.brief[event.Recipient] = ref
		case event.Detail == pec.ReceiptComplete && p.complete == nil:
			p.complete = &ref
		}
	}
}

// group returns the practice with an id, and begins it if it is new.
func (g *gathering) group(identifier string) *group {
	p := g.byID[identifier]
	if p == nil {
		p = &group{Practice: pec.Practice{Identifier: identifier}, brief: make(map[string]journal.Ref)}
		g.byID[identifier] = p
		g.order = append(g.order, p)
	}
	return p
}

// apply adds a receipt.
func (p *group) apply(m *pec.Message, receipt Receipt) {
	if receipt.NotBelieved == "" {
		p.receipts = append(p.receipts, receipt)
		p.Apply(m)
		return
	}
	if p.notBelieved++; p.notBelieved <= maxNotBelieved {
		p.receipts = append(p.receipts, receipt)
	}
	if p.claimed == nil {
		p.claimed = &pec.Practice{Identifier: p.Identifier}
	}
	p.claimed.Claim(m)
}

func (g *gathering) addSent(e *journal.Entry) {
	g.count(e.Time)
	subject := part.Decode(e.Subject)
	s := pec.Sent{Own: pec.ClientLink(part.MessageID(e.MessageID)), Sender: e.MailFrom, Recipients: e.Recipients, Subject: subject, Time: e.Time}
	for _, link := range e.Links {
		if link != s.Own && strings.HasPrefix(link, "m") {
			s.Client = link
		}
	}
	g.sent = append(g.sent, s)
	g.mails = append(g.mails, sentMail{ref: e.Ref, time: e.Time, subject: subject, messageID: part.MessageID(e.MessageID),
		certified: e.SentTo == "certified", imported: e.Imported != nil})
}

// receiptView describes a receipt, without NotBelieved.
func receiptView(e *journal.Entry, m *pec.Message) Receipt {
	v := Receipt{Class: string(pec.REM), Folder: e.FolderName(), UID: e.UID, Time: e.Time, Imported: e.Imported != nil}
	if m.Data != nil {
		v.Class = string(m.Data.Class())
	}
	for i := range m.Evidence {
		one := &m.Evidence[i]
		v.Events = append(v.Events, one.EventName())
		if class := one.Equivalent(); class != pec.Ordinary && v.Equivalent == "" {
			v.Equivalent = string(class)
		}
	}
	for _, event := range m.Events() {
		all := event.Kind == pec.EventAccepted || event.Kind == pec.EventRefused
		if !all && !event.Unnamed && len(v.Recipients) < maxAbout && !slices.Contains(v.Recipients, event.Recipient) {
			v.Recipients = append(v.Recipients, event.Recipient)
		}
	}
	return v
}

// notBelieved returns why a receipt does not count; "" if it does. The entry's class was decided at arrival. If the header decided it, the
// certification data cannot turn an envelope into a receipt, or one receipt into another. What somebody has put in by hand
// needs a signature: his word is not that of a provider.
func notBelieved(e *journal.Entry, c *pec.Record) string {
	switch data := c.Message.Data; {
	case e.Imported != nil && !c.Signature.Proven():
		return "put in by hand, and no signature of a trusted provider proves it"
	case e.Class != string(pec.Ordinary) && data != nil && e.Class != string(data.Class()):
		return fmt.Sprintf("its header says %s, its certification data %s", e.Class, data.Class())
	case e.Class != string(pec.Ordinary):
		return ""
	case c.Signature.Proven():
		return "its header names no receipt"
	case c.Signature.Reason != "":
		return fmt.Sprintf("signature %s: %s", c.Signature.Result, c.Signature.Reason)
	}
	return fmt.Sprintf("signature %s", cmp.Or(c.Signature.Result, pec.ResultUnsigned))
}

// join finds the sent message of each practice, and adds the sent messages without one.
func (g *gathering) join() []*group {
	var believed, others []*group
	var practices, claims []*pec.Practice
	for _, p := range g.order {
		if p.States != nil {
			believed, practices = append(believed, p), append(practices, &p.Practice)
		} else {
			others, claims = append(others, p), append(claims, p.claimed)
		}
	}
	groups := make([][]*group, len(g.mails)) // practices by sent message
	for i, m := range pec.MatchSent(practices, g.sent) {
		if m.Sent >= 0 {
			believed[i].sent, believed[i].by = &g.mails[m.Sent], m.By
			groups[m.Sent] = append(groups[m.Sent], believed[i])
		}
	}
	// Receipts that are not believed take no message from a practice, and are not linked by guess.
	for i, m := range pec.MatchSent(claims, g.sent) {
		if m.Sent >= 0 && m.By != pec.MatchGuess {
			others[i].sent, others[i].by = &g.mails[m.Sent], m.By
		}
	}
	list := g.order
	for i := range g.mails {
		if len(groups[i]) == 0 {
			p := &group{sent: &g.mails[i]}
			list, groups[i] = append(list, p), append(groups[i], p)
		}
		groups[i][0].others = withoutStates(g.sent[i].Recipients, groups[i])
	}
	return list
}

// withoutStates returns the recipients that none of the practices covers.
func withoutStates(recipients []string, groups []*group) []string {
	seen := make(map[string]bool, len(recipients))
	for _, p := range groups {
		for key := range p.States {
			seen[key.Recipient] = true
		}
	}
	var list []string
	for _, address := range recipients {
		if address = pec.NormalAddress(address); !seen[address] {
			seen[address] = true
			list = append(list, address)
		}
	}
	return list
}

// shown reports whether a practice is listed: not a sent message for which no receipt is expected.
func (p *group) shown() bool { return len(p.receipts) > 0 || p.sent.certified }

// isOf reports whether a practice is that of a sent message.
func (p *group) isOf(sent journal.Ref) bool { return p.sent != nil && p.sent.ref == sent }

// view describes a practice.
func (p *group) view(now time.Time) *Practice {
	v := &Practice{Identifier: p.Identifier, MessageID: p.Client, Sender: p.Sender, Subject: p.Subject, Recipients: []Outcome{},
		Receipts: append([]Receipt{}, p.receipts...), MoreNotBelieved: max(0, p.notBelieved-maxNotBelieved)}
	if p.claimed != nil && p.States == nil {
		v.MessageID, v.Subject = p.claimed.Client, p.claimed.Subject
	}
	since := p.Time()
	for _, r := range p.receipts {
		if since.IsZero() && r.NotBelieved == "" {
			since = r.Time
		}
	}
	if s := p.sent; s != nil {
		v.Folder, v.UID, v.Time, v.Imported, v.Subject = s.ref.FolderName(), s.ref.UID, &s.time, s.imported, s.subject
		if !s.imported || since.IsZero() {
			since = s.time
		}
		v.MessageID, v.LinkedBy = cmp.Or(v.MessageID, s.messageID), p.by
	}
	for key, o := range p.States {
		v.Recipients = append(v.Recipients, outcomeView(key.Recipient, o, since, now))
	}
	for _, address := range p.others {
		v.Recipients = append(v.Recipients, Outcome{Address: address})
	}
	slices.SortFunc(v.Recipients, func(a, b Outcome) int { return cmp.Compare(a.Address, b.Address) })
	return v
}
