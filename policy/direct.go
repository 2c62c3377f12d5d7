package policy

import (
	"context"
	"slices"
	"strings"
)

// Reasons why a message is not journaled for a recipient line.
const (
	ReasonAlias    = "alias"    // the original recipient is another address, which an alias, catch-all, domain alias or rewriting led here
	ReasonForward  = "forward"  // the original recipient is another mailbox, which sends its mail on to this one
	ReasonRedirect = "redirect" // a Sieve script of another mailbox sent the message on
	ReasonCopy     = "copy"     // the MTA added the recipient by itself (bcc maps)
	ReasonList     = "list"     // a list of aliases(5) with an owner sent the message on
	ReasonDisabled = "disabled" // the mailbox has no archive, or the archive is off
	ReasonFilter   = "filter"   // the mailbox's filter leaves messages of this kind out
	// ReasonFull is for the journal to give: the quota of the mailbox is used up. No verdict of this package has it.
	ReasonFull = "full"
)

// Flags of a verdict.
const (
	// FlagOriginUnknown says that the original recipient could not be known, so that the line counted as direct.
	FlagOriginUnknown = "origin-unknown"
	// FlagDuplicate says that another line of the same transaction carries the message into the same mailbox. Such a line is neither
	// journaled nor skipped: there is nothing to record for it.
	FlagDuplicate = "duplicate"
	// FlagSentToUnknown says that the sender's filter wants only one of certified and not certified recipients, and that it is not known
	// of which kind those of the message are, so that it was archived in doubt.
	FlagSentToUnknown = "sent-to-unknown"
)

// Line is one RCPT line of a transaction.
type Line struct {
	RcptTo string // the path as it was given, with or without angle brackets
	ORCPT  string // raw value of the parameter, empty where there is none
	Notify string // raw value of the parameter, empty where there is none
}

// Origin is what is known of a message beside its recipient lines: where it comes from, and of what kind it is.
type Origin struct {
	ClientAddr string // ADDR of XFORWARD, as it was given; empty or "[UNAVAILABLE]" where it is not known
	// QueueID is IDENT of XFORWARD, likewise. The header is evidence only if the Received field that ends its trusted region bears
	// this id: an MTA that strips its own Received field leaves those of the sender at the top.
	QueueID string
	// OriginalTo is the value of the X-Original-To field that the MTA prepended and the hook has taken off again; looked at under
	// OriginXOriginalTo only.
	OriginalTo string
	// Header is the raw top-level header, from its first byte, without the field above. It may be cut anywhere.
	Header []byte
	// Group is the group of a received message; empty means GroupOther.
	Group Group
	// SentTo says to whom a sent message goes, as Policy.SentTo finds it; empty means SentToUnknown.
	SentTo SentTo
}

// Verdict is what was decided for one line.
//
//	journaled                  Journal, Reason ""
//	skipped                    not Journal, Reason tells why
//	carried by another line    not Journal, Reason "", FlagDuplicate
type Verdict struct {
	Mailbox string // canonical name of the mailbox; empty where the line is no address
	Enabled bool   // its archive is on
	Journal bool   // this line is to make the entry
	Reason  string // why the line is skipped
	Alone   string // of a line with FlagDuplicate: why it would be skipped by itself; empty where it would be journaled
	Flags   []string

	// Of an enabled mailbox: how many bytes its archive may hold, and what becomes of mail when it is full.
	Quota    int64
	WhenFull WhenFull
}

// Wanted says, when a RCPT line comes in, which mailbox it ends in, whether that is enabled, and what quota it has; the rest of the
// verdict is Judge's to give. A line to an enabled mailbox may still be skipped by it; one to a mailbox that is not is never journaled,
// unless it gets enabled in between. A path that is no address belongs to no mailbox. An error is one of the store.
func (p *Policy) Wanted(ctx context.Context, rcptTo string) (Verdict, error) {
	m, known, err := p.reading(ctx).mailboxOf(rcptTo)
	return known.verdict(m), err
}

// JudgeSent says whether a message that leaves is to be journaled for its sender: the value of the login header, or MAIL FROM where the
// operator chose that as identity. What is no address, the null sender included, belongs to no mailbox. Of the origin only SentTo counts.
func (p *Policy) JudgeSent(ctx context.Context, o Origin, sender string) (Verdict, error) {
	r := p.reading(ctx)
	if r.rules.loginDomain != "" && sender != "" && !strings.Contains(sender, "@") {
		sender += "@" + r.rules.loginDomain
	}
	m, known, err := r.mailboxOf(sender)
	if err != nil {
		return Verdict{}, err
	}
	v := known.verdict(m)
	wanted, sure := known.filter.wantsSent(o.SentTo)
	switch {
	case !known.enabled:
		v.Reason = ReasonDisabled
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

// Judge gives the verdict of each line of a transaction, in order, when the message is in. Lines that end in the same mailbox are judged
// together: where one of them is direct, one line carries the message (a line of known origin before one of unknown), and the others
// are its duplicates, whatever they would have been alone. An error is one of the store; no verdict holds then.
func (p *Policy) Judge(ctx context.Context, o Origin, lines []Line) ([]Verdict, error) {
	c := &judgement{reading: p.reading(ctx), origin: o, alone: len(lines) == 1}
	c.evidence = c.rules.examine(o)
	for _, l := range lines {
		if m, _, err := c.mailboxOf(l.RcptTo); err != nil {
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
			v.Journal, v.Reason, v.Alone, v.Flags = false, "", v.Reason, []string{FlagDuplicate}
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
	alone      bool      // there is one line only
}

// line judges a line for itself.
func (c *judgement) line(l Line) (Verdict, error) {
	m, settings, err := c.mailboxOf(l.RcptTo)
	if err != nil {
		return Verdict{}, err
	}
	v := settings.verdict(m)
	if !settings.enabled {
		v.Reason = ReasonDisabled
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
	if v.Reason == "" && !settings.filter.wants(c.origin.Group) {
		v.Reason = ReasonFilter
	}
	if v.Reason == "" {
		v.Journal = true
		if !sure {
			v.Flags = []string{FlagOriginUnknown}
		}
	}
	return v, nil
}

// original returns the recipient as it was originally given, and whether it is known. Its domain may be missing.
func (c *judgement) original(l Line) (a Address, known bool) {
	path, err := "", error(nil)
	switch c.rules.origin {
	case OriginORCPT:
		path, err = decodeORCPT(l.ORCPT)
	case OriginXOriginalTo:
		// The field speaks of one recipient; where there are more, nobody knows of which.
		if c.alone {
			path = c.origin.OriginalTo
		}
	}
	if err == nil {
		a, err = parsePath(path)
	}
	// Postfix hands on the path as the sender typed it. One with routing in its local part (user%domain, domain!user) may
	// have been rewritten into any address, that of the mailbox included.
	return a, err == nil && !strings.ContainsAny(a.Local, "%!@")
}

// isDirect says whether an original recipient is the mailbox m, with or without an extension, and whether that is sure. What is not known
// counts as direct. A sender may leave out the domain, or its end, where the MTA completes it.
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

// deliveredBefore says that the MTA's local delivery agent had the message for another mailbox before it came to m.
func (c *judgement) deliveredBefore(m Address) (bool, error) {
	for _, a := range c.evidence.deliveredTo {
		if found, _, err := c.resolve(a); err != nil || found != m {
			return err == nil, err
		}
	}
	return false, nil
}

// aliasOrForward names the reason for a line whose original recipient is another address: a forward if that is a mailbox
// that we know of, an alias otherwise.
func (c *judgement) aliasOrForward(original Address) (string, error) {
	m, known, err := c.resolve(original)
	if known.enabled || slices.Contains(c.recipients, m) {
		return ReasonForward, err
	}
	return ReasonAlias, err
}

// reading reads settings for one decision, each at most once, so that the decision is of one piece.
type reading struct {
	policy *Policy
	rules  *rules
	ctx    context.Context
	known  map[Address]knownSettings
}

// knownSettings is what a decision needs of the settings of a mailbox.
type knownSettings struct {
	found, enabled bool
	filter         Filter
	quota          int64
	whenFull       WhenFull
}

// verdict returns what is known of a line to m before it is judged.
func (k knownSettings) verdict(m Address) Verdict {
	return Verdict{Mailbox: m.name(), Enabled: k.enabled, Quota: k.quota, WhenFull: k.whenFull}
}

func (p *Policy) reading(ctx context.Context) *reading {
	return &reading{policy: p, rules: p.rules(), ctx: ctx, known: make(map[Address]knownSettings)}
}

// mailboxOf returns the mailbox in which a path ends, and what is known of it. The zero Address stands for none.
func (r *reading) mailboxOf(path string) (Address, knownSettings, error) {
	a, err := ParseAddress(path)
	if err != nil {
		return Address{}, knownSettings{}, nil
	}
	return r.resolve(a)
}

// resolve returns the mailbox of an address.
func (r *reading) resolve(a Address) (Address, knownSettings, error) {
	return resolve(a, r.rules.delimiter(a.Domain), r.lookup)
}

// resolve returns the mailbox of an address: the address itself if it was set up as one, enabled or not, and otherwise the
// address without its extension.
func resolve(a Address, delimiter string, lookup func(Address) (knownSettings, error)) (m Address, known knownSettings, err error) {
	exact, err := lookup(a)
	if err != nil || exact.found {
		return a, exact, err
	}
	base, ok := a.WithoutExtension(delimiter)
	if !ok {
		return a, knownSettings{}, nil
	}
	stripped, err := lookup(base)
	return base, stripped, err
}

func (r *reading) lookup(a Address) (knownSettings, error) {
	if k, ok := r.known[a]; ok {
		return k, nil
	}
	s, found, err := r.policy.load(r.ctx, a)
	if err != nil {
		return knownSettings{}, err
	}
	k := knownSettings{found: found, enabled: s.Enabled, filter: s.Filter, quota: s.Quota, whenFull: s.WhenFull}
	r.known[a] = k
	return k, nil
}

// name returns the canonical name of a mailbox, and the empty string for none.
func (a Address) name() string {
	if a == (Address{}) {
		return ""
	}
	return a.String()
}
