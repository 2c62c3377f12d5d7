package pages

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// classified puts a message into the archive of anna, with what it says of itself.
func (r *rig) classified(in journal.Intent, from, message string) journal.Ref {
	r.t.Helper()
	s := part.NewScanner(part.DefaultLimits())
	_, err := s.Write([]byte(message))
	r.must(err)
	table := s.Close()
	m := pec.Read(strings.NewReader(message), table, s.Header())
	if in.Class == "" {
		in.Class = string(m.Class)
	}
	if m.Class != pec.Ordinary {
		in.Certification, err = (&pec.Record{Message: *m}).AppendBinary(nil)
		r.must(err)
	}
	if in.Direction == 0 {
		in.Direction = journal.Received
	}
	in.Mailbox = "anna@alpha.test"
	if in.Direction == journal.Received && in.Import == nil {
		in.RcptTo = in.Mailbox
	}
	draft := r.journal.NewDraft(r.t.Context())
	defer draft.Discard()
	_, err = draft.Write([]byte(message))
	r.must(err)
	transaction := r.journal.NewTransaction()
	placed, err := draft.Commit(r.t.Context(), journal.Envelope{MailFrom: from, Transaction: transaction}, []journal.Intent{in}, nil)
	r.must(err)
	if in.Import == nil {
		r.journal.Delivered(placed[0].Ref, transaction)
		r.journal.FlushOutcomes(r.t.Context())
	}
	return placed[0].Ref
}

// plainMail puts an ordinary message with a subject into the archive of anna.
func (r *rig) plainMail(subject string) journal.Ref {
	r.t.Helper()
	return r.classified(journal.Intent{}, "bruno@ext.test", "From: Bruno Bianchi <bruno@ext.test>\r\nTo: anna@alpha.test\r\nSubject: "+subject+"\r\n\r\nText.\r\n")
}

// listed is a page that was parsed.
type listed struct {
	t    *testing.T
	root *html.Node
	text string // as it came
}

// page gets a page that must be there.
func (b *browser) page(path string) listed {
	b.t.Helper()
	w := b.get(path)
	if w.Code != http.StatusOK {
		b.t.Fatalf("%s: %d: %s", path, w.Code, w.Body)
	}
	return parseList(b.t, w.Body.String())
}

func parseList(t *testing.T, text string) listed {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return listed{t, root, text}
}

// all returns the elements of a name.
func (d listed) all(name string) []*html.Node { return find(d.root, name) }

// wordsIn returns the text in an element, with single spaces.
func wordsIn(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "script" && d.Parent.Data != "noscript" {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// rows returns the text of each line of the list, without that of its head.
func (d listed) rows() (list []string) {
	for _, tr := range d.all("tr") {
		if tr.Parent.Data == "tbody" {
			list = append(list, wordsIn(tr))
		}
	}
	return list
}

// subjects returns the texts of the links to messages.
func (d listed) subjects() (list []string) {
	for _, a := range d.all("a") {
		if strings.HasPrefix(attribute(a, "href"), "messages/") {
			list = append(list, wordsIn(a))
		}
	}
	return list
}

// link returns where a link with a text leads, relative to the pages of the mailbox; "" if there is none.
func (d listed) link(text string) string {
	for _, a := range d.all("a") {
		if wordsIn(a) == text {
			return attribute(a, "href")
		}
	}
	return ""
}

func (d listed) has(texts ...string) {
	d.t.Helper()
	all := wordsIn(d.root)
	for _, text := range texts {
		if !strings.Contains(all, text) {
			d.t.Errorf("the page does not say %q: %s", text, all)
		}
	}
}

const ofAnna = "/mailbox/anna@alpha.test/"

// TestList shows one of each kind of message.
func TestList(t *testing.T) {
	r := newRig(t)
	office := pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[0])
	chain := office.Send(pectest.Mail{From: "mario@alpha.test", To: []string{"bianca@beta.test"}, Subject: "Offerta è pronta", Text: "Testo"}, pec.ReceiptBrief)
	r.classified(journal.Intent{}, "posta@pec.test", string(chain.Envelope))
	r.classified(journal.Intent{}, "posta@pec.test", string(chain.Acceptance))
	r.classified(journal.Intent{}, "posta@pec.test", string(chain.Deliveries[0].Message))
	r.classified(journal.Intent{}, "posta@pec.test", string(office.Anomaly("mallory@ext.test", "Prova", nil, []byte("Subject: Prova\r\n\r\nx\r\n"), pectest.Variation{})))
	r.classified(journal.Intent{Direction: journal.Sent, Recipients: []string{"uno@ext.test", "due@ext.test"}}, "anna@alpha.test", "From: anna@alpha.test\r\nSubject: Mia\r\n\r\nx\r\n")
	r.classified(journal.Intent{Import: &journal.Import{Who: "anna", Date: time.Now().Add(-time.Minute)}, Folder: journal.Archived}, "x@ext.test", "From: x@ext.test\r\nSubject: Vecchia\r\n\r\nx\r\n")
	evil := r.plainMail("=?utf-8?q?abc=E2=80=AEfdp.exe?= <script>alert(1)</script>")
	for _, language := range []policy.Language{policy.Italian, policy.English} {
		r.set("language=" + string(language))
		d := r.signedIn("anna@alpha.test").page(ofAnna + "messages")
		rows := strings.Join(d.rows(), "\n")
		want := []string{"Messaggio certificato", "Ricevuta di accettazione", "Ricevuta di avvenuta consegna, breve", "Busta di anomalia", "Inviato", "a uno@ext.test +1", "inserito a mano", "a bianca@beta.test", "mario@alpha.test"}
		if language == policy.English {
			want = []string{"Certified message", "Acceptance receipt", "Delivery receipt, brief", "Anomaly envelope", "Sent", "to uno@ext.test +1", "put in by hand"}
		}
		for _, text := range want {
			if !strings.Contains(rows, text) {
				t.Errorf("%s: no %q in\n%s", language, text, rows)
			}
		}
		subjects := d.subjects()
		if len(subjects) != 7 || !slices.Contains(subjects, "Offerta è pronta") || !slices.Contains(subjects, "abcfdp.exe <script>alert(1)</script>") {
			t.Errorf("%s: subjects %q", language, subjects)
		}
		if strings.Contains(d.text, "<script>alert") || strings.ContainsRune(d.text, '\u202e') {
			t.Errorf("%s: a subject acts: %s", language, d.text)
		}
		if raw := `<bdi>abcfdp.exe`; !strings.Contains(d.text, raw) {
			t.Errorf("%s: the subject is not set apart", language)
		}
	}
	r.set("language=it")
	b := r.signedIn("anna@alpha.test")
	d := b.page(ofAnna + "messages")
	d.has("Ricevuti 5", "Inviati 1", "Archiviati a mano 1", "7 messaggi, i più recenti per primi")
	d = b.page(ofAnna + "messages?folder=" + url.QueryEscape(evil.FolderName()))
	if d.has("Ricevuti, " + monthText(policy.Italian, string(evil.Month))); len(d.subjects()) != 5 {
		t.Errorf("of the month: %q", d.subjects())
	}
	if here := d.link(monthText(policy.Italian, string(evil.Month)) + " 5"); here == "" {
		t.Errorf("no link to the month in the tree")
	}
	for _, one := range []string{"Elimina…", "Sposta…"} {
		if strings.Contains(d.text, one) {
			t.Errorf("the list offers %q to whoever may not", one)
		}
	}
}

// TestBackToTheList opens a message from a list, changes how it is shown, and goes back to the list that it was opened from.
func TestBackToTheList(t *testing.T) {
	r := newRig(t)
	for i := range perPage + 1 {
		r.plainMail(fmt.Sprintf("Numero %03d", i))
	}
	ref := r.classified(journal.Intent{}, "bruno@ext.test", "From: bruno@ext.test\r\nSubject: Contratto\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"+
		"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--b--\r\n")
	b := r.signedIn("anna@alpha.test")
	folder := url.QueryEscape(ref.FolderName())
	older := b.page(ofAnna + "messages?folder=INBOX").link("Meno recenti")
	older, _, _ = strings.Cut(strings.TrimPrefix(older, "messages"), "&back=")
	for _, c := range []struct {
		name, list, want string
	}{
		{"all messages", "", ""},
		{"a folder", "?folder=" + folder, "?folder=" + folder},
		{"a search", "?q=contratto", "?q=contratto"},
		{"the second page", older, older},
		{"a search in fields", "?subject=contratto&direction=received&folder=INBOX", "?folder=INBOX&q=subject%3Acontratto+direction%3Areceived"},
		{"a search in long words", "?q=" + strings.Repeat("contratto+", longestName/9), "?folder=" + folder},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			d := b.page(ofAnna + "messages" + c.list)
			message := ""
			for _, a := range d.all("a") {
				if href := attribute(a, "href"); strings.HasPrefix(href, "messages/") {
					message = href
				}
			}
			opened := b.page(ofAnna + message)
			if back := opened.link("Torna ai messaggi"); !sameQuery(t, back, ofAnna+"messages"+c.want) {
				t.Errorf("%s leads back to %q, want %q", message, back, c.want)
			}
			if view := opened.link("Mostra solo il testo"); view != "" {
				path, _, _ := strings.Cut(message, "?")
				if back := b.page(ofAnna + path + view).link("Torna ai messaggi"); !sameQuery(t, back, ofAnna+"messages"+c.want) {
					t.Errorf("%s leads back to %q, want %q", view, back, c.want)
				}
			}
		})
	}
	r.t = t
	for _, list := range []string{"%zz", "//elsewhere.test/", "q=" + strings.Repeat("x", 5000), "after=nonsense"} {
		if back := b.page(ofAnna + messagePath(ref) + "?list=" + url.QueryEscape(list)).link("Torna ai messaggi"); !strings.HasPrefix(back, ofAnna+"messages") {
			t.Errorf("list=%.40s leads back to %q", list, back)
		}
	}
}

// sameQuery reports whether two paths are the same but for the order of their parameters.
func sameQuery(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := url.Parse(a)
	other, err2 := url.Parse(b)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return one.Path == other.Path && one.Query().Encode() == other.Query().Encode()
}

// TestPaging turns the pages of a list while messages come.
func TestPaging(t *testing.T) {
	r := newRig(t)
	for i := range 2*perPage + 10 {
		r.plainMail(fmt.Sprintf("Numero %03d", i))
	}
	b := r.signedIn("anna@alpha.test")
	var seen []string
	d := b.page(ofAnna + "messages?folder=INBOX")
	first := d.subjects()
	path := "messages?folder=INBOX"
	for n := 0; ; n++ {
		seen = append(seen, d.subjects()...)
		if n == 0 {
			r.plainMail("Arrivato intanto")
		}
		older := d.link("Meno recenti")
		if older == "" {
			break
		}
		if n == 1 {
			newer := d.link("Più recenti")
			if again := b.page(ofAnna + newer).subjects(); !slices.Equal(again[1:], first[:len(first)-1]) || again[0] != "Arrivato intanto" {
				t.Errorf("turned back: %q", again)
			}
		}
		path = older
		d = b.page(ofAnna + path)
	}
	if len(seen) != 2*perPage+10 || !slices.IsSortedFunc(seen, func(a, b string) int { return strings.Compare(b, a) }) || slices.Contains(seen, "Arrivato intanto") {
		t.Errorf("%d messages: %q", len(seen), seen)
	}
	if d.link("I più recenti") != "messages?folder=INBOX" {
		t.Errorf("no way to the first page: %q", d.link("I più recenti"))
	}
	// The last page but one, reached from the last.
	if newer := b.page(ofAnna + d.link("Più recenti")).subjects(); !slices.Equal(newer, seen[perPage:2*perPage]) {
		t.Errorf("before the last page: %q", newer)
	}
	if w := b.get(ofAnna + "messages?after=nonsense"); w.Code != http.StatusOK {
		t.Errorf("a bad position: %d", w.Code)
	}
}

// TestListWeight fills a page with the longest subjects and senders there are.
func TestListWeight(t *testing.T) {
	for name, letter := range map[string]string{"quotes": `"`, "emoji": "🖋", "plus": "+", "letters": "w"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.set("write=on")
			long := strings.Repeat(letter, 1000/len(letter))
			for range perPage + 1 {
				r.classified(journal.Intent{Import: &journal.Import{Who: "anna", Date: time.Now()}, Folder: "INBOX"}, "x@ext.test",
					"From: "+`"`+strings.ReplaceAll(long[:400], `"`, `\"`)+`" <x@ext.test>`+"\r\nSubject: "+long+"\r\nContent-Disposition: attachment\r\nX-Ricevuta: avvenuta-consegna\r\n\r\nx\r\n")
			}
			d := r.signedIn("anna@alpha.test").page(ofAnna + "messages?q=" + url.QueryEscape(letter+" from:x@ext.test"))
			if len(d.rows()) != perPage {
				t.Errorf("%d lines", len(d.rows()))
			}
			if len(d.text) > 60_000 {
				t.Errorf("%d bytes", len(d.text))
			}
			t.Logf("%d bytes", len(d.text))
		})
	}
}

// TestListWithoutMessages shows that there is none, why, and nothing that could be done with messages. It shows the gaps: there was always one before the
// archive was switched on.
func TestListWithoutMessages(t *testing.T) {
	b := newRig(t).signedIn("anna@alpha.test")
	for _, one := range []struct {
		path, says string
		rows       int
	}{
		{"messages", "Qui non ci sono messaggi", 1},
		{"messages?folder=Sent", "Qui non ci sono messaggi", 1},
		{"messages?q=nothing", "Nessun messaggio trovato", 0},
	} {
		d := b.page(home + one.path)
		if !strings.Contains(d.text, one.says) || len(d.rows()) != one.rows {
			t.Errorf("%s: %d rows:\n%s", one.path, len(d.rows()), d.text)
		}
		for _, never := range []string{"Scarica come ZIP", "Scarica tutto", "0 messaggi", "Tutti in questa pagina"} {
			if strings.Contains(d.text, never) {
				t.Errorf("%s offers %q", one.path, never)
			}
		}
	}
}
