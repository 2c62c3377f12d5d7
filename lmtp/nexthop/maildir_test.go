package nexthop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// tracedFiles records the calls to a file system and makes some of them fail.
type tracedFiles struct {
	maildirFiles
	trace *[]string
	fail  func(call string) error
}

// uniqueName is the file name of the Maildir rule.
var uniqueName = regexp.MustCompile(`\d+\.M\d+P\d+Q\d+\.[^ ]+`)

func (f tracedFiles) call(text string) error {
	text = uniqueName.ReplaceAllString(text, "NAME")
	*f.trace = append(*f.trace, text)
	if f.fail == nil {
		return nil
	}
	return f.fail(text)
}

func (f tracedFiles) mkdirAll(dir string) error {
	if err := f.call("mkdir " + dir); err != nil {
		return err
	}
	return f.maildirFiles.mkdirAll(dir)
}

func (f tracedFiles) create(name string) (maildirFile, error) {
	if err := f.call("create " + name); err != nil {
		return nil, err
	}
	file, err := f.maildirFiles.create(name)
	return tracedFile{file, f}, err
}

func (f tracedFiles) link(old, new string) error {
	if err := f.call("link " + old + " " + new); err != nil {
		return err
	}
	return f.maildirFiles.link(old, new)
}

func (f tracedFiles) remove(name string) error {
	if err := f.call("remove " + name); err != nil {
		return err
	}
	return f.maildirFiles.remove(name)
}

func (f tracedFiles) syncDir(dir string) error {
	if err := f.call("sync folder " + dir); err != nil {
		return err
	}
	return f.maildirFiles.syncDir(dir)
}

type tracedFile struct {
	maildirFile
	files tracedFiles
}

func (f tracedFile) Write(p []byte) (int, error) {
	if err := f.files.call("write"); err != nil {
		return 0, err
	}
	return f.maildirFile.Write(p)
}

func (f tracedFile) Sync() error {
	if err := f.files.call("sync file"); err != nil {
		return err
	}
	return f.maildirFile.Sync()
}

func (f tracedFile) Close() error {
	if err := f.files.call("close"); err != nil {
		f.maildirFile.Close()
		return err
	}
	return f.maildirFile.Close()
}

// tracedHop returns a Maildir hop over a traced file system, and the trace.
func tracedHop(t *testing.T, folder string, options Options, fail func(call string) error) (*Hop, *[]string) {
	t.Helper()
	h, trace := New(mustSpec(t, "maildir:"+folder), options), new([]string)
	h.maildir.open = func(path string) (maildirFiles, error) {
		files, err := openMaildirFiles(path)
		return tracedFiles{files, trace, fail}, err
	}
	return h, trace
}

// messages returns the contents of all files in one sub-folder (tmp, new or cur) of the Maildirs below a folder, by mailbox.
func messages(t *testing.T, folder, sub string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path)) != sub {
			return err
		}
		data, err := os.ReadFile(path)
		mailbox, _ := filepath.Rel(folder, filepath.Dir(filepath.Dir(path)))
		found[mailbox] = append(found[mailbox], string(data))
		if name := filepath.Base(path); uniqueName.FindString(name) != name {
			t.Errorf("file name %q", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// maildirDelivery delivers a message in two writes and returns all replies.
func maildirDelivery(t *testing.T, h *Hop, text string, recipients ...string) []string {
	t.Helper()
	conn, err := h.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Quit()
	conn.Mail("ext@ext.test", nil)
	for _, r := range recipients {
		conn.Rcpt(r, nil)
	}
	conn.Data()
	got := replies(t.Context(), conn, conn.Pending())
	if got[len(got)-1] != "354 go ahead" {
		return got
	}
	got = append(got, message(t.Context(), conn, text)...)
	return append(got, replies(t.Context(), conn, conn.Pending())...)
}

// TestMaildirOrder checks the order of the file system calls that make a delivery durable before its 250. A missing sync fails it.
func TestMaildirOrder(t *testing.T) {
	h, trace := tracedHop(t, t.TempDir(), Options{}, nil)
	want := []string{
		"mkdir alpha.test/anna/tmp", "mkdir alpha.test/anna/new", "mkdir alpha.test/anna/cur",
		"sync folder alpha.test/anna", "sync folder alpha.test", "sync folder .",
		"mkdir beta.test/mario/tmp", "mkdir beta.test/mario/new", "mkdir beta.test/mario/cur",
		"sync folder beta.test/mario", "sync folder beta.test", "sync folder .",
	}
	delivery := []string{
		"create alpha.test/anna/tmp/NAME", "write", "sync file", "close",
		"link alpha.test/anna/tmp/NAME alpha.test/anna/new/NAME", "sync folder alpha.test/anna/new",
		"link alpha.test/anna/tmp/NAME beta.test/mario/new/NAME", "sync folder beta.test/mario/new",
		"remove alpha.test/anna/tmp/NAME",
	}
	for _, want := range [][]string{append(want, delivery...), delivery} {
		*trace = nil
		maildirDelivery(t, h, "x\r\n", "anna@alpha.test", "mario@beta.test")
		if !slices.Equal(*trace, want) {
			t.Errorf("calls\n%s\nwant\n%s", strings.Join(*trace, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestMaildirDelivery(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "not", "there", "yet")
	h := New(mustSpec(t, "maildir:"+folder), Options{HelloName: "mx.alpha.test"})
	const text = ".dot\r\nNUL \x00 CR \r 8-bit \xe4\r\n\r\n..\r\n.\r\n"
	got := maildirDelivery(t, h, text, "Anna@Alpha.test", "../../etc@alpha.test", "anna@alpha.test", `"m o"@beta.test`, "Postmaster")
	want := []string{
		"250 2.1.0 sender ok", "250 2.1.5 recipient ok", "550 5.1.3 this address cannot have a Maildir", "250 2.1.5 recipient ok",
		"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", "354 go ahead",
		"250 2.0.0 <Anna@Alpha.test> stored", "250 2.0.0 <anna@alpha.test> stored", `250 2.0.0 <"m o"@beta.test> stored`,
		"250 2.0.0 <Postmaster> stored",
	}
	if !slices.Equal(got, want) {
		t.Errorf("replies %q\nwant %q", got, want)
	}
	stored := messages(t, folder, "new")
	for mailbox, want := range map[string]int{"alpha.test/anna": 2, "beta.test/m o": 1, "mx.alpha.test/postmaster": 1} {
		if len(stored[mailbox]) != want {
			t.Errorf("%s has %d messages, want %d", mailbox, len(stored[mailbox]), want)
		}
		for _, m := range stored[mailbox] {
			if m != text {
				t.Errorf("%s has %q", mailbox, m)
			}
		}
		delete(stored, mailbox)
	}
	if len(stored) > 0 {
		t.Errorf("also stored: %q", stored)
	}
	if left := messages(t, folder, "tmp"); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestMaildirOf(t *testing.T) {
	tests := []struct {
		address, want string
		ok            bool
	}{
		{"anna@alpha.test", "alpha.test/anna", true},
		{"Anna+Tag@ALPHA.test", "alpha.test/anna+tag", true},
		{`"anna"@alpha.test`, "alpha.test/anna", true},
		{`"a\"b@c"@alpha.test`, `alpha.test/a"b@c`, true},
		{"jürgen@müller.test", "müller.test/jürgen", true},
		{"anna@[192.0.2.1]", "[192.0.2.1]/anna", true},
		{"postmaster", "mx.test/postmaster", true},
		{"anna", "", false},
		{"", "", false},
		{"@alpha.test", "", false},
		{"anna@", "", false},
		{`""@alpha.test`, "", false},
		{`"@alpha.test`, "", false},
		{".anna@alpha.test", "", false},
		{"..@alpha.test", "", false},
		{"anna@..", "", false},
		{"anna@.alpha.test", "", false},
		{"a/b@alpha.test", "", false},
		{`"../x"@alpha.test`, "", false},
		{`"\.\./x"@alpha.test`, "", false},
		{`"\..x"@alpha.test`, "", false},
		{"anna@alpha/test", "", false},
		{"an na@alpha.test", "", false},
		{`an\na@alpha.test`, "", false},
		{"anna>@alpha.test", "", false},
		{"an\x00na@alpha.test", "", false},
		{"an\tna@alpha.test", "", false},
		{"an\xffna@alpha.test", "", false},
		{strings.Repeat("a", 256) + "@alpha.test", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			got, ok := maildirOf(tt.address, "mx.test")
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("got %q, %v; want %q, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// FuzzMaildirOf checks that no address leads anywhere but two folders down.
func FuzzMaildirOf(f *testing.F) {
	for _, s := range []string{"anna@alpha.test", `"a b"@alpha.test`, "../../x@y", `"\.\."@x`, "postmaster", "a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		mailbox, ok := maildirOf(address, "mx.test")
		if !ok {
			return
		}
		domain, local, found := strings.Cut(mailbox, "/")
		if !found || strings.Contains(local, "/") || !filepath.IsLocal(mailbox) || filepath.Clean(mailbox) != mailbox ||
			domain[0] == '.' || local[0] == '.' || strings.ContainsRune(mailbox, 0) {
			t.Fatalf("%q gives %q", address, mailbox)
		}
	})
}

// TestMaildirFaults makes every call fail once. The sender is told to try again, without internal text; the cause is in the log; nothing
// stays behind; and the next delivery works.
func TestMaildirFaults(t *testing.T) {
	const fault, full = "451 4.3.0 the mail store has a fault, try again later", "452 4.3.1 the mail store is full, try again later"
	const stored = "250 2.0.0 <anna@alpha.test> stored"
	tests := []struct {
		name, call string
		err        error
		want       []string // from the first reply to RCPT on
	}{
		{"mkdir", "mkdir alpha.test/anna/new", syscall.EIO, []string{fault, "250 2.1.5 recipient ok", "354 go ahead", "250 2.0.0 <mario@beta.test> stored"}},
		{"mkdir, full", "mkdir alpha.test/anna/new", syscall.ENOSPC, []string{full, "250 2.1.5 recipient ok", "354 go ahead", "250 2.0.0 <mario@beta.test> stored"}},
		{"sync after mkdir", "sync folder alpha.test", syscall.EIO, []string{fault, "250 2.1.5 recipient ok", "354 go ahead", "250 2.0.0 <mario@beta.test> stored"}},
		{"create", "create alpha.test/anna/tmp/NAME", syscall.EIO, []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", fault}},
		{"create, over quota", "create alpha.test/anna/tmp/NAME", syscall.EDQUOT, []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", full}},
		{"write", "write", syscall.EIO, []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", "354 go ahead", fault, fault}},
		{"write, full", "write", fmt.Errorf("write: %w", syscall.ENOSPC), []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", "354 go ahead", full, full}},
		{"sync of the file", "sync file", syscall.EIO, []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", "354 go ahead", fault, fault}},
		{"close", "close", syscall.ENOSPC, []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", "354 go ahead", full, full}},
		{"one link", "link alpha.test/anna/tmp/NAME beta.test/mario/new/NAME", syscall.EIO, []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", "354 go ahead", stored, fault}},
		{"one sync of new", "sync folder beta.test/mario/new", syscall.EIO, []string{"250 2.1.5 recipient ok", "250 2.1.5 recipient ok", "354 go ahead", stored, fault}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			folder, failed := t.TempDir(), false
			var log bytes.Buffer
			h, _ := tracedHop(t, folder, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(call string) error {
				if call == tt.call && !failed {
					failed = true
					return tt.err
				}
				return nil
			})
			got := maildirDelivery(t, h, "x\r\n", "anna@alpha.test", "mario@beta.test")[1:]
			if !failed {
				t.Fatalf("the call %q was never made", tt.call)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("replies %q\nwant %q", got, tt.want)
			}
			if !strings.Contains(log.String(), tt.err.Error()) {
				t.Errorf("the cause is not in the log: %s", log.String())
			}
			// The folder holds what the replies say.
			accepted := 0
			for _, r := range got {
				if strings.HasSuffix(r, "stored") {
					accepted++
				}
			}
			held := 0
			for _, list := range messages(t, folder, "new") {
				held += len(list)
			}
			if held != accepted {
				t.Errorf("%d messages for %d acceptances", held, accepted)
			}
			if left := messages(t, folder, "tmp"); len(left) > 0 {
				t.Errorf("left in tmp: %q", left)
			}
			if got := maildirDelivery(t, h, "x\r\n", "anna@alpha.test"); got[len(got)-1] != stored {
				t.Errorf("the next delivery: %q", got)
			}
		})
	}
}

// TestMaildirAbort breaks off inside a message, in every way.
func TestMaildirAbort(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, stop := range map[string]func(Conn) error{
		"Abort":          func(c Conn) error { c.Abort(); return c.End(t.Context()) },
		"Quit":           func(c Conn) error { c.Quit(); return c.End(t.Context()) },
		"context":        func(c Conn) error { return c.End(canceled) },
		"another MAIL":   func(c Conn) error { c.Mail("", nil); return c.End(t.Context()) },
		"Abort and more": func(c Conn) error { c.Abort(); c.Abort(); c.Quit(); c.Rcpt("x@alpha.test", nil); return c.Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			conn := open(t, New(mustSpec(t, "maildir:"+folder), Options{}), "anna@alpha.test")
			if _, err := conn.Write(testMessage(100_000)); err != nil {
				t.Fatal(err)
			}
			if n := len(messages(t, folder, "tmp")["alpha.test/anna"]); n != 1 {
				t.Fatalf("%d files in tmp while the message is written", n)
			}
			if err := stop(conn); err == nil || !conn.Broken() {
				t.Errorf("error %v, broken %v", err, conn.Broken())
			}
			for _, sub := range []string{"tmp", "new"} {
				if left := messages(t, folder, sub); len(left) > 0 {
					t.Errorf("%s holds %d messages", sub, len(left))
				}
			}
		})
	}
}

// TestMaildirRemoved: an operator removes a Maildir while the program runs. One message is deferred, the next is delivered.
func TestMaildirRemoved(t *testing.T) {
	folder := t.TempDir()
	h := New(mustSpec(t, "maildir:"+folder), Options{})
	maildirDelivery(t, h, "1\r\n", "anna@alpha.test")
	if err := os.RemoveAll(filepath.Join(folder, "alpha.test")); err != nil {
		t.Fatal(err)
	}
	if got := maildirDelivery(t, h, "2\r\n", "anna@alpha.test"); !strings.HasPrefix(got[len(got)-1], "451 4.3.0 ") {
		t.Errorf("replies %q", got)
	}
	if got := maildirDelivery(t, h, "3\r\n", "anna@alpha.test"); got[len(got)-1] != "250 2.0.0 <anna@alpha.test> stored" {
		t.Errorf("replies %q", got)
	}
}

// TestMaildirLinkOut: a symbolic link leads out of the folder. Nothing is written there.
func TestMaildirLinkOut(t *testing.T) {
	folder, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(folder, "alpha.test")); err != nil {
		t.Fatal(err)
	}
	h := New(mustSpec(t, "maildir:"+folder), Options{})
	got := maildirDelivery(t, h, "x\r\n", "anna@alpha.test")
	if !strings.HasPrefix(got[1], "451 4.3.0 ") {
		t.Errorf("replies %q", got)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("written outside: %v, %v", entries, err)
	}
}

// TestMaildirSequence checks what a connection answers outside a message.
func TestMaildirSequence(t *testing.T) {
	conn, err := New(mustSpec(t, "maildir:"+t.TempDir()), Options{}).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Quit()
	if a := conn.Announced(); !a.Pipelining || !a.EightBitMIME || !a.SMTPUTF8 || a.DSN || a.Size != 0 || !conn.LMTP() {
		t.Errorf("announced %+v", a)
	}
	if _, err := conn.Reply(t.Context()); !errors.Is(err, ErrNotPending) {
		t.Errorf("Reply: %v, want ErrNotPending", err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, ErrSequence) {
		t.Errorf("Write: %v, want ErrSequence", err)
	}
	conn.XForward([]string{"NAME=x"})
	conn.Mail("", nil)
	conn.Data()
	conn.Rcpt("anna@alpha.test", nil)
	conn.Reset()
	conn.Data()
	got := replies(t.Context(), conn, conn.Pending())
	want := []string{"250 2.1.0 sender ok", "503 5.5.1 no valid recipient", "250 2.1.5 recipient ok", "250 2.0.0 reset", "503 5.5.1 no valid recipient"}
	if !slices.Equal(got, want) {
		t.Errorf("replies %q\nwant %q", got, want)
	}
	if !conn.Alive() {
		t.Error("the connection is not alive")
	}
}

// TestMaildirUnusable: the path of the folder cannot be one.
func TestMaildirUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(mustSpec(t, "maildir:"+file), Options{}).Connect(t.Context())
	var connectErr *ConnectError
	if !errors.As(err, &connectErr) {
		t.Errorf("error %v, want a ConnectError", err)
	}
}
