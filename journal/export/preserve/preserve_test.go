package preserve

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
	"copialettere/policy/preservation"
)

const (
	anna  = "anna@alpha.test"
	bruno = "bruno@alpha.test"
)

var operator = policy.Actor{Role: policy.RoleOperator, Name: "root"}

// rig is a Service over a real journal, in which anna and bruno have archives.
type rig struct {
	t              *testing.T
	engine         kv.Engine
	settings       kv.Store
	journal        *journal.Journal
	policy         *policy.Policy
	archive        *archive.Archive
	ledger         *preservation.Ledger
	drop, receipts string
	service        *Service
	registry       *metrics.Registry
	step           func(string) error
	refuse         func() bool // whether the settings refuse the next Update; nil: none
	told, taken    []string
	today          string    // of the messages
	now            time.Time // of the journal
}

// today is the day of the messages in most tests.
const today = "2026-11-20"

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"drop", "receipts"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := openRig(t, dir)
	for _, mailbox := range []string{anna, bruno} {
		_, err := r.archive.Enable(t.Context(), operator, r.address(mailbox))
		r.must(err)
	}
	return r
}

// openRig opens a rig in a folder. It is closed with the test, or by close.
func openRig(t *testing.T, dir string) *rig {
	t.Helper()
	r := &rig{t: t, drop: filepath.Join(dir, "drop"), receipts: filepath.Join(dir, "receipts")}
	var err error
	r.engine, err = level.Open(filepath.Join(dir, "journal"), level.Options{})
	r.must(err)
	r.with(r.engine)
	t.Cleanup(r.close)
	r.day(today)
	r.start()
	return r
}

// with makes the rest of a rig over an engine.
func (r *rig) with(engine kv.Engine) {
	r.t.Helper()
	settings, err := engine.Settings(r.t.Context())
	r.must(err)
	r.settings = &stubborn{Store: settings, rig: r}
	r.policy, err = policy.Open(r.t.Context(), r.settings, policy.Config{Domains: []policy.Domain{{Name: "alpha.test", Postmasters: []string{"post@alpha.test"}}}})
	r.must(err)
	r.journal, err = journal.Open(engine, journal.Options{
		Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld}, Now: r.clock,
	})
	r.must(err)
	r.ledger = preservation.New(r.settings)
	r.archive = archive.New(archive.Options{Journal: r.journal, Policy: r.policy, Preservation: r.ledger, Overdue: 7 * 24 * time.Hour})
}

// stubborn is a settings store that refuses to write when the rig says so.
type stubborn struct {
	kv.Store
	rig *rig
}

// Update implements kv.Store.
func (s *stubborn) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if s.rig.refuse != nil && s.rig.refuse() {
		return kv.ErrUnavailable
	}
	return s.Store.Update(ctx, locks, fn)
}

// clock is that of the journal.
func (r *rig) clock() time.Time {
	if r.now.IsZero() {
		return time.Now()
	}
	return r.now
}

// day has messages come at noon of a day.
func (r *rig) day(day string) { r.today, r.now = day, start(day).Add(12*time.Hour) }

func (r *rig) close() {
	r.t.Helper()
	if r.journal != nil {
		r.must(errors.Join(r.journal.Close(), r.engine.Close()))
		r.journal = nil
	}
}

// start makes the Service anew, as a start of the program does.
func (r *rig) start() {
	r.registry = new(metrics.Registry)
	var steps sync.Mutex
	r.service = New(Options{
		Ledger: r.ledger, Metrics: r.registry, Logger: slog.New(slog.NewTextHandler(r.t.Output(), nil)), Version: "1", Tell: func(text string) { r.told = append(r.told, text) },
		Step: func(what string) error {
			steps.Lock()
			defer steps.Unlock()
			if r.step != nil {
				return r.step(what)
			}
			return nil
		},
	})
	r.service.Configure(Config{r.archive, preservation.Settings{
		Drop: r.drop, Receipts: r.receipts, Agent: "VATIT-01234567890,Alpha S.r.l.,Contratto 12/2026", Domains: []string{"alpha.test"}, Overdue: 7 * 24 * time.Hour,
	}})
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) address(s string) policy.Address {
	r.t.Helper()
	a, err := policy.ParseMailbox(s)
	r.must(err)
	return a
}

// file journals a message.
func (r *rig) file(subject string, in journal.Intent) {
	r.t.Helper()
	draft := r.journal.NewDraft(r.t.Context())
	defer draft.Discard()
	_, err := draft.Write([]byte("From: mario@ext.test\r\nSubject: " + subject + "\r\n\r\n" + strings.Repeat("Testo.\r\n", 50)))
	r.must(err)
	_, err = draft.Commit(context.Background(), journal.Envelope{MailFrom: "mario@ext.test", Transaction: r.journal.NewTransaction()}, []journal.Intent{in}, nil)
	r.must(err)
}

// mail journals what a day of anna has.
func (r *rig) mail() {
	received := func(class pec.Class) journal.Intent {
		return journal.Intent{Mailbox: anna, Direction: journal.Received, RcptTo: anna, Class: string(class)}
	}
	sent := func(to policy.SentTo) journal.Intent {
		return journal.Intent{Mailbox: anna, Direction: journal.Sent, Class: string(pec.Ordinary), SentTo: string(to), Recipients: []string{"luca@pec.test"}}
	}
	r.file("busta", received(pec.PostaCertificata))
	r.file("accettazione", received(pec.Accettazione))
	r.file("rem", received(pec.REM))
	r.file("ordinaria", received(pec.Ordinary))
	r.file("inviata", sent(policy.SentToCertified))
	r.file("altra", sent(policy.SentToOther))
	imported := received(pec.PostaCertificata)
	imported.Folder, imported.Import = "Imported/INBOX", &journal.Import{Who: "owner anna@alpha.test", Date: time.Now()}
	r.file("importata", imported)
}

// look looks some days after the mail came.
func (r *rig) look(days int) {
	r.t.Helper()
	r.service.Look(r.t.Context(), start(r.today).AddDate(0, 0, days).Add(2*time.Hour))
}

// names returns the files in a folder.
func (r *rig) names(folder string) (names []string) {
	r.t.Helper()
	list, err := os.ReadDir(folder)
	r.must(err)
	for _, entry := range list {
		if !entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

// packages returns what is on record of a mailbox.
func (r *rig) packages(mailbox string, days int) (list []archive.Preserved) {
	r.t.Helper()
	a := r.address(mailbox)
	for p, err := range r.archive.Packages(r.t.Context(), operator, &a, start(r.today).AddDate(0, 0, days)) {
		r.must(err)
		list = append(list, p)
	}
	return list
}

func (r *rig) name() string { return r.today + "_" + anna + ".zip" }

// TestPackage hands over the certified mail of a day, once.
func TestPackage(t *testing.T) {
	r := newRig(t)
	r.mail()
	r.service.Look(t.Context(), start(r.today).AddDate(0, 0, 1).Add(lag-time.Second))
	if got := r.names(r.drop); got != nil {
		t.Fatalf("before its time: %q", got)
	}
	r.look(1)
	if got := r.names(r.drop); !slices.Equal(got, []string{r.name()}) {
		t.Fatalf("%q", got)
	}
	z, err := zip.OpenReader(filepath.Join(r.drop, r.name()))
	r.must(err)
	defer z.Close()
	var subjects, others []string
	for _, f := range z.File {
		if filepath.Ext(f.Name) != ".eml" {
			others = append(others, f.Name)
			continue
		}
		for _, word := range []string{"busta", "accettazione", "rem", "ordinaria", "inviata", "altra", "importata"} {
			if strings.Contains(f.Name, "_"+word+"_") {
				subjects = append(subjects, word)
			}
		}
	}
	if slices.Sort(subjects); !slices.Equal(subjects, []string{"accettazione", "busta", "inviata", "rem"}) {
		t.Errorf("messages: %q", subjects)
	}
	if want := []string{"export.json", "manifest.csv", "gaps.csv", "PIndex.xml", "SHA256SUMS"}; !slices.Equal(others, want) {
		t.Errorf("beside them: %q, want %q", others, want)
	}
	info, err := os.Stat(filepath.Join(r.drop, r.name()))
	r.must(err)
	list := r.packages(anna, 1)
	if len(list) != 1 || list[0].State != preservation.StateHandedOver || list[0].Messages != 4 || list[0].SHA256 != r.digest(r.name()) || list[0].Size != info.Size() ||
		list[0].Placed == nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%+v, mode %v", list, info.Mode())
	}
	if got := r.exports(); !slices.Equal(got, []string{archive.ExportedPreserved + r.name()}) {
		t.Errorf("the log: %q", got)
	}
	r.must(os.Remove(filepath.Join(r.drop, r.name()))) // the service takes it
	r.start()
	r.look(1)
	r.look(2)
	if got := r.names(r.drop); got != nil || len(r.packages(anna, 2)) != 1 {
		t.Errorf("once more: %q", got)
	}
}

// digest returns the SHA-256 of a package.
func (r *rig) digest(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.drop, name))
	r.must(err)
	return hexOf(b)
}

func hexOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// metrics returns the metrics of the last service.
func (r *rig) metrics() map[string]float64 {
	r.t.Helper()
	answer := httptest.NewRecorder()
	r.registry.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	values := make(map[string]float64)
	for line := range strings.Lines(answer.Body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			n, err := strconv.ParseFloat(value, 64)
			r.must(err)
			values[name] = n
		}
	}
	return values
}

// exports returns what the log of anna tells of exports.
func (r *rig) exports() (list []string) {
	r.t.Helper()
	for c, err := range r.policy.Changes(r.t.Context(), r.address(anna)) {
		r.must(err)
		if c.Key == archive.KeyExport {
			list = append(list, c.After)
		}
	}
	return list
}

// TestMissedDays catches up after the folder was absent, and has no package for a day without certified mail.
func TestMissedDays(t *testing.T) {
	r := newRig(t)
	r.look(0) // yesterday: nothing
	r.mail()
	r.must(os.Rename(r.drop, r.drop+".away"))
	r.look(1)
	if _, err := os.Stat(r.drop); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the folder is made: %v", err)
	}
	r.must(os.Rename(r.drop+".away", r.drop))
	r.look(5)
	if got := r.names(r.drop); !slices.Equal(got, []string{r.name()}) {
		t.Errorf("%q", got)
	}
	day, err := r.ledger.Through(t.Context(), anna)
	r.must(err)
	if want := start(r.today).AddDate(0, 0, 4).Format(time.DateOnly); day != want {
		t.Errorf("through %s, want %s", day, want)
	}
}

var errPower = errors.New("no power")

// TestBrokenOff breaks the work off before each step, as a fault of the disk does, and starts anew: the package is handed over once, whether the service
// takes it away meanwhile or not.
func TestBrokenOff(t *testing.T) {
	r := newRig(t)
	var all, own []string
	for at := 0; ; at++ {
		r.day(start("2026-10-01").AddDate(0, 0, at).Format(time.DateOnly))
		r.file("busta "+r.today, journal.Intent{Mailbox: anna, Direction: journal.Received, RcptTo: anna, Class: string(pec.PostaCertificata)})
		var steps []string
		r.step = func(what string) error {
			if steps = append(steps, what); len(steps) > at {
				return errPower
			}
			return nil
		}
		r.look(1)
		broken := len(steps) > at
		r.take()
		r.step = nil
		r.start()
		r.look(1)
		r.take()
		if !slices.Equal(r.taken, []string{r.name()}) {
			t.Errorf("broken off before %q: handed over %q", steps[len(steps)-1], r.taken)
		}
		if r.taken = nil; !broken {
			all = steps
			break
		}
	}
	for _, what := range all {
		if kind, _, _ := strings.Cut(what, " "); slices.Contains([]string{"make", "record", "note"}, kind) {
			own = append(own, kind)
		}
	}
	if len(all) < 20 || !slices.Equal(own, []string{"make", "record", "note", "note"}) {
		t.Errorf("the steps: %q", all)
	}
	if got := len(r.exports()); got != len(all)+1 {
		t.Errorf("the log has %d exports of %d days", got, len(all)+1)
	}
}

// take takes away all packages, as the service does. Each is whole, and on record with its digest.
func (r *rig) take() {
	r.t.Helper()
	for _, name := range r.names(r.drop) {
		z, err := zip.OpenReader(filepath.Join(r.drop, name))
		r.must(err)
		r.must(z.Close())
		at, err := r.ledger.Named(r.t.Context(), name)
		r.must(err)
		p, err := r.ledger.Get(r.t.Context(), at.Archive, at.Day)
		r.must(err)
		if p == nil || p.SHA256 != r.digest(name) {
			r.t.Errorf("%s is not as it is on record: %+v", name, p)
		}
		r.taken = append(r.taken, name)
		r.must(os.Remove(filepath.Join(r.drop, name)))
	}
}

// TestSameBytes makes the package of a day twice: the second time from nothing but the archive.
func TestSameBytes(t *testing.T) {
	r := newRig(t)
	r.mail()
	r.look(1)
	first := r.digest(r.name())
	r.must(r.archive.ForgetPackages(t.Context(), anna))
	r.must(os.Remove(filepath.Join(r.drop, r.name())))
	r.start()
	r.look(1)
	if second := r.digest(r.name()); second != first {
		t.Errorf("%s, then %s", first, second)
	}
}

// TestReceipts notes what comes back.
func TestReceipts(t *testing.T) {
	r := newRig(t)
	r.mail()
	r.look(1)
	base := strings.TrimSuffix(r.name(), ".zip")
	now := start(r.today).AddDate(0, 0, 1).Add(2 * time.Hour)
	put := func(name, text string, age time.Duration) {
		path := filepath.Join(r.receipts, name)
		r.must(os.WriteFile(path, []byte(text), 0o644))
		r.must(os.Chtimes(path, now.Add(-age), now.Add(-age)))
	}
	noted := func() (names []string) {
		for _, receipt := range r.packages(anna, 1)[0].Receipts {
			names = append(names, receipt.Name)
		}
		return names
	}
	for _, step := range []struct {
		name, file string
		age        time.Duration
		want       []string
	}{
		{"of nothing", "readme.txt", time.Hour, nil},
		{"being written", base + ".xml", time.Second, nil},
		{"under another name yet", base + ".xml.part", time.Hour, nil},
		{"hidden", "." + base + ".xml", time.Hour, nil},
		{"whole", base + ".xml", time.Hour, []string{base + ".xml"}},
		{"changed later", base + ".xml", 2 * time.Hour, []string{base + ".xml"}},
		{"a second one", base + ".zip.p7m", time.Hour, []string{base + ".xml", base + ".zip.p7m"}},
	} {
		put(step.file, step.name, step.age)
		r.service.Look(t.Context(), now)
		if got := noted(); !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
	p := r.packages(anna, 30)[0]
	sum := sha256.Sum256([]byte("whole"))
	if p.State != preservation.StateReceived || p.Receipts[0].SHA256 != hex.EncodeToString(sum[:]) || p.Receipts[0].Size != int64(len("whole")) || !p.Receipts[0].Time.Equal(now) {
		t.Errorf("%+v", p)
	}
	r.start()
	r.look(30)
	if got := noted(); len(got) != 2 || r.told != nil {
		t.Errorf("after a restart: %q; told %q", got, r.told)
	}
}

// TestOverdue tells the operator once of a receipt that does not come, and takes it when it does.
func TestOverdue(t *testing.T) {
	r := newRig(t)
	r.mail()
	for _, day := range []int{1, 7, 9, 9, 12} {
		if day == 12 {
			r.start()
		}
		r.look(day)
	}
	if len(r.told) != 1 || !strings.Contains(r.told[0], r.name()) {
		t.Errorf("%q", r.told)
	}
	if got := r.packages(anna, 12)[0]; got.State != preservation.StateOverdue || got.Missed == nil {
		t.Errorf("%+v", got)
	}
	r.must(os.WriteFile(filepath.Join(r.receipts, r.name()), nil, 0o644))
	r.look(13)
	if got := r.packages(anna, 13)[0]; got.State != preservation.StateReceived {
		t.Errorf("%+v", got)
	}
}

// TestErased leaves no address of an erased mailbox among the records, and adds none while it is being erased.
func TestErased(t *testing.T) {
	r := newRig(t)
	r.mail()
	r.look(1)
	r.must(os.WriteFile(filepath.Join(r.receipts, r.name()+".xml"), nil, 0o644))
	r.look(2)
	_, err := r.archive.Disable(t.Context(), operator, r.address(anna), anna, true)
	r.must(err)
	r.must(r.policy.Erasing(t.Context(), anna))
	r.must(r.archive.ForgetPackages(t.Context(), anna))
	r.look(9)
	if _, err := r.archive.AddPackage(t.Context(), anna, preservation.Package{Day: r.today, Name: "x.zip"}); !errors.Is(err, preservation.ErrForgotten) {
		t.Errorf("added while it is being erased: %v", err)
	}
	for pair, err := range r.settings.Scan(t.Context(), []byte("v"), []byte("w")) {
		r.must(err)
		if strings.Contains(string(pair.Key)+string(pair.Value), "anna") {
			t.Errorf("left: %q %q", pair.Key, pair.Value)
		}
	}
}

// TestNames finds the package that a receipt is of.
func TestNames(t *testing.T) {
	r := newRig(t)
	add := func(archive, name string) {
		r.must(r.ledger.Writing(func() error {
			return r.settings.Update(t.Context(), []string{policy.SettingsLock(archive)}, func(tx kv.Tx) error {
				return r.ledger.Add(tx, archive, preservation.Package{Day: "2026-11-29", Name: name})
			})
		}))
	}
	add("mario@alpha.it", "2026-11-29_mario@alpha.it.zip")
	add("mario@alpha.it.example.org", "2026-11-29_mario@alpha.it.example.org.zip")
	for file, want := range map[string]string{
		"2026-11-29_mario@alpha.it.xml":             "mario@alpha.it",
		"2026-11-29_mario@alpha.it":                 "mario@alpha.it",
		"2026-11-29_mario@alpha.it.zip":             "mario@alpha.it",
		"2026-11-29_mario@alpha.it.zip.xml.p7m":     "mario@alpha.it",
		"2026-11-29_mario@alpha.it.example.org.xml": "mario@alpha.it.example.org",
		"2026-11-29_mario@alpha.it.XML.P7M":         "mario@alpha.it",
		"2026-11-29_mario@alpha.it.example.xml":     "", // of a mailbox that is not on record, or no more
		"2026-11-29_mario@alpha.it.org":             "",
		"2026-11-29_mario@alpha.it.zip.org.xml":     "",
		"2026-11-30_mario@alpha.it.xml":             "",
		"x2026-11-29_mario@alpha.it.xml":            "",
		"....":                                      "",
		"2026-11-29_mario@alpha.example.org.xml.it": "",
	} {
		at, err := r.ledger.OfReceipt(t.Context(), file)
		if err != nil || at.Archive != want {
			t.Errorf("%s: %q %v, want %q", file, at.Archive, err, want)
		}
	}
	if name, err := (&maker{service: r.service, mailbox: policy.Mailbox{Address: r.address("mario@alpha.it")}}).name(t.Context(), "2026-11-29"); err != nil ||
		name != "2026-11-29_mario@alpha.it_2.zip" {
		t.Errorf("a name that is taken: %q %v", name, err)
	}
	if name, err := (&maker{service: r.service, mailbox: policy.Mailbox{Address: r.address("mario@alpha.zip")}}).name(t.Context(), "2026-11-29"); err != nil ||
		name != "2026-11-29_mario@alpha.zip_1.zip" {
		t.Errorf("a name that a receipt may have: %q %v", name, err)
	}
}
