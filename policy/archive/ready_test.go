package archive

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// TestReadyAnswers checks a look that hangs: the answer still comes in time and says so, and all who ask share one look.
func TestReadyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReadiness(nil, nil, nil, slog.New(slog.DiscardHandler))
		looks := 0
		hang := make(chan struct{})
		r.look = func(context.Context) []string {
			looks++
			<-hang
			return nil
		}
		start := time.Now()
		for range 3 {
			if got := r.Problems(t.Context()); len(got) != 1 || got[0] != NotReadySlow {
				t.Errorf("while it hangs: %q", got)
			}
		}
		if took := time.Since(start); took > 3*ReadyTimeout {
			t.Errorf("three answers took %v", took)
		}
		close(hang)
		synctest.Wait()
		if got := r.Problems(t.Context()); len(got) != 0 || looks != 1 {
			t.Errorf("afterwards: %q, with %d looks", got, looks)
		}
		time.Sleep(ReadyFor)
		if got := r.Problems(t.Context()); len(got) != 0 || looks != 2 {
			t.Errorf("later: %q, with %d looks", got, looks)
		}
		r.Stop()
		if got := r.Problems(t.Context()); len(got) != 1 || got[0] != NotReadyStopping {
			t.Errorf("stopping: %q", got)
		}
		r.Wait()
	})
}

// TestReadyOfManyMailboxes has more mailboxes than one look reads: a look never reads more, every mailbox has its turn, and unreadable settings
// are reported until they can be read.
func TestReadyOfManyMailboxes(t *testing.T) {
	a, settings := openOn(t)
	r := NewReadiness(a.journal, a.policy, func(context.Context) bool { return false }, slog.New(slog.DiscardHandler))
	put := func(value string, mailboxes ...string) {
		t.Helper()
		err := settings.Update(t.Context(), nil, func(tx kv.Tx) error {
			for _, m := range mailboxes {
				tx.Put([]byte("m"+m), []byte(value))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var mailboxes []string
	for i := range readyMailboxes {
		mailboxes = append(mailboxes, fmt.Sprintf("user%05d@alpha.test", i))
	}
	put(`{"version":1}`, mailboxes...)
	const last = "zoe@alpha.test"
	for i, c := range []struct{ value, want string }{
		{`{`, ""}, {`{`, NotReadySettings}, {`{`, NotReadySettings}, {`{"version":1}`, ""}, {`{`, ""}, {`{`, NotReadySettings},
	} {
		put(c.value, last)
		if got := strings.Join(r.lookNow(t.Context()), ", "); got != c.want {
			t.Errorf("look %d: not ready because of %q, want %q", i+1, got, c.want)
		}
	}
}
