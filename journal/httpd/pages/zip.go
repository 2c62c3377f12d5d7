package pages

import (
	"net/http"
	"strconv"

	"copialettere/journal/export"
	"copialettere/policy/archive"
)

func zipRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/zip", For: OfMailbox, Right: archive.RightRead, serve: (*visit).askZIP},
		{Pattern: "POST /mailbox/{mailbox}/zip", For: OfMailbox, Right: archive.RightRead, form: maxSelection, slow: true, serve: (*visit).sendZIP},
		{Pattern: "POST /mailbox/{mailbox}/messages/zip", For: OfMailbox, Right: archive.RightRead, form: maxSelection, serve: (*visit).askZIP},
	}
}

// askZIP shows how much a ZIP will hold: of what is selected or, where the page is only visited, of whatever folder and q ask for.
func (v *visit) askZIP() error {
	s := selection{}
	if v.Method == http.MethodGet {
		q, trouble := v.query(v.URL.Query())
		if trouble != "" {
			return archive.ErrRequest
		}
		s.query = &q
	} else {
		var err error
		if s, err = v.selected(); err != nil {
			return err
		}
	}
	c, err := v.count(s)
	if err != nil {
		return err
	}
	page := v.confirmation(c)
	page.Title = v.t("Scaricare %s?", "Download %s?", v.amount(c.messages))
	page.Action, page.Button = v.path("zip"), v.t("Scarica lo ZIP", "Download the ZIP")
	if s.query != nil {
		// What comes meanwhile belongs to it, too.
		values := queryValues(*s.query)
		page.Messages, page.All, page.Folder, page.Query = nil, true, values.Get("folder"), values.Get("q")
		page.Back = v.path("messages") + queryText(*s.query)
	}
	page.Text = append(page.Text,
		v.t("Sono %s prima della compressione. Il file contiene ogni messaggio come è in archivio (.eml), un elenco con le impronte SHA-256 (manifest.csv), le stesse impronte per sha256sum (SHA256SUMS) e le lacune del periodo (gaps.csv).",
			"They take %s before compression. The file holds each message as it is in the archive (.eml), a list with the SHA-256 digests (manifest.csv), the same digests for sha256sum (SHA256SUMS), and the gaps of that time (gaps.csv).",
			sizeText(v.language, c.bytes)),
		v.t("Se un messaggio non si può leggere, il file lo dice (INCOMPLETE.txt). Se lo scaricamento si interrompe, il file non è valido: ricominciare.",
			"If a message cannot be read, the file says so (INCOMPLETE.txt). If the download breaks off, the file is not valid: begin again."))
	return v.confirm(page)
}

// sendZIP answers with the ZIP of what is selected.
func (v *visit) sendZIP() error {
	s, err := v.selected()
	if err != nil {
		return err
	}
	release, ok := v.pages.zips.Take(v.Context(), v.session.Login.String())
	if !ok {
		return v.zipBusy()
	}
	defer release()
	c, err := v.count(s)
	if err != nil {
		return err
	}
	if c.messages == 0 && len(c.passed) == 0 {
		return complain(http.StatusConflict, "Nessuno dei messaggi scelti è in archivio.", "None of the messages selected is in the archive.")
	}
	if err := v.pages.options.Archive.NoteExport(v.Context(), v.who, v.mailbox, "messages:"+strconv.FormatUint(c.messages, 10)); err != nil {
		return err
	}
	v.zipHeader(v.zipName(s, c))
	out := &selectedZIP{
		to: v.w, reader: v.reader(), gaps: v.pages.options.Archive.Gaps(v.Context(), v.mailbox), zone: v.zone,
		mailbox: v.mailbox.String(), log: v.pages.options.Logger,
	}
	if s.query != nil {
		out.since, out.until = s.query.Since, s.query.Until
	}
	if err := out.write(v.Context(), c); err != nil {
		v.pages.options.Logger.Warn("a ZIP broke off", "mailbox", v.mailbox, "error", err)
		panic(http.ErrAbortHandler) // so that the browser sees that the file is not whole
	}
	return nil
}

// zipName returns the name of the file: "anna@alpha.test INBOX 2026-11.zip" for a month.
func (v *visit) zipName(s selection, c counted) string {
	name := v.mailbox.String()
	switch {
	case s.query != nil && s.query.Folder != "":
		name += "-" + s.query.Folder
	case len(c.folders) == 1:
		name += "-" + c.folders[0].FolderName()
	}
	return export.PlainName(name, 100) + ".zip"
}
