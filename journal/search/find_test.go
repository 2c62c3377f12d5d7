package search

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec/pectest"
)

// fillOffice files an ordinary message, a sent one, two that were brought in, and a certified message with its receipts.
func fillOffice(t *testing.T, r *rig) {
	t.Helper()
	r.clock("2026-10-15 10:00")
	r.file(journal.Intent{}, "bruno@ext.test", "From: =?utf-8?q?Bruno_Citt=C3=A0?= <bruno@ext.test>\r\nTo: anna@alpha.test\r\nCc: Carla Verdi <carla@ext.test>\r\n"+
		"Subject: =?utf-8?q?Perch=C3=A9_no=3F?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nText\r\n--b\r\n"+
		"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''Fattura%20n%C2%B0%2012.pdf\r\n\r\n"+strings.Repeat("x", 3000)+"\r\n--b--\r\n")
	r.clock("2026-11-03 09:00")
	r.file(journal.Intent{Direction: journal.Sent, SentTo: "other", Recipients: []string{"dario@ext.test", "nascosta@ext.test"}}, "anna@alpha.test",
		"From: Anna <anna@alpha.test>\r\nTo: dario@ext.test\r\nSubject: Ordine\r\n\r\nText\r\n")
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	chain := o.Send(pectest.Mail{From: "anna@alpha.test", To: []string{"ufficio@beta.test"}, Subject: "Diffida", Text: "Testo\n",
		Attachments: []pectest.Attachment{pectest.Binary("procura.pdf", 500, 1)}}, "completa")
	r.file(journal.Intent{Direction: journal.Sent, SentTo: "certified", Recipients: []string{"ufficio@beta.test"}}, "anna@alpha.test", string(chain.Original))
	r.file(journal.Intent{}, "", string(chain.Acceptance))
	r.file(journal.Intent{}, "", string(chain.Deliveries[0].Message))
	in := o.Send(pectest.Mail{From: "studio@beta.test", To: []string{"anna@alpha.test", "altri@gamma.test"}, Subject: "Convocazione", Text: "Testo\n",
		Attachments: []pectest.Attachment{pectest.Binary("verbale 2026.pdf", 500, 2)}}, "")
	r.file(journal.Intent{}, "posta-certificata@beta.test", string(in.Envelope))
	who := &journal.Import{Who: "anna", Date: time.Date(2019, 5, 1, 12, 0, 0, 0, time.UTC)}
	r.file(journal.Intent{Import: who, Folder: journal.Archived}, "x@ext.test", "From: x@ext.test\r\nSubject: Vecchia\r\n\r\nText\r\n")
	odd := &journal.Import{Who: "anna", Date: time.Date(2199, 5, 1, 12, 0, 0, 0, time.UTC)}
	r.file(journal.Intent{Import: odd, Folder: journal.Archived}, "x@ext.test", "From: x@ext.test\r\nSubject: Dal futuro\r\n\r\nText\r\n")
}

// TestFind searches for messages of all kinds.
func TestFind(t *testing.T) {
	r := newRig(t)
	fillOffice(t, r)
	const (
		future, envelope, delivery, acceptance = "Dal futuro", "POSTA CERTIFICATA: Convocazione", "CONSEGNA: Diffida", "ACCETTAZIONE: Diffida"
		sent, order, plain, old                = "Diffida", "Ordine", "Perché no?", "Vecchia"
	)
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", []string{future, envelope, delivery, acceptance, sent, order, plain, old}},
		{"in:INBOX", []string{envelope, delivery, acceptance, plain}},
		{"in:INBOX/2026-10", []string{plain}},
		{"in:2026-11", []string{future, envelope, delivery, acceptance, sent, order, old}},
		{"in:Sent", []string{sent, order}},
		{"in:Archived", []string{future, old}},
		{"in:Trash", nil},
		{"in:INBOX/2020-01", nil},
		{"perche", []string{plain}},
		{"PERCHÉ NO", []string{plain}},
		{`"perche no"`, []string{plain}},
		{`"no perche"`, nil},
		{"città carla", []string{plain}},
		{"from:citta", []string{plain}},
		{"to:citta", nil},
		{"to:carla", []string{plain}},
		{"from:bruno@ext.test subject:perche", []string{plain}},
		{"from:bruno subject:fattura", nil},
		{`file:"fattura n° 12"`, []string{plain}},
		{"file:FATTURA", []string{plain}},
		{"nascosta", []string{order}},
		{"to:nascosta@ext.test", []string{order}},
		{"from:studio@beta.test", []string{envelope}},
		{"to:altri@gamma.test", []string{envelope}},
		{"subject:convocazione", []string{envelope}},
		{"file:verbale", []string{envelope}},
		{`"verbale 2026.pdf"`, []string{envelope}},
		{"file:procura.pdf", []string{delivery, sent}},
		{"to:ufficio", []string{delivery, acceptance, sent}},
		{"file:daticert", nil},
		{"class:certified", []string{envelope}},
		{"class:posta-certificata", []string{envelope}},
		{"class:receipts", []string{delivery, acceptance}},
		{"class:avvenuta-consegna", []string{delivery}},
		{"class:sent-certified", []string{sent}},
		{"class:sent-other", []string{order}},
		{"class:other", []string{future, plain, old}},
		{"class:acceptance class:sent-other", []string{acceptance, order}},
		{"direction:sent", []string{sent, order}},
		{"has:attachment", []string{envelope, delivery, sent, plain}},
		{"has:attachment direction:sent", []string{sent}},
		{"date:2026-10", []string{plain}},
		{"date:2019", []string{old}},
		{"until:2026-10", []string{plain, old}},
		{"since:2026-11", []string{future, envelope, delivery, acceptance, sent, order}},
		{"date:2026-10-16..2026-10-31", nil},
		{"size:>3kB in:2026-10", []string{plain}},
		{"size:<300B", []string{future, order, old}},
		{"anna", []string{envelope, delivery, acceptance, sent, order, plain}},
		{"nessuno.la.trova", nil},
		{"\u00ad", []string{future, envelope, delivery, acceptance, sent, order, plain, old}},
	} {
		if got := r.find(c.query); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.query, got, c.want)
		}
	}
	for name, q := range map[string]Query{
		"class": {Classes: []string{"quale"}}, "direction": {Direction: 9}, "size": {MinSize: 2, MaxSize: 1}, "since": {Since: r.time(), Until: r.time()},
	} {
		if _, err := r.index.Find(t.Context(), r.reader, q, Position{}, 0); !errors.Is(err, ErrQuery) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bruno := r.archive.Reader(policy.Actor{Role: policy.RoleOwner, Name: "bruno@alpha.test"}, r.anna)
	if page, err := r.index.Find(t.Context(), bruno, Query{}, Position{}, 0); !errors.Is(err, policy.ErrForbidden) || page.Entries != nil {
		t.Errorf("another owner: %+v, %v", page, err)
	}
}

// TestEncodedInside looks for what a certified message has whose postacert.eml has a transfer encoding, which the part table of the entry does not open.
func TestEncodedInside(t *testing.T) {
	r := newRig(t)
	inside := "From: Studio <studio@beta.test>\r\nTo: anna@alpha.test\r\nCc: Terzo <terzo@gamma.test>\r\nSubject: Dentro\r\n" +
		"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nTesto\r\n--i\r\n" +
		"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''perizia%20n%C2%B0%203.pdf\r\n\r\nx\r\n--i--\r\n"
	for _, encoding := range []string{"base64", "quoted-printable"} {
		var content bytes.Buffer
		if encoding == "base64" {
			content.WriteString(base64.StdEncoding.EncodeToString([]byte(inside)))
		} else {
			w := quotedprintable.NewWriter(&content)
			_, err := io.WriteString(w, inside)
			r.check(errors.Join(err, w.Close()))
		}
		r.file(journal.Intent{}, "x@beta.test", "X-Trasporto: posta-certificata\r\nFrom: x@beta.test\r\nSubject: "+encoding+"\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n"+
			"--o\r\n\r\nBusta\r\n--o\r\nContent-Type: message/rfc822; name=postacert.eml\r\nContent-Transfer-Encoding: "+encoding+"\r\n\r\n"+content.String()+"\r\n--o--\r\n")
	}
	for _, query := range []string{"from:studio@beta.test", "to:terzo@gamma.test", "terzo", "subject:dentro", `file:"perizia n° 3"`, "perizia", "has:attachment"} {
		if got := r.find(query); !slices.Equal(got, []string{"quoted-printable", "base64"}) {
			t.Errorf("%s: %q", query, got)
		}
	}
	if got := r.find("from:terzo"); len(got) > 0 {
		t.Errorf("a recipient as the sender: %q", got)
	}
}

// TestPages reads a list page by page while messages arrive and are moved and deleted: whoever stays is on one page exactly, the newest first.
func TestPages(t *testing.T) {
	r := newRig(t)
	for i, month := range []string{"2026-08", "2026-09", "2026-10"} {
		r.clock(month + "-15 10:00")
		for n := range 40 {
			r.plain(fmt.Sprintf("stays %d-%02d", i, n))
		}
		now := r.time() // several of the same time
		for n := range 5 {
			r.file(journal.Intent{Import: &journal.Import{Who: "anna", Date: now}, Folder: journal.Archived}, "x@ext.test", fmt.Sprintf("Subject: stays %d-%02d\r\n\r\n", i, 40+n))
		}
	}
	for _, query := range []string{"", "stays", "class:other"} {
		q, err := ParseQuery(query)
		r.check(err)
		var got []string
		var last time.Time
		after, moves := Position{}, 0
		for {
			page, err := r.index.Find(t.Context(), r.reader, q, after, 7)
			r.check(err)
			for _, e := range page.Entries {
				if !last.IsZero() && e.Dated().After(last) {
					t.Errorf("%q: %s of %v after one of %v", query, e.Subject, e.Dated(), last)
				}
				last = e.Dated()
			}
			got = append(got, subjectsOf(page)...)
			if page.Next.IsZero() {
				break
			}
			if after, err = ParsePosition(page.Next.String()); err != nil || after != page.Next {
				t.Fatalf("%s: %v, %v", page.Next, after, err)
			}
			r.plain("came")
			if moves < 3 { // the last message of the page, and one that is to come
				for _, name := range []string{"INBOX/2026-10", "INBOX/2026-08"} {
					f := r.folder(name)
					uids, err := r.reader.UIDs(t.Context(), f, 1)
					r.check(err)
					_, err = r.archive.Move(t.Context(), root, journal.Ref{Mailbox: r.anna.String(), Month: f.Holds.Month, Folder: "INBOX", UID: uids[len(uids)/2]}.Only(), "INBOX")
					r.check(err)
				}
				moves++
			}
		}
		got = slices.DeleteFunc(got, func(s string) bool { return s == "came" })
		if sorted := slices.Compact(slices.Sorted(slices.Values(got))); len(got) != 135 || len(sorted) != 135 {
			t.Errorf("%q: %d messages, %d of them different", query, len(got), len(sorted))
		}
	}
}

// TestCold counts what a page reads: of the newest months only, unless the total is known.
func TestCold(t *testing.T) {
	r := newRig(t)
	for _, month := range []string{"2026-07", "2026-08", "2026-09"} {
		r.clock(month + "-15 10:00")
		for range 10 {
			r.plain("fattura")
		}
	}
	page := func(q Query) Page {
		t.Helper()
		p, err := r.index.Find(t.Context(), r.reader, q, Position{}, 5)
		r.check(err)
		return p
	}
	if p := page(Query{}); len(p.Entries) != 5 || p.Total != 30 || len(r.index.of) != 1 {
		t.Errorf("list: %d of %d, %d folders read", len(p.Entries), p.Total, len(r.index.of))
	}
	if p := page(Query{Text: []string{"fattura"}}); len(p.Entries) != 5 || p.Total != -1 || p.Next.IsZero() || len(r.index.of) != 2 {
		t.Errorf("frequent word: %d of %d, %d folders read", len(p.Entries), p.Total, len(r.index.of))
	}
	if p := page(Query{Text: []string{"nessuno"}}); len(p.Entries) != 0 || p.Total != 0 || !p.Next.IsZero() || len(r.index.of) != 4 {
		t.Errorf("rare word: %d of %d, %d folders read", len(p.Entries), p.Total, len(r.index.of))
	}
	if p := page(Query{Text: []string{"fattura"}}); len(p.Entries) != 5 || p.Total != 30 {
		t.Errorf("frequent word, once all is known: %d of %d", len(p.Entries), p.Total)
	}
	r.later(2 * idle)
	if page(Query{}); len(r.index.of) != 1 {
		t.Errorf("after a pause: %d folders kept", len(r.index.of))
	}
	page(Query{Text: []string{"fattura"}})
	if r.index.Forget("bruno@alpha.test"); len(r.index.of) == 0 {
		t.Error("the archive of somebody else was erased, and this one is forgotten")
	}
	if r.index.Forget("anna@alpha.test"); len(r.index.of) != 0 || r.index.used.Len() != 0 || r.index.bytes != 0 {
		t.Errorf("after an erasure: %d folders kept, of %d bytes", len(r.index.of), r.index.bytes)
	}
	page(Query{})
	r.later(idle - time.Second)
	if r.index.Rest(); len(r.index.of) != 1 {
		t.Errorf("within an hour: %d folders kept", len(r.index.of))
	}
	r.later(time.Second)
	if r.index.Rest(); len(r.index.of) != 0 || r.index.bytes != 0 {
		t.Errorf("nobody asks for an hour: %d folders kept, of %d bytes", len(r.index.of), r.index.bytes)
	}
	small := New(Options{Memory: 1, Now: r.time})
	p, err := small.Find(t.Context(), r.reader, Query{Text: []string{"fattura"}}, Position{}, 100)
	if err != nil || len(p.Entries) != 30 || len(small.of) != 0 || small.bytes != 0 {
		t.Errorf("without memory: %d, %v, %d folders kept, of %d bytes", len(p.Entries), err, len(small.of), small.bytes)
	}
}

// TestDamage lists an archive of which a month, and then one entry, cannot be read.
func TestDamage(t *testing.T) {
	r := newRig(t)
	for _, month := range []string{"2026-07", "2026-08", "2026-09"} {
		r.clock(month + "-15 10:00")
		r.plain("in " + month)
	}
	bad := kv.Month("2026-08")
	r.engine.bad.Store(&bad)
	for query, passed := range map[string]int{"": 1, "in": 1, "in:INBOX/2026-08": 1, "in:INBOX/2026-09": 0, "date:2026-09": 0} {
		q, err := ParseQuery(query)
		r.check(err)
		p, err := r.index.Find(t.Context(), r.reader, q, Position{}, 0)
		if err != nil || len(p.Passed) != passed || slices.Contains(subjectsOf(p), "in 2026-08") {
			t.Errorf("%q: %q, %v, %v", query, subjectsOf(p), p.Passed, err)
		}
	}
	r.engine.bad.Store(nil)
	if got := r.find(""); len(got) != 3 {
		t.Errorf("once the month can be read: %q", got)
	}
	store, err := r.engine.Volume(t.Context(), bad, false)
	r.check(err)
	for p, err := range store.Scan(t.Context(), []byte("e"), []byte("f")) {
		r.check(err)
		r.check(store.Update(t.Context(), nil, func(tx kv.Tx) error {
			tx.Put(p.Key, p.Value[:len(p.Value)/2])
			return nil
		}))
	}
	for _, x := range []*Index{r.index, New(Options{Now: r.time})} {
		p, err := x.Find(t.Context(), r.reader, Query{}, Position{}, 0)
		if err != nil || len(p.Entries) != 3 || len(p.Damaged) != 1 || p.Entries[1].Ref != p.Damaged[0] || p.Damaged[0].Month != bad {
			t.Errorf("a damaged entry: %q, %v, %v", subjectsOf(p), p.Damaged, err)
		}
	}
}

// TestPosition refuses texts that no page returned.
func TestPosition(t *testing.T) {
	for _, text := range []string{"x", "AAAA", strings.Repeat("A", 3000), "????", strings.Repeat("A", 40)} {
		if p, err := ParsePosition(text); !errors.Is(err, ErrPosition) {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	if p, err := ParsePosition(""); err != nil || !p.IsZero() || p.String() != "" {
		t.Errorf("the beginning: %v, %v", p, err)
	}
}

// FuzzParsePosition checks that a position is one text only.
func FuzzParsePosition(f *testing.F) {
	f.Add(Position{key{1, journal.Ref{Month: "2026-11", Folder: "INBOX", UID: 7}}}.String())
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePosition(text); err == nil && p.String() != text {
			t.Errorf("%q: %+v, %q", text, p, p)
		}
	})
}
