package pages

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"

	"copialettere/journal/export/intake"
	"copialettere/journal/httpd"
	"copialettere/policy"
	"copialettere/policy/archive"
)

func importRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/import", For: OfMailbox, Right: archive.RightImport, serve: (*visit).showImport},
		{Pattern: "POST /mailbox/{mailbox}/import", For: OfMailbox, Right: archive.RightImport, form: maxUpload, slow: true, serve: (*visit).importFiles},
	}
}

const (
	maxUpload = 500_000_000 // bytes of all files of a form; they wait in a temporary file, one at a time
	// mostUploads is how many forms with files are read at a time, of all readers together.
	mostUploads = 2
	// importTime is how long messages are imported after a file has come. A browser, or a proxy before it, would not wait much longer for the answer.
	importTime = 45 * time.Second
	// shownLeft is how many of those that were not taken are shown one by one.
	shownLeft = 200
)

// importPage is the form for files, and what became of those that were sent.
type importPage struct {
	Limit    string // how much a form may have
	Most     int64  // the same, in bytes
	Done     bool   // files were sent
	Imported uint64
	Already  uint64
	Skipped  uint64
	Left     []importRow // that were not taken
	MoreLeft uint64
	Folder   string   // where they are, as queries have it
	Trouble  string   // why the rest was not tried
	Unread   []string // months that cannot be read
}

// importRow is something that was not taken.
type importRow struct{ Where, Why string }

func (v *visit) showImport() error {
	// Whether it may be is said before anybody chooses a file.
	if _, err := v.pages.options.Archive.Import(v.Context(), v.who, v.mailbox, archive.ImportOptions{}); err != nil {
		return v.importError(err)
	}
	return v.render(http.StatusOK, "import.html", importPage{Limit: v.language.Size(maxUpload), Most: maxUpload})
}

// tooLarge says that a form has more than maxUpload.
func (v *visit) tooLarge() error {
	limit := v.language.Size(maxUpload)
	return complain(http.StatusRequestEntityTooLarge, "I file sono troppo grandi per questa pagina ("+limit+" in tutto): inviarli un po' alla volta, o chiedere al gestore.",
		"The files are too large for this page ("+limit+" in all): send a few at a time, or ask your provider.")
}

// importError says why nothing can be imported.
func (v *visit) importError(err error) error {
	switch {
	case errors.Is(err, archive.ErrReadOnly):
		return complain(http.StatusForbidden, "In questo archivio non si possono inserire messaggi: va prima attivata l'impostazione «Abilita l'inserimento manuale di messaggi».",
			"No messages can be put into this archive: first turn on the setting “Older messages may be put in by hand”.")
	case errors.Is(err, archive.ErrNotOn):
		return complain(http.StatusConflict, "L'archivio non è attivo: adesso non prende messaggi.", "The archive is not on: it takes no messages now.")
	}
	return err
}

// importFiles imports the files of a form, and shows what became of them. A second time nothing comes twice, so it needs no redirect.
func (v *visit) importFiles() error {
	if v.ContentLength > maxUpload { // nobody is to wait for what would be refused in the end
		return v.tooLarge()
	}
	release, ok := v.pages.imports.Take(v.Context(), v.session.Login.String())
	if !ok {
		return complain(http.StatusTooManyRequests, "Un'altra importazione è già in corso. Aspettare che finisca, poi riprovare.", "Another import is under way. Wait for its end, then try again.")
	}
	defer release()
	release, ok = v.pages.uploads.Take(v.Context(), "")
	if !ok {
		return complain(http.StatusTooManyRequests, "Adesso troppi importano file. Riprovare tra qualche minuto.", "Too many import files now. Try again in some minutes.")
	}
	defer release()
	body := httpd.NewPatientReader(v.w, v.Body)
	parts, err := (&http.Request{Method: v.Method, Header: v.Header, Body: io.NopCloser(body)}).MultipartReader()
	if err != nil {
		return fmt.Errorf("%w: %w", archive.ErrRequest, err)
	}
	u := &upload{visit: v, body: body, page: importPage{Limit: v.language.Size(maxUpload), Most: maxUpload, Done: true}}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return v.render(http.StatusOK, "import.html", u.page)
		}
		if err == nil && part.FileName() != "" && u.page.Trouble == "" {
			err = u.file(part)
		}
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			if u.page.Imported+u.page.Already == 0 {
				return v.tooLarge()
			}
			u.page.Trouble = v.t("Il resto è troppo grande per questa pagina: inviarlo un po' alla volta, o chiedere al gestore.", "The rest is too large for this page: send a few files at a time, or ask your provider.")
			return v.render(http.StatusOK, "import.html", u.page)
		}
		if err != nil {
			return v.importError(err)
		}
	}
}

// upload is the files of one form.
type upload struct {
	*visit
	body *httpd.PatientReader
	page importPage
}

// file keeps a file in a temporary one, which has no name, and imports what it holds.
func (u *upload) file(part *multipart.Part) error {
	temporary, err := os.CreateTemp("", "copialettere-upload-")
	if err != nil {
		return fmt.Errorf("keep an uploaded file: %w", err)
	}
	defer temporary.Close()
	if err := os.Remove(temporary.Name()); err != nil {
		return fmt.Errorf("keep an uploaded file: %w", err)
	}
	size, err := io.Copy(temporary, part)
	if err != nil {
		return fmt.Errorf("take in an uploaded file: %w", err)
	}
	name := part.FileName()
	importing, err := u.pages.options.Archive.Import(u.Context(), u.who, u.mailbox, archive.ImportOptions{From: name})
	if err != nil {
		return err
	}
	until := time.Now().Add(importTime)
	for found, err := range intake.WalkFile(u.Context(), temporary, size, intake.Options{Limits: intake.UploadLimits(), Name: name}) {
		u.body.Extend()
		switch {
		case err != nil:
			return err
		case found.Left != nil:
			u.left(found.Left)
			continue
		}
		p := found.Piece
		kept, err := importing.Keep(u.Context(), archive.Piece{Folder: p.Folder, Date: p.Date, Source: p.Source, Quoting: p.Quoting, Size: p.Size, Message: p.Message})
		if err != nil {
			return err
		}
		u.count(p, kept)
		if u.page.Trouble == "" && time.Now().After(until) {
			u.page.Trouble = u.t("Il file è lungo: i messaggi importati finora sono al sicuro. Inviare di nuovo lo stesso file per proseguire.",
				"The file is long: the messages that were imported so far are safe. Send the same file again to go on.")
		}
		if u.page.Trouble != "" {
			return nil
		}
	}
	return nil
}

// count counts what became of a message.
func (u *upload) count(p *intake.Piece, kept archive.Kept) {
	u.page.Unread = nil
	for _, m := range kept.Unread {
		u.page.Unread = append(u.page.Unread, monthText(u.language, string(m)))
	}
	switch kept.State {
	case archive.KeptImported:
		u.page.Imported++
		u.page.Folder, _, _ = strings.Cut(kept.Folder, "/")
	case archive.KeptDuplicate:
		u.page.Already++
	case archive.KeptFull:
		u.page.Trouble = u.t("L'archivio è pieno: il resto non è stato importato. Fatto posto, inviare di nuovo lo stesso file per proseguire.",
			"The archive is full: the rest was not imported. When there is room, send the same file again to go on.")
		u.row(p.Source, u.t("l'archivio è pieno", "the archive is full"))
	case archive.KeptTooLarge:
		u.row(p.Source, u.t("più grande di quanto l'archivio prende", "larger than the archive takes"))
	}
	if kept.State != archive.KeptFull && kept.State != archive.KeptTooLarge && p.SHA256 != "" && p.SHA256 != kept.SHA256 {
		u.row(p.Source, u.t("preso, ma non è uguale a quello che è stato esportato: è stato cambiato dopo", "taken, but it is not the same that was exported: it was changed since"))
	}
}

func (u *upload) left(l *intake.Left) {
	switch l.Kind {
	case intake.Skipped:
		u.page.Skipped++
	case intake.Refused:
		u.row(l.Source, policy.Label{Italian: l.Italian, English: l.Why}.In(u.language))
	}
}

func (u *upload) row(where, why string) {
	if len(u.page.Left) == shownLeft {
		u.page.MoreLeft++
		return
	}
	u.page.Left = append(u.page.Left, importRow{calm(where), calm(why)})
}
