package pages

import (
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"copialettere/policy/archive"
	"copialettere/policy/setup"
)

func programsRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/programs", For: OfMailbox, Right: archive.RightLook, serve: (*visit).showPrograms},
		{Pattern: "GET /mailbox/{mailbox}/programs/profile", For: OfMailbox, Right: archive.RightLook, serve: (*visit).profile},
		{Pattern: "POST /mailbox/{mailbox}/programs/link", For: OfMailbox, Right: archive.RightLook, serve: (*visit).makeSetUpLink},
	}
}

// programsPage is what the page for setting up mail programs shows.
type programsPage struct {
	Choice       setup.Choice
	Base         string
	Parameters   *setup.Parameters // nil where the choice is not offered
	Incoming     []parameter
	Outgoing     []parameter
	Link         *archive.SetUpLink // just made
	QR           template.URL
	Profile      string // the path of Apple's profile; empty where there is none
	AppPasswords string // the path of the page for app passwords
}

// parameter is a value to be copied into a mail program.
type parameter struct{ Name, Value string }

// choice reads which account is to be set up: the archive by IMAP, unless the form says otherwise.
func (v *visit) choice() setup.Choice {
	c := setup.Choice{Account: setup.Account(v.FormValue("account")), Incoming: setup.Protocol(v.FormValue("incoming"))}
	if c.Account == "" {
		c.Account = setup.AccountArchive
	}
	if c.Incoming == "" {
		c.Incoming = setup.IMAP
	}
	return c
}

func (v *visit) showPrograms() error { return v.renderPrograms(nil) }

// renderPrograms shows the parameters of the choice, with the link that was just made for it.
func (v *visit) renderPrograms(link *archive.SetUpLink) error {
	p := programsPage{Choice: v.choice(), Base: v.base(), Link: link, AppPasswords: v.about("app-passwords")}
	parameters, err := v.pages.options.Archive.Parameters(v.Context(), v.who, v.mailbox, p.Choice)
	switch {
	case errors.Is(err, setup.ErrNotOffered):
		return v.render(http.StatusOK, "programs.html", p)
	case errors.Is(err, setup.ErrChoice):
		return complain(http.StatusBadRequest, "Si può scegliere l'archivio o la casella, con IMAP o POP3.", "Choose the archive or the mailbox, by IMAP or POP3.")
	case err != nil:
		return err
	}
	p.Parameters, p.Incoming = &parameters, v.serverParameters(&parameters.Incoming)
	if parameters.Outgoing != nil {
		p.Outgoing = v.serverParameters(parameters.Outgoing)
		p.Profile = v.about("programs", "profile") + "?account=" + url.QueryEscape(string(p.Choice.Account)) + "&incoming=" + url.QueryEscape(string(p.Choice.Incoming))
	}
	if link != nil {
		p.QR = pngURL(link.PNG)
	}
	return v.render(http.StatusOK, "programs.html", p)
}

// pngURL returns a picture in the page itself.
func pngURL(png []byte) template.URL {
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png))
}

func (v *visit) serverParameters(s *setup.Server) []parameter {
	security := "SSL/TLS"
	if s.Security == setup.STARTTLS {
		security = "STARTTLS"
	}
	return []parameter{
		{v.t("Server %s", "%s server", strings.ToUpper(string(s.Protocol))), s.Host},
		{v.t("Porta", "Port"), strconv.Itoa(int(s.Port))},
		{v.t("Sicurezza", "Security"), security},
		{v.t("Nome utente", "User name"), s.User},
	}
}

func (v *visit) makeSetUpLink() error {
	link, err := v.pages.options.Archive.MakeSetUpLink(v.Context(), v.who, v.mailbox, v.choice())
	if errors.Is(err, setup.ErrNotOffered) || errors.Is(err, setup.ErrChoice) {
		return complain(http.StatusBadRequest, "Per questa scelta non c'è un codice QR. I parametri si possono copiare a mano.", "There is no QR code for this choice. The parameters can be copied by hand.")
	}
	if err != nil {
		return err
	}
	return v.renderPrograms(&link)
}

// profile answers with Apple's configuration profile.
func (v *visit) profile() error {
	profile, err := v.pages.options.Archive.Profile(v.Context(), v.who, v.mailbox, v.choice())
	if errors.Is(err, setup.ErrNotOffered) || errors.Is(err, setup.ErrChoice) {
		return errNoPage
	}
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", setup.ProfileType)
	h.Set("Content-Disposition", `attachment; filename="account.mobileconfig"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(v.w, v.Request, "", time.Time{}, strings.NewReader(string(profile)))
	return nil
}
