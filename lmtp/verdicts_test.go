package lmtp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestAwaitVerdicts waits for the verdict of a message that is being made durable.
func TestAwaitVerdicts(t *testing.T) {
	r := newRig(t, rigOptions{enable: anna})
	if err := r.server.AwaitVerdicts(t.Context()); err != nil { // of none
		t.Fatal(err)
	}
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
		if err := r.server.AwaitVerdicts(context.Background()); err != nil {
			t.Error(err)
		}
		n := 0
		for range r.journal.List(context.Background(), anna[0]) {
			n++
		}
		found <- n
	}()
	// A wait ends with its context, and holds up no new message.
	ended, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if err := r.server.AwaitVerdicts(ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	other := r.client()
	other.say("LHLO mx.test\nMAIL FROM:<ext@ext.test>\nRCPT TO:<bruno@alpha.test>\nDATA\n")
	other.want("250", "250", "250", "354")
	other.say(message)
	other.want("250")
	other.say("QUIT\n")
	other.want("221")
	select {
	case <-found:
		t.Fatal("the verdict was not waited for")
	default:
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
