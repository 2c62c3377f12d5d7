package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"copialettere/journal/metrics"
)

// How long a client of a Server may take. A handler that streams much, in either direction, sets deadlines of its own with
// http.ResponseController.
const (
	headerTimeout  = 10 * time.Second // from the first byte of a request to the end of its header
	requestTimeout = 30 * time.Second // to the end of its body
	answerTimeout  = 60 * time.Second // from the end of its header to the end of the answer
	idleTimeout    = 2 * time.Minute  // between two requests on one connection
)

const (
	maxHeader  = 16 << 10 // bytes of the header of a request
	maxStreams = 100      // requests at a time on one connection of HTTP/2 (RFC 9113 section 5.1.2)
)

// ServerConfig is what a Server needs. All fields are required, except where their comment says otherwise.
type ServerConfig struct {
	Handler http.Handler
	TLS     *tls.Config // for listeners with TLS; may be nil if there is none

	MaxConnections int // of all clients together
	MaxPerAddress  int // of those with TLS from one address; without TLS all come from a proxy

	Logger  *slog.Logger      // may be nil
	Metrics *metrics.Registry // may be nil
}

// Server serves HTTP/1.1, and over TLS also HTTP/2, to the Internet: with limits on connections, times and sizes. Its methods may be called
// concurrently.
type Server struct {
	config  ServerConfig
	plain   *http.Server // for the listeners without TLS: a server that begins with one of those does not speak HTTP/2 on the others
	secure  *http.Server
	open    *metrics.Gauge
	refused *metrics.Counter

	mu   sync.Mutex
	all  int                // open connections; guarded by mu
	from map[netip.Addr]int // those with TLS by address; guarded by mu
}

// NewServer returns a server that serves no listener yet.
func NewServer(c ServerConfig) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = new(metrics.Registry)
	}
	s := &Server{
		config: c, from: make(map[netip.Addr]int),
		open:    c.Metrics.Gauge("copialettere_web_connections", "Open connections of browsers and other clients of [web]."),
		refused: c.Metrics.Counter("copialettere_web_connections_refused_total", "Connections to [web] over the limit."),
	}
	s.plain, s.secure = s.newHTTP(nil), s.newHTTP(c.TLS.Clone())
	return s
}

// newHTTP returns a server of net/http, which changes the TLS configuration that it is given.
func (s *Server) newHTTP(secure *tls.Config) *http.Server {
	return &http.Server{
		Handler: s.config.Handler, TLSConfig: secure, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		// What clients of the Internet do wrong is not worth a warning.
		ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
}

// Serve serves a listener until Shutdown, and returns nil then. secure says that it speaks TLS from the first byte.
func (s *Server) Serve(l net.Listener, secure bool) (err error) {
	counting := &countingListener{l, s, secure}
	if secure {
		err = s.secure.ServeTLS(counting, "", "")
	} else {
		err = s.plain.Serve(counting)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown stops listening, and waits for the requests under way. When ctx ends it cuts them and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	var plain error
	var stopping sync.WaitGroup
	stopping.Go(func() { plain = s.plain.Shutdown(ctx) })
	secure := s.secure.Shutdown(ctx)
	stopping.Wait()
	if plain != nil || secure != nil {
		s.plain.Close()
		s.secure.Close()
		return ctx.Err()
	}
	return nil
}

// countingListener keeps the number of connections within the limits.
type countingListener struct {
	net.Listener
	server *Server
	secure bool
}

// Accept returns the next connection within the limits. The others are closed.
func (l *countingListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &countedConn{Conn: nc, server: l.server}
		if l.secure {
			c.remote = addressOf(nc.RemoteAddr())
		}
		if l.server.add(c.remote) {
			return c, nil
		}
		l.server.refused.Inc()
		if !l.secure {
			nc.SetWriteDeadline(time.Now().Add(time.Second))
			nc.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"))
		}
		nc.Close()
	}
}

// addressOf returns the IP address of a client; the zero value where it has none.
func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// add counts a connection, from the zero address where it is not counted by address. It reports false if there are too many.
func (s *Server) add(remote netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.config.MaxConnections || remote.IsValid() && s.from[remote] >= s.config.MaxPerAddress {
		return false
	}
	s.all++
	if remote.IsValid() {
		s.from[remote]++
	}
	s.open.Set(int64(s.all))
	return true
}

func (s *Server) remove(remote netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if remote.IsValid() {
		if s.from[remote]--; s.from[remote] == 0 {
			delete(s.from, remote)
		}
	}
	s.open.Set(int64(s.all))
}

// countedConn is a connection that counts until it is closed.
type countedConn struct {
	net.Conn
	server *Server
	remote netip.Addr // zero where it is not counted by address
	once   sync.Once
}

// Close implements net.Conn. It may be called more than once.
func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.server.remove(c.remote) })
	return err
}
