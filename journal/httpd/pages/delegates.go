package pages

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

func delegatesRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/delegates", For: OfMailbox, Right: archive.RightRevoke, serve: (*visit).showDelegates},
		{Pattern: "POST /mailbox/{mailbox}/delegates", For: OfMailbox, Right: archive.RightDelegate, serve: (*visit).addDelegate},
		{Pattern: "POST /mailbox/{mailbox}/delegates/revoke", For: OfMailbox, Right: archive.RightRevoke, serve: (*visit).revokeDelegate},
	}
}

// delegatesPage is what the page of who may read a mailbox shows.
type delegatesPage struct {
	Base          string
	List          []delegateRow
	Alone         bool // what the reader asks for is granted at once
	Person, Until string
	PersonTrouble string
	UntilTrouble  string
}

// delegateRow is somebody who may read, or who is asked for.
type delegateRow struct {
	archive.Delegate
	Last    time.Time // the last day
	Who     string
	Waiting string // whom it waits for, in words
}

func (v *visit) showDelegates() error {
	return v.renderDelegates(http.StatusOK, delegatesPage{})
}

func (v *visit) renderDelegates(status int, p delegatesPage) error {
	list, err := v.pages.options.Archive.Delegates(v.Context(), v.mailbox)
	if err != nil {
		return err
	}
	for _, one := range list {
		row := delegateRow{Delegate: one, Last: one.Until.Add(-time.Second)}
		var names []string
		for _, who := range one.Who {
			role, name, _ := strings.Cut(who, " ")
			names = append(names, v.actorText(policy.Role(role), name))
		}
		row.Who = strings.Join(names, ", ")
		switch one.WaitsFor {
		case policy.RolePostmaster:
			row.Waiting = v.t("in attesa del postmaster del dominio", "waits for the postmaster of the domain")
		case policy.RoleOperator:
			row.Waiting = v.t("in attesa del gestore", "waits for the operator")
		}
		p.List = append(p.List, row)
	}
	p.Base, p.Alone = v.base(), v.who.Role == policy.RoleOwner
	return v.render(status, "delegates.html", p)
}

// addDelegate lets somebody read until the end of a day in the reader's zone.
func (v *visit) addDelegate() error {
	p := delegatesPage{Person: strings.TrimSpace(v.PostFormValue("person")), Until: strings.TrimSpace(v.PostFormValue("until"))}
	person, err := policy.ParseAddress(p.Person)
	if err != nil || person.Domain == "" {
		p.PersonTrouble = v.t("Scrivere l'indirizzo per intero, come bruno@alpha.test.", "Type the address in full, such as bruno@alpha.test.")
	}
	day, err := time.ParseInLocation(time.DateOnly, p.Until, v.zone)
	if err != nil {
		p.UntilTrouble = v.t("Scrivere un giorno, come %s.", "Type a day, such as %s.", time.Now().AddDate(0, 1, 0).Format(time.DateOnly))
	}
	if p.PersonTrouble != "" || p.UntilTrouble != "" {
		return v.renderDelegates(http.StatusUnprocessableEntity, p)
	}
	_, err = v.pages.options.Archive.AddDelegate(v.Context(), v.who, v.mailbox, person, day.AddDate(0, 0, 1))
	switch {
	case errors.Is(err, policy.ErrNotOn):
		return complain(http.StatusConflict, "L'archivio non è attivo: non c'è nulla da leggere.", "The archive is off: there is nothing to read.")
	case errors.Is(err, auth.ErrDelegate) && day.Before(time.Now().AddDate(0, 0, -1)):
		p.UntilTrouble = v.t("Scrivere un giorno che non è passato.", "Type a day that is not past.")
	case errors.Is(err, auth.ErrDelegate) && day.After(time.Now().AddDate(5, 0, 0)):
		p.UntilTrouble = v.t("Al massimo cinque anni da oggi.", "At most five years from today.")
	case errors.Is(err, auth.ErrDelegate):
		p.PersonTrouble = v.t("Scrivere l'indirizzo di un'altra persona, con cui entra. Se le persone sono già venti, revocarne una.",
			"Type the address of another person, by which he or she signs in. If there are twenty already, revoke one.")
	case err != nil:
		return err
	default:
		v.redirect(v.about("delegates"), "delegated")
		return nil
	}
	return v.renderDelegates(http.StatusUnprocessableEntity, p)
}

func (v *visit) revokeDelegate() error {
	person, err := policy.ParseAddress(v.PostFormValue("person"))
	if err == nil {
		_, err = v.pages.options.Archive.RevokeDelegate(v.Context(), v.who, v.mailbox, person)
	}
	if err == nil {
		v.redirect(v.about("delegates"), "revoked")
	}
	return err
}
