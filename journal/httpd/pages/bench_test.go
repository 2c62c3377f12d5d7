//go:build bench

package pages

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal"
)

// TestBenchPages prints how long the list of messages and searches take at the handler, signed in, in an archive of 100,000 messages, and how that
// compares with reading all entries once.
func TestBenchPages(t *testing.T) {
	const messages, workers, requests = 100_000, 64, 1_000
	r := newRig(t)
	var filing sync.WaitGroup
	for worker := range workers {
		filing.Go(func() {
			for n := worker; n < messages; n += workers {
				draft := r.journal.NewDraft(context.Background())
				fmt.Fprintf(draft, "From: Ditta Fornitore <ordini%d@ext.test>\r\nTo: anna@alpha.test\r\nSubject: Fattura n. %d/2026\r\n\r\nTesto\r\n", n%100, n)
				_, err := draft.Commit(context.Background(), journal.Envelope{MailFrom: "ordini@ext.test", Transaction: r.journal.NewTransaction()},
					[]journal.Intent{{Mailbox: "anna@alpha.test", RcptTo: "anna@alpha.test", Direction: journal.Received, Class: "ordinary"}}, nil)
				draft.Discard()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	filing.Wait()
	began := time.Now()
	for _, err := range r.journal.List(t.Context(), "anna@alpha.test") {
		r.must(err)
	}
	scan := time.Since(began)
	fmt.Printf("\n| pages, 1,000 requests; reading all entries once takes %v | first | p50 | p95 | p95 / reading all once | bytes |\n|---|---|---|---|---|---|\n", scan.Round(time.Millisecond))
	anna := r.signedIn("anna@alpha.test")
	for _, query := range []string{"", "?folder=INBOX", "?q=fattura", "?q=77777", "?q=inesistente", "?q=class:other+date:2020.."} {
		var took []time.Duration
		size := 0
		for range requests {
			began := time.Now()
			w := anna.get("/mailbox/anna@alpha.test/messages" + query)
			took = append(took, time.Since(began))
			if size = w.Body.Len(); w.Code != http.StatusOK || size > 60_000 {
				t.Fatalf("%s: status %d, %d bytes", query, w.Code, size)
			}
		}
		first := took[0]
		slices.Sort(took)
		p95 := took[len(took)*95/100]
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		fmt.Printf("| /messages%s | %.1f ms | %.1f ms | %.1f ms | %.3f | %d |\n", query, ms(first), ms(took[len(took)/2]), ms(p95), float64(p95)/float64(scan), size)
		if p95 > 100*time.Millisecond {
			t.Errorf("%s: p95 %v", query, p95)
		}
	}
}

// drain is a client that takes everything and keeps nothing.
type drain struct {
	header http.Header
	bytes  int64
	code   int
}

func (d *drain) Header() http.Header  { return d.header }
func (d *drain) WriteHeader(code int) { d.code = code }
func (d *drain) Write(b []byte) (int, error) {
	d.bytes += int64(len(b))
	return len(b), nil
}

// TestBenchLargeMessage prints how much memory it takes to show a message of 30 MB and to download it.
func TestBenchLargeMessage(t *testing.T) {
	r := newRig(t)
	draft := r.journal.NewDraft(t.Context())
	fmt.Fprint(draft, "From: a@ext.test\r\nSubject: grande\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nTesto\r\n--b\r\n"+
		"Content-Type: application/octet-stream; name=grande.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for n := range 30_000_000 / 76 {
		fmt.Fprintf(draft, "%s%012d\r\n", strings.Repeat("QUJD", 16), n)
	}
	fmt.Fprint(draft, "\r\n--b--\r\n")
	placed, err := draft.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: "anna@alpha.test", Direction: journal.Received}}, nil)
	r.must(err)
	draft.Discard()
	anna := r.signedIn("anna@alpha.test")
	path := "/mailbox/anna@alpha.test/messages/" + strings.ReplaceAll(placed[0].FolderName(), "/", "%2F") + "/1"
	fmt.Print("\n| a message of 30 MB | sent | most memory in use above before |\n|---|---|---|\n")
	for _, what := range []string{"", "/raw", "/parts/2"} {
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		var most atomic.Uint64
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() {
			for ctx.Err() == nil {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				most.Store(max(most.Load(), now.HeapAlloc))
				time.Sleep(time.Millisecond)
			}
		})
		q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+what, nil)
		q.AddCookie(&http.Cookie{Name: sessionCookie, Value: anna.cookie})
		w := &drain{header: make(http.Header)}
		r.pages.ServeHTTP(w, q)
		cancel()
		watching.Wait()
		above := int64(most.Load()) - int64(before.HeapAlloc)
		fmt.Printf("| %s | %d bytes | %.1f MiB |\n", path+what, w.bytes, float64(above)/(1<<20))
		if above > 24<<20 || w.code >= 400 {
			t.Errorf("%s: status %d, %d bytes of memory", what, w.code, above)
		}
	}
}

// TestBenchSkips prints how long pages take that show gaps, in an archive with 200,000 skips among which they stand.
func TestBenchSkips(t *testing.T) {
	const skips, requests = 200_000, 5
	r := newRig(t)
	start := time.Now().AddDate(0, 0, -20)
	list := []journal.Record{{Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: start, Reason: journal.ReasonFull, Direction: journal.Received}}
	for n := range skips {
		list = append(list, journal.Record{
			Kind: journal.Skip, Mailbox: "anna@alpha.test", Time: start.Add(time.Duration(n) * 8 * time.Second), Reason: "alias", Direction: journal.Received,
			MailFrom: "lista@ext.test", RcptTo: "anna@alpha.test", MessageID: fmt.Sprint(n, "@ext.test"),
		})
	}
	for some := range slices.Chunk(list, 2_000) {
		r.must(r.journal.Record(t.Context(), some...))
	}
	anna, postmaster := r.signedIn("anna@alpha.test"), r.signedIn("postmaster@alpha.test")
	day := time.Now().AddDate(0, 0, -10).Format(time.DateOnly)
	fmt.Printf("\n| pages, with %d skips | median | longest of 5 |\n|---|---|---|\n", skips)
	for _, c := range []struct {
		reader *browser
		path   string
	}{
		{anna, "/mailbox/anna@alpha.test/"}, {anna, "/mailbox/anna@alpha.test/messages"}, {anna, "/mailbox/anna@alpha.test/gaps"},
		{postmaster, "/domain/alpha.test/mailboxes/anna@alpha.test/"}, {postmaster, "/domain/alpha.test/mailboxes/anna@alpha.test/why?day=" + day},
	} {
		var took []time.Duration
		for range requests {
			began := time.Now()
			if w := c.reader.get(c.path); w.Code != http.StatusOK {
				t.Fatalf("%s: status %d", c.path, w.Code)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		fmt.Printf("| %s | %v | %v |\n", c.path, took[requests/2].Round(time.Millisecond), took[requests-1].Round(time.Millisecond))
	}
}
