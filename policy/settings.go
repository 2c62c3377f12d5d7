package policy

import (
	"fmt"
	"iter"
	"strings"
	"time"
)

// Settings are the settings of one mailbox. Compare them with ==: they are equal when all settings are.
//
// A mailbox that was never set up has the settings that Enable would give it: the defaults of the program, overridden by those of its
// domain. The first Enable, Set or Hold copies them. Later changes of the configuration do not affect the mailbox: nobody's retention gets
// shorter because somebody edited a file.
type Settings struct {
	Enabled bool // mail is archived
	// Since is when the archive was turned on, in UTC; zero without an archive. It stays over a pause, and while the archive is closing, so
	// Resume and Restore change nothing.
	Since time.Time
	// Paused is when the archive was paused, in UTC; zero where it is not. It stays while a paused archive is closing: Restore gives the pause
	// back.
	Paused       time.Time
	Filter       Filter    // which messages are archived
	Write        bool      // messages may be moved and deleted in the archive, folders never
	ManualDelete bool      // the owner may delete messages by hand
	Append       bool      // older mail may be put into the archive by hand
	IMAP         bool      // the archive can be reached with a mail program
	Layout       Layout    // how mail programs show the folders of the archive
	Retention    int       // months from arrival: 6, 12, 18, 24, 30, 36, 42 or 48; 0 keeps everything
	Quota        int64     // bytes of messages; 0 for no limit
	WhenFull     WhenFull  // what happens to mail when the quota is used up
	Protocols    Protocols // which protocols the live mailbox may use
	Notify       Address   // where notices go; zero for nowhere. A new address is in NotifyPending until it is confirmed
	NotifyOn     Events    // which events cause notices; counts only with Notify
	Language     Language  // of notices and pages
	Hold         Hold      // the legal hold
	Erasure      Erasure   // how far the erasure of the archive has come

	NotifyPending  Pending        // the address that is to follow Notify
	RetentionDelay RetentionDelay // what RetentionAt goes by at first
}

// State says whether an archive takes mail, and whether there is one.
type State string

// The states of an archive.
const (
	StateOff    State = "off"    // there is none, or it is closed
	StateOn     State = "on"     // it takes mail
	StatePaused State = "paused" // it takes no mail, and what is in it stays and can be read
	StateClosed State = "closed" // the mailbox was handed over: as StatePaused, for good; given by Mailbox.State only
)

// State returns the state of the archive.
func (s Settings) State() State {
	switch {
	case s.Enabled:
		return StateOn
	case !s.Paused.IsZero() && s.Erasure.State == ErasureNone:
		return StatePaused
	}
	return StateOff
}

// Tells reports whether the owner is told of such events: there is an archive, paused or not, and an address for its notices.
func (s Settings) Tells(e Events) bool {
	return s.State() != StateOff && s.Notify != Address{} && s.NotifyOn&e != 0
}

// DefaultQuota is the quota of a mailbox in bytes, where its domain has no other default.
const DefaultQuota = 1_000_000_000

// programDefaults are the settings in force where nothing was ever set. Stored settings without a field rely on these values, so they never
// change within one version of the stored form.
func programDefaults() Settings {
	return Settings{
		Filter: FilterAll, Quota: DefaultQuota, WhenFull: WhenFullSkip, Protocols: ProtocolIMAP | ProtocolPOP3 | ProtocolSMTP,
		NotifyOn: NotifyFull | NotifyGap | NotifyRetention, Language: Italian, Layout: LayoutMonth,
	}
}

// Group is a kind of received message that a filter tells apart. Every class of message belongs to one.
type Group string

// The groups of received messages.
const (
	GroupCertified  Group = "certified"
	GroupOther      Group = "other" // everything in no other group
	GroupAcceptance Group = "acceptance"
	GroupDelivery   Group = "delivery" // failures included
)

// SentTo says to whom a sent message goes.
type SentTo string

// The kinds of recipients of a sent message.
const (
	SentToCertified SentTo = "certified" // at least one recipient is certified
	SentToOther     SentTo = "other"     // every recipient is known not to be certified
	SentToUnknown   SentTo = "unknown"   // no recipient is known to be certified, and at least one is unknown
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

// String returns the filter in the form that Set takes: "all", or the names of its members with commas.
func (f Filter) String() string {
	if f == FilterAll {
		return "all"
	}
	return setText(uint8(f), filterNames)
}

// Wants says whether a received message of that group is archived. The empty group is GroupOther. Messages of a group unknown to this version
// are archived: in doubt nothing is left out.
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

// WantsSent says whether a sent message to those recipients is archived, and whether that is certain. It is uncertain if the filter wants one
// of the two kinds and the kind is unknown; the message is then archived.
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

// WhenFull is what happens to mail for an archive whose quota is used up.
type WhenFull string

// The values of WhenFull.
const (
	WhenFullSkip     WhenFull = "skip"      // deliver without archiving, and record a gap
	WhenFullDefer    WhenFull = "defer"     // let it wait at the MTA
	WhenFullMakeRoom WhenFull = "make-room" // drop the oldest messages for it
)

// Protocols is the set of protocols that the live mailbox, not its archive, may use. The empty set leaves only webmail.
type Protocols uint8

// The members of Protocols.
const (
	ProtocolIMAP Protocols = 1 << iota
	ProtocolPOP3
	ProtocolSMTP
)

// protocolNames are the members in the order of their bits.
const protocolNames = "imap,pop3,smtp"

// String returns the set in the form that Set takes: "none", or the names of its members with commas.
func (p Protocols) String() string { return setText(uint8(p), protocolNames) }

// Events is the set of events that cause notices.
type Events uint8

// The members of Events.
const (
	NotifyCertified   Events = 1 << iota // a certified message arrived
	NotifyFull                           // 75, 90 and 100 percent of the quota
	NotifyGap                            // a gap went on record: mail that should be in the archive is not, or no longer is
	NotifyRetention                      // a retention run deleted messages
	NotifyMailboxFull                    // the live mailbox, not its archive, is full or nearly so
	NotifyBeforeLoss                     // messages are going to be lost to the archive by an act or a setting
	NotifySecurity                       // who may open the archive, or where its notices go, has changed
)

// eventNames are the members in the order of their bits.
const eventNames = "certified,full,gap,retention,mailbox-full,before-loss,security"

// String returns the set in the form that Set takes: "none", or the names of its members with commas.
func (e Events) String() string { return setText(uint8(e), eventNames) }

// setText writes the members of a set with commas; "none" for the empty set. The names are in the order of the bits.
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

// Layout is how mail programs show the folders of an archive.
type Layout string

// The layouts.
const (
	LayoutMonth Layout = "month" // what was received and what was sent, each by month
	LayoutType  Layout = "type"  // by year, by month, and by the class of messages as filters have it
)

// Language is the language of everything that an owner sees.
type Language string

// The languages.
const (
	Italian Language = "it"
	English Language = "en"
)

// Size writes a number of bytes for people, as "3.5 MB", in Italian "3,5 MB": with one decimal, in the largest unit up to TB that leaves a
// number of at least one. Below 1 kB it has no decimal.
func (l Language) Size(bytes uint64) string {
	const unit = 1000
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, prefix := float64(bytes)/unit, 0
	for value >= unit-0.05 && prefix < 3 { // what would be written as 1000.0
		value /= unit
		prefix++
	}
	s := fmt.Sprintf("%.1f %cB", value, "kMGT"[prefix])
	if l == Italian {
		s = strings.Replace(s, ".", ",", 1)
	}
	return s
}

// Hold is a legal hold. While it stands, nothing of the mailbox is deleted or erased, and its archive cannot be disabled. The zero value
// means no hold.
type Hold struct {
	Reason string    // never empty while the hold stands
	Who    string    // who placed it, or gave it this reason
	Since  time.Time // when that was, in UTC
}

// Held reports whether a legal hold stands.
func (s Settings) Held() bool { return s.Hold.Reason != "" }

// String returns "off", or "on: " and the reason.
func (h Hold) String() string {
	if h.Reason == "" {
		return "off"
	}
	return "on: " + h.Reason
}

// ErasureState says how far the erasure of an archive has come.
type ErasureState string

// The states of an erasure, in the order in which they follow each other.
const (
	ErasureNone    ErasureState = ""        // nothing is to be erased
	ErasureDue     ErasureState = "due"     // the archive is closed and will be erased; Restore still takes that back
	ErasureRunning ErasureState = "running" // the archive is being erased; that cannot be taken back
	ErasureDone    ErasureState = "done"    // nothing is left of the archive
)

// Erasure is the erasure of a disabled archive.
type Erasure struct {
	State ErasureState
	At    time.Time // when it may begin, in UTC; with ErasureDue only
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

// Values yields each setting with its value as text, in a fixed order; "notify_pending" and "retention_delay" only where there is one. Settings that Set changes have the form that Set takes; "archive",
// "hold" and "erasure" have the form of the change log.
func (s Settings) Values() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for key := range strings.SplitSeq(valueKeys, ",") {
			value := s.value(key)
			if value == "none" && (key == KeyNotifyPending || key == KeyRetentionDelay) {
				continue
			}
			if !yield(key, value) {
				return
			}
		}
	}
}
