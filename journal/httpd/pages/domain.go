package pages

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
)

func domainRoutes() []Route {
	return []Route{
		{Pattern: "GET /domain/{domain}/{$}", For: OfDomain, serve: (*visit).showDomain},
		{Pattern: "POST /domain/{domain}/enable", For: OfDomain, serve: (*visit).enableAddress},
		{Pattern: "GET /domain/{domain}/several", For: OfDomain, serve: (*visit).askSeveral},
		{Pattern: "POST /domain/{domain}/several", For: OfDomain, serve: (*visit).changeSeveral},
	}
}

// domainRows is how many mailboxes a page lists.
const domainRows = 50

// domainList is what the list of the mailboxes of a domain shows.
type domainList struct {
	archive.DomainPage
	Domain  string
	Filter  domainFilter
	States  []choice // to filter by
	Acts    []choice // for the selected ones
	Next    string   // the path of the next page; empty at the end
	First   string   // the path of the first page, on every other one
	GapDays int
	Trouble string // what was wrong with the address to be enabled
	Typed   string // that address
}

// domainFilter is how the list is filtered and ordered, as the parameters have it.
type domainFilter struct {
	Text, State string
	BySize      bool
}

// choice is one of several things to choose.
type choice struct {
	Value, Label string
	Group        string
	Count        int
	Chosen       bool
}

// domainQuery reads the parameters of the list.
func (v *visit) domainQuery() archive.DomainQuery {
	q := v.URL.Query()
	state := q.Get("state")
	if !slices.Contains(archive.DomainStates(), state) {
		state = ""
	}
	return archive.DomainQuery{Text: q.Get("q"), State: state, BySize: q.Get("sort") == "size", After: q.Get("after"), Limit: domainRows}
}

// values returns the parameters of a filter.
func (f domainFilter) values() url.Values {
	q := make(url.Values)
	for name, value := range map[string]string{"q": f.Text, "state": f.State} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.BySize {
		q.Set("sort", "size")
	}
	return q
}

func (v *visit) showDomain() error { return v.renderDomain(http.StatusOK, "", "") }

// renderDomain answers with the list; trouble is what is wrong with an address that was typed.
func (v *visit) renderDomain(status int, trouble, typed string) error {
	q := v.domainQuery()
	page, err := v.pages.options.Archive.DomainMailboxes(v.Context(), v.who, v.domain, q)
	if err != nil {
		return err
	}
	f := domainFilter{q.Text, q.State, q.BySize}
	p := domainList{
		DomainPage: page, Domain: v.domain, Filter: f, Acts: v.severalActs(page.Totals.Limits), GapDays: archive.GapDays, Trouble: trouble, Typed: typed,
	}
	for _, state := range archive.DomainStates() {
		p.States = append(p.States, choice{Value: state, Label: v.stateName(state), Count: page.Totals.States[state], Chosen: state == q.State})
	}
	values := f.values()
	path := domainPath(v.domain)
	if page.Next != "" {
		next := f.values()
		next.Set("after", page.Next)
		p.Next = path + "?" + next.Encode()
	}
	if q.After != "" {
		p.First = path + "?" + values.Encode()
	}
	return v.render(status, "domain.html", p)
}

// stateName returns what a member of archive.DomainStates is called.
func (v *visit) stateName(state string) string {
	switch state {
	case archive.DomainClosing:
		return v.t("disattivato, si può ripristinare", "switched off, can be restored")
	case archive.DomainHeld:
		return v.t("con blocco legale", "under a legal hold")
	case archive.DomainFull:
		return v.t("pieno o quasi", "full or nearly so")
	case archive.DomainUntold:
		return v.t("senza indirizzo per gli avvisi", "without an address for notices")
	}
	return policy.Labels(policy.VocabularyStates).Label(state).In(v.language)
}

// enableAddress switches on the archive of any address of the domain.
func (v *visit) enableAddress() error {
	typed := strings.TrimSpace(v.PostFormValue("address"))
	full := typed
	if !strings.Contains(full, "@") {
		full += "@" + v.domain
	}
	address, err := policy.ParseAddress(full)
	switch {
	case err != nil || typed == "":
		return v.renderDomain(http.StatusUnprocessableEntity, v.t("Questo non è un indirizzo. Scriverlo per intero, come nome@%s.",
			"That is no address. Type it in full, as name@%s.", v.domain), typed)
	case address.Domain != v.domain:
		return v.renderDomain(http.StatusUnprocessableEntity, v.t("L'indirizzo non è del dominio %s.", "The address is not of the domain %s.", v.domain), typed)
	}
	if _, err := v.pages.options.Archive.Enable(v.Context(), v.who, address); errors.Is(err, policy.ErrLimit) {
		return v.renderDomain(http.StatusConflict, v.limitText(), typed)
	} else if err != nil {
		return err
	}
	v.redirect(domainPath(v.domain, "mailboxes", address.String(), ""), "enabled")
	return nil
}

// limitText says that a limit of the domain stands in the way.
func (v *visit) limitText() string {
	return v.t("Si supererebbe un limite del dominio: i limiti sono in cima all'elenco delle caselle, e li decide il gestore.",
		"A limit of the domain would be exceeded: the limits stand above the list of mailboxes, and the operator sets them.")
}

// actEnable is the act that switches archives on; all others set a setting, as KEY=VALUE.
const actEnable = "enable"

// actQuota sets the quota that is typed beside it.
const actQuota = policy.KeyQuota + "="

// severalActs returns what can be done to several mailboxes together.
func (v *visit) severalActs(limits policy.Limits) []choice {
	label := policy.Labels(policy.VocabularySettings)
	name := func(key string) string { return label.Label(key).In(v.language) }
	list := []choice{{Value: actEnable, Label: v.t("Attiva l'archivio", "Switch the archive on")},
		{Value: actQuota, Label: v.t("Spazio: quello scritto accanto", "Room: as typed beside this")}}
	add := func(key string, values ...string) {
		for _, value := range values {
			list = append(list, choice{Value: key + "=" + value, Label: policy.ValueLabel(key, value).In(v.language), Group: name(key)})
		}
	}
	months := []string{"none"}
	if limits.Retention > 0 {
		months = nil
	}
	for n := 6; n <= 48; n += 6 {
		if limits.Retention == 0 || n <= limits.Retention {
			months = append(months, fmt.Sprint(n))
		}
	}
	add(policy.KeyFilter, policy.Labels(policy.VocabularyPresets).Names()...)
	add(policy.KeyIMAP, "on", "off")
	add(policy.KeyWrite, "on", "off")
	add(policy.KeyManualDelete, "on", "off")
	add(policy.KeyAppend, "on", "off")
	add(policy.KeyRetention, months...)
	add(policy.KeyWhenFull, policy.Labels(policy.VocabularyWhenFull).Names()...)
	add(policy.KeyLanguage, policy.Labels(policy.VocabularyLanguages).Names()...)
	return list
}

// several is a change of several mailboxes together.
type several struct {
	Act, Quota string
	All        bool // all that the filter finds, and not the selected ones
	Filter     domainFilter
	Mailboxes  []string

	provision archive.Provision
	key       string // of the setting
	value     string
}

// readSeveral reads what is to be done to which mailboxes.
func (v *visit) readSeveral() (several, error) {
	if err := v.ParseForm(); err != nil {
		return several{}, complain(http.StatusBadRequest, "Il modulo inviato non si può leggere. Tornare indietro e riprovare.", "The form that was sent cannot be read. Go back and try again.")
	}
	f := v.Form
	s := several{Act: f.Get("act"), Quota: strings.ReplaceAll(strings.TrimSpace(f.Get("quota")), " ", ""), All: f.Get("all") == "yes", Mailboxes: f["mailbox"],
		Filter: domainFilter{f.Get("q"), f.Get("state"), f.Get("sort") == "size"}}
	limits := archive.DomainTotals{}.Limits
	if !slices.ContainsFunc(v.severalActs(limits), func(c choice) bool { return c.Value == s.Act }) {
		return several{}, complain(http.StatusBadRequest, "Scegliere che cosa fare delle caselle selezionate.", "Choose what to do with the selected mailboxes.")
	}
	if s.All {
		addresses, err := v.pages.options.Archive.DomainAddresses(v.Context(), v.who, v.domain, archive.DomainQuery{Text: s.Filter.Text, State: s.Filter.State})
		if err != nil {
			return several{}, err
		}
		s.Mailboxes = nil
		for _, address := range addresses {
			s.Mailboxes = append(s.Mailboxes, address.String())
		}
	}
	if len(s.Mailboxes) == 0 {
		return several{}, complain(http.StatusBadRequest, "Selezionare almeno una casella.", "Select one mailbox at least.")
	}
	s.provision = archive.Provision{Lines: strings.NewReader(strings.Join(s.Mailboxes, "\n")), Name: "selection", Domain: v.domain}
	if s.Act == actEnable {
		s.provision.Enable = true
		return s, nil
	}
	s.key, s.value, _ = strings.Cut(s.Act, "=")
	if s.Act == actQuota {
		s.value = s.Quota
		if _, err := policy.ParseQuota(s.value); err != nil {
			return several{}, complain(http.StatusBadRequest, "Lo spazio si scrive come un numero intero con l'unità, per esempio 5GB, oppure none per nessun limite.",
				"Write the room as a whole number with its unit, as 5GB, or none for no limit.")
		}
	}
	s.provision.Assignments = []policy.Assignment{{Key: s.key, Value: s.value}}
	return s, nil
}

// severalPage asks for the confirmation of a change of several mailboxes.
type severalPage struct {
	several
	loss
	Domain  string
	What    string // will be done
	Changed []string
	Same    int
	Refused []refusedMailbox
	Back    string
}

// refusedMailbox is a mailbox that a change is refused for, and why.
type refusedMailbox struct{ Mailbox, Why string }

// askSeveral says what a change would do, and asks for the confirmation.
func (v *visit) askSeveral() error {
	s, err := v.readSeveral()
	if err != nil {
		return err
	}
	p := severalPage{several: s, Domain: v.domain, What: v.severalText(s), Back: domainPath(v.domain) + "?" + s.Filter.values().Encode()}
	s.provision.DryRun = true
	for done, err := range v.pages.options.Archive.Provision(v.Context(), v.who, s.provision) {
		switch {
		case err != nil:
			if p.Refused, err = v.refusals(s, err); err != nil {
				return err
			}
		case done.Changed:
			p.Changed = append(p.Changed, done.Mailbox)
		default:
			p.Same++
		}
	}
	if len(p.Refused) == 0 {
		if p.loss, err = v.severalLoss(s, p.Changed); err != nil {
			return err
		}
	}
	return v.render(http.StatusOK, "several.html", p)
}

// severalText says what a change does.
func (v *visit) severalText(s several) string {
	if s.key == "" {
		return v.t("Attivare l'archivio", "Switch the archive on")
	}
	return policy.Labels(policy.VocabularySettings).Label(s.key).In(v.language) + ": " + policy.ValueLabel(s.key, s.value).In(v.language)
}

// refusals returns which mailboxes a change is refused for. If none is by itself, all together are over a limit.
func (v *visit) refusals(s several, all error) (list []refusedMailbox, err error) {
	for _, mailbox := range s.Mailboxes {
		one := s.provision
		one.Lines = strings.NewReader(mailbox)
		for _, err := range v.pages.options.Archive.Provision(v.Context(), v.who, one) {
			if err != nil {
				list = append(list, refusedMailbox{mailbox, v.why(err)})
			}
		}
		if err := v.Context().Err(); err != nil {
			return nil, err
		}
	}
	if list == nil {
		list = []refusedMailbox{{v.t("tutte insieme", "all together"), v.why(all)}}
	}
	return list, nil
}

// why says in one sentence why something was refused.
func (v *visit) why(err error) string {
	if errors.Is(err, policy.ErrLimit) {
		return v.limitText()
	}
	_, page := v.explain(err)
	return page.Title + ". " + page.Text
}

// previewFor is for how long several mailboxes are looked through for what a retention deletes.
const previewFor = 5 * time.Second

// severalLoss says what a change loses.
func (v *visit) severalLoss(s several, mailboxes []string) (lost loss, err error) {
	add := func(texts ...string) { lost.Warnings = append(lost.Warnings, texts...) }
	switch {
	case s.key == policy.KeyWhenFull && s.value == string(policy.WhenFullMakeRoom):
		add(v.t("Quando un archivio sarà pieno, ogni nuovo messaggio farà cancellare i più vecchi. Non si potranno recuperare.",
			"When an archive is full, each new message will have the oldest ones deleted. They cannot be brought back."), v.exportText())
	case s.key == policy.KeyWrite && s.value == "on":
		add(v.t("In un archivio in scrittura i messaggi si possono spostare e cancellare. Ogni atto resta nel registro.",
			"In a writable archive messages can be moved and deleted. Each act stays in the log."))
	case s.key == policy.KeyRetention && s.value != "none":
		var entries, bytes uint64
		looked, begun := 0, time.Now()
		for _, mailbox := range mailboxes {
			if time.Since(begun) > previewFor {
				break
			}
			address, err := policy.ParseMailbox(mailbox)
			if err != nil {
				return lost, err
			}
			preview, err := v.pages.options.Archive.PreviewRetention(v.Context(), address, s.value)
			if err != nil {
				return lost, err
			}
			looked++
			lost.addMonths(preview.Months)
			entries, bytes = entries+preview.Entries, bytes+preview.Bytes
		}
		text := v.t("Adesso non cancellerebbe nessun messaggio.", "At this moment it would delete no message.")
		if entries > 0 {
			text = v.t("Adesso cancellerebbe %s, %s in tutto. Non si potranno recuperare.", "At this moment it would delete %s, %s in all. They cannot be brought back.",
				v.amount(entries), sizeText(v.language, bytes))
		}
		if looked < len(mailboxes) {
			text += " " + v.t("Sono contate solo le prime %d caselle di %d.", "Only the first %d mailboxes of %d are counted.", looked, len(mailboxes))
		}
		add(text, v.exportText())
	}
	return lost, nil
}

// exportText says how messages can be kept before they are lost.
func (v *visit) exportText() string {
	return v.t("Prima, i messaggi li può scaricare solo chi li può leggere: il titolare, dalle pagine del suo archivio, mese per mese in un file ZIP. Conviene avvisarlo. Anche il gestore può esportarli tutti.",
		"Before that, only those who may read the messages can download them: the owner, on the pages of the archive, month by month as a ZIP file. Tell the owner. The operator can export them all, too.")
}

// changeSeveral makes a confirmed change.
func (v *visit) changeSeveral() error {
	s, err := v.readSeveral()
	if err != nil {
		return err
	}
	for _, err := range v.pages.options.Archive.Provision(v.Context(), v.who, s.provision) {
		if errors.Is(err, policy.ErrLimit) {
			return &complaint{http.StatusConflict, policy.Label{Italian: v.limitText(), English: v.limitText()}, err}
		}
		if err != nil {
			return err
		}
	}
	path := domainPath(v.domain)
	if q := s.Filter.values().Encode(); q != "" {
		path += "?" + q
	}
	v.redirect(path, "changed")
	return nil
}
