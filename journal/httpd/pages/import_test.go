package pages

import (
	"archive/zip"
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"copialettere/journal"
)

// upload sends files as a browser does: names and contents in turn.
func (b *browser) upload(path string, files ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for i := 0; i < len(files); i += 2 {
		part, err := w.CreateFormFile("file", files[i])
		b.must(err)
		_, err = io.WriteString(part, files[i+1])
		b.must(err)
	}
	b.must(w.Close())
	q := httptest.NewRequestWithContext(b.t.Context(), http.MethodPost, path, &form)
	q.Header.Set("Content-Type", w.FormDataContentType())
	q.AddCookie(&http.Cookie{Name: sessionCookie, Value: b.cookie})
	answer := httptest.NewRecorder()
	b.pages.ServeHTTP(answer, q)
	return answer
}

func TestImport(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("anna@alpha.test")
	const page = "/mailbox/anna@alpha.test/import"
	r.holds(b.get(page), http.StatusForbidden, "Abilita l&#39;inserimento manuale")
	if w := b.get("/mailbox/anna@alpha.test/messages"); strings.Contains(w.Body.String(), `href="import"`) {
		t.Error("an import is offered that is not allowed")
	}
	r.set("append=on", "quota=100kB")
	r.holds(b.get("/mailbox/anna@alpha.test/messages"), http.StatusOK, `href="import"`)
	r.holds(b.get(page), http.StatusOK, `enctype="multipart/form-data"`, "500,0 MB")

	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for name, text := range map[string]string{"Lavoro/a.eml": "Subject: uno\n\n", "Lavoro/b.msg": "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Inbox.msf": "x"} {
		w, err := z.Create(name)
		r.must(err)
		_, err = io.WriteString(w, text)
		r.must(err)
	}
	r.must(z.Close())
	w := b.upload(page, "posta.zip", packed.String(), "Vecchia.mbox", "From -\nSubject: due\nX: y\n\n", "a.eml", "Subject: uno\r\n\r\n")
	r.holds(w, http.StatusOK, "Importati: 2. Già in archivio: 1.", "posta.zip: Lavoro/b.msg", "un messaggio di Outlook (.msg)", `href="messages?folder=Imported"`, "eliminati dal loro programma di posta: 1.")
	r.holds(b.get("/mailbox/anna@alpha.test/messages"), http.StatusOK, "Importati/Lavoro", "Importati/Vecchia", "inserito a mano")
	month := string(r.journal.Month())
	r.holds(b.get("/mailbox/anna@alpha.test/messages/Imported%2FVecchia%2F"+month+"/1"), http.StatusOK, "Letto da: Vecchia.mbox at 0.")
	r.holds(b.get("/mailbox/anna@alpha.test/log"), http.StatusOK, "Messaggi importati", "Vecchia.mbox")

	r.holds(b.upload(page, "grande.eml", "Subject: x\n\n"+strings.Repeat("x", 200_000), "due.eml", "Subject: due bis\n\n"), http.StatusOK, "archivio è pieno", "Importati: 0.")
	if w := b.post(page, "file=x"); w.Code != http.StatusBadRequest {
		t.Errorf("no files: status %d", w.Code)
	}
	r.set("quota=1GB", "language=en")
	r.holds(b.upload(page, "x.pst", "!BDNx"), http.StatusOK, "Imported: 0.", "a data file of Outlook")
	if w := r.signedIn("bruno@alpha.test").upload(page, "a.eml", "Subject: x\n\n"); w.Code != http.StatusNotFound && w.Code != http.StatusForbidden {
		t.Errorf("another's archive: status %d", w.Code)
	}
	uids, err := r.journal.UIDs(t.Context(), "anna@alpha.test", r.journal.Month(), journal.Imported+"/Lavoro", 1)
	if err != nil || !slices.Equal(uids, []uint32{1}) {
		t.Errorf("%v, %v", uids, err)
	}
}

// zeros gives so many zero bytes.
type zeros struct{ left int64 }

// Read implements io.Reader.
func (z *zeros) Read(b []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), z.left)
	clear(b[:n])
	z.left -= n
	return int(n), nil
}

// TestImportTooLarge sends more than the page takes: what says so beforehand is refused unread, and of the rest no more is read than that. What came before
// it is kept.
func TestImportTooLarge(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("anna@alpha.test")
	r.set("append=on")
	const page, boundary = "/mailbox/anna@alpha.test/import", "b"
	part := func(name string) string {
		return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\n"
	}
	first := part("a.eml") + "Subject: prima\r\n\r\n\r\n"
	for _, test := range []struct {
		name, before string
		length       int64 // that the request says
		most         int64 // bytes that may be read
		status       int
		want         string
	}{
		{"said beforehand", part("grande.mbox"), maxUpload + 1, 0, http.StatusRequestEntityTooLarge, "troppo grandi per questa pagina (500,0 MB in tutto)"},
		{"not said, after a file that is taken", first + part("grande.mbox"), -1, maxUpload + 1<<20, http.StatusOK, "Il resto è troppo grande"},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := &zeros{2 * maxUpload}
			q := httptest.NewRequestWithContext(t.Context(), http.MethodPost, page, io.MultiReader(strings.NewReader(test.before), body))
			q.ContentLength = test.length
			q.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
			q.AddCookie(&http.Cookie{Name: sessionCookie, Value: b.cookie})
			answer := httptest.NewRecorder()
			b.pages.ServeHTTP(answer, q)
			r.holds(answer, test.status, test.want)
			if read := 2*maxUpload - body.left; read > test.most {
				t.Errorf("%d bytes are read, at most %d may be", read, test.most)
			}
		})
	}
	r.holds(b.get("/mailbox/anna@alpha.test/messages"), http.StatusOK, "prima")
	r.holds(b.get(page), http.StatusOK, `data-most="500000000"`)
}
