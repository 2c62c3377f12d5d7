package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy"
)

// hashing is a source of passwords that takes one processor for a time for each check, and serves those who wait in their order.
type hashing struct {
	takes     time.Duration
	processor chan struct{}
	checked   atomic.Int64
}

func (h *hashing) verify(ctx context.Context, try Attempt, login policy.Address) (policy.Address, error) {
	h.processor <- struct{}{}
	defer func() { <-h.processor }()
	time.Sleep(h.takes)
	h.checked.Add(1)
	if try.Password != password {
		return policy.Address{}, ErrDenied
	}
	return login, nil
}

func (h *hashing) probe(context.Context) (string, error) { return "", nil }
func (h *hashing) problems() []error                     { return nil }
func (h *hashing) close() error                          { return nil }

func (h *hashing) mark(policy.Address) (string, error) { return "", nil }

// TestGuessersShare has somebody try 10,000 wrong passwords from one address, ten at a time, while others sign in: that takes them no more than a tenth
// longer, on a machine that can check one password at a time. The time is that of the bubble, so the result is the same on every machine.
func TestGuessersShare(t *testing.T) {
	const guesses, atOnce, takes = 10_000, 10, 50 * time.Millisecond
	for _, c := range []struct {
		name  string
		from  string
		login func(n int) string
	}{
		{"one login", "192.0.2.66", func(int) string { return anna }},
		{"many logins", "192.0.2.66", func(n int) string { return fmt.Sprintf("user%d@alpha.test", n) }},
		{"many logins by a webmail on this machine", "127.0.0.1", func(n int) string { return fmt.Sprintf("user%d@alpha.test", n) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, source := memory(t), &hashing{takes: takes, processor: make(chan struct{}, 1)}
				p, err := policy.Open(t.Context(), store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
				if err != nil {
					t.Fatal(err)
				}
				a := New(Options{Policy: p, Settings: store})
				a.source = source
				defer a.Close()
				signIn := func(login, password, from string) error {
					try := Attempt{Login: login, Password: password, Remote: netip.MustParseAddr(from), Protocol: ProtocolWeb}
					_, err := a.Login(t.Context(), try)
					return err
				}
				var attack sync.WaitGroup
				var next atomic.Int64
				for range atOnce {
					attack.Go(func() {
						for {
							n := int(next.Add(1))
							if n > guesses {
								return
							}
							if err := signIn(c.login(n), fmt.Sprint("wrong", n), c.from); !errors.Is(err, ErrDenied) && !errors.Is(err, ErrThrottled) {
								t.Error(err)
							}
						}
					})
				}
				time.Sleep(5 * time.Second) // until the limits are reached
				var took time.Duration
				const logins = 200
				for n := range logins {
					began := time.Now()
					if err := signIn(fmt.Sprintf("mario%d@alpha.test", n), password, "198.51.100.7"); err != nil {
						t.Fatal(err)
					}
					took += time.Since(began)
					time.Sleep(73 * time.Millisecond)
				}
				if mean := took / logins; mean > takes*11/10 {
					t.Errorf("a login of somebody else takes %v, and %v without guessing", mean, takes)
				}
				stopped := next.Swap(guesses)
				attack.Wait()
				throttled, denied := a.count(ResultThrottled, ProtocolWeb).Value(), a.count(ResultDenied, ProtocolWeb).Value()
				checked := source.checked.Load() - logins
				visible := throttled+denied == min(stopped, guesses) && checked == denied
				if local := c.from == "127.0.0.1"; !visible || !local && (stopped < guesses || checked > limitAddress) {
					t.Errorf("%d guesses: the metrics have %d that were wrong and %d held up, %d were checked", stopped, denied, throttled, checked)
				}
			})
		})
	}
}

// memory returns a settings store in memory.
func memory(t *testing.T) kv.Store {
	t.Helper()
	engine := kvtest.NewMemory(kvtest.NoWeakness).Open(t)
	store, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestSlowLane checks that nobody who gives up waiting keeps others out.
func TestSlowLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowLane()
		var turns []time.Duration
		began := time.Now()
		for range 3 {
			leave, err := s.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			turns = append(turns, time.Since(began))
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := s.enter(short); err == nil {
				t.Error("two at a time")
			}
			cancel()
			leave()
			if _, err := s.enter(short); err == nil {
				t.Error("no rest")
			}
		}
		if want := []time.Duration{0, 10 * time.Second, 20 * time.Second}; !slices.Equal(turns, want) {
			t.Errorf("turns at %v, want %v", turns, want)
		}
	})
}
