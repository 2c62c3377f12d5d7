package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/export/preserve"
	"copialettere/journal/httpd"
	"copialettere/journal/imapd"
	"copialettere/lmtp"
	"copialettere/lmtp/nexthop"
	"copialettere/lmtp/submission"
	"copialettere/policy/archive"
	"copialettere/policy/housekeeping"
	"copialettere/policy/pec/files"
)

const serveHelp = `Usage: copialettere serve [-config FILE]

Runs the hook: takes mail on the listeners of [received] and [sent], journals it, and hands it on. It logs to standard error and needs no
root. SIGTERM and SIGINT stop it, after the messages under way are finished.

SIGHUP reloads the configuration for the messages that come after it. The log says which keys were taken, and which need a restart. A file
with an error changes nothing, and the log says why. These keys are taken:

  received.on_journal_error, received.redirect_header, received.redirect_from, received.keep_skips
  sent.on_journal_error, sent.login_domain
  log.level, rights.owner, auth.operators, auth.archive_host
  pec.trust, pec.domains_file, pec.provider_index, pec.trust_bundle, pec.sha1_chains, pec.crl_folder
  postfix.maps, postfix.received, postfix.sent
  disk.warn, disk.stop, retention.at, retention.max_share, erase.grace
  logs.keep, verify.every, verify.rate, exports.keep, exports.max_size, profile.certificate, profile.key
  evidence.signing_key, evidence.verifier_keys, evidence.timestamp_url, evidence.timestamp_ca, evidence.checkpoints, evidence.mail
  preservation.drop, preservation.receipts, preservation.agent, preservation.domains, preservation.mailboxes, preservation.overdue
  web.public_url, web.trusted_proxies, web.title, web.support_url, web.more_room_url, web.logo, scan.clamd, pull.allow_private
  mailbox_servers.imap, mailbox_servers.pop3, mailbox_servers.smtp, imap.public_port, submission.public_port
  domain: all keys of a [[domain]] except next_hop; a [[domain]] that is added or removed, if it has no next_hop

Example: copialettere serve -config /etc/copialettere/copialettere.toml
`

const (
	stopTimeout    = 90 * time.Second // for the transactions under way when the daemon is stopped
	memoryLimit    = 80 << 20         // bytes of heap and stacks from which the garbage collector works harder, where GOMEMLIMIT is not set
	garbagePercent = 200              // growth of the heap between two collections, where GOGC is not set
)

func runServe(ctx context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(c.Log.Level)
	log := newLogger(in, c, level)
	for _, w := range c.Warnings {
		log.Warn(w.Error())
	}
	return serve(ctx, c, log, reloading{file: in.configFile, level: level, signal: hangup})
}

func newLogger(in *invocation, c *config.Config, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(jsonEscaper{in.stderr}, options))
	}
	return slog.New(slog.NewTextHandler(in.stderr, options))
}

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, c *config.Config, log *slog.Logger, r reloading) (err error) {
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
	d := newDaemon(c, a, log)
	watch, err := files.Open(sourcesOf(c.PEC), a.metrics, log)
	if err != nil {
		return err
	}
	d.pec.Store(watch)
	d.running.Go(func() { a.notices.Run(d.quit) })
	d.running.Go(func() { a.postfix.Run(d.quit) })
	d.running.Go(func() { a.dovecot.Run(d.quit) })
	d.disk = housekeeping.NewDiskWatch(c.Data, watermarks(c), a.journal.Suspend, a.metrics, log)
	d.disk.Look()
	a.disk.Store(d.disk)
	d.running.Go(func() { d.disk.Run(d.quit) })
	clock := housekeeping.NewClockWatch(a.metrics, log)
	d.running.Go(func() { clock.Run(d.quit) })
	if err := d.start(); err != nil {
		return errors.Join(err, d.stop())
	}
	d.running.Go(func() { d.reload(r) })
	log.Info("ready", "version", version, "data", c.Data)
	notify("READY=1")
	d.wait(ctx)
	notify("STOPPING=1")
	log.Info("stopping")
	return d.stop()
}

// daemon is the running hook with its admin interface.
type daemon struct {
	config      atomic.Pointer[config.Config] // in force now
	backend     atomic.Pointer[httpd.Backend] // of the admin interface, under that configuration
	adminRoutes atomic.Pointer[http.Handler]  // of the admin interface
	pages       atomic.Pointer[http.Handler]  // of [web], under that configuration
	log         *slog.Logger
	archive     *opened
	pec         atomic.Pointer[files.Watch] // nil where [pec] names no file
	house       *housekeeping.Keeper
	disk        *housekeeping.DiskWatch
	hooks       map[journal.Direction]*lmtp.Server
	hops        []*nexthop.Hop
	admin       []*http.Server
	tls         *tls.Config        // with the certificate of [tls]; nil where not configured
	imap        *imapd.Server      // nil where not configured
	submission  *submission.Server // nil where not configured
	web         *httpd.Server      // nil where not configured
	ready       *archive.Readiness
	running     sync.WaitGroup // a goroutine for each listener, and those that end with quit
	failed      chan error     // the first listener that failed
	quit        chan struct{}  // closed when the daemon stops
}

// newDaemon returns a daemon without listeners, and without the files of [pec].
func newDaemon(c *config.Config, a *opened, log *slog.Logger) *daemon {
	d := &daemon{
		log: log, archive: a, hooks: make(map[journal.Direction]*lmtp.Server),
		failed: make(chan error, 1), quit: make(chan struct{}),
	}
	d.ready, d.house = newReadiness(d), newHouse(d)
	a.certification = d.certification
	d.configure(c)
	return d
}

// configure puts a configuration in force for everything that reads d.config or d.backend.
func (d *daemon) configure(c *config.Config) {
	acts := d.archive.acts(c, d.house.EraseSoon)
	b := d.archive.backend(acts, d.log)
	b.Ready = d.ready.Problems
	b.Exports = d.archive.exports
	d.house.Configure(scheduleOf(c, acts))
	d.archive.pulls.Configure(acts, c.Pull.AllowPrivate)
	d.archive.postfix.Configure(postfixConfig(c))
	d.archive.checkpoints.Configure(c.Evidence)
	d.archive.preserve.Configure(preserve.Config{Archive: acts, Settings: c.Preservation})
	d.archive.dovecot.Changed() // a domain may ask for second factors now
	d.config.Store(c)
	d.backend.Store(&b)
	admin := httpd.Admin(b)
	d.adminRoutes.Store(&admin)
	b.TrustedProxies = c.TrustedProxies()
	brands := newBrands(c, d.log)
	b.Logos = brands.logos
	b.Pages = d.newPages(acts, brands)
	web := httpd.Web(b)
	d.pages.Store(&web)
}

func newReadiness(d *daemon) *archive.Readiness {
	unreachable := func(ctx context.Context) bool {
		return slices.ContainsFunc(d.hops, func(h *nexthop.Hop) bool { return h.Unreachable(ctx) })
	}
	return archive.NewReadiness(d.archive.journal, d.archive.policy, unreachable, d.log)
}

// wait keeps house until ctx ends or a listener fails.
func (d *daemon) wait(ctx context.Context) {
	within, stop := context.WithCancel(ctx)
	var house sync.WaitGroup
	house.Go(func() { d.house.Run(within) })
	house.Go(func() { d.archive.pulls.Serve(within) })
	house.Go(func() { d.archive.preserve.Run(within) })
	if exports := d.archive.exports; exports != nil {
		house.Go(func() { exports.Run(within) })
	}
	defer house.Wait()
	defer stop()
	select {
	case <-ctx.Done():
	case err := <-d.failed:
		d.log.Error("listener failed", "error", err)
	}
}

func (d *daemon) start() error {
	sockets, err := newSystemdSockets()
	if err != nil {
		return err
	}
	c := d.config.Load()
	var received, sent *lmtp.Server
	if c.Received != nil {
		received = d.receivedHook()
	}
	if c.Sent != nil {
		sent = d.sentHook()
	}
	// Whoever sees the hook listen may ask the admin interface, so open that first.
	if err := d.startAdmin(sockets); err != nil {
		return err
	}
	d.tls = keepTLS(c, d.archive.metrics, d.log)
	if err := d.startDovecotPolicy(sockets); err != nil {
		return err
	}
	if err := d.startIMAP(sockets); err != nil {
		return err
	}
	if err := d.startSubmission(sockets); err != nil {
		return err
	}
	if err := d.startWeb(sockets); err != nil {
		return err
	}
	if received != nil {
		if err := d.serveHook(journal.Received, received, c.Received.Hook, sockets); err != nil {
			return fmt.Errorf("received: %w", err)
		}
	}
	if sent != nil {
		if err := d.serveHook(journal.Sent, sent, c.Sent.Hook, sockets); err != nil {
			return fmt.Errorf("sent: %w", err)
		}
	}
	return nil
}

func (d *daemon) startAdmin(sockets *systemdSockets) error {
	c := d.config.Load().Admin
	for _, l := range c.Listen {
		handler, serves := http.Handler(http.HandlerFunc(d.serveAdmin)), "admin"
		if l.Network == "tcp" {
			handler, serves = httpd.Metrics(d.archive.metrics, d.ready.Problems), "metrics"
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

// serveAdmin answers under the configuration that is in force when the request comes.
func (d *daemon) serveAdmin(w http.ResponseWriter, r *http.Request) {
	(*d.adminRoutes.Load()).ServeHTTP(w, r)
}

func (d *daemon) serveHook(direction journal.Direction, s *lmtp.Server, h config.Hook, sockets *systemdSockets) error {
	list, err := listen(h.Listen, h.SocketMode, h.SocketGroup, sockets)
	if err != nil {
		return err
	}
	d.hooks[direction] = s
	for _, l := range list {
		d.log.Info("listening", "serves", "mail", "address", l.Addr().String(), "next_hop", h.NextHop.String())
		d.run(func() error { return s.Serve(l) })
	}
	return nil
}

// run serves a listener in a goroutine until it is closed. The first failure goes to d.failed.
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
	running := d.config.Load()
	r := running.Received
	c := d.hookConfig(r.Hook, journal.Received)
	if r.Origin == config.OriginXOriginalTo {
		c.Origin = lmtp.OriginHeader{Name: "X-Original-To", First: true}
	}
	hops := map[nexthop.Spec]*nexthop.Hop{r.NextHop: c.NextHop}
	for _, domain := range running.Domains {
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
	s := d.config.Load().Sent
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
		PEC:                   d.knownPEC,
		Notify:                d.archive.notices.Tell, Logger: d.log, Metrics: d.archive.metrics,
	}
}

func (d *daemon) hop(spec nexthop.Spec, h config.Hook) *nexthop.Hop {
	hop := newHop(spec, h, nexthop.Options{Logger: d.log, Metrics: d.archive.metrics})
	d.hops = append(d.hops, hop)
	return hop
}

func newHop(spec nexthop.Spec, h config.Hook, o nexthop.Options) *nexthop.Hop {
	o.HelloName = h.HelloName
	o.Timeouts = nexthop.Timeouts{Connect: h.Timeouts.Connect, Command: h.Timeouts.Command, Data: h.Timeouts.Data, Final: h.Timeouts.Final}
	return nexthop.New(spec, o)
}

func (d *daemon) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	d.ready.Stop()
	close(d.archive.leaving)
	var errs []error
	var mu sync.Mutex
	var stopping sync.WaitGroup
	shut := func(shutdown func(context.Context) error) {
		stopping.Go(func() {
			err := shutdown(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	for _, h := range d.hooks {
		shut(h.Shutdown)
	}
	if d.imap != nil {
		shut(d.imap.Shutdown)
	}
	if d.submission != nil {
		shut(d.submission.Shutdown)
	}
	if d.web != nil {
		shut(d.web.Shutdown)
	}
	stopping.Wait()
	for _, s := range d.admin {
		errs = append(errs, s.Shutdown(ctx))
	}
	close(d.quit)
	d.running.Wait()
	d.ready.Wait()
	return errors.Join(errs...)
}
