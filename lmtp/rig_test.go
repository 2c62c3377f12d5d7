package lmtp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/lmtp/nexthop"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
)

// rigOptions say how a rig differs from the usual one.
type rigOptions struct {
	direction journal.Direction // if zero, Received
	origin    policy.OriginSource
	script    nexthoptest.Script
	domains   map[string]nexthoptest.Script // domains with their own next hop
	hop       func(testing.TB) string       // starts the next hop, instead of a scripted one, and returns its spec
	enable    []string                      // mailboxes
	config    func(*Config)                 // changes the config at the end
	recorded  func([]journal.Record)        // gets the gaps from the journal
	timeouts  nexthop.Timeouts
	listener  net.Listener // instead of one on loopback
	beside    bool         // another rig outlives this one, and looks for leaks
}

// rig is a hook with a real journal, real policy and scripted next hops.
type rig struct {
	tb      testing.TB
	disk    *faultyDisk
	spool   string // of gaps
	engine  *level.Engine
	journal *journal.Journal
	policy  *policy.Policy
	hop     *nexthoptest.Server // of all domains without their own
	domains map[string]*nexthoptest.Server
	server  *Server
	network string
	address string
	served  chan error
	stopped bool
}

func newRig(tb testing.TB, o rigOptions) *rig {
	tb.Helper()
	if !o.beside {
		noLeaks(tb)
	}
	r := &rig{tb: tb, disk: new(faultyDisk), domains: make(map[string]*nexthoptest.Server), served: make(chan error, 1)}
	r.openJournal(o)
	if o.direction == 0 {
		o.direction = journal.Received
	}
	if o.hop == nil {
		o.hop = func(testing.TB) string {
			r.hop = nexthoptest.Start(tb, o.script)
			return r.hop.Spec()
		}
	}
	c := Config{
		Direction: o.direction, Journal: r.journal, Policy: r.policy, NextHop: newHop(tb, o.hop(tb), o.timeouts), HelloName: "hook.test",
		MaxMessageSize: 1 << 20, MaxRecipients: 100, MaxConnections: 10,
		IdleTimeout: 20 * time.Second, DataTimeout: 20 * time.Second, JournalTimeout: 10 * time.Second,
	}
	for domain, script := range o.domains {
		r.domains[domain] = nexthoptest.Start(tb, script)
		if c.Domains == nil {
			c.Domains = make(map[string]*nexthop.Hop)
		}
		c.Domains[domain] = newHop(tb, r.domains[domain].Spec(), o.timeouts)
	}
	if o.config != nil {
		o.config(&c)
	}
	for _, mailbox := range o.enable {
		r.setArchive(mailbox, true)
	}
	if o.listener == nil {
		var err error
		if o.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			tb.Fatal(err)
		}
	}
	r.network, r.address = o.listener.Addr().Network(), o.listener.Addr().String()
	r.server = NewServer(c)
	go func() { r.served <- r.server.Serve(o.listener) }()
	tb.Cleanup(r.stop)
	return r
}

func newHop(tb testing.TB, text string, timeouts nexthop.Timeouts) *nexthop.Hop {
	tb.Helper()
	spec, err := nexthop.ParseSpec(text)
	if err != nil {
		tb.Fatal(err)
	}
	return nexthop.New(spec, nexthop.Options{HelloName: "hook.test", Timeouts: timeouts})
}

func (r *rig) openJournal(o rigOptions) {
	r.tb.Helper()
	ctx := context.Background()
	folder := r.tb.TempDir()
	r.spool = filepath.Join(folder, "gaps")
	var err error
	r.engine, err = level.Open(filepath.Join(folder, "journal"), level.Options{
		Logger:  slog.New(slog.DiscardHandler),
		Storage: func(name string) (storage.Storage, error) { return r.disk.open(filepath.Join(folder, "journal", name)) },
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	settings, err := r.engine.Settings(ctx)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.policy, err = policy.Open(ctx, settings, policy.Config{
		Origin: o.origin, LoginDomain: "alpha.test",
		Domains: []policy.Domain{{Name: "alpha.test", RecipientDelimiter: "+"}, {Name: "beta.test", RecipientDelimiter: "+"},
			{Name: "xn--citt-3na.test", RecipientDelimiter: "+"}},
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.journal, err = journal.Open(r.engine, journal.Options{
		GapSpool: r.spool, Recorded: o.recorded,
		Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld},
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() {
		if err := errors.Join(r.journal.Close(), r.engine.Close()); err != nil {
			r.tb.Error(err)
		}
	})
}

// hold places a legal hold on a mailbox.
func (r *rig) hold(mailbox string) {
	r.tb.Helper()
	a, err := policy.ParseAddress(mailbox)
	if err == nil {
		_, err = r.policy.Hold(context.Background(), a, policy.Actor{Role: policy.RoleOperator, Name: "test"}, "case 1")
	}
	if err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) setArchive(mailbox string, on bool) {
	r.tb.Helper()
	a, err := policy.ParseAddress(mailbox)
	if err == nil && on {
		_, err = r.policy.Enable(context.Background(), a, policy.Actor{Role: policy.RoleOperator, Name: "test"})
	} else if err == nil {
		_, err = r.policy.Disable(context.Background(), a, policy.Actor{Role: policy.RoleOperator, Name: "test"}, a.String(), policy.DefaultGrace)
	}
	if err != nil {
		r.tb.Fatal(err)
	}
}

// stop ends the hook. It must end by itself, because all clients have gone.
func (r *rig) stop() {
	r.tb.Helper()
	if r.stopped {
		return
	}
	r.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		r.tb.Errorf("shutdown: %v", err)
	}
	if err := <-r.served; err != nil {
		r.tb.Errorf("serve: %v", err)
	}
}

// verify writes the outcomes and checks the journal.
func (r *rig) verify() *journal.Report {
	r.tb.Helper()
	r.journal.FlushOutcomes(context.Background())
	report, err := r.journal.Verify(context.Background(), journal.EvidenceOptions{}, nil)
	if err != nil {
		r.tb.Fatalf("verify: %v", err)
	}
	if report.Faults != 0 {
		r.tb.Errorf("verify found %d faults: %q", report.Faults, report.Details)
	}
	return report
}

// heal mends the disk, and waits until the journal works again.
func (r *rig) heal() {
	r.tb.Helper()
	r.disk.failing.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		volume, err := r.engine.Volume(ctx, kv.MonthOf(time.Now()), true)
		if err == nil {
			err = volume.Update(ctx, nil, func(tx kv.Tx) error {
				tx.Delete([]byte("nothing"))
				return nil
			})
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			r.tb.Fatalf("the journal does not recover: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// entries returns the entries of a mailbox.
func (r *rig) entries(mailbox string) []*journal.Entry {
	r.tb.Helper()
	r.journal.FlushOutcomes(context.Background())
	var list []*journal.Entry
	for e, err := range r.journal.List(context.Background(), mailbox) {
		if err != nil {
			r.tb.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// body returns the message of an entry.
func (r *rig) body(e *journal.Entry) []byte {
	r.tb.Helper()
	b, err := r.journal.Body(context.Background(), e)
	if err != nil {
		r.tb.Fatal(err)
	}
	message, err := io.ReadAll(io.NewSectionReader(b, 0, e.Size))
	if err != nil {
		r.tb.Fatal(err)
	}
	return message
}

// dial connects a client.
func (r *rig) dial() net.Conn {
	r.tb.Helper()
	nc, err := net.DialTimeout(r.network, r.address, 5*time.Second)
	if err != nil {
		r.tb.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	return nc
}

// noLeaks fails the test if goroutines are left after all other cleanup.
func noLeaks(tb testing.TB) {
	tb.Cleanup(func() {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			left := goroutines()
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				tb.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
				return
			}
		}
	})
}

// goroutines returns the stacks of the goroutines of ours and of go-smtp, except those of tests. It leaves out LevelDB, which has one that
// ends a second late.
func goroutines() []string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return slices.DeleteFunc(strings.Split(string(stacks), "\n\n"), func(s string) bool {
		return strings.Contains(s, "testing.") || !strings.Contains(s, "copialettere/") && !strings.Contains(s, "go-smtp")
	})
}

var errDisk = errors.New("the disk fails")

// faultyDisk is the storage of a journal, on disk, that fails on demand.
type faultyDisk struct {
	failing atomic.Bool                         // every write and sync fails
	onSync  atomic.Pointer[func(folder string)] // called before each sync
}

func (d *faultyDisk) open(folder string) (storage.Storage, error) {
	if d.failing.Load() {
		return nil, errDisk
	}
	s, err := storage.OpenFile(folder, false)
	if err != nil {
		return nil, err
	}
	return faultyStorage{s, d, folder}, nil
}

type faultyStorage struct {
	storage.Storage
	disk   *faultyDisk
	folder string
}

func (s faultyStorage) Create(fd storage.FileDesc) (storage.Writer, error) {
	if s.disk.failing.Load() {
		return nil, errDisk
	}
	w, err := s.Storage.Create(fd)
	return faultyWriter{w, s}, err
}

type faultyWriter struct {
	storage.Writer
	storage faultyStorage
}

func (w faultyWriter) Write(p []byte) (int, error) {
	if w.storage.disk.failing.Load() {
		return 0, errDisk
	}
	return w.Writer.Write(p)
}

func (w faultyWriter) Sync() error {
	if hook := w.storage.disk.onSync.Load(); hook != nil {
		(*hook)(w.storage.folder)
	}
	if w.storage.disk.failing.Load() {
		return errDisk
	}
	return w.Writer.Sync()
}
