package pages

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"copialettere/journal/export/pull"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
	"copialettere/policy/source"
)

func pullRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/pulls", For: OfMailbox, Right: archive.RightImport, serve: (*visit).showPulls},
		{Pattern: "POST /mailbox/{mailbox}/pulls", For: OfMailbox, Right: archive.RightImport, serve: (*visit).addPull},
		{Pattern: "POST /mailbox/{mailbox}/pulls/test", For: OfMailbox, Right: archive.RightImport, slow: true, serve: (*visit).testPull},
		{Pattern: "POST /mailbox/{mailbox}/pulls/run", For: OfMailbox, Right: archive.RightImport, serve: (*visit).runPull},
		{Pattern: "POST /mailbox/{mailbox}/pulls/remove", For: OfMailbox, Right: archive.RightImport, serve: (*visit).removePull},
	}
}

// testTime is how long a browser waits for the test of an account.
const testTime = 40 * time.Second

// pullsPage is what the page of imports from other servers shows.
type pullsPage struct {
	Base    string
	List    []pullRow
	Name    string // of the form
	Host    string
	User    string
	Every   string
	Delete  string
	Folders string
	Trouble string
	Tested  string // the profile whose account was tested
	Found   []pull.Found
	Failed  string // why the test failed
}

// pullRow is one profile.
type pullRow struct {
	pull.Pull
	When   string // how often it runs
	Result string // of the last run
	Bad    bool
	Cause  string // why the last run ended early
	Left   []leftRow
}

// leftRow is one thing that the last run did not take.
type leftRow struct {
	source.Left
	Why string
}

func (v *visit) showPulls() error { return v.renderPulls(http.StatusOK, pullsPage{Every: "1d"}) }

func (v *visit) renderPulls(status int, p pullsPage) error {
	if _, err := v.pages.options.Archive.Import(v.Context(), v.who, v.mailbox, archive.ImportOptions{}); err != nil {
		return v.importError(err)
	}
	list, err := v.pages.options.Pulls.List(v.Context(), v.mailbox)
	if err != nil {
		return err
	}
	for _, one := range list {
		row := pullRow{Pull: one, When: v.everyText(one.Every)}
		switch r := one.Last; {
		case one.Running != nil && one.Running.Since.IsZero():
			row.Result = v.t("comincia fra poco", "begins soon")
		case one.Running != nil:
			row.Result = v.t("in corso: %d di %d messaggi finora", "under way: %d of %d messages so far", one.Running.Done, one.Running.Messages)
		case r == nil:
			row.Result = v.t("non ancora", "not yet")
		default:
			row.Result = v.t("importati %d, già in archivio %d, non presi %d", "imported %d, in the archive already %d, not taken %d", r.Imported, r.Duplicates, r.Refused)
			if r.Deleted > 0 {
				row.Result += v.t(", eliminati là %d", ", deleted there %d", r.Deleted)
			}
			row.Bad = r.Error != "" || r.Refused > 0
			row.Cause = v.causeText(notice.PullCause(r.Cause))
			for _, left := range r.Left {
				row.Left = append(row.Left, leftRow{left, v.leftText(left.State)})
			}
		}
		p.List = append(p.List, row)
	}
	p.Base = v.base()
	return v.render(status, "pulls.html", p)
}

// everyText says how often a profile runs.
func (v *visit) everyText(every string) string {
	switch every {
	case "":
		return v.t("solo a richiesta", "only on request")
	case "1d":
		return v.t("ogni giorno", "every day")
	case "7d":
		return v.t("ogni settimana", "every week")
	}
	return v.t("ogni %s", "every %s", every)
}

func (v *visit) addPull() error {
	field := func(name string) string { return strings.TrimSpace(v.PostFormValue(name)) }
	p := pullsPage{Name: field("name"), Host: field("host"), User: field("user"), Every: field("every"), Delete: field("delete"), Folders: field("folders")}
	from := string(pull.TLS) + "://" + strings.ReplaceAll(url.PathEscape(p.User), ":", "%3A") + "@" + p.Host
	added, err := v.pages.options.Pulls.Add(v.Context(), v.who, v.mailbox, pull.New{
		Name: p.Name, From: from, Folders: p.Folders, DeleteAfter: p.Delete, Every: p.Every, Password: v.PostFormValue("password"),
	})
	switch {
	case err == nil && added.Replaced:
		v.redirect(v.about("pulls"), "pull-replaced")
		return nil
	case err == nil:
		v.redirect(v.about("pulls"), "pull-added")
		return nil
	case errors.Is(err, pull.ErrSource):
		p.Trouble = v.t("Scrivere il server, come imaps.pec.example.it, e il nome utente, di solito l'indirizzo.", "Type the server, such as imaps.pec.example.it, and the user name, most often the address.")
	case errors.Is(err, source.ErrProfile) && len(v.PostFormValue("password")) == 0:
		p.Trouble = v.t("Scrivere la password dell'account.", "Type the password of the account.")
	case errors.Is(err, source.ErrTaken):
		p.Trouble = v.t("Un altro account ha già il nome «%s»: scegliere un altro nome, o prima togliere quello.", "Another account has the name “%s” already: choose another name, or remove that one first.", p.Name)
	case errors.Is(err, source.ErrProfile):
		p.Trouble = v.t("Scegliere un altro nome, senza barre. Se gli account sono già %d, toglierne uno.", "Choose another name, without slashes. If there are %d accounts already, remove one.", source.MaxProfiles)
	case errors.Is(err, archive.ErrRequest):
		p.Trouble = v.t("Scegliere quando, e dopo quanti giorni, fra le voci offerte.", "Choose when, and after how many days, from what is offered.")
	default:
		return v.importError(err)
	}
	return v.renderPulls(http.StatusUnprocessableEntity, p)
}

// testPull signs in and shows the folders of the account.
func (v *visit) testPull() error {
	p := pullsPage{Every: "1d", Tested: v.PostFormValue("name")}
	ctx, cancel := context.WithTimeout(v.Context(), testTime)
	defer cancel()
	var err error
	p.Found, err = v.pages.options.Pulls.Test(ctx, v.who, v.mailbox, p.Tested)
	switch {
	case err == nil:
	case v.Context().Err() != nil:
		return err
	case errors.Is(err, context.DeadlineExceeded):
		p.Failed = v.causeText(notice.PullServer)
	default:
		cause := pull.CauseOf(err)
		if cause == notice.PullNotOn || cause == notice.PullForbidden || cause == notice.PullHere {
			return v.pullError(err)
		}
		p.Failed = v.causeText(cause)
	}
	return v.renderPulls(http.StatusOK, p)
}

// causeText says why an account could not be imported or tested, and what to do. It is empty for a cause that is not known.
func (v *visit) causeText(cause notice.PullCause) string {
	switch cause {
	case notice.PullLogin:
		return v.t("Il server non accetta il nome utente o la password.", "The server does not accept the user name or the password.")
	case notice.PullCertificate:
		return v.t("Il certificato del server non è valido, o non è di questo server: nessuna password è stata inviata. Controllare il nome del server.", "The certificate of the server is not valid, or not that of this server: no password was sent. Check the name of the server.")
	case notice.PullBusy:
		return v.t("Il server chiede di riprovare più tardi.", "The server asks to try again later.")
	case notice.PullUnreachable:
		return v.t("Il server non è raggiungibile. Controllare il suo nome, o riprovare più tardi.", "The server cannot be reached. Check its name, or try again later.")
	case notice.PullAddress:
		return v.t("L'indirizzo di questo server non è ammesso: serve un server IMAP di Internet, con la porta 993.", "The address of this server is not allowed: it has to be an IMAP server of the Internet, with port 993.")
	case notice.PullFolder:
		return v.t("L'account non ha una delle cartelle indicate.", "The account does not have one of the folders that are named.")
	case notice.PullServer:
		return v.t("Il server non risponde come dovrebbe. Controllare il suo nome, o riprovare più tardi.", "The server does not answer as it should. Check its name, or try again later.")
	case notice.PullPassword:
		return v.t("La password va scritta di nuovo: aggiungere l'account un'altra volta, con lo stesso nome.", "The password has to be typed again: add the account once more, with the same name.")
	case notice.PullFull:
		return v.t("L'archivio era pieno. Quando c'è spazio, si continua da lì.", "The archive was full. When there is room, it goes on from there.")
	case notice.PullNotOn:
		return v.t("L'archivio non era attivo, o le sue impostazioni non permettono di inserire messaggi.", "The archive was not on, or its settings do not allow messages to be put in.")
	case notice.PullForbidden:
		return v.t("Chi ha aggiunto l'account non può più importare in questo archivio.", "Who added the account may not import into this archive any more.")
	case notice.PullStopped:
		return v.t("È stata interrotta. La prossima volta si continua da lì.", "It was interrupted. The next time it goes on from there.")
	case notice.PullHere:
		return v.t("C'è stato un guasto da questa parte: l'account non c'entra.", "There was a fault on this side: the account has nothing to do with it.")
	}
	return ""
}

// leftText says what became of a message or folder that was not taken.
func (v *visit) leftText(state string) string {
	switch state {
	case archive.KeptFull:
		return v.t("nell'archivio non c'era spazio", "the archive had no room")
	case archive.KeptTooLarge:
		return v.t("è troppo grande", "it is too large")
	case pull.StateNotOpened:
		return v.t("la cartella non si apre, o non si legge fino in fondo", "the folder does not open, or cannot be read to its end")
	case pull.StateNotGiven:
		return v.t("il server non lo dà per intero", "the server does not give it whole")
	case pull.StateNotDeleted:
		return v.t("là non è stato eliminato", "it was not deleted there")
	}
	return v.t("non è stato preso", "it was not taken")
}

func (v *visit) runPull() error {
	if err := v.pages.options.Pulls.RunSoon(v.Context(), v.who, v.mailbox, v.PostFormValue("name")); err != nil && !errors.Is(err, source.ErrKey) {
		return v.pullError(err)
	}
	v.redirect(v.about("pulls"), "pull-started")
	return nil
}

func (v *visit) removePull() error {
	if _, err := v.pages.options.Pulls.Remove(v.Context(), v.who, v.mailbox, v.PostFormValue("name")); err != nil {
		return v.pullError(err)
	}
	v.redirect(v.about("pulls"), "pull-removed")
	return nil
}

// pullError says why nothing can be done with a profile.
func (v *visit) pullError(err error) error {
	if errors.Is(err, source.ErrNoProfile) {
		return complain(http.StatusNotFound, "Questo account non c'è più.", "This account is not here any more.")
	}
	return v.importError(err)
}
