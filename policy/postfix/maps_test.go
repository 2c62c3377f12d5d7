package postfix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/metrics"
	"copialettere/policy"
)

const (
	receivedSide = "copialettere-received:unix:private/copialettere"
	sentSide     = "copialettere_sent"
)

// address reads an address that is one.
func address(t testing.TB, s string) policy.Address {
	t.Helper()
	a, err := policy.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRender(t *testing.T) {
	both := Config{Received: receivedSide, Sent: sentSide}
	for _, c := range []struct {
		name               string
		config             Config
		mailboxes          []string
		transport, senders []string // the keys of the lines
		leftOut            []string
	}{
		{name: "nobody", config: both},
		{name: "two", config: both, mailboxes: []string{"anna@alpha.test", "Bruno@Beta.test"},
			transport: []string{"anna@alpha.test", "bruno@beta.test"}, senders: []string{"anna@alpha.test", "bruno@beta.test"}},
		{name: "received only", config: Config{Received: receivedSide}, mailboxes: []string{"anna@alpha.test"}, transport: []string{"anna@alpha.test"}},
		{name: "sent only", config: Config{Sent: sentSide}, mailboxes: []string{"anna@alpha.test"}, senders: []string{"anna@alpha.test"}},
		{name: "logins without a domain", config: Config{Received: receivedSide, Sent: sentSide, LoginDomain: "xn--citt-3na.test"},
			mailboxes: []string{"anna@alpha.test", "anna@città.test"},
			transport: []string{"anna@alpha.test", "anna@xn--citt-3na.test", "anna@città.test"},
			senders:   []string{"anna@alpha.test", "anna@xn--citt-3na.test", "anna@città.test", "anna"}},
		{name: "characters beyond ASCII", config: both, mailboxes: []string{"jörg@alpha.test", "\"a\u00a0b\"@alpha.test"},
			transport: []string{"jörg@alpha.test", "a\u00a0b@alpha.test"}, senders: []string{"jörg@alpha.test", "a\u00a0b@alpha.test"}},
		{name: "quotes", config: both, mailboxes: []string{`"john smith"@alpha.test`, `"a\"b\\c"@alpha.test`, `".anna"@alpha.test`, `"b o"@città.test`},
			transport: []string{`"john smith"@alpha.test`, `"a\"b\\c"@alpha.test`, `".anna"@alpha.test`, `"b o"@xn--citt-3na.test`, `"b o"@città.test`},
			senders:   []string{`"john smith"@alpha.test`, `"a\"b\\c"@alpha.test`, `".anna"@alpha.test`, `"b o"@xn--citt-3na.test`, `"b o"@città.test`}},
		{name: "what would be a comment", config: both, mailboxes: []string{"#a@alpha.test", "b#@alpha.test", `"# c"@alpha.test`},
			transport: []string{"b#@alpha.test", `"# c"@alpha.test`}, senders: []string{"b#@alpha.test", `"# c"@alpha.test`}, leftOut: []string{"#a@alpha.test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []policy.Address
			for _, s := range c.mailboxes {
				list = append(list, address(t, s))
			}
			transport, senders, leftOut := render(&c.config, list)
			if got, want := string(transport), lines(c.transport, receivedSide); got != want {
				t.Errorf("transport:\n%swant\n%s", got, want)
			}
			if got, want := string(senders), lines(c.senders, sentSide); got != want {
				t.Errorf("senders:\n%swant\n%s", got, want)
			}
			if fmt.Sprint(leftOut) != fmt.Sprint(c.leftOut) {
				t.Errorf("left out %v, want %v", leftOut, c.leftOut)
			}
		})
	}
}

// lines is a map with those keys.
func lines(keys []string, right string) string {
	text := mapHead
	for _, key := range keys {
		text += key + "\t" + right + "\n"
	}
	return text
}

// mailboxes are those of a test, whose archives are on or off.
type mailboxes struct {
	mu   sync.Mutex
	list []policy.Mailbox
	err  error
}

func (m *mailboxes) set(t testing.TB, name string, enabled bool) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	a := address(t, name)
	for i := range m.list {
		if m.list[i].Address == a {
			m.list[i].Settings.Enabled = enabled
			return
		}
	}
	m.list = append(m.list, policy.Mailbox{Address: a, Settings: policy.Settings{Enabled: enabled}})
}

// enable adds a mailbox that is not there.
func (m *mailboxes) enable(a policy.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, policy.Mailbox{Address: a, Settings: policy.Settings{Enabled: true}})
}

func (m *mailboxes) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *mailboxes) all(context.Context) iter.Seq2[policy.Mailbox, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	list, err := append([]policy.Mailbox{}, m.list...), m.err
	return func(yield func(policy.Mailbox, error) bool) {
		for _, one := range list {
			if !yield(one, nil) {
				return
			}
		}
		if err != nil {
			yield(policy.Mailbox{}, err)
		}
	}
}

// lockedLog is a log that can be read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count says in how many lines a text stands.
func (l *lockedLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// kept is a Keeper whose maps are kept while a test runs, inside of synctest.
type kept struct {
	*Keeper
	mailboxes mailboxes
	log       lockedLog
	folder    string
	writes    int // how often a map was written
	stop      func()
}

func newKept(t *testing.T, folder string) *kept {
	t.Helper()
	k := &kept{folder: folder}
	k.Keeper = New(Options{
		Config:    Config{Folder: folder, Received: receivedSide, Sent: sentSide},
		Mailboxes: k.mailboxes.all, Logger: slog.New(slog.NewTextHandler(&k.log, nil)), Metrics: new(metrics.Registry),
	})
	return k
}

// start keeps the maps until stop is called.
func (k *kept) start(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { k.keepMaps(ctx) })
	counting := make(chan struct{})
	go func() {
		defer close(counting)
		for {
			select {
			case <-ctx.Done():
				return
			case <-k.written:
				k.writes++
			}
		}
	}()
	k.stop = func() {
		cancel()
		running.Wait()
		<-counting
	}
	synctest.Wait()
}

// names says whether the transport map has a line for a mailbox.
func (k *kept) names(t testing.TB, mailbox string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(k.folder, TransportMap))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "\n"+mailbox+"\t"+receivedSide+"\n")
}

// marked says whether postmap is asked for, and takes the mark away.
func (k *kept) marked(t testing.TB) bool {
	t.Helper()
	err := os.Remove(filepath.Join(k.folder, ChangedFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestKeepMaps follows the maps over the life of a daemon.
func TestKeepMaps(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "deep", "maps")
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, folder)
		k.start(t)
		for _, name := range []string{TransportMap, SendersMap} {
			if text, err := os.ReadFile(filepath.Join(folder, name)); err != nil || string(text) != mapHead {
				t.Errorf("at the start %s is %q, %v", name, text, err)
			}
		}
		if !k.marked(t) {
			t.Error("postmap is not asked for at the start")
		}
		k.mailboxes.set(t, "anna@alpha.test", true)
		k.Changed()
		time.Sleep(time.Second)
		if !k.names(t, "anna@alpha.test") || !k.marked(t) {
			t.Error("a second after the change the map does not name the mailbox, or postmap is not asked for")
		}
		before, err := os.Stat(filepath.Join(folder, TransportMap))
		if err != nil {
			t.Fatal(err)
		}
		k.Changed()
		time.Sleep(time.Second)
		if after, err := os.Stat(filepath.Join(folder, TransportMap)); err != nil || !os.SameFile(before, after) || k.marked(t) {
			t.Errorf("what has not changed was written, or postmap asked for: %v", err)
		}
		k.mailboxes.set(t, "anna@alpha.test", false)
		k.Changed()
		time.Sleep(time.Second)
		if k.names(t, "anna@alpha.test") || !k.marked(t) {
			t.Error("a second after the change the map names the mailbox, or postmap is not asked for")
		}
		if err := os.WriteFile(filepath.Join(folder, TransportMap), []byte("by hand\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(writeAnew)
		if text, err := os.ReadFile(filepath.Join(folder, TransportMap)); err != nil || string(text) != mapHead || !k.marked(t) {
			t.Errorf("an hour after it was changed by hand the map is %q, %v, or postmap is not asked for", text, err)
		}
		k.mailboxes.set(t, "anna@alpha.test", true)
		k.Changed()
		k.stop()
		if !k.names(t, "anna@alpha.test") {
			t.Error("what changed before the stop is not written")
		}
	})
}

// TestManyChanges changes mailboxes faster than the maps are written.
func TestManyChanges(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, folder)
		k.start(t)
		for i := range 5000 {
			k.mailboxes.enable(policy.Address{Local: fmt.Sprintf("u%04d", i), Domain: "alpha.test"})
			k.Changed()
			if i%10 == 9 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		if !k.names(t, "u0000@alpha.test") || !k.names(t, "u4999@alpha.test") {
			t.Error("not all are in the map a second after the last one")
		}
		k.stop()
		if k.writes < 2 || k.writes > 4 {
			t.Errorf("5,000 changes in half a second made %d writes", k.writes)
		}
	})
}

// TestMapFaults puts things in the way of the maps: mail does not learn of it, the log and the metrics do, and it is tried again.
func TestMapFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, k *kept)
		mend func(t *testing.T, k *kept)
	}{
		{"the folder cannot be made", func(t *testing.T, k *kept) {
			must(t, os.RemoveAll(k.folder))
			must(t, os.WriteFile(k.folder, nil, 0o600))
		}, func(t *testing.T, k *kept) { must(t, os.Remove(k.folder)) }},
		{"the disk is full", func(t *testing.T, k *kept) {
			must(t, os.Symlink("/dev/full", filepath.Join(k.folder, TransportMap+".new")))
		}, func(t *testing.T, k *kept) { must(t, os.Remove(filepath.Join(k.folder, TransportMap+".new"))) }},
		{"the mark cannot be made", func(t *testing.T, k *kept) { must(t, os.Mkdir(filepath.Join(k.folder, ChangedFile+".new"), 0o700)) },
			func(t *testing.T, k *kept) { must(t, os.Remove(filepath.Join(k.folder, ChangedFile+".new"))) }},
		{"the mailboxes cannot be read", func(t *testing.T, k *kept) { k.mailboxes.fail(errors.New("out of order")) },
			func(t *testing.T, k *kept) { k.mailboxes.fail(nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "maps")
			synctest.Test(t, func(t *testing.T) {
				k := newKept(t, folder)
				k.mailboxes.set(t, "anna@alpha.test", true)
				k.start(t)
				k.marked(t)
				c.harm(t, k)
				k.mailboxes.set(t, "bruno@alpha.test", true)
				k.Changed()
				time.Sleep(time.Minute)
				if k.gauges.failing.Value() != 1 || k.log.count("cannot be written") != 1 {
					t.Errorf("the metric is %d, and the log has:\n%s", k.gauges.failing.Value(), k.log.text.String())
				}
				c.mend(t, k)
				time.Sleep(writeAgain)
				if !k.names(t, "anna@alpha.test") || !k.names(t, "bruno@alpha.test") || !k.marked(t) {
					t.Error("the map is not written, or postmap not asked for, when nothing is in the way any more")
				}
				if k.gauges.failing.Value() != 0 || k.log.count("written again") != 1 {
					t.Errorf("the metric is %d, and the log has:\n%s", k.gauges.failing.Value(), k.log.text.String())
				}
				k.stop()
			})
		})
	}
}

// TestHalfAList has the list of mailboxes break off: no map of half of them is written.
func TestHalfAList(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, folder)
		k.mailboxes.set(t, "anna@alpha.test", true)
		k.mailboxes.set(t, "bruno@alpha.test", true)
		k.start(t)
		k.mailboxes.mu.Lock()
		k.mailboxes.list = k.mailboxes.list[:1]
		k.mailboxes.mu.Unlock()
		k.mailboxes.fail(errors.New("out of order"))
		k.Changed()
		time.Sleep(time.Second)
		if !k.names(t, "bruno@alpha.test") {
			t.Error("the map was written without the mailboxes that could not be read")
		}
		k.stop()
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
