package imapd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// Authenticator signs people in; an *auth.Authenticator does. With any error that is not one of package auth the program is told to try again
// later.
type Authenticator interface {
	Login(context.Context, auth.Attempt) (auth.Identity, error)
}

// Config is what a Server needs. All fields are required, except where their comment says otherwise.
type Config struct {
	Archive func() *archive.Archive // the one in force now
	Logins  Authenticator

	Name string // how the server calls itself in its greeting

	// TLS is for STARTTLS; nil: STARTTLS is not offered.
	TLS *tls.Config
	// InsecureLoopback allows passwords without TLS on connections that do not leave the machine.
	InsecureLoopback bool

	MaxConnections int // of all programs together
	MaxPerAddress  int // of those from one address
	MaxPerMailbox  int // of those that have signed in to one archive

	searchTime  time.Duration       // of one search; zero means maxSearchTime
	searchBytes int64               // that one search reads; zero means maxSearchBytes
	session     func(*conn) backend // what a connection talks to; nil is an archive, tests have another

	Logger  *slog.Logger      // may be nil
	Metrics *metrics.Registry // may be nil
}

// Server is the IMAP server. Its methods may be called concurrently.
type Server struct {
	config  Config
	log     *slog.Logger
	engine  *imapserver.Server
	turns   turns
	ctx     context.Context // ends when the server must not wait any longer
	cancel  context.CancelFunc
	open    *metrics.Gauge
	refused *metrics.Counter

	spoiled spoiled

	changed chan struct{}  // settings have changed
	looking sync.WaitGroup // the goroutine that waits for that

	mu        sync.Mutex
	stopping  bool                      // guarded by mu
	conns     map[*conn]*archive.Reader // with what each reads, nil before it has signed in; guarded by mu
	from      map[netip.Addr]int        // connections by address; guarded by mu
	in        map[policy.Address]int    // connections by mailbox; guarded by mu
	gone      sync.Cond                 // on mu: a connection left conns
	listeners []*listener               // guarded by mu
}

// capabilities are those that go-imap announces, beside its own. ACL, ID and QUOTA are conn's. LITERAL+ lets go-imap take what conn has asked for; conn
// does not announce it, and LITERAL- stays: no program is to send a message before it is known whether it may be put in.
func capabilities() imap.CapSet {
	set := make(imap.CapSet)
	for _, c := range []imap.Cap{
		imap.CapIMAP4rev1, imap.CapNamespace, imap.CapUIDPlus, imap.CapESearch, imap.CapSearchRes, imap.CapListExtended, imap.CapListStatus,
		imap.CapMove, imap.CapStatusSize, imap.CapChildren, imap.CapSpecialUse, imap.CapLiteralPlus,
	} {
		set[c] = struct{}{}
	}
	return set
}

// NewServer returns a server that serves no listener yet.
func NewServer(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = new(metrics.Registry)
	}
	c.searchTime, c.searchBytes = cmp.Or(c.searchTime, maxSearchTime), cmp.Or(c.searchBytes, maxSearchBytes)
	if c.session == nil {
		c.session = func(c *conn) backend { return newSession(c) }
	}
	s := &Server{
		config: c, log: c.Logger, conns: make(map[*conn]*archive.Reader), from: make(map[netip.Addr]int), in: make(map[policy.Address]int),
		changed: make(chan struct{}, 1), turns: newTurns(),
		open:    c.Metrics.Gauge("copialettere_imap_connections", "Open connections of mail programs."),
		refused: c.Metrics.Counter("copialettere_imap_connections_refused_total", "Connections of mail programs over the limit."),
	}
	s.gone.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.engine = imapserver.New(&imapserver.Options{NewSession: s.newSession, Caps: capabilities(), Logger: engineLog{s.log}, InsecureAuth: true})
	s.looking.Go(s.closeClosed)
	return s
}

// newSession is called by go-imap for each connection, on a goroutine of its own.
func (s *Server) newSession(ic *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	c, ok := ic.NetConn().(*conn)
	if !ok {
		return nil, nil, fmt.Errorf("connection of type %T", ic.NetConn())
	}
	if err := c.start(); err != nil {
		return nil, nil, err
	}
	c.session = s.config.session(c)
	return c.session, nil, nil
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

// Shutdown stops listening, says BYE on all connections, each after the command under way, and waits until they have ended. When ctx ends it
// cuts them and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.interrupt("[UNAVAILABLE] The server is restarting, try again in a minute")
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
	s.looking.Wait()
	return ctx.Err()
}

// SettingsChanged makes the server look, soon, which archives are no longer open to those who read them, and end their connections. It does not
// block.
func (s *Server) SettingsChanged() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// settingsPause is how long the server waits between two looks: many mailboxes may be changed in a row.
const settingsPause = 200 * time.Millisecond

// delegationInterval is how often the server looks which delegates have come to the end of their time.
const delegationInterval = 2 * time.Second

// closeClosed ends the connections to archives that were closed, and those of people whose right has ended, until the server stops.
func (s *Server) closeClosed() {
	tick := time.NewTicker(delegationInterval)
	defer tick.Stop()
	for {
		delegates := false
		select {
		case <-s.ctx.Done():
			return
		case <-s.changed:
		case <-tick.C:
			delegates = true
		}
		s.mu.Lock()
		reading := maps.Clone(s.conns)
		s.mu.Unlock()
		for c, reader := range reading {
			if reader == nil || delegates && !reader.Delegated() {
				continue
			}
			_, err := reader.Access(s.ctx)
			var closed *auth.Refusal
			switch {
			case errors.As(err, &closed):
				c.interrupt("[UNAVAILABLE] " + policy.ASCII(closed.String()))
			case errors.Is(err, policy.ErrForbidden):
				c.interrupt("[UNAVAILABLE] " + policy.ASCII(sentenceForbidden.English))
			}
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(settingsPause):
		}
	}
}

// enter notes what a connection reads. It reports false if too many read the same.
func (s *Server) enter(c *conn, reader *archive.Reader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in[reader.Mailbox()] >= s.config.MaxPerMailbox {
		return false
	}
	s.in[reader.Mailbox()]++
	s.conns[c] = reader
	return true
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
	s.conns[c] = nil
	s.from[c.remote]++
	s.open.Set(int64(len(s.conns)))
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reader := s.conns[c]; reader != nil {
		if s.in[reader.Mailbox()]--; s.in[reader.Mailbox()] == 0 {
			delete(s.in, reader.Mailbox())
		}
	}
	delete(s.conns, c)
	if s.from[c.remote]--; s.from[c.remote] == 0 {
		delete(s.from, c.remote)
	}
	s.open.Set(int64(len(s.conns)))
	s.gone.Broadcast()
}

// listener puts the connection layer under go-imap.
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

// Accept returns the next connection within the limit. The others get a BYE.
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
			nc.Write([]byte("* BYE [UNAVAILABLE] Too many connections, try again later\r\n"))
		}
		nc.Close()
	}
}

// engineLog passes what go-imap logs to the log. It does not log what programs sent.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Printf(format string, v ...any) {
	l.log.Debug("protocol engine: " + fmt.Sprintf(format, v...))
}
