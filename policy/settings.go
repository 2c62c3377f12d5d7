package policy

import (
	"fmt"
	"iter"
	"strings"
	"time"
)

// Settings are those of one mailbox. They are a value: two are equal when all settings are.
//
// The settings of a mailbox that was never set up are what it would get by Enable: the defaults of the program with those of its
// domain on top. Both are copied when the mailbox is set up, by the first Enable, Set or Hold, and a later change of the
// configuration touches it no more: nobody's retention gets shorter because a file was edited.
type Settings struct {
	Enabled bool // mail is archived
	// Since is when the archive was turned on, in UTC. It stays while the archive is closing, so that taking that back changes nothing, and
	// is zero where there is no archive.
	Since        time.Time
	Filter       Filter    // which messages are archived
	Write        bool      // messages may be moved and deleted in the archive, folders never
	ManualDelete bool      // the owner may delete messages by hand
	IMAP         bool      // the archive can be reached with a mail program
	Retention    int       // months from arrival: 6, 12, 18, 24, 30, 36, 42 or 48; 0 keeps everything
	Quota        int64     // bytes of messages, at least 1
	WhenFull     WhenFull  // what becomes of mail when the quota is used up
	Protocols    Protocols // which protocols the mailbox itself may use
	Notify       Address   // where notices go; zero for nowhere
	NotifyOn     Events    // what there are notices of; it counts where Notify is set
	Language     Language  // of notices and pages
	Hold         Hold      // the legal hold
	Erasure      Erasure   // how far the erasure of the archive is
}

// DefaultQuota is the quota of a mailbox in bytes, where its domain has no other default.
const DefaultQuota = 1_000_000_000

// programDefaults are the settings that hold where nothing was ever set. Stored settings without a field count on these values, so
// they never change within one version of the stored form.
func programDefaults() Settings {
	return Settings{
		Filter: FilterAll, Quota: DefaultQuota, WhenFull: WhenFullSkip, Protocols: ProtocolIMAP | ProtocolPOP3 | ProtocolSMTP,
		NotifyOn: NotifyFull | NotifyGap | NotifyRetention, Language: Italian,
	}
}

// Group is a kind of received message that a filter tells apart. Every class of message belongs to one.
type Group string

// The groups of received messages.
const (
	GroupCertified  Group = "certified"
	GroupOther      Group = "other" // whatever is in no other group
	GroupAcceptance Group = "acceptance"
	GroupDelivery   Group = "delivery" // failures included
)

// SentTo says to whom a sent message goes.
type SentTo string

// The kinds of recipients of a sent message.
const (
	SentToCertified SentTo = "certified" // at least one recipient is certified
	SentToOther     SentTo = "other"     // no recipient is
	SentToUnknown   SentTo = "unknown"   // none is known to be, and of one it is not known
)

// Filter is the set of messages that are archived.
type Filter uint8

// The members of a filter.
const (
	FilterCertified Filter = 1 << iota
	FilterOther
	FilterAcceptance
	FilterDelivery
	FilterSentCertified
	FilterSentOther

	FilterAll = 1<<iota - 1
)

// filterNames are the members in the order of their bits.
const filterNames = "certified,other,acceptance,delivery,sent-certified,sent-other"

// String returns the filter as it is set: "all", or the names of its members with commas.
func (f Filter) String() string {
	if f == FilterAll {
		return "all"
	}
	return setText(uint8(f), filterNames)
}

// Wants says whether a received message of that group is archived. The empty group is GroupOther. A group that this version does not
// know is archived: in doubt nothing is left out.
func (s Settings) Wants(g Group) bool { return s.Filter.wants(g) }

func (f Filter) wants(g Group) bool {
	switch g {
	case GroupCertified:
		return f&FilterCertified != 0
	case GroupOther, "":
		return f&FilterOther != 0
	case GroupAcceptance:
		return f&FilterAcceptance != 0
	case GroupDelivery:
		return f&FilterDelivery != 0
	}
	return true
}

// WantsSent says whether a sent message to those recipients is archived, and whether that is sure. It is not where the filter
// wants one of the two kinds, and the kind is not known: the message is archived then.
func (s Settings) WantsSent(to SentTo) (wanted, sure bool) { return s.Filter.wantsSent(to) }

func (f Filter) wantsSent(to SentTo) (wanted, sure bool) {
	certified, other := f&FilterSentCertified != 0, f&FilterSentOther != 0
	switch {
	case certified == other:
		return certified, true
	case to == SentToCertified:
		return certified, true
	case to == SentToOther:
		return other, true
	}
	return true, false
}

// WhenFull is what becomes of mail for an archive whose quota is used up.
type WhenFull string

// The values of WhenFull.
const (
	WhenFullSkip     WhenFull = "skip"      // it is delivered without being archived, and a gap is on record
	WhenFullDefer    WhenFull = "defer"     // it waits at the MTA
	WhenFullMakeRoom WhenFull = "make-room" // the oldest messages are dropped for it
)

// Protocols is the set of protocols that the mailbox itself, not its archive, may use. The empty set leaves it to webmail.
type Protocols uint8

// The members of Protocols.
const (
	ProtocolIMAP Protocols = 1 << iota
	ProtocolPOP3
	ProtocolSMTP
)

// protocolNames are the members in the order of their bits.
const protocolNames = "imap,pop3,smtp"

// String returns the set as it is set: "none", or the names of its members with commas.
func (p Protocols) String() string { return setText(uint8(p), protocolNames) }

// Events is the set of events of which there are notices.
type Events uint8

// The members of Events.
const (
	NotifyCertified Events = 1 << iota // a certified message arrived
	NotifyFull                         // 75, 90 and 100 percent of the quota
	NotifyGap                          // a gap went on record: mail that should be in the archive is not, or no longer
	NotifyRetention                    // a retention run deleted messages
)

// eventNames are the members in the order of their bits.
const eventNames = "certified,full,gap,retention"

// String returns the set as it is set: "none", or the names of its members with commas.
func (e Events) String() string { return setText(uint8(e), eventNames) }

// setText writes the members of a set with commas, and "none" for the empty set. The members' names stand in the order of their bits.
func setText(set uint8, names string) string {
	var members []string
	for i, name := range strings.Split(names, ",") {
		if set&(1<<i) != 0 {
			members = append(members, name)
		}
	}
	if members == nil {
		return "none"
	}
	return strings.Join(members, ",")
}

// Language is the language in which an owner is spoken to.
type Language string

// The languages.
const (
	Italian Language = "it"
	English Language = "en"
)

// Size is a number of bytes for people, as "3.5 MB", or in Italian "3,5 MB": with one decimal, in the largest unit up to TB that leaves a
// number of at least one.
func (l Language) Size(bytes uint64) string {
	const unit = 1000
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, prefix := float64(bytes)/unit, 0
	for value >= unit && prefix < 3 {
		value /= unit
		prefix++
	}
	s := fmt.Sprintf("%.1f %cB", value, "kMGT"[prefix])
	if l == Italian {
		s = strings.Replace(s, ".", ",", 1)
	}
	return s
}

// Hold is a legal hold: while it stands, nothing of the mailbox is deleted or erased, and its archive cannot be disabled. The zero value
// is none.
type Hold struct {
	Reason string    // never empty in a hold that stands
	Who    string    // who placed it, or gave it this reason
	Since  time.Time // when that was, in UTC
}

// Held says that a legal hold stands.
func (s Settings) Held() bool { return s.Hold.Reason != "" }

// String returns "off", or "on: " and the reason.
func (h Hold) String() string {
	if h.Reason == "" {
		return "off"
	}
	return "on: " + h.Reason
}

// ErasureState is how far the erasure of an archive is.
type ErasureState string

// The states of an erasure, in the order in which they follow each other.
const (
	ErasureNone    ErasureState = ""        // nothing is to be erased
	ErasureDue     ErasureState = "due"     // the archive is closed and will be erased; that can be taken back
	ErasureRunning ErasureState = "running" // it is being erased; that cannot be taken back
	ErasureDone    ErasureState = "done"    // nothing is left of it
)

// Erasure is the erasure of a disabled archive.
type Erasure struct {
	State ErasureState
	At    time.Time // when it may begin, in UTC; of ErasureDue only
}

// String returns "none", "due " and the time, "running" or "done".
func (e Erasure) String() string {
	switch e.State {
	case ErasureNone:
		return "none"
	case ErasureDue:
		return "due " + e.At.Format(time.RFC3339Nano)
	}
	return string(e.State)
}

// Values yields each setting with its value as text, in a fixed order: those that Set changes have the form that Set takes, and
// "archive", "hold" and "erasure" that of the change log.
func (s Settings) Values() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for key := range strings.SplitSeq(valueKeys, ",") {
			if !yield(key, s.value(key)) {
				return
			}
		}
	}
}
