package httpd

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
)

// A client that sends many wrong tokens is told to wait. Nobody guesses one: this is for programs that do not stop by themselves.
const (
	maxWrong    = 30 // requests without a valid token from one address in wrongWithin
	wrongWithin = time.Minute
	maxClients  = 10_000 // whose wrong tokens are counted
)

// bearers is the door for programs of the provider, which send "Authorization: Bearer TOKEN" (RFC 6750). It reads no cookie, so no browser can be made
// to use it in the name of its reader.
type bearers struct {
	remote func(*http.Request) netip.Addr
	token  func(ctx context.Context, secret string) (policy.Actor, error)
	now    func() time.Time

	mu    sync.Mutex
	wrong map[netip.Prefix]tally // guarded by mu
}

// tally counts from a time on.
type tally struct {
	since time.Time
	count int
}

func newBearers(b Backend) *bearers {
	v := &bearers{remote: b.Remote, now: time.Now, wrong: make(map[netip.Prefix]tally)}
	if v.remote == nil {
		v.remote = connected
	}
	if b.Archive != nil {
		v.token = b.Archive.ByToken
	}
	return v
}

func (v *bearers) door() door { return door{who: v.who, remote: v.remote, public: true} }

// who returns as whom the program acts that sent a request. A valid token is taken however many wrong ones came from the same address: behind a proxy
// that may be everybody's.
func (v *bearers) who(r *http.Request) (policy.Actor, error) {
	err := auth.ErrDenied
	if secret, ok := bearerOf(r); ok && v.token != nil {
		var who policy.Actor
		if who, err = v.token(r.Context(), secret); err == nil {
			return who, nil
		}
	}
	switch {
	case !errors.Is(err, auth.ErrDenied):
		return policy.Actor{}, err
	case v.excessive(network(v.remote(r))):
		return policy.Actor{}, errTooMany
	}
	return policy.Actor{}, errUnknown
}

// bearerOf returns the token of a request.
func bearerOf(r *http.Request) (string, bool) {
	list := r.Header.Values("Authorization")
	if len(list) != 1 {
		return "", false
	}
	scheme, secret, ok := strings.Cut(list[0], " ")
	return strings.TrimSpace(secret), ok && strings.EqualFold(scheme, "Bearer")
}

// excessive counts a request without a valid token, and reports whether too many came from a client. Where too many clients are counted, those whose
// time is over are forgotten, and if there are none all.
func (v *bearers) excessive(client netip.Prefix) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	over := func(t tally) bool { return now.Sub(t.since) >= wrongWithin }
	t, ok := v.wrong[client]
	if !ok && len(v.wrong) >= maxClients {
		maps.DeleteFunc(v.wrong, func(_ netip.Prefix, t tally) bool { return over(t) })
		if len(v.wrong) >= maxClients {
			clear(v.wrong)
		}
	}
	if !ok || over(t) {
		t = tally{since: now}
	}
	t.count++
	v.wrong[client] = t
	return t.count > maxWrong
}

// network returns what one client can have many addresses of: with IPv6 its network of 64 bits.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// connected returns the address of the connection; the zero Addr if it has none.
func connected(r *http.Request) netip.Addr {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap()
}
