//go:build bench

package search

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

const (
	benchMessages = 100_000
	benchRequests = 1_000
)

// benchTemplate is a message of which many are filed with other subjects, and what it says of itself.
type benchTemplate struct {
	message string
	in      journal.Intent
	share   int // of 10
}

// TestBenchSearch prints how long lists and searches take in one mailbox of 100,000 messages, 6 of 10 of them certified, in one month and in 25, and how
// that compares with reading the same entries once.
func TestBenchSearch(t *testing.T) {
	for _, months := range []int{1, 25} {
		r := newRig(t)
		r.index = New(Options{Now: r.time})
		fillBench(t, r, months)
		var before, after runtime.MemStats
		began, scans := time.Now(), 0
		for e, err := range r.journal.List(t.Context(), r.anna.String()) {
			r.check(err)
			scans += min(1, len(e.Subject))
		}
		scan := time.Since(began)
		fmt.Printf("\n%d messages in %d months; reading all entries once takes %v\n\n", scans, months, scan.Round(time.Millisecond))
		fmt.Println("| 1,000 requests of 50 messages | first | p50 | p95 | p95 / reading all once |\n|---|---|---|---|---|")
		positions := []Position{{}}
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, row := range []struct {
			name, query string
			pages       bool // any page of the list; otherwise the first
			arrivals    bool // a message arrives before each request
		}{
			{"list, first page", "", false, false},
			{"list, any page", "", true, false},
			{"list, first page, after an arrival", "", false, true},
			{"certified mail of a month", "class:certified date:2026-09", false, false},
			{"rare word", "unica-7341", false, false},
			{"frequent word", "fattura", false, false},
			{"word that is nowhere", "inesistente", false, false},
			{"two words and a field", "fattura 2026 from:fornitore", false, false},
			{"with attachment", "has:attachment", false, false},
			{"frequent word, after an arrival", "fattura", false, true},
		} {
			q, err := ParseQuery(row.query)
			r.check(err)
			var took []time.Duration
			for i := range benchRequests {
				if row.arrivals {
					r.plain(fmt.Sprintf("fattura in arrivo %d", i))
				}
				var from Position
				if row.pages {
					from = positions[rand.IntN(len(positions))]
				}
				began := time.Now()
				page, err := r.index.Find(t.Context(), r.reader, q, from, DefaultLimit)
				took = append(took, time.Since(began))
				r.check(err)
				if i == 0 && row.query == "" && len(positions) == 1 { // the beginnings of pages all over the list
					for ; err == nil && !page.Next.IsZero(); page, err = r.index.Find(t.Context(), r.reader, q, page.Next, MaxLimit) {
						positions = append(positions, page.Next)
					}
				}
			}
			first := took[0]
			slices.Sort(took)
			p95 := took[len(took)*95/100]
			fmt.Printf("| %s | %.1f ms | %.1f ms | %.1f ms | %.3f |\n", row.name, ms(first), ms(took[len(took)/2]), ms(p95), float64(p95)/float64(scan))
			if p95 > 100*time.Millisecond {
				t.Errorf("%s: p95 %v", row.name, p95)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		fmt.Printf("\ncatalogues take %.1f MiB by their own count, %.1f MiB by the runtime's\n", float64(r.index.bytes)/(1<<20), float64(after.HeapAlloc-before.HeapAlloc)/(1<<20))
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// fillBench files the messages, as many in each month.
func fillBench(t *testing.T, r *rig, months int) {
	t.Helper()
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	chain := o.Send(pectest.Mail{From: "anna@alpha.test", To: []string{"ufficio.protocollo@beta.test"}, Subject: "SUBJECT", Text: "Testo\n"}, "breve")
	in := o.Send(pectest.Mail{From: "fornitore.generale@beta.test", To: []string{"anna@alpha.test"}, Subject: "SUBJECT", Text: "Testo\n",
		Attachments: []pectest.Attachment{pectest.Binary("documento-SUBJECT.pdf", 500, 2)}}, "")
	templates := []benchTemplate{
		{string(in.Envelope), journal.Intent{Direction: journal.Received, RcptTo: "anna@alpha.test"}, 3},
		{string(chain.Acceptance), journal.Intent{Direction: journal.Received, RcptTo: "anna@alpha.test"}, 1},
		{string(chain.Deliveries[0].Message), journal.Intent{Direction: journal.Received, RcptTo: "anna@alpha.test"}, 1},
		{string(chain.Original), journal.Intent{Direction: journal.Sent, SentTo: "certified", Recipients: []string{"ufficio.protocollo@beta.test"}}, 1},
		{"From: Ditta Fornitore Generale <ordini@ext.test>\r\nTo: anna@alpha.test\r\nSubject: SUBJECT\r\n\r\nTesto\r\n",
			journal.Intent{Direction: journal.Received, RcptTo: "anna@alpha.test"}, 4},
	}
	var deck []*benchTemplate
	for i := range templates {
		b := &templates[i]
		s := part.NewScanner(part.DefaultLimits())
		s.Write([]byte(b.message))
		table := s.Close()
		m := pec.Read(strings.NewReader(b.message), table, s.Header())
		b.in.Mailbox, b.in.Class = r.anna.String(), string(m.Class)
		record, err := (&pec.Record{Message: *m}).AppendBinary(nil)
		r.check(err)
		b.in.Certification = record
		for range b.share {
			deck = append(deck, b)
		}
	}
	const workers = 64
	for month := range months {
		at := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC).AddDate(0, month+1-months, 0)
		r.now.Store(&at)
		var filing sync.WaitGroup
		for worker := range workers {
			filing.Go(func() {
				for i := worker; i < benchMessages/months; i += workers {
					if worker == 0 {
						r.later(time.Second)
					}
					if err := fileBench(r, deck[rand.IntN(len(deck))], month*benchMessages/months+i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		filing.Wait()
	}
}

func fileBench(r *rig, b *benchTemplate, number int) error {
	words := [...]string{"fattura", "ordine", "preventivo", "diffida", "sollecito di pagamento", "comunicazione"}
	subject := fmt.Sprintf("%s n. %d/2026", words[rand.IntN(len(words))], number)
	if number%1000 == 500 || number == 0 {
		subject += " unica-7341"
	}
	draft := r.journal.NewDraft(context.Background())
	defer draft.Discard()
	if _, err := draft.Write([]byte(strings.ReplaceAll(b.message, "SUBJECT", subject))); err != nil {
		return err
	}
	in := b.in
	in.Certification = []byte(strings.ReplaceAll(string(in.Certification), "SUBJECT", "CERTIFY")) // as long as it was: lengths stand in it
	_, err := draft.Commit(context.Background(), journal.Envelope{MailFrom: "posta-certificata@beta.test", Transaction: r.journal.NewTransaction()}, []journal.Intent{in}, nil)
	return err
}
