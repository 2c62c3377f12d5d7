// Package postfix makes Postfix's routing follow the settings of mailboxes, and checks that it does. It writes the two maps that contrib/postfix
// uses, and asks Postfix itself whether the mail of a mailbox passes through the hook. The archive of a mailbox that is enabled, but not routed
// through the hook, stays empty, and nothing else in the program can notice that.
//
// # The folder
//
// The package writes three files, all in Config.Folder:
//
//	copialettere_transport   transport(5): the mailboxes whose received mail passes through the hook
//	copialettere_senders     access(5): the logins whose sent mail passes through the hook
//	changed                  empty; created whenever one of the maps has changed, and at every start
//
// Each line of a map is a key, a tab and the right-hand side from the configuration. The first line is a comment, so a map without mailboxes is
// valid too. The maps hold the mailboxes whose archive is on. A map is replaced atomically (journal/durable), and only if its text differs.
//
// Postfix reads the database that postmap(1) makes beside each map. Whoever runs postmap removes "changed" first. A change during the run then
// creates the file again, and a change while nobody was watching is not lost.
//
// # Keys
//
// Postfix 3.7 looks up an address in the form that the mail has: it converts no domain from Unicode to xn-- or back. Each address therefore has
// one line for each form of its domain. A local part is quoted if its ASCII characters require that (RFC 5321 section 4.1.2); other characters
// never do. A line that begins with # is a comment, so a local part that begins with # cannot be written. It is logged and counted.
//
// # Asking Postfix
//
// The package runs postconf(1) and postmap(1) as the daemon's user. If that user cannot read a map, such as an ldap: map whose file holds a
// password, the state of a mailbox that depends on it is Unknown. That is not an alarm.
package postfix

import (
	"context"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"copialettere/journal"
	"copialettere/journal/metrics"
	"copialettere/policy"
)

// The files in Config.Folder.
const (
	TransportMap = "copialettere_transport"
	SendersMap   = "copialettere_senders"
	ChangedFile  = "changed"
)

// Config is the section [postfix] of the configuration, with what the package needs of other sections.
type Config struct {
	// Folder is the absolute path of the folder for the maps; "" if the package writes none.
	Folder string
	// Received is the right-hand side in transport(5) that routes a mailbox through the hook; "" if the hook takes no received mail.
	Received string
	// Sent is the right-hand side in access(5) that routes a login through the hook; "" if the hook takes no sent mail.
	Sent string
	// LoginDomain completes logins without a domain; "" if there are none.
	LoginDomain string
	// ByMailFrom means that the hook identifies the mailbox by the envelope sender. Postfix may then select mail by other means than the login.
	ByMailFrom bool
}

// takes reports whether the hook takes mail of a direction.
func (c *Config) takes(d journal.Direction) bool {
	if d == journal.Received {
		return c.Received != ""
	}
	return c.Sent != ""
}

// path returns the path of a file in the folder; "" if there is no folder.
func (c *Config) path(name string) string {
	if c.Folder == "" {
		return ""
	}
	return filepath.Join(c.Folder, name)
}

// State tells whether the mail of a mailbox passes through the hook.
type State string

// The states of a Route.
const (
	Routed    State = "routed"
	NotRouted State = "not-routed"
	Unknown   State = "unknown" // Postfix could not be asked
)

// Route tells how Postfix routes the mail of one mailbox in one direction. Others script against its names.
type Route struct {
	Direction string `json:"direction"` // "received" or "sent"
	State     State  `json:"state"`
	Detail    string `json:"detail,omitempty"` // what Postfix answers; only from Check
	Remedy    string `json:"remedy,omitempty"` // what to do if the state is not Routed; only from Check
}

// Options are what a Keeper needs. Mailboxes is required.
type Options struct {
	Config Config
	// Mailboxes yields all mailboxes with their settings, as policy.Policy.Mailboxes does.
	Mailboxes func(context.Context) iter.Seq2[policy.Mailbox, error]
	Logger    *slog.Logger
	Metrics   *metrics.Registry
	// Unrouted is called when the standing check finds another mailbox that is enabled and not routed. It gets all such mailboxes, sorted by
	// name. It must not block. May be nil.
	Unrouted func(mailboxes []string)
}

// Keeper writes the maps and checks the routes. All methods may be called concurrently. A nil Keeper, for a configuration without [postfix], does
// nothing and knows no routes; only Check must not be called on it.
type Keeper struct {
	options Options
	log     *slog.Logger
	config  atomic.Pointer[Config]
	changed chan struct{} // has room for one: a mailbox changed
	written chan struct{} // has room for one: a map changed
	gauges  gauges

	mu     sync.Mutex
	routes map[policy.Address]map[journal.Direction]State // found by the last standing check; guarded by mu
}

// gauges are the metrics of a Keeper.
type gauges struct {
	failing, leftOut  *metrics.Gauge
	unrouted, unknown map[journal.Direction]*metrics.Gauge
}

// directions lists both directions in the order of display.
var directions = [...]journal.Direction{journal.Received, journal.Sent}

// New returns a Keeper. It neither writes maps nor checks by itself until Run is called.
func New(o Options) *Keeper {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = new(metrics.Registry)
	}
	k := &Keeper{
		options: o, log: o.Logger, changed: make(chan struct{}, 1), written: make(chan struct{}, 1), gauges: newGauges(o.Metrics),
	}
	k.config.Store(&o.Config)
	return k
}

func newGauges(m *metrics.Registry) gauges {
	g := gauges{
		failing:  m.Gauge("copialettere_postfix_maps_failing", "1 while the maps for Postfix cannot be written."),
		leftOut:  m.Gauge("copialettere_postfix_maps_left_out", "Mailboxes whose address cannot be written into a map of Postfix."),
		unrouted: make(map[journal.Direction]*metrics.Gauge), unknown: make(map[journal.Direction]*metrics.Gauge),
	}
	for _, d := range directions {
		g.unrouted[d] = m.Gauge("copialettere_unrouted_mailboxes",
			"Mailboxes whose archive is on while Postfix does not route their mail through the hook.", "direction", d.String())
		g.unknown[d] = m.Gauge("copialettere_route_unknown_mailboxes",
			"Mailboxes whose archive is on and of whose route Postfix could not be asked.", "direction", d.String())
	}
	return g
}

// Configure replaces the configuration. Run then rewrites the maps.
func (k *Keeper) Configure(c Config) {
	if k == nil {
		return
	}
	k.config.Store(&c)
	k.Changed()
}

// Changed tells the Keeper that a mailbox may have changed. It does not block. Run updates the maps within a second.
func (k *Keeper) Changed() {
	if k != nil {
		wake(k.changed)
	}
}

// wake fills a channel that has room for one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run writes the maps, at once and after each change, and runs the standing check, until quit is closed. Changes made until then are written.
func (k *Keeper) Run(quit <-chan struct{}) {
	if k == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	working.Go(func() { k.keepMaps(ctx) })
	working.Go(func() { k.keepLooking(ctx) })
	<-quit
	cancel()
	working.Wait()
}

// Routes returns what the last standing check found for a mailbox, one Route without details for each direction that the hook takes; nil if it
// has not checked the mailbox.
func (k *Keeper) Routes(a policy.Address) []Route {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []Route
	for _, d := range directions {
		if state, ok := k.routes[a][d]; ok {
			list = append(list, Route{Direction: d.String(), State: state})
		}
	}
	return list
}

// Check asks Postfix now and returns one Route for each direction that the hook takes. The archive of the mailbox may be off.
func (k *Keeper) Check(ctx context.Context, a policy.Address) []Route {
	c := k.config.Load()
	found := ask(ctx, c, []policy.Address{a})
	var list []Route
	for _, d := range directions {
		if c.takes(d) {
			list = append(list, found[a][d])
		}
	}
	return list
}
