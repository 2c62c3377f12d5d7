package pages

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"copialettere/journal"
	"copialettere/journal/export/jobs"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/pec"
)

var (
	// errNoPage says that there is no such page.
	errNoPage = errors.New("no such page")
	// errAnswered says that the answer is written already.
	errAnswered = errors.New("answered")
)

// complaint is an error that tells the reader what to do otherwise.
type complaint struct {
	status int
	text   policy.Label
	err    error // may be nil
}

// Error implements error.
func (c *complaint) Error() string {
	if c.err != nil {
		return c.text.English + ": " + c.err.Error()
	}
	return c.text.English
}

// Unwrap returns the error behind it.
func (c *complaint) Unwrap() error { return c.err }

// complain returns an error that tells the reader what to do otherwise.
func complain(status int, italian, english string) error {
	return &complaint{status, policy.Label{Italian: italian, English: english}, nil}
}

// errorPage is what the page of an error shows.
type errorPage struct {
	Title, Text string
	Back        string // path of the page from which a form came, if it says so
	Reference   string // for the provider, where the error is ours; the log has it too
}

// fail answers with an error. It tells no internal text: whatever is not the reader's to know has a reference, which is in the log.
func (v *visit) fail(err error) {
	if errors.Is(err, errAnswered) || errors.Is(err, context.Canceled) {
		return
	}
	if errors.Is(err, errSignIn) {
		v.toSignIn()
		return
	}
	status, page := v.explain(err)
	page.Back = localPath(v.PostForm.Get("back"), "")
	if status == http.StatusInternalServerError || status == http.StatusServiceUnavailable {
		page.Reference = rand.Text()[:10]
		v.pages.options.Logger.Error("page failed", "reference", page.Reference, "path", v.Pattern, "error", err)
	}
	if err := v.render(status, "error.html", page); err != nil {
		v.pages.options.Logger.Error("page of an error failed", "error", err)
	}
}

// toSignIn leads to the page for signing in, and from there to the page that was asked for.
func (v *visit) toSignIn() {
	path := "/sign-in"
	if v.Method == http.MethodGet && v.URL.Path != "/" {
		path += "?next=" + url.QueryEscape(v.URL.RequestURI())
	}
	v.redirect(path, "")
}

// explain returns the status of an error and what the reader is told.
func (v *visit) explain(err error) (int, errorPage) {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
	var own *complaint
	var refusal *auth.Refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		return own.status, errorPage{Title: v.t("Non è possibile", "That is not possible"), Text: own.text.In(v.language)}
	case errors.As(err, &refusal):
		return http.StatusForbidden, errorPage{Title: v.t("Non è possibile", "That is not possible"), Text: refusal.Sentence.In(v.language)}
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, errorPage{
			Title: v.t("Troppo grande", "Too large"), Text: v.t("Quello che è stato inviato è troppo grande.", "What was sent is too large."),
		}
	case is(errNoPage, journal.ErrNotFound, archive.ErrNoFolder, pec.ErrNoPart, policy.ErrNoArchive, auth.ErrNoDelegate, auth.ErrNoAppPassword, jobs.ErrNone):
		return http.StatusNotFound, errorPage{
			Title: v.t("Pagina non trovata", "Page not found"),
			Text: v.t("A questo indirizzo non c'è nulla, oppure non c'è più: un messaggio può essere stato spostato o eliminato.",
				"There is nothing at this address, or not any more: a message may have been moved or deleted."),
		}
	case is(policy.ErrForbidden, auth.ErrDenied):
		return http.StatusForbidden, errorPage{
			Title: v.t("Accesso non consentito", "Not allowed"),
			Text: v.t("Con l'account con cui si è entrati non si può vedere o cambiare questo. Lo può permettere il titolare della casella; il postmaster del dominio sa come.",
				"The account that you signed in with may not see or change this. The owner of the mailbox can allow it; the postmaster of the domain knows how."),
		}
	case is(archive.ErrReadOnly):
		return http.StatusForbidden, errorPage{
			Title: v.t("L'archivio è in sola lettura", "The archive is read-only"),
			Text: v.t("I messaggi si possono spostare o eliminare solo se le impostazioni della casella lo permettono.",
				"Messages can be moved or deleted only where the settings of the mailbox allow it."),
		}
	case is(policy.ErrHeld, journal.ErrHeld):
		return http.StatusConflict, errorPage{
			Title: v.t("Blocco legale", "Legal hold"),
			Text: v.t("Un blocco legale impedisce di eliminare. Solo il postmaster o il gestore può toglierlo.",
				"A legal hold forbids to delete. Only the postmaster or the operator can lift it."),
		}
	case is(policy.ErrErasing, policy.ErrNotClosing, policy.ErrNotPending, policy.ErrTaken, policy.ErrClosed):
		return http.StatusConflict, errorPage{
			Title: v.t("Non è possibile adesso", "Not possible now"),
			Text: v.t("Lo stato della casella non lo permette. Tornare alla pagina e guardare com'è adesso.",
				"The state of the mailbox does not allow it. Go back and look at how it is now."),
		}
	case is(policy.ErrLimit):
		return http.StatusConflict, errorPage{
			Title: v.t("Oltre il limite del dominio", "Over the limit of the domain"),
			Text: v.t("Il gestore ha dato al dominio un limite di archivi e di spazio, e così sarebbe superato. Non è stato cambiato nulla.",
				"The operator has given the domain a limit of archives and of room, which this would exceed. Nothing was changed."),
		}
	case is(policy.ErrConfirmation):
		return http.StatusBadRequest, errorPage{
			Title: v.t("Conferma mancante", "Not confirmed"),
			Text:  v.t("L'indirizzo scritto per conferma non è quello della casella. Non è stato cambiato nulla.", "The address that was typed is not that of the mailbox. Nothing was changed."),
		}
	case is(policy.ErrAddress, policy.ErrSetting, policy.ErrUnknownDomain, archive.ErrRequest, journal.ErrFolder, auth.ErrName, auth.ErrDelegate, auth.ErrCode):
		return http.StatusBadRequest, errorPage{
			Title: v.t("Qualcosa non va in quello che è stato scritto", "Something is wrong with what was typed"),
			Text:  v.t("Non è stato cambiato nulla. Tornare indietro e controllare.", "Nothing was changed. Go back and check."),
		}
	case is(auth.ErrUnavailable, archive.ErrMailstore):
		return http.StatusServiceUnavailable, errorPage{
			Title: v.t("Non disponibile al momento", "Not available at the moment"), Text: v.t("Riprovare fra qualche minuto.", "Try again in a few minutes."),
		}
	case is(journal.ErrDamaged):
		return http.StatusInternalServerError, errorPage{
			Title: v.t("Una parte dell'archivio non si può leggere", "A part of the archive cannot be read"),
			Text:  v.t("Il gestore è avvisato. Il resto dell'archivio non è toccato.", "The operator is told. The rest of the archive is not affected."),
		}
	}
	return http.StatusInternalServerError, errorPage{
		Title: v.t("Qualcosa non ha funzionato", "Something went wrong"), Text: v.t("Riprovare fra qualche minuto.", "Try again in a few minutes."),
	}
}
