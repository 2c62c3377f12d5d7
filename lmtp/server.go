package lmtp

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"copialettere/journal"
	"copialettere/journal/metrics"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
)

// Config is what a Server needs. All fields are required, except where their comment says otherwise.
type Config struct {
	Direction journal.Direction // Received: LMTP; Sent: SMTP
	Journal   *journal.Journal
	Policy    *policy.Policy
	NextHop   *nexthop.Hop
	Domains   map[string]*nexthop.Hop // next hops of single domains, by domain name; received mail only; may be nil

	HelloName      string
	MaxMessageSize int64 // bytes
	MaxRecipients  int
	MaxConnections int

	IdleTimeout    time.Duration // between commands
	DataTimeout    time.Duration // for the next bytes of a message
	JournalTimeout time.Duration // for all waits of one transaction for the journal and the settings

	DeliverOnJournalError bool         // hand on what the journal cannot take, with a gap on record; else refuse it for now
	Origin                OriginHeader // header that the MTA prepends for us, which the hook removes; may be zero
	SentByMailFrom        bool         // sent mail: MAIL FROM says who sends, not the login header

	// PEC returns what is known about certified mail. The hook calls it once for each message, concurrently; it must be quick. If nil,
	// nothing is known.
	PEC func() PEC

	// Notify gets what the owner of a mailbox may want to know, once the final replies of a message are known. Gaps are not among it: the
	// journal tells of them. The hook calls it concurrently; it must not block. It may be nil.
	Notify func(notice.Notice)

	Logger  *slog.Logger      // may be nil
	Metrics *metrics.Registry // may be nil
}

// PEC is what is known about certified mail at one time. One message is judged by one PEC, which does not change.
type PEC struct {
	Trust    pec.Trust        // which class the filters believe; if empty, the verified one
	Verifier *pec.Verifier    // of the signatures of providers; if nil, none is trusted
	Domains  policy.Certified // which domains are certified; may be nil
}

// OriginHeader is a header field that the MTA prepends because the hook asked for it.
type OriginHeader struct {
	Name string // if empty, there is none
	// First says that the field is the very first of the message. Otherwise it stands somewhere above the topmost Received.
	First bool
}

// Server is the hook for one direction. Its methods may be called concurrently.
type Server struct {
	config Config
	log    *slog.Logger
	engine *smtp.Server
	hops   []*nexthop.Hop          // each once
	routes map[string]*nexthop.Hop // Config.Domains by canonical name
	m      serverMetrics

	ctx    context.Context // ends when the server must not wait any longer
	cancel context.CancelFunc
	halted atomic.Bool

	deliver atomic.Bool  // the current Config.DeliverOnJournalError
	open    atomic.Int64 // len(conns), to be read without the lock

	serving sync.WaitGroup // the calls of Serve

	mu        sync.Mutex
	verdicts  map[chan struct{}]struct{} // one for each verdict under way, closed when it has committed or failed; guarded by mu
	conns     map[*conn]struct{}         // guarded by mu
	gone      sync.Cond                  // on mu: a connection left conns
	listeners []*listener                // guarded by mu
}

type serverMetrics struct {
	registry       *metrics.Registry
	direction      string
	connections    *metrics.Gauge
	refused        *metrics.Counter
	bytes          *metrics.Counter
	commit, finish *metrics.Histogram
}

func newServerMetrics(r *metrics.Registry, d journal.Direction) serverMetrics {
	if r == nil {
		r = new(metrics.Registry)
	}
	direction := d.String()
	return serverMetrics{
		registry: r, direction: direction,
		connections: r.Gauge("copialettere_connections", "Open connections of the hook.", "direction", direction),
		refused:     r.Counter("copialettere_connections_refused_total", "Connections over max_connections.", "direction", direction),
		bytes:       r.Counter("copialettere_received_bytes_total", "Bytes of messages that came in.", "direction", direction),
		commit: r.Histogram("copialettere_commit_seconds",
			"From the last byte of a message to its entries being durable.", "direction", direction),
		finish: r.Histogram("copialettere_transaction_seconds", "From the last byte of a message to the final reply.", "direction", direction),
	}
}

// outcome counts a transaction by how it ended.
func (m *serverMetrics) outcome(outcome string) {
	m.registry.Counter("copialettere_transactions_total", "Transactions that came to a message, by outcome.",
		"direction", m.direction, "outcome", outcome).Inc()
}

// verdict counts a recipient line by its verdict: "journaled", "waits", or the reason of the skip.
func (m *serverMetrics) verdict(reason string) {
	m.registry.Counter("copialettere_verdicts_total", "Recipient lines of enabled mailboxes, journaled or skipped by reason.",
		"direction", m.direction, "verdict", reason).Inc()
}

// NewServer returns a server that serves no listener yet.
func NewServer(c Config) *Server {
	s := &Server{config: c, log: c.Logger, m: newServerMetrics(c.Metrics, c.Direction), routes: make(map[string]*nexthop.Hop),
		conns: make(map[*conn]struct{}), verdicts: make(map[chan struct{}]struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.gone.L = &s.mu
	s.deliver.Store(c.DeliverOnJournalError)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.hops = []*nexthop.Hop{c.NextHop}
	for name, h := range c.Domains {
		if domain, err := policy.CanonicalDomain(name); err == nil {
			s.routes[domain] = h
		}
		if !slices.Contains(s.hops, h) {
			s.hops = append(s.hops, h)
		}
	}
	s.engine = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		nc := c.Conn().(*conn)
		nc.session = newSession(nc)
		return nc.session, nil
	}))
	s.engine.LMTP = c.Direction == journal.Received
	s.engine.Domain = c.HelloName
	// The connection layer bounds lines, sizes and recipients. go-smtp sees short lines only.
	s.engine.MaxLineLength = 0
	s.engine.ErrorLog = errorLog{s.log}
	return s
}

// Serve takes connections from a listener until Shutdown closes it, and then returns nil. It returns earlier only if the listener fails, with
// that error.
func (s *Server) Serve(l net.Listener) error {
	own := &listener{Listener: l, server: s}
	s.mu.Lock()
	if s.stopping() {
		s.mu.Unlock()
		return own.Close()
	}
	s.listeners = append(s.listeners, own)
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()
	err := s.engine.Serve(own)
	if s.stopping() {
		return nil
	}
	return err
}

// Shutdown stops the server: it takes no new connections, ends the idle ones, and waits for the transactions under way. If ctx ends first,
// it breaks these off and returns the error of ctx; their senders keep the messages.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.halted.Store(true)
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()
	// Once Serve has returned, go-smtp takes no more connections that it would have to wait for.
	s.serving.Wait()
	err := s.engine.Shutdown(ctx)
	s.cancel()
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Conn.Close()
	}
	for len(s.conns) > 0 {
		s.gone.Wait()
	}
	return fmt.Errorf("stop the hook: %w", err)
}

// AwaitVerdicts blocks until every transaction judged so far has committed or failed. Call it between changing settings and erasing: after
// it, this process journals nothing by the old settings, except what a store that timed out still takes in late. It holds up no message.
// The journal's gate keeps other processes out. The error is that of ctx.
func (s *Server) AwaitVerdicts(ctx context.Context) error {
	s.mu.Lock()
	given := slices.Collect(maps.Keys(s.verdicts))
	s.mu.Unlock()
	for _, done := range given {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("wait for the messages under way: %w", ctx.Err())
		}
	}
	return nil
}

// beginVerdict registers a verdict under way for AwaitVerdicts. Call end when it has committed or failed.
func (s *Server) beginVerdict() (end func()) {
	done := make(chan struct{})
	s.mu.Lock()
	s.verdicts[done] = struct{}{}
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.verdicts, done)
		s.mu.Unlock()
		close(done)
	}
}

// commandReplyTimeout bounds one wait for replies of all next hops together: Postfix waits 300 s (lmtp_mail_timeout, lmtp_rcpt_timeout).
const commandReplyTimeout = 280 * time.Second

// replyTime returns the context under which to read the replies that the client waits for. With a single hop, its own timeouts do.
func (s *Server) replyTime() (context.Context, context.CancelFunc) {
	if len(s.hops) == 1 {
		return s.ctx, func() {}
	}
	return context.WithTimeoutCause(s.ctx, commandReplyTimeout, nexthop.ErrTimeout)
}

// SetDeliverOnJournalError changes Config.DeliverOnJournalError for all later faults.
func (s *Server) SetDeliverOnJournalError(deliver bool) { s.deliver.Store(deliver) }

func (s *Server) stopping() bool { return s.halted.Load() }

// addConn registers a connection. It reports false if there are too many.
func (s *Server) addConn(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.config.MaxConnections {
		return false
	}
	s.conns[c] = struct{}{}
	s.countConns()
	return true
}

// countConns must be called after each change of conns, with mu held.
func (s *Server) countConns() {
	n := int64(len(s.conns))
	s.open.Store(n)
	s.m.connections.Set(n)
}

func (s *Server) removeConn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.countConns()
	s.gone.Broadcast()
}

// listener puts the connection layer under go-smtp.
type listener struct {
	net.Listener
	server *Server
	closed sync.Once
}

// Close implements net.Listener. Both Shutdown and go-smtp call it.
func (l *listener) Close() (err error) {
	l.closed.Do(func() { err = l.Listener.Close() })
	return err
}

// Accept returns the next connection within the limit. The others get a 421.
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if l.server.stopping() {
				return nil, net.ErrClosed
			}
			return nil, err
		}
		c := newConn(nc, l.server)
		if l.server.addConn(c) {
			return c, nil
		}
		l.server.m.refused.Inc()
		l.server.log.Warn("too many connections", "peer", peerName(nc), "limit", l.server.config.MaxConnections)
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		nc.Write([]byte("421 4.3.2 Too many connections, try again later\r\n"))
		nc.Close()
	}
}

// errorLog passes the errors of go-smtp to the log.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.log.Error("protocol engine: " + fmt.Sprintf(format, v...))
}
func (l errorLog) Println(v ...any) { l.log.Error("protocol engine: " + fmt.Sprint(v...)) }

// keywords returns the reply to LHLO or EHLO, in wire form. It waits for no next hop and announces the hook's own limits, because the MTA
// bounces a message that exceeds the announced ones. If a next hop's limits are lower, only its recipients are refused, at RCPT.
func (s *Server) keywords() []byte {
	lines := []string{s.config.HelloName, "PIPELINING", "ENHANCEDSTATUSCODES"}
	if s.eightBit() {
		lines = append(lines, "8BITMIME")
	}
	lines = append(lines, "SMTPUTF8", fmt.Sprintf("SIZE %d", s.config.MaxMessageSize), "DSN", "XFORWARD "+xforwardAttributes)
	return appendReply(nil, nexthop.Reply{Code: 250, Lines: lines})
}

// eightBit reports whether 8BITMIME can be announced: no next hop is known to lack it. Without it the MTA bounces nothing, but converts
// messages to 7 bit.
func (s *Server) eightBit() bool {
	for _, h := range s.hops {
		if a, ok := h.Announced(); ok && !a.EightBitMIME {
			return false
		}
	}
	return true
}

// hop returns the next hop for an address.
func (s *Server) hop(address string) *nexthop.Hop {
	if i := strings.LastIndexByte(address, '@'); i >= 0 && len(s.routes) > 0 {
		if domain, err := policy.CanonicalDomain(address[i+1:]); err == nil && s.routes[domain] != nil {
			return s.routes[domain]
		}
	}
	return s.config.NextHop
}

// newTransactionID returns 13 characters that name a transaction in the log, in our replies and in its entries.
func newTransactionID() string { return rand.Text()[:13] }
