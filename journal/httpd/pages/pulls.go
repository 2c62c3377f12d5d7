package pages

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"copialettere/journal/export/pull"
	"copialettere/policy/archive"
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
	var certificate *tls.CertificateVerificationError
	p.Found, err = v.pages.options.Pulls.Test(ctx, v.who, v.mailbox, p.Tested)
	switch {
	case err == nil:
	case v.Context().Err() != nil:
		return err
	case errors.Is(err, pull.ErrLogin):
		p.Failed = v.t("Il server non accetta il nome utente o la password.", "The server does not accept the user name or the password.")
	case errors.As(err, &certificate):
		p.Failed = v.t("Il certificato del server non è valido, o non è di questo server: nessuna password è stata inviata. Controllare il nome del server.", "The certificate of the server is not valid, or not that of this server: no password was sent. Check the name of the server.")
	case errors.Is(err, pull.ErrBusy):
		p.Failed = v.t("Il server chiede di riprovare più tardi.", "The server asks to try again later.")
	case errors.Is(err, pull.ErrUnreachable):
		p.Failed = v.t("Questo server non è raggiungibile da qui: serve un server IMAP di Internet, con la porta 993.", "This server cannot be reached from here: it has to be an IMAP server of the Internet, with port 993.")
	case errors.Is(err, pull.ErrNoFolder):
		p.Failed = v.t("L'account non ha una delle cartelle indicate.", "The account does not have one of the folders that are named.")
	case errors.Is(err, pull.ErrAccount), errors.Is(err, context.DeadlineExceeded):
		p.Failed = v.t("Il server non risponde come dovrebbe. Controllare il suo nome, o riprovare più tardi.", "The server does not answer as it should. Check its name, or try again later.")
	case errors.Is(err, source.ErrKey):
		p.Failed = v.t("La password va scritta di nuovo: aggiungere l'account un'altra volta, con lo stesso nome.", "The password has to be typed again: add the account once more, with the same name.")
	default:
		return v.pullError(err)
	}
	return v.renderPulls(http.StatusOK, p)
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
