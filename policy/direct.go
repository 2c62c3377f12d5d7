package policy

import (
	"context"
	"slices"
	"strings"
)

// Reasons why a message is not journaled for a recipient line.
const (
	ReasonAlias    = "alias"    // the original recipient is another address; an alias, catch-all, domain alias or rewriting led here
	ReasonForward  = "forward"  // the original recipient is another mailbox, which forwards to this one
	ReasonRedirect = "redirect" // another mailbox's Sieve script redirected the message
	ReasonCopy     = "copy"     // the MTA itself added the recipient (bcc maps)
	ReasonList     = "list"     // an aliases(5) list with an owner sent the message on
	ReasonDisabled = "disabled" // the mailbox has no archive, or the archive is off
	ReasonPaused   = "paused"   // the archive of the mailbox is paused
	ReasonRenamed  = "renamed"  // the archive has gone on to another address
	ReasonFilter   = "filter"   // the mailbox's filter excludes messages of this kind
	// ReasonFull means that the quota of the mailbox is used up. The journal gives this reason; no verdict of this package has it.
	ReasonFull = "full"
)

// Flags of a verdict.
const (
	// FlagOriginUnknown means that the original recipient is unknown, so the line counted as direct.
	FlagOriginUnknown = "origin-unknown"
	// FlagDuplicate means that another line of the same transaction carries the message into the same mailbox. This line is neither journaled nor
	// skipped, and nothing is recorded for it.
	FlagDuplicate = "duplicate"
	// FlagSentToUnknown means that the sender's filter wants only certified or only not certified recipients, and the kind of this message's
	// recipients is unknown. The message was archived in doubt.
	FlagSentToUnknown = "sent-to-unknown"
)

// Line is one RCPT line of a transaction.
type Line struct {
	RcptTo string // the path as given, with or without angle brackets
	ORCPT  string // raw value of the parameter; empty if absent
	Notify string // raw value of the parameter; empty if absent
}

// Origin is what is known of a message apart from its recipient lines: where it comes from and what kind it is.
type Origin struct {
	ClientAddr string // ADDR of XFORWARD, as given; empty or "[UNAVAILABLE]" if unknown
	// QueueID is IDENT of XFORWARD, as given; empty or "[UNAVAILABLE]" if unknown. The header is evidence only if the Received field that
	// ends its trusted region has this id. An MTA that strips its own Received field leaves those of the sender at the top.
	QueueID string
	// OriginalTo is the value of the X-Original-To field that the MTA prepended and the hook removed. It counts under OriginXOriginalTo
	// only.
	OriginalTo string
	// Header is the raw top-level header from its first byte, without that X-Original-To field. It may be cut anywhere.
	Header []byte
	// Group is the group of a received message; empty means GroupOther.
	Group Group
	// SentTo says to whom a sent message goes, as Policy.SentTo returns it; empty means SentToUnknown.
	SentTo SentTo
	// Begun holds the archives (Verdict.Mailbox) that Wanted named when the lines came in, in the order of the lines; for a sent message the one that
	// an earlier JudgeSent named. They take the message even if they have changed their address since then. It may be nil.
	Begun []string
}

// begun returns the archive to which line i led when it came in; empty if that is not known.
func (o *Origin) begun(i int) string {
	if i >= len(o.Begun) {
		return ""
	}
	return o.Begun[i]
}

// Verdict is the decision for one line.
//
//	journaled                  Journal, Reason ""
//	skipped                    not Journal, Reason says why
//	carried by another line    not Journal, Reason "", FlagDuplicate
type Verdict struct {
	Mailbox string // name of its archive (Mailbox.Archive); empty if the line is not an address
	State   State  // of its archive
	Enabled bool   // its archive is on
	// Renamed says that the archive is on, but has gone on to another address (ReasonRenamed): the line makes no entry, but one that an earlier
	// try of the same message made is its entry.
	Renamed bool
	Journal bool   // this line makes the entry
	Reason  string // why the line is skipped
	Alone   string // with FlagDuplicate: why the line would be skipped by itself; empty if it would be journaled
	Flags   []string
	// Told says that the owner wants to be told of a certified message, and the line is direct, also where a filter or a pause keeps the message
	// out of the archive. Wanted does not look whether the line is direct.
	Told bool

	// For an enabled mailbox: how many bytes its archive may hold (0 for no limit), and what happens to mail when it is full.
	Quota    int64
	WhenFull WhenFull
}

// Wanted says, when a RCPT line comes in, which mailbox it ends in, whether that mailbox is enabled, and its quota. Judge gives the rest of
// the verdict: it may still skip a line to an enabled mailbox, and never journals one to a disabled mailbox unless it is enabled in
// between. A path that is not an address belongs to no mailbox. An error comes from the store.
func (p *Policy) Wanted(ctx context.Context, rcptTo string) (Verdict, error) {
	m, known, err := p.reading(ctx).mailboxOf(rcptTo)
	return known.verdict(m), err
}

// JudgeSent says whether to journal an outgoing message for its sender: the value of the login header, or MAIL FROM where the operator
// chose that as identity. A sender that is not an address, such as the null sender, belongs to no mailbox. Only SentTo of the origin counts.
// An error comes from the store.
func (p *Policy) JudgeSent(ctx context.Context, o Origin, sender string) (Verdict, error) {
	r := p.reading(ctx)
	if r.rules.loginDomain != "" && sender != "" && !strings.Contains(sender, "@") {
		sender += "@" + r.rules.loginDomain
	}
	m, known, err := r.mailboxBegun(sender, o.begun(0))
	if err != nil {
		return Verdict{}, err
	}
	v := known.verdict(m)
	wanted, sure := known.filter.wantsSent(o.SentTo)
	switch {
	case !v.Enabled:
		v.Reason = known.whyNot()
	case !wanted:
		v.Reason = ReasonFilter
	default:
		v.Journal = true
		if !sure {
			v.Flags = []string{FlagSentToUnknown}
		}
	}
	return v, nil
}

// Judge gives the verdict of each line of a transaction, in order, once the message is in. It judges lines to the same mailbox together: if
// one of them is direct, one line carries the message (preferably one of known origin), and the others are its duplicates, whatever they
// would have been alone. An error comes from the store, and then no verdict holds.
func (p *Policy) Judge(ctx context.Context, o Origin, lines []Line) ([]Verdict, error) {
	c := &judgement{reading: p.reading(ctx), origin: o, alone: len(lines) == 1}
	c.evidence = c.rules.examine(o)
	for i, l := range lines {
		if m, _, err := c.mailboxBegun(l.RcptTo, o.begun(i)); err != nil {
			return nil, err
		} else if m != (Address{}) {
			c.recipients = append(c.recipients, m)
		}
	}
	verdicts := make([]Verdict, len(lines))
	carrier := make(map[string]int)
	for i, l := range lines {
		v, err := c.line(l)
		if err != nil {
			return nil, err
		}
		verdicts[i] = v
		if first, ok := carrier[v.Mailbox]; v.Journal && (!ok || len(v.Flags) < len(verdicts[first].Flags)) {
			carrier[v.Mailbox] = i
		}
	}
	for i := range verdicts {
		v := &verdicts[i]
		if carried, ok := carrier[v.Mailbox]; ok && carried != i {
			v.Journal, v.Renamed, v.Reason, v.Alone, v.Flags = false, false, "", v.Reason, []string{FlagDuplicate}
		}
	}
	return verdicts, nil
}

// judgement is the state of one Judge.
type judgement struct {
	*reading
	origin     Origin
	evidence   evidence
	recipients []Address // the mailboxes of all lines
	alone      bool      // the transaction has only one line
}

// line judges one line by itself.
func (c *judgement) line(l Line) (Verdict, error) {
	m, settings, err := c.mailboxOf(l.RcptTo)
	if err != nil {
		return Verdict{}, err
	}
	v := settings.verdict(m)
	if !v.Enabled && !v.Told {
		v.Reason = settings.whyNot()
		return v, nil
	}
	original, known := c.original(l)
	direct, sure, err := c.isDirect(original, known, m)
	if err != nil {
		return Verdict{}, err
	}
	other, err := c.deliveredBefore(m)
	if err != nil {
		return Verdict{}, err
	}
	switch {
	case c.rules.origin == OriginNone:
	case c.rules.origin == OriginORCPT && strings.EqualFold(l.Notify, "NEVER"):
		v.Reason = ReasonCopy
	case c.evidence.redirected:
		v.Reason = ReasonRedirect
	case direct && other:
		v.Reason = ReasonList
	case direct:
	case other:
		v.Reason = ReasonForward
	default:
		if v.Reason, err = c.aliasOrForward(original); err != nil {
			return Verdict{}, err
		}
	}
	v.Told = v.Told && v.Reason == ""
	if v.Reason == "" && !settings.filter.wants(c.origin.Group) {
		v.Reason = ReasonFilter
	}
	if !v.Enabled {
		v.Reason = settings.whyNot()
	}
	if v.Reason == "" {
		v.Journal = true
		if !sure {
			v.Flags = []string{FlagOriginUnknown}
		}
	}
	return v, nil
}

// original returns the recipient as originally given, and whether it is known. Its domain may be missing.
func (c *judgement) original(l Line) (a Address, known bool) {
	path, err := "", error(nil)
	switch c.rules.origin {
	case OriginORCPT:
		path, err = decodeORCPT(l.ORCPT)
	case OriginXOriginalTo:
		// The field names one recipient; with more than one line, nobody knows which.
		if c.alone {
			path = c.origin.OriginalTo
		}
	}
	if err == nil {
		a, err = parsePath(path)
	}
	// Postfix passes the path on as the sender typed it. One with routing in its local part (user%domain, domain!user) may have been
	// rewritten into any address, even that of the mailbox.
	return a, err == nil && !strings.ContainsAny(a.Local, "%!@")
}

// isDirect says whether an original recipient is the mailbox m, with or without an extension, and whether that is certain. An unknown
// recipient counts as direct. The sender may omit the domain, or its end, where the MTA completes it.
func (c *judgement) isDirect(original Address, known bool, m Address) (direct, sure bool, err error) {
	if !known {
		return true, false, nil
	}
	completed := original
	if original.Domain == "" || !strings.Contains(original.Domain, ".") && strings.HasPrefix(m.Domain, original.Domain+".") {
		completed.Domain = m.Domain
	}
	found, _, err := c.resolve(completed)
	return found == m, completed == original, err
}

// deliveredBefore reports whether the MTA's local delivery agent handled the message for another mailbox before it came to m.
func (c *judgement) deliveredBefore(m Address) (bool, error) {
	for _, a := range c.evidence.deliveredTo {
		if found, _, err := c.resolve(a); err != nil || found != m {
			return err == nil, err
		}
	}
	return false, nil
}

// aliasOrForward names the reason for a line whose original recipient is another address: a forward if that is a mailbox we know, an alias
// otherwise.
func (c *judgement) aliasOrForward(original Address) (string, error) {
	m, known, err := c.resolve(original)
	if known.state != StateOff || slices.Contains(c.recipients, m) {
		return ReasonForward, err
	}
	return ReasonAlias, err
}

// reading reads settings for one decision, those of each mailbox at most once, so the decision is consistent.
type reading struct {
	policy *Policy
	rules  *rules
	ctx    context.Context
	first  Address // the first mailbox; most decisions have one only
	known  knownSettings
	others map[Address]knownSettings
}

// keep keeps what is known of a mailbox for the rest of the decision.
func (r *reading) keep(a Address, k knownSettings) {
	switch {
	case r.first == (Address{}), r.first == a:
		r.first, r.known = a, k
	default:
		if r.others == nil {
			r.others = make(map[Address]knownSettings)
		}
		r.others[a] = k
	}
}

// knownSettings is the part of a mailbox's settings that a decision needs.
type knownSettings struct {
	archive  string // its name; empty where nothing is found
	found    bool
	renamed  bool  // the archive has gone on from here to another address, where it is on
	state    State // StateOff where nothing is found
	told     bool  // the owner is told of certified messages
	filter   Filter
	quota    int64
	whenFull WhenFull
}

// verdict returns the verdict on a line to m as far as it is known before judging.
func (k knownSettings) verdict(m Address) Verdict {
	v := Verdict{
		Mailbox: k.archive, State: k.state, Enabled: k.state == StateOn, Renamed: k.renamed, Told: k.told, Quota: k.quota, WhenFull: k.whenFull,
	}
	if v.Mailbox == "" {
		v.Mailbox = m.name()
	}
	return v
}

// whyNot returns the reason of a mailbox whose archive takes nothing.
func (k knownSettings) whyNot() string {
	switch {
	case k.renamed:
		return ReasonRenamed
	case k.state == StatePaused:
		return ReasonPaused
	}
	return ReasonDisabled
}

// known returns what a decision needs of the mailbox to which an address leads.
func (l lead) known() knownSettings {
	if l.record == nil {
		return knownSettings{state: StateOff}
	}
	k := knownOf(l.name, &l.record.Settings)
	k.found = true
	return k
}

func knownOf(archive string, s *Settings) knownSettings {
	return knownSettings{
		archive: archive, state: s.State(), told: s.Tells(NotifyCertified), filter: s.Filter, quota: s.Quota, whenFull: s.WhenFull,
	}
}

func (p *Policy) reading(ctx context.Context) *reading {
	return &reading{policy: p, rules: p.rules(), ctx: ctx}
}

// mailboxOf returns the mailbox in which a path ends, and what is known of it. The zero Address means none.
func (r *reading) mailboxOf(path string) (Address, knownSettings, error) {
	a, err := ParseAddress(path)
	if err != nil {
		return Address{}, knownSettings{state: StateOff}, nil
	}
	return r.resolve(a)
}

// mailboxBegun is mailboxOf for a message that began when the path led to an archive, given by its name: if that archive has gone on to another
// address since, the path leads to it for the rest of the decision.
func (r *reading) mailboxBegun(path, archive string) (Address, knownSettings, error) {
	a, err := ParseAddress(path)
	if err != nil {
		return Address{}, knownSettings{state: StateOff}, nil
	}
	for led := archive != ""; led; {
		k, err := r.lookup(a)
		if err != nil {
			return Address{}, knownSettings{}, err
		}
		if k.renamed && k.archive == archive {
			k.found, k.state, k.renamed = true, StateOn, false
			r.keep(a, k)
			return a, k, nil
		}
		if k.found {
			break
		}
		a, led = a.WithoutExtension(r.rules.delimiter(a.Domain))
	}
	return r.mailboxOf(path)
}

// resolve returns the mailbox of an address.
func (r *reading) resolve(a Address) (Address, knownSettings, error) {
	return resolve(a, r.rules.delimiter(a.Domain), r.lookup)
}

// resolve returns the mailbox of an address: the address itself if it was set up as a mailbox, enabled or not; otherwise the address
// without its extension. An address that an archive has left is that archive's former one only if its mail belongs to no other mailbox.
func resolve(a Address, delimiter string, lookup func(Address) (knownSettings, error)) (m Address, known knownSettings, err error) {
	exact, err := lookup(a)
	if err != nil || exact.found {
		return a, exact, err
	}
	base, ok := a.WithoutExtension(delimiter)
	if !ok {
		return a, exact, nil
	}
	stripped, err := lookup(base)
	if exact.renamed && !stripped.found {
		return a, exact, err
	}
	return base, stripped, err
}

func (r *reading) lookup(a Address) (knownSettings, error) {
	if a == r.first && a != (Address{}) {
		return r.known, nil
	}
	if k, ok := r.others[a]; ok {
		return k, nil
	}
	l, err := r.policy.lead(r.ctx, a)
	if err != nil {
		return knownSettings{}, err
	}
	k := l.known()
	if !k.found && l.former != "" {
		m, err := r.policy.MailboxOf(r.ctx, l.former)
		if err != nil {
			return knownSettings{}, err
		}
		if s := &m.Settings; s.Enabled {
			k = knownOf(l.former, s)
			k.renamed, k.state, k.told = true, StateOff, false
		}
	}
	r.keep(a, k)
	return k, nil
}

// name returns the canonical name of a mailbox; empty for none.
func (a Address) name() string {
	if a == (Address{}) {
		return ""
	}
	return a.String()
}
