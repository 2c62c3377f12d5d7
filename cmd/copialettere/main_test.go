package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/export"
	"copialettere/journal/httpd"
	"copialettere/lmtp/nexthop"
	"copialettere/policy/archive"
)

// place is a data folder with its configuration, and perhaps a running daemon.
type place struct {
	t   *testing.T
	dir string
	log safeBuffer // of the daemon

	level  slog.LevelVar  // of that log
	hangup chan os.Signal // stands for SIGHUP
}

// safeBuffer is a buffer that one goroutine writes and another reads.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newPlace(t *testing.T) *place {
	t.Helper()
	// Unix sockets have short paths; t.TempDir's can be too long for them.
	dir, err := os.MkdirTemp("", "copialettere")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text := fmt.Sprintf(`data = %q
[received]
listen = ["unix:lmtp.sock"]
next_hop = "maildir:%s"
[[domain]]
name = "alpha.test"
`, filepath.Join(dir, "data"), filepath.Join(dir, "mail"))
	if err := os.WriteFile(filepath.Join(dir, "copialettere.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &place{t: t, dir: dir, hangup: make(chan os.Signal, 1)}
}

func (p *place) reloading() reloading {
	return reloading{file: filepath.Join(p.dir, "copialettere.toml"), level: &p.level, signal: p.hangup}
}

// configure appends text to the configuration, which ends in the [[domain]] alpha.test.
func (p *place) configure(text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, "copialettere.toml")
	old, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, append(old, text...), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) config() *config.Config {
	p.t.Helper()
	c, err := config.Load(filepath.Join(p.dir, "copialettere.toml"))
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// run runs a command and returns what it printed.
func (p *place) run(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	var out, errs bytes.Buffer
	code = run(p.t.Context(), append(args, "-config", filepath.Join(p.dir, "copialettere.toml")), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command that succeeds.
func (p *place) must(args ...string) string {
	p.t.Helper()
	code, stdout, stderr := p.run(args...)
	if code != 0 {
		p.t.Fatalf("copialettere %s: exit status %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// daemon serves until the function that it returns is called.
func (p *place) daemon() (stop func()) {
	p.t.Helper()
	c := p.config()
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, c, slog.New(slog.NewTextHandler(io.MultiWriter(p.t.Output(), &p.log), &slog.HandlerOptions{Level: &p.level})), p.reloading())
	}()
	if err := awaitSocket(ctx, "unix", filepath.Join(p.dir, "data", "lmtp.sock"), done); err != nil {
		p.t.Fatal(err)
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("daemon: %v", err)
		}
	}
}

// deliver hands a message to the hook, which must accept it.
func (p *place) deliver(message, rcpt, orcpt string) {
	p.t.Helper()
	if reply := p.try(message, rcpt, orcpt); !reply.Positive() {
		p.t.Fatalf("deliver: %v", reply)
	}
}

// try hands a message to the hook and returns the first refusal, or the final reply.
func (p *place) try(message, rcpt, orcpt string) nexthop.Reply {
	p.t.Helper()
	file := filepath.Join(p.dir, "message.eml")
	if err := os.WriteFile(file, []byte(message), 0o600); err != nil {
		p.t.Fatal(err)
	}
	spec, err := nexthop.ParseSpec("lmtp:unix:" + filepath.Join(p.dir, "data", "lmtp.sock"))
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := nexthop.New(spec, nexthop.Options{}).Connect(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Quit()
	reply, err := demoDeliver(p.t.Context(), conn, file, rcpt, orcpt)
	if err != nil {
		p.t.Fatalf("deliver: %v", err)
	}
	return reply
}

const message = "From: Sender <s@ext.test>\r\nSubject: =?utf-8?q?Perch=C3=A9?=\r\nMessage-ID: <1@ext.test>\r\n\r\nText\r\n.\r\n"

func TestHelp(t *testing.T) {
	for _, name := range slices.Concat(slices.Collect(maps.Keys(commands())), slices.Collect(maps.Keys(topics()))) {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(name), "-h"), &out, &errs); code != 0 || errs.Len() > 0 {
			t.Errorf("%s -h: exit status %d, %s", name, code, errs.String())
		}
		help := out.String()
		if !strings.HasPrefix(help, "Usage: copialettere "+name) || !strings.Contains(help, "Example: ") || strings.Count(help, "\n") > 24 {
			t.Errorf("%s -h is not a screen with a usage and an example:\n%s", name, help)
		}
		if !strings.Contains(usage, "\n  "+name) {
			t.Errorf("the usage does not name %s", name)
		}
	}
}

// TestHelpOf asks for help with "help COMMAND".
func TestHelpOf(t *testing.T) {
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"help list": {0, listHelp}, "help mailbox set": {0, setHelp()}, "help mailbox show": {0, mailboxHelp}, "help": {0, usage}, "help lsit": {2, `no command "lsit"`},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &out, &errs); code != want.code || !strings.Contains(out.String()+errs.String(), want.text) {
			t.Errorf("%s: exit status %d, %s%s", args, code, out.String(), errs.String())
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"no command":                 {},
		"unknown command":            {"lsit"},
		"unknown flag":               {"list", "anna@alpha.test", "-jsno"},
		"too few arguments":          {"cat", "anna@alpha.test", "INBOX/2026-11"},
		"too many":                   {"list", "anna@alpha.test", "bruno@alpha.test"},
		"mailbox nothing":            {"mailbox"},
		"mailbox what":               {"mailbox", "enabel", "anna@alpha.test"},
		"mailbox list of one":        {"mailbox", "list", "anna@alpha.test"},
		"mailbox show nobody":        {"mailbox", "show"},
		"mailbox set nothing":        {"mailbox", "set", "anna@alpha.test"},
		"mailbox hold without why":   {"mailbox", "hold", "anna@alpha.test"},
		"mailbox enable with a flag": {"mailbox", "enable", "anna@alpha.test", "-now"},
		"mailbox disable with -reason": {
			"mailbox", "disable", "anna@alpha.test", "-confirm", "anna@alpha.test", "-reason", "none",
		},
		"gaps of two":        {"gaps", "anna@alpha.test", "bruno@alpha.test"},
		"version with more":  {"version", "extra"},
		"demo without a dir": {"demo"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), args, &out, &errs); code != 2 || out.Len()+errs.Len() == 0 {
				t.Errorf("exit status %d, said %q", code, errs.String())
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	p := newPlace(t)
	file := filepath.Join(p.dir, "copialettere.toml")
	if err := os.WriteFile(file, []byte("data = \"relative\"\n[received]\nlisen = []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "check", "init", "verify"} {
		code, _, stderr := p.run(command)
		if code != 2 || !strings.Contains(stderr, file+":1: data: ") || !strings.Contains(stderr, file+":3: received.lisen: ") {
			t.Errorf("%s: exit status %d\n%s", command, code, stderr)
		}
	}
}

func TestNoDataFolder(t *testing.T) {
	p := newPlace(t)
	code, _, stderr := p.run("list", "anna@alpha.test")
	if code != 1 || !strings.Contains(stderr, `make it with "copialettere init"`) {
		t.Errorf("exit status %d\n%s", code, stderr)
	}
	if got := p.must("init"); !strings.HasPrefix(got, "made ") {
		t.Errorf("init: %s", got)
	}
	if got := p.must("init"); !strings.Contains(got, "is a data folder already") {
		t.Errorf("init again: %s", got)
	}
	info, err := os.Stat(filepath.Join(p.dir, "data"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: %v, %v", info.Mode(), err)
	}
}

func TestInitRefusesAFullFolder(t *testing.T) {
	p := newPlace(t)
	if err := os.MkdirAll(filepath.Join(p.dir, "data", "photos"), 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := p.run("init"); code != 1 || !strings.Contains(stderr, "is not empty and is no data folder") {
		t.Errorf("exit status %d\n%s", code, stderr)
	}
}

// TestCommands runs every command twice: against the daemon, and on the data folder when the daemon is down.
func TestCommands(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	if got := p.must("mailbox", "enable", "Anna@Alpha.test"); !strings.Contains(got, "anna@alpha.test") || !strings.Contains(got, "archive on") {
		t.Errorf("enable: %s", got)
	}
	if got := p.must("mailbox", "enable", "anna@alpha.test"); !strings.Contains(got, "nothing changed") {
		t.Errorf("enable again: %s", got)
	}
	p.deliver(message, "anna@alpha.test", "anna@alpha.test")
	p.deliver(message, "anna@alpha.test", "info@alpha.test")
	t.Run("daemon", func(t *testing.T) { testQueries(t, p) })
	if got := p.must("check"); !strings.Contains(got, "the daemon has it open") {
		t.Errorf("check: %s", got)
	}
	stop()
	t.Run("folder", func(t *testing.T) { testQueries(t, p) })
	if got := p.must("check"); !strings.Contains(got, "1 volume") {
		t.Errorf("check: %s", got)
	}
	if got := p.must("mailbox", "disable", "anna@alpha.test", "-confirm", "anna@alpha.test"); !strings.Contains(got, "archive off") {
		t.Errorf("disable: %s", got)
	}
	p.must("mailbox", "set", "anna@alpha.test", "language=en")
	if got := p.must("why", "anna@alpha.test"); !strings.Contains(got, "skipped: disabled (the archive has been off since then)") {
		t.Errorf("why of a disabled mailbox: %s", got)
	}
	if got := p.must("mailbox", "log", "anna@alpha.test"); strings.Count(got, "  archive from ") != 2 {
		t.Errorf("log: %s", got)
	}
}

func testQueries(t *testing.T, p *place) {
	p = &place{t: t, dir: p.dir}
	var e httpd.EntryView
	if err := json.Unmarshal([]byte(p.must("list", "anna@alpha.test", "-json")), &e); err != nil {
		t.Fatal(err)
	}
	if e.Subject != "Perché" || e.UID != 1 || e.State != "delivered" || e.Class != "ordinary" || e.Size != int64(len(message)) {
		t.Errorf("list: %+v", e)
	}
	if got := p.must("list", "anna@alpha.test"); !strings.Contains(got, "Perché") {
		t.Errorf("list: %s", got)
	}
	if got := p.must("cat", "anna@alpha.test", e.Folder, "1"); got != message {
		t.Errorf("cat: %q", got)
	}
	for _, form := range export.Forms() {
		testExport(t, p, form, e.SHA256)
	}
	why := p.must("why", "-json", "anna@alpha.test", "-message-id", "1@ext.test")
	var verdicts []string
	for line := range strings.Lines(why) {
		var v archive.Verdict
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		verdicts = append(verdicts, v.Verdict+" "+v.Reason)
	}
	if got := strings.Join(verdicts, ", "); got != "journaled , skipped alias" {
		t.Errorf("why: %s", got)
	}
	if got := p.must("why", "anna@alpha.test"); !strings.Contains(got, "skipped: alias, first sent to info@alpha.test") {
		t.Errorf("why: %s", got)
	}
	if got := p.must("verify"); !strings.Contains(got, "1 entry") || !strings.HasSuffix(got, "sound\n") {
		t.Errorf("verify: %s", got)
	}
	if got := p.must("stats"); !strings.Contains(got, "anna@alpha.test") {
		t.Errorf("stats: %s", got)
	}
	if got := p.must("mailbox", "list", "-json"); !strings.Contains(got, `"entries":1`) {
		t.Errorf("mailbox list: %s", got)
	}
	for name, args := range map[string][]string{
		"list of nobody":        {"list", "bruno@alpha.test"},
		"why without such id":   {"why", "anna@alpha.test", "-message-id", "2@ext.test"},
		"cat without such uid":  {"cat", "anna@alpha.test", e.Folder, "2"},
		"stats of nobody":       {"stats", "bruno@alpha.test"},
		"cat of another folder": {"cat", "anna@alpha.test", "Sent/2026-01", "1"},
	} {
		if code, stdout, stderr := p.run(args...); code != 1 {
			t.Errorf("%s: exit status %d\n%s%s", name, code, stdout, stderr)
		}
	}
	for name, args := range map[string][]string{
		"no address":     {"list", "anna"},
		"bad folder":     {"cat", "anna@alpha.test", "INBOX", "1"},
		"bad uid":        {"cat", "anna@alpha.test", e.Folder, "x"},
		"foreign domain": {"mailbox", "enable", "anna@unknown.test"},
	} {
		if code, stdout, stderr := p.run(args...); code != 2 {
			t.Errorf("%s: exit status %d\n%s%s", name, code, stdout, stderr)
		}
	}
}

// TestAnswerBrokenOff cuts an answer off in the middle, as when the daemon is killed.
func TestAnswerBrokenOff(t *testing.T) {
	c := &client{http: http.Client{Transport: &direct{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "{\"entries\": 1}\n{\"entr")
	})}}}
	n, err := each(&invocation{stderr: io.Discard}, t.Context(), c, http.MethodGet, "/stats", nil, func(journal.FolderStats) error { return nil })
	if n != 1 || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "the answer broke off") {
		t.Errorf("after %d objects: %v", n, err)
	}
}

func TestOneProcess(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	defer stop()
	if _, err := openArchive(t.Context(), p.config(), slog.New(slog.DiscardHandler)); !errors.Is(err, datafolder.ErrInUse) {
		t.Errorf("second process: %v", err)
	}
}

func TestStaleSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "copialettere")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path, 0o600, ""); err == nil {
		t.Error("a socket in use was taken over")
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	list, err := listenUnix(path, 0o660, "")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	list[0].Close()
}

func TestMetricsListener(t *testing.T) {
	p := newPlace(t)
	p.configure("[admin]\nlisten = [\"unix:admin.sock\", \"tcp:127.0.0.1:0\"]\n")
	p.must("init")
	defer p.daemon()()
	// The kernel chose the port, and the log names it.
	_, address, _ := strings.Cut(p.log.String(), "serves=metrics address=")
	address, _, _ = strings.Cut(address, "\n")
	p.must("mailbox", "enable", "anna@alpha.test")
	p.deliver(message, "anna@alpha.test", "anna@alpha.test")
	get := func(path string) (int, string) {
		nc, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "GET %s HTTP/1.0\r\n\r\n", path)
		b, err := io.ReadAll(nc)
		if err != nil {
			t.Fatal(err)
		}
		var code int
		fmt.Sscanf(string(b), "HTTP/1.0 %d", &code)
		return code, string(b)
	}
	code, text2 := get("/metrics")
	for _, want := range []string{
		`copialettere_transactions_total{direction="received",outcome="delivered"} 1`,
		`copialettere_verdicts_total{direction="received",verdict="journaled"} 1`,
		"copialettere_store_fsyncs_total", "copialettere_commit_seconds_bucket", "copialettere_connections", "copialettere_gaps_total 0",
		"copialettere_next_hop_final_seconds_count", "copialettere_entry_bytes_total", "process_cpu_seconds_total", "go_goroutines",
	} {
		if code != 200 || !strings.Contains(text2, want) {
			t.Errorf("status %d, metrics lack %q", code, want)
		}
	}
	// The operator's interface is on the unix socket only.
	if code, text := get("/api/v1/mailboxes/anna@alpha.test/entries"); code != 404 {
		t.Errorf("the TCP listener answers %d to more than metrics:\n%s", code, text)
	}
}
