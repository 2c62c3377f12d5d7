// Package nexthop hands mail on: it is the client side of the hook, a small LMTP (RFC 2033) and SMTP (RFC 5321) client, and an
// embedded delivery into Maildirs behind the same interface.
//
// It exists because handing on is what the hook is for, and three things must hold that general clients do not offer. The bytes
// that go out are the bytes that were handed in, dot-stuffing apart (RFC 5321, 4.5.2). Each RCPT line has its own reply, also
// where two lines name one address. Every wait has a deadline: Timeouts, or the deadline of the context where that is earlier.
// Commands are pipelined where the hop announces it (RFC 2920).
//
// A Hop is a configured next hop. Its Connect gives a Conn, which carries one transaction after the other:
//
//	conn.Mail(from, params)            // queued
//	conn.Rcpt(to, params)              // queued, once per line
//	conn.Data()                        // queued, nothing may follow it
//	conn.Reply(ctx)                    // sends what is queued; then one reply per call, in the order of the commands
//	conn.Write(p); conn.Flush()        // after 354: the message
//	conn.End(ctx)                      // the dot: from here on the hop may deliver
//	conn.Reply(ctx)                    // LMTP: once per accepted recipient; SMTP: once
//
// Until End sends the dot, the hop has nothing it may deliver, and Abort makes sure that it never will. After a failure behind
// End the outcome is unknown: the hop may have delivered.
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

// Timeouts bounds the waits for a hop. A zero field stands for its default.
type Timeouts struct {
	// Connect is for all of Connect: names, every address, greeting, LHLO. 30 s. Each address gets its share of what is left.
	Connect time.Duration
	// Command is for the reply to one command, DATA included, and for sending commands. 2 minutes.
	Command time.Duration
	// Data is for one write of message bytes, at most 32 KiB. 2 minutes.
	Data time.Duration
	// Final is from the dot to the last reply. 5 minutes: Postfix gives up on us after 10 (lmtp_data_done_timeout), and sends again.
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

// minimumShare is the least time an address gets, as long as Timeouts.Connect allows it.
const minimumShare = 2 * time.Second

// Options are what a Hop needs beside its Spec. The zero value is ready for use.
type Options struct {
	Resolver  Resolver          // net.DefaultResolver where nil
	Timeouts  Timeouts          // defaults where zero
	HelloName string            // how we name ourselves in LHLO and EHLO; the name of the machine where empty
	Logger    *slog.Logger      // what goes wrong without failing a call; nothing is logged where nil
	Metrics   *metrics.Registry // nothing is counted where nil
}

// Hop is a configured next hop. Its methods may be called concurrently.
type Hop struct {
	spec    Spec
	options Options
	maildir *maildirStore // for Maildir only

	// Seams for tests.
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

// Announced returns what the hop announced to the last connection, and false where there was none yet.
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

// Connect finds the addresses of the hop, tries them in turn until one greets and answers to LHLO or EHLO, and returns the
// connection, which the caller ends by Quit or Abort. A refusal counts as a failed address too. Its errors are a *ConnectError.
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

// try connects to one address. left is how many addresses share the time that ctx leaves, this one included: a machine that
// swallows packets must not use up the time of the others.
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

// withCause adds why ctx ended, where it did, to an error that may not say it.
func withCause(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}
