package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// What DomainQuery.State chooses beside the states of an archive.
const (
	DomainClosing = "closing" // disabled, and to be erased when the grace is over
	DomainHeld    = "held"    // under a legal hold
	DomainFull    = "full"    // nine tenths of the quota are used
	DomainUntold  = "untold"  // there is an archive, and nobody gets its notices
)

// DomainStates returns what DomainQuery.State may be, beside the empty text for all.
func DomainStates() []string {
	return []string{
		string(policy.StateOn), string(policy.StatePaused), string(policy.StateOff), string(policy.StateClosed), DomainClosing, DomainHeld, DomainFull, DomainUntold,
	}
}

// DomainQuery chooses mailboxes of a domain, and says how to list them.
type DomainQuery struct {
	Text   string // a part of the address, in any case
	State  string // one of DomainStates, or empty
	BySize bool   // the largest first; otherwise in the order of addresses
	After  string // the Next of the page before; empty for the first page
	Limit  int    // the most mailboxes of a page; 0 for no limit
}

// DomainMailbox is a mailbox in the list of its domain.
type DomainMailbox struct {
	Usage
	EraseAt *time.Time // when a disabled archive is erased
	Held    bool       // a legal hold stands on the mailbox
	Notify  string     // the address that gets the notices; empty for none
	Pending bool       // an address for notices waits to be confirmed
	// Last is when the newest message arrived or was sent that is still where it came; nil where nothing tells.
	Last *time.Time
	// Gaps is how many gaps went on record within GapDays days, and how many pauses reach into them.
	Gaps int
}

// GapDays is for how many days DomainMailbox counts gaps.
const GapDays = 30

// DomainTotals is what all mailboxes of a domain take together, and the limits of the domain.
type DomainTotals struct {
	States   map[string]int // how many mailboxes there are in each of DomainStates
	Archives int            // those that count for the limit
	journal.Size
	Quota   *big.Int // of all archives together
	NoQuota int      // archives without a quota
	Limits  policy.Limits
	// PassedOver are the months that could not be read and are not in the counts.
	PassedOver []kv.Month
}

// DomainPage is one page of the list of a domain.
type DomainPage struct {
	Mailboxes []DomainMailbox
	Next      string // what follows; empty at the end
	Found     int    // how many mailboxes the query chooses
	Totals    DomainTotals
}

// chosen is a mailbox that a query chooses, with its size as the survey has it.
type chosen struct {
	policy.Mailbox
	name string // the address as text
	size journal.Size
}

// states returns which of DomainStates a mailbox is in.
func (c *chosen) states() []string {
	s := c.Settings
	list := []string{string(c.State())}
	if s.Erasure.State == policy.ErasureDue {
		list = append(list, DomainClosing)
	}
	if s.Held() {
		list = append(list, DomainHeld)
	}
	if s.Quota > 0 && c.size.Bytes >= uint64(s.Quota)/10*9 && !s.Since.IsZero() {
		list = append(list, DomainFull)
	}
	if s.State() != policy.StateOff && s.Notify == (policy.Address{}) {
		list = append(list, DomainUntold)
	}
	return list
}

// position is where a mailbox stands in a list by size.
func (c *chosen) position() string {
	return strconv.FormatUint(c.size.Bytes, 10) + " " + c.name
}

// bySize orders the largest first.
func bySize(a, b *chosen) int {
	return cmp.Or(cmp.Compare(b.size.Bytes, a.size.Bytes), strings.Compare(a.name, b.name))
}

// byName orders by address.
func byName(a, b *chosen) int { return strings.Compare(a.name, b.name) }

// DomainMailboxes returns a page of the mailboxes of a domain that were ever set up, and what all of them take. It reads the settings of all mailboxes,
// and of those on the page also what a Mailbox says. It needs RightLook in the domain. Sizes in the totals, and the order by size, may be a minute old.
func (a *Archive) DomainMailboxes(ctx context.Context, who policy.Actor, domain string, q DomainQuery) (DomainPage, error) {
	list, page, err := a.choose(ctx, who, domain, q)
	if err != nil {
		return DomainPage{}, err
	}
	page.Found = len(list)
	if list, err = from(list, q); err != nil {
		return DomainPage{}, err
	}
	if q.Limit > 0 && len(list) > q.Limit {
		list = list[:q.Limit]
		last := list[q.Limit-1]
		if page.Next = last.name; q.BySize {
			page.Next = last.position()
		}
	}
	for _, c := range list {
		m, err := a.domainMailbox(ctx, c.Mailbox)
		if err != nil {
			return DomainPage{}, err
		}
		page.Mailboxes = append(page.Mailboxes, m)
	}
	return page, nil
}

// DomainAddresses returns the addresses of all mailboxes that a query chooses, whatever its limit. It needs RightLook in the domain.
func (a *Archive) DomainAddresses(ctx context.Context, who policy.Actor, domain string, q DomainQuery) ([]policy.Address, error) {
	list, _, err := a.choose(ctx, who, domain, q)
	addresses := make([]policy.Address, len(list))
	for i, c := range list {
		addresses[i] = c.Address
	}
	return addresses, err
}

// choose returns all mailboxes of a domain that a query chooses, in order, and the totals of the domain.
func (a *Archive) choose(ctx context.Context, who policy.Actor, domain string, q DomainQuery) ([]*chosen, DomainPage, error) {
	if err := a.May(ctx, who, RightLook, policy.Address{Domain: domain}); err != nil {
		return nil, DomainPage{}, err
	}
	if q.State != "" && !slices.Contains(DomainStates(), q.State) {
		return nil, DomainPage{}, fmt.Errorf("%w: state %.50q: want one of %s", ErrRequest, q.State, strings.Join(DomainStates(), ", "))
	}
	sizes, passed, err := a.survey.Sizes(ctx, a.journal)
	if err != nil {
		return nil, DomainPage{}, fmt.Errorf("mailboxes of %s: %w", domain, err)
	}
	totals := DomainTotals{States: make(map[string]int), Quota: new(big.Int), Limits: a.policy.Limits(domain), PassedOver: passed}
	text := strings.ToLower(strings.TrimSpace(q.Text))
	var list []*chosen
	for m, err := range a.policy.Mailboxes(ctx) {
		if err != nil {
			return nil, DomainPage{}, fmt.Errorf("mailboxes of %s: %w", domain, err)
		}
		if m.Address.Domain != domain {
			continue
		}
		c := &chosen{m, m.Address.String(), sizes[m.Archive]}
		states := c.states()
		totals.add(c, states)
		if (q.State == "" || slices.Contains(states, q.State)) && strings.Contains(c.name, text) {
			list = append(list, c)
		}
	}
	order := byName
	if q.BySize {
		order = bySize
	}
	slices.SortFunc(list, order)
	return list, DomainPage{Totals: totals}, nil
}

// add counts a mailbox.
func (t *DomainTotals) add(c *chosen, states []string) {
	for _, state := range states {
		t.States[state]++
	}
	t.Size.Add(c.size)
	if c.Settings.Since.IsZero() {
		return
	}
	t.Archives++
	if c.Settings.Quota == 0 {
		t.NoQuota++
	}
	t.Quota.Add(t.Quota, big.NewInt(c.Settings.Quota))
}

// from returns the part of a list that begins after q.After.
func from(list []*chosen, q DomainQuery) ([]*chosen, error) {
	if q.After == "" {
		return list, nil
	}
	at, order := &chosen{name: q.After}, byName
	if q.BySize {
		number, name, _ := strings.Cut(q.After, " ")
		bytes, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: after %.100q: want what the page before gives", ErrRequest, q.After)
		}
		at, order = &chosen{name: name, size: journal.Size{Bytes: bytes}}, bySize
	}
	i, found := slices.BinarySearchFunc(list, at, order)
	if found {
		i++
	}
	return list[i:], nil
}

// domainMailbox returns a mailbox as the list of its domain shows it.
func (a *Archive) domainMailbox(ctx context.Context, m policy.Mailbox) (DomainMailbox, error) {
	stats, err := a.journal.Stats(ctx, m.Archive)
	if err != nil && !errors.Is(err, journal.ErrDamaged) {
		return DomainMailbox{}, fmt.Errorf("mailbox %s: %w", m.Address, err)
	}
	var size journal.Size
	for _, f := range stats {
		size.Add(f.Size())
	}
	s := m.Settings
	v := DomainMailbox{Usage: viewUsage(m, size), Held: s.Held(), Pending: s.NotifyPending != (policy.Pending{})}
	if s.Erasure.State == policy.ErasureDue {
		v.EraseAt = &s.Erasure.At
	}
	if s.Notify != (policy.Address{}) {
		v.Notify = s.Notify.String()
	}
	latest, err := a.latest(ctx, stats)
	if err != nil {
		return DomainMailbox{}, fmt.Errorf("mailbox %s: %w", m.Address, err)
	}
	if v.Last = latest.Received; v.Last == nil || latest.Sent != nil && latest.Sent.After(*v.Last) {
		v.Last = latest.Sent
	}
	if v.Gaps, err = a.recentGaps(ctx, m); err != nil {
		return DomainMailbox{}, err
	}
	return v, nil
}

// RecentGaps returns DomainMailbox.Gaps of a mailbox.
func (a *Archive) RecentGaps(ctx context.Context, address policy.Address) (int, error) {
	m, err := a.there(ctx, address)
	if err != nil {
		return 0, err
	}
	return a.recentGaps(ctx, m)
}

func (a *Archive) recentGaps(ctx context.Context, m policy.Mailbox) (gaps int, err error) {
	since := time.Now().AddDate(0, 0, -GapDays)
	for _, err := range a.journal.GapsSince(ctx, m.Archive, since) {
		if err != nil {
			return gaps, fmt.Errorf("gaps of %s: %w", m.Archive, err)
		}
		gaps++
	}
	for pause, err := range a.policy.Pauses(ctx, m.Address) {
		if err != nil {
			return gaps, fmt.Errorf("pauses of %s: %w", m.Address, err)
		}
		if pause.Reason != policy.ReasonNotActivated && (pause.Until.IsZero() || pause.Until.After(since)) {
			gaps++
		}
	}
	return gaps, nil
}
