package lmtp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal"
	"copialettere/lmtp/nexthop"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
)

// client speaks to a hook.
type client struct {
	tb testing.TB
	nc net.Conn
	in *bufio.Reader
}

func (r *rig) client() *client {
	nc := r.dial()
	r.tb.Cleanup(func() { nc.Close() })
	c := &client{tb: r.tb, nc: nc, in: bufio.NewReader(nc)}
	c.want("220")
	return c
}

func (c *client) say(text string) {
	c.tb.Helper()
	if _, err := io.WriteString(c.nc, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		c.tb.Fatal(err)
	}
}

// want reads replies and compares their codes.
func (c *client) want(codes ...string) {
	c.tb.Helper()
	for i, code := range codes {
		for more := true; more; {
			line, err := c.in.ReadString('\n')
			if err != nil {
				c.tb.Fatalf("reply %d: want %s: %v", i, code, err)
			}
			if !strings.HasPrefix(line, code) {
				c.tb.Fatalf("reply %d: want %s, got %q", i, code, line)
			}
			more = line[3] == '-'
		}
	}
}

// gone checks that the hook has closed the connection.
func (c *client) gone() {
	c.tb.Helper()
	if line, err := c.in.ReadString('\n'); err == nil {
		c.tb.Fatalf("the connection is open: %q", line)
	}
}

const (
	toAnna  = "MAIL FROM:<ext@ext.test>\nRCPT TO:<anna@alpha.test> ORCPT=rfc822;anna@alpha.test\nDATA\n"
	message = "Subject: one\n\ntext\n.\n"
)

var anna = []string{"anna@alpha.test"}

// begin brings a new connection to the 354.
func (r *rig) begin() *client {
	r.tb.Helper()
	c := r.client()
	c.say("LHLO mx.test\n" + toAnna)
	c.want("250", "250", "250", "354")
	return c
}

func TestShutdown(t *testing.T) {
	r := newRig(t, rigOptions{enable: anna})
	idle, silent := r.client(), r.client()
	idle.say("LHLO mx.test\n")
	idle.want("250")
	busy := r.begin()
	busy.say("Subject: one\n")
	done := make(chan error)
	go func() { done <- r.server.Shutdown(context.Background()) }()
	idle.want("421")
	idle.gone()
	silent.want("421")
	silent.gone()
	if nc, err := net.Dial(r.network, r.address); err == nil {
		nc.Close()
		t.Error("a stopping hook takes connections")
	}
	busy.say("\ntext\n.\n")
	busy.want("250", "421")
	busy.gone()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := <-r.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	r.stopped = true
	if list := r.entries(anna[0]); len(list) != 1 || list[0].State != journal.Delivered {
		t.Errorf("entries: %+v", list)
	}
	r.verify()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.server.Serve(l); err != nil {
		t.Errorf("serve after the stop: %v", err)
	}
}

// A stop whose time is up breaks off transactions, whether the client or the next hop keeps them waiting.
func TestShutdownBreaksOff(t *testing.T) {
	tests := map[string]struct {
		script nexthoptest.Script
		say    string
	}{
		"client-silent": {say: "Subject: one\n"},
		"hop-at-dot":    {script: nexthoptest.Script{Delay: map[nexthoptest.Stage]time.Duration{nexthoptest.Dot: time.Hour}}, say: message},
		"hop-takes-no-bytes": {
			script: nexthoptest.Script{Delay: map[nexthoptest.Stage]time.Duration{nexthoptest.Body: time.Hour}},
			say:    strings.Repeat(strings.Repeat("x", 999)+"\n", 16000),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{enable: anna, script: test.script, config: func(c *Config) { c.MaxMessageSize = 100 << 20 }})
			c := r.begin()
			var writing sync.WaitGroup
			writing.Go(func() { io.WriteString(c.nc, strings.ReplaceAll(test.say, "\n", "\r\n")) })
			r.breakOff(200*time.Millisecond, 10*time.Second)
			writing.Wait()
			if line, _ := c.in.ReadString('\n'); strings.HasPrefix(line, "250") {
				t.Errorf("got %q", line)
			}
			for _, e := range r.entries(anna[0]) {
				if e.State != journal.Unknown {
					t.Errorf("entry in the state %s", e.State)
				}
			}
			r.verify()
		})
	}
}

// breakOff stops the hook while a transaction is under way. The stop has a time limit, must fail, and may take no longer than most.
func (r *rig) breakOff(limit, most time.Duration) {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(r.tb.Context(), limit)
	defer cancel()
	start := time.Now()
	if err := r.server.Shutdown(ctx); err == nil {
		r.tb.Error("a stop that broke off returned no error")
	}
	if took := time.Since(start); took > most {
		r.tb.Errorf("the stop took %s", took)
	}
	r.stopped = true
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.MaxConnections = 2 }})
	one, two := r.client(), r.client()
	three := &client{tb: t, nc: r.dial()}
	three.in = bufio.NewReader(three.nc)
	three.want("421")
	three.gone()
	one.say("QUIT\n")
	one.want("221")
	one.gone()
	// Once the hook has closed its side, the place is free.
	r.client().say("QUIT\n")
	two.say("QUIT\n")
	two.want("221")
}

// A panic costs one connection a 421. No other connection ends, and durable entries stay.
func TestPanic(t *testing.T) {
	tests := map[string]struct {
		direction journal.Direction
		config    func(*Config) // what breaks
		server    func(*Server) // likewise, once a client is connected
		say       string        // before MAIL
		codes     []string      // of all commands, and of the message
		entries   int
	}{
		"rcpt":         {config: func(c *Config) { c.Policy = nil }, codes: []string{"250", "421"}},
		"message":      {config: func(c *Config) { c.Journal = nil }, codes: []string{"250", "250", "354", "421"}},
		"message-sent": {direction: journal.Sent, config: func(c *Config) { c.Journal = nil }, codes: []string{"250", "250", "354", "421"}},
		"after-the-commit": {
			server: func(s *Server) { s.m.commit = nil }, codes: []string{"250", "250", "354", "421"}, entries: 1,
		},
		// XFORWARD is handled inside a read of go-smtp, where it recovers no panic.
		"outside-commands": {
			server: func(s *Server) {
				for c := range s.conns {
					c.forward = nil
				}
			},
			say: "XFORWARD ADDR=192.0.2.7\n", codes: []string{"421"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hello := "LHLO mx.test\n"
			if test.direction == journal.Sent {
				hello = "EHLO mx.test\n"
			}
			r := newRig(t, rigOptions{
				direction: test.direction, enable: anna, script: nexthoptest.Script{SMTP: test.direction == journal.Sent},
				config: func(c *Config) {
					c.SentByMailFrom = true
					if test.config != nil {
						test.config(c)
					}
				},
			})
			other, c := r.client(), r.client()
			if test.server != nil {
				r.server.mu.Lock()
				test.server(r.server)
				r.server.mu.Unlock()
			}
			c.say(hello)
			c.want("250")
			c.say(test.say + "MAIL FROM:<anna@alpha.test>\nRCPT TO:<anna@alpha.test>\nDATA\n")
			last := len(test.codes) - 1
			c.want(test.codes[:last]...)
			if last == 3 {
				c.say("Subject: one\n\nMAIL FROM:<evil@ext.test>\nRCPT TO:<anna@alpha.test>\nDATA\n.\n")
			}
			c.want(test.codes[last])
			c.gone()
			other.say("NOOP\nQUIT\n")
			other.want("250", "221")
			r.stop()
			list := r.entries(anna[0])
			if len(list) != test.entries || test.entries == 1 && list[0].State != journal.Unknown {
				t.Errorf("entries: %+v", list)
			}
			if m := r.hop.Messages(); len(m) != 0 {
				t.Errorf("the next hop got %+v", m)
			}
			r.verify()
		})
	}
}

// The next hop gets its dot only when the entry is durable.
func TestDurableBeforeTheDot(t *testing.T) {
	r := newRig(t, rigOptions{enable: anna})
	c := r.begin()
	var answered, early atomic.Bool
	var syncs atomic.Int32
	hook := func(string) {
		if !answered.Load() {
			syncs.Add(1)
			early.CompareAndSwap(false, len(r.hop.Messages()) > 0)
		}
	}
	r.disk.onSync.Store(&hook)
	c.say(message)
	c.want("250")
	answered.Store(true)
	if syncs.Load() == 0 || early.Load() {
		t.Errorf("%d syncs before the reply, dot before one of them: %t", syncs.Load(), early.Load())
	}
	r.verify()
}

// A permanent refusal goes back only when the entry is durably withdrawn. If that fails, the client gets a temporary one.
func TestWithdrawnBeforeTheRefusal(t *testing.T) {
	for _, test := range []struct {
		name   string
		fail   bool
		code   string
		states []journal.State
	}{
		{"durable", false, "552", nil},
		{"disk-fails", true, "451", []journal.State{journal.Deferred}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r *rig
			r = newRig(t, rigOptions{enable: anna, hop: func(tb testing.TB) string {
				return "lmtp:" + startHop(tb, func(nc net.Conn) {
					serveDotHop(nc, func() string {
						r.disk.failing.Store(test.fail)
						return "552 5.2.2 full"
					})
				})
			}})
			c := r.begin()
			c.say(message)
			c.want(test.code)
			if test.fail {
				r.heal()
			}
			r.wantStates(test.states)
			r.verify()
		})
	}
}

// wantStates checks the states of the entries of anna.
func (r *rig) wantStates(want []journal.State) {
	r.tb.Helper()
	var states []journal.State
	for _, e := range r.entries(anna[0]) {
		states = append(states, e.State)
	}
	if !slices.Equal(states, want) {
		r.tb.Errorf("states %v, want %v", states, want)
	}
}

// startHop runs a next hop that serves each connection by calling serve. serve must return when the connection is closed.
func startHop(tb testing.TB, serve func(net.Conn)) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer nc.Close()
				serve(nc)
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		work.Wait()
	})
	return l.Addr().String()
}

// serveDotHop is a next hop that accepts everything. When the dot has come, it calls final for its reply.
func serveDotHop(nc net.Conn, final func() string) {
	in := bufio.NewScanner(nc)
	fmt.Fprint(nc, "220 hop.test\r\n")
	for inMessage := false; in.Scan(); {
		line := in.Text()
		switch {
		case line == ".":
			inMessage = false
			fmt.Fprint(nc, final()+"\r\n")
		case inMessage:
		case line == "DATA":
			inMessage = true
			fmt.Fprint(nc, "354 go\r\n")
		default:
			fmt.Fprint(nc, "250 ok\r\n")
		}
	}
}

// A next hop that is too slow is given up. After the dot, the outcome is unknown.
func TestSlowHop(t *testing.T) {
	tests := map[nexthoptest.Stage]struct {
		name   string
		codes  []string
		states []journal.State
	}{
		nexthoptest.Greet: {"greeting", []string{"250", "451", "451", "503"}, nil},
		nexthoptest.Mail:  {"mail", []string{"250", "451", "451", "503"}, nil},
		nexthoptest.Dot:   {"dot", []string{"250", "250", "250", "354", "451"}, []journal.State{journal.Unknown}},
	}
	for stage, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, rigOptions{
				enable:   anna,
				script:   nexthoptest.Script{Delay: map[nexthoptest.Stage]time.Duration{stage: time.Hour}},
				timeouts: nexthop.Timeouts{Connect: 500 * time.Millisecond, Command: 500 * time.Millisecond, Final: 500 * time.Millisecond},
			})
			c := r.client()
			c.say("LHLO mx.test\n" + toAnna)
			c.want(test.codes[:4]...)
			if len(test.codes) > 4 {
				c.say(message)
				c.want(test.codes[4:]...)
			}
			r.wantStates(test.states)
			r.verify()
		})
	}
}

// pipeListener accepts connections in memory. Their deadlines run on the clock of synctest.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	close(l.done)
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func TestTimeouts(t *testing.T) {
	const idle, data = 5 * time.Minute, 3 * time.Minute
	tests := []struct {
		name  string
		say   func(*client) // until the hook has had enough
		after time.Duration
		code  string
	}{
		{"greeting", func(*client) {}, idle, "421"},
		{"half-a-command", func(c *client) { c.say("LHLO mx") }, idle, "421"},
		{"transaction", func(c *client) {
			c.say("LHLO mx.test\n")
			c.want("250")
			c.say("MAIL FROM:<ext@ext.test>\n")
			c.want("250")
		}, idle, "421"},
		{"message", func(c *client) {
			c.say("LHLO mx.test\n")
			c.want("250")
			c.say(toAnna)
			c.want("250", "250", "354")
			c.say("Subject: one\n")
		}, data, "421"},
		{"message-in-drops", func(c *client) {
			c.say("LHLO mx.test\n")
			c.want("250")
			c.say(toAnna)
			c.want("250", "250", "354")
			for range 12 {
				time.Sleep(2 * time.Minute)
				c.say("x")
			}
		}, maxDataTime - 12*2*time.Minute, "421"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// LevelDB has a goroutine that ends a second after Close.
				t.Cleanup(func() { time.Sleep(2 * time.Second) })
				l := &pipeListener{make(chan net.Conn), make(chan struct{})}
				r := newRig(t, rigOptions{
					enable: anna, listener: l,
					hop:    func(tb testing.TB) string { return "maildir:" + tb.TempDir() },
					config: func(c *Config) { c.IdleTimeout, c.DataTimeout = idle, data },
				})
				near, far := net.Pipe()
				l.conns <- far
				c := &client{tb: t, nc: near, in: bufio.NewReader(near)}
				c.want("220")
				test.say(c)
				start := time.Now()
				c.want(test.code)
				if took := time.Since(start); took != test.after {
					t.Errorf("took %s, want %s", took, test.after)
				}
				c.gone()
				near.Close()
				r.stop()
				if list := r.entries(anna[0]); len(list) != 0 {
					t.Errorf("entries: %+v", list)
				}
				r.verify()
			})
		})
	}
}

// Many clients at a time, each with its own mailbox, get nothing mixed up.
func TestManyClients(t *testing.T) {
	const clients, each = 8, 15
	o := rigOptions{}
	for i := range clients {
		o.enable = append(o.enable, fmt.Sprintf("user%d@alpha.test", i))
	}
	r := newRig(t, o)
	var work sync.WaitGroup
	for i := range clients {
		c := r.client()
		work.Go(func() {
			c.say("LHLO mx.test\n")
			c.want("250")
			for n := range each {
				c.say(fmt.Sprintf("RSET\nMAIL FROM:<ext@ext.test>\nRCPT TO:<user%d@alpha.test>\nRCPT TO:<user%d+x@alpha.test>\nDATA\n", i, i))
				c.want("250", "250", "250", "250", "354")
				c.say(fmt.Sprintf("Subject: %d of %d\n\n%s\n.\n", n, i, strings.Repeat(fmt.Sprintf("text of %d\n", i), 1000)))
				c.want("250", "250")
			}
			c.say("QUIT\n")
			c.want("221")
		})
	}
	work.Wait()
	r.stop()
	for i, mailbox := range o.enable {
		list := r.entries(mailbox)
		if len(list) != each {
			t.Errorf("%s has %d entries", mailbox, len(list))
		}
		for n, e := range list {
			want := fmt.Sprintf("%d of %d", n, i)
			if e.Subject != want || e.State != journal.Delivered || !strings.Contains(string(r.body(e)), want) {
				t.Errorf("%s %d: %q in the state %s", mailbox, e.UID, e.Subject, e.State)
			}
		}
	}
	r.verify()
}

// TestSlowKeptHop: a next hop does not answer in time on a kept connection. The hook waits once, and not again on a new connection.
func TestSlowKeptHop(t *testing.T) {
	r := newRig(t, rigOptions{enable: anna, timeouts: nexthop.Timeouts{Command: 200 * time.Millisecond}})
	cl := r.client()
	cl.say("LHLO mx.test\n" + toAnna)
	cl.want("250", "250", "250", "354")
	cl.say(message)
	cl.want("250")
	before := len(r.hop.Connections())
	r.hop.SetScript(nexthoptest.Script{Delay: map[nexthoptest.Stage]time.Duration{nexthoptest.Mail: time.Hour}})
	cl.say("MAIL FROM:<ext@ext.test>\n")
	cl.want("451")
	if n := len(r.hop.Connections()); n != before {
		t.Errorf("%d connections to the hop, want %d", n, before)
	}
	cl.say("QUIT\n")
	cl.want("221")
}

// TestMessageHasOneStateOfPEC: what is known about certified mail changes between MAIL and RCPT. The next message is the first to use it.
func TestMessageHasOneStateOfPEC(t *testing.T) {
	var certified atomic.Bool
	var asked atomic.Int64
	r := newRig(t, rigOptions{direction: journal.Sent, enable: anna, script: nexthoptest.Script{SMTP: true}, config: func(c *Config) {
		c.SentByMailFrom = true
		c.PEC = func() PEC {
			asked.Add(1)
			is := certified.Load()
			return PEC{Domains: func(string) (bool, bool) { return is, true }}
		}
	}})
	c := r.client()
	c.say("EHLO mx.test\n")
	c.want("250")
	for n, want := range []policy.SentTo{policy.SentToOther, policy.SentToCertified, policy.SentToOther} {
		c.say("MAIL FROM:<anna@alpha.test>\n")
		c.want("250")
		certified.Store(!certified.Load())
		c.say("RCPT TO:<bruno@ext.test>\nRCPT TO:<carla@ext.test>\nDATA\n")
		c.want("250", "250", "354")
		c.say(fmt.Sprintf("Subject: %d\n\ntext\n.\n", n))
		c.want("250")
		list := r.entries("anna@alpha.test")
		if len(list) != n+1 || list[n].SentTo != string(want) {
			t.Fatalf("message %d: %+v, want %s", n, list, want)
		}
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times for 3 messages", asked.Load())
	}
	c.say("QUIT\n")
	c.want("221")
}
