package auth

import (
	"context"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"
)

// Failures count against three: the address of the client, the login, and both together. Each count halves in countHalves. At its limit, the next
// try is refused until it has fallen below. A client that has signed in to a login before is only held to the count of both together, so that
// nobody who guesses keeps the owner out, and a stranger behind the same address does not either. The limit of addresses does not hold for this
// machine, where a webmail may be, nor where the address is unknown: their tries become slow beyond it (slow.go).
const (
	countHalves  = 10 * time.Minute
	limitAddress = 20   // failures from one address: an IPv6 network of 64 bits counts as one
	limitLogin   = 50   // failures of one login, from clients that never signed in to it
	limitBoth    = 10   // failures of one login from one address
	sameAgain    = 0.25 // what the same wrong password counts once more: a program that was not told of the new one tries it all day
	knownFor     = 30 * 24 * time.Hour
	maxCounts    = 100_000 // entries of one table
	negligible   = 0.5     // a count below this is forgotten when room is needed
)

// throttle holds up those who guess. All is in memory and forgotten at a restart. Its methods may be called concurrently.
type throttle struct {
	seed maphash.Seed

	mu      sync.Mutex
	address table[netip.Addr]
	login   table[uint64]
	both    table[pair]
	known   map[pair]time.Time // when the client last signed in
	ended   chan struct{}      // closed when a try ends; then there is another
}

// pair is a login, by its hash, with the address of a client.
type pair struct {
	login  uint64
	client netip.Addr
}

// table has the counts of one kind.
type table[K comparable] map[K]count

// count is a number of failures that falls with time.
type count struct {
	failures float64
	at       time.Time // when it was that number
	trying   int       // tries under way
	last     uint64    // of a pair: the hash of the last wrong password
}

func newThrottle() *throttle {
	return &throttle{
		seed: maphash.MakeSeed(), address: make(table[netip.Addr]), login: make(table[uint64]), both: make(table[pair]),
		known: make(map[pair]time.Time), ended: make(chan struct{}),
	}
}

// trial is a try that is under way.
type trial struct {
	t      *throttle
	of     pair
	exempt bool   // from the counts of address and login
	slow   bool   // many have failed at a client that no limit holds up: see slowLane
	far    bool   // the client is not on this machine
	secret uint64 // hash of the password and the code
}

// begin lets a try pass, or returns how long it has to wait. It waits itself while the tries under way would reach a limit, if all failed.
func (t *throttle) begin(ctx context.Context, login string, try Attempt) (*trial, time.Duration, error) {
	client := clientOf(try.Remote)
	one := &trial{
		t: t, of: pair{maphash.String(t.seed, login), client}, far: client.IsValid() && !client.IsLoopback(), secret: maphash.String(t.seed, try.Password+"\x00"+try.Code),
	}
	for {
		now := time.Now()
		t.mu.Lock()
		at, known := t.known[one.of]
		one.exempt = known && now.Sub(at) < knownFor
		wait, full := one.limits(now)
		if wait == 0 && !full {
			one.change(now, func(n *count) { n.trying++ })
		}
		ended := t.ended
		t.mu.Unlock()
		switch {
		case wait > 0:
			return nil, wait, nil
		case !full:
			return one, 0, nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// limits returns how long the try has to wait for counts to fall; full says that it has to wait for tries under way. The caller holds mu.
func (one *trial) limits(now time.Time) (wait time.Duration, full bool) {
	see := func(n count, limit float64) {
		if n.failures > limit-1 {
			wait = max(wait, time.Duration(math.Log2(n.failures/(limit-1))*float64(countHalves)).Truncate(time.Second)+time.Second)
		}
		full = full || n.failures+float64(n.trying) > limit-1
	}
	see(one.t.both.value(one.of, now), limitBoth)
	if !one.exempt {
		see(one.t.login.value(one.of.login, now), limitLogin)
		at := one.t.address.value(one.of.client, now)
		if one.slow = !one.far && at.failures > limitAddress-1; one.far {
			see(at, limitAddress)
		}
	}
	return wait, full
}

// change changes the counts that hold the try up. The caller holds mu.
func (one *trial) change(now time.Time, f func(*count)) {
	one.t.both.change(one.of, now, f)
	if !one.exempt {
		one.t.login.change(one.of.login, now, f)
		one.t.address.change(one.of.client, now, f)
	}
}

// end says how the try ended, nil for a right password. Anything but ErrDenied says nothing of the password, and is not counted.
func (one *trial) end(right, wrong bool) {
	t, now := one.t, time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	amount := 0.0
	if wrong {
		amount = 1
		if t.both.value(one.of, now).last == one.secret {
			amount = sameAgain
		}
	}
	one.change(now, func(n *count) {
		n.trying = max(0, n.trying-1)
		n.failures += amount
	})
	switch {
	case wrong:
		t.both.change(one.of, now, func(n *count) { n.last = one.secret })
	case right:
		// The failures of the address stay: whoever guesses may have a login too.
		forget := func(n *count) { n.failures, n.last = 0, 0 }
		t.both.change(one.of, now, forget)
		t.login.change(one.of.login, now, forget)
		t.remember(one.of, now)
	}
	close(t.ended)
	t.ended = make(chan struct{})
}

// remember notes that a client has signed in to a login. The caller holds mu.
func (t *throttle) remember(p pair, now time.Time) {
	if len(t.known) >= maxCounts {
		for k, at := range t.known {
			if now.Sub(at) >= knownFor {
				delete(t.known, k)
			}
		}
		dropSome(t.known)
	}
	t.known[p] = now
}

// clientOf returns what counts as one client: an address of IPv4, or a network of 64 bits of IPv6.
func clientOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() || a.IsLoopback() {
		return a
	}
	network, _ := a.Prefix(64)
	return network.Addr()
}

// value returns a count as it has fallen until now.
func (t table[K]) value(key K, now time.Time) count {
	n, ok := t[key]
	if ok {
		n.failures *= math.Exp2(-float64(now.Sub(n.at)) / float64(countHalves))
	}
	n.at = now
	return n
}

// change changes a count, and makes room for it.
func (t table[K]) change(key K, now time.Time, f func(*count)) {
	n := t.value(key, now)
	f(&n)
	if len(t) >= maxCounts {
		for k := range t {
			if old := t.value(k, now); old.failures < negligible && old.trying == 0 {
				delete(t, k)
			}
		}
		dropSome(t)
	}
	t[key] = n
}

// dropSome makes room in a table that is still full: it drops a quarter, whichever.
func dropSome[K comparable, V any](t map[K]V) {
	if len(t) < maxCounts {
		return
	}
	drop := maxCounts / 4
	for k := range t {
		if drop--; drop < 0 {
			return
		}
		delete(t, k)
	}
}
