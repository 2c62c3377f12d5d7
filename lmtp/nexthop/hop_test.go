package nexthop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"

	"copialettere/journal/metrics"
	"copialettere/lmtp/nexthop/nexthoptest"
)

func mustSpec(t testing.TB, s string) Spec {
	t.Helper()
	spec, err := ParseSpec(s)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// checkGoroutines fails the test if it leaves goroutines behind.
func checkGoroutines(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for range 200 {
			if runtime.NumGoroutine() <= before {
				return
			}
			// A goroutine may need a moment to end after its owner knows that it is done.
			time.Sleep(5 * time.Millisecond)
		}
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
	})
}

// TestRefusedOpening: hops refuse in the greeting or in the answer to LHLO. The error holds the reply.
func TestRefusedOpening(t *testing.T) {
	tests := []struct {
		name, stage string
		script      nexthoptest.Script
		want        string
	}{
		{"greeting 421", "greeting", nexthoptest.Script{Greeting: "421 4.3.2 shutting down"}, "421 4.3.2 shutting down"},
		{"greeting 554", "greeting", nexthoptest.Script{Greeting: "554-no\n554 5.7.1 not you"}, "554 no / 5.7.1 not you"},
		{"LHLO 451", "LHLO", nexthoptest.Script{Hello: "451 4.3.0 later"}, "451 4.3.0 later"},
		{"EHLO 502", "EHLO", nexthoptest.Script{SMTP: true, Hello: "502 5.5.1 what"}, "502 5.5.1 what"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := nexthoptest.Start(t, tt.script)
			h := New(mustSpec(t, server.Spec()), Options{})
			_, err := h.Connect(t.Context())
			var refused *ReplyError
			if !errors.As(err, &refused) || refused.Stage != tt.stage || refused.Reply.String() != tt.want {
				t.Errorf("error %v, want a refusal of %s by %q", err, tt.stage, tt.want)
			}
			if _, ok := h.Announced(); ok {
				t.Error("a refusal is taken for an announcement")
			}
		})
	}
	t.Run("the next address is tried", func(t *testing.T) {
		h := New(mustSpec(t, "lmtp:mail.alpha.test:24"), Options{Resolver: &mockdns.Resolver{Zones: map[string]mockdns.Zone{
			"mail.alpha.test.": {A: []string{"192.0.2.1", "192.0.2.2"}},
		}}, HelloName: "hook.test"})
		h.dial = func(_ context.Context, _, address string) (net.Conn, error) {
			transcript := greetLMTP + announceAll
			if address == "192.0.2.1:24" {
				transcript = "S: 421 4.3.2 too many connections"
			}
			client, _ := play(transcript)
			return client, nil
		}
		conn, err := h.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Abort()
	})
}

// TestAnnouncedChanges: a hop announces something else after a restart.
func TestAnnouncedChanges(t *testing.T) {
	server := nexthoptest.Start(t, nexthoptest.Script{})
	var log bytes.Buffer
	h := New(mustSpec(t, server.Spec()), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if a, ok := h.Announced(); ok {
		t.Fatalf("announced %+v before the first connection", a)
	}
	for _, keywords := range [][]string{{"PIPELINING", "SIZE 1000"}, {"PIPELINING", "SIZE 1000"}, {"SIZE 2000"}} {
		server.SetScript(nexthoptest.Script{Keywords: keywords})
		conn, err := h.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Quit()
		if a, ok := h.Announced(); !ok || !slices.Equal(a.Keywords, keywords) || !a.equal(conn.Announced()) {
			t.Errorf("announced %+v, %v; want %q", a, ok, keywords)
		}
	}
	if n := strings.Count(log.String(), "announces something else"); n != 1 {
		t.Errorf("the change was logged %d times:\n%s", n, log.String())
	}
}

func TestProbe(t *testing.T) {
	server := nexthoptest.Start(t, nexthoptest.Script{Keywords: []string{"SMTPUTF8", "SIZE 1000"}})
	a, err := New(mustSpec(t, server.Spec()), Options{}).Probe(t.Context())
	if err != nil || !a.SMTPUTF8 || a.Size != 1000 {
		t.Errorf("announced %+v, %v", a, err)
	}
	spec := mustSpec(t, "lmtp:unix:"+filepath.Join(t.TempDir(), "absent"))
	if _, err := New(spec, Options{}).Probe(t.Context()); err == nil || !strings.Contains(err.Error(), spec.String()) {
		t.Errorf("error %v, want one that names %s", err, spec)
	}
}

// open connects and brings a transaction to its 354.
func open(t *testing.T, h *Hop, recipients ...string) Conn {
	t.Helper()
	conn, err := h.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Abort)
	begin(t, conn, recipients...)
	return conn
}

func begin(t *testing.T, conn Conn, recipients ...string) {
	t.Helper()
	conn.Mail("ext@ext.test", nil)
	for _, r := range recipients {
		conn.Rcpt(r, nil)
	}
	conn.Data()
	for range len(recipients) + 2 {
		if r, err := conn.Reply(t.Context()); err != nil || r.Code/100 > 3 {
			t.Fatalf("%s, %v", r, err)
		}
	}
}

// TestDeath: the hop dies at every stage. The test checks both sides: the errors of the client, and the messages of the hop.
func TestDeath(t *testing.T) {
	checkGoroutines(t)
	const text = "Subject: x\r\n\r\n.dot\r\nend\r\n"
	tests := []struct {
		name     string
		script   nexthoptest.Script
		want     string // the places where deliver may fail
		replies  int    // read before that
		messages int    // that the hop has then
	}{
		{"at the greeting", nexthoptest.Script{Die: nexthoptest.Greet}, "connect", 0, 0},
		{"at LHLO", nexthoptest.Script{Die: nexthoptest.Hello}, "connect", 0, 0},
		{"at MAIL", nexthoptest.Script{Die: nexthoptest.Mail}, "command", 0, 0},
		{"at RCPT", nexthoptest.Script{Die: nexthoptest.Rcpt, Keywords: []string{}}, "command", 1, 0},
		{"at DATA", nexthoptest.Script{Die: nexthoptest.Data, Keywords: []string{}}, "command", 3, 0},
		{"inside the message", nexthoptest.Script{Die: nexthoptest.Body, BodyBytes: 20}, "message final", 4, 0}, // the dot may already be on its way
		{"after the dot", nexthoptest.Script{Die: nexthoptest.Dot}, "final", 4, 1},
		{"after one of two replies", nexthoptest.Script{Die: nexthoptest.Replied}, "final", 5, 1},
		{"never", nexthoptest.Script{}, "", 6, 1},
	}
	for _, tt := range tests {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(tt.name+", "+network, func(t *testing.T) {
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(t.TempDir(), "hop")
				}
				server := nexthoptest.Listen(t, network, address, tt.script)
				got, n, err := deliver(t.Context(), New(mustSpec(t, server.Spec()), Options{}), text)
				if got == "" != (tt.want == "") || !strings.Contains(tt.want, got) || n != tt.replies {
					t.Errorf("failed at %q after %d replies (%v), want %q after %d", got, n, err, tt.want, tt.replies)
				}
				server.Close()
				messages := server.Messages()
				if len(messages) != tt.messages {
					t.Fatalf("the hop has %d messages, want %d", len(messages), tt.messages)
				}
				for _, m := range messages {
					if string(m.Body) != text || m.Size != int64(len(text)) || !slices.Equal(m.Recipients, []string{"anna@alpha.test", "mario@alpha.test"}) {
						t.Errorf("the hop has %+v", m)
					}
				}
			})
		}
	}
}

// deliver hands a message on to anna and mario. It returns where it failed, and how many replies it had read by then.
func deliver(ctx context.Context, h *Hop, text string) (failed string, replies int, err error) {
	conn, err := h.Connect(ctx)
	if err != nil {
		return "connect", 0, err
	}
	defer conn.Quit()
	conn.Mail("ext@ext.test", nil)
	conn.Rcpt("anna@alpha.test", nil)
	conn.Rcpt("mario@alpha.test", nil)
	conn.Data()
	for conn.Pending() > 0 {
		if _, err := conn.Reply(ctx); err != nil {
			return "command", replies, err
		}
		replies++
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return "message", replies, err
	}
	if err := conn.Flush(); err != nil {
		return "message", replies, err
	}
	if err := conn.End(ctx); err != nil {
		return "message", replies, err
	}
	for conn.Pending() > 0 {
		if _, err := conn.Reply(ctx); err != nil {
			return "final", replies, err
		}
		replies++
	}
	return "", replies, nil
}

// TestBeforeTheDot: hops speak or close inside a message. End must not send the dot, and must not take what they said for the answer to it.
func TestBeforeTheDot(t *testing.T) {
	tests := []struct {
		name, says string
		check      func(error) bool
	}{
		{"a refusal", "451 4.3.0 disk trouble\r\n", func(err error) bool {
			var r *ReplyError
			return errors.As(err, &r) && r.Reply.Code == 451
		}},
		{"an acceptance", "250 2.0.0 stored\r\n", func(err error) bool {
			var r *ReplyError
			return errors.As(err, &r) && r.Reply.Code == 250
		}},
		{"the end", "", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, peer := socketPair(t)
			c := inMessageOver(conn)
			defer c.Abort()
			if _, err := io.WriteString(c, "x\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			if c.spoke() {
				t.Fatal("a silent hop counts as one that spoke")
			}
			if tt.says == "" {
				peer.CloseWrite()
			} else {
				io.WriteString(peer, tt.says)
			}
			if err := c.End(t.Context()); !tt.check(err) || !errors.Is(err, ErrNotSent) {
				t.Errorf("End: %v", err)
			}
			if !c.Broken() {
				t.Error("the connection does not count as broken")
			}
			peer.SetReadDeadline(time.Now().Add(10 * time.Second))
			got, err := io.ReadAll(peer)
			if string(got) != "x\r\n" || err != nil {
				t.Errorf("the hop got %q, %v", got, err)
			}
		})
	}
}

// TestReasonOfDeath: a hop says why it closes inside a message. The error of the failed write holds the reason.
func TestReasonOfDeath(t *testing.T) {
	nc, peer := socketPair(t)
	c := inMessageOver(nc)
	io.WriteString(peer, "421 4.3.1 disk full\r\n")
	peer.Close()
	_, err := c.Write(testMessage(100_000))
	var said *ReplyError
	if !errors.As(err, &said) || said.Reply.String() != "421 4.3.1 disk full" {
		t.Errorf("error %v, want what the hop said", err)
	}
	if err := c.End(t.Context()); !errors.Is(err, ErrBroken) {
		t.Errorf("End: %v, want ErrBroken", err)
	}
}

// socketPair returns both ends of a unix socket. Bytes written to one can be read from the other at once.
func socketPair(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "hop")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// TestAlive checks connections between two transactions.
func TestAlive(t *testing.T) {
	tests := []struct {
		name string
		do   func(c *wire, peer *net.UnixConn)
		want bool
	}{
		{"idle", func(*wire, *net.UnixConn) {}, true},
		{"a deadline has passed long ago", func(c *wire, _ *net.UnixConn) { c.nc.SetDeadline(time.Unix(1, 0)) }, true},
		{"closed by the hop", func(_ *wire, peer *net.UnixConn) { peer.Close() }, false},
		{"421 while idle", func(_ *wire, peer *net.UnixConn) { io.WriteString(peer, "421 4.4.2 idle too long\r\n") }, false},
		{"aborted", func(c *wire, _ *net.UnixConn) { c.Abort() }, false},
		{"reply outstanding", func(c *wire, _ *net.UnixConn) { c.Reset() }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc, peer := socketPair(t)
			c := newWire(New(Spec{Scheme: LMTP, Path: "/hop"}, Options{}), nc)
			tt.do(c, peer)
			if got := c.Alive(); got != tt.want {
				t.Errorf("Alive is %v", got)
			}
			c.Abort()
		})
	}
}

// TestAbort breaks off inside a message: no dot reaches the hop, so it has no message.
func TestAbort(t *testing.T) {
	checkGoroutines(t)
	for name, end := range map[string]func(Conn){"Abort": Conn.Abort, "Quit": Conn.Quit} {
		t.Run(name, func(t *testing.T) {
			server := nexthoptest.Start(t, nexthoptest.Script{})
			conn := open(t, New(mustSpec(t, server.Spec()), Options{}), "anna@alpha.test")
			if _, err := conn.Write(testMessage(100_000)); err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			end(conn)
			if _, err := conn.Write([]byte("x")); !errors.Is(err, ErrBroken) {
				t.Errorf("Write after it: %v", err)
			}
			if err := conn.End(t.Context()); !errors.Is(err, ErrBroken) {
				t.Errorf("End after it: %v", err)
			}
			server.Close()
			if got := server.Messages(); len(got) != 0 {
				t.Errorf("the hop has %d messages", len(got))
			}
			if got := server.Connections()[0].Commands; slices.Contains(got, "QUIT") {
				t.Errorf("the hop got %q", got)
			}
		})
	}
}

// TestReuse carries several transactions over one connection, and checks replies and metrics.
func TestReuse(t *testing.T) {
	checkGoroutines(t)
	server := nexthoptest.Start(t, nexthoptest.Script{Final: map[string][]string{"mario@alpha.test": {"452 4.2.2 full", "250 2.0.0 ok"}}})
	registry := new(metrics.Registry)
	h := New(mustSpec(t, server.Spec()), Options{Metrics: registry, Timeouts: Timeouts{Command: 10 * time.Second, Final: 10 * time.Second}})
	conn, err := h.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 2 {
		if !conn.Alive() {
			t.Fatal("the connection is not alive")
		}
		begin(t, conn, "anna@alpha.test", "mario@alpha.test")
		got = append(got, message(t.Context(), conn, "x\r\n")...)
		got = append(got, replies(t.Context(), conn, conn.Pending())...)
		conn.Reset()
		got = append(got, replies(t.Context(), conn, 1)...)
	}
	conn.Quit()
	want := []string{
		"250 2.0.0 <anna@alpha.test> stored", "452 4.2.2 full", "250 2.0.0 ok",
		"250 2.0.0 <anna@alpha.test> stored", "250 2.0.0 ok", "250 2.0.0 ok",
	}
	if !slices.Equal(got, want) {
		t.Errorf("replies %q\nwant %q", got, want)
	}
	server.Close()
	if n := len(server.Connections()); n != 1 {
		t.Errorf("%d connections", n)
	}
	w := httptest.NewRecorder()
	registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := w.Body.String()
	for _, line := range []string{
		`copialettere_next_hop_connects_total{next_hop="` + server.Spec() + `"} 1`,
		`copialettere_next_hop_final_seconds_count{next_hop="` + server.Spec() + `"} 2`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
}

// TestCancelWrite checks what Conn.Write recommends: context.AfterFunc with Abort interrupts a blocked write.
func TestCancelWrite(t *testing.T) {
	checkGoroutines(t)
	server := nexthoptest.Start(t, nexthoptest.Script{Delay: map[nexthoptest.Stage]time.Duration{nexthoptest.Body: time.Hour}})
	conn := open(t, New(mustSpec(t, server.Spec()), Options{}), "anna@alpha.test")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	defer context.AfterFunc(ctx, conn.Abort)()
	block := bytes.Repeat([]byte("x"), 1<<20)
	for {
		if _, err := conn.Write(block); err != nil {
			if !errors.Is(err, ErrBroken) || ctx.Err() == nil {
				t.Errorf("error %v, want ErrBroken by the end of the context", err)
			}
			break
		}
	}
}

// scriptedBytes is a connection whose hop says given bytes, whatever the client sends.
type scriptedBytes struct {
	sink
	says io.Reader
}

func (s *scriptedBytes) Read(p []byte) (int, error) { return s.says.Read(p) }

// FuzzHop: a hop says anything, from the greeting on. A delivery ends without a panic, and succeeds only if the hop said 354.
func FuzzHop(f *testing.F) {
	const opening = "220 hop.test\r\n250-hop.test\r\n250 PIPELINING\r\n"
	f.Add([]byte(opening+"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 one\r\n250 two\r\n"), true)
	f.Add([]byte(opening+"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n250 one\r\n"), true)
	f.Add([]byte(opening+"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 one\r\n"), false)
	f.Add([]byte("220 hop.test\r\n250 hop.test\r\n250 ok\r\n421 bye\r\n"), true)
	f.Add([]byte("554 no\r\n"), true)
	f.Fuzz(func(t *testing.T, says []byte, lmtp bool) {
		scheme := SMTP
		if lmtp {
			scheme = LMTP
		}
		nc := &scriptedBytes{says: bytes.NewReader(says)}
		err := deliverTwo(t.Context(), pipeHop(scheme, func() net.Conn { return nc }, Timeouts{}))
		if err == nil && !bytes.Contains(says, []byte("354")) {
			t.Fatalf("delivered to a hop that said %q", says)
		}
	})
}

func BenchmarkTransaction(b *testing.B) {
	for _, bm := range []struct {
		name string
		size int
	}{{"4kB", 4_000}, {"100kB", 100_000}} {
		b.Run(bm.name, func(b *testing.B) {
			server := nexthoptest.Listen(b, "unix", filepath.Join(b.TempDir(), "hop"), nexthoptest.Script{Discard: true})
			conn, err := New(mustSpec(b, server.Spec()), Options{}).Connect(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Quit()
			text := testMessage(bm.size)
			b.SetBytes(int64(bm.size))
			b.ReportAllocs()
			for b.Loop() {
				conn.Mail("ext@ext.test", nil)
				conn.Rcpt("anna@alpha.test", nil)
				conn.Data()
				for conn.Pending() > 0 {
					if _, err := conn.Reply(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := conn.Write(text); err != nil {
					b.Fatal(err)
				}
				if err := errors.Join(conn.Flush(), conn.End(b.Context())); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Reply(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
