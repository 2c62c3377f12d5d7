package dovecot

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy"
	"copialettere/policy/auth"
)

const (
	anna  = "anna@alpha.test"
	bruno = "bruno@alpha.test"
	carla = "carla@alpha.test"
)

var operator = policy.Actor{Role: policy.RoleOperator, Name: "root"}

// rig is a Keeper over real settings in memory. It writes into a folder of its own.
type rig struct {
	t      *testing.T
	store  kv.Store
	policy *policy.Policy
	auth   *auth.Authenticator
	folder string
	log    bytes.Buffer
	*Keeper
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, folder: t.TempDir()}
	var err error
	if r.store, err = kvtest.NewMemory(kvtest.NoWeakness).Open(t).Settings(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.policy, err = policy.Open(t.Context(), r.store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}, {Name: "città.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.auth = auth.New(auth.Options{Policy: r.policy, Settings: r.store, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { r.auth.Close() })
	r.Keeper = New(Options{Folder: r.folder, Policy: r.policy, Auth: r.auth, Logger: slog.New(slog.NewTextHandler(&r.log, nil))})
	return r
}

func address(t *testing.T, s string) policy.Address {
	t.Helper()
	a, err := policy.ParseMailbox(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *rig) set(mailbox, assignment string) {
	r.t.Helper()
	a, err := policy.ParseAssignment(assignment)
	if err == nil {
		_, err = r.policy.Set(r.t.Context(), address(r.t, mailbox), operator, []policy.Assignment{a})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) addApp(mailbox, name string) (password string) {
	r.t.Helper()
	password, err := r.auth.AddAppPassword(r.t.Context(), operator, address(r.t, mailbox), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return password
}

func (r *rig) sync() {
	r.t.Helper()
	if err := r.Sync(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// lines returns the lines of a file that are no comments.
func (r *rig) lines(name string) []string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.folder, name))
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			list = append(list, strings.TrimSuffix(line, "\n"))
		}
	}
	return list
}

// expect compares the files that have a line with those of a table, "FILE ADDRESS" each; of app passwords it compares the addresses.
func (r *rig) expect(when string, want ...string) {
	r.t.Helper()
	var got []string
	for _, name := range Files() {
		for _, line := range r.lines(name) {
			who, _, ok := strings.Cut(line, ":")
			if app, _, isApp := strings.Cut(who, "|"); isApp {
				who = app
			}
			if !ok {
				r.t.Errorf("%s: %s has the line %q", when, name, line)
			}
			got = append(got, name+" "+who)
		}
	}
	if got = slices.Compact(got); !slices.Equal(got, want) {
		r.t.Errorf("%s:\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestFiles follows mailboxes through their switches, and to other addresses and persons.
func TestFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.sync()
		r.expect("nobody")
		for _, step := range []struct {
			protocols string
			want      []string
		}{
			{"imap,pop3,smtp", nil},
			{"pop3,smtp", []string{"deny.imap " + anna}},
			{"imap,smtp", []string{"deny.pop3 " + anna}},
			{"imap,pop3", []string{"deny.smtp " + anna, "deny.submission " + anna}},
			{"smtp", []string{"deny.imap " + anna, "deny.pop3 " + anna, "deny.sieve " + anna}},
			{"none", []string{"deny.imap " + anna, "deny.pop3 " + anna, "deny.smtp " + anna, "deny.submission " + anna, "deny.sieve " + anna}},
			{"pop3,smtp", []string{"deny.imap " + anna}},
		} {
			r.set(anna, "protocols="+step.protocols)
			r.sync()
			r.expect(step.protocols, step.want...)
		}
		r.addApp(bruno, "phone")
		r.set(bruno, "imap=off")
		r.sync()
		r.expect("an app password; imap=off is about the archive", "deny.imap "+anna, "app "+bruno)

		if _, err := r.policy.Enable(t.Context(), address(t, anna), operator); err != nil {
			t.Fatal(err)
		}
		r.addApp(anna, "tablet")
		if _, err := r.policy.Rename(t.Context(), address(t, anna), address(t, carla), operator); err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.expect("renamed", "deny.imap "+carla, "app "+carla, "app "+bruno)
		if _, err := r.policy.Disable(t.Context(), address(t, carla), operator, carla, time.Hour); err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.expect("the archive is off, the live mailbox goes on", "deny.imap "+carla, "app "+carla, "app "+bruno)
		if _, err := r.policy.HandOver(t.Context(), address(t, carla), operator, carla); err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.expect("another person, with the switches of the mailbox and no app password of the former one", "deny.imap "+carla, "app "+bruno)
		if err := r.auth.RevokeAppPassword(t.Context(), operator, address(t, bruno), "phone"); err != nil {
			t.Fatal(err)
		}
		r.set("x@xn--citt-3na.test", "protocols=imap,pop3")
		r.set("\"y z\"@alpha.test", "protocols=none")
		r.sync()
		r.expect("revoked; both forms of a domain; an address that no line can hold",
			"deny.imap "+carla, "deny.smtp x@città.test", "deny.smtp x@xn--citt-3na.test", "deny.submission x@città.test", "deny.submission x@xn--citt-3na.test")
		if r.leftOut.Value() != 1 || !strings.Contains(r.log.String(), `y z`) {
			t.Errorf("%d left out, and the log has\n%s", r.leftOut.Value(), &r.log)
		}
	})
}

// TestSecondFactor follows second factors: that of one mailbox, and those that a domain asks for.
func TestSecondFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.set(bruno, "protocols=imap")
		secret, err := r.auth.BeginSecondFactor(t.Context(), operator, address(t, anna), "")
		if err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.expect("not confirmed yet", "deny.pop3 "+bruno, "deny.smtp "+bruno, "deny.submission "+bruno)
		if _, err := r.auth.ConfirmSecondFactor(t.Context(), operator, address(t, anna), totp(t, secret.Text)); err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.expect("on", "deny.pop3 "+bruno, "deny.smtp "+bruno, "deny.submission "+bruno, "deny.2fa "+anna)
		if err := r.auth.EndSecondFactor(t.Context(), operator, address(t, anna), ""); err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.expect("off", "deny.pop3 "+bruno, "deny.smtp "+bruno, "deny.submission "+bruno)
		if err := r.policy.Reconfigure(policy.Config{Domains: []policy.Domain{{Name: "alpha.test", RequireSecondFactor: true}}}); err != nil {
			t.Fatal(err)
		}
		r.sync()
		r.expect("the domain asks for it", "deny.pop3 "+bruno, "deny.smtp "+bruno, "deny.submission "+bruno, "deny.2fa "+bruno)
	})
}

// totp is the code of now (RFC 6238).
func totp(t *testing.T, secret string) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(secret, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	binary.Write(mac, binary.BigEndian, time.Now().Unix()/30)
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}

// TestAppLines looks at the lines of app passwords as Dovecot reads them.
func TestAppLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		phone, odd := r.addApp(anna, "phone"), r.addApp(anna, "Anna's: tablet, %u|é")
		r.sync()
		var want []string
		for _, app := range []struct{ password, id string }{{phone, "cGhvbmU"}, {odd, "QW5uYSdzOiB0YWJsZXQsICV1fMOp"}} {
			for _, typed := range []string{app.password, strings.ReplaceAll(app.password, "-", "")} {
				want = append(want, fmt.Sprintf("anna@alpha.test|%x:::::::nopassword=y copia_app=%s", sha256.Sum256([]byte(typed)), app.id))
			}
		}
		if got := r.lines(appFile); !slices.Equal(got, want) {
			t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestSeen holds what Dovecot goes by: every version of a file has another size than the one before, and each Sync that wrote ends in a later second
// of the clock. Without a change nothing is written.
func TestSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.sync()
		path := filepath.Join(r.folder, denyIMAP)
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			who := []string{"anna@alpha.test", "ugoo@alpha.test"}
			r.set(who[i%2], "protocols=pop3,smtp")
			r.set(who[(i+1)%2], "protocols=imap,pop3,smtp")
			began := time.Now()
			r.sync()
			if time.Now().Unix() == began.Unix() {
				t.Errorf("version %d: Sync returned in the second in which it wrote", i)
			}
			after, err := os.Stat(path)
			if err != nil || after.Size() == before.Size() || after.Mode().Perm() != 0o640 {
				t.Fatalf("version %d: %v, %d bytes as before, mode %v", i, err, after.Size(), after.Mode())
			}
			before = after
			r.expect("changed", "deny.imap "+who[i%2])
		}
		began := time.Now()
		r.sync()
		after, err := os.Stat(path)
		if err != nil || !os.SameFile(before, after) || time.Since(began) > 0 {
			t.Errorf("without a change: %v, the same file %t, after %v", err, os.SameFile(before, after), time.Since(began))
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		r.sync()
		if after, err := os.Stat(path); err != nil || after.Mode().Perm() != 0o640 {
			t.Errorf("a mode that Dovecot cannot read stays: %v, %v", after.Mode(), err)
		}
	})
}

// TestFaults fails each step of writing. Dovecot then has the old files or the new ones, whoever waits hears of it, and it ends by itself.
func TestFaults(t *testing.T) {
	for _, step := range []string{"write", "rename", "sync"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.set(anna, "protocols=none")
				r.sync()
				full := true
				r.options.step = func(what string) error {
					if full && strings.HasPrefix(what, step) {
						return syscall.ENOSPC
					}
					return nil
				}
				r.set(anna, "protocols=imap,pop3,smtp")
				r.set(bruno, "protocols=none")
				err := r.Sync(t.Context())
				if !errors.Is(err, ErrFiles) || !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("error %v", err)
				}
				for _, name := range []string{denyIMAP, denyPOP3, denySMTP, denySubmission, denySieve} {
					if got := r.lines(name); !slices.Equal(got, []string{anna + ":"}) && !slices.Equal(got, []string{bruno + ":"}) {
						t.Errorf("%s has %q", name, got)
					}
				}
				if r.failing.Value() != 1 || r.faults.Value() != 1 || strings.Count(r.log.String(), "level=ERROR") != 1 {
					t.Errorf("failing %d, faults %d, log\n%s", r.failing.Value(), r.faults.Value(), &r.log)
				}
				full = false
				quit := make(chan struct{})
				var running sync.WaitGroup
				running.Go(func() { r.Run(quit) })
				time.Sleep(writeAgain + time.Second)
				close(quit)
				running.Wait()
				r.expect("tried again", "deny.imap "+bruno, "deny.pop3 "+bruno, "deny.smtp "+bruno, "deny.submission "+bruno, "deny.sieve "+bruno)
				if r.failing.Value() != 0 {
					t.Errorf("failing %d", r.failing.Value())
				}
			})
		})
	}
}

// TestNoFolder expects the remedy where the operator has not made the folder.
func TestNoFolder(t *testing.T) {
	r := newRig(t)
	if err := os.Remove(r.folder); err != nil {
		t.Fatal(err)
	}
	err := r.Sync(t.Context())
	if !errors.Is(err, ErrFiles) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "install -d -o copialettere -g dovecot -m 2750 "+r.folder) {
		t.Errorf("error %v", err)
	}
}

// TestTogether changes many mailboxes at once. Each change is in the files when its Sync returns, and they share the seconds that it takes.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.sync()
		began := time.Now()
		var changing sync.WaitGroup
		for i := range 50 {
			changing.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				mailbox := fmt.Sprintf("m%d@alpha.test", i)
				r.set(mailbox, "protocols=pop3")
				if err := r.Sync(t.Context()); err != nil {
					t.Error(err)
				}
				if !slices.Contains(r.lines(denyIMAP), mailbox+":") {
					t.Errorf("%s is not in the file", mailbox)
				}
			})
		}
		changing.Wait()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestNoKeeper calls what a configuration without [dovecot] has.
func TestNoKeeper(t *testing.T) {
	var k *Keeper
	quit := make(chan struct{})
	close(quit)
	k.Run(quit)
	k.Changed()
	if err := k.Sync(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(folder string) error
		reader string
		want   []string // what stands in the problems, one each
	}{
		{"all is well", func(string) error { return nil }, "nobody", nil},
		{"nobody in particular", func(folder string) error { return os.Chmod(folder, 0o700) }, "", nil},
		{"no folder", os.RemoveAll, "nobody", []string{"nothing that is switched off is closed"}},
		{"one is absent", func(folder string) error { return os.Remove(filepath.Join(folder, denyPOP3)) }, "nobody", []string{"deny.pop3 is not there"}},
		{"two", func(folder string) error {
			return errors.Join(os.Remove(filepath.Join(folder, denyPOP3)), os.Remove(filepath.Join(folder, appFile)))
		}, "nobody", []string{"deny.pop3 is not there", "app is not there"}},
		{"unreadable", func(folder string) error { return os.Chmod(filepath.Join(folder, denyIMAP), 0o600) }, "nobody",
			[]string{"the user nobody cannot read"}},
		{"a folder in its place", func(folder string) error {
			return errors.Join(os.Remove(filepath.Join(folder, denyIMAP)), os.Mkdir(filepath.Join(folder, denyIMAP), 0o755))
		}, "nobody", []string{"deny.imap is no file"}},
		{"the folder", func(folder string) error { return os.Chmod(folder, 0o700) }, "nobody", []string{"chmod 2750"}},
		{"the folder above", func(folder string) error { return os.Chmod(filepath.Dir(folder), 0o700) }, "nobody", []string{"chmod o+x"}},
		{"no such user", func(string) error { return nil }, "nobody-of-this-name", []string{"default_internal_user"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := t.TempDir()
			above := filepath.Join(own, "data")
			folder := filepath.Join(above, "auth")
			err := errors.Join(os.Chmod(filepath.Dir(own), 0o755), os.MkdirAll(folder, 0o755)) // go test keeps its folder to itself
			for _, name := range Files() {
				err = errors.Join(err, os.WriteFile(filepath.Join(folder, name), nil, 0o644))
			}
			if err = errors.Join(err, c.damage(folder)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(above, 0o755) })
			problems := Check(folder, c.reader)
			if len(problems) != len(c.want) {
				t.Fatalf("problems %v", problems)
			}
			for i, want := range c.want {
				if !strings.Contains(problems[i].Error(), want) {
					t.Errorf("problem %v, want %q", problems[i], want)
				}
			}
		})
	}
}
