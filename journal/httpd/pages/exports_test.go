package pages

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
)

var zipPath = regexp.MustCompile(`href="([^"]*/exports/[A-Z0-9]+/zip)"`)

// TestExports takes an export from the form to the ZIP, as a browser without script does.
func TestExports(t *testing.T) {
	r := newRig(t)
	r.received("Subject: uno\n\nTesto\n")
	r.received("Subject: due\n\nTesto\n")
	b := r.signedIn(anna)
	if page := b.shows(ofAnna+"exports", []string{"<h1>Esportazioni</h1>", "Nessuna, finora.", "Prepara lo ZIP"}, "data-live=\"1\""); strings.Contains(page, "/zip\"") {
		t.Error("there is a ZIP from the beginning")
	}
	today := time.Now().In(time.UTC).Format(time.DateOnly)
	if w := b.post(ofAnna+"exports", url.Values{"folder": {"INBOX"}, "since": {today}}.Encode()); w.Code != http.StatusSeeOther || w.Header().Get("Location") != ofAnna+"exports?done=export-begun" {
		t.Fatalf("begun: %d, %v: %s", w.Code, w.Header(), w.Body)
	}
	b.shows(ofAnna+"exports", []string{`data-live="1"`, "Aggiorna la pagina", "In attesa", "Interrompi"}, "Scarica lo ZIP")
	if policy := b.get(ofAnna + "exports").Header().Get("Content-Security-Policy"); !strings.HasSuffix(policy, "; connect-src 'self'") {
		t.Errorf("policy %q", policy)
	}
	r.exports.Work(t.Context())
	page := b.shows(ofAnna+"exports", []string{"Scarica lo ZIP", "Messaggi: 2.", "SHA-256", "Elimina"}, `data-live="1"`, "INCOMPLETE")
	path := zipPath.FindStringSubmatch(page)[1]
	whole := b.get(path)
	z, err := zip.NewReader(bytes.NewReader(whole.Body.Bytes()), int64(whole.Body.Len()))
	if err != nil || len(z.File) != 6 || whole.Header().Get("Content-Type") != "application/zip" || !strings.HasPrefix(whole.Header().Get("Content-Disposition"), "attachment; filename=") {
		t.Errorf("the ZIP: %v, %v", err, whole.Header())
	}
	q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	q.AddCookie(&http.Cookie{Name: sessionCookie, Value: b.cookie})
	q.Header.Set("Range", "bytes=100-")
	q.Header.Set("If-Range", whole.Header().Get("ETag"))
	w := httptest.NewRecorder()
	r.pages.ServeHTTP(w, q)
	if w.Code != http.StatusPartialContent || !bytes.Equal(w.Body.Bytes(), whole.Body.Bytes()[100:]) {
		t.Errorf("the rest of it: %d, %d bytes of %d", w.Code, w.Body.Len(), whole.Body.Len())
	}
	if w := b.ask(http.MethodHead, path, ""); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Length") != fmt.Sprint(whole.Body.Len()) {
		t.Errorf("its head: %d, %v", w.Code, w.Header())
	}
	id := strings.Split(path, "/")[4]
	if w := b.post(ofAnna+"exports/remove", "export="+id); w.Code != http.StatusSeeOther {
		t.Errorf("removed: %d", w.Code)
	}
	for _, w := range []*httptest.ResponseRecorder{b.get(path), b.post(ofAnna+"exports/remove", "export="+id)} {
		if w.Code != http.StatusNotFound {
			t.Errorf("after that: %d", w.Code)
		}
	}
	b.shows(ofAnna+"log", []string{"Messaggi esportati"})
}

// TestExportForPreservation asks for the index of SInCRO: with what is missing, and with all of it.
func TestExportForPreservation(t *testing.T) {
	r := newRig(t)
	r.received("Subject: uno\n\nTesto\n")
	b := r.signedIn(anna)
	b.shows(ofAnna+"exports", []string{"Per un servizio di conservazione a norma", `name="sincro-id"`, `name="sincro-name"`, `name="sincro-document"`}, "<details open")
	whole := url.Values{"sincro-id": {" VATIT-01234567890 "}, "sincro-name": {"Alpha & Figli S.r.l."}, "sincro-document": {"Contratto 12/2026"}}
	for _, c := range []struct{ name, field, value, want string }{
		{"no identifier", "sincro-id", "", "scrivere l&#39;identificativo come VATIT-01234567890"},
		{"a bare number", "sincro-id", "01234567890", "scrivere l&#39;identificativo come VATIT-01234567890"},
		{"no name", "sincro-name", " ", "manca il nome di chi versa"},
		{"no document", "sincro-document", "", "manca il documento"},
	} {
		form := maps.Clone(whole)
		form[c.field] = []string{c.value}
		w := b.post(ofAnna+"exports", form.Encode())
		if body := w.Body.String(); w.Code != http.StatusUnprocessableEntity || !strings.Contains(body, c.want) || !strings.Contains(body, "<details open") || !strings.Contains(body, "Nessuna, finora.") ||
			c.field != "sincro-name" && !strings.Contains(body, `value="Alpha &amp; Figli S.r.l."`) {
			t.Errorf("%s: %d: %s", c.name, w.Code, body)
		}
	}
	if w := b.post(ofAnna+"exports", whole.Encode()); w.Code != http.StatusSeeOther {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	r.exports.Work(t.Context())
	page := b.shows(ofAnna+"exports", []string{"(PIndex.xml), a nome di Alpha &amp; Figli S.r.l., VATIT-01234567890.", "Scarica lo ZIP"})
	zipped := b.get(zipPath.FindStringSubmatch(page)[1]).Body.Bytes()
	z, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	r.must(err)
	index, err := z.Open("PIndex.xml")
	r.must(err)
	text, err := io.ReadAll(index)
	r.must(err)
	for _, want := range []string{"<sincro:AgentID>VATIT-01234567890</sincro:AgentID>", "Alpha &amp; Figli S.r.l.", "Contratto 12/2026"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the index lacks %q:\n%s", want, text)
		}
	}
	_, err = r.archive.Set(t.Context(), operator, r.address(anna), []policy.Assignment{{Key: policy.KeyLanguage, Value: "en"}})
	r.must(err)
	b = r.signedIn(anna)
	b.shows(ofAnna+"exports", []string{"in the name of Alpha &amp; Figli S.r.l.", "For a service for legal preservation"})
	if w := b.post(ofAnna+"exports", "sincro-name=x"); !strings.Contains(w.Body.String(), "Legal preservation: type the identifier as VATIT-01234567890") {
		t.Errorf("in English: %s", w.Body)
	}
}

// TestExportsRefused types what makes no sense, asks for too many, and for more than there is room for.
func TestExportsRefused(t *testing.T) {
	r := newRig(t)
	r.received("Subject: uno\n\nTesto\n")
	_, err := r.archive.Set(t.Context(), operator, r.address(anna), []policy.Assignment{{Key: policy.KeyLanguage, Value: "en"}})
	r.must(err)
	b := r.signedIn(anna)
	for form, want := range map[string]string{
		"since=yesterday": "Type a day such as", "since=2026-11-30&until=2026-11-29": "The last day comes before the first one.", "class=nothing": "That choice makes no sense.",
		"until=9999-12-31": "Type a day such as",
	} {
		if w := b.post(ofAnna+"exports", form); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), "None so far.") {
			t.Errorf("%s: %d: %s", form, w.Code, w.Body)
		}
	}
	r.room = 10
	b.post(ofAnna+"exports", "")
	r.exports.Work(t.Context())
	b.shows(ofAnna+"exports", []string{"It failed: the server has no room for so many messages now.", "Remove"}, "Download the ZIP")
	for range 2 {
		b.post(ofAnna+"exports", "class=avvenuta-consegna")
	}
	if w := b.post(ofAnna+"exports", "class=avvenuta-consegna"); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "There are too many exports already.") ||
		!strings.Contains(w.Body.String(), `value="avvenuta-consegna" checked`) {
		t.Errorf("one too many: %d: %s", w.Code, w.Body)
	}
	id := regexp.MustCompile(`name="export" value="([A-Z0-9]+)"`).FindStringSubmatch(b.get(ofAnna + "exports").Body.String())[1]
	if w := b.get(ofAnna + "exports/" + id + "/zip"); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "The export is not finished yet.") {
		t.Errorf("a ZIP that is not there: %d: %s", w.Code, w.Body)
	}
	r.pages.options.Exports = nil
	for _, w := range []*httptest.ResponseRecorder{b.get(ofAnna + "exports"), b.post(ofAnna+"exports", ""), b.post(ofAnna+"exports/remove", ""), b.get(ofAnna + "exports/" + id + "/zip")} {
		if w.Code != http.StatusNotFound {
			t.Errorf("where nobody writes them: %d", w.Code)
		}
	}
}

// TestExportIncomplete says that a message cannot be read.
func TestExportIncomplete(t *testing.T) {
	r := newRig(t)
	r.damageAt(r.received("Subject: guasto\n\n"+strings.Repeat("Testo del messaggio guasto.\n", 100)), -1)
	b := r.signedIn(anna)
	b.post(ofAnna+"exports", "")
	r.exports.Work(t.Context())
	b.shows(ofAnna+"exports", []string{"Scarica lo ZIP", "Messaggi: 0.", "Non tutto si è potuto leggere"})
}

// TestExportStreamsEnd: the ZIP of an export is cut off when its reader may not have it any more, or it is removed.
func TestExportStreamsEnd(t *testing.T) {
	const size = 6 << 20
	for _, c := range []struct {
		name   string
		happen func(r *rig)
		cut    bool
	}{
		{"nothing", func(*rig) {}, false},
		{"the owner signs out everywhere", func(r *rig) {
			_, err := r.auth.EndSessions(t.Context(), r.address(anna), func(string) bool { return true })
			r.must(err)
		}, true},
		{"the address comes to somebody else", func(r *rig) {
			_, err := r.archive.HandOver(t.Context(), operator, r.address(anna), anna)
			r.must(err)
		}, true},
		{"it is removed", func(r *rig) { r.exports.Forget(anna) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			noise := strings.Builder{}
			for i := range size / 40 {
				fmt.Fprintf(&noise, "%038x\n", uint64(i)*0x9e3779b97f4a7c15)
			}
			r.received("Subject: long\n\n" + noise.String())
			b := r.signedIn(anna)
			b.post(ofAnna+"exports", "")
			r.exports.Work(t.Context())
			path := zipPath.FindStringSubmatch(b.get(ofAnna + "exports").Body.String())[1]
			if cut, read := b.streams(http.MethodGet, path, "", 1, func() { c.happen(r) }); cut != c.cut || cut && read > 2<<20 {
				t.Errorf("cut off %t after %d bytes", cut, read)
			}
		})
	}
}
