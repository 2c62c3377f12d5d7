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
