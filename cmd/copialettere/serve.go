package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/httpd"
	"copialettere/lmtp"
	"copialettere/lmtp/nexthop"
)

const serveHelp = `Usage: copialettere serve [-config FILE]

Runs the hook: takes mail on the listeners of [received] and [sent], journals it, and hands it on. SIGTERM and SIGINT stop it: messages
under way are finished first. It logs to standard error and needs no root.

Example: copialettere serve -config /etc/copialettere/copialettere.toml
`

const (
	stopTimeout    = 90 * time.Second // for the transactions under way when the daemon is stopped
	memoryLimit    = 80 << 20         // bytes of heap and stacks, at which the garbage collector works harder
	garbagePercent = 200
)

func runServe(ctx context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	log := newLogger(in, c)
	for _, w := range c.Warnings {
		log.Warn(w.Error())
	}
	return serve(ctx, c, log)
}

func newLogger(in *invocation, c *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(in.stderr, options))
	}
	return slog.New(slog.NewTextHandler(in.stderr, options))
}

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	a, err := openArchive(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	a.metrics.Process()
	d := &daemon{config: c, log: log, archive: a, failed: make(chan error, 1), quit: make(chan struct{})}
	if d.pec, err = openPEC(c.PEC, a.metrics, log); err != nil {
		return err
	}
	d.running.Go(func() { a.notices.run(d.quit) })
	disk := newDiskWatch(c, a, log)
	disk.look()
	d.running.Go(func() { disk.run(d.quit) })
	if err := d.start(); err != nil {
		return errors.Join(err, d.stop())
	}
	log.Info("ready", "version", version, "data", c.Data)
	notify("READY=1")
	d.wait(ctx)
	notify("STOPPING=1")
	log.Info("stopping")
	return d.stop()
}

// daemon is the running hook with its admin interface.
type daemon struct {
	config  *config.Config
	log     *slog.Logger
	archive *archive
	pec     *pecWatch // nil where [pec] names no file
	hooks   []*lmtp.Server
	admin   []*http.Server
	running sync.WaitGroup // a goroutine per listener, and those that end with quit
	failed  chan error     // the first listener that failed
	quit    chan struct{}  // closed when the daemon stops
}

func (d *daemon) start() error {
	sockets, err := newSystemdSockets()
	if err != nil {
		return err
	}
	c := d.config
	// The admin interface first: whoever sees the hook listening can ask it.
	if err := d.startAdmin(sockets); err != nil {
		return err
	}
	if c.Received != nil {
		if err := d.serveHook(d.receivedHook(), c.Received.Hook, sockets); err != nil {
			return fmt.Errorf("received: %w", err)
		}
	}
	if c.Sent != nil {
		if err := d.serveHook(d.sentHook(), c.Sent.Hook, sockets); err != nil {
			return fmt.Errorf("sent: %w", err)
		}
	}
	return nil
}

func (d *daemon) startAdmin(sockets *systemdSockets) error {
	c := d.config.Admin
	for _, l := range c.Listen {
		handler, serves := httpd.Admin(d.archive.backend(d.log)), "admin"
		if l.Network == "tcp" {
			handler, serves = httpd.Metrics(d.archive.metrics), "metrics"
		}
		list, err := listen([]config.Listener{l}, c.SocketMode, c.SocketGroup, sockets)
		if err != nil {
			return fmt.Errorf("admin: %w", err)
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn)}
		d.admin = append(d.admin, server)
		for _, nl := range list {
			d.log.Info("listening", "serves", serves, "address", nl.Addr().String())
			d.run(func() error { return server.Serve(nl) })
		}
	}
	return nil
}

func (d *daemon) serveHook(s *lmtp.Server, h config.Hook, sockets *systemdSockets) error {
	list, err := listen(h.Listen, h.SocketMode, h.SocketGroup, sockets)
	if err != nil {
		return err
	}
	d.hooks = append(d.hooks, s)
	for _, l := range list {
		d.log.Info("listening", "serves", "mail", "address", l.Addr().String(), "next_hop", h.NextHop.String())
		d.run(func() error { return s.Serve(l) })
	}
	return nil
}

// run serves a listener until it is closed.
func (d *daemon) run(serve func() error) {
	d.running.Go(func() {
		if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			select {
			case d.failed <- err:
			default:
			}
		}
	})
}

func (d *daemon) receivedHook() *lmtp.Server {
	r := d.config.Received
	c := d.hookConfig(r.Hook, journal.Received)
	if r.Origin == config.OriginXOriginalTo {
		c.Origin = lmtp.OriginHeader{Name: "X-Original-To", First: true}
	}
	hops := map[nexthop.Spec]*nexthop.Hop{r.NextHop: c.NextHop}
	for _, domain := range d.config.Domains {
		if domain.NextHop == (nexthop.Spec{}) {
			continue
		}
		if hops[domain.NextHop] == nil {
			hops[domain.NextHop] = d.hop(domain.NextHop, r.Hook)
		}
		if c.Domains == nil {
			c.Domains = make(map[string]*nexthop.Hop)
		}
		c.Domains[domain.Name] = hops[domain.NextHop]
	}
	return lmtp.NewServer(c)
}

func (d *daemon) sentHook() *lmtp.Server {
	s := d.config.Sent
	c := d.hookConfig(s.Hook, journal.Sent)
	c.SentByMailFrom = s.Identity == config.IdentityMailFrom
	c.Origin = lmtp.OriginHeader{Name: s.LoginHeader}
	return lmtp.NewServer(c)
}

func (d *daemon) hookConfig(h config.Hook, direction journal.Direction) lmtp.Config {
	return lmtp.Config{
		Direction: direction, Journal: d.archive.journal, Policy: d.archive.policy, NextHop: d.hop(h.NextHop, h),
		HelloName: h.HelloName, MaxMessageSize: h.MaxMessageSize, MaxRecipients: h.MaxRecipients, MaxConnections: h.MaxConnections,
		IdleTimeout: h.Timeouts.Idle, DataTimeout: h.Timeouts.Data, JournalTimeout: h.Timeouts.Journal,
		DeliverOnJournalError: h.OnJournalError == config.JournalErrorDeliver,
		Trust:                 d.config.PEC.Trust, PEC: d.pec.known,
		Notify: d.archive.notices.tell, Logger: d.log, Metrics: d.archive.metrics,
	}
}

func (d *daemon) hop(spec nexthop.Spec, h config.Hook) *nexthop.Hop {
	return newHop(spec, h, nexthop.Options{Logger: d.log, Metrics: d.archive.metrics})
}

func newHop(spec nexthop.Spec, h config.Hook, o nexthop.Options) *nexthop.Hop {
	o.HelloName = h.HelloName
	o.Timeouts = nexthop.Timeouts{Connect: h.Timeouts.Connect, Command: h.Timeouts.Command, Data: h.Timeouts.Data, Final: h.Timeouts.Final}
	return nexthop.New(spec, o)
}

func (d *daemon) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	errs := make([]error, len(d.hooks))
	var stopping sync.WaitGroup
	for i, h := range d.hooks {
		stopping.Go(func() { errs[i] = h.Shutdown(ctx) })
	}
	stopping.Wait()
	for _, s := range d.admin {
		errs = append(errs, s.Shutdown(ctx))
	}
	close(d.quit)
	d.running.Wait()
	return errors.Join(errs...)
}
