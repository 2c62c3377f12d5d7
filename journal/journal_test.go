package journal

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
	"copialettere/journal/kv/kvtest"
	"copialettere/journal/kv/level"
)

const (
	mario = "mario@alpha.test"
	anna  = "anna@beta.test"
	giove = "giove@ext.test"
)

// engineVariable names the environment variable that says on which engine the tests run: LevelDB, or with "memory" one in memory that
// replicates and takes itself for one of several clients. What a test does to files is then left out. With "keyed" it is LevelDB under package keyed, as
// where the journal is encrypted.
const engineVariable = "COPIALETTERE_ENGINE"

// fixture is a journal on LevelDB in a temporary folder, or on an engine in memory. When the test ends it is opened again and verified.
type fixture struct {
	spoolKeys [][32]byte // Options.SpoolKeys
	unadopted bool       // do not take what is there into the logs
	*Journal
	t      testing.TB
	dir    string
	spool  string
	level  level.Options
	memory *kvtest.Memory            // nil: LevelDB
	keys   string                    // the file of the keys of mailboxes: package keyed is over the engine; empty: it is not
	wrap   func(kv.Engine) kv.Engine // what the journal sees of the engine, nil: all
	clock  *clock
	engine kv.Engine
	told   told
	held   func(settings kv.View, mailboxes ...string) (bool, error) // Settings.Held; nil: that of testSettings

	transactions int
}

// told keeps the gaps that the journal told of.
type told struct {
	mu   sync.Mutex
	gaps []string // as "mailbox reason", with what was removed behind; guarded by mu
}

func (t *told) recorded(gaps []Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range gaps {
		text := g.Mailbox + " " + g.Reason
		if g.Entries > 0 {
			text += fmt.Sprintf(" %d/%d", g.Entries, g.Bytes)
		}
		t.gaps = append(t.gaps, text)
	}
}

// wantTold compares the gaps that the journal told of since it was asked last.
func (f *fixture) wantTold(doing string, want ...string) {
	f.t.Helper()
	f.told.mu.Lock()
	defer f.told.mu.Unlock()
	if !slices.Equal(f.told.gaps, want) {
		f.t.Errorf("%s: told of %q, want %q", doing, f.told.gaps, want)
	}
	f.told.gaps = nil
}

// clock goes on by a microsecond whenever it is asked.
type clock struct {
	mu sync.Mutex
	t  time.Time // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Microsecond)
	return c.t
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

var november = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, dir: t.TempDir(), clock: &clock{t: november}}
	f.spool = filepath.Join(f.dir, "gaps")
	f.level.WriteBuffer = 1 << 20 // LevelDB clears as much each time that a test opens a volume
	if os.Getenv(engineVariable) == "memory" {
		f.memory = kvtest.NewMemory(kvtest.NoWeakness)
	}
	if os.Getenv(engineVariable) == "keyed" {
		f.keys = filepath.Join(f.dir, "mailbox.keys")
	}
	t.Cleanup(func() {
		f.close()
		if f.dir == "" || t.Failed() {
			return
		}
		f.level.Storage, f.wrap = nil, nil
		f.open()
		f.verify()
		f.close()
	})
	return f
}

// fixtureOn is a journal on an engine in memory.
func fixtureOn(t testing.TB, engine kv.Engine) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: &clock{t: november}, engine: engine}
	var err error
	if f.Journal, err = Open(engine, Options{Now: f.clock.now, Recorded: f.told.recorded}); err != nil {
		t.Fatal(err)
	}
	return f
}

// openFixture is newFixture, opened.
func openFixture(t testing.TB) *fixture {
	f := newFixture(t)
	f.open()
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	f.level.Logger = slog.New(slog.NewTextHandler(f.t.Output(), nil))
	var err error
	if f.memory != nil {
		f.engine = f.memory.Open(f.t)
	} else if f.engine, err = level.Open(filepath.Join(f.dir, "journal"), f.level); err != nil {
		f.t.Fatal(err)
	}
	// A sweep is seen to delete what it may, at once.
	seen := kvtest.Eager(f.engine)
	if f.keys != "" {
		if seen, err = seal(seen, f.keys, f.level.Logger); err != nil {
			f.t.Fatal(err)
		}
		f.engine = seen
	}
	if f.wrap != nil {
		seen = f.wrap(seen)
	}
	settings := testSettings()
	if f.held != nil {
		settings.Held = f.held
	}
	f.Journal, err = Open(seen, Options{
		Logger: f.level.Logger, Now: f.clock.now, GapSpool: f.spool, SpoolKeys: f.spoolKeys, Recorded: f.told.recorded, Settings: settings,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if f.wrap == nil && f.level.Storage == nil && !f.unadopted { // so every entry must be in its log from now on
		if _, err := f.Adopt(f.ctx()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// seal puts package keyed over an engine.
func seal(below kv.Engine, keys string, log *slog.Logger) (*keyed.Engine, error) {
	ring, err := keyed.OpenRing(keys, keyed.Options{Wrappers: []keyed.Wrapper{{}}, Logger: log})
	if errors.Is(err, keyed.ErrLost) {
		if err = keyed.Make(keys); err == nil {
			return seal(below, keys, log)
		}
	}
	if err != nil {
		return nil, err
	}
	return keyed.New(below, ring, OwnerOf), nil
}

// testSettings are settings in which a mailbox is held, or closed, where the settings store has a key that says so.
func testSettings() *Settings {
	return &Settings{
		Lock: func(mailbox string) string { return "settings " + mailbox },
		Open: func(settings kv.View, mailbox string) (bool, error) {
			_, err := settings.Get([]byte("closed " + mailbox))
			if errors.Is(err, kv.ErrNotFound) {
				return true, nil
			}
			return false, err
		},
		Held: func(settings kv.View, mailboxes ...string) (bool, error) {
			keys := make([][]byte, len(mailboxes))
			for i, mailbox := range mailboxes {
				keys[i] = []byte("held " + mailbox)
			}
			values, err := settings.GetAll(keys)
			return slices.ContainsFunc(values, func(v []byte) bool { return v != nil }), err
		},
	}
}

// set puts a key of testSettings, "held" or "closed", as whoever changes the settings of a mailbox does.
func (f *fixture) set(ctx context.Context, what, mailbox string) error {
	settings, err := f.engine.Settings(ctx)
	if err != nil {
		return err
	}
	return settings.Update(ctx, []string{testSettings().Lock(mailbox)}, func(tx kv.Tx) error {
		tx.Put([]byte(what+" "+mailbox), nil)
		return nil
	})
}

// onFiles leaves the test out where the engine has no files.
func (f *fixture) onFiles() {
	f.t.Helper()
	if f.memory != nil {
		f.t.Skip("it is about files, or about the memory that is in use")
	}
}

func (f *fixture) close() {
	if f.Journal == nil {
		return
	}
	if err := f.Journal.Close(); err != nil {
		f.t.Error(err)
	}
	if err := f.engine.Close(); err != nil {
		f.t.Error(err)
	}
	f.Journal = nil
}

func (f *fixture) reopen() {
	f.t.Helper()
	f.close()
	f.open()
}

// damaged keeps the end of the test from verifying what it has broken on purpose.
func (f *fixture) damaged() { f.dir = "" }

// ctx is not the one of the test, because the end of the test needs it as well.
func (f *fixture) ctx() context.Context { return context.Background() }

func (f *fixture) verify() *Report {
	f.t.Helper()
	r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
	if err != nil {
		f.t.Fatalf("verify: %v", err)
	}
	if r.Faults != 0 {
		f.t.Fatalf("verify found %d faults:\n%s", r.Faults, strings.Join(r.Details, "\n"))
	}
	return r
}

// store returns the store of the month of the clock.
func (f *fixture) store() kv.Store {
	f.t.Helper()
	s, err := f.engine.Volume(f.ctx(), kv.MonthOf(f.clock.now()), true)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func received(mailbox string) Intent {
	return Intent{Mailbox: mailbox, Direction: Received, RcptTo: mailbox, Class: "ordinary"}
}

// try takes in a message and commits it.
func (f *fixture) try(message []byte, transaction string, intents ...Intent) ([]Placement, error) {
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	d.Write(message)
	return d.Commit(f.ctx(), Envelope{MailFrom: giove, Transaction: transaction}, intents, nil)
}

// deliver takes in a message for one mailbox, in a transaction of that name.
func (f *fixture) deliver(mailbox string, message []byte, transaction string) Placement {
	f.t.Helper()
	placed, err := f.try(message, transaction, received(mailbox))
	if err != nil {
		f.t.Fatal(err)
	}
	return placed[0]
}

// put takes in a message that is delivered.
func (f *fixture) put(mailbox string, message []byte) Ref {
	f.t.Helper()
	f.transactions++
	transaction := fmt.Sprint("put ", f.transactions)
	p := f.deliver(mailbox, message, transaction)
	f.Delivered(p.Ref, transaction)
	return p.Ref
}

func (f *fixture) bytes(r Ref) []byte {
	f.t.Helper()
	e, err := f.Entry(f.ctx(), r)
	if err != nil {
		f.t.Fatalf("%v: %v", r, err)
	}
	b, err := f.Body(f.ctx(), e)
	if err != nil {
		f.t.Fatal(err)
	}
	got, err := io.ReadAll(b)
	if err != nil {
		f.t.Fatal(err)
	}
	return got
}

func (f *fixture) wantBytes(r Ref, message []byte) {
	f.t.Helper()
	if got := f.bytes(r); !bytes.Equal(got, message) {
		f.t.Errorf("%v: %d bytes, not the %d of the message", r, len(got), len(message))
	}
}

func (f *fixture) list(mailbox string) []*Entry {
	f.t.Helper()
	var list []*Entry
	for e, err := range f.List(f.ctx(), mailbox) {
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// want compares the entries of a mailbox, each as "INBOX/2026-11 1 delivered", with its flags behind.
func (f *fixture) want(mailbox string, entries ...string) {
	f.t.Helper()
	f.FlushOutcomes(f.ctx())
	var got []string
	for _, e := range f.list(mailbox) {
		one, err := f.Entry(f.ctx(), e.Ref)
		if err != nil {
			f.t.Fatal(err)
		}
		if entryText(one) != entryText(e) {
			f.t.Errorf("Entry says %q, List says %q", entryText(one), entryText(e))
		}
		got = append(got, entryText(e))
	}
	if !slices.Equal(got, entries) {
		f.t.Errorf("%s has %q, want %q", mailbox, got, entries)
	}
}

func entryText(e *Entry) string {
	return strings.TrimSpace(fmt.Sprintf("%s %d %s %s", e.FolderName(), e.UID, e.State, strings.Join(e.Flags, " ")))
}

func (f *fixture) records(mailbox string) []*Record {
	f.t.Helper()
	var list []*Record
	for r, err := range f.Records(f.ctx(), mailbox) {
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func wantErr(t testing.TB, doing string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", doing, err, target)
	}
}

// letter is a short message of that subject.
func letter(subject string) []byte {
	return fmt.Appendf(nil, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <same@ext.test>\r\n\r\nCiao.\r\n", giove, mario, subject)
}

// randomBytes are as many bytes, which do not compress.
func randomBytes(seed uint64, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// words are as many bytes of text.
func words(seed uint64, size int) []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(seed, 1))
	for b.Len() < min(size, 1<<20) {
		writeWords(&b, r)
	}
	for page := bytes.Clone(b.Bytes()); b.Len() < size; {
		fmt.Fprintf(&b, "Pagina %d\r\n%s", r.IntN(1000), page[r.IntN(len(page)):])
	}
	return b.Bytes()[:size]
}

// hooked is an engine whose Updates of volumes pass through a function of the test.
type hooked struct {
	kv.Engine
	mu              sync.Mutex
	update          func(ctx context.Context, next func(context.Context) error) error // guarded by mu; nil: next
	fencing, fenced func()                                                            // called before a fence is set, and when it stands; may be nil
}

func (h *hooked) set(update func(ctx context.Context, next func(context.Context) error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.update = update
}

func (h *hooked) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := h.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return hookedStore{s, h}, nil
}

// Fence tells of a fence that stands.
func (h *hooked) Fence(ctx context.Context, m kv.Month) (kv.Fence, error) {
	if h.fencing != nil {
		h.fencing()
	}
	f, err := h.Engine.Fence(ctx, m)
	if err == nil && h.fenced != nil {
		h.fenced()
	}
	return f, err
}

type hookedStore struct {
	kv.Store
	h *hooked
}

func (s hookedStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	s.h.mu.Lock()
	update := s.h.update
	s.h.mu.Unlock()
	next := func(ctx context.Context) error { return s.Store.Update(ctx, locks, fn) }
	if update == nil {
		return next(ctx)
	}
	return update(ctx, next)
}

// Stage is an update, as in LevelDB.
func (s hookedStore) Stage(ctx context.Context, pairs []kv.Pair) (kv.Staged, error) {
	return nil, s.Update(ctx, nil, func(tx kv.Tx) error {
		for _, p := range pairs {
			tx.Put(p.Key, p.Value)
		}
		return nil
	})
}

// hookedFixture is an open fixture with a hook.
func hookedFixture(t testing.TB) (*fixture, *hooked) {
	f, h := newFixture(t), new(hooked)
	f.wrap = func(e kv.Engine) kv.Engine {
		h.Engine = e
		return h
	}
	f.open()
	return f, h
}

func unavailable(context.Context, func(context.Context) error) error {
	return fmt.Errorf("test: %w", kv.ErrUnavailable)
}

// writeBase64 writes as many random bytes in lines of 76 characters.
func writeBase64(b *bytes.Buffer, r *rand.Rand, size int) {
	var line [57]byte
	for ; size > 0; size -= len(line) {
		for i := range line {
			line[i] = byte(r.Uint32())
		}
		b.WriteString(base64.StdEncoding.EncodeToString(line[:]) + "\r\n")
	}
}
