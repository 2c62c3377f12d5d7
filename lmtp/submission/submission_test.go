package submission

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/metrics"
	"copialettere/policy/auth"
)

// greetings is how a relay begins that takes a password at once.
func greetings() []string {
	return []string{"> 220 smtp.alpha.test ESMTP", "< EHLO archivio.test", "> 250-smtp.alpha.test", "> 250-PIPELINING", "> 250-SIZE", "> 250-8BITMIME",
		"> 250-ENHANCEDSTATUSCODES", "> 250 AUTH PLAIN"}
}

const (
	taken  = "< AUTH PLAIN {anna@alpha.test:cera-lacca}"
	signIn = "AUTH PLAIN {anna@alpha.test:cera-lacca}\r\n"
)

// TestTLS signs in over TLS from the first byte and over STARTTLS; before that, and with what came before it, nobody does.
func TestTLS(t *testing.T) {
	server, client := certificate(t, "archivio.test")
	client.ServerName = "archivio.test"
	s, address := newServer(t, func(c *Config) { c.TLS, c.InsecureLoopback = server, false })
	secure := serve(t, s, server)
	over := func(p *program) *program {
		nc := tls.Client(p.nc, client)
		return &program{t, nc, newReader(nc)}
	}
	t.Run("from the first byte", func(t *testing.T) {
		p := over(dial(t, secure))
		if k := p.hello(); !strings.HasSuffix(k, ",AUTH PLAIN LOGIN") || strings.Contains(k, "STARTTLS") {
			t.Errorf("keywords %s", k)
		}
		p.send("STARTTLS\r\n")
		p.want("502 5.5.1 TLS is not offered")
		p.send(encode(signIn))
		p.want("235 ")
	})
	t.Run("STARTTLS", func(t *testing.T) {
		p := dial(t, address)
		if k := p.hello(); !strings.HasSuffix(k, ",STARTTLS") || strings.Contains(k, "AUTH") {
			t.Errorf("keywords %s", k)
		}
		p.send(encode(signIn))
		p.want("538 5.7.11 ")
		p.send("STARTTLS\r\n")
		p.want("220 2.0.0 ")
		p = over(p)
		p.send(encode(signIn))
		p.want("503 5.5.1 Say EHLO first")
		p.send("EHLO pc.test\r\n")
		p.want("250-archivio.test", "250-", "250-", "250-", "250-", "250 AUTH PLAIN LOGIN")
		p.send(encode(signIn))
		p.want("235 ")
	})
	t.Run("a command behind STARTTLS in the clear", func(t *testing.T) {
		p := dial(t, address)
		p.hello()
		p.send("STARTTLS\r\nNOOP\r\n")
		p.want("503 5.5.1 Nothing may follow", "(closed)")
	})
	t.Run("no TLS after STARTTLS", func(t *testing.T) {
		p := dial(t, address)
		p.hello()
		p.send("STARTTLS\r\n")
		p.want("220 2.0.0 ")
		p.send("EHLO pc.test\r\n")
		if line := p.line(); strings.HasPrefix(line, "250") {
			t.Errorf("in the clear: %q", line)
		}
	})
}

// TestRelayTLS demands TLS of a relay, with a certificate for its name.
func TestRelayTLS(t *testing.T) {
	right, roots := certificate(t, "localhost")
	other, otherRoots := certificate(t, "elsewhere.test")
	clear := []string{"> 220 smtp.alpha.test ESMTP", "< EHLO archivio.test", "> 250-smtp.alpha.test", "> 250 STARTTLS"}
	starttls := append(clear, "< STARTTLS", "> 220 go", "tls")
	secure := append(append(starttls, greetings()[1:]...), taken, "> 235 ok", "< QUIT", "> 221 bye")
	implicit := append(append([]string{}, greetings()...), taken, "> 235 ok", "< QUIT", "> 221 bye")
	for _, c := range []struct {
		name     string
		server   *tls.Config
		roots    *tls.Config
		implicit bool
		script   []string
		want     string
	}{
		{"STARTTLS", right, roots, false, secure, "235 "},
		{"from the first byte", right, roots, true, implicit, "235 "},
		{"STARTTLS, certificate of another name", other, otherRoots, false, starttls, "454 4.7.0 "},
		{"STARTTLS, certificate of a stranger", right, otherRoots, false, starttls, "454 4.7.0 "},
		{"from the first byte, certificate of another name", other, otherRoots, true, []string{"> 220 never seen"}, "454 4.7.0 "},
		{"STARTTLS refused", right, roots, false, append(clear, "< STARTTLS", "> 454 4.7.0 no TLS now"), "454 4.7.0 no TLS now"},
		{"more than the reply to STARTTLS", right, roots, false, append(clear, "< STARTTLS", "> 220 go\r\n250 AUTH PLAIN"), "454 4.7.0 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			relay := startRelay(t, "localhost", c.server, c.implicit, c.script...)
			_, address := newServer(t, func(config *Config) { config.Relay, config.RelayTLS = relay.address, c.roots })
			p := dial(t, address)
			p.hello()
			p.send(encode(signIn))
			p.want(c.want)
			if c.want == "235 " {
				p.send("QUIT\r\n")
				p.want("221 bye", "(closed)")
			}
		})
	}
	// A relay on another machine never gets a password in the clear.
	for relay, want := range map[Relay]bool{{"127.0.0.1", 25, false}: true, {"localhost", 25, false}: true, {"::1", 25, false}: true,
		{"192.0.2.1", 25, false}: false, {"smtp.alpha.test", 25, false}: false} {
		if relay.loopback() != want {
			t.Errorf("%s: on this machine: %v", relay, !want)
		}
	}
}

// TestMessagePasses sends a message with every odd thing in it through the relay: what arrives is what was sent.
func TestMessagePasses(t *testing.T) {
	var message bytes.Buffer
	message.WriteString("Subject: x\r\n\r\n")
	for i := range 256 {
		message.WriteByte(byte(i))
	}
	message.WriteString("\r\r\n\n.\n\r.\r\n..\r\n" + strings.Repeat("lungo", 20000) + "\r\n")
	for message.Len() < 3<<20 {
		message.WriteString("una riga \x00 con dei byte \xff\r\n")
	}
	message.WriteString(".\r\n")
	end := bytes.Index(message.Bytes(), []byte("\r\n.\r\n")) // the first dot alone is the end, whoever reads
	text := append(message.Bytes()[:end:end], "\r\n.\r\n"...)
	script := append(greetings(), taken, "> 235 ok", "< DATA", "> 354 go", ".", "wait 100ms", "> 250 2.0.0 queued as 7", "< QUIT", "> 221 bye")
	relay := startRelay(t, "127.0.0.1", nil, false, script...)
	m := new(metrics.Registry)
	_, address := newServer(t, func(c *Config) { c.Relay, c.Metrics = relay.address, m })
	p := dial(t, address)
	p.hello()
	p.send(encode(signIn))
	p.want("235 ")
	p.send("DATA\r\n")
	p.want("354 go")
	p.send(string(text))
	p.want("250 2.0.0 queued as 7")
	p.send("QUIT\r\n")
	p.want("221 bye", "(closed)")
	relay.mu.Lock()
	defer relay.mu.Unlock()
	if !bytes.Equal(relay.message, text) {
		t.Errorf("%d bytes came, %d were sent", len(relay.message), len(text))
	}
	if n := m.Counter("copialettere_submission_total", "What became of the tries to send mail by the outgoing server of archives.", "outcome", "relayed").Value(); n != 1 {
		t.Errorf("%d relayed", n)
	}
}

// TestProgramLeaves breaks off in the middle of a message: the relay sees the end of the connection, and no dot.
func TestProgramLeaves(t *testing.T) {
	relay := startRelay(t, "127.0.0.1", nil, false, append(greetings(), taken, "> 235 ok", "< DATA", "> 354 go", "< Subject: torn", "end")...)
	_, address := newServer(t, func(c *Config) { c.Relay = relay.address })
	p := dial(t, address)
	p.hello()
	p.send(encode(signIn))
	p.want("235 ")
	p.send("DATA\r\n")
	p.want("354 go")
	p.send("Subject: torn\r\n")
	p.nc.Close()
	<-relay.done
}

// TestRelayDown refuses for now while nobody answers at the relay.
func TestRelayDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	_, address := newServer(t, func(c *Config) { c.Relay = Relay{Host: "127.0.0.1", Port: port} })
	p := dial(t, address)
	p.hello()
	p.send(encode(signIn))
	p.want("454 4.7.0 Il server di invio")
	p.send("NOOP\r\n")
	p.want("250 ")
}

// TestShutdown stops the server while connections are in each state: each is told, and whoever waits for the answer to a message gets it first.
func TestShutdown(t *testing.T) {
	script := append(greetings(), taken, "> 235 ok", "< DATA", "> 354 go", ".", "wait 1500ms", "> 250 2.0.0 queued as 7", "end")
	relay := startRelay(t, "127.0.0.1", nil, false, script...)
	s, address := newServer(t, func(c *Config) { c.Relay = relay.address })
	sending := dial(t, address)
	sending.hello()
	sending.send(encode(signIn))
	sending.want("235 ")
	sending.send("DATA\r\n")
	sending.want("354 go")
	sending.send("Subject: x\r\n\r\nx\r\n.\r\n")
	idle, before := dial(t, address), dial(t, address)
	idle.hello()
	before.want("220 ")
	time.Sleep(50 * time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	idle.want("421 4.3.2 ", "(closed)")
	before.want("421 4.3.2 ", "(closed)")
	sending.want("250 2.0.0 queued as 7", "421 4.3.2 ", "(closed)")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if nc, err := net.Dial("tcp", address); err == nil {
		nc.Close()
		t.Error("it still listens")
	}
}

// TestShutdownDoesNotWaitForever cuts a connection whose relay never answers.
func TestShutdownDoesNotWaitForever(t *testing.T) {
	relay := startRelay(t, "127.0.0.1", nil, false, append(greetings(), taken, "> 235 ok", "< NOOP", "end")...)
	s, address := newServer(t, func(c *Config) { c.Relay = relay.address })
	p := dial(t, address)
	p.hello()
	p.send(encode(signIn))
	p.want("235 ")
	p.send("NOOP\r\n")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	p.want("(closed)")
}

// TestLimits has too many connections, and too many from one address.
func TestLimits(t *testing.T) {
	m := new(metrics.Registry)
	_, address := newServer(t, func(c *Config) { c.MaxPerAddress, c.Metrics = 2, m })
	first, second := dial(t, address), dial(t, address)
	first.want("220 ")
	second.want("220 ")
	dial(t, address).want("421 4.7.0 Too many connections", "(closed)")
	first.send("QUIT\r\n")
	first.want("221 ", "(closed)")
	for range 100 {
		p := dial(t, address)
		if line := p.line(); strings.HasPrefix(line, "220 ") {
			if m.Counter("copialettere_submission_connections_refused_total", "Connections to the outgoing server over the limit.").Value() < 1 {
				t.Error("not counted")
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a connection that has ended still counts")
}

// TestManyAtOnce has many programs sign in and leave in every way, while the server stops.
func TestManyAtOnce(t *testing.T) {
	s, address := newServer(t, nil)
	var wait sync.WaitGroup
	for i := range 60 {
		wait.Go(func() {
			nc, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			lines := []string{"EHLO pc.test\r\n", encode(signIn), "MAIL FROM:<anna@alpha.test>\r\n", "QUIT\r\n"}
			for _, line := range lines[:1+i%len(lines)] {
				if _, err := nc.Write([]byte(line)); err != nil {
					return
				}
			}
			if i%2 == 0 {
				nc.Read(make([]byte, 4096))
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	check(t, s.Shutdown(t.Context()))
	wait.Wait()
}

// TestNothingIsLogged looks for passwords and messages in the log.
func TestNothingIsLogged(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	handler := slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug})
	relay := startRelay(t, "127.0.0.1", nil, false, append(greetings(), taken, "> 535 5.7.8 no")...)
	_, address := newServer(t, func(c *Config) { c.Relay, c.Logger = relay.address, slog.New(handler) })
	p := dial(t, address)
	p.hello()
	p.send(encode(signIn))
	p.want("535 ")
	p.send("AUTH LOGIN " + encode("{segretissimo}") + "\r\n")
	p.want("334 ")
	p.send(encode("{ancora-piu}") + "\r\n")
	p.want("535 ")
	p.send("QUIT\r\n")
	p.want("221 ", "(closed)")
	mu.Lock()
	defer mu.Unlock()
	for _, secret := range []string{password, "ancora-piu", encode("{ancora-piu}"), encode("{anna@alpha.test:" + password + "}")} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if !strings.Contains(log.String(), "the relay refuses a login that is right here") {
		t.Errorf("the log: %s", log.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestParseRelay reads relays, and writes them again.
func TestParseRelay(t *testing.T) {
	for text, want := range map[string]Relay{
		"smtps:smtp.alpha.test:465": {"smtp.alpha.test", 465, true}, "smtp:127.0.0.1:587": {"127.0.0.1", 587, false}, "smtp:[::1]:587": {"::1", 587, false},
	} {
		if got, err := ParseRelay(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "smtp", "smtp:", "smtp:x", "smtp::25", "smtp:x:0", "smtp:x:99999", "lmtp:x:24", "smtp:a b:25", "tls:x:465"} {
		if got, err := ParseRelay(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// FuzzDialogue says anything to the server. It never takes a sender from somebody who has not signed in, answers in well-formed replies, and goes on.
func FuzzDialogue(f *testing.F) {
	f.Add([]byte("EHLO x\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"))
	f.Add([]byte("STARTTLS\r\nEHLO\r\nAUTH LOGIN\r\nAA==\r\n*\r\nBDAT 3\r\nabc"))
	f.Add([]byte("HELO x\nAUTH PLAIN\n=\nRSET\nMAIL\nVRFY\n\x00\xff\n"))
	s := NewServer(Config{Logins: nobody{}, Language: languageOf, Name: "archivio.test", InsecureLoopback: true, MaxConnections: 100, MaxPerAddress: 100})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(f, err)
	go s.Serve(l, nil)
	f.Cleanup(func() { s.Shutdown(context.Background()) })
	f.Fuzz(func(t *testing.T, said []byte) {
		nc, err := net.Dial("tcp", l.Addr().String())
		check(t, err)
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		go func() {
			nc.Write(said)
			nc.(*net.TCPConn).CloseWrite()
		}()
		in := newReader(nc)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				if line != "" {
					t.Errorf("torn reply %q", line)
				}
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Error("no end")
				}
				return
			}
			if len(line) < 6 || line[0] < '2' || line[0] > '5' || line[3] != ' ' && line[3] != '-' || !strings.HasSuffix(line, "\r\n") {
				t.Errorf("reply %q", line)
			}
			if strings.HasPrefix(line, "354") || strings.HasPrefix(line, "235") {
				t.Errorf("nobody has signed in: %q", line)
			}
		}
	})
}

// nobody lets nobody in.
type nobody struct{}

func (nobody) Login(context.Context, auth.Attempt) (auth.Identity, error) {
	return auth.Identity{}, auth.ErrDenied
}

// FuzzRelay is a relay that says anything. Nobody is signed in without a 235, whatever comes before it.
func FuzzRelay(f *testing.F) {
	const hello = "220 smtp.alpha.test\r\n250-smtp.alpha.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN\r\n"
	f.Add([]byte(hello + "235 ok\r\n"))
	f.Add([]byte(hello + "334 \r\n235 ok\r\n"))
	f.Add([]byte("220-a\r\n220 b\r\n250 AUTH LOGIN\r\n334\r\n"))
	f.Add([]byte(hello + "535-5.7.8 a\r\n535 b\x00\r\n"))
	f.Fuzz(func(t *testing.T, says []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer l.Close()
		go func() {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			nc.Write(says)
			nc.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, nc)
			nc.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := Relay{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port)}.connect(ctx, "archivio.test", nil)
		if err == nil {
			defer c.Close()
			err = c.signIn(ctx, anna, password)
		}
		if err == nil && !bytes.Contains(says, []byte("235")) {
			t.Error("signed in without a 235")
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it hangs: %v", err)
		}
		var refused *ReplyError
		if errors.As(err, &refused) {
			if text := asGiven(refused).Message; strings.ContainsAny(text, "\r\n") {
				t.Errorf("the reply %q has line ends", text)
			}
		}
	})
}
