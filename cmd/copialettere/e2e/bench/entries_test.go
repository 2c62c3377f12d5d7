//go:build bench

package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/httpd"
)

// entriesVariable names the environment variable that says how many entries TestBenchEntries has in one month.
const entriesVariable = "COPIALETTERE_ENTRIES"

// sentEvery is of how many messages one is sent and certified, with a link by which its practice is found.
const sentEvery = 1000

// TestBenchEntries measures what it takes to find something in one month of one mailbox with very many entries, and to verify it.
func TestBenchEntries(t *testing.T) {
	entries := 1_000_000
	if text := os.Getenv(entriesVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2*sentEvery {
			t.Fatalf("%s=%s: want a number from %d", entriesVariable, text, 2*sentEvery)
		}
		entries = n
	}
	program, err := rig.Build(rig.Folder(t))
	check(t, err)
	folder := rig.Folder(t)
	hook := rig.Install(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(hookConfig, "127.0.0.1:"+strconv.Itoa(rig.FreePort(t)), "", "127.0.0.1:1"))
	hook.Enable(t, mailbox)
	hook.Must(t, "mailbox", "set", mailbox, "quota=1000GB")
	fillMonth(t, hook.Data, entries)
	hook.Own(t)
	hook.Start(t)

	socket := filepath.Join(hook.Data, "admin.sock")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	fmt.Printf("\n| %d entries of small messages in one month of one mailbox, one in %d sent and certified | median | most | goal |\n|---|---|---|---|\n",
		entries, sentEvery)
	month := time.Now().UTC().Format("2006-01")
	for _, q := range []struct {
		name, path string
		value      func(i int) url.Values
	}{
		{"list -newest 100", "/entries", func(int) url.Values { return url.Values{"newest": {"100"}} }},
		{"list -newest 100 of a folder", "/entries", func(int) url.Values { return url.Values{"newest": {"100"}, "folder": {"Sent/" + month}} }},
		{"list -folder -after, the last 100", "/entries", func(int) url.Values {
			return url.Values{"folder": {"INBOX/" + month}, "after": {strconv.Itoa(entries - entries/sentEvery - 100)}}
		}},
		{"why of a known id", "/why", func(i int) url.Values { return url.Values{"message_id": {numbered(i*7919%entries, entries)}} }},
		{"why of an unknown id", "/why", func(i int) url.Values { return url.Values{"message_id": {fmt.Sprintf("nobody%d@ext.test", i)}} }},
		{"practice of a known id", "/practices", func(i int) url.Values {
			return url.Values{"message_id": {numbered(i*sentEvery%entries, entries)}}
		}},
		{"practice of an unknown id", "/practices", func(i int) url.Values { return url.Values{"message_id": {fmt.Sprintf("nobody%d@ext.test", i)}} }},
		{"practice of a UID", "/practices", func(i int) url.Values { return url.Values{"uid": {strconv.Itoa(1 + i)}} }},
		{"practice of an unknown UID", "/practices", func(i int) url.Values { return url.Values{"uid": {strconv.Itoa(entries + i)}} }},
		{"all practices", "/practices", func(int) url.Values { return nil }},
	} {
		const rounds = 21
		var took []time.Duration
		for i := range rounds + 2 {
			begun := time.Now()
			answer, err := client.Get("http://localhost" + httpd.Prefix + "/mailboxes/" + mailbox + q.path + "?" + q.value(i).Encode())
			check(t, err)
			_, err = io.Copy(io.Discard, answer.Body)
			check(t, err)
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", q.name, answer.Status)
			}
			if i >= 2 {
				took = append(took, time.Since(begun))
			}
		}
		slices.Sort(took)
		fmt.Printf("| %s | %.1f ms | %.1f ms | 20 ms |\n", q.name, took[len(took)/2].Seconds()*1e3, took[len(took)-1].Seconds()*1e3)
	}
	// What a verification adds to a daemon that does nothing else, its cache of blocks included, which is empty by then.
	hook.Stop(t)
	hook.Start(t)
	atRest, worked := peakMemory(t, hook.PID()), processorTime(t, hook.PID())
	begun := time.Now()
	verify(t, hook)
	fmt.Printf("| verify, of each entry; its processor time is %.1f us | %.1f us | | 30 us |\n",
		(processorTime(t, hook.PID())-worked).Seconds()*1e6/float64(entries), time.Since(begun).Seconds()*1e6/float64(entries))
	peak := peakMemory(t, hook.PID())
	fmt.Printf("| peak of the resident memory (VmHWM) of verify, %d MiB, above that of the daemon at rest, %d MiB | %d MiB | | 64 MiB |\n",
		peak>>20, atRest>>20, (peak-atRest)>>20)
}

// numbered is the Message-ID of message number i of so many.
func numbered(i, of int) string { return fmt.Sprintf("%d.%d@ext.test", i, of) }

// fillMonth journals small messages of a mailbox in the month of today.
func fillMonth(t *testing.T, data string, entries int) {
	t.Helper()
	folder, err := datafolder.Open(t.Context(), data, datafolder.Options{})
	check(t, err)
	defer folder.Close()
	j, err := journal.Open(folder.Engine, journal.Options{})
	check(t, err)
	defer j.Close()
	var next atomic.Int64
	var adding sync.WaitGroup
	errors := make([]error, 64)
	for worker := range errors {
		adding.Go(func() {
			for errors[worker] == nil {
				i := int(next.Add(1)) - 1
				if i >= entries {
					return
				}
				errors[worker] = archiveNumber(t, j, i, entries)
			}
		})
	}
	adding.Wait()
	for _, err := range errors {
		check(t, err)
	}
	check(t, j.Index(t.Context(), 0))
}

// archiveNumber journals message number i of so many.
func archiveNumber(t *testing.T, j *journal.Journal, i, of int) error {
	id := numbered(i, of)
	draft := j.NewDraft(t.Context())
	defer draft.Discard()
	fmt.Fprintf(draft, "From: %s\r\nTo: %s\r\nSubject: Fattura %d\r\nMessage-ID: <%s>\r\n\r\nIn allegato la fattura %d.\r\n", sender, mailbox, i, id, i)
	in := journal.Intent{Mailbox: mailbox, Direction: journal.Received, RcptTo: mailbox, Class: "ordinary"}
	if i%sentEvery == 0 {
		in = journal.Intent{Mailbox: mailbox, Direction: journal.Sent, Recipients: []string{sender}, Class: "ordinary", SentTo: "certified", Links: []string{"m:" + id}}
	}
	placed, err := draft.Commit(t.Context(), journal.Envelope{MailFrom: sender, Transaction: id}, []journal.Intent{in}, nil)
	if err == nil {
		j.Delivered(placed[0].Ref, id)
	}
	return err
}
