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

// Config is what a Server needs. All fields are required, except where said.
type Config struct {
	Direction journal.Direction // Received: LMTP; Sent: SMTP
	Journal   *journal.Journal
	Policy    *policy.Policy
	NextHop   *nexthop.Hop
	Domains   map[string]*nexthop.Hop // next hops of single domains, by name; may be nil. Received mail only

	HelloName      string
	MaxMessageSize int64 // bytes
	MaxRecipients  int
	MaxConnections int

	IdleTimeout    time.Duration // between commands
	DataTimeout    time.Duration // for the next bytes of a message
	JournalTimeout time.Duration // for all that one transaction waits for in the journal

	DeliverOnJournalError bool         // hand on, with a gap on record, what the journal cannot take
	Origin                OriginHeader // header that the MTA prepends for us, which is taken off; may be zero
	SentByMailFrom        bool         // sent mail: MAIL FROM says who sends, not the login header

	// PEC returns what is known of certified mail. It is asked once for each message, by the connections concurrently, and must be quick;
	// may be nil: nothing is known.
	PEC func() PEC

	// Notify is given what the owner of a mailbox may want to be told, once the final replies of a message are known; of gaps the journal
	// tells. It is called by the connections concurrently, and must not block; may be nil.
	Notify func(notice.Notice)

	Logger  *slog.Logger      // may be nil
	Metrics *metrics.Registry // may be nil
}

// PEC is what is known of certified mail at one time, so that a message is judged by one state of it. It does not change.
type PEC struct {
	Trust    pec.Trust        // which class the filters believe; the verified one when empty
	Verifier *pec.Verifier    // of the signatures of providers; nil: none is trusted
	Domains  policy.Certified // which domains are certified; may be nil
}

// OriginHeader is a header field that the MTA prepends because the hook asked for it.
type OriginHeader struct {
	Name string // empty: there is none
	// First says that it is the very first field of the message. Otherwise it stands above the topmost Received.
	First bool
}

// Server is the hook for one direction.
type Server struct {
	config Config
	log    *slog.Logger
	engine *smtp.Server
	hops   []*nexthop.Hop          // all different ones
	routes map[string]*nexthop.Hop // Config.Domains by canonical name
	m      serverMetrics

	ctx    context.Context // ends when the server must not wait any longer
	cancel context.CancelFunc
	halted atomic.Bool

	deliver atomic.Bool  // Config.DeliverOnJournalError, as it is now
	open    atomic.Int64 // how many connections there are: as many as conns has, for those without the lock

	serving sync.WaitGroup // the calls of Serve

	mu        sync.Mutex
	verdicts  map[chan struct{}]struct{} // each closed when a verdict that was given is in the journal, or has failed; guarded by mu
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

// verdict counts a recipient line by what was decided for it: "journaled", or why it was not.
func (m *serverMetrics) verdict(reason string) {
	m.registry.Counter("copialettere_verdicts_total", "Recipient lines of enabled mailboxes, journaled or skipped by reason.",
		"direction", m.direction, "verdict", reason).Inc()
}

// NewServer returns a server that serves no listener yet.
func NewServer(c Config) *Server {
	s := &Server{config: c, log: c.Logger, conns: make(map[*conn]struct{}), verdicts: make(map[chan struct{}]struct{}), m: newServerMetrics(c.Metrics, c.Direction),
		routes: make(map[string]*nexthop.Hop)}
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
	// The connection layer bounds lines, sizes and recipients; what go-smtp sees is short.
	s.engine.MaxLineLength = 0
	s.engine.ErrorLog = errorLog{s.log}
	return s
}

// Serve takes connections from a listener until Shutdown, which closes the listener; then it returns nil.
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

// Shutdown stops the server: it takes no new connections, ends the idle ones, and waits for the transactions under way. When ctx ends
// first, it breaks them off; their senders keep the messages.
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
	// From then on go-smtp takes no connection that it would have to wait for.
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

// AwaitVerdicts waits until every verdict that was given before is in the journal, or has failed. Who changes the settings of a mailbox, and
// then waits, knows that the journal gets nothing any more by the old ones, save what a store takes in late that did not answer in time. No
// message waits for it. What other processes have under way the journal's gate keeps out. The error is that of ctx.
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

// beginVerdict says that a verdict is being given. The function that it returns says that it is in the journal, or has failed.
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

// commandReplyTimeout is how long all next hops have together for the replies that the client waits for at a time: Postfix waits for 300 s
// (lmtp_mail_timeout, lmtp_rcpt_timeout).
const commandReplyTimeout = 280 * time.Second

// replyTime returns the context of the replies that the client waits for now. One hop has its own timeouts.
func (s *Server) replyTime() (context.Context, context.CancelFunc) {
	if len(s.hops) == 1 {
		return s.ctx, func() {}
	}
	return context.WithTimeoutCause(s.ctx, commandReplyTimeout, nexthop.ErrTimeout)
}

// SetDeliverOnJournalError changes Config.DeliverOnJournalError, from the next fault on.
func (s *Server) SetDeliverOnJournalError(deliver bool) { s.deliver.Store(deliver) }

func (s *Server) stopping() bool { return s.halted.Load() }

// addConn takes a connection in, unless there are too many.
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

// countConns is called with mu held, after each change of conns.
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

// Close implements net.Listener. The server closes it, and go-smtp does once more.
func (l *listener) Close() (err error) {
	l.closed.Do(func() { err = l.Listener.Close() })
	return err
}

// Accept waits for a connection that is not over the limit.
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

// errorLog is where go-smtp says what went wrong.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.log.Error("protocol engine: " + fmt.Sprintf(format, v...))
}
func (l errorLog) Println(v ...any) { l.log.Error("protocol engine: " + fmt.Sprint(v...)) }

// keywords is the reply to LHLO or EHLO. It waits for no next hop, and says nothing that only some of them have, because the MTA bounces by
// itself what does not fit: what is too large or needs SMTPUTF8 is refused at RCPT, for the recipients whose next hop does not take it.
func (s *Server) keywords() []byte {
	lines := []string{s.config.HelloName, "PIPELINING", "ENHANCEDSTATUSCODES"}
	if s.eightBit() {
		lines = append(lines, "8BITMIME")
	}
	lines = append(lines, "SMTPUTF8", fmt.Sprintf("SIZE %d", s.config.MaxMessageSize), "DSN", "XFORWARD "+xforwardAttributes)
	return appendReply(nil, nexthop.Reply{Code: 250, Lines: lines})
}

// eightBit says that no next hop is known that lacks 8BITMIME. For such a one the MTA makes a message 7 bit, and bounces none.
func (s *Server) eightBit() bool {
	for _, h := range s.hops {
		if a, ok := h.Announced(); ok && !a.EightBitMIME {
			return false
		}
	}
	return true
}

// hop returns where received mail for an address is handed on.
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
