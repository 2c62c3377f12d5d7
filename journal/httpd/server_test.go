package httpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/metrics"
)

// serving is a Server on loopback.
type serving struct {
	*Server
	metrics metrics.Registry
	plain   string // host and port
	secure  string
	client  *http.Client // trusts the certificate
}

// serveHandler serves a handler with and without TLS until the test ends.
func serveHandler(t *testing.T, handler http.HandlerFunc, connections, perAddress int) *serving {
	t.Helper()
	authority := httptest.NewTLSServer(nil)
	t.Cleanup(authority.Close)
	s := &serving{client: authority.Client()}
	s.Server = NewServer(ServerConfig{
		Handler: handler, TLS: &tls.Config{Certificates: authority.TLS.Certificates}, MaxConnections: connections, MaxPerAddress: perAddress, Metrics: &s.metrics,
	})
	served := make(chan error, 2)
	listen := func(secure bool) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- s.Serve(l, secure) }()
		return l.Addr().String()
	}
	s.plain, s.secure = listen(false), listen(true)
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served, <-served); err != nil {
			t.Error(err)
		}
		s.waitForOpen(t, 0) // net/http may still be closing the last one
	})
	return s
}

// waitForOpen waits until so many connections are counted.
func (s *serving) waitForOpen(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); s.open.Value() != int64(n); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are counted, want %d", s.open.Value(), n)
		}
	}
}

func greet(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello by "+r.Proto) }

func TestServerProtocols(t *testing.T) {
	s := serveHandler(t, greet, 10, 10)
	ask := func(client *http.Client, url, want string) {
		t.Helper()
		answer, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", url, text, err)
		}
	}
	ask(s.client, "http://"+s.plain, "hello by HTTP/1.1")
	ask(s.client, "https://"+s.secure, "hello by HTTP/1.1")
	modern := s.client.Transport.(*http.Transport).Clone()
	defer modern.CloseIdleConnections()
	modern.ForceAttemptHTTP2 = true
	ask(&http.Client{Transport: modern}, "https://"+s.secure, "hello by HTTP/2.0")
}

// TestServerLimits opens as many connections as there may be, and one more. The place of one that ends is free again.
func TestServerLimits(t *testing.T) {
	for _, c := range []struct {
		name                    string
		connections, perAddress int
		secure                  bool
		fit                     int
	}{
		{"in all", 3, 2, false, 3},
		{"from one address", 9, 2, true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveHandler(t, greet, c.connections, c.perAddress)
			address := s.plain
			if c.secure {
				address = s.secure
			}
			dial := func() (net.Conn, error) {
				nc, err := net.Dial("tcp", address)
				if err == nil && c.secure {
					nc = tls.Client(nc, &tls.Config{RootCAs: s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
				}
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { nc.Close() })
				nc.SetDeadline(time.Now().Add(5 * time.Second))
				fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				answer, err := http.ReadResponse(bufio.NewReader(nc), nil)
				if err == nil && answer.StatusCode != http.StatusOK {
					err = errors.New(answer.Status + ", again after " + answer.Header.Get("Retry-After"))
				}
				return nc, err
			}
			var first net.Conn
			for range c.fit {
				nc, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				first = nc
			}
			_, err := dial()
			if err == nil || !c.secure && !strings.Contains(err.Error(), "503 Service Unavailable, again after 10") {
				t.Errorf("one more: %v", err)
			}
			if n := s.refused.Value(); n != 1 {
				t.Errorf("%d refused", n)
			}
			first.Close()
			s.waitForOpen(t, c.fit-1)
			if _, err := dial(); err != nil {
				t.Errorf("after one has ended: %v", err)
			}
		})
	}
}

// TestServerStops stops the server while a request is under way: that is answered, and no other.
func TestServerStops(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	s := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-end
		greet(w, r)
	}, 10, 10)
	answered := make(chan error, 1)
	go func() {
		answer, err := s.client.Get("https://" + s.secure)
		if err == nil {
			_, err = io.ReadAll(answer.Body)
			answer.Body.Close()
		}
		answered <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		nc, err := net.Dial("tcp", s.plain)
		if err != nil {
			break
		}
		nc.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server still listens")
		}
	}
	close(end)
	if err := errors.Join(<-answered, <-stopped); err != nil {
		t.Error(err)
	}
}

// TestServerCertificate shows the certificate that is in force when somebody connects.
func TestServerCertificate(t *testing.T) {
	authority := httptest.NewTLSServer(nil)
	defer authority.Close()
	var asked atomic.Int64
	s := NewServer(ServerConfig{Handler: http.HandlerFunc(greet), MaxConnections: 10, MaxPerAddress: 10, TLS: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			asked.Add(1)
			return &authority.TLS.Certificates[0], nil
		},
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, true) }()
	for n := range int64(3) {
		answer, err := authority.Client().Get("https://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		authority.Client().CloseIdleConnections()
		if asked.Load() != n+1 {
			t.Errorf("connection %d: asked %d times for the certificate", n+1, asked.Load())
		}
	}
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

func TestServerHeaderTooLarge(t *testing.T) {
	s := serveHandler(t, greet, 10, 10)
	r, err := http.NewRequest("GET", "http://"+s.plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("a", 2*maxHeader))
	answer, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(answer.Status)
	}
}

// pipes is a listener of connections in memory.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.accept:
		return nc, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// TestServerSlowClients connects clients that stop in the middle. None keeps its connection for longer than it may.
func TestServerSlowClients(t *testing.T) {
	for _, c := range []struct {
		name, sends string
		within      time.Duration
	}{
		{"nothing", "", headerTimeout},
		{"half a header", "GET / HTTP/1.1\r\nHost: loc", headerTimeout},
		{"half a body", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf", requestTimeout},
		{"no second request", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", idleTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewServer(ServerConfig{MaxConnections: 1, MaxPerAddress: 1, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.ReadAll(r.Body)
					greet(w, r)
				})})
				l := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
				served := make(chan error, 1)
				go func() { served <- s.Serve(l, false) }()
				client, server := net.Pipe()
				l.accept <- server
				start := time.Now()
				go io.WriteString(client, c.sends)
				io.Copy(io.Discard, client)
				if took := time.Since(start); took > c.within+time.Second || took < c.within-time.Second {
					t.Errorf("the connection was closed after %s, want %s", took, c.within)
				}
				client.Close()
				if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
