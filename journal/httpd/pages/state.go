package pages

import (
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// stateText says in a sentence or two how the archive is, and what that means.
func (v *visit) stateText(m *archive.Mailbox) string {
	since := func(t *time.Time) string { return dayText(v.language, v.zone, *t) }
	switch {
	case m.Archive == string(policy.StateOn) && m.Since != nil:
		return v.t("L'archivio è attivo dal %s: la posta che arriva e che parte viene archiviata al momento della consegna.",
			"The archive has been on since %s: mail that arrives and mail that is sent is archived as it is delivered.", since(m.Since))
	case m.Archive == string(policy.StatePaused) && m.Paused != nil:
		return v.t("L'archivio è in pausa dal %s: adesso non si archivia nulla. Quello che contiene resta e si può leggere.",
			"The archive has been paused since %s: nothing is archived at the moment. What it holds stays and can be read.", since(m.Paused))
	case m.Archive == string(policy.StateClosed):
		return v.t("La casella è passata a un'altra persona: questo archivio non riceve più posta.", "The mailbox has gone to another person: this archive takes no more mail.")
	case m.Erasure == string(policy.ErasureDue) && m.EraseAt != nil:
		return v.t("L'archivio è disattivato e sarà cancellato con tutto il suo contenuto dopo il %s. Fino ad allora si può ripristinare.",
			"The archive is switched off, and will be erased with all that it holds after %s. Until then it can be restored.", timeText(v.language, v.zone, *m.EraseAt))
	case m.Erasure == string(policy.ErasureRunning):
		return v.t("L'archivio è disattivato e la sua cancellazione è in corso.", "The archive is switched off, and is being erased.")
	}
	return v.t("L'archivio non è attivo: la posta di questa casella non viene archiviata.", "The archive is off: mail of this mailbox is not archived.")
}

// upperFirst returns a text with its first letter in upper case.
func upperFirst(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// enable turns the archive on, and shows what is archived from now on.
func (v *visit) enable() error {
	if _, err := v.pages.options.Archive.Enable(v.Context(), v.who, v.mailbox); err != nil {
		return err
	}
	v.redirect(v.about("terms"), "enabled")
	return nil
}

func (v *visit) restore() error {
	_, err := v.pages.options.Archive.Restore(v.Context(), v.who, v.mailbox)
	return v.turned(err, "restored")
}

func (v *visit) pause() error {
	_, err := v.pages.options.Archive.Pause(v.Context(), v.who, v.mailbox)
	return v.turned(err, "paused")
}

func (v *visit) resume() error {
	_, err := v.pages.options.Archive.Resume(v.Context(), v.who, v.mailbox)
	return v.turned(err, "resumed")
}

// turned goes back to the settings after an act on the archive.
func (v *visit) turned(err error, done string) error {
	if err == nil {
		v.redirect(v.about("settings"), done)
	}
	return err
}

// disablePage is what the page that asks whether to switch the archive off shows.
type disablePage struct {
	Mailbox      *archive.Mailbox
	Action, Back string
	Zip          string // the path of the page that saves the messages; empty where the reader may not read them
	archive.Span        // of when the messages are
	Until        time.Time
	Confirm      string // what was typed
	Trouble      string
}

func (v *visit) askDisable() error { return v.renderDisable(http.StatusOK, "", "") }

// renderDisable says what switching the archive off would lose.
func (v *visit) renderDisable(status int, confirm, trouble string) error {
	m, err := v.mailboxNow()
	if err != nil {
		return err
	}
	if m.Archive == string(policy.StateOff) {
		v.redirect(v.about("settings"), "")
		return nil
	}
	p := disablePage{
		Mailbox: m, Action: v.about("archive", "disable"), Back: v.about("settings"), Confirm: confirm, Trouble: trouble,
		Until: time.Now().Add(v.pages.options.Archive.Grace()),
	}
	if may(m, archive.RightRead) {
		p.Zip = v.path("zip")
	}
	if p.Span, err = v.pages.options.Archive.Span(v.Context(), v.mailbox); err != nil && !errors.As(err, new(journal.PassedOver)) {
		return err
	}
	return v.render(status, "disable.html", p)
}

func (v *visit) disable() error {
	confirm := strings.TrimSpace(v.PostFormValue("confirm"))
	_, err := v.pages.options.Archive.Disable(v.Context(), v.who, v.mailbox, confirm, false)
	if errors.Is(err, policy.ErrConfirmation) {
		return v.renderDisable(http.StatusUnprocessableEntity, confirm, v.t("Non è l'indirizzo della casella: scrivere %s.", "That is not the address of the mailbox: type %s.", v.mailbox))
	}
	return v.turned(err, "disabled")
}
