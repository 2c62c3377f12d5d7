package pages

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
)

func settingsRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/settings", For: OfMailbox, Right: archive.RightLook, serve: (*visit).showSettings},
		{Pattern: "POST /mailbox/{mailbox}/settings/{form}", For: OfMailbox, Right: archive.RightSet, serve: (*visit).saveSettings},
		{Pattern: "POST /mailbox/{mailbox}/notify/confirm", For: OfMailbox, Right: archive.RightSet, serve: (*visit).confirmNotify},
		{Pattern: "POST /mailbox/{mailbox}/archive/enable", For: OfMailbox, Right: archive.RightArchive, serve: (*visit).enable},
		{Pattern: "POST /mailbox/{mailbox}/archive/restore", For: OfMailbox, Right: archive.RightArchive, serve: (*visit).restore},
		{Pattern: "POST /mailbox/{mailbox}/archive/pause", For: OfMailbox, Right: archive.RightPause, serve: (*visit).pause},
		{Pattern: "POST /mailbox/{mailbox}/archive/resume", For: OfMailbox, Right: archive.RightPause, serve: (*visit).resume},
		{Pattern: "GET /mailbox/{mailbox}/archive/disable", For: OfMailbox, Right: archive.RightArchive, serve: (*visit).askDisable},
		{Pattern: "POST /mailbox/{mailbox}/archive/disable", For: OfMailbox, Right: archive.RightArchive, serve: (*visit).disable},
	}
}

// settingsPage is what the page of the settings of a mailbox shows.
type settingsPage struct {
	Mailbox  *archive.Mailbox
	Base     string // the path of the pages about the mailbox, with a slash at its end
	State    string // of the archive, in a sentence
	Sections []settingSection
	Saved    string // the form that has just been saved
	Trouble  string // what was wrong with an act on the archive
	Pending  *pendingNotify
}

// pendingNotify is an address for notices that waits for its confirmation.
type pendingNotify struct {
	policy.Pending
	Trouble string // why the last code did not do
	Sent    bool   // a code is sent to it; otherwise the operator confirms it
}

// about returns the path of a page about the mailbox, under the page on which the reader is: an owner's, or a postmaster's.
func (v *visit) about(parts ...string) string {
	if domain := v.PathValue("domain"); domain != "" {
		return domainPath(domain, append([]string{"mailboxes", v.mailbox.String()}, parts...)...)
	}
	return v.path(parts...)
}

// base is about for what templates join names to: it ends with a slash.
func (v *visit) base() string { return strings.TrimSuffix(v.about(""), "/") + "/" }

// mailboxNow returns the mailbox of the page.
func (v *visit) mailboxNow() (*archive.Mailbox, error) {
	m, err := v.pages.options.Archive.Mailbox(v.Context(), v.who, v.mailbox)
	return &m, err
}

// settingsNow returns the settings of the mailbox of the page.
func (v *visit) settingsNow() (policy.Settings, error) {
	return v.pages.options.Archive.Settings(v.Context(), v.mailbox)
}

func (v *visit) showSettings() error {
	return v.renderSettings(http.StatusOK, typed{}, func(*settingsPage) {})
}

// renderSettings answers with the settings. What was typed and is wrong stands in its form; edit may change the page.
func (v *visit) renderSettings(status int, wrong typed, edit func(*settingsPage)) error {
	m, err := v.mailboxNow()
	if err != nil {
		return err
	}
	s, err := v.settingsNow()
	if err != nil {
		return err
	}
	p := &settingsPage{Mailbox: m, Base: v.base(), State: v.stateText(m), Saved: v.URL.Query().Get("saved"), Sections: v.settingSections(m, s, wrong)}
	if s.NotifyPending.Address != (policy.Address{}) {
		p.Pending = &pendingNotify{Pending: s.NotifyPending, Sent: v.pages.options.Archive.Notifies()}
	}
	edit(p)
	return v.render(status, "settings.html", p)
}

// saveSettings makes what was typed into one form a setting, or several. What loses something must be confirmed first.
func (v *visit) saveSettings() error {
	form := v.PathValue("form")
	if len(formKeys(form)) == 0 {
		return errNoPage
	}
	if err := v.ParseForm(); err != nil {
		return complain(http.StatusBadRequest, "Il modulo inviato non si può leggere. Tornare indietro e riprovare.", "The form that was sent cannot be read. Go back and try again.")
	}
	now, err := v.settingsNow()
	if err != nil {
		return err
	}
	assignments := readForm(form, v.PostForm, now.Filter)
	if v.PostForm.Get("confirmed") != "yes" {
		lost, err := v.losses(assignments)
		if err != nil {
			return err
		}
		if len(lost.Warnings) > 0 {
			return v.askConfirm(form, lost)
		}
	}
	m, err := v.pages.options.Archive.Set(v.Context(), v.who, v.mailbox, assignments)
	if errors.Is(err, policy.ErrSetting) || errors.Is(err, policy.ErrLimit) {
		return v.renderSettings(http.StatusUnprocessableEntity, typed{form, v.PostForm, err}, func(*settingsPage) {})
	}
	if err != nil {
		return err
	}
	if form == policy.KeyNotify && m.Changed != nil && !*m.Changed {
		form = "notify-same"
	}
	v.redirect(v.about("settings")+"?saved="+url.QueryEscape(form)+"#form-"+url.PathEscape(form), "")
	return nil
}

// confirmPage asks for the confirmation of a change that loses something.
type confirmPage struct {
	loss
	Action, Back string
	Values       []formValue
	Deletes      bool   // messages go by it
	Zip          string // the path of the page that saves them; empty where the reader may not read them
	Export       string // then: who can save them
}

// askConfirm asks for the confirmation of what was typed into a form.
func (v *visit) askConfirm(form string, lost loss) error {
	p := confirmPage{loss: lost, Action: v.about("settings", form), Back: v.about("settings"), Values: hidden(v.PostForm)}
	p.Deletes = form == policy.KeyRetention || v.PostForm.Get(policy.KeyWhenFull) == string(policy.WhenFullMakeRoom)
	err := v.pages.options.Archive.May(v.Context(), v.who, archive.RightRead, v.mailbox)
	if err != nil && !errors.Is(err, policy.ErrForbidden) {
		return err
	}
	if err == nil {
		p.Zip = v.path("zip")
	} else {
		p.Export = v.exportText()
	}
	return v.render(http.StatusOK, "confirm-settings.html", p)
}

type formValue struct{ Name, Value string }

// hidden returns the values of a form, in the order of their names, for a form that sends them once more.
func hidden(form url.Values) []formValue {
	var list []formValue
	for name, values := range form {
		for _, value := range values {
			list = append(list, formValue{name, value})
		}
	}
	slices.SortStableFunc(list, func(a, b formValue) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// losses says what changes of settings would lose, or open, as people must know before.
func (v *visit) losses(assignments []policy.Assignment) (lost loss, err error) {
	m, err := v.mailboxNow()
	if err != nil {
		return lost, err
	}
	for _, a := range assignments {
		if a.Value == valueOf(m, a.Key) {
			continue
		}
		var text string
		switch a.Key {
		case policy.KeyRetention:
			text, lost.Months, err = v.retentionLoss(a.Value)
		case policy.KeyQuota:
			if quota, bad := policy.ParseQuota(a.Value); bad == nil && quota > 0 && uint64(quota) < m.Bytes {
				text = v.t("L'archivio occupa già %s, più del nuovo spazio: sarà subito pieno.", "The archive already takes %s, more than the new room: it will be full at once.",
					sizeText(v.language, m.Bytes))
			}
		case policy.KeyWhenFull:
			if a.Value == string(policy.WhenFullMakeRoom) {
				text = v.t("Quando l'archivio sarà pieno, ogni nuovo messaggio farà cancellare i più vecchi. Non si potranno recuperare.",
					"When the archive is full, each new message will have the oldest ones deleted. They cannot be brought back.")
			}
		case policy.KeyWrite:
			if a.Value == "on" {
				text = v.t("Con l'archivio in scrittura i messaggi si possono spostare e cancellare: non prova più di essere completo da sé, anche se ogni atto resta nel registro.",
					"In a writable archive messages can be moved and deleted: it no longer shows by itself that it is complete, though each act stays in the log.")
			}
		}
		if err != nil {
			return lost, err
		}
		if text != "" {
			lost.Warnings = append(lost.Warnings, text)
		}
	}
	return lost, nil
}

// retentionLoss says what a shorter retention would delete, in a sentence and by month; nothing of one that deletes no more than that in force, or that is
// none.
func (v *visit) retentionLoss(value string) (text string, byMonth []journal.MonthLoss, err error) {
	months, err := policy.ParseRetention(value)
	if err != nil || months == 0 {
		return "", nil, nil
	}
	p, err := v.pages.options.Archive.PreviewRetention(v.Context(), v.mailbox, value)
	if err != nil {
		return "", nil, err
	}
	if now, err := policy.ParseRetention(p.InForce); err == nil && now > 0 && now <= months {
		return "", nil, nil
	}
	switch {
	case p.Held != nil:
		return v.t("Saranno cancellati i messaggi più vecchi di %d mesi, ma solo quando sarà tolto il blocco legale.",
			"Messages older than %d months will be deleted, but only once the legal hold is lifted.", months), nil, nil
	case p.Entries == 0:
		return v.t("Saranno cancellati i messaggi più vecchi di %d mesi. Adesso non ce n'è nessuno.", "Messages older than %d months will be deleted. There are none now.", months), nil, nil
	}
	return v.t("Saranno cancellati i messaggi più vecchi di %d mesi: adesso sono %s, %s in tutto, il più vecchio del %s. Non si potranno recuperare.",
		"Messages older than %d months will be deleted: %s at this moment, %s in all, the oldest of %s. They cannot be brought back.",
		months, numberText(v.language, p.Entries), sizeText(v.language, p.Bytes), dayText(v.language, v.zone, *p.Oldest)), p.Months, nil
}

// confirmNotify takes the code that was sent to the new address for notices.
func (v *visit) confirmNotify() error {
	code := strings.TrimSpace(v.PostFormValue("code"))
	trouble := ""
	if code == "" {
		trouble = v.t("Scrivere il codice ricevuto per e-mail.", "Type the code that came by mail.")
	} else {
		_, err := v.pages.options.Archive.ConfirmNotify(v.Context(), v.who, v.mailbox, code)
		switch {
		case errors.Is(err, notice.ErrCode):
			trouble = v.t("Il codice non è quello inviato. Controllarlo, o chiederne un altro: dopo cinque errori non vale più.",
				"That is not the code that was sent. Check it, or ask for another: after five mistakes it is void.")
		case errors.Is(err, policy.ErrNotPending), errors.Is(err, policy.ErrSetting):
			trouble = v.t("Questo indirizzo non si può più confermare. Scriverlo di nuovo.", "This address can no longer be confirmed. Type it again.")
		case err != nil:
			return err
		}
	}
	if trouble == "" {
		v.redirect(v.about("settings")+"?saved=notify-confirmed#form-notify", "")
		return nil
	}
	return v.renderSettings(http.StatusUnprocessableEntity, typed{}, func(p *settingsPage) {
		if p.Pending == nil {
			p.Trouble = trouble
			return
		}
		p.Pending.Trouble = trouble
	})
}

// May reports whether the reader has a right in the mailbox, or may change a setting.
func (p *settingsPage) May(right string) bool { return slices.Contains(p.Mailbox.May, right) }
