package auth

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/policy"
)

// What makes the test binary sign in to the settings in a folder, and kill itself in the middle.
const (
	killedFolder = "COPIALETTERE_TEST_KILLED_FOLDER"
	killedWork   = "COPIALETTERE_TEST_KILLED_WORK"   // a name of killedWorks
	killedAt     = "COPIALETTERE_TEST_KILLED_AT"     // before, or behind, which write it kills itself: "3 before"
	killedSecret = "COPIALETTERE_TEST_KILLED_SECRET" // what the work needs to know
)

// killStart is the clock of whoever is killed; each login comes 30 seconds later.
var killStart = time.Date(2026, 11, 15, 10, 0, 0, 0, time.UTC)

// killRuns is how many acts a work does at most: more than until it is killed.
const killRuns = 12

// killedWorks say on standard output what they are about to do, and what is done.
var killedWorks = map[string]func(ctx context.Context, a *Authenticator, clock *atomic.Pointer[time.Time], secret string) error{
	"code": func(ctx context.Context, a *Authenticator, clock *atomic.Pointer[time.Time], secret string) error {
		key, err := base32.StdEncoding.DecodeString(secret)
		if err != nil {
			return err
		}
		for n := range int64(killRuns) {
			now := killStart.Add(time.Duration(n+1) * totpPeriod)
			clock.Store(&now)
			code := totpCode(key, totpStep(now))
			fmt.Println("try", n)
			if _, err := a.Login(ctx, Attempt{Login: anna, Password: password, Code: code, Protocol: ProtocolWeb}); err != nil {
				return err
			}
			fmt.Println("done", n)
		}
		return nil
	},
	"recovery": func(ctx context.Context, a *Authenticator, _ *atomic.Pointer[time.Time], secret string) error {
		for n, code := range strings.Fields(secret) {
			fmt.Println("try", n)
			if _, err := a.Login(ctx, Attempt{Login: anna, Password: password, Code: code, Protocol: ProtocolWeb}); err != nil {
				return err
			}
			fmt.Println("done", n)
		}
		return nil
	},
	"revoke": func(ctx context.Context, a *Authenticator, _ *atomic.Pointer[time.Time], _ string) error {
		login, err := policy.ParseAddress(anna)
		if err != nil {
			return err
		}
		for n := range killRuns {
			fmt.Println("try", n)
			if err := a.RevokeAppPassword(ctx, policy.Actor{Role: policy.RoleOperator, Name: "root"}, login, fmt.Sprint(n)); err != nil {
				return err
			}
			fmt.Println("done", n)
		}
		return nil
	},
	"token": func(ctx context.Context, a *Authenticator, _ *atomic.Pointer[time.Time], _ string) error {
		for n := range killRuns {
			fmt.Println("try", n)
			_, secret, err := a.AddToken(ctx, policy.Actor{Role: policy.RoleOperator, Name: "root"}, Token{Name: fmt.Sprint(n), Domain: "alpha.test", Scope: ScopeRead})
			if err != nil {
				return err
			}
			fmt.Println("done", n, secret)
			if n%2 == 0 {
				continue
			}
			if err := a.RevokeToken(ctx, policy.Actor{Role: policy.RoleOperator, Name: "root"}, fmt.Sprint(n-1)); err != nil {
				return err
			}
			fmt.Println("revoked", n-1)
		}
		return nil
	},
	"link": func(ctx context.Context, a *Authenticator, _ *atomic.Pointer[time.Time], _ string) error {
		login, err := policy.ParseAddress(anna)
		if err != nil {
			return err
		}
		for n := range killRuns {
			secret, _, err := a.MakeSignIn(ctx, policy.Actor{Role: policy.RoleOperator, Name: "root"}, login)
			if err != nil {
				return err
			}
			fmt.Println("try", n, secret)
			if _, _, err := a.LoginByLink(ctx, secret, client(n)); err != nil {
				return err
			}
			fmt.Println("done", n)
		}
		return nil
	},
	"access": func(ctx context.Context, a *Authenticator, _ *atomic.Pointer[time.Time], _ string) error {
		for n := range killRuns {
			fmt.Println("try", n)
			if _, err := a.Login(ctx, Attempt{Login: anna, Password: password, Remote: client(n), Protocol: ProtocolWeb}); err != nil {
				return err
			}
			a.access.write(ctx, true)
			fmt.Println("done", n)
		}
		return nil
	},
}

// client returns the address of the client of one login.
func client(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedFolder); dir != "" {
		if err := workUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// openLogins opens the logins in a folder over a store that change may replace. The clock is at killStart.
func openLogins(ctx context.Context, dir string, change func(kv.Store) kv.Store) (a *Authenticator, clock *atomic.Pointer[time.Time], end func() error, err error) {
	engine, err := level.Open(filepath.Join(dir, "journal"), level.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := engine.Settings(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	store = change(store)
	p, err := policy.Open(ctx, store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	if err != nil {
		return nil, nil, nil, err
	}
	clock = new(atomic.Pointer[time.Time])
	clock.Store(&killStart)
	a = New(Options{
		Source: Source{Kind: SourceFile, Address: filepath.Join(dir, "passwd")}, Policy: p, Settings: store, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return *clock.Load() },
	})
	return a, clock, func() error { return errors.Join(a.Close(), engine.Close()) }, nil
}

func workUntilKilled(dir string) error {
	ctx := context.Background()
	k, when := &killer{access: os.Getenv(killedWork) == "access"}, ""
	if _, err := fmt.Sscan(os.Getenv(killedAt), &k.at, &when); err != nil {
		return err
	}
	k.before = when == "before"
	a, clock, end, err := openLogins(ctx, dir, func(s kv.Store) kv.Store { k.Store = s; return k })
	if err != nil {
		return err
	}
	return errors.Join(killedWorks[os.Getenv(killedWork)](ctx, a, clock, os.Getenv(killedSecret)), end())
}

// killer kills the process at one of the writes: to the access log, which come from a goroutine of its own at a time of its own, or of all others.
type killer struct {
	kv.Store
	writes atomic.Int64
	at     int64
	before bool
	access bool
}

func (k *killer) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if slices.Contains(locks, string(headKey(anna))) != k.access {
		return k.Store.Update(ctx, locks, fn)
	}
	n := k.writes.Add(1)
	if n == k.at && k.before {
		k.kill()
	}
	err := k.Store.Update(ctx, locks, fn)
	if n == k.at {
		k.kill()
	}
	return err
}

func (k *killer) kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// killedLogins is a folder whose mailbox anna has a second factor and app passwords named 0, 1 and so on.
type killedLogins struct {
	t        *testing.T
	dir      string
	phone    []byte
	recovery []string
	apps     []string
}

func newKilledLogins(t *testing.T, secondFactor bool) *killedLogins {
	t.Helper()
	k := &killedLogins{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(k.dir, "passwd"), []byte(anna+":"+cheap+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.with(func(a *Authenticator, clock *atomic.Pointer[time.Time]) {
		login := address(t, anna)
		if _, err := a.options.Policy.Enable(t.Context(), login, operator); err != nil {
			t.Fatal(err)
		}
		for n := range killRuns {
			app, err := a.AddAppPassword(t.Context(), operator, login, fmt.Sprint(n))
			if err != nil {
				t.Fatal(err)
			}
			k.apps = append(k.apps, app)
		}
		if _, err := a.options.Policy.Set(t.Context(), login, operator, []policy.Assignment{{Key: policy.KeyIMAP, Value: "on"}}); err != nil {
			t.Fatal(err)
		}
		if !secondFactor {
			return
		}
		secret, err := a.BeginSecondFactor(t.Context(), operator, login, "")
		if err == nil {
			k.phone, err = base32.StdEncoding.DecodeString(secret.Text)
		}
		if err == nil {
			k.recovery, err = a.ConfirmSecondFactor(t.Context(), operator, login, totpCode(k.phone, totpStep(killStart)))
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return k
}

// with opens the folder for a time.
func (k *killedLogins) with(f func(a *Authenticator, clock *atomic.Pointer[time.Time])) {
	k.t.Helper()
	a, clock, end, err := openLogins(k.t.Context(), k.dir, func(s kv.Store) kv.Store { return s })
	if err != nil {
		k.t.Fatal(err)
	}
	f(a, clock)
	if err := end(); err != nil {
		k.t.Error(err)
	}
}

// killed has another process do a work, until it kills itself. It returns how many acts were done by its word, and whether it had begun another.
func (k *killedLogins) killed(work, at, secret string) (done int, begun bool) {
	k.t.Helper()
	said := k.said(work, at, secret)
	done = strings.Count(said, "done")
	return done, strings.Count(said, "try") > done
}

// said has another process do a work, until it kills itself, and returns what it has said.
func (k *killedLogins) said(work, at, secret string) string {
	k.t.Helper()
	child := exec.CommandContext(k.t.Context(), os.Args[0])
	child.Env = append(os.Environ(), killedFolder+"="+k.dir, killedWork+"="+work, killedAt+"="+at, killedSecret+"="+secret)
	var out, errs bytes.Buffer
	child.Stdout, child.Stderr = &out, &errs
	err := child.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		k.t.Fatalf("%s killed at %s: %v %s", work, at, err, errs.String())
	}
	return out.String()
}

// killPoints are the writes at which a work is killed.
var killPoints = []string{"1 before", "1 behind", "2 before", "2 behind", "5 before", "5 behind"}

// TestKilledCodes kills the daemon while it takes codes. Afterwards no code is good that has let anybody in, and one that may have is good once at most.
func TestKilledCodes(t *testing.T) {
	for _, at := range killPoints {
		k := newKilledLogins(t, true)
		done, begun := k.killed("code", at, base32.StdEncoding.EncodeToString(k.phone))
		k.with(func(a *Authenticator, clock *atomic.Pointer[time.Time]) {
			for n := range done + 2 {
				now := killStart.Add(time.Duration(n+1) * totpPeriod)
				clock.Store(&now)
				in := 0
				for range 2 {
					a.throttle = newThrottle()
					code := totpCode(k.phone, totpStep(now))
					if _, err := a.Login(t.Context(), Attempt{Login: anna, Password: password, Code: code, Protocol: ProtocolWeb}); err == nil {
						in++
					} else if !errors.Is(err, ErrCode) {
						t.Errorf("killed at %s: code %d: %v", at, n, err)
					}
				}
				want := 1
				if n < done || n == done && begun && strings.HasSuffix(at, "behind") {
					want = 0
				}
				if in != want {
					t.Errorf("killed at %s, %d done: code %d lets %d in, want %d", at, done, n, in, want)
				}
			}
		})
	}
}

// TestKilledRecoveryCodes does the same with recovery codes. Each that is used up goes on record, but for the last if the daemon was killed then.
func TestKilledRecoveryCodes(t *testing.T) {
	for _, at := range killPoints {
		k := newKilledLogins(t, true)
		done, _ := k.killed("recovery", at, strings.Join(k.recovery, " "))
		k.with(func(a *Authenticator, _ *atomic.Pointer[time.Time]) {
			s, err := a.SecondFactor(t.Context(), address(t, anna))
			if used := recoveryCodes - s.RecoveryCodes; err != nil || used < done || used > done+1 {
				t.Errorf("killed at %s: %d done, %d used up, %v", at, done, used, err)
			}
			for n, code := range k.recovery[:done] {
				a.throttle = newThrottle()
				if _, err := a.Login(t.Context(), Attempt{Login: anna, Password: password, Code: code, Protocol: ProtocolWeb}); !errors.Is(err, ErrCode) {
					t.Errorf("killed at %s: recovery code %d once more: %v", at, n, err)
				}
			}
			onRecord := 0
			for c, err := range a.options.Policy.Changes(t.Context(), address(t, anna)) {
				if err != nil {
					t.Fatal(err)
				}
				if c.Key == KeyRecoveryCodes {
					onRecord++
				}
			}
			if onRecord < done || onRecord > done+1 {
				t.Errorf("killed at %s: %d done, %d on record", at, done, onRecord)
			}
		})
	}
}

// TestKilledRevocations kills the daemon while it revokes app passwords. What it has said to be revoked opens nothing, and what is on record is so.
func TestKilledRevocations(t *testing.T) {
	for _, at := range killPoints {
		k := newKilledLogins(t, false)
		done, _ := k.killed("revoke", at, "")
		k.with(func(a *Authenticator, _ *atomic.Pointer[time.Time]) {
			var onRecord []string
			for c, err := range a.options.Policy.Changes(t.Context(), address(t, anna)) {
				if err != nil {
					t.Fatal(err)
				}
				if c.Key == KeyAppPassword && c.After == "" {
					onRecord = append(onRecord, c.Before)
				}
			}
			for n, app := range k.apps {
				a.throttle = newThrottle()
				_, err := a.Login(t.Context(), Attempt{Login: anna, Password: app, Protocol: ProtocolIMAP})
				revoked := slices.Contains(onRecord, fmt.Sprint(n))
				if n < done && !revoked || revoked != errors.Is(err, ErrDenied) || !revoked && err != nil {
					t.Errorf("killed at %s: app password %d of %d that were revoked, on record %v: %v", at, n, done, revoked, err)
				}
			}
		})
	}
}

// TestKilledTokens kills the daemon while it makes and revokes tokens. Each is there with both its keys or not at all, what it has shown is good until it
// has said that it is revoked, and then it is not.
func TestKilledTokens(t *testing.T) {
	for _, at := range killPoints {
		k := newKilledLogins(t, false)
		said := k.said("token", at, "")
		k.with(func(a *Authenticator, _ *atomic.Pointer[time.Time]) {
			list, err := a.Tokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if keys := keysOfTokens(t, a.options.Settings); keys != 2*len(list) {
				t.Errorf("killed at %s: %d tokens with %d keys", at, len(list), keys)
			}
			for line := range strings.Lines(said) {
				var name, secret string
				if n, _ := fmt.Sscanf(line, "done %s %s", &name, &secret); n != 2 {
					continue
				}
				_, err := a.Token(t.Context(), secret)
				there := slices.ContainsFunc(list, func(one Token) bool { return one.Name == name })
				if there != (err == nil) || err != nil && !errors.Is(err, ErrDenied) || there && strings.Contains(said, "revoked "+name+"\n") {
					t.Errorf("killed at %s: token %s is there %v, %v; it said\n%s", at, name, there, err, said)
				}
			}
		})
	}
}

// TestKilledSignInLinks kills the daemon while it makes and uses links. None that has let anybody in does so again, and one that
// may have does so once at most.
func TestKilledSignInLinks(t *testing.T) {
	for _, at := range killPoints {
		k := newKilledLogins(t, false)
		said := k.said("link", at, "")
		k.with(func(a *Authenticator, _ *atomic.Pointer[time.Time]) {
			for line := range strings.Lines(said) {
				var name, secret string
				if n, _ := fmt.Sscanf(line, "try %s %s", &name, &secret); n != 2 {
					continue
				}
				in := 0
				for range 2 {
					if _, _, err := a.LoginByLink(t.Context(), secret, netip.Addr{}); err == nil {
						in++
					} else if !errors.Is(err, ErrNoLink) {
						t.Errorf("killed at %s: link %s: %v", at, name, err)
					}
				}
				first := map[string]int{"2 before": 1, "2 behind": 0} // the write that uses the first link up
				if want, ok := first[at]; in > 1 || in > 0 && strings.Contains(said, "done "+name+"\n") || ok && in != want {
					t.Errorf("killed at %s: link %s lets %d in; it said\n%s", at, name, in, said)
				}
			}
		})
	}
}

// TestKilledAccessLog kills the daemon while it writes the access log. The log is readable, without a hole and in order, and has what was written.
func TestKilledAccessLog(t *testing.T) {
	for _, at := range killPoints {
		k := newKilledLogins(t, false)
		done, _ := k.killed("access", at, "")
		k.with(func(a *Authenticator, _ *atomic.Pointer[time.Time]) {
			n := 0
			for one, err := range a.Accesses(t.Context(), address(t, anna)) {
				if err != nil {
					t.Fatal(err)
				}
				if one.Address != client(n).String() || one.Result != ResultOK {
					t.Errorf("killed at %s: record %d is %+v", at, n, one)
				}
				n++
			}
			if n < done || n > done+1 {
				t.Errorf("killed at %s: %d were written, %d are there", at, done, n)
			}
			h, err := decodeHeadOf(t, a)
			if err != nil || h.OK.Next-h.OK.First != uint64(n) || h.Failed.Next != 0 {
				t.Errorf("killed at %s: the extent is %+v with %d records, %v", at, h, n, err)
			}
		})
	}
}

// decodeHeadOf returns the extent of anna's access log.
func decodeHeadOf(t *testing.T, a *Authenticator) (h accessHead, err error) {
	t.Helper()
	err = a.options.Settings.Update(t.Context(), []string{string(headKey(anna))}, func(tx kv.Tx) (err error) {
		h, err = readHead(tx, anna)
		return err
	})
	return h, err
}
