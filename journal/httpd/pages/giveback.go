package pages

import (
	"errors"
	"net/http"
	"strings"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
)

func giveBackRoutes() []Route {
	return []Route{
		{Pattern: "POST /mailbox/{mailbox}/messages/give-back", For: OfMailbox, Right: archive.RightGiveBack, form: maxSelection, serve: (*visit).giveBackMessages},
	}
}

// givenBackPage says what became of messages that were to be put back into the mailbox.
type givenBackPage struct {
	Title   string
	Back    string
	Given   uint64
	Refused []givenBackRow // all that was not, or perhaps not, put back
	Trouble string         // why the rest was not tried
}

// givenBackRow is one message that was not put back.
type givenBackRow struct {
	Path, Message string
	State         string // in words
	Reply         string // of the mailstore
}

// giveBackMessages puts what is selected back into the live mailbox, after asking.
func (v *visit) giveBackMessages() error {
	s, err := v.selected()
	if err != nil {
		return err
	}
	if v.confirmed() && s.query == nil {
		return v.giveBack(s.folders, v.PostFormValue("again") != "")
	}
	c, err := v.countIf(func(a archive.Access) bool { return a.GiveBack }, archive.ErrMailstore, s)
	if err != nil {
		return err
	}
	page := v.confirmation(c)
	page.Title = v.t("Rimettere nella casella %s?", "Put %s back into the mailbox?", v.amount(c.messages))
	page.Button = v.t("Rimetti nella casella", "Put back")
	page.Text = append(page.Text, v.t("Una copia, uguale all'originale, arriva nella casella di posta %s. Nell'archivio non cambia nulla.",
		"A copy, the same as the original, arrives in the mailbox %s. Nothing changes in the archive.", v.mailbox.String()))
	var before []string
	for _, one := range c.folders {
		one.Mailbox = v.mailbox.String()
		list, err := v.pages.options.Archive.GivenBefore(v.Context(), v.who, one)
		if err != nil {
			return err
		}
		for _, g := range list {
			before = append(before, v.t("%s, numero %s, il %s da %s", "%s, number %s, on %s by %s",
				folderText(v.language, one.FolderName()), uidText(g.UID), timeText(v.language, v.zone, g.Time), v.actorText("", g.Who)))
		}
	}
	if page.Again = len(before) > 0; page.Again {
		page.Warnings = append(page.Warnings, v.t("Già rimessi nella casella: %s. Confermando arrivano un'altra volta.",
			"Put back before: %s. If you confirm, they arrive once more.", shortList(before)))
	}
	return v.confirm(page)
}

// shortList joins the first of many texts.
func shortList(list []string) string {
	const most = 10
	if len(list) <= most {
		return strings.Join(list, "; ")
	}
	return strings.Join(list[:most], "; ") + "; …"
}

// giveBack puts the messages of each folder back, and shows what became of them.
func (v *visit) giveBack(folders []journal.Selection, again bool) error {
	page := givenBackPage{Back: v.back()}
	for _, s := range folders {
		s.Mailbox = v.mailbox.String()
		if err := v.giveBackOf(s, again, &page); err != nil && page.Given == 0 && page.Refused == nil {
			return err
		} else if err != nil {
			page.Trouble = v.t("Il resto non è stato rimesso: il server di posta adesso non risponde, o c'è un guasto. Riprovare più tardi.",
				"The rest was not put back: the mail server does not answer now, or something failed. Try again later.")
			break
		}
	}
	switch {
	case page.Given > 0 && page.Refused == nil && page.Trouble == "":
		page.Title = v.t("Rimesso nella casella: %s", "Put back into the mailbox: %s", v.amount(page.Given))
	case page.Given > 0:
		page.Title = v.t("Rimessi nella casella solo in parte", "Put back into the mailbox only in part")
	default:
		page.Title = v.t("Non rimesso nella casella", "Not put back into the mailbox")
	}
	return v.render(http.StatusOK, "given-back.html", page)
}

// giveBackOf gives back the messages of one folder and adds to the page what became of them.
func (v *visit) giveBackOf(s journal.Selection, again bool, page *givenBackPage) error {
	for g, err := range v.pages.options.Archive.GiveBack(v.Context(), v.who, s, again) {
		if g.State == archive.GivenBackDone {
			page.Given++
		} else if g.State != "" {
			page.Refused = append(page.Refused, givenBackRow{
				Path: v.path("messages", g.Folder, uidText(g.UID)), Message: v.t("%s, numero %s", "%s, number %s", folderText(v.language, g.Folder), uidText(g.UID)),
				State: givenBackStates[g.State].In(v.language), Reply: g.Reply,
			})
		}
		switch {
		case errors.Is(err, journal.ErrNotFound): // all of this folder are gone meanwhile
			return nil
		case errors.Is(err, archive.ErrGivenBack):
			return complain(http.StatusConflict, "Uno di questi messaggi è già stato rimesso nella casella, e non è stato fatto nulla. Tornare indietro e confermare di nuovo.",
				"One of these messages was put back before, and nothing was done. Go back and confirm once more.")
		case err != nil:
			return err
		}
	}
	return nil
}

// givenBackStates says what became of a message that was not put back.
var givenBackStates = map[string]policy.Label{
	archive.GivenBackRefused: {Italian: "il server di posta non l'ha preso", English: "the mail server did not take it"},
	archive.GivenBackUnknown: {
		Italian: "il server di posta non ha risposto: può essere arrivato, guardare nella casella prima di riprovare",
		English: "the mail server did not answer: it may have arrived, look into the mailbox before you try again",
	},
	archive.GivenBackDamaged: {Italian: "non si può leggere per intero", English: "it cannot be read whole"},
	archive.GivenBackAbsent:  {Italian: "non c'è più", English: "it is not there any more"},
}
