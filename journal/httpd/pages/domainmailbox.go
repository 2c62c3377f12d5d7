package pages

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/postfix"
)

// domainMailboxRoutes are about one mailbox, for its postmaster: pages of their own, and those of the owner that open no message. None of them shows one.
func domainMailboxRoutes() []Route {
	const one = "/domain/{domain}/mailboxes/{mailbox}"
	return append(underDomain(slices.Concat(settingsRoutes(), accessRoutes(), delegatesRoutes(), accountRoutes(), programsRoutes(), termsRoutes(), logRoutes())),
		Route{Pattern: "GET " + one + "/{$}", For: OfDomain, Right: archive.RightLook, serve: (*visit).showDomainMailbox},
		Route{Pattern: "POST " + one + "/hold", For: OfDomain, Right: archive.RightHold, serve: (*visit).hold},
		Route{Pattern: "POST " + one + "/release", For: OfDomain, Right: archive.RightHold, serve: (*visit).release},
		Route{Pattern: "POST " + one + "/second-factor/end", For: OfDomain, Right: archive.RightRevoke, serve: (*visit).endOthersSecondFactor},
		Route{Pattern: "GET " + one + "/address", For: OfDomain, Right: archive.RightAddress, serve: (*visit).askAddress},
		Route{Pattern: "POST " + one + "/rename", For: OfDomain, Right: archive.RightAddress, serve: (*visit).rename},
		Route{Pattern: "POST " + one + "/hand-over", For: OfDomain, Right: archive.RightAddress, serve: (*visit).handOver},
	)
}

// underDomain returns the routes about a mailbox that a postmaster has the right to, under the path of the domain.
func underDomain(routes []Route) (list []Route) {
	rights := []archive.Right{
		archive.RightLook, archive.RightSet, archive.RightArchive, archive.RightPause, archive.RightHold, archive.RightDelegate, archive.RightRevoke,
	}
	for _, route := range routes {
		if route.For == OfMailbox && slices.Contains(rights, route.Right) {
			route.Pattern = strings.Replace(route.Pattern, " /mailbox/", " /domain/{domain}/mailboxes/", 1)
			route.For = OfDomain
			list = append(list, route)
		}
	}
	return list
}

// domainMailboxPage is what a postmaster sees of a mailbox.
type domainMailboxPage struct {
	Mailbox     *archive.Mailbox
	Base        string
	State       string // of the archive, in a sentence
	Months      []monthBar
	Latest      archive.Latest
	Gaps        int
	GapDays     int
	Routes      []routeRow
	Reason      string // of a hold, as typed
	HoldTrouble string
	Settings    []settingField
}

// routeRow tells whether the mail of one direction passes through the hook.
type routeRow struct {
	Direction, Text string
	Good            bool
}

// May reports whether the reader has a right in the mailbox.
func (p *domainMailboxPage) May(right string) bool { return slices.Contains(p.Mailbox.May, right) }

// Factor reports whether the second factor of the owner is on.
func (p *domainMailboxPage) Factor() bool {
	return p.Mailbox.SecondFactor != nil && p.Mailbox.SecondFactor.On
}

func (v *visit) showDomainMailbox() error { return v.renderDomainMailbox(http.StatusOK, "", "") }

// renderDomainMailbox answers with a mailbox; trouble is what was wrong with the reason of a hold.
func (v *visit) renderDomainMailbox(status int, reason, trouble string) error {
	m, err := v.mailboxNow()
	if err != nil {
		return err
	}
	p := &domainMailboxPage{Mailbox: m, Base: v.base(), State: v.stateText(m), GapDays: archive.GapDays, Reason: reason, HoldTrouble: trouble}
	months, err := v.monthUsages()
	if err != nil {
		return err
	}
	var largest uint64
	for _, month := range months {
		largest = max(largest, month.Bytes)
	}
	for _, month := range slices.Backward(months) {
		if len(p.Months) == shownMonths {
			break
		}
		p.Months = append(p.Months, monthBar{string(month.Month), month.Entries, month.Bytes, 100 * float64(month.Bytes) / float64(max(largest, 1))})
	}
	if m.Moved == "" {
		p.Latest, err = v.pages.options.Archive.Latest(v.Context(), v.mailbox)
		if err != nil && !errors.As(err, new(journal.PassedOver)) {
			return err
		}
	}
	if p.Gaps, err = v.pages.options.Archive.RecentGaps(v.Context(), v.mailbox); err != nil {
		return err
	}
	for _, s := range m.Settings {
		if s.Label != nil && s.ValueLabel != nil && slices.Contains(policy.Keys(), s.Key) {
			p.Settings = append(p.Settings, settingField{Key: s.Key, Label: s.Label.In(v.language), Words: s.ValueLabel.In(v.language)})
		}
	}
	for _, r := range m.Route {
		p.Routes = append(p.Routes, v.routeRow(r))
	}
	return v.render(status, "domain-mailbox.html", p)
}

// routeRow returns a route in words.
func (v *visit) routeRow(r postfix.Route) routeRow {
	row := routeRow{Direction: policy.Labels(policy.VocabularyDirections).Label(r.Direction).In(v.language), Good: r.State == postfix.Routed}
	switch {
	case row.Good:
		row.Text = v.t("passa per l'archivio", "passes through the archive")
	case r.State == postfix.NotRouted:
		row.Text = v.t("non passa per l'archivio: lo sistema il gestore del server", "does not pass through the archive: the operator of the server puts that right")
	default:
		row.Text = v.t("non si sa adesso se passa per l'archivio", "whether it passes through the archive is not known now")
	}
	return row
}

// hold places a legal hold, or gives it another reason.
func (v *visit) hold() error {
	reason := strings.TrimSpace(v.PostFormValue("reason"))
	_, err := v.pages.options.Archive.HoldMailbox(v.Context(), v.who, v.mailbox, reason)
	if errors.Is(err, policy.ErrSetting) {
		return v.renderDomainMailbox(http.StatusUnprocessableEntity, reason,
			v.t("Scrivere il motivo in una riga, come il nome della causa.", "Type the reason in one line, such as the name of the case."))
	}
	if err != nil {
		return err
	}
	v.redirect(v.base(), "held")
	return nil
}

func (v *visit) release() error {
	if _, err := v.pages.options.Archive.ReleaseMailbox(v.Context(), v.who, v.mailbox); err != nil {
		return err
	}
	v.redirect(v.base(), "released")
	return nil
}

// endOthersSecondFactor turns the second factor of the owner off, who has lost it. The owner is told.
func (v *visit) endOthersSecondFactor() error {
	_, err := v.pages.options.Archive.EndSecondFactor(v.Context(), v.who, v.mailbox, "")
	if errors.Is(err, auth.ErrNoSecondFactor) {
		return complain(http.StatusConflict, "Il secondo fattore non è attivo.", "The second factor is off.")
	}
	if err != nil {
		return err
	}
	v.redirect(v.base(), "factor-ended")
	return nil
}

// addressPage asks for a new address of a mailbox, or for handing it over.
type addressPage struct {
	Mailbox     *archive.Mailbox
	Base        string
	To          string // as typed
	ToTrouble   string
	Confirm     string // as typed
	ConfirmMiss string
}

func (v *visit) askAddress() error { return v.renderAddress(http.StatusOK, addressPage{}) }

func (v *visit) renderAddress(status int, p addressPage) (err error) {
	p.Base = v.base()
	if p.Mailbox, err = v.mailboxNow(); err != nil {
		return err
	}
	return v.render(status, "address.html", p)
}

// rename gives the mailbox another address of the same domain. That is taken back by another rename, so it needs no more than the box to be ticked.
func (v *visit) rename() error {
	p := addressPage{To: strings.TrimSpace(v.PostFormValue("to"))}
	full := p.To
	if full != "" && !strings.Contains(full, "@") {
		full += "@" + v.domain
	}
	to, err := policy.ParseAddress(full)
	switch {
	case err != nil:
		p.ToTrouble = v.t("Questo non è un indirizzo. Scriverlo per intero, come nome@%s.", "That is no address. Type it in full, as name@%s.", v.domain)
	case to.Domain != v.domain:
		p.ToTrouble = v.t("Il nuovo indirizzo deve essere del dominio %s.", "The new address must be of the domain %s.", v.domain)
	case v.PostFormValue("confirmed") != "yes":
		p.ToTrouble = v.t("Spuntare la conferma.", "Tick the confirmation.")
	default:
		_, err = v.pages.options.Archive.Rename(v.Context(), v.who, v.mailbox, to)
		switch {
		case errors.Is(err, policy.ErrTaken):
			p.ToTrouble = v.t("A quell'indirizzo c'è già una casella con un archivio.", "That address has a mailbox with an archive already.")
		case err != nil:
			return err
		default:
			v.redirect(domainPath(v.domain, "mailboxes", to.String(), ""), "renamed")
			return nil
		}
	}
	return v.renderAddress(http.StatusUnprocessableEntity, p)
}

// handOver gives the address to another person: the archive of the former one is closed and kept.
func (v *visit) handOver() error {
	confirm := strings.TrimSpace(v.PostFormValue("confirm"))
	_, err := v.pages.options.Archive.HandOver(v.Context(), v.who, v.mailbox, confirm)
	if errors.Is(err, policy.ErrConfirmation) {
		return v.renderAddress(http.StatusUnprocessableEntity, addressPage{
			Confirm: confirm, ConfirmMiss: v.t("Non è l'indirizzo della casella: scrivere %s.", "That is not the address of the mailbox: type %s.", v.mailbox),
		})
	}
	if err != nil {
		return err
	}
	v.redirect(v.base(), "handed-over")
	return nil
}
