package lmtp

import (
	"context"
	"strings"
	"testing"
)

// TestAwaitVerdicts waits for the verdict of a message that is just being made durable.
func TestAwaitVerdicts(t *testing.T) {
	r := newRig(t, rigOptions{enable: anna})
	r.server.AwaitVerdicts() // of none
	syncing, goOn := make(chan struct{}), make(chan struct{})
	hook := func(folder string) {
		if !strings.HasSuffix(folder, "settings") {
			r.disk.onSync.Store(nil)
			close(syncing)
			<-goOn
		}
	}
	c := r.client()
	c.say("LHLO mx.test\n" + toAnna)
	c.want("250", "250", "250", "354")
	c.say(message)
	c.want("250")
	c.say(toAnna)
	c.want("250", "250", "354")
	r.disk.onSync.Store(&hook)
	c.say(strings.Replace(message, "\n", "\nX-Number: 2\n", 1))
	<-syncing
	found := make(chan int, 1)
	go func() {
		r.server.AwaitVerdicts()
		n := 0
		for range r.journal.List(context.Background(), anna[0]) {
			n++
		}
		found <- n
	}()
	for r.server.verdicts.TryRLock() {
		r.server.verdicts.RUnlock() // it does not wait yet
		select {
		case <-found:
			t.Fatal("the verdict was not waited for")
		default:
		}
	}
	close(goOn)
	if n := <-found; n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
	c.want("250")
	c.say("QUIT\n")
	c.want("221")
	r.stop()
}
