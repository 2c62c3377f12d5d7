package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/mail"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// The kinds of what can be held of a person.
const (
	PrivacyMailbox    = "mailbox"    // the settings of the mailbox
	PrivacyHold       = "hold"       // the legal hold on it
	PrivacyChanges    = "changes"    // the changes of its settings
	PrivacyEntries    = "entries"    // the messages in its archive
	PrivacyDeleted    = "deleted"    // messages that were deleted and can still be brought back
	PrivacyExports    = "exports"    // ZIPs of its messages that the daemon has written, and writes, in the background
	PrivacySuperseded = "superseded" // messages of which the MTA sent a newer copy
	PrivacyActs       = "acts"       // what was done with its messages
	PrivacySkips      = "skips"      // messages that were left out
	PrivacyGaps       = "gaps"       // times and messages that are missing
	PrivacyLogins     = "logins"     // who signed in to its archive, and who failed to
	PrivacySessions   = "sessions"   // browsers in which somebody has signed in by the address
	PrivacyPrograms   = "programs"   // app passwords by which programs sign in to it
	PrivacyFactor     = "factor"     // the second factor of whoever signs in to it
	PrivacyDelegates  = "delegates"  // who may read it beside its owner
	PrivacyReads      = "reads"      // archives of others that the person may read
	PrivacyLinks      = "links"      // links by which a telephone sets itself up for it
	PrivacyNotices    = "notices"    // notices to its owner that wait
	PrivacyFormer     = "former"     // the address was that of an archive that has another address now
	PrivacyRecipient  = "recipient"  // what a receipt said of the address
	PrivacyNotified   = "notified"   // the notices of other mailboxes go to the address
	PrivacyLogged     = "logged"     // changes of other mailboxes that name the address
	PrivacyPostmaster = "postmaster" // the configuration names the address
	PrivacyOthers     = "others"     // messages and skips of other mailboxes that name the address
	PrivacyElsewhere  = "elsewhere"  // what this program does not know of
	maxMailboxes      = 100          // how many mailboxes one Holding names
	basisArchive      = "contract with the owner of the mailbox, or a legal duty or legitimate interest of who provides it (GDPR art. 6(1)(b), (c), (f)); the controller confirms which"
	basisRecords      = "accountability and security of the processing (GDPR art. 5(2), 6(1)(f), 32)"
	noEnd             = "no end: it stays as long as the data folder"
)

// Holding is one kind of what is held of a person, with what GDPR art. 15 asks for. Others script against its names.
type Holding struct {
	Kind   string     `json:"kind"`
	What   string     `json:"what"` // in words
	Count  uint64     `json:"count"`
	Bytes  uint64     `json:"bytes,omitempty"`
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	// Mailboxes are other mailboxes in which it is, up to 100.
	Mailboxes []string `json:"mailboxes,omitempty"`
	Detail    string   `json:"detail,omitempty"`
	Why       string   `json:"why"`   // for what purpose
	Basis     string   `json:"basis"` // the legal basis to be confirmed by the controller
	Until     string   `json:"until"` // in words
	Searched  bool     `json:"searched"`
	// PassedOver are the months that could not be read and are not in the counts.
	PassedOver []kv.Month `json:"passed_over,omitempty"`
}

// PrivacyRequest are the options of Privacy.
type PrivacyRequest struct {
	// Others has the messages, skips and gaps of all other mailboxes searched for the address, which reads all entries.
	Others bool
}

// Privacy yields what is held of a person by an address, whether or not it is a mailbox: first what belongs to its mailbox, then what names it
// elsewhere, last what was not searched. Of what is not held nothing is yielded. It needs RightOperate.
func (a *Archive) Privacy(ctx context.Context, who policy.Actor, address policy.Address, o PrivacyRequest) iter.Seq2[Holding, error] {
	return func(yield func(Holding, error) bool) {
		if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
			yield(Holding{}, err)
			return
		}
		person, err := a.policy.Person(ctx, address)
		if err != nil {
			yield(Holding{}, err)
			return
		}
		r := &privacy{a: a, ctx: ctx, address: address, person: person}
		for _, step := range []func() ([]Holding, error){
			r.mailbox, r.messages, r.records, r.logins, r.links, r.notices, r.former, r.named, func() ([]Holding, error) { return r.others(o.Others) },
		} {
			list, err := step()
			for _, h := range list {
				if h.Count == 0 && h.Searched {
					continue
				}
				if !yield(h, nil) {
					return
				}
			}
			if err != nil {
				yield(Holding{}, err)
				return
			}
		}
	}
}

// privacy is one report.
type privacy struct {
	a       *Archive
	ctx     context.Context
	address policy.Address
	person  policy.Person
}

// tally counts things with their times.
type tally struct {
	Holding
	passed journal.PassedOver
}

func (t *tally) add(at time.Time, bytes int64) {
	t.Count++
	t.Bytes += uint64(bytes)
	t.span(at)
}

func (t *tally) span(at time.Time) {
	if at = at.UTC(); at.IsZero() {
		return
	}
	if t.Oldest == nil || at.Before(*t.Oldest) {
		t.Oldest = &at
	}
	if t.Newest == nil || at.After(*t.Newest) {
		t.Newest = &at
	}
}

// misses reports whether an error costs only a month or an item, and notes a month.
func (t *tally) misses(err error) bool {
	if t.passed.Add(err) {
		t.PassedOver = t.passed.Months()
		return true
	}
	return errors.Is(err, journal.ErrDamaged)
}

func newTally(kind, what, why, basis, until string) *tally {
	return &tally{Holding: Holding{Kind: kind, What: what, Why: why, Basis: basis, Until: until, Searched: true}}
}

// collect counts what a source yields.
func collect[T any](t *tally, source iter.Seq2[T, error], of func(T) (at time.Time, bytes int64)) error {
	for v, err := range source {
		if err != nil {
			if !t.misses(err) {
				return err
			}
			continue
		}
		t.add(of(v))
	}
	return nil
}

// mailbox tells of the settings.
func (r *privacy) mailbox() ([]Holding, error) {
	if !r.person.SetUp {
		return nil, nil
	}
	s := r.person.Mailbox.Settings
	settings := newTally(PrivacyMailbox, "the settings of the mailbox", "to decide which mail is archived, and for how long", basisArchive,
		noEnd+", also after the archive was erased")
	settings.add(s.Since, 0)
	var values []string
	for key, value := range s.Values() {
		values = append(values, key+"="+value)
	}
	settings.Detail = strings.Join(values, " ")
	hold := newTally(PrivacyHold, "the legal hold on the mailbox", "to keep evidence", "a legal duty, or legal claims (GDPR art. 6(1)(c), (f), 17(3)(e))", "it is lifted")
	if s.Held() {
		hold.add(s.Hold.Since, 0)
		hold.Detail = s.Hold.Reason + ", by " + s.Hold.Who
	}
	changes := newTally(PrivacyChanges, "who changed which of its settings", "to show who decided what is archived", basisRecords,
		r.keptFor()+"; those that turn the archive on or off, or change its address, stay without the name of their author")
	err := collect(changes, r.a.policy.Changes(r.ctx, r.address), func(c policy.Change) (time.Time, int64) { return c.Time, 0 })
	return []Holding{settings.Holding, hold.Holding, changes.Holding}, err
}

// keptFor says how long what logs.keep is about is kept.
func (r *privacy) keptFor() string {
	until := fmt.Sprintf("%d months after each ([logs] keep)", r.a.options.KeepLogs)
	if r.person.Mailbox.Settings.Held() {
		until += ", but not while the legal hold stands"
	}
	return until
}

// messages tells of what is in the archive.
func (r *privacy) messages() ([]Holding, error) {
	const why = "the security archive of the mailbox: to find a message that was deleted or is in dispute"
	archive := r.person.Mailbox.Archive
	entries := newTally(PrivacyEntries, "messages in its archive, received and sent", why, basisArchive, "")
	err := collect(entries, r.a.journal.List(r.ctx, archive), func(e *journal.Entry) (time.Time, int64) { return e.Time, e.Size })
	entries.Until = r.entriesUntil(entries.Oldest, entries.Newest)
	if err != nil {
		return nil, err
	}
	deleted := newTally(PrivacyDeleted, "messages that were deleted by hand", "to bring back what was deleted by mistake", basisArchive,
		fmt.Sprintf("%d hours after the deletion of each", int(journal.DeletedGrace.Hours())))
	if err := collect(deleted, r.a.journal.Aside(r.ctx, archive), func(d *journal.Deleted) (time.Time, int64) { return d.Time, d.Size }); err != nil {
		return nil, err
	}
	exports := newTally(PrivacyExports, "exports of its messages: ZIPs, and requests for one", "to give the messages to those who may read them, who asked for them", basisArchive,
		"some days after each was written ([exports] keep), or it is removed, or the archive is switched off")
	if r.a.options.Exports != nil {
		for _, e := range r.a.options.Exports(archive) {
			exports.add(e.Asked, e.Size)
		}
	}
	superseded := newTally(PrivacySuperseded, "copies of messages of which the MTA sent a newer one", why, basisArchive, "as long as the messages of that time")
	err = collect(superseded, r.a.journal.Superseded(r.ctx, archive), func(e *journal.SupersededEntry) (time.Time, int64) { return e.Time, e.Size })
	return []Holding{entries.Holding, deleted.Holding, exports.Holding, superseded.Holding}, err
}

// entriesUntil says until when the entries of the mailbox are kept.
func (r *privacy) entriesUntil(oldest, newest *time.Time) string {
	s := r.person.Mailbox.Settings
	months := s.RetentionAt(time.Now())
	var until string
	switch {
	case s.Erasure.State == policy.ErasureDue:
		until = "the archive is erased, from " + s.Erasure.At.Format(time.DateOnly)
	case s.Erasure.State == policy.ErasureRunning:
		until = "the archive is being erased now"
	case months == 0:
		until = "no end: the mailbox has no retention now"
	case oldest == nil:
		until = fmt.Sprintf("%d months after the arrival of each", months)
	default:
		until = fmt.Sprintf("%d months after the arrival of each: from %s to %s", months,
			journal.AddMonths(*oldest, months).Format(time.DateOnly), journal.AddMonths(*newest, months).Format(time.DateOnly))
	}
	if s.Held() {
		until += "; not while the legal hold stands"
	}
	return until + "; a message under a hold of its own not before that is lifted"
}

// records tells of acts, skips and gaps.
func (r *privacy) records() ([]Holding, error) {
	archive := r.person.Mailbox.Archive
	acts := newTally(PrivacyActs, "what was done with its messages, and by whom", "to show who moved, deleted or held a message", basisRecords,
		"as long as the month of the message, and at least "+r.keptFor())
	if err := collect(acts, r.a.journal.Acts(r.ctx, archive), func(a *journal.Act) (time.Time, int64) { return a.Time, 0 }); err != nil {
		return nil, err
	}
	skips := newTally(PrivacySkips, "messages that are not in the archive, each with its addresses and Message-ID, and why",
		"to answer why a message is not in the archive", basisRecords+"; the time follows decision 364/2024 of the Italian authority",
		fmt.Sprintf("%s after each ([received] keep_skips)", inDays(r.a.options.KeepSkips)))
	gaps := newTally(PrivacyGaps, "times and messages that the archive lacks", "to show what the archive is incomplete of", basisRecords, noEnd)
	for record, err := range r.a.journal.Records(r.ctx, archive) {
		switch {
		case err != nil && gaps.misses(err):
			skips.PassedOver = gaps.PassedOver
		case err != nil:
			return nil, err
		case record.Mailbox == "": // of all mailboxes, and of nobody
		case record.Kind == journal.Skip:
			skips.add(record.Time, 0)
		default:
			gaps.add(record.Time, 0)
		}
	}
	return []Holding{acts.Holding, skips.Holding, gaps.Holding}, nil
}

// inDays writes a duration in days, or in hours where it is no number of days.
func inDays(d time.Duration) string {
	if hours := int(d.Hours()); hours%24 != 0 {
		return fmt.Sprintf("%d hours", hours)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// notices tells of notices to the owner.
func (r *privacy) notices() ([]Holding, error) {
	held, err := r.a.options.Notices.Held(r.ctx, r.person.Mailbox.Archive)
	if err != nil {
		return nil, err
	}
	notices := newTally(PrivacyNotices, "notices to its owner that wait to be sent, and what was told lately", "to tell the owner what happens to the archive",
		basisArchive, "3 days after each; what was told lately until the next notices replace it, or the archive is erased")
	notices.Count = held.Waiting
	notices.span(held.Oldest)
	notices.span(held.Newest)
	if held.Told {
		notices.Count++
	}
	return []Holding{notices.Holding}, nil
}

// former tells of an archive that the address once led to.
func (r *privacy) former() ([]Holding, error) {
	at, to, gone, err := r.a.policy.Gone(r.ctx, r.address)
	if err != nil || !gone {
		return nil, err
	}
	former := newTally(PrivacyFormer, "the address was that of an archive that has another address now", "to answer where mail to the address went",
		basisRecords, noEnd)
	former.add(at, 0)
	former.Mailboxes = []string{to.String()}
	former.Detail = "what is held of that archive is in the report of its address"
	return []Holding{former.Holding}, nil
}

// named tells what names the address without being about its mailbox.
func (r *privacy) named() ([]Holding, error) {
	p := r.person
	recipient := newTally(PrivacyRecipient, "whether mail to the address is certified", "to tell certified mail from other mail when some is sent to it",
		basisArchive, fmt.Sprintf("%d months after the newest receipt that told of it ([logs] keep)", r.a.options.KeepLogs))
	if !p.Receipt.IsZero() {
		recipient.add(p.Receipt, 0)
		recipient.Detail = fmt.Sprintf("certified: %t", p.Certified)
	}
	notified := newTally(PrivacyNotified, "the notices of other mailboxes go to the address", "to tell their owners what happens to the archive", basisArchive,
		"their owners name another address")
	notified.Count = uint64(len(p.Notified))
	notified.in(p.Notified)
	logged := newTally(PrivacyLogged, "changes of the settings of other mailboxes that name the address", "to show who decided what is archived", basisRecords, r.keptFor())
	logged.Count = p.Logged
	logged.in(p.LoggedIn)
	logged.span(p.Oldest)
	logged.span(p.Newest)
	postmaster := newTally(PrivacyPostmaster, "the configuration names the address as a postmaster", "to know who administers a domain", basisArchive,
		"it is taken out of the configuration")
	postmaster.Count = uint64(len(p.Postmaster))
	postmaster.Detail = strings.Join(p.Postmaster, " ")
	return []Holding{recipient.Holding, notified.Holding, logged.Holding, postmaster.Holding}, nil
}

// in names mailboxes.
func (t *tally) in(list []policy.Address) {
	for _, a := range list[:min(len(list), maxMailboxes)] {
		t.Mailboxes = append(t.Mailboxes, a.String())
	}
}

// others tells of the mail of other mailboxes, and of what nobody here knows.
func (r *privacy) others(search bool) ([]Holding, error) {
	elsewhere := newTally(PrivacyElsewhere, "log lines of the daemon and of the mail server, backups, the live mailbox and its password", "", "",
		"as whoever keeps them decides")
	elsewhere.Searched = false
	others := newTally(PrivacyOthers, "messages, skips and gaps of other mailboxes that name the address as sender or recipient",
		"the security archives of those other mailboxes", basisArchive, "as each of these mailboxes decides")
	if !search {
		others.Searched = false
		others.Detail = "ask for it: it reads the entries of all mailboxes. The text of messages is never searched"
		return []Holding{others.Holding, elsewhere.Holding}, nil
	}
	others.Detail = "by envelope and by the fields From and To; the text of messages is not searched"
	var in []policy.Address
	for m, err := range r.a.policy.Mailboxes(r.ctx) {
		if err != nil {
			return nil, err
		}
		if m.Archive == r.person.Mailbox.Archive {
			continue
		}
		before := others.Count
		if err := r.addOther(others, m); err != nil {
			return nil, err
		}
		if others.Count > before {
			in = append(in, m.Address)
		}
	}
	others.in(in)
	return []Holding{others.Holding, elsewhere.Holding}, nil
}

// addOther counts what another mailbox holds of the address.
func (r *privacy) addOther(others *tally, m policy.Mailbox) error {
	for e, err := range r.a.journal.List(r.ctx, m.Archive) {
		switch {
		case err != nil && !others.misses(err):
			return err
		case err == nil && r.names(append([]string{e.MailFrom, e.RcptTo, e.ORCPT}, e.Recipients...), e.From, e.To):
			others.add(e.Time, e.Size)
		}
	}
	for record, err := range r.a.journal.Records(r.ctx, m.Archive) {
		switch {
		case err != nil && !others.misses(err):
			return err
		case err == nil && record.Mailbox != "" && r.names([]string{record.MailFrom, record.RcptTo, record.ORCPT}):
			others.add(record.Time, 0)
		}
	}
	return nil
}

// names says whether one of the addresses of an envelope, or of header fields, is that of the person, with or without an extension.
func (r *privacy) names(envelope []string, fields ...string) bool {
	for _, text := range envelope {
		if _, after, ok := strings.Cut(text, ";"); ok { // of an ORCPT: rfc822;ADDRESS
			text = after
		}
		if r.is(text) {
			return true
		}
	}
	for _, field := range fields {
		list, err := mail.ParseAddressList(field)
		if err != nil {
			continue // a field that is malformed or was cut; the envelope counts
		}
		for _, one := range list {
			if r.is(one.Address) {
				return true
			}
		}
	}
	return false
}

func (r *privacy) is(text string) bool {
	a, err := policy.ParseAddress(text)
	return err == nil && (a == r.address || r.a.policy.WithoutExtension(a) == r.address)
}
