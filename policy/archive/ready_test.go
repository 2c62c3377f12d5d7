package archive

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadyAnswers has a look hang: the answer comes in time all the same, and says so, and one look is enough for all who ask.
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
