package pages

import (
	"errors"
	"net/http"
	"strings"

	"copialettere/policy/auth"
)

// secondFactorPath is the page on which somebody turns the second factor on.
const secondFactorPath = "/account/second-factor"

func signInRoutes() []Route {
	return []Route{
		{Pattern: "GET /{$}", For: SignedIn, serve: (*visit).goHome},
		{Pattern: "GET /sign-in", For: Anybody, serve: (*visit).showSignIn},
		{Pattern: "POST /sign-in", For: Anybody, serve: (*visit).signIn},
		{Pattern: "GET /sign-in/{link}", For: Anybody, serve: (*visit).signInByLink},
		{Pattern: "POST /sign-out", For: Unready, serve: (*visit).signOut},
	}
}

// signInPage is what the page for signing in shows.
type signInPage struct {
	Login, Next string
	Trouble     string // why the last try failed
	Step        string // the first step, sealed; empty while the password is asked for
}

func (v *visit) goHome() error {
	home, err := v.home()
	if err == nil {
		v.redirect(home, v.URL.Query().Get("done"))
	}
	return err
}

func (v *visit) showSignIn() error {
	if v.session != nil {
		return v.goHome()
	}
	return v.render(http.StatusOK, "sign-in.html", signInPage{Next: localPath(v.FormValue("next"), "/")})
}

func (v *visit) signIn() error {
	o := v.pages.options
	page := signInPage{Login: v.PostFormValue("login"), Next: localPath(v.PostFormValue("next"), "/")}
	try := auth.Attempt{Login: page.Login, Password: v.PostFormValue("password"), Remote: o.Remote(v.Request), Protocol: auth.ProtocolWeb}
	if step := v.PostFormValue("step"); step != "" {
		first, err := o.Auth.OpenStep(step)
		if err != nil {
			page.Trouble = v.t("La pagina è rimasta aperta troppo a lungo. Ricominciare.", "The page was open for too long. Begin again.")
			return v.render(http.StatusForbidden, "sign-in.html", page)
		}
		page.Login, first.Remote, first.Code = first.Login, try.Remote, v.PostFormValue("code")
		try = first
	}
	id, err := o.Auth.Login(v.Context(), try)
	return v.letIn(id, try, page, err)
}

// signInByLink signs an owner in by a link that a program of the provider has asked for. The link is used up.
func (v *visit) signInByLink() error {
	if v.Method != http.MethodGet {
		return errNoPage // a HEAD that looks whether there is something must not use it up
	}
	if strings.Contains(v.Header.Get("Sec-Purpose"), "prefetch") {
		return errNoPage // nor must a browser that fetches what its reader may never open
	}
	o := v.pages.options
	id, try, err := o.Auth.LoginByLink(v.Context(), v.PathValue("link"), o.Remote(v.Request))
	page := signInPage{Login: try.Login, Next: "/"}
	if errors.Is(err, auth.ErrNoLink) {
		page.Trouble = v.t("Questo collegamento è scaduto o è già stato usato. Tornare alla pagina da cui si è partiti e aprire di nuovo l'archivio, oppure entrare qui.",
			"This link has expired or was used already. Go back to where it was and open the archive again, or sign in here.")
		return v.render(http.StatusForbidden, "sign-in.html", page)
	}
	return v.letIn(id, try, page, err)
}

// letIn opens a session after a try to sign in, or says why not.
func (v *visit) letIn(id auth.Identity, try auth.Attempt, page signInPage, err error) error {
	if err != nil {
		return v.refuseSignIn(try, page, err)
	}
	secret, err := v.pages.options.Auth.OpenSession(v.Context(), id, try.Remote, v.UserAgent())
	if err != nil {
		return err
	}
	v.setSession(secret)
	v.redirect(page.Next, "")
	return nil
}

// refuseSignIn shows the page again, with what to do next.
func (v *visit) refuseSignIn(try auth.Attempt, page signInPage, err error) error {
	status := http.StatusForbidden
	var refusal *auth.Refusal
	switch {
	case errors.Is(err, auth.ErrSecondFactor):
		if page.Step, err = v.pages.options.Auth.SealStep(try); err != nil {
			return err
		}
		status = http.StatusOK
		if try.Code != "" {
			status = http.StatusForbidden
			page.Trouble = v.t("Il codice è sbagliato o è già stato usato. Aspettare il prossimo e scriverlo.", "The code is wrong or was used already. Wait for the next one, and type it.")
		}
	case errors.As(err, &refusal):
		page.Trouble = refusal.Sentence.In(v.language)
		if errors.Is(err, auth.ErrThrottled) {
			status = http.StatusTooManyRequests
		}
	case errors.Is(err, auth.ErrDenied):
		page.Trouble = v.t("Nome o password sbagliati. L'indirizzo va scritto per intero, come mario@alpha.test.", "Wrong name or password. Write the address in full, such as mario@alpha.test.")
	case errors.Is(err, auth.ErrUnavailable):
		v.pages.options.Logger.Error("sign-in to the pages not possible", "error", err)
		status = http.StatusServiceUnavailable
		page.Trouble = v.t("In questo momento non si può entrare. Riprovare fra qualche minuto.", "Signing in is not possible at the moment. Try again in a few minutes.")
	default:
		return err
	}
	return v.render(status, "sign-in.html", page)
}

// setSession gives the browser the secret of a session; an empty one takes it away.
func (v *visit) setSession(secret string) {
	cookie := &http.Cookie{Name: sessionCookie, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if secret == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(v.w, cookie)
}

func (v *visit) signOut() error {
	if cookie, err := v.Cookie(sessionCookie); err == nil {
		if err := v.pages.options.Auth.EndSession(v.Context(), cookie.Value); err != nil {
			return err
		}
	}
	v.setSession("")
	v.redirect("/sign-in", "signed-out")
	return nil
}
