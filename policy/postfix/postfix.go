// Package postfix keeps Postfix's way through the hook in step with the mailboxes: it writes the two maps that contrib/postfix names, and
// asks Postfix itself whether the mail of a mailbox goes through the hook. An archive that is on while Postfix delivers past the hook stays
// empty, and nothing else would tell.
//
// # The folder
//
// In Config.Folder, and nowhere else, the package writes
//
//	copialettere_transport   transport(5): the mailboxes whose received mail goes through the hook
//	copialettere_senders     access(5): the logins whose sent mail goes through the hook
//	changed                  an empty file, made whenever one of the two is another one, and at every start
//
// A line of a map is a key, a tab and the right-hand side of the configuration. The first line is a comment, so that a map that names nobody
// is one too. The maps name the mailboxes whose archive is on; their files are replaced as a whole (journal/durable), and one that would be
// the same is left alone. Postfix reads what postmap(1) makes of a map beside it. Whoever runs postmap removes "changed" first: then no change
// gets lost between the two, and none of a time when nobody looked.
//
// # Keys
//
// Postfix 3.7 looks an address up in the form in which mail has it: a domain in Unicode is not looked up in its xn-- form, nor the other way
// round. So each address has a line for either form of its domain. A local part is in quotes where its ASCII characters want them (RFC 5321
// section 4.1.2); characters beyond ASCII never do. A line that begins with # is a comment, so a local part that does cannot be written: it
// is logged and counted.
//
// # Asking Postfix
//
// What Postfix does is asked of postconf(1) and postmap(1) as the daemon's user. A map that this user cannot read (ldap: with a password in
// its file, for example) has no answer, and the state is then Unknown: it is neither an alarm nor a good sign.
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

// Names of the files in the folder.
const (
	TransportMap = "copialettere_transport"
	SendersMap   = "copialettere_senders"
	ChangedFile  = "changed"
)

// Config is the section [postfix] of the configuration, with what it needs of others.
type Config struct {
	// Folder is the absolute path of the folder of the maps; "" where none are written.
	Folder string
	// Received is the right-hand side that sends a mailbox's mail through the hook, as transport(5) has it; "" where no received mail is taken.
	Received string
	// Sent is the right-hand side that has the mail of a login filtered, as access(5) has it; "" where no sent mail is taken.
	Sent string
	// LoginDomain completes logins without a domain; "" where there are none.
	LoginDomain string
	// ByMailFrom says that the hook takes the envelope sender for the login, so that more than a map of logins may lead mail to it.
	ByMailFrom bool
}

// takes says whether the hook takes mail of a direction.
func (c *Config) takes(d journal.Direction) bool {
	if d == journal.Received {
		return c.Received != ""
	}
	return c.Sent != ""
}

// path returns the path of a file in the folder; "" where there is no folder.
func (c *Config) path(name string) string {
	if c.Folder == "" {
		return ""
	}
	return filepath.Join(c.Folder, name)
}

// State says whether the mail of a mailbox goes through the hook.
type State string

// The states of a Route.
const (
	Routed    State = "routed"
	NotRouted State = "not-routed"
	Unknown   State = "unknown" // Postfix could not be asked
)

// Route is how the mail of one mailbox goes, in one direction. Others script against its names.
type Route struct {
	Direction string `json:"direction"` // "received" or "sent"
	State     State  `json:"state"`
	Detail    string `json:"detail,omitempty"` // what Postfix answers; in answers of Check
	Remedy    string `json:"remedy,omitempty"` // what to do where the state is another one than Routed; in answers of Check
}

// Options are what a Keeper stands on. Mailboxes is required.
type Options struct {
	Config Config
	// Mailboxes yields all mailboxes with their settings, as policy.Policy.Mailboxes does.
	Mailboxes func(context.Context) iter.Seq2[policy.Mailbox, error]
	Logger    *slog.Logger
	Metrics   *metrics.Registry
	// Unrouted is called with all mailboxes that are archived and not routed, in the order of their names, whenever there is a new one among
	// them. It must not block. May be nil.
	Unrouted func(mailboxes []string)
}

// Keeper writes the maps and looks after the routes. All methods may be called concurrently, and on nil, which knows nothing and does
// nothing: there is no [postfix] then.
type Keeper struct {
	options Options
	log     *slog.Logger
	config  atomic.Pointer[Config]
	changed chan struct{} // has room for one: a mailbox changed
	written chan struct{} // has room for one: a map changed
	gauges  gauges

	mu     sync.Mutex
	routes map[policy.Address]map[journal.Direction]State // of the last look; guarded by mu
}

// gauges are the metrics of a Keeper.
type gauges struct {
	failing, leftOut  *metrics.Gauge
	unrouted, unknown map[journal.Direction]*metrics.Gauge
}

// directions are both, in the order in which they are shown.
var directions = [...]journal.Direction{journal.Received, journal.Sent}

// New returns a Keeper, which asks when it is asked. Run has it write and look.
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

// Configure puts another configuration in force, and has the maps written by it.
func (k *Keeper) Configure(c Config) {
	if k == nil {
		return
	}
	k.config.Store(&c)
	k.Changed()
}

// Changed says that a mailbox may have changed. It never waits: Run writes the maps soon.
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

// Run writes the maps, at once and after each change, and looks after the routes, until quit is closed. What changed until then is written.
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

// Routes returns how the mail of a mailbox goes, one for each direction that the hook takes, without detail, as the last look found it; nil
// where it was not looked at.
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

// Check asks Postfix now how the mail of a mailbox goes, whether its archive is on or not: one Route for each direction that the hook takes.
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
