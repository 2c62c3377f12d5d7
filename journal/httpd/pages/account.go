package pages

import (
	"errors"
	"html/template"
	"net/http"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

func accountRoutes() []Route {
	return []Route{
		{Pattern: "GET " + secondFactorPath, For: Unready, serve: (*visit).showSecondFactor},
		{Pattern: "POST " + secondFactorPath + "/begin", For: Unready, serve: (*visit).beginSecondFactor},
		{Pattern: "POST " + secondFactorPath + "/confirm", For: Unready, serve: (*visit).confirmSecondFactor},
		{Pattern: "POST " + secondFactorPath + "/end", For: Unready, serve: (*visit).endSecondFactor},
		{Pattern: "GET /mailbox/{mailbox}/app-passwords", For: OfMailbox, Right: archive.RightRevoke, serve: (*visit).showAppPasswords},
		{Pattern: "POST /mailbox/{mailbox}/app-passwords", For: OfMailbox, Right: archive.RightSignIn, serve: (*visit).addAppPassword},
		{Pattern: "POST /mailbox/{mailbox}/app-passwords/revoke", For: OfMailbox, Right: archive.RightRevoke, serve: (*visit).revokeAppPassword},
	}
}

// secondFactorPage is what the page of the second factor shows.
type secondFactorPage struct {
	auth.SecondFactor
	Unready bool // nothing else may be opened before it is on
	New     *auth.Secret
	QR      template.URL
	Codes   []string
	Notes   []string
	Sign    string // the path of the page of the own sign-ins
	// What was wrong with the last code, and which form it was in: begin, confirm or end.
	Trouble, In string
}

func (v *visit) showSecondFactor() error {
	return v.renderSecondFactor(http.StatusOK, secondFactorPage{})
}

// renderSecondFactor answers with the second factor of the login, as it is now.
func (v *visit) renderSecondFactor(status int, p secondFactorPage) error {
	now, err := v.pages.options.Archive.SecondFactor(v.Context(), v.session.Login)
	if err != nil {
		return err
	}
	p.SecondFactor, p.Unready, p.Sign = now.SecondFactor, now.Required && !now.On, mailboxPath(v.session.Login.String(), "access")
	return v.render(status, "second-factor.html", p)
}

// beginSecondFactor shows a new secret, once.
func (v *visit) beginSecondFactor() error {
	begun, err := v.pages.options.Archive.BeginSecondFactor(v.Context(), v.who, v.session.Login, code(v))
	if err != nil {
		return v.wrongCode("begin", err)
	}
	png, err := setup.QRImage(begun.New.URI)
	if err != nil {
		return err
	}
	return v.renderSecondFactor(http.StatusOK, secondFactorPage{New: begun.New, QR: pngURL(png)})
}

// confirmSecondFactor puts the new secret in force, and shows the recovery codes, once.
func (v *visit) confirmSecondFactor() error {
	on, err := v.pages.options.Archive.ConfirmSecondFactor(v.Context(), v.who, v.session.Login, code(v))
	if err != nil {
		return v.wrongCode("confirm", err)
	}
	v.session.SetUpSecondFactor = false
	// Whoever has got in elsewhere without a code must not stay in. The codes are shown whatever happens: they cannot be shown again.
	if _, err := v.pages.options.Archive.EndSessions(v.Context(), v.who, v.session.Login, "", v.session.ID); err != nil {
		v.pages.options.Logger.Error("the other sessions go on after a second factor was turned on", "login", v.session.Login, "error", err)
	}
	return v.renderSecondFactor(http.StatusOK, secondFactorPage{Codes: on.Codes, Notes: []string{
		v.t("Da ora i programmi di posta non accettano più la password della casella: serve una password per programmi, una per ciascuno.",
			"From now on mail programs do not take the password of the mailbox: each needs an app password of its own."),
	}})
}

func (v *visit) endSecondFactor() error {
	if _, err := v.pages.options.Archive.EndSecondFactor(v.Context(), v.who, v.session.Login, code(v)); err != nil {
		return v.wrongCode("end", err)
	}
	v.redirect(secondFactorPath, "second-factor-off")
	return nil
}

// code returns the code that was typed.
func code(v *visit) string { return strings.TrimSpace(v.PostFormValue("code")) }

// wrongCode shows the page again, with what was wrong with the code in a form.
func (v *visit) wrongCode(form string, err error) error {
	p := secondFactorPage{In: form}
	var refusal *auth.Refusal
	switch {
	case errors.As(err, &refusal):
		p.Trouble = refusal.Sentence.In(v.language)
	case errors.Is(err, auth.ErrCode):
		p.Trouble = v.t("Il codice è sbagliato o è già stato usato. Aspettare il prossimo e scriverlo.", "The code is wrong or was used already. Wait for the next one, and type it.")
	case errors.Is(err, auth.ErrNoSecondFactor):
		p.In, p.Trouble = "begin", v.t("È passato troppo tempo, o non c'è nulla da confermare. Ricominciare.", "Too much time has passed, or there is nothing to confirm. Begin again.")
	default:
		return err
	}
	return v.renderSecondFactor(http.StatusUnprocessableEntity, p)
}

// appPasswordsPage is what the page of the app passwords shows.
type appPasswordsPage struct {
	Base     string
	List     []archive.AppPassword
	New      *archive.AppPassword // just made
	Closed   string               // why it opens no archive
	May      bool                 // the reader may make one
	Needed   bool                 // mail programs take nothing else
	Name     string               // as typed
	Trouble  string
	Programs string // the path of the page of parameters
}

func (v *visit) showAppPasswords() error {
	return v.renderAppPasswords(http.StatusOK, appPasswordsPage{})
}

func (v *visit) renderAppPasswords(status int, p appPasswordsPage) (err error) {
	if p.List, err = v.pages.options.Archive.AppPasswords(v.Context(), v.mailbox); err != nil {
		return err
	}
	if p.Needed, err = v.pages.options.Auth.NeedsAppPassword(v.Context(), v.mailbox); err != nil {
		return err
	}
	err = v.pages.options.Archive.May(v.Context(), v.who, archive.RightSignIn, v.mailbox)
	if err != nil && !errors.Is(err, policy.ErrForbidden) {
		return err
	}
	p.Base, p.May, p.Programs = v.base(), err == nil, v.about("programs")
	return v.render(status, "app-passwords.html", p)
}

func (v *visit) addAppPassword() error {
	name := strings.TrimSpace(v.PostFormValue("name"))
	made, err := v.pages.options.Archive.AddAppPassword(v.Context(), v.who, v.mailbox, name)
	if errors.Is(err, auth.ErrName) {
		return v.renderAppPasswords(http.StatusUnprocessableEntity, appPasswordsPage{Name: name, Trouble: v.t(
			"Scrivere un nome breve che non c'è già nell'elenco. Se le password sono troppe, revocarne una che non si usa.",
			"Type a short name that is not in the list already. If there are too many passwords, revoke one that is not used.")})
	}
	if err != nil {
		return err
	}
	p := appPasswordsPage{New: &made}
	if made.Closed != nil {
		p.Closed = made.Closed.In(v.language)
	}
	return v.renderAppPasswords(http.StatusOK, p)
}

func (v *visit) revokeAppPassword() error {
	_, err := v.pages.options.Archive.RevokeAppPassword(v.Context(), v.who, v.mailbox, v.PostFormValue("name"))
	if err == nil {
		v.redirect(v.about("app-passwords"), "revoked")
	}
	return err
}
