package lmtp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal"
	"copialettere/lmtp/nexthop"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
)

// bubble makes a rig whose clients come over pipes: all of it runs on the clock of synctest.
func bubble(t *testing.T, o rigOptions) (r *rig, connect func() *client) {
	// LevelDB has a goroutine that ends a second after Close.
	t.Cleanup(func() { time.Sleep(2 * time.Second) })
	l := &pipeListener{make(chan net.Conn), make(chan struct{})}
	o.listener = l
	if o.hop == nil {
		o.hop = func(tb testing.TB) string { return "maildir:" + tb.TempDir() }
	}
	return newRig(t, o), func() *client {
		near, far := net.Pipe()
		l.conns <- far
		c := &client{tb: t, nc: near, in: bufio.NewReader(near)}
		c.want("220")
		c.say("LHLO mx.test\n")
		c.want("250")
		return c
	}
}

// hang blocks every fsync of the journal until the returned function is called.
func (d *faultyDisk) hang() (goOn func()) {
	hold := make(chan struct{})
	hook := func(string) { <-hold }
	d.onSync.Store(&hook)
	return func() {
		d.onSync.Store(nil)
		close(hold)
	}
}

// TestStuckStore: an fsync of the journal never ends. Every message still gets its reply, the first and those after it, small and large, in
// both modes. Lines that need no journal do not wait for those that do.
func TestStuckStore(t *testing.T) {
	const patience = time.Minute
	for _, deliver := range []bool{false, true} {
		for name, message := range map[string]string{
			"1 kB": "Subject: small\n\n" + strings.Repeat("text\n", 200),
			"1 MB": "Subject: large\n\n" + incompressible(1<<20), // waits for the store when it is whole
			"3 MB": "Subject: large\n\n" + incompressible(3<<20), // already waits before that
		} {
			t.Run(fmt.Sprintf("%s/deliver=%t", name, deliver), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, connect := bubble(t, rigOptions{enable: []string{anna[0], "dario@alpha.test"}, config: func(c *Config) {
						c.JournalTimeout, c.DeliverOnJournalError, c.MaxMessageSize = patience, deliver, 10<<20
						c.IdleTimeout, c.DataTimeout = 5*time.Minute, 5*time.Minute
					}})
					// With a quota, the journal must read how much the archive of anna uses.
					r.set(withQuota("100MB", "defer"))
					c := connect()
					c.deliver("Subject: before\n\ntext\n", direct, dario)
					goOn := r.disk.hang()
					code := "451"
					if deliver {
						code = "250"
					}
					for i, lines := range [][]string{{direct}, {carla}, {direct, dario}, {alias}, {alias, carla, dario}, {copied}} {
						var want []string
						for _, l := range lines {
							if l == direct || l == dario {
								want = append(want, code)
							} else {
								want = append(want, "250")
							}
						}
						start := time.Now()
						got := c.deliver(strings.Replace(message, "Subject: ", fmt.Sprintf("Subject: %d ", i), 1), lines...)
						if !slices.Equal(got, want) {
							t.Errorf("message %d: codes %q, want %q", i, got, want)
						}
						if took := time.Since(start); took > patience+5*time.Second {
							t.Errorf("message %d took %s", i, took)
						}
					}
					// Another message waits when the daemon ends.
					waiting := connect()
					waiting.say("MAIL FROM:<ext@ext.test>\nRCPT TO:" + direct + "\nDATA\n")
					waiting.want("250", "250", "354")
					waiting.say("Subject: last\n\ntext\n.\n")
					synctest.Wait()
					if err := r.server.AwaitVerdicts(ended(t)); err == nil {
						t.Error("AwaitVerdicts waits for no verdict")
					}
					c.nc.Close()
					r.breakOff(time.Second, 2*time.Second)
					waiting.nc.Close()
					<-r.served
					goOn()
					if err := r.journal.Unspool(t.Context()); err != nil {
						t.Fatal(err)
					}
					records := make(map[string]int)
					for _, mailbox := range []string{anna[0], "dario@alpha.test"} {
						for rec, err := range r.journal.Records(t.Context(), mailbox) {
							if err != nil {
								t.Fatal(err)
							}
							records[rec.Reason]++
						}
					}
					want := map[string]int{policy.ReasonAlias: 2, policy.ReasonCopy: 1}
					if deliver {
						want[journal.ReasonJournalFault] = 4
					}
					if fmt.Sprint(records) != fmt.Sprint(want) {
						t.Errorf("on record: %v, want %v", records, want)
					}
					r.verify()
				})
			})
		}
	}
}

// incompressible returns lines that do not compress much, and so fill the store's batches.
func incompressible(size int) string {
	var b strings.Builder
	for random := rand.NewChaCha8([32]byte{}); b.Len() < size; {
		fmt.Fprintf(&b, "%016x%016x%016x%016x\n", random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
	}
	return b.String()
}

// TestStuckInMessage: the fsync hangs when the store has taken a part of the message. The lines that are not archived still get it, read back
// from the store.
func TestStuckInMessage(t *testing.T) {
	const patience = time.Minute
	for _, deliver := range []bool{false, true} {
		archived := "451"
		if deliver {
			archived = "250"
		}
		for name, c := range map[string]struct{ lines, want []string }{
			"archived":      {[]string{direct}, []string{archived}},
			"alias":         {[]string{alias}, []string{"250"}},
			"with an alias": {[]string{direct, alias}, []string{archived, "250"}},
			"with others":   {[]string{direct, carla}, []string{archived, "250"}},
		} {
			t.Run(fmt.Sprintf("%s/deliver=%t", name, deliver), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, connect := bubble(t, rigOptions{enable: anna, config: func(c *Config) {
						c.JournalTimeout, c.DeliverOnJournalError, c.MaxMessageSize = patience, deliver, 10<<20
						c.IdleTimeout, c.DataTimeout = 5*time.Minute, 5*time.Minute
					}})
					cl := connect()
					cl.data(c.lines...)
					cl.say("Subject: large\n\n" + incompressible(2<<20))
					synctest.Wait()
					goOn := r.disk.hang()
					start := time.Now()
					if got := cl.dot(incompressible(2<<20), len(c.lines)); !slices.Equal(got, c.want) {
						t.Errorf("codes %q, want %q", got, c.want)
					}
					if took := time.Since(start); took > patience+5*time.Second {
						t.Errorf("took %s", took)
					}
					goOn()
					cl.say("QUIT\n")
					cl.want("221")
					r.stop()
					r.verify()
				})
			})
		}
	}
}

// TestStuckSpool: the spool does not answer while the journal fails. A transaction waits for it once, and logs the skips that it could not put
// on record.
func TestStuckSpool(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, rigOptions{enable: []string{anna[0], "dario@alpha.test"}, config: func(c *Config) {
		c.DeliverOnJournalError, c.Logger = true, slog.New(slog.NewTextHandler(&log, nil))
	}})
	cl := r.client()
	cl.say("LHLO mx.test\n")
	cl.want("250")
	// Opening a pipe blocks until the other end is open.
	if err := syscall.Mkfifo(r.spool, 0o600); err != nil {
		t.Fatal(err)
	}
	unspooled := make(chan error)
	go func() { unspooled <- r.journal.Unspool(context.Background()) }()
	time.Sleep(100 * time.Millisecond)
	r.disk.failing.Store(true)
	start := time.Now()
	want := []string{"451", "250", "250", "250"}
	if got := cl.deliver("Subject: text\n\ntext\n", direct, alias, "<dario@alpha.test> ORCPT=rfc822;info@alpha.test", carla); !slices.Equal(got, want) {
		t.Errorf("codes %q, want %q", got, want)
	}
	if took := time.Since(start); took > 3500*time.Millisecond {
		t.Errorf("took %s: the spool has 2 s", took)
	}
	cl.say("QUIT\n")
	cl.want("221")
	r.stop()
	for _, mailbox := range []string{anna[0], "dario@alpha.test"} {
		if !strings.Contains(log.String(), `msg="reason of a skip not on record"`) || !strings.Contains(log.String(), "mailbox="+mailbox+" reason=alias") {
			t.Errorf("not in the log of %s:\n%s", mailbox, &log)
		}
	}
	r.heal()
	pipe, err := os.OpenFile(r.spool, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	pipe.Close()
	<-unspooled // a pipe is no spool
	r.verify()
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestStuckAfterCommit: the fsync hangs after the commit, when the next hop refuses the message for good. The refusal does not go back before
// the entry is withdrawn, but the client's wait has a limit.
func TestStuckAfterCommit(t *testing.T) {
	var r *rig
	var goOn func()
	r = newRig(t, rigOptions{enable: anna, config: func(c *Config) { c.JournalTimeout = time.Second }, hop: func(tb testing.TB) string {
		return "lmtp:" + startHop(tb, func(nc net.Conn) {
			serveDotHop(nc, func() string {
				goOn = r.disk.hang()
				return "552 5.2.2 full"
			})
		})
	}})
	c := r.begin()
	start := time.Now()
	c.say(message)
	c.want("451")
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("took %s", took)
	}
	goOn()
	if list := r.entries(anna[0]); len(list) > 1 {
		t.Errorf("entries: %+v", list)
	}
	r.verify()
}

// silent starts a next hop that takes connections and says nothing.
func silent(tb testing.TB) string {
	return "lmtp:" + startHop(tb, func(nc net.Conn) { io.Copy(io.Discard, nc) })
}

// TestSilentHops: next hops accept connections and say nothing. LHLO waits for none of them. Recipients wait for their own hop, all at the same
// time, and those of other hops are served.
func TestSilentHops(t *testing.T) {
	const hops, connectTimeout = 10, time.Second
	for name, c := range map[string]struct {
		silent int  // of the domains' hops
		all    bool // the hop of all other domains is silent too
	}{"none": {}, "some": {silent: 5}, "all but one": {silent: hops}, "all": {silent: hops, all: true}} {
		t.Run(name, func(t *testing.T) {
			timeouts := nexthop.Timeouts{Connect: connectTimeout}
			o := rigOptions{enable: anna, timeouts: timeouts, config: func(config *Config) {
				config.Domains = make(map[string]*nexthop.Hop)
				for i := range hops {
					spec := silent(t)
					if i >= c.silent {
						spec = nexthoptest.Start(t, nexthoptest.Script{Keywords: []string{"SIZE 100"}}).Spec()
					}
					config.Domains[fmt.Sprintf("d%d.test", i)] = newHop(t, spec, timeouts)
				}
			}}
			if c.all {
				o.hop = func(testing.TB) string { return silent(t) }
			}
			r := newRig(t, o)
			cl := r.client()
			for range 2 {
				start := time.Now()
				cl.say("LHLO mx.test\n")
				cl.want("250")
				if took := time.Since(start); took > connectTimeout {
					t.Errorf("LHLO took %s", took)
				}
				text, want := "MAIL FROM:<ext@ext.test> SIZE=200\nRCPT TO:<anna@alpha.test>\n", []string{"250", "250"}
				if c.all {
					want[1] = "451"
				}
				for i := range hops {
					text += fmt.Sprintf("RCPT TO:<user@d%d.test>\n", i)
					if i < c.silent {
						want = append(want, "451")
					} else {
						want = append(want, "552")
					}
				}
				start = time.Now()
				cl.say(text + "RSET\n")
				cl.want(append(want, "250")...)
				if took := time.Since(start); took > hops/2*connectTimeout {
					t.Errorf("RCPT took %s for %d silent hops", took, c.silent)
				}
			}
			cl.say("QUIT\n")
			cl.want("221")
			r.stop()
		})
	}
}

// TestKeptHopIsReset begins a transaction on a connection to a next hop where an earlier one did not end. The hook does not wait for the reply
// to RSET before it goes on: with several hops that wait would have no limit.
func TestKeptHopIsReset(t *testing.T) {
	var connections atomic.Int32
	r := newRig(t, rigOptions{enable: anna, timeouts: nexthop.Timeouts{Command: 2 * time.Second}, hop: func(tb testing.TB) string {
		return "lmtp:" + startHop(tb, func(nc net.Conn) {
			connections.Add(1)
			fmt.Fprint(nc, "220 hop.test\r\n")
			for in := bufio.NewScanner(nc); in.Scan(); {
				switch verb, _, _ := strings.Cut(in.Text(), " "); verb {
				case "LHLO":
					fmt.Fprint(nc, "250-hop.test\r\n250 PIPELINING\r\n")
				case "RSET":
					in.Scan()
					fmt.Fprint(nc, "250 reset\r\n250 ok\r\n")
				case "RCPT":
					fmt.Fprint(nc, "550 5.1.1 unknown\r\n")
				default:
					fmt.Fprint(nc, "250 ok\r\n")
				}
			}
		})
	}})
	cl := r.client()
	cl.say("LHLO mx.test\n")
	cl.want("250")
	for range 2 {
		cl.say("MAIL FROM:<ext@ext.test>\nRCPT TO:<anna@alpha.test>\nRSET\n")
		cl.want("250", "550", "250")
	}
	cl.say("QUIT\n")
	cl.want("221")
	r.stop()
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections to the next hop", n)
	}
}

// TestSilentHopAtStop stops the hook while it waits for a next hop.
func TestSilentHopAtStop(t *testing.T) {
	reached := make(chan struct{})
	r := newRig(t, rigOptions{enable: anna, config: func(config *Config) {
		spec := "lmtp:" + startHop(t, func(nc net.Conn) {
			close(reached)
			io.Copy(io.Discard, nc)
		})
		config.Domains = map[string]*nexthop.Hop{"d.test": newHop(t, spec, nexthop.Timeouts{})}
	}})
	cl := r.client()
	cl.say("LHLO mx.test\n")
	cl.want("250")
	cl.say("MAIL FROM:<ext@ext.test>\nRCPT TO:<user@d.test>\nRCPT TO:<anna@alpha.test>\n")
	<-reached
	r.breakOff(100*time.Millisecond, 10*time.Second)
	cl.nc.Close()
}
