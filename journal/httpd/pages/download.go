package pages

import (
	"bufio"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"

	"copialettere/journal"
	"copialettere/journal/httpd"
	"copialettere/journal/httpd/body"
	"copialettere/journal/httpd/clamd"
	"copialettere/policy/pec"
)

// bodyTop is what comes before the text of a message in a page of its own. Mail is made for a light ground.
var bodyTop = template.Must(template.New("body").Parse(`<!DOCTYPE html>
<html lang="{{.Language}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{{.Title}}</title>
<style>
html{background:#fff;color:#1b1f24;font:100%/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans",sans-serif}
body{margin:.5rem;overflow-wrap:anywhere}
img{max-width:100%;height:auto}
pre,.plain{white-space:pre-wrap}
blockquote{margin:0 0 0 .25rem;padding-left:.75rem;border-left:3px solid #7a8694}
.cut{border-top:1px solid #7a8694;color:#4d5661}
</style>
</head>
<body>
`))

// serveBody answers with one text of a message, as a page of its own that can do nothing.
func (v *visit) serveBody() error {
	o, err := v.openWhole()
	if err != nil {
		return err
	}
	l, err := pec.FindPart(o.body, &o.entry.Parts, v.PathValue("part"))
	if err != nil {
		return err
	}
	kind := l.Part.Type
	if l.Part.IsMultipart() {
		kind = "text/plain" // it could not be opened
	}
	if kind != "text/plain" && kind != "text/html" {
		return pec.ErrNoPart
	}
	if _, err := l.Content().Read(make([]byte, 1)); err != nil && err != io.EOF {
		return err
	}
	images := v.FormValue("images") == "1"
	h := v.w.Header()
	h.Set("Content-Security-Policy", body.ContentPolicy(images))
	h.Set("Content-Type", "text/html; charset=utf-8")
	v.hardenDownload()
	if err := bodyTop.Execute(v.w, map[string]string{"Language": string(v.language), "Title": v.t("Testo del messaggio", "Text of the message")}); err != nil {
		return v.broken(err)
	}
	cut := false
	if kind == "text/html" {
		var found body.Found
		found, err = v.pages.sanitizer.Write(v.w, l, body.Options{Images: images, Related: o.related(l)})
		cut = found.Cut
	} else {
		io.WriteString(v.w, `<div class="plain" dir="auto">`)
		cut, err = body.WriteText(v.w, l, body.MaxText)
		io.WriteString(v.w, "</div>")
	}
	if err != nil {
		v.endsHere()
		return v.broken(err)
	}
	if cut {
		io.WriteString(v.w, `<p class="cut">`+template.HTMLEscapeString(v.t("Il testo continua: è intero nel messaggio da scaricare.", "The text goes on: it is whole in the message, which can be downloaded."))+"</p>")
	}
	_, err = io.WriteString(v.w, "\n</body>\n</html>\n")
	return v.broken(err)
}

// related returns the images that the text in a part may name: those of the same message.
func (o *opened) related(l *pec.Located) map[string]*pec.Located {
	parts := o.parts
	for number := l.Number; ; {
		i := strings.LastIndexByte(number, '.')
		if i < 0 {
			break
		}
		number = number[:i]
		if at := o.find(number); at != nil && at.Part.IsMessage() || at != nil && o.record != nil && number == o.numberOf(o.record.Message.Postacert) {
			parts = body.Inside(o.parts, number)
			break
		}
	}
	return body.Choose(parts).Related
}

// find returns the part with a number, or nil.
func (o *opened) find(number string) *pec.Located {
	for i := range o.parts {
		if o.parts[i].Number == number {
			return &o.parts[i]
		}
	}
	return nil
}

// hardenDownload sets the headers of an answer that holds what others wrote.
func (v *visit) hardenDownload() {
	h := v.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// endsHere says in the text of a message that it cannot be read further. Browsers show what they have of a page that is cut off, and nothing else.
func (v *visit) endsHere() {
	io.WriteString(v.w, `<p class="cut">`+template.HTMLEscapeString(v.t("Il resto del testo non si può leggere adesso.", "The rest of the text cannot be read now."))+"</p>")
	http.NewResponseController(v.w).Flush()
}

// broken ends an answer that has begun. One that is cut off shows the browser that it is not whole.
func (v *visit) broken(err error) error {
	if err == nil {
		return nil
	}
	if v.Context().Err() == nil {
		v.pages.options.Logger.Error("message not read whole", "mailbox", v.mailbox, "folder", v.PathValue("folder"), "uid", v.PathValue("uid"), "error", err)
	}
	panic(http.ErrAbortHandler)
}

// serveRaw answers with a message as it is. It is never scanned: it is the proof.
func (v *visit) serveRaw() error {
	o, err := v.open()
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Security-Policy", body.DownloadPolicy)
	h.Set("Content-Type", "message/rfc822")
	h.Set("Content-Disposition", body.Disposition("attachment", messageName(o.entry)))
	h.Set("Content-Length", strconv.FormatInt(o.entry.Size, 10))
	v.hardenDownload()
	if v.Method == http.MethodHead {
		return nil
	}
	n, err := o.body.WriteTo(v.w)
	if err != nil && n == 0 {
		h.Del("Content-Length")
		h.Del("Content-Disposition")
		return err
	}
	return v.broken(err)
}

// servePart answers with one part of a message, as a download; with show=1 an image as an image.
func (v *visit) servePart() error {
	o, err := v.open()
	if err != nil {
		return err
	}
	find := func() (*pec.Located, error) { return pec.FindPart(o.body, &o.entry.Parts, v.PathValue("part")) }
	l, err := find()
	if err != nil {
		return err
	}
	if err := v.scan(l); err != nil {
		return err
	}
	content := bufio.NewReader(l.Content())
	beginning, err := content.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	name := fileName(l)
	if n := o.record; n != nil && l.Number == o.numberOf(n.Message.Postacert) {
		name = "postacert.eml"
	}
	kind, disposition := body.ServedType(name), "attachment"
	if image := body.ImageType(beginning); image != "" && v.FormValue("show") == "1" {
		kind, disposition = image, "inline"
	}
	h := v.w.Header()
	h.Set("Content-Security-Policy", body.DownloadPolicy)
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", body.Disposition(disposition, name))
	v.hardenDownload()
	if v.Method == http.MethodHead {
		return nil
	}
	if err := httpd.SetLength(v.w, v.Request, l.Content()); err != nil {
		return v.broken(err)
	}
	_, err = io.Copy(v.w, content)
	return v.broken(err)
}

// scan asks the virus scanner about a part, where one is configured. The error is a page: a part with a virus is not given out by itself, since the
// message as it is stays the proof; one that could not be examined is given out after a second step, unscanned=1.
func (v *visit) scan(l *pec.Located) error {
	scanner := v.pages.options.Scanner
	if scanner == nil || v.Method == http.MethodHead {
		return nil
	}
	signature, err := scanner.Scan(v.Context(), l.Content())
	switch {
	case signature != "":
		v.pages.options.Logger.Warn("virus in a part", "mailbox", v.mailbox, "folder", v.PathValue("folder"), "uid", v.PathValue("uid"), "part", l.Number, "signature", signature)
		return complain(http.StatusForbidden,
			"In questo file l'antivirus ha trovato: "+signature+". Il file non si può scaricare da solo; il messaggio intero resta disponibile come prova, ma non va aperto.",
			"The virus scanner has found this in the file: "+signature+". The file cannot be downloaded by itself; the whole message stays available as proof, but should not be opened.")
	case err == nil || v.FormValue("unscanned") == "1":
		return nil
	case v.Context().Err() != nil || !errors.Is(err, clamd.ErrUnexamined):
		return err
	}
	v.pages.options.Logger.Warn("part not scanned", "error", err)
	return v.renderUnscanned(l, err)
}

// unscannedPage offers a file that the virus scanner could not examine.
type unscannedPage struct {
	Name, Path string
	Back       string
	Large      bool // because it is too large
}

// renderUnscanned offers a part that could not be examined.
func (v *visit) renderUnscanned(l *pec.Located, cause error) error {
	page := unscannedPage{
		Name: fileName(l), Path: v.URL.EscapedPath(), Back: v.path("messages", v.PathValue("folder"), v.PathValue("uid")), Large: errors.Is(cause, clamd.ErrTooLarge),
	}
	if err := v.render(http.StatusServiceUnavailable, "unscanned.html", page); err != nil {
		return err
	}
	return errAnswered
}

// fileLink is something to download.
type fileLink struct {
	Path, Name, About string
}

// wholeFiles returns what of a message can be downloaded as it is.
func (v *visit) wholeFiles(o *opened, path, postacert string) []fileLink {
	list := []fileLink{{path + "/raw", messageName(o.entry), v.t("il messaggio intero, com'è arrivato", "the whole message as it arrived")}}
	switch {
	case o.entry.Direction == journal.Sent:
		list[0].About = v.t("il messaggio intero, com'è stato inviato", "the whole message as it was sent")
	case o.record != nil:
		list[0].About += v.t(": con le firme, e quindi la prova", ": with its signatures, and so the proof")
	}
	if postacert != "" {
		list = append(list, fileLink{path + "/parts/" + postacert, "postacert.eml", v.t("il messaggio senza la busta del gestore", "the message without the provider's envelope")})
	}
	if o.record != nil {
		if n := o.numberOf(o.record.Message.Daticert); n != "" {
			list = append(list, fileLink{path + "/parts/" + n, "daticert.xml", v.t("i dati di certificazione", "the certification data")})
		}
	}
	return list
}

// messageName returns the name under which a message is downloaded.
func messageName(e *journal.Entry) string {
	return body.FileName(fmt.Sprintf("%s-%d.eml", strings.ReplaceAll(e.FolderName(), "/", "-"), e.UID), "message.eml")
}
