package auth

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/policy"
)

// greeting is what Dovecot 2.3.19 sends at once.
const greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t4711\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n"

// fakeDovecot is an auth process that follows a script.
type fakeDovecot struct {
	t        *testing.T
	path     string
	greeting string
	answer   func(id, fields string) string // the lines that answer a request; "" for none, "close" closes the connection
	mu       sync.Mutex
	requests []string // lines of clients; guarded by mu
	open     []net.Conn
	listener net.Listener
	running  sync.WaitGroup
}

func newFakeDovecot(t *testing.T) *fakeDovecot {
	t.Helper()
	folder, err := os.MkdirTemp("", "auth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	f := &fakeDovecot{t: t, path: filepath.Join(folder, "auth-client"), greeting: greeting}
	f.answer = func(id, fields string) string { return "FAIL\t" + id + "\tuser=x\n" }
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *fakeDovecot) start() {
	f.t.Helper()
	var err error
	if f.listener, err = net.Listen("unix", f.path); err != nil {
		f.t.Fatal(err)
	}
	f.running.Go(func() {
		for {
			c, err := f.listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.open = append(f.open, c)
			f.mu.Unlock()
			f.running.Go(func() { f.serve(c) })
		}
	})
}

func (f *fakeDovecot) stop() {
	f.listener.Close()
	f.mu.Lock()
	for _, c := range f.open {
		c.Close()
	}
	f.open = nil
	f.mu.Unlock()
	f.running.Wait()
}

func (f *fakeDovecot) serve(c net.Conn) {
	defer c.Close()
	f.mu.Lock()
	greeting := f.greeting
	f.mu.Unlock()
	fmt.Fprint(c, greeting)
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		f.mu.Lock()
		f.requests = append(f.requests, lines.Text())
		answer := f.answer
		f.mu.Unlock()
		field := strings.SplitN(lines.Text(), "\t", 3)
		if field[0] != "AUTH" {
			continue
		}
		reply := answer(field[1], field[2])
		if reply == "close" {
			return
		}
		fmt.Fprint(c, reply)
	}
}

func (f *fakeDovecot) source() *dovecot {
	d := newDovecot(Source{SourceDovecot, "unix", f.path}, slog.New(slog.DiscardHandler))
	f.t.Cleanup(func() { d.close() })
	return d
}

func (f *fakeDovecot) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

func (f *fakeDovecot) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

func ask(d *dovecot, login policy.Address) (policy.Address, error) {
	return d.verify(context.Background(), Attempt{Login: login.String(), Password: password, Remote: remote, Protocol: ProtocolIMAP}, login)
}

func TestDovecotAnswers(t *testing.T) {
	f := newFakeDovecot(t)
	d := f.source()
	for _, c := range []struct {
		name, answer string
		want         error
		as           string
	}{
		{"ok", "OK\t%s\tuser=anna@alpha.test\t\n", nil, anna},
		{"another name", "OK\t%s\tuser=mario@alpha.test\n", nil, mario},
		{"without a domain", "OK\t%s\tuser=anna\n", nil, anna},
		{"without a name", "OK\t%s\n", nil, anna},
		{"escaped", "OK\t%s\tuser=a\x01tb@alpha.test\n", nil, anna},
		{"wrong", "FAIL\t%s\tuser=anna@alpha.test\n", ErrDenied, ""},
		{"disabled", "FAIL\t%s\tuser=anna@alpha.test\tuser_disabled\tcode=user_disabled\n", ErrDenied, ""},
		{"internal failure", "FAIL\t%s\tuser=anna@alpha.test\ttemp\n", ErrUnavailable, ""},
		{"internal failure of 2.3", "FAIL\t%s\tuser=anna@alpha.test\tcode=temp_fail\n", ErrUnavailable, ""},
		{"goes on", "CONT\t%s\tabcd\n", ErrUnavailable, ""},
		{"other lines first", "NEWS\nOK\nOK\tx\nOK\t99\tuser=mario@alpha.test\nOK\t%s\tuser=anna@alpha.test\n", nil, anna},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.mu.Lock()
			f.answer = func(id, _ string) string { return strings.ReplaceAll(c.answer, "%s", id) }
			f.mu.Unlock()
			as, err := ask(d, address(t, anna))
			if !errors.Is(err, c.want) || c.want == nil && as.String() != c.as {
				t.Errorf("%s, %v, want %s, %v", as, err, c.as, c.want)
			}
		})
	}
}

// TestDovecotRequest checks what is sent, word for word.
func TestDovecotRequest(t *testing.T) {
	f := newFakeDovecot(t)
	d := f.source()
	for _, protocol := range []Protocol{ProtocolIMAP, ProtocolSubmission, ProtocolWeb} {
		if _, err := d.verify(t.Context(), Attempt{Password: "tab\tlf\n", Remote: remote, Protocol: protocol}, address(t, anna)); !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
	}
	response := base64.StdEncoding.EncodeToString([]byte("\x00anna@alpha.test\x00tab\tlf\n"))
	got := f.lines()
	if len(got) != 5 || got[0] != "VERSION\t1\t1" || !strings.HasPrefix(got[1], "CPID\t") {
		t.Fatalf("sent %q", got)
	}
	for i, want := range []string{
		"AUTH\t1\tPLAIN\tservice=imap\tsecured\tno-penalty\tnologin\trip=192.0.2.7\tresp=" + response,
		"AUTH\t2\tPLAIN\tservice=imap\tsecured\tno-penalty\tnologin\trip=192.0.2.7\tresp=" + response,
		"AUTH\t3\tPLAIN\tservice=copialettere\tsecured\tno-penalty\tnologin\tresp=" + response,
	} {
		if got[2+i] != want {
			t.Errorf("sent %q, want %q", got[2+i], want)
		}
	}
}

func TestDovecotAbsent(t *testing.T) {
	_, _, err := Check(t.Context(), Source{Kind: SourceDovecot, Network: "unix", Address: filepath.Join(t.TempDir(), "absent")})
	if err == nil || !strings.Contains(err.Error(), "contrib/dovecot/README.md") {
		t.Error(err)
	}
}

func TestDovecotGreeting(t *testing.T) {
	for _, c := range []struct{ name, greeting, want string }{
		{"other version", "VERSION\t2\t0\nDONE\n", "version"},
		{"no version", "MECH\tPLAIN\nDONE\n", "told no version"},
		{"no PLAIN", "VERSION\t1\t2\nMECH\tCRAM-MD5\nDONE\n", "does not take PLAIN"},
		{"no end", strings.Repeat("MECH\tX\n", maxAuthHandshake+1), "does not end"},
		{"long line", "VERSION\t" + strings.Repeat("1", maxAuthLine+1) + "\n", "buffer full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakeDovecot(t)
			f.mu.Lock()
			f.greeting = c.greeting
			f.mu.Unlock()
			d := f.source()
			if _, err := ask(d, address(t, anna)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := d.probe(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("probe: %v, want %q", err, c.want)
			}
		})
	}
}

// TestDovecotTurns asks about many logins at a time over one connection, which are answered in another order.
func TestDovecotTurns(t *testing.T) {
	f := newFakeDovecot(t)
	var held []string
	const people = 50
	f.answer = func(id, fields string) string { // one connection, so one goroutine
		_, resp, _ := strings.Cut(fields, "resp=")
		plain, _ := base64.StdEncoding.DecodeString(resp)
		held = append([]string{"OK\t" + id + "\tuser=" + strings.Split(string(plain), "\x00")[1] + "\n"}, held...)
		if len(held) < people {
			return ""
		}
		return strings.Join(held, "")
	}
	d := f.source()
	var wait sync.WaitGroup
	for n := range people {
		wait.Go(func() {
			login := policy.Address{Local: fmt.Sprintf("user%d", n), Domain: "alpha.test"}
			if as, err := ask(d, login); err != nil || as != login {
				t.Errorf("%s: %s, %v", login, as, err)
			}
		})
	}
	wait.Wait()
	if f.connections() != 1 {
		t.Errorf("%d connections, want 1", f.connections())
	}
}

// TestDovecotRestart breaks the connection between two logins, and in the middle of one.
func TestDovecotRestart(t *testing.T) {
	f := newFakeDovecot(t)
	ok := func(id, _ string) string { return "OK\t" + id + "\tuser=" + anna + "\n" }
	f.answer = ok
	d := f.source()
	if _, err := ask(d, address(t, anna)); err != nil {
		t.Fatal(err)
	}
	f.stop()
	if _, err := ask(d, address(t, anna)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while it is down: %v", err)
	}
	f.start()
	if _, err := ask(d, address(t, anna)); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	// The connection that is there ends at the request; the login is asked anew over another.
	closed := false
	f.mu.Lock()
	f.answer = func(id, fields string) string {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !closed {
			closed = true
			return "close"
		}
		return ok(id, fields)
	}
	f.mu.Unlock()
	if _, err := ask(d, address(t, anna)); err != nil || !closed {
		t.Errorf("in the middle of a login: %v", err)
	}
	f.mu.Lock()
	f.answer = func(string, string) string { return "close" }
	f.mu.Unlock()
	if _, err := ask(d, address(t, anna)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed each time: %v", err)
	}
}

// TestDovecotSilent asks one that does not answer: the login ends with its context, and others go on.
func TestDovecotSilent(t *testing.T) {
	f := newFakeDovecot(t)
	f.answer = func(id, fields string) string {
		if id == "1" {
			return ""
		}
		return "OK\t" + id + "\tuser=" + anna + "\n"
	}
	d := f.source()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := d.verify(ctx, Attempt{Password: password}, address(t, anna)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("silent: %v", err)
	}
	if _, err := ask(d, address(t, anna)); err != nil || f.connections() != 1 {
		t.Errorf("the next login: %v over %d connections", err, f.connections())
	}
	d.close()
	if _, err := ask(d, address(t, anna)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after close: %v", err)
	}
}

// TestDovecotLife retires a connection, with a login waiting for its answer and without. No login is lost.
func TestDovecotLife(t *testing.T) {
	f := newFakeDovecot(t)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	f.answer = func(id, _ string) string {
		asked <- struct{}{}
		<-release
		return "OK\t" + id + "\tuser=" + anna + "\n"
	}
	d := f.source()
	retire := func() {
		line, fresh, err := d.connect(t.Context())
		if err != nil || fresh {
			t.Fatalf("fresh %t, %v", fresh, err)
		}
		line.retire()
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := ask(d, address(t, anna)); err != nil {
			t.Errorf("a login at the end of the life: %v", err)
		}
	})
	<-asked
	retire()
	close(release)
	wait.Wait()
	for n := range 3 {
		if _, err := ask(d, address(t, anna)); err != nil || f.connections() != n+2 {
			t.Errorf("login %d: %v over connection %d", n, err, f.connections())
		}
		retire()
	}
}

// TestDovecotRetires waits until the life of a connection is over.
func TestDovecotRetires(t *testing.T) {
	f := newFakeDovecot(t)
	d := f.source()
	d.life = time.Millisecond
	line, _, err := d.connect(t.Context())
	for err == nil && line.takes() && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if err != nil || line.takes() {
		t.Errorf("it still takes requests: %v", err)
	}
}

// FuzzAnswer reads arbitrary lines as answers of Dovecot. None of them is a login unless it says OK.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{"OK\t1\tuser=anna@alpha.test", "FAIL\t1\ttemp", "CONT\t1\t", "OK\t-1", "OK", "\t\t\t", "OK\t1\tuser=a\x01\x01@x", "OK\t4294967296"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		_, a, ok := parseAnswer(line)
		if !ok {
			return
		}
		as, err := a.result(policy.Address{Local: "anna", Domain: "alpha.test"})
		if err == nil && (!strings.HasPrefix(line, "OK\t") || as.Domain == "" || as.Local == "") {
			t.Errorf("%q signs in as %s", line, as)
		}
		if s := unescapeField(escapeField(line)); s != line {
			t.Errorf("%q escaped and back is %q", line, s)
		}
	})
}
