package pages

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

func domainLogRoutes() []Route {
	return []Route{
		{Pattern: "GET /domain/{domain}/log", For: OfDomain, serve: (*visit).showDomainLog},
		{Pattern: "GET /domain/{domain}/access", For: OfDomain, serve: (*visit).showDomainAccess},
		{Pattern: "GET /domain/{domain}/mailboxes/{mailbox}/why", For: OfDomain, Right: archive.RightLook, serve: (*visit).showWhy},
	}
}

// domainLogPage is a page of the log of all mailboxes of a domain, or of who signed in to them.
type domainLogPage struct {
	Domain      string
	Filter      logFilter
	Keys        []choice
	Rows        []domainLogRow
	Next, First string // paths of pages; empty where there are none
	Trouble     string // what is wrong with the days
}

// logFilter is what was typed to filter a log. The days are in the reader's zone, and both count.
type logFilter struct{ Mailbox, Who, Key, From, To string }

// domainLogRow is one change or sign-in in words.
type domainLogRow struct {
	Mailbox string
	logRow
	Until    time.Time // of several sign-ins that are alike
	Count    uint64
	Protocol string
	Address  string
	Failed   bool
}

func (v *visit) logFilter() (f logFilter, q archive.DomainLogQuery, trouble string) {
	get := func(name string) string { return strings.TrimSpace(v.URL.Query().Get(name)) }
	f = logFilter{get("mailbox"), get("who"), get("key"), get("from"), get("to")}
	q = archive.DomainLogQuery{Mailbox: f.Mailbox, Who: f.Who, Key: f.Key, After: get("after"), Limit: logRows}
	var err error
	if f.From != "" {
		if q.From, err = time.ParseInLocation(time.DateOnly, f.From, v.zone); err != nil {
			trouble = v.dayTrouble()
		}
	}
	if f.To != "" {
		if q.Until, err = time.ParseInLocation(time.DateOnly, f.To, v.zone); err != nil {
			trouble = v.dayTrouble()
		}
		q.Until = q.Until.AddDate(0, 0, 1)
	}
	return f, q, trouble
}

func (v *visit) dayTrouble() string {
	return v.t("Scrivere un giorno, come %s.", "Type a day, such as %s.", time.Now().Format(time.DateOnly))
}

// page begins the page of a log, with the paths to those around it.
func (f logFilter) page(domain, path, next string, later bool) domainLogPage {
	values := make(url.Values)
	for name, value := range map[string]string{"mailbox": f.Mailbox, "who": f.Who, "key": f.Key, "from": f.From, "to": f.To} {
		if value != "" {
			values.Set(name, value)
		}
	}
	p := domainLogPage{Domain: domain, Filter: f}
	if later {
		p.First = path + "?" + values.Encode()
	}
	if next != "" {
		values.Set("after", next)
		p.Next = path + "?" + values.Encode()
	}
	return p
}

// showDomainLog shows who changed what in all mailboxes of the domain.
func (v *visit) showDomainLog() error {
	f, q, trouble := v.logFilter()
	var list []archive.Change
	var next string
	if trouble == "" {
		var err error
		if list, next, err = v.pages.options.Archive.DomainLog(v.Context(), v.who, v.domain, q); err != nil {
			return err
		}
	}
	p := f.page(v.domain, domainPath(v.domain, "log"), next, q.After != "")
	p.Trouble = trouble
	keys := append(policy.OwnerKeys(), policy.KeyHold, policy.KeyAddress, policy.KeyErasure, auth.KeyDelegate, auth.KeyAppPassword, auth.KeySecondFactor, journal.ActMove,
		journal.ActDelete, journal.ActUndelete, journal.ActGiveBack)
	for _, key := range keys {
		if key != policy.KeyPause {
			p.Keys = append(p.Keys, choice{Value: key, Label: v.changeText(key), Chosen: key == f.Key})
		}
	}
	for i := range list {
		p.Rows = append(p.Rows, domainLogRow{Mailbox: list[i].Mailbox, logRow: v.logRow(&list[i])})
	}
	return v.render(http.StatusOK, "domain-log.html", p)
}

// showDomainAccess shows who signed in to the mailboxes of the domain, and who failed to.
func (v *visit) showDomainAccess() error {
	f, q, trouble := v.logFilter()
	var list []archive.DomainAccess
	var next string
	if trouble == "" {
		var err error
		if list, next, err = v.pages.options.Archive.DomainAccesses(v.Context(), v.who, v.domain, q); err != nil {
			return err
		}
	}
	p := f.page(v.domain, domainPath(v.domain, "access"), next, q.After != "")
	p.Trouble = trouble
	for _, result := range []auth.Result{auth.ResultOK, auth.ResultDenied, auth.ResultSecondFactor, auth.ResultClosed, auth.ResultThrottled} {
		p.Keys = append(p.Keys, choice{Value: string(result), Label: v.signInText(result), Chosen: string(result) == f.Key})
	}
	for _, one := range list {
		p.Rows = append(p.Rows, domainLogRow{
			Mailbox: one.Mailbox, logRow: logRow{Time: one.Time, Who: one.Login, What: v.signInText(one.Result)}, Until: one.Until, Count: one.Count,
			Protocol: v.wayText(one.Access), Address: one.Address, Failed: one.Result != auth.ResultOK,
		})
	}
	return v.render(http.StatusOK, "domain-access.html", p)
}

// signInText says how a sign-in ended.
func (v *visit) signInText(result auth.Result) string {
	switch result {
	case auth.ResultOK:
		return v.t("riuscito", "succeeded")
	case auth.ResultDenied:
		return v.t("nome o password sbagliati", "wrong name or password")
	case auth.ResultSecondFactor:
		return v.t("secondo fattore mancante o sbagliato", "second factor missing or wrong")
	case auth.ResultClosed:
		return v.t("password giusta, ma accesso chiuso", "right password, but access closed")
	case auth.ResultThrottled:
		return v.t("troppi tentativi", "too many attempts")
	}
	return string(result)
}

// whyPage answers why a message is not in the archive.
type whyPage struct {
	Base     string
	ID, Day  string // as typed
	Asked    bool
	Trouble  string
	Verdicts []whyRow // newest first
	More     bool     // there are more than are shown
}

// whyRow is a verdict in words.
type whyRow struct {
	archive.Verdict
	Words string
	Good  bool // the archive has it
}

// whyRows is how many verdicts the page shows.
const whyRows = 200

// showWhy shows what was decided on a message, by its Message-ID, or on all messages of a day.
func (v *visit) showWhy() error {
	q := v.URL.Query()
	p := whyPage{Base: v.base(), ID: strings.TrimSpace(q.Get("id")), Day: strings.TrimSpace(q.Get("day"))}
	p.Asked = p.ID != "" || p.Day != ""
	list, err := v.verdicts(&p)
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b archive.Verdict) int { return b.Time.Compare(a.Time) })
	if len(list) > whyRows {
		list, p.More = list[:whyRows], true
	}
	for _, one := range list {
		good := one.Verdict == "journaled" || one.Verdict == "imported"
		p.Verdicts = append(p.Verdicts, whyRow{one, v.verdictText(&one), good})
	}
	return v.render(http.StatusOK, "why.html", p)
}

// verdicts returns what is asked for. What was typed and cannot be read is the trouble of the page.
func (v *visit) verdicts(p *whyPage) (list []archive.Verdict, err error) {
	switch {
	case p.ID != "":
		for one, err := range v.pages.options.Archive.Why(v.Context(), v.mailbox, p.ID) {
			if errors.Is(err, archive.ErrRequest) {
				p.Trouble = v.t("Questo non è un Message-ID: sta nell'intestazione del messaggio, come <abc@alpha.test>.",
					"That is no Message-ID: it stands in the header of the message, as <abc@alpha.test>.")
				return nil, nil
			}
			if errors.Is(err, journal.ErrDamaged) {
				continue
			}
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
		return list, nil
	case p.Day != "":
		day, err := time.ParseInLocation(time.DateOnly, p.Day, v.zone)
		if err != nil {
			p.Trouble = v.dayTrouble()
			return nil, nil
		}
		return v.pages.options.Archive.WhyOn(v.Context(), v.mailbox, day, day.AddDate(0, 0, 1))
	}
	return nil, nil
}

// verdictText returns a verdict in words.
func (v *visit) verdictText(one *archive.Verdict) string {
	switch one.Verdict {
	case "journaled":
		if one.State == journal.Deferred.String() {
			return v.t("è nell'archivio; la casella non l'ha ancora preso, e il server riprova", "it is in the archive; the mailbox has not taken it yet, and the server tries again")
		}
		return v.t("è nell'archivio", "it is in the archive")
	case "imported":
		return v.t("è nell'archivio, inserito a mano", "it is in the archive, put in by hand")
	case "renamed":
		return v.t("l'indirizzo della casella è cambiato", "the address of the mailbox has changed")
	}
	reason := policy.Labels(policy.VocabularyReasons).Label(one.Reason).In(v.language)
	if one.Verdict == "gap" {
		return v.t("manca nell'archivio: %s", "it is missing in the archive: %s", reason)
	}
	return v.t("non è nell'archivio: %s", "it is not in the archive: %s", reason)
}
