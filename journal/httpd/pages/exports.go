package pages

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"copialettere/journal/export"
	"copialettere/journal/export/jobs"
	"copialettere/journal/export/sincro"
	"copialettere/journal/httpd"
	"copialettere/journal/search"
	"copialettere/policy/archive"
)

func exportRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/exports", For: OfMailbox, Right: archive.RightRead, serve: (*visit).showExports},
		{Pattern: "POST /mailbox/{mailbox}/exports", For: OfMailbox, Right: archive.RightRead, serve: (*visit).startExport},
		{Pattern: "POST /mailbox/{mailbox}/exports/remove", For: OfMailbox, Right: archive.RightRead, serve: (*visit).removeExport},
		{Pattern: "GET /mailbox/{mailbox}/exports/{export}/zip", For: OfMailbox, Right: archive.RightRead, slow: true, serve: (*visit).sendExport},
	}
}

// exportsPage is what the page of the exports that the daemon writes shows.
type exportsPage struct {
	Base         string
	Rows         []exportRow
	Live         bool // one of them is not written yet
	Tree         []folderKind
	Folder       string
	Groups       []classGroup
	Since, Until string
	Sincro       sincro.Agent // who answers for the ZIP before a service for legal preservation; zero for nobody
	Trouble      string       // what is wrong with what was typed
}

// exportRow is one export in words.
type exportRow struct {
	jobs.Job
	What, Who string
}

// Waits, Runs, Done and Full report how far it is.
func (r *exportRow) Waits() bool { return r.State == jobs.StateWaiting }

// Runs reports whether it is being written.
func (r *exportRow) Runs() bool { return r.State == jobs.StateRunning }

// Done reports whether its ZIP is there.
func (r *exportRow) Done() bool { return r.State == jobs.StateDone }

// Full reports whether there was no room for it.
func (r *exportRow) Full() bool { return r.Reason == jobs.ReasonRoom }

func (v *visit) showExports() error { return v.renderExports(http.StatusOK, exportsPage{}) }

func (v *visit) renderExports(status int, p exportsPage) error {
	if v.pages.options.Exports == nil {
		return errNoPage
	}
	list, err := v.pages.options.Exports.List(v.Context(), v.who, v.mailbox)
	if err != nil {
		return err
	}
	for _, one := range list {
		role, name, _ := strings.Cut(one.By, " ")
		p.Rows = append(p.Rows, exportRow{one, v.exportedText(one.Selection.String()), v.actorText("", role+" "+name)})
		p.Live = p.Live || one.Unended()
	}
	stats, damaged, err := v.folders()
	if err != nil {
		return err
	}
	p.Tree, _ = folderTree(v.language, stats, damaged, p.Folder)
	if p.Base = v.base(); p.Groups == nil {
		p.Groups = v.classGroups(search.Query{})
	}
	// The script of this page asks for it again while an export is written.
	return v.renderAs(status, "exports.html", "_layout.html", v.pages.policy+"; connect-src 'self'", p)
}

// startExport begins an export of what the form asks for.
func (v *visit) startExport() error {
	if v.pages.options.Exports == nil {
		return errNoPage
	}
	if err := v.ParseForm(); err != nil {
		return err
	}
	s, trouble := v.exportSelection(v.PostForm)
	typed := sincro.Agent{}
	for name, to := range map[string]*string{"sincro-id": &typed.ID, "sincro-name": &typed.Name, "sincro-document": &typed.Document} {
		*to = strings.TrimSpace(v.PostForm.Get(name))
	}
	var agent *sincro.Agent
	if trouble == "" && typed != (sincro.Agent{}) {
		agent = &typed
		trouble = v.agentTrouble(agent)
	}
	if trouble == "" {
		_, err := v.pages.options.Exports.Start(v.Context(), v.who, v.mailbox, s, agent)
		switch {
		case err == nil:
			v.redirect(v.about("exports"), "export-begun")
			return nil
		case errors.Is(err, jobs.ErrMany):
			trouble = v.t("Ci sono già troppe esportazioni. Eliminarne una che non serve più, o riprovare più tardi.", "There are too many exports already. Remove one that is not needed any more, or try again later.")
		case errors.Is(err, export.ErrSelection):
			trouble = v.t("Questa scelta non ha senso.", "That choice makes no sense.")
		default:
			return err
		}
	}
	return v.renderExports(http.StatusUnprocessableEntity, exportsPage{
		Folder: s.Folder, Since: v.PostForm.Get("since"), Until: v.PostForm.Get("until"), Sincro: typed, Trouble: trouble, Groups: v.classGroups(search.Query{Classes: v.PostForm["class"]}),
	})
}

// agentTrouble says what is wrong with who answers for a ZIP; empty for nothing.
func (v *visit) agentTrouble(a *sincro.Agent) string {
	switch err := a.Check(); {
	case err == nil:
		return ""
	case errors.Is(err, sincro.ErrName):
		return v.t("Conservazione a norma: manca il nome di chi versa.", "Legal preservation: the name of who hands it over is missing.")
	case errors.Is(err, sincro.ErrDocument):
		return v.t("Conservazione a norma: manca il documento, per esempio Contratto di conservazione 12/2026.", "Legal preservation: the document is missing, such as Contratto di conservazione 12/2026.")
	}
	return v.t("Conservazione a norma: scrivere l'identificativo come VATIT-01234567890, o TINIT- e il codice fiscale.", "Legal preservation: type the identifier as VATIT-01234567890, or TINIT- and the tax code.")
}

// exportSelection returns what a form asks for. Days are those of the reader's zone, and the last one is included.
func (v *visit) exportSelection(form url.Values) (s export.Selection, trouble string) {
	s.Folder, s.Class = form.Get("folder"), strings.Join(form["class"], ",")
	for _, field := range []struct {
		name string
		days int
		to   *time.Time
	}{{"since", 0, &s.Since}, {"until", 1, &s.Until}} {
		text := strings.TrimSpace(form.Get(field.name))
		if text == "" {
			continue
		}
		day, err := time.ParseInLocation(dayLayout, text, v.zone)
		if err != nil || day.Year() < 1 || day.Year() > 9998 {
			return s, v.t("Scrivere un giorno come %s.", "Type a day such as %s.", time.Now().Format(dayLayout))
		}
		*field.to = day.AddDate(0, 0, field.days)
	}
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		return s, v.t("L'ultimo giorno viene prima del primo.", "The last day comes before the first one.")
	}
	return s, ""
}

func (v *visit) removeExport() error {
	if v.pages.options.Exports == nil {
		return errNoPage
	}
	if _, err := v.pages.options.Exports.Remove(v.Context(), v.who, v.mailbox, v.PostFormValue("export")); err != nil {
		return err
	}
	v.redirect(v.about("exports"), "export-removed")
	return nil
}

// sendExport answers with the ZIP of an export, or with the parts of it that the browser lacks.
func (v *visit) sendExport() error {
	if v.pages.options.Exports == nil {
		return errNoPage
	}
	zip, err := v.pages.options.Exports.Open(v.Context(), v.who, v.mailbox, v.PathValue("export"))
	if errors.Is(err, jobs.ErrUnfinished) {
		return complain(http.StatusConflict, "L'esportazione non è ancora finita.", "The export is not finished yet.")
	}
	if err != nil {
		return err
	}
	defer zip.Close()
	h := v.w.Header()
	name := export.PlainName(v.mailbox.String()+"-"+zip.Asked.In(v.zone).Format("20060102-1504"), 100) + ".zip"
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	v.hardenDownload()
	httpd.ServeExport(v.w, v.Request, zip)
	return nil
}
