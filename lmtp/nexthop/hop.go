// Package nexthop hands mail on. It is the client side of the hook: a small LMTP (RFC 2033) and SMTP (RFC 5321) client, and a built-in
// delivery into Maildirs behind the same interface.
//
// It exists because the hook relies on three things that general clients do not offer. The bytes that go out are the bytes that came in,
// dot-stuffing apart (RFC 5321 section 4.5.2). Each RCPT line has its own reply, even if two lines name one address. Every wait has a
// deadline: Timeouts, or the deadline of the context if that is earlier. Commands are pipelined if the hop announces it (RFC 2920).
//
// A Hop is a configured next hop. Its Connect gives a Conn, which carries one transaction after another:
//
//	conn.Mail(from, params)            // queued
//	conn.Rcpt(to, params)              // queued, once per line
//	conn.Data()                        // queued; nothing may follow it
//	conn.Reply(ctx)                    // sends what is queued; then one reply per call, in the order of the commands
//	conn.Write(p); conn.Flush()        // after 354: the message
//	conn.End(ctx)                      // the dot: from here on the hop may deliver
//	conn.Reply(ctx)                    // LMTP: once per accepted recipient; SMTP: once
//
// Until End sends the dot, the hop has nothing to deliver, and after Abort it never will. After a later failure the outcome is unknown: the
// hop may have delivered.
package nexthop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"copialettere/journal/metrics"
)

// Timeouts bounds the waits for a hop. Zero or less means the default.
type Timeouts struct {
	// Connect bounds all of Connect: lookups, every address, greeting, LHLO. Default 30 s. Each address gets a share of the time left.
	Connect time.Duration
	// Command bounds sending commands and waiting for the reply to one, which for DATA has 110 s at most. Default 2 minutes.
	Command time.Duration
	// Data bounds one write of at most 32 KiB of message bytes. Default 2 minutes.
	Data time.Duration
	// Final bounds the time from the dot to the last reply. Default 5 minutes: Postfix gives up on us after 10
	// (lmtp_data_done_timeout), and sends again.
	Final time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Connect, 30*time.Second)
	set(&t.Command, 2*time.Minute)
	set(&t.Data, 2*time.Minute)
	set(&t.Final, 5*time.Minute)
	return t
}

// minimumShare is the least time that an address gets, within Timeouts.Connect.
const minimumShare = 2 * time.Second

// Options are what a Hop needs besides its Spec. The zero value is ready for use.
type Options struct {
	Resolver  Resolver          // if nil, net.DefaultResolver
	Timeouts  Timeouts          // if zero, the defaults
	HelloName string            // our name in LHLO and EHLO; if empty, the name of the machine
	Logger    *slog.Logger      // gets what goes wrong without failing a call; if nil, nothing is logged
	Metrics   *metrics.Registry // if nil, nothing is counted
}

// Hop is a configured next hop. Its methods may be called concurrently.
type Hop struct {
	spec    Spec
	options Options
	maildir *maildirStore // for Maildir only

	// Replaced by tests.
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	random func(n int) int

	connects, failures      *metrics.Counter
	connectTime, answerTime *metrics.Histogram

	mu        sync.Mutex
	announced Announced // guarded by mu
	known     bool      // guarded by mu: announced is set
	failing   bool      // guarded by mu: the last Connect failed
}

// New returns the hop of a spec. It does not connect.
func New(spec Spec, options Options) *Hop {
	options.Timeouts = options.Timeouts.withDefaults()
	if options.Resolver == nil {
		options.Resolver = net.DefaultResolver
	}
	if options.HelloName == "" {
		if name, err := os.Hostname(); err == nil && isHostName(name) {
			options.HelloName = name
		} else {
			options.HelloName = "localhost"
		}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	options.Logger = options.Logger.With("next_hop", spec.String())
	if options.Metrics == nil {
		options.Metrics = new(metrics.Registry)
	}
	m, name := options.Metrics, spec.String()
	h := &Hop{
		spec: spec, options: options,
		dial: new(net.Dialer).DialContext, random: rand.IntN,
		connects:    m.Counter("copialettere_next_hop_connects_total", "Connections made to a next hop.", "next_hop", name),
		failures:    m.Counter("copialettere_next_hop_connect_failures_total", "Times no address of a next hop could be used.", "next_hop", name),
		connectTime: m.Histogram("copialettere_next_hop_connect_seconds", "From the lookup to the answer to LHLO or EHLO.", "next_hop", name),
		answerTime:  m.Histogram("copialettere_next_hop_final_seconds", "From the dot to the last reply.", "next_hop", name),
	}
	if spec.Scheme == Maildir {
		h.maildir = newMaildirStore(spec.Path, options)
	}
	return h
}

// Spec returns what the hop was made from.
func (h *Hop) Spec() Spec { return h.spec }

// Announced returns what the hop announced to the last connection, and false if there was none yet.
func (h *Hop) Announced() (Announced, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.announced, h.known
}

// Failing reports whether the last Connect failed.
func (h *Hop) Failing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failing
}

func (h *Hop) remember(a Announced) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known && !h.announced.equal(a) {
		h.options.Logger.Info("the next hop announces something else than before", "keywords", a.Keywords)
	}
	h.announced, h.known = a, true
}

// Connect looks up the addresses of the hop, tries them in turn until one greets and answers LHLO or EHLO, and returns the connection. A
// refusal also counts as a failed address. End the connection by Quit or Abort. Errors are a *ConnectError.
func (h *Hop) Connect(ctx context.Context) (Conn, error) {
	start := time.Now()
	conn, err := h.connect(ctx)
	h.mu.Lock()
	h.failing = err != nil
	h.mu.Unlock()
	if err != nil {
		h.failures.Inc()
		return nil, err
	}
	h.connects.Inc()
	h.connectTime.Observe(time.Since(start))
	h.remember(conn.Announced())
	return conn, nil
}

// Probe connects, quits, and returns what the hop announced. Its errors are those of Connect.
func (h *Hop) Probe(ctx context.Context) (Announced, error) {
	conn, err := h.Connect(ctx)
	if err != nil {
		return Announced{}, err
	}
	defer conn.Quit()
	return conn.Announced(), nil
}

func (h *Hop) connect(ctx context.Context) (Conn, error) {
	failed := &ConnectError{Spec: h.spec}
	if h.maildir != nil {
		conn, err := h.maildir.connect(h.answerTime)
		if err != nil {
			failed.Attempts = []Attempt{{Err: err}}
			return nil, failed
		}
		return conn, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.options.Timeouts.Connect, ErrTimeout)
	defer cancel()
	list, err := h.addresses(ctx)
	if err != nil {
		failed.Attempts = []Attempt{{Err: withCause(ctx, err)}}
		return nil, failed
	}
	for i, a := range list {
		conn, err := h.try(ctx, a, len(list)-i)
		if err == nil {
			return conn, nil
		}
		failed.Attempts = append(failed.Attempts, Attempt{a.String(), withCause(ctx, err)})
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// try connects to one address. left is how many addresses, this one included, share the time that ctx leaves: a machine that swallows
// packets must not use up the time of the others.
func (h *Hop) try(ctx context.Context, a address, left int) (Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		share := max(time.Until(deadline)/time.Duration(left), minimumShare)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, share, ErrTimeout)
		defer cancel()
	}
	nc, err := h.dial(ctx, a.network, a.address)
	if err != nil {
		return nil, withCause(ctx, err)
	}
	c := newWire(h, nc)
	if err := c.greet(ctx); err != nil {
		c.Abort()
		return nil, err
	}
	return c, nil
}

// withCause adds to an error why ctx ended, if it did.
func withCause(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}
