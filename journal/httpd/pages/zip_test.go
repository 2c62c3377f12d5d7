package pages

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
)

// download posts a form that answers with a ZIP, and returns its files by their names.
func (b *browser) download(form url.Values) map[string]string {
	b.t.Helper()
	w := b.post(ofAnna+"zip", form.Encode())
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/zip" || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment;") {
		b.t.Fatalf("%d, %v: %s", w.Code, w.Header(), w.Body)
	}
	z, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
	b.must(err)
	files := make(map[string]string)
	for _, f := range z.File {
		if _, twice := files[f.Name]; twice {
			b.t.Errorf("%s is there twice", f.Name)
		}
		if f.Modified.Year() < 1980 || f.Modified.Year() > 2107 {
			b.t.Errorf("%s is of %s", f.Name, f.Modified)
		}
		r, err := f.Open()
		b.must(err)
		content, err := io.ReadAll(r)
		b.must(err)
		files[f.Name] = string(content)
	}
	return files
}

// tableOf returns the lines of a table as maps of their fields.
func tableOf(t *testing.T, text string) (list []map[string]string) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		line := make(map[string]string)
		for i, name := range rows[0] {
			line[name] = row[i]
		}
		list = append(list, line)
	}
	return list
}

// TestZIP compares what a ZIP holds with the archive.
func TestZIP(t *testing.T) {
	r := newRig(t)
	refs := []journal.Ref{
		r.plainMail("Perché no?"), r.plainMail("../../etc/passwd"), r.plainMail("=2+3"), r.plainMail("=?utf-8?q?=E2=80=AE=F0=9F=96=8B?="), r.plainMail("")}
	old := time.Date(1970, 1, 2, 3, 4, 5, 0, time.UTC)
	refs = append(refs, r.classified(journal.Intent{Import: &journal.Import{Who: "anna", Date: old}, Folder: "Imported/Città/CON."}, "x@ext.test", "From: x@ext.test\r\nSubject: Antica\r\n\r\nx\r\n"))
	r.must(r.journal.Record(t.Context(), journal.Record{Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: time.Now(), Reason: journal.ReasonFull, Direction: journal.Received, MailFrom: "+39@ext.test"}))
	b := r.signedIn("anna@alpha.test")

	d := b.page(ofAnna + "zip")
	d.has("Scaricare 6 messaggi?", "gaps.csv")
	form := d.fields("/mailbox/anna@alpha.test/zip")
	files := b.download(form)
	names := regexp.MustCompile(`^(INBOX|Imported/Citta/CON)/\d{4}-\d\d/\d{8}-\d{6}_[A-Za-z0-9@._-]+_[A-Za-z0-9@._-]+_\d+\.eml$`)
	index := tableOf(t, files["manifest.csv"])
	if len(index) != len(refs) || len(files) != len(refs)+3 {
		t.Fatalf("%d lines, %d files: %v", len(index), len(files), index)
	}
	for _, line := range index {
		if !names.MatchString(line["file"]) {
			t.Errorf("file %q", line["file"])
		}
		i := slices.IndexFunc(refs, func(ref journal.Ref) bool {
			return ref.FolderName() == line["folder"] && uidText(ref.UID) == line["uid"]
		})
		e, body, err := r.archive.Message(t.Context(), refs[i])
		r.must(err)
		var want bytes.Buffer
		_, err = body.WriteTo(&want)
		r.must(err)
		if files[line["file"]] != want.String() || line["sha256"] != e.SHA256.String() || line["size"] != fmt.Sprint(want.Len()) {
			t.Errorf("%s: %q, want %q, of %v", line["file"], files[line["file"]], want.String(), line)
		}
		if strings.HasPrefix(line["subject"], "=") {
			t.Errorf("a spreadsheet would calculate %q", line["subject"])
		}
	}
	for line := range strings.Lines(files["SHA256SUMS"]) {
		if digest, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); fmt.Sprintf("%x", sha256.Sum256([]byte(files[name]))) != digest {
			t.Errorf("%s has another digest", name)
		}
	}
	if gaps := tableOf(t, files["gaps.csv"]); !slices.ContainsFunc(gaps, func(g map[string]string) bool { return g["reason"] == "full" && g["mail_from"] == "'+39@ext.test" }) {
		t.Errorf("gaps %v", gaps)
	}

	if page := mainText(b.get(ofAnna + "log")); !strings.Contains(page, "Messaggi esportati") || !strings.Contains(page, "6 messaggi") {
		t.Errorf("the log does not tell of it: %s", page)
	}

	// Two that were chosen, and results of a search.
	d = b.sends(ofAnna+"messages/zip", url.Values{"m": {placeValue(refs[0]), placeValue(refs[2])}})
	d.has("Scaricare 2 messaggi?")
	if files = b.download(d.fields("/mailbox/anna@alpha.test/zip")); len(tableOf(t, files["manifest.csv"])) != 2 {
		t.Errorf("two that were chosen: %v", files)
	}
	d = b.page(ofAnna + "zip?q=" + url.QueryEscape("perche"))
	if files = b.download(d.fields("/mailbox/anna@alpha.test/zip")); len(tableOf(t, files["manifest.csv"])) != 1 {
		t.Errorf("results of a search: %v", files)
	}
	if w := b.post(ofAnna+"zip", "m="+url.QueryEscape("INBOX/2001-01 7")); w.Code != http.StatusConflict {
		t.Errorf("a message that is not there: %d", w.Code)
	}
	release, ok := r.pages.zips.Take(t.Context(), "anna@alpha.test")
	if w := b.post(ofAnna+"zip", form.Encode()); !ok || w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("a second one at the same time: %d", w.Code)
	}
	release()
	b.download(form)
}

// damage spoils the first chunk of a message.
func (r *rig) damage(ref journal.Ref) { r.damageAt(ref, 0) }

// damageAt spoils a chunk of a message; -1 is the last one.
func (r *rig) damageAt(ref journal.Ref, chunk int) {
	r.t.Helper()
	e, err := r.archive.Entry(r.t.Context(), ref)
	r.must(err)
	chunk = (chunk + len(e.Chunks)) % len(e.Chunks)
	store, err := r.engine.Volume(r.t.Context(), ref.Month, false)
	r.must(err)
	r.must(store.Update(r.t.Context(), []string{"test"}, func(tx kv.Tx) error {
		tx.Put(append([]byte{'c'}, e.Chunks[chunk].ID[:]...), []byte("spoilt"))
		return nil
	}))
}

// TestZIPIncomplete reads messages of which one is damaged, and says so.
func TestZIPIncomplete(t *testing.T) {
	r := newRig(t)
	whole := r.plainMail("Intero")
	bad := r.classified(journal.Intent{}, "x@ext.test", "From: x@ext.test\r\nSubject: Guasto\r\n\r\n"+strings.Repeat("Testo del messaggio guasto.\r\n", 100))
	r.damage(bad)
	b := r.signedIn("anna@alpha.test")
	for _, path := range []string{"", "/raw", "/parts/1", "/body/1"} {
		w := b.get(at(bad) + path)
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "Una parte dell&#39;archivio non si può leggere") || w.Header().Get("Content-Disposition") != "" {
			t.Errorf("%q of the damaged message: %d, %v", path, w.Code, w.Header())
		}
	}
	files := b.download(url.Values{"all": {"1"}})
	index := tableOf(t, files["manifest.csv"])
	if len(index) != 2 || index[0]["uid"] != uidText(whole.UID) || index[0]["status"] != "exported" || index[1]["status"] != "damaged" || len(files) != 5 {
		t.Errorf("%d files: %v", len(files), index)
	}
	if text := files["INCOMPLETE.txt"]; !strings.Contains(text, bad.FolderName()+" "+uidText(bad.UID)) {
		t.Errorf("INCOMPLETE.txt: %q", text)
	}
}
