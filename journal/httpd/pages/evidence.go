package pages

import (
	"errors"
	"mime"
	"net/http"
	"time"

	"copialettere/journal/export/bundle"
	"copialettere/policy/archive"
)

func evidenceRoutes() []Route {
	return []Route{
		{Pattern: "POST /mailbox/{mailbox}/messages/{folder}/{uid}/bundle", For: OfMailbox, Right: archive.RightRead, slow: true, serve: (*visit).sendBundle},
	}
}

// sendBundle answers with the evidence bundle of the message of the path, or with practice=1 of all of its practice.
func (v *visit) sendBundle() error {
	o, err := v.open()
	if err != nil {
		return err
	}
	release, ok := v.pages.zips.Take(v.Context(), v.session.Login.String())
	if !ok {
		return v.zipBusy()
	}
	defer release()
	options := v.pages.options
	b, err := bundle.Open(v.Context(), bundle.Options{
		Source: bundle.Of(options.Archive, v.who, v.mailbox), Mailbox: v.mailbox.String(), Ref: o.entry.Ref, Practice: v.PostFormValue("practice") == "1",
		Program: options.Version, Now: time.Now(), Zone: v.zone, Logger: options.Logger,
	})
	if errors.Is(err, bundle.ErrNoPractice) {
		return complain(http.StatusConflict, "Il messaggio non fa parte di una pratica di posta certificata.", "The message belongs to no practice of certified mail.")
	}
	if err != nil {
		return err
	}
	v.zipHeader(b.Name())
	return v.broken(b.Write(v.Context(), v.w))
}

// zipBusy says that the reader's other ZIP is under way.
func (v *visit) zipBusy() error {
	v.w.Header().Set("Retry-After", "30")
	return complain(http.StatusTooManyRequests, "Un altro ZIP è già in corso. Aspettare che finisca, poi riprovare.", "Another ZIP is under way. Wait until it is done, then try again.")
}

// zipHeader sets the headers of a ZIP to be downloaded under a name.
func (v *visit) zipHeader(name string) {
	h := v.w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}
