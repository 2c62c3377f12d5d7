package submission

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// Authenticator signs people in; an *auth.Authenticator does. With any error that is not one of package auth the program is told to try again
// later.
type Authenticator interface {
	Login(context.Context, auth.Attempt) (auth.Identity, error)
}

// Config is what a Server needs. All fields are required, except where their comment says otherwise.
type Config struct {
	Logins   Authenticator
	Language func(context.Context, policy.Address) policy.Language // of a mailbox; called concurrently

	Name  string // how the server calls itself
	Relay Relay  // the zero Relay: nothing is sent

	// RelayTLS has the authorities for the certificate of the relay; nil: those of the machine.
	RelayTLS *tls.Config
	// TLS is for STARTTLS; nil: STARTTLS is not offered.
	TLS *tls.Config
	// InsecureLoopback allows passwords without TLS on connections that do not leave the machine.
	InsecureLoopback bool

	MaxConnections int // of all programs together
	MaxPerAddress  int // of those from one address

	Logger  *slog.Logger      // may be nil
	Metrics *metrics.Registry // may be nil
}

// Server is the outgoing server. Its methods may be called concurrently.
type Server struct {
	config Config
	log    *slog.Logger
	engine *smtp.Server
	ctx    context.Context // ends when the server must not wait any longer
	cancel context.CancelFunc

	open                                       *metrics.Gauge
	refused, refusedMail, relayed, relayFailed *metrics.Counter

	mu        sync.Mutex
	stopping  bool               // guarded by mu
	conns     map[*conn]struct{} // guarded by mu
	from      map[netip.Addr]int // connections by address; guarded by mu
	gone      sync.Cond          // on mu: a connection left conns
	listeners []*listener        // guarded by mu
}

// NewServer returns a server that serves no listener yet.
func NewServer(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = new(metrics.Registry)
	}
	const outcomes, help = "copialettere_submission_total", "What became of the tries to send mail by the outgoing server of archives."
	s := &Server{
		config: c, log: c.Logger, conns: make(map[*conn]struct{}), from: make(map[netip.Addr]int),
		open:        c.Metrics.Gauge("copialettere_submission_connections", "Open connections to the outgoing server of archives."),
		refused:     c.Metrics.Counter("copialettere_submission_connections_refused_total", "Connections to the outgoing server over the limit."),
		refusedMail: c.Metrics.Counter(outcomes, help, "outcome", "refused"),
		relayed:     c.Metrics.Counter(outcomes, help, "outcome", "relayed"),
		relayFailed: c.Metrics.Counter(outcomes, help, "outcome", "relay-failed"),
	}
	s.gone.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.engine = smtp.NewServer(smtp.BackendFunc(s.newSession))
	s.engine.Domain, s.engine.AllowInsecureAuth, s.engine.ErrorLog, s.engine.MaxLineLength = c.Name, true, engineLog{s.log}, 0
	return s
}

// newSession is called by go-smtp at the first EHLO of each connection.
func (s *Server) newSession(sc *smtp.Conn) (smtp.Session, error) {
	c, ok := sc.Conn().(*conn)
	if !ok {
		return nil, fmt.Errorf("connection of type %T", sc.Conn())
	}
	return &session{conn: c}, nil
}

// Serve serves a listener until Shutdown. Where the listener speaks TLS from the first byte, secure is its configuration, else nil.
func (s *Server) Serve(l net.Listener, secure *tls.Config) error {
	mine := &listener{Listener: l, server: s, tls: secure}
	s.mu.Lock()
	s.listeners = append(s.listeners, mine)
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return l.Close()
	}
	return s.engine.Serve(mine)
}

// Shutdown stops listening, ends all connections, each after the command under way, or, where bytes pass to the relay, after its answer, and waits
// until they have ended. When ctx ends it cuts them and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.interrupt()
	}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cancel()
		for c := range s.conns {
			c.transport().Close()
		}
	})
	defer stop()
	s.mu.Lock()
	for len(s.conns) > 0 {
		s.gone.Wait()
	}
	s.mu.Unlock()
	s.cancel()
	return ctx.Err()
}

// isStopping reports whether Shutdown was called.
func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// add registers a connection. It reports false if there are too many.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.config.MaxConnections || s.from[c.remote] >= s.config.MaxPerAddress || s.stopping {
		return false
	}
	s.conns[c] = struct{}{}
	s.from[c.remote]++
	s.open.Set(int64(len(s.conns)))
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.from[c.remote]--; s.from[c.remote] == 0 {
		delete(s.from, c.remote)
	}
	s.open.Set(int64(len(s.conns)))
	s.gone.Broadcast()
}

// listener puts the connection layer under go-smtp.
type listener struct {
	net.Listener
	server *Server
	tls    *tls.Config
	closed sync.Once
}

// Close implements net.Listener. It may be called more than once.
func (l *listener) Close() (err error) {
	l.closed.Do(func() { err = l.Listener.Close() })
	return err
}

// Accept returns the next connection within the limit. The others get a 421.
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if l.server.isStopping() {
				return nil, net.ErrClosed
			}
			return nil, err
		}
		c := newConn(nc, l.tls, l.server)
		if l.server.add(c) {
			return c, nil
		}
		l.server.refused.Inc()
		if l.tls == nil {
			nc.SetWriteDeadline(time.Now().Add(time.Second))
			nc.Write([]byte("421 4.7.0 Too many connections, try again later\r\n"))
		}
		nc.Close()
	}
}

// engineLog passes what go-smtp logs to the log. It does not log what programs sent.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Printf(format string, v ...any) {
	l.log.Debug("protocol engine: " + fmt.Sprintf(format, v...))
}

func (l engineLog) Println(v ...any) { l.log.Debug("protocol engine: " + fmt.Sprintln(v...)) }
