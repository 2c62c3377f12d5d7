package httpd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns has a greedy client wait, and nobody else.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(2, 1, 10*time.Second)
		take := func(who string) (func(), bool) { return turns.Take(t.Context(), who) }
		first, ok1 := take("anna")
		second, ok2 := take("anna")
		if !ok1 || !ok2 {
			t.Fatal("the first two wait")
		}
		began := time.Now()
		third := make(chan bool)
		go func() {
			release, ok := take("anna")
			third <- ok
			release()
		}()
		synctest.Wait()
		if _, ok := take("anna"); ok || time.Since(began) > 0 {
			t.Error("one too many waits")
		}
		if release, ok := take("bruno"); !ok || time.Since(began) > 0 {
			t.Error("somebody else waits")
		} else {
			release()
		}
		time.Sleep(9 * time.Second)
		first()
		if !<-third {
			t.Error("the third did not get its turn")
		}
		synctest.Wait()
		fourth, _ := take("anna")
		began = time.Now()
		if _, ok := take("anna"); ok || time.Since(began) != 10*time.Second {
			t.Errorf("refused after %s", time.Since(began))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := turns.Take(gone, "anna"); ok {
			t.Error("who has gone got a turn")
		}
		second()
		fourth()
		if len(turns.of) > 0 {
			t.Errorf("%d are kept", len(turns.of))
		}
	})
}
