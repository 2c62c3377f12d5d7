package pages

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/httpd/body"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
	"copialettere/policy/preservation"
)

const anna = "anna@alpha.test"

// file journals a message for anna, which its signature classifies. The office is nil for ordinary mail.
func (r *rig) file(office *pectest.Office, in journal.Intent, message []byte) journal.Ref {
	r.t.Helper()
	draft := r.journal.NewDraft(r.t.Context())
	defer draft.Discard()
	_, err := draft.Write(message)
	r.must(err)
	in.Mailbox = anna
	if in.Direction == 0 {
		in.Direction, in.RcptTo = journal.Received, anna
	}
	if office != nil {
		s := part.NewScanner(part.DefaultLimits())
		s.Write(message)
		table := s.Close()
		verifier := pec.NewVerifier([]*x509.Certificate{office.Authority.Certificate}, nil)
		c, err := verifier.Classify(r.t.Context(), pec.TrustSignature, bytes.NewReader(message), table, s.Header(), in.Direction == journal.Sent)
		r.must(err)
		in.Class, in.DeclaredClass, in.Signature = string(c.Class), string(c.Record.Message.Class), string(c.Record.Signature.Result)
		in.Certification, in.Links = c.Stored, c.Links
	}
	from := "mario@ext.test"
	if in.Direction == journal.Sent {
		from = anna
	}
	placed, err := draft.Commit(context.Background(), journal.Envelope{MailFrom: from, Transaction: r.journal.NewTransaction()}, []journal.Intent{in}, nil)
	r.must(err)
	return placed[0].Ref
}

// received journals an ordinary message, which is given with LF.
func (r *rig) received(message string) journal.Ref {
	r.t.Helper()
	return r.file(nil, journal.Intent{Class: string(pec.Ordinary)}, []byte(strings.ReplaceAll(message, "\n", "\r\n")))
}

// at returns the path of a page about a message.
func at(ref journal.Ref, parts ...string) string {
	return mailboxPath(anna, append([]string{"messages", ref.FolderName(), fmt.Sprint(ref.UID)}, parts...)...)
}

// shows gets a page that has all of want, in this order, and nothing of never.
func (b *browser) shows(path string, want []string, never ...string) string {
	b.t.Helper()
	w := b.get(path)
	page := strings.ReplaceAll(w.Body.String(), "&#43;", "+")
	if w.Code != http.StatusOK {
		b.t.Fatalf("%s: %d: %s", path, w.Code, page)
	}
	rest := page
	for _, s := range want {
		i := strings.Index(rest, s)
		if i < 0 {
			b.t.Fatalf("%s lacks %q, or has it too early: %s", path, s, page)
		}
		rest = rest[i+len(s):]
	}
	for _, s := range never {
		if strings.Contains(page, s) {
			b.t.Errorf("%s has %q: %s", path, s, page)
		}
	}
	return page
}

const mixed = `From: "Bruno <b>" <bruno@ext.test>
To: anna@alpha.test, Carla <carla@beta.test>
Cc: dino@ext.test
Subject: =?utf-8?q?Perch=C3=A9_=3Cscript=3E?=
Date: Sat, 28 Nov 2026 10:11:12 +0100
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain; charset=utf-8

The plain <text> http://x.test/
--a
Content-Type: text/html; charset=utf-8

<p onclick="x()">The HTML text</p><img src="http://tracker.test/a.gif"><script>alert(1)</script>
--a--

--m
Content-Type: application/octet-stream; name="../fattura.pdf.exe"
Content-Disposition: attachment; filename="../fattura.pdf.exe"
Content-Transfer-Encoding: base64

TVqQAAMAAAA=
--m
Content-Type: image/gif; name=a.gif
Content-Disposition: attachment
Content-Transfer-Encoding: base64

R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7
--m--
`

func TestMessagePage(t *testing.T) {
	r := newRig(t)
	ref := r.received(mixed)
	b := r.signedIn(anna)
	path := at(ref)
	page := b.shows(path, []string{
		"Messaggio ordinario", "Perché &lt;script&gt;</h1>", "Versione da stampare", "?view=text", "bruno@ext.test", "carla@beta.test", "dino@ext.test", "28/11/2026 10:11:12 +01:00",
		"Un&#39;immagine di un altro server", `<iframe class="mail short" src="` + path + `/body/1.2" sandbox="` + body.Sandbox + `" referrerpolicy="no-referrer"`,
		`<a href="` + path + `/parts/2">_fattura.pdf.exe</a>`, "Programma o collegamento", `<a href="` + path + `/parts/3?show=1"`, path + `/raw`,
	}, "The HTML text", "<script>alert", "tracker.test/", "Elimina", "Sposta")
	if len(page) > 60_000 {
		t.Errorf("%d bytes", len(page))
	}
	b.shows(path+"?view=text", []string{`<div class="mail plain" dir="auto">The plain &lt;text&gt; <a href="http://x.test/"`}, "<iframe")
	b.shows(path+"?images=1", []string{`/body/1.2?images=1"`}, "non è stata caricata")
	_, err := r.archive.Set(t.Context(), operator, r.address(anna), []policy.Assignment{{Key: "write", Value: "on"}, {Key: "language", Value: "en"}})
	r.must(err)
	b.shows(path, []string{"Ordinary message", "Move…", "Delete…", "Program or shortcut"})
	r.must(r.journal.Hold(t.Context(), ref, "root", "causa"))
	b.shows(path, []string{"Under a legal hold"}, "Delete…")
	for _, path := range []string{at(ref) + "/body/9", at(ref) + "/body/2", at(ref) + "/parts/9", at(journal.Ref{Month: ref.Month, Folder: ref.Folder, UID: 99}),
		mailboxPath(anna, "messages", "nowhere", "1"), mailboxPath(anna, "messages", ref.FolderName(), "0"), mailboxPath(anna, "messages", ref.FolderName(), "x")} {
		if w := b.get(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestMessageHeaders holds each answer with content of mail to its headers.
func TestMessageHeaders(t *testing.T) {
	r := newRig(t)
	ref := r.received(mixed)
	b := r.signedIn(anna)
	for _, c := range []struct{ name, path, policy, kind, disposition string }{
		{"HTML", "/body/1.2", body.ContentPolicy(false), "text/html; charset=utf-8", ""},
		{"HTML with images", "/body/1.2?images=1", body.ContentPolicy(true), "text/html; charset=utf-8", ""},
		{"plain text", "/body/1.1", body.ContentPolicy(false), "text/html; charset=utf-8", ""},
		{"print", "/print", strings.Replace(body.ContentPolicy(false), "'self'", "'none'", 1), "text/html; charset=utf-8", ""},
		{"a program", "/parts/2", body.DownloadPolicy, "application/octet-stream", `attachment; filename="_fattura.pdf.exe"`},
		{"an image", "/parts/3", body.DownloadPolicy, "image/gif", `attachment; filename="a.gif"`},
		{"an image to look at", "/parts/3?show=1", body.DownloadPolicy, "image/gif", `inline; filename="a.gif"`},
		{"a program to look at", "/parts/2?show=1", body.DownloadPolicy, "application/octet-stream", `attachment; filename="_fattura.pdf.exe"`},
		{"HTML to look at", "/parts/1.2?show=1", body.DownloadPolicy, "application/octet-stream", `attachment; filename="part-1.2.html"`},
		{"the message", "/raw", body.DownloadPolicy, "message/rfc822", `attachment; filename="INBOX-` + string(ref.Month) + `-1.eml"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := b.get(at(ref) + c.path)
			h := w.Header()
			for name, want := range map[string]string{
				"Content-Security-Policy": c.policy, "Content-Type": c.kind, "Content-Disposition": c.disposition, "X-Content-Type-Options": "nosniff",
				"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			} {
				if w.Code != http.StatusOK || h.Get(name) != want {
					t.Errorf("%d, %s %q, want %q", w.Code, name, h.Get(name), want)
				}
			}
		})
	}
	if page := b.get(at(ref) + "/body/1.2").Body.String(); !strings.Contains(page, "<p>The HTML text</p><img>") || strings.Contains(page, "alert") {
		t.Errorf("body: %s", page)
	}
	if page := b.get(at(ref) + "/print").Body.String(); !strings.Contains(page, "<p>The HTML text</p><img>") || strings.Contains(page, "<iframe") || strings.Contains(page, "<form") {
		t.Errorf("print: %s", page)
	}
	if got := b.get(at(ref) + "/raw").Body.String(); got != strings.ReplaceAll(mixed, "\n", "\r\n") {
		t.Errorf("the message comes back as %q", got)
	}
	if got := b.get(at(ref) + "/parts/2").Body.Bytes(); !bytes.HasPrefix(got, []byte("MZ\x90")) {
		t.Errorf("the part comes back as %q", got)
	}
}

// TestCertifiedMessage shows every kind of PEC message: of an envelope the message inside first, of a receipt what it says.
func TestCertifiedMessage(t *testing.T) {
	r := newRig(t)
	office := pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[1])
	mail := pectest.Mail{From: anna, To: []string{"giove@beta.test"}, Subject: "Contratto", Text: "Il testo del contratto.\n", MessageID: "auto",
		Attachments: []pectest.Attachment{pectest.Binary("contratto.pdf", 2000, 1)}}
	c := office.Send(mail, pec.ReceiptBrief)
	inner := []string{"Contratto</h1>", anna, "giove@beta.test", "Il testo del contratto.", "contratto.pdf"}
	envelope := append(slices.Clone(inner), "firma del gestore è valida", "Mittente", "posta certificata)", "Busta del gestore", "Per conto di: ", "postacert.eml", "daticert.xml")
	for _, one := range []struct {
		name    string
		message []byte
		want    []string
		never   string
	}{
		{"envelope", c.Envelope, append([]string{"Messaggio certificato", "firma valida"}, envelope...), "nulla lo prova"},
		{"acceptance", c.Acceptance, []string{"Ricevuta di accettazione", "ACCETTAZIONE: Contratto", "ha accettato il messaggio il 03/11/2026 10:11:12 +01:00", "La sua pratica"}, "postacert.eml"},
		{"delivery", c.Deliveries[0].Message, []string{"Ricevuta di avvenuta consegna", "non che qualcuno abbia letto", "consegnato nella casella di giove@beta.test",
			"La sua pratica", "breve: contiene il messaggio", "Il messaggio di cui parla la ricevuta", "Il testo del contratto."}, "nulla lo prova"},
		{"failure", c.Notice(pectest.Notice{Class: pec.ErroreConsegna, Recipient: "giove@beta.test", Error: "no-dest", Detail: "5.1.1 unknown"}),
			[]string{"Avviso di mancata consegna", "non è stato consegnato", "destinatario sconosciuto", "5.1.1 unknown"}, "non che qualcuno"},
		{"refusal", c.Notice(pectest.Notice{Class: pec.NonAccettazione}), []string{"Avviso di non accettazione", "non ha accettato"}, "non che qualcuno"},
		{"delay", c.Notice(pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: "giove@beta.test"}), []string{"mancata consegna nei tempi", "nei tempi previsti"}, "non che"},
		{"anomaly", office.Anomaly("x@ext.test", "Offerta", nil, []byte("From: x@ext.test\r\nSubject: Offerta\r\n\r\nWords\r\n"), pectest.Variation{}),
			[]string{"Busta di anomalia", "Offerta</h1>", "Non è posta certificata", "x@ext.test", "Words", "Busta del gestore"}, "daticert.xml"},
		{"tampered", pectest.Tampered(c.Envelope), []string{"Messaggio ordinario", "firma non provata", "nulla lo prova", "La firma non è valida"}, "firma valida"},
		{"REM", office.REM(mail, "SubmissionAcceptance"), []string{"REM", "Evidenza", "SubmissionAcceptance"}, "nulla lo prova"},
	} {
		t.Run(one.name, func(t *testing.T) {
			r.t = t
			ref := r.file(office, journal.Intent{}, one.message)
			b := r.signedIn(anna)
			page := b.shows(at(ref), one.want, one.never)
			if len(page) > 60_000 {
				t.Errorf("%d bytes", len(page))
			}
			print := b.shows(at(ref)+"/print", one.want[:1], "<form", "<a href=\"/")
			if n := strings.Count(print, "<details"); n != strings.Count(print, " open>") {
				t.Errorf("in print %d details, not all open", n)
			}
			for _, file := range []string{"postacert.eml", "daticert.xml"} {
				link, _, found := strings.Cut(page, `">`+file)
				if !found {
					continue
				}
				link = link[strings.LastIndex(link, `"`)+1:]
				if w := b.get(link); w.Code != http.StatusOK || w.Body.Len() == 0 || !bytes.Contains(one.message, w.Body.Bytes()[:20]) && file == "postacert.eml" {
					t.Errorf("%s at %s: %d, %q", file, link, w.Code, w.Body)
				}
			}
		})
	}
}

// TestSentMessage names the recipients that the header hides.
func TestSentMessage(t *testing.T) {
	r := newRig(t)
	ref := r.file(nil, journal.Intent{Direction: journal.Sent, Recipients: []string{"Giove@beta.test", "hidden@ext.test"}, SentTo: "certified", Class: string(pec.Ordinary)},
		[]byte("From: anna@alpha.test\r\nTo: giove@beta.test\r\nSubject: s\r\n\r\ntext\r\n"))
	page := r.signedIn(anna).shows(at(ref), []string{"Messaggio inviato", "La sua pratica", "Destinatari non visibili", "hidden@ext.test"})
	if n := strings.Count(page, "iove@beta.test"); n != 2 { // in the field To, and in the header as it is
		t.Errorf("the visible recipient stands there %d times", n)
	}
}

// TestStates tells what the reader must know of a message.
func TestStates(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(anna)
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	imported := r.file(nil, journal.Intent{Class: string(pec.Ordinary), Direction: journal.Received, Folder: "INBOX", Import: &journal.Import{Who: "owner anna@alpha.test", Date: when}},
		[]byte("Subject: old\r\n\r\ntext\r\n"))
	b.shows(at(imported), []string{"Inserito nell&#39;archivio il", "owner anna@alpha.test", "02/01/2020 04:04:05 +01:00"})
	flagged := r.file(nil, journal.Intent{Class: string(pec.Ordinary), Flags: []string{journal.FlagOriginUnknown}}, []byte("\r\ntext of a message without a header\r\n"))
	b.shows(at(flagged), []string{"(senza oggetto)", "a quale indirizzo era diretto", "text of a message"})
}

// TestPreserved tells in which package a certified message was handed to legal preservation, and of its receipt. Of other mail it tells nothing.
func TestPreserved(t *testing.T) {
	r := newRig(t)
	ref := r.file(nil, journal.Intent{Class: string(pec.PostaCertificata)}, []byte("Subject: busta\r\n\r\ntext\r\n"))
	other := r.file(nil, journal.Intent{Class: string(pec.Ordinary)}, []byte("Subject: altro\r\n\r\ntext\r\n"))
	b := r.signedIn(anna)
	const kept = "Conservazione a norma"
	b.shows(at(ref), nil, kept)
	e, _, err := r.archive.Message(t.Context(), ref)
	r.must(err)
	day := e.Time.UTC().Format(time.DateOnly)
	_, err = r.archive.AddPackage(t.Context(), anna, preservation.Package{Day: day, Name: day + "_" + anna + ".zip", Made: time.Now()})
	r.must(err)
	b.shows(at(ref), []string{kept, day + "_" + anna + ".zip", "ricevuta non ancora arrivata"})
	b.shows(at(other), nil, kept)
	r.must(r.archive.PackageChanged(t.Context(), preservation.Place{Archive: anna, Day: day}, func(p *preservation.Package) {
		p.Receipts = []preservation.Receipt{{Name: day + "_" + anna + ".xml", Time: time.Now()}}
	}))
	b.shows(at(ref), []string{kept, "ricevuta <code>" + day + "_" + anna + ".xml</code>"}, "non ancora arrivata")
}

// TestMessageOfOthers opens no message for whoever may not read it, by any of the paths.
func TestMessageOfOthers(t *testing.T) {
	r := newRig(t)
	ref := r.received(mixed)
	for _, login := range []string{"bruno@alpha.test", "postmaster@alpha.test", "postmaster@beta.test"} {
		b := r.signedIn(login)
		for _, path := range []string{"", "/print", "/body/1.2", "/parts/2", "/raw"} {
			if w := b.get(at(ref) + path); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "HTML text") {
				t.Errorf("%s: %s: %d: %s", login, path, w.Code, w.Body)
			}
		}
	}
}

// TestLargeMessage shows a message of 30 MB in text and files, and downloads it, in little memory.
func TestLargeMessage(t *testing.T) {
	r := newRig(t)
	line := strings.Repeat("Zm9yIGEgbG9uZyBmaWxl", 3) + "\n"
	var b strings.Builder
	b.WriteString("Subject: large\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\n" + strings.Repeat("A line of the text.\n", 10<<20/20))
	for i := range 4 {
		fmt.Fprintf(&b, "--m\nContent-Type: application/zip; name=%d.zip\nContent-Transfer-Encoding: base64\n\nUEsDBAAA\n%s", i, strings.Repeat(line, 5<<20/len(line)))
	}
	b.WriteString("--m--\n")
	ref := r.received(b.String())
	size := b.Len()
	b.Reset()
	browser := r.signedIn(anna)
	for _, c := range []struct {
		path string
		most uint64 // bytes of what is allocated in all
	}{{"", 64 << 20}, {"/print", 160 << 20}, {"/body/1", 64 << 20}} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := browser.get(at(ref) + c.path)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; w.Code != http.StatusOK || got > c.most {
			t.Errorf("%s: %d, %d MiB allocated for %d bytes", c.path, w.Code, got>>20, w.Body.Len())
		}
		if c.path == "" && (w.Body.Len() > 60_000 || !strings.Contains(w.Body.String(), "leggilo per intero")) {
			t.Errorf("%d bytes: %s", w.Body.Len(), w.Body)
		}
	}
	held := peakWhile(t, func() {
		q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, at(ref)+"/raw", nil)
		q.AddCookie(&http.Cookie{Name: sessionCookie, Value: browser.cookie})
		w := &discard{header: make(http.Header)}
		r.pages.ServeHTTP(w, q)
		if w.n < int64(size) {
			t.Errorf("%d bytes of %d", w.n, size)
		}
	})
	if held > 40<<20 {
		t.Errorf("a download held %d MiB", held>>20)
	}
}

// peakWhile returns how many bytes f held at most, beside what was held before.
func peakWhile(t *testing.T, f func()) uint64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := before.HeapAlloc
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
			select {
			case <-done:
				peak <- most - before.HeapAlloc
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(done)
	return <-peak
}

// discard is a ResponseWriter that counts.
type discard struct {
	header http.Header
	n      int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return io.Discard.Write(p)
}
