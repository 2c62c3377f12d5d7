package pages

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
	"copialettere/policy/pec/practice"
)

func practiceRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/practices", For: OfMailbox, Right: archive.RightRead, serve: (*visit).showPractices},
		{Pattern: "GET /mailbox/{mailbox}/practices/{uid}", For: OfMailbox, Right: archive.RightRead, serve: (*visit).showPractice},
	}
}

const (
	practicesOnPage = 25
	practiceSteps   = 8 // pages of messages that are looked through for one page of practices
	shownRecipients = 100
)

// practiceClasses are the classes of messages that belong to practices.
func practiceClasses() []string {
	return []string{string(pec.SentCertified), string(pec.Acceptance), string(pec.Delivery), string(pec.NonAccettazione), string(pec.PresaInCarico), string(pec.REM)}
}

// practicesPage is the list of practices, the last changed first.
type practicesPage struct {
	Rows  []practiceRow
	First string // path of the first page, on a later one
	Older string // path of the next page
}

// practiceRow is a practice in the list.
type practiceRow struct {
	Path, Subject string
	Time          time.Time // when it was sent, or the first receipt
	To            []string
	More          int // recipients that are not in To
	States        []stateCount
}

// stateCount is how many recipients have a state.
type stateCount struct {
	Kind  string // a class of the style sheet
	Icon  string
	Label policy.Label
	Count int
}

// showPractices lists the practices by their last message, the newest first. A practice stands where its last message does.
func (v *visit) showPractices() error {
	after, err := search.ParsePosition(v.FormValue("after"))
	if err != nil {
		return fmt.Errorf("%w: %w", archive.ErrRequest, err)
	}
	page := practicesPage{}
	if !after.IsZero() {
		page.First = v.path("practices")
	}
	reader, seen := v.reader(), make(map[string]bool)
	for range practiceSteps {
		found, err := v.pages.options.Search.Find(v.Context(), reader, search.Query{Classes: practiceClasses()}, after, practicesOnPage)
		if err != nil {
			return err
		}
		for _, e := range found.Entries {
			list, err := v.practicesOf(reader, e)
			if err != nil {
				return err
			}
			for _, p := range list {
				if key := p.Identifier + " " + p.Folder + " " + fmt.Sprint(p.UID); !seen[key] && isLast(p, e) {
					seen[key] = true
					page.Rows = append(page.Rows, v.practiceRow(p))
				}
			}
		}
		if after = found.Next; after.IsZero() || len(page.Rows) >= practicesOnPage {
			break
		}
	}
	if !after.IsZero() {
		page.Older = v.path("practices") + "?after=" + url.QueryEscape(after.String())
	}
	return v.render(http.StatusOK, "practices.html", page)
}

// countedPractices is among how many certified messages, the last that were sent, the first page counts those that wait.
const countedPractices = 50

// countWaiting counts, among the last certified messages that were sent, and within a month, those that wait for receipts.
func (v *visit) countWaiting() (n int, err error) {
	now, reader := time.Now(), v.reader()
	sent := search.Query{Classes: []string{string(pec.SentCertified)}, Since: now.AddDate(0, -1, 0)}
	found, err := v.pages.options.Search.Find(v.Context(), reader, sent, search.Position{}, countedPractices)
	if err != nil {
		return 0, err
	}
	for _, e := range found.Entries {
		list, err := v.practicesOf(reader, e)
		if err != nil {
			return 0, err
		}
		if slices.ContainsFunc(list, func(p *practice.Practice) bool { return waits(p, now) }) {
			n++
		}
	}
	return n, nil
}

// waits reports whether receipts of a practice are awaited. A mailbox that gets none at all waits for the first one for a day.
func waits(p *practice.Practice, now time.Time) bool {
	return (len(p.Receipts) > 0 || now.Sub(beginning(p)) < 24*time.Hour) &&
		slices.ContainsFunc(p.Recipients, func(o practice.Outcome) bool { return stateOf(&o).Kind == "warn" })
}

// practicesOf returns the practices that an entry belongs to.
func (v *visit) practicesOf(reader *archive.Reader, e *journal.Entry) (list []*practice.Practice, err error) {
	for _, chosen := range practice.Of(e) {
		found, err := reader.Practices(v.Context(), chosen, time.Now())
		if err != nil && !isGone(err) {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// isLast reports whether no message of a practice came after an entry.
func isLast(p *practice.Practice, e *journal.Entry) bool {
	later := func(at time.Time, folder string, uid uint32) bool {
		return cmp.Or(at.Compare(e.Time), cmp.Compare(folder, e.FolderName()), cmp.Compare(uid, e.UID)) > 0
	}
	return (p.Time == nil || !later(*p.Time, p.Folder, p.UID)) &&
		!slices.ContainsFunc(p.Receipts, func(r practice.Receipt) bool { return later(r.Time, r.Folder, r.UID) })
}

// practicePath returns the path of the page of a practice.
func (v *visit) practicePath(p *practice.Practice) string {
	query := url.Values{}
	if p.Folder != "" {
		query.Set("folder", p.Folder)
	} else {
		query.Set("identifier", p.Identifier)
	}
	return v.path("practices", strconv.FormatUint(uint64(p.UID), 10)) + "?" + query.Encode()
}

func (v *visit) practiceRow(p *practice.Practice) practiceRow {
	row := practiceRow{Path: v.practicePath(p), Subject: p.Subject, Time: beginning(p)}
	for _, r := range p.Recipients {
		if len(row.To) == 3 {
			row.More = len(p.Recipients) - 3
			break
		}
		row.To = append(row.To, r.Address)
	}
	for _, r := range p.Recipients {
		one := stateOf(&r)
		i := slices.IndexFunc(row.States, func(s stateCount) bool { return s.Label == one.Label })
		if i < 0 {
			i = len(row.States)
			row.States = append(row.States, one)
		}
		row.States[i].Count++
	}
	return row
}

// beginning returns when a practice began, as far as the archive knows.
func beginning(p *practice.Practice) (at time.Time) {
	if p.Time != nil {
		return *p.Time
	}
	for _, r := range p.Receipts {
		if at.IsZero() || r.Time.Before(at) {
			at = r.Time
		}
	}
	return at
}

// stateOf returns the state of one recipient in words, and how it looks.
func stateOf(o *practice.Outcome) stateCount {
	s := stateCount{Label: o.Status.Label()}
	switch o.Status {
	case pec.StatusDelivered:
		s.Kind, s.Icon = "good", "delivery"
	case pec.StatusFailed, pec.StatusRefused, pec.StatusLate24, pec.StatusUnnamedFailed:
		s.Kind, s.Icon = "bad", "failure"
	case pec.StatusAccepted:
		s.Icon = "acceptance"
		switch {
		case o.Waiting != "":
			s.Kind, s.Icon, s.Label = "warn", "clock", pec.Waiting(o.Waiting).Label()
		case o.Kind == pec.KindExternal:
			s.Label = policy.Label{Italian: "accettato; non ha la PEC, nessuna ricevuta di consegna", English: "accepted; no certified mail, no delivery receipt"}
		}
	default:
		s.Kind, s.Icon = "warn", "clock"
	}
	return s
}

// isGone reports whether an error says that something is not there any more.
func isGone(err error) bool { return err != nil && errors.Is(err, journal.ErrNotFound) }

// practicePage is what the page of a sent message shows: what became of it for each recipient.
type practicePage struct {
	Practices []practiceView
}

// practiceView is one practice.
type practiceView struct {
	*practice.Practice
	Began      time.Time
	Sent       string // path of the sent message; empty where it is not archived
	Bundle     string // path that answers with the evidence bundle
	Link       policy.Label
	Recipients []recipientView
	More       int // recipients that are not shown
	NotBelieve []receiptView
}

// recipientView is one recipient with its time line.
type recipientView struct {
	Address string
	State   stateCount
	Steps   []step
	Brief   policy.Label // of a brief receipt: how it compares with what was sent
	Matches bool
	Parts   []briefPart
}

// briefPart is a part of a brief receipt that differs from what was sent.
type briefPart struct {
	Name   string
	Result policy.Label
}

// step is one event of a time line.
type step struct {
	Time     time.Time
	Icon     string
	Text     policy.Label
	Detail   string
	Receipts []receiptView
	Proof    bool // the sentence about what a delivery proves belongs to it
}

// receiptView is a receipt that can be opened.
type receiptView struct {
	Path string
	practice.Receipt
}

// showPractice shows a sent message and what became of it.
func (v *visit) showPractice() error {
	chosen := practice.Chosen{Identifier: v.FormValue("identifier")}
	if chosen.Identifier == "" {
		folder, month, err := journal.ParseFolder(v.FormValue("folder"))
		if err != nil {
			return fmt.Errorf("%w: %w", errNoPage, err)
		}
		uid, err := strconv.ParseUint(v.PathValue("uid"), 10, 32)
		if err != nil || uid == 0 {
			return errNoPage
		}
		chosen.Sent = journal.Ref{Month: month, Folder: folder, UID: uint32(uid)}
	}
	list, err := v.reader().Practices(v.Context(), chosen, time.Now())
	if err != nil {
		return err
	}
	page := practicePage{}
	for _, p := range list {
		page.Practices = append(page.Practices, v.practiceView(p))
	}
	return v.render(http.StatusOK, "practice.html", page)
}

func (v *visit) practiceView(p *practice.Practice) practiceView {
	view := practiceView{Practice: p, Began: beginning(p), Link: p.LinkedBy.Label()}
	if p.Folder != "" {
		view.Sent = v.path("messages", p.Folder, strconv.FormatUint(uint64(p.UID), 10))
	}
	switch {
	case view.Sent != "":
		view.Bundle = view.Sent + "/bundle"
	case len(p.Receipts) > 0:
		view.Bundle = v.receiptView(p.Receipts[0]).Path + "/bundle"
	}
	for i := range p.Recipients {
		if i == shownRecipients {
			view.More = len(p.Recipients) - i
			break
		}
		view.Recipients = append(view.Recipients, v.recipientView(p, &p.Recipients[i]))
	}
	for _, r := range p.Receipts {
		if r.NotBelieved != "" {
			view.NotBelieve = append(view.NotBelieve, v.receiptView(r))
		}
	}
	return view
}

func (v *visit) receiptView(r practice.Receipt) receiptView {
	return receiptView{v.path("messages", r.Folder, strconv.FormatUint(uint64(r.UID), 10)), r}
}

// recipientView returns the time line of one recipient.
func (v *visit) recipientView(p *practice.Practice, o *practice.Outcome) recipientView {
	view := recipientView{Address: o.Address, State: stateOf(o), Brief: pec.HashResult(o.Brief).Label(), Matches: o.Brief == string(pec.HashMatch)}
	for _, b := range o.BriefParts {
		view.Parts = append(view.Parts, briefPart{cmp.Or(b.Name, b.Field, b.Part, b.ReceiptPart), pec.HashResult(b.Result).Label()})
	}
	add := func(at *time.Time, icon string, class pec.Class, text policy.Label, detail string) {
		if at == nil {
			return
		}
		view.Steps = append(view.Steps, step{Time: *at, Icon: icon, Text: text, Detail: detail, Receipts: v.receiptsFor(p, o.Address, class), Proof: class == pec.AvvenutaConsegna})
	}
	kind := ""
	if o.Receipt != "" {
		kind = v.t("ricevuta %s", "receipt %s", pec.ReceiptKindLabel(o.Receipt).In(v.language))
	}
	add(o.Accepted, "acceptance", pec.Accettazione, pec.StatusAccepted.Label(), "")
	add(o.Refused, "failure", pec.NonAccettazione, pec.StatusRefused.Label(), o.Reason)
	add(o.Late, "clock", pec.PreavvisoErroreConsegna, policy.Label{Italian: "avviso di ritardo", English: "notice of delay"}, "")
	add(o.Delivered, "delivery", pec.AvvenutaConsegna, pec.StatusDelivered.Label(), kind)
	reason := ""
	if o.Status == pec.StatusFailed {
		reason = o.Reason
	}
	add(o.Failed, "failure", pec.ErroreConsegna, pec.StatusFailed.Label(), reason)
	slices.SortStableFunc(view.Steps, func(a, b step) int { return a.Time.Compare(b.Time) })
	if p.Time != nil && !p.Imported {
		// The clock of a provider may be behind ours, and nothing comes before the message itself.
		sent := step{Time: *p.Time, Icon: "ordinary", Text: policy.Label{Italian: "inviato", English: "sent"}}
		view.Steps = slices.Insert(view.Steps, 0, sent)
	}
	return view
}

// receiptsFor returns the receipts of a class that are about a recipient, and count.
func (v *visit) receiptsFor(p *practice.Practice, address string, class pec.Class) (list []receiptView) {
	for _, r := range p.Receipts {
		about := len(r.Recipients) == 0 || slices.Contains(r.Recipients, address)
		if r.NotBelieved == "" && about && cmp.Or(r.Equivalent, r.Class) == string(class) && len(list) < 10 {
			list = append(list, v.receiptView(r))
		}
	}
	return list
}
