package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/policy"
)

// guesses is a throttle with helpers for a bubble of time.
type guesses struct {
	t *testing.T
	*throttle
}

func (g guesses) try(login, from, password string, right bool) (wait time.Duration) {
	g.t.Helper()
	one, wait, err := g.begin(g.t.Context(), login, Attempt{Password: password, Remote: netip.MustParseAddr(from)})
	if err != nil {
		g.t.Fatal(err)
	}
	if one != nil {
		one.end(right, !right)
	}
	return wait
}

// until returns how many different wrong passwords pass before one is refused, at most 1000.
func (g guesses) until(login func(n int) string, from func(n int) string) int {
	g.t.Helper()
	for n := range 1000 {
		if g.try(login(n), from(n), fmt.Sprint("wrong", n), false) > 0 {
			return n
		}
	}
	return 1000
}

func always(s string) func(int) string { return func(int) string { return s } }

func TestThrottleLimits(t *testing.T) {
	different := func(format string) func(int) string { return func(n int) string { return fmt.Sprintf(format, n+1) } }
	for _, c := range []struct {
		name        string
		login, from func(int) string
		want        int
	}{
		{"one login from one address", always(anna), always("192.0.2.7"), limitBoth},
		{"many logins from one address", different("user%d@alpha.test"), always("192.0.2.7"), limitAddress},
		{"many logins from one network of IPv6", different("user%d@alpha.test"), different("2001:db8::%x"), limitAddress},
		{"many logins from many networks of IPv6", different("user%d@alpha.test"), different("2001:db8:0:%x::1"), 1000},
		{"one login from many addresses", always(anna), func(n int) string { return fmt.Sprintf("192.0.%d.%d", n/200, n%200+1) }, limitLogin},
		{"many logins from this machine", different("user%d@alpha.test"), always("127.0.0.1"), 1000},
		{"one login from this machine", always(anna), always("::1"), limitBoth},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := guesses{t, newThrottle()}
				if n := g.until(c.login, c.from); n != c.want {
					t.Errorf("%d passed, want %d", n, c.want)
				}
			})
		})
	}
}

// TestThrottleFalls lets time pass: the wait that was told is enough, and a long pause gives all tries back.
func TestThrottleFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guesses{t, newThrottle()}
		g.until(always(anna), always("192.0.2.7"))
		wait := g.try(anna, "192.0.2.7", "wrong", false)
		if wait < time.Second || wait > 5*time.Minute {
			t.Fatalf("waits %v", wait)
		}
		time.Sleep(wait)
		if again := g.try(anna, "192.0.2.7", "wrong again", false); again > 0 {
			t.Errorf("after %v, waits %v more", wait, again)
		}
		if again := g.try(anna, "192.0.2.7", "and again", false); again == 0 {
			t.Error("two tries pass after the wait for one")
		}
		time.Sleep(24 * time.Hour)
		if n := g.until(always(anna), always("192.0.2.7")); n != limitBoth {
			t.Errorf("a day later, %d pass", n)
		}
	})
}

// TestThrottleSpares checks who is not held up by the failures of others, and by those of a program with an old password.
func TestThrottleSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guesses{t, newThrottle()}
		g.try(anna, "192.0.2.1", password, true)
		g.until(always(anna), func(n int) string { return fmt.Sprintf("192.0.2.%d", n+2) })
		if g.try(anna, "198.51.100.1", password, true) == 0 {
			t.Error("a stranger passes although the login is at its limit")
		}
		if g.try(anna, "192.0.2.1", password, true) > 0 {
			t.Error("a known client is held up by others who guess its login")
		}
		for n := range 200 { // at its own address too
			g.try(fmt.Sprintf("user%d@alpha.test", n), "192.0.2.1", "wrong", false)
		}
		if g.try(mario, "192.0.2.1", password, true) == 0 {
			t.Error("a new login from an address at its limit passes")
		}
		if g.try(anna, "192.0.2.1", password, true) > 0 {
			t.Error("a known client is held up by others behind its address")
		}
		// The limit of both together holds for known clients too.
		if n := g.until(always(anna), always("192.0.2.1")); n != limitBoth {
			t.Errorf("a known client may guess %d times", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		g := guesses{t, newThrottle()}
		n := 0
		for n < 1000 && g.try(anna, "192.0.2.7", "the old password", false) == 0 {
			n++
		}
		if n < 3*limitBoth || n == 1000 {
			t.Errorf("%d tries with one wrong password pass", n)
		}
		time.Sleep(time.Hour)
		for n := range 60 { // every two minutes it never comes to the limit
			if wait := g.try(anna, "192.0.2.7", "the old password", false); wait > 0 {
				t.Fatalf("try %d waits %v", n, wait)
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

// TestThrottleAtOnce tries many passwords at once: no more pass than one after the other, and right ones are never refused.
func TestThrottleAtOnce(t *testing.T) {
	for _, right := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			th := newThrottle()
			var mu sync.Mutex
			passed, refused, now, most := 0, 0, 0, 0
			var wait sync.WaitGroup
			for n := range 300 {
				wait.Go(func() {
					one, held, err := th.begin(t.Context(), anna, Attempt{Password: fmt.Sprint(n), Remote: remote})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					if held > 0 {
						refused++
						mu.Unlock()
						return
					}
					passed++
					now++
					most = max(most, now)
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
					mu.Lock()
					now--
					mu.Unlock()
					one.end(right, !right)
				})
			}
			wait.Wait()
			if most > limitBoth || right && (passed != 300 || refused > 0) || !right && passed != limitBoth {
				t.Errorf("right %v: %d passed, %d refused, %d at a time", right, passed, refused, most)
			}
		})
	}
}

// TestThrottleStaysSmall makes up names and addresses.
func TestThrottleStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guesses{t, newThrottle()}
		for n := range 2*maxCounts + 1 {
			g.try(fmt.Sprintf("user%d@alpha.test", n), fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&0xff, n&0xff), "wrong", false)
		}
		if len(g.address) > maxCounts || len(g.login) > maxCounts || len(g.both) > maxCounts {
			t.Errorf("%d, %d, %d entries", len(g.address), len(g.login), len(g.both))
		}
	})
}

func TestThrottleCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		for range limitBoth {
			if _, _, err := th.begin(t.Context(), anna, Attempt{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := th.begin(ctx, anna, Attempt{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while ten are under way: %v", err)
		}
	})
}

// TestFlood guesses 10,000 times from one address. Another user's logins pass meanwhile, the password is looked at a few times only, and the metrics
// and the access log show the flood.
func TestFlood(t *testing.T) {
	r := newRig(t, anna+":"+cheap, mario+":"+cheap)
	login := func(name, password, from string) error {
		_, err := r.Login(t.Context(), Attempt{Login: name, Password: password, Remote: netip.MustParseAddr(from), Protocol: ProtocolIMAP})
		return err
	}
	if err := login(anna, password, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	var flood, others sync.WaitGroup
	for worker := range 20 {
		flood.Go(func() {
			for n := range 500 {
				if err := login(mario, fmt.Sprint(worker, " ", n), "198.51.100.1"); !errors.Is(err, ErrDenied) && !errors.Is(err, ErrThrottled) {
					t.Errorf("a guess: %v", err)
				}
			}
		})
	}
	others.Go(func() {
		for range 20 {
			if err := login(anna, password, "192.0.2.1"); err != nil {
				t.Errorf("another user: %v", err)
			}
		}
	})
	flood.Wait()
	others.Wait()
	count := func(result Result) int64 {
		return r.options.Metrics.Counter("copialettere_logins_total", "Logins to archives, by how they ended.", "result", string(result), "protocol", "imap").Value()
	}
	// On a slow machine the count falls meanwhile, and one or two more pass.
	if denied, throttled := count(ResultDenied), count(ResultThrottled); denied < limitBoth || denied > limitBoth+2 || denied+throttled != 10_000 {
		t.Errorf("%d looked at, %d refused at once", denied, throttled)
	}
	if n := count(ResultOK); n != 21 {
		t.Errorf("%d logins, want 21", n)
	}
	refusal, ok := errors.AsType[*Refusal](login(mario, password, "198.51.100.1"))
	if !ok || refusal.Reason != ErrThrottled || !strings.HasPrefix(refusal.String(), "Troppi tentativi falliti. Riprovare fra ") {
		t.Errorf("refused with %v", refusal)
	}
}

func TestTooManyFailures(t *testing.T) {
	for wait, want := range map[time.Duration]string{time.Second: "in a minute", time.Minute: "in a minute", 61 * time.Second: "in 2 minutes"} {
		if got := tooManyFailures(wait); got.In(policy.English) != "Too many failures. Try again "+want+"." {
			t.Errorf("%v: %s", wait, got.English)
		}
	}
}
