package imapd

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// work has programs work for 3 seconds, in pieces of a millisecond, and returns how long they worked together.
func work(t *testing.T, programs int, delivering bool) (worked time.Duration, turnsLeft int) {
	synctest.Test(t, func(t *testing.T) {
		all := make(turns, 1)
		all <- 0
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var pieces, now atomic.Int64
		var working sync.WaitGroup
		for range programs {
			working.Go(func() {
				mine := turn{turns: all, delivering: func() bool { return delivering }}
				for ctx.Err() == nil {
					if mine.begin(ctx) != nil {
						return
					}
					for range 20 {
						if now.Add(1) > 1 {
							t.Error("two have the one turn")
						}
						time.Sleep(time.Millisecond)
						now.Add(-1)
						pieces.Add(1)
						if mine.step(ctx) != nil {
							return
						}
					}
					mine.end()
					mine.outside(ctx, func() { time.Sleep(time.Millisecond) })
				}
			})
		}
		working.Wait()
		worked, turnsLeft = time.Duration(pieces.Load())*time.Millisecond, len(all)
	})
	return worked, turnsLeft
}

func TestTurns(t *testing.T) {
	for _, test := range []struct {
		why        string
		programs   int
		delivering bool
		min, max   time.Duration
	}{
		{"one, nothing is delivered", 1, false, 2800 * time.Millisecond, 3 * time.Second},
		{"many, nothing is delivered", 50, false, 2900 * time.Millisecond, 3 * time.Second},
		{"one, while mail is delivered", 1, true, 100 * time.Millisecond, 200 * time.Millisecond},
		{"many, while mail is delivered", 50, true, 100 * time.Millisecond, 200 * time.Millisecond},
	} {
		t.Run(test.why, func(t *testing.T) {
			worked, left := work(t, test.programs, test.delivering)
			if worked < test.min || worked > test.max || left != 1 {
				t.Errorf("worked for %v of 3s; %d turns are left", worked, left)
			}
		})
	}
}

// reading is an io.Reader.
type reading func(p []byte) (int, error)

func (r reading) Read(p []byte) (int, error) { return r(p) }

// TestTurnOfAppend takes in a message: the turn is given back while the program is waited for, and for good with the last byte.
func TestTurnOfAppend(t *testing.T) {
	all := make(turns, 1)
	all <- 0
	c := &conn{ctx: t.Context(), turn: turn{turns: all, delivering: func() bool { return false }}}
	in := &incoming{left: 6, conn: c, message: reading(func(p []byte) (int, error) {
		if len(all) != 1 {
			t.Error("nobody else has a turn while the program is waited for")
		}
		return copy(p, "ab"), nil
	})}
	if err := c.turn.begin(c.ctx); err != nil {
		t.Fatal(err)
	}
	for i, left := range []int{0, 0, 1} {
		if n, err := in.Read(make([]byte, 10)); n != 2 || err != nil || len(all) != left {
			t.Errorf("piece %d: %d bytes, %v; %d turns are left, want %d", i, n, err, len(all), left)
		}
	}
	c.turn.end()
	if len(all) != 1 {
		t.Errorf("%d turns are left in the end", len(all))
	}
}
