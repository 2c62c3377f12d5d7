package archive

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace works for ten seconds, in pieces of a millisecond: where messages are delivered, a twentieth of the time is left for it.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name        string
		delivering  bool
		least, most time.Duration
	}{{"nothing is delivered", false, 10 * time.Second, 10 * time.Second}, {"messages are delivered", true, 400 * time.Millisecond, 600 * time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace(func() bool { return c.delivering })
				var out bytes.Buffer
				w := p.Writer(t.Context(), &out)
				var worked time.Duration
				for begun := time.Now(); time.Since(begun) < 10*time.Second; worked += time.Millisecond {
					if _, err := w.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
				}
				if worked < c.least || worked > c.most || out.Len() != int(worked/time.Millisecond) {
					t.Errorf("worked for %s, and wrote %d bytes", worked, out.Len())
				}
			})
		})
	}
	t.Run("the end of the context ends a rest", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPace(func() bool { return true })
			time.Sleep(paceTurn)
			ctx, cancel := context.WithTimeout(t.Context(), paceRest/2)
			defer cancel()
			begun := time.Now()
			if err := p.Step(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != paceRest/2 {
				t.Errorf("%v after %s", err, time.Since(begun))
			}
		})
	})
}
