package lmtp

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(t.Context(), 10*time.Second)
		defer p.stop()
		wait := func(begin func(*patience), d time.Duration, ended bool) {
			t.Helper()
			begin(p)
			time.Sleep(d)
			synctest.Wait()
			if got := p.ctx.Err() != nil; got != ended {
				t.Errorf("the time is used up: %t, want %t", got, ended)
			}
			p.end()
		}
		step := func(p *patience) { p.begin() }
		last := func(p *patience) { p.beginLast() }
		wait(step, 4*time.Second, false)
		time.Sleep(time.Hour) // time spent elsewhere does not count
		wait(last, 4*time.Second, false)
		// Nested waits count once.
		p.begin()
		wait(step, time.Second, false)
		p.end()
		wait(step, time.Second+time.Millisecond, true)
		wait(step, 0, true)
		wait(last, leastJournalTime-time.Millisecond, false)
		wait(last, 2*time.Millisecond, true) // granted only once
		wait(last, 0, true)
	})
}
