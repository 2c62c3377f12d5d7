package e2e

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy/auth"
)

// loginsTable is the table of logins, as it must come. "go test -run Logins -update" writes what comes.
const loginsTable = "testdata/logins.txt"

const loginsHead = `Logins to the provider's own Dovecot (imap, pop3, sieve, submission) and Postfix (smtp), with contrib/dovecot and the daemon's files.
"in" is a login that succeeds, "-" one that is refused, with the answer below where it says why. Webmail connects from an address of its own, and
so do the mail programs elsewhere. "main" is the password of the mailbox, "main*2" the same once more, "app" an app password, "bare" one without its hyphens, "revoked" one of before.
`

// loginServices are the columns of the table.
var loginServices = []string{"imap", "pop3", "sieve", "submission", "smtp"}

// loginRows are the mailboxes of the table, and the settings that they get.
var loginRows = []struct {
	mailbox   string
	protocols string
	second    bool     // the second factor is on
	language  string   // of the sentences
	passwords []string // main, app, ...
}{
	{"anna@alpha.test", "imap,pop3,smtp", false, "it", []string{"main", "app", "bare", "revoked", "wrong"}},
	{"bruno@alpha.test", "pop3,smtp", false, "it", []string{"main", "app"}},
	{"carla@alpha.test", "imap,smtp", false, "en", []string{"main", "app"}},
	{"dario@alpha.test", "imap,pop3", false, "en", []string{"main", "app"}},
	{"elena@alpha.test", "smtp", false, "en", []string{"main", "app"}},
	{"fabio@alpha.test", "none", false, "it", []string{"main", "app"}},
	{"gina@alpha.test", "imap,pop3,smtp", true, "en", []string{"main", "main", "app", "wrong"}},
	{"hugo@alpha.test", "pop3", true, "it", []string{"main", "app"}},
	{"irma@alpha.test", "none", true, "en", []string{"main", "app"}},
}

// logins is a Dovecot and a Postfix that obey the switches of a daemon.
type logins struct {
	t         *testing.T
	hook      *rig.Daemon
	dovecot   *rig.Dovecot
	files     string            // the folder
	addresses map[string]string // by service
	passwords map[string]string // by mailbox and kind
	next      atomic.Int32      // the last address that a client had
}

func newLoginRig(t *testing.T) *logins {
	t.Helper()
	folder := rig.Folder(t)
	l := &logins{t: t, files: filepath.Join(folder, "auth"), passwords: make(map[string]string)}
	var accounts []rig.Account
	for _, row := range loginRows {
		accounts = append(accounts, rig.Account{Address: row.mailbox})
	}
	l.dovecot = rig.StartDovecot(t, filepath.Join(folder, "dovecot"), accounts)
	postfix := rig.StartPostfix(t, filepath.Join(folder, "postfix"), rig.PostfixConfig{Dovecot: l.dovecot})
	const key = "spago-e-ceralacca-4711"
	keyFile := filepath.Join(folder, "key")
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rig.GiveToDaemon(t, keyFile)
	rig.DovecotFolder(t, l.files)
	policy := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	l.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(`
[received]
listen = ["tcp:127.0.0.1:%d"]
next_hop = "lmtp:unix:%s"
[dovecot]
files = %q
[dovecot_policy]
listen = ["tcp:%s"]
key_file = %q
webmail = ["127.8.0.0/16"]
[[domain]]
name = "alpha.test"
`, rig.FreePort(t), l.dovecot.LMTP, l.files, policy, keyFile))
	l.addresses = l.dovecot.ServeLogins(t, rig.LoginConfig{Files: l.files, Policy: policy, Key: key, Webmail: "127.8.0.0/16", Relay: postfix.SMTP})
	l.addresses["smtp"] = postfix.Submission
	return l
}

// prepare gives the mailboxes of the table their settings and passwords, all at a time: each act waits for a second of the clock.
func (l *logins) prepare() {
	var acts sync.WaitGroup
	var mu sync.Mutex
	keep := func(mailbox, kind, password string) {
		mu.Lock()
		defer mu.Unlock()
		l.passwords[mailbox+" "+kind] = password
	}
	for _, row := range loginRows {
		keep(row.mailbox, "main", rig.Password)
		keep(row.mailbox, "wrong", "wrong")
		acts.Go(func() {
			l.hook.Must(l.t, "mailbox", "set", row.mailbox, "protocols="+row.protocols, "language="+row.language)
		})
		acts.Go(func() {
			app := strings.TrimSpace(string(l.hook.Must(l.t, "app-password", "add", row.mailbox, "telefono di "+row.mailbox)))
			keep(row.mailbox, "app", app)
			keep(row.mailbox, "bare", strings.ReplaceAll(app, "-", ""))
		})
		if slices.Contains(row.passwords, "revoked") {
			acts.Go(func() {
				keep(row.mailbox, "revoked", strings.TrimSpace(string(l.hook.Must(l.t, "app-password", "add", row.mailbox, "old"))))
				l.hook.Must(l.t, "app-password", "revoke", row.mailbox, "old")
			})
		}
		if row.second {
			acts.Go(func() { l.turnOnSecondFactor(row.mailbox) })
		}
	}
	acts.Wait()
}

func (l *logins) turnOnSecondFactor(mailbox string) {
	var made struct {
		New struct{ Secret string }
	}
	if err := json.Unmarshal(l.hook.Must(l.t, "second-factor", "on", mailbox, "-json"), &made); err != nil {
		l.t.Error(err)
		return
	}
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(made.New.Secret)
	if err != nil {
		l.t.Error(err)
		return
	}
	mac := hmac.New(sha1.New, key)
	binary.Write(mac, binary.BigEndian, time.Now().Unix()/30)
	sum := mac.Sum(nil)
	l.hook.Must(l.t, "second-factor", "on", mailbox, fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000))
}

// signIn signs in from an address that nobody had before: Dovecot makes those wait from which logins have failed.
func (l *logins) signIn(service, mailbox, password string, webmail bool) (in bool, answer string) {
	l.t.Helper()
	n, network := l.next.Add(1), 1
	if webmail {
		network = 8
	}
	in, answer, err := rig.SignIn(service, l.addresses[service], fmt.Sprintf("127.%d.%d.%d", network, n/200, n%200+1), mailbox, l.passwords[mailbox+" "+password])
	if err != nil {
		l.t.Errorf("%s to %s by %s: %v", mailbox, service, password, err)
	}
	return in, answer
}

// tried is what came of a password, by place and service.
type tried struct{ cells, answers [2][5]string }

// try tries one password of a row with all services, from elsewhere and from webmail, all at a time.
// The sentence that an app password is wanted comes from the second time on, which of the services asked first does not matter.
func (l *logins) try(mailbox, password string, again bool) *tried {
	var all tried
	var trying sync.WaitGroup
	for j, webmail := range []bool{false, true} {
		for k, service := range loginServices {
			trying.Go(func() {
				in, answer := l.signIn(service, mailbox, password, webmail)
				if all.cells[j][k] = "-"; in {
					all.cells[j][k] = "in"
				} else if says := because(answer); says != "" && (again || !wantsApp.MatchString(says)) {
					all.answers[j][k] = fmt.Sprintf("    %-11s%s\n", service, says)
				}
			})
		}
	}
	trying.Wait()
	return &all
}

// table tries every cell of the table: the passwords of a mailbox one after the other, or all at a time.
func (l *logins) table(together bool) string {
	results := make([][]*tried, len(loginRows))
	var trying sync.WaitGroup
	for i, row := range loginRows {
		results[i] = make([]*tried, len(row.passwords))
		trying.Go(func() {
			for n, password := range row.passwords {
				one := func() { results[i][n] = l.try(row.mailbox, password, n > 0 && row.passwords[n-1] == password) }
				if together {
					trying.Go(one)
				} else {
					one()
				}
			}
		})
	}
	trying.Wait()
	const layout = "%-17s %-14s %-6s %-8s %-9s %-5s %-5s %-6s %-11s %s\n"
	var text strings.Builder
	fmt.Fprintf(&text, layout, "mailbox", "protocols", "2nd", "password", "from", "imap", "pop3", "sieve", "submission", "smtp")
	for i, row := range loginRows {
		second := "off"
		if row.second {
			second = "on"
		}
		for n, password := range row.passwords {
			if n > 0 && row.passwords[n-1] == password {
				password += "*2"
			}
			for j, from := range []string{"elsewhere", "webmail"} {
				c := results[i][n].cells[j]
				fmt.Fprintf(&text, layout, row.mailbox, row.protocols, second, password, from, c[0], c[1], c[2], c[3], c[4])
				text.WriteString(strings.Join(results[i][n].answers[j][:], ""))
			}
		}
	}
	return text.String()
}

// dovecotsOwn is what Dovecot and Postfix say to a wrong name or password.
var dovecotsOwn = regexp.MustCompile(`^(NO \[AUTHENTICATIONFAILED\]|-ERR \[AUTH\]|NO|535 5\.7\.8)( "?Authentication failed\.?"?|  ?Error: authentication failed: \(reason unavailable\)|  ?Authentication failed\.?| Error: authentication failed:)?$`)

// wantsApp is what the main password is answered with while the second factor is on.
var wantsApp = regexp.MustCompile(`app password|password per programmi`)

// because returns the answer to a login that was refused if it is about more than a wrong name or password.
func because(answer string) string {
	if dovecotsOwn.MatchString(answer) {
		return ""
	}
	return answer
}

// TestLogins signs in to a real Dovecot and a real Postfix: every service, with every switch, password and second factor, from elsewhere and from
// webmail, while the daemon runs and after it was killed.
func TestLogins(t *testing.T) {
	t.Parallel()
	l := newLoginRig(t)
	l.prepare()
	alive := l.table(false)
	t.Run("last use", l.lastUse)
	t.Run("next login", l.nextLogin)
	t.Run("pages", l.pages)
	l.hook.Kill()
	dead := l.table(true)
	came := loginsHead + "\n== The daemon runs\n" + alive + "\n== The daemon is dead\n" + dead
	if *update {
		if err := os.WriteFile(loginsTable, []byte(came), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want := readText(t, loginsTable); came != want {
		t.Errorf("%s\ncame:\n%s", firstDifference(want, came), came)
	}
}

// lastUse expects that app passwords that were used in Dovecot show it, and no other ones.
func (l *logins) lastUse(t *testing.T) {
	for mailbox, want := range map[string]string{"anna@alpha.test": "last used on ", "fabio@alpha.test": "never used"} {
		rig.Wait(t, 5*time.Second, "the last use of the app password of "+mailbox, func() bool {
			return strings.Contains(string(l.hook.Must(t, "app-password", "list", mailbox)), want)
		})
	}
}

// pages checks passwords as the pages of an archive do, which ask Dovecot too: what is closed to mail programs is not closed to them.
func (l *logins) pages(t *testing.T) {
	logins := newLogins(t, auth.Source{Kind: auth.SourceDovecot, Network: "unix", Address: l.dovecot.Auth})
	for _, c := range []struct {
		mailbox, password string
		protocol          auth.Protocol
		want              error
	}{
		{"gina@alpha.test", rig.Password, auth.ProtocolWeb, nil},
		{"fabio@alpha.test", rig.Password, auth.ProtocolWeb, nil},
		{"gina@alpha.test", "wrong", auth.ProtocolWeb, auth.ErrDenied},
		{"gina@alpha.test", rig.Password, auth.ProtocolIMAP, auth.ErrDenied},
		{"fabio@alpha.test", rig.Password, auth.ProtocolIMAP, auth.ErrDenied},
	} {
		try := auth.Attempt{Login: c.mailbox, Password: c.password, Remote: netip.MustParseAddr("192.0.2.7"), Protocol: c.protocol}
		if _, err := logins.Login(t.Context(), try); !errors.Is(err, c.want) {
			t.Errorf("%s, %s, %s: %v, want %v", c.mailbox, c.password, c.protocol, err, c.want)
		}
	}
}

// nextLogin turns a switch and a second factor off and on, and revokes an app password: when the command has ended, the next login goes by it, whatever logins there were
// in that second.
func (l *logins) nextLogin(t *testing.T) {
	const mailbox = "anna@alpha.test"
	for i, protocols := range []string{"pop3,smtp", "imap,pop3,smtp"} {
		l.signIn("imap", mailbox, "main", false)
		l.hook.Must(t, "mailbox", "set", mailbox, "protocols="+protocols)
		if in, answer := l.signIn("imap", mailbox, "main", false); in != (i%2 == 1) {
			t.Errorf("with protocols=%s: %s", protocols, answer)
		}
	}
	l.passwords[mailbox+" new"] = strings.TrimSpace(string(l.hook.Must(t, "app-password", "add", mailbox, "new")))
	if in, answer := l.signIn("imap", mailbox, "new", false); !in {
		t.Errorf("a new app password: %s", answer)
	}
	l.hook.Must(t, "app-password", "revoke", mailbox, "new")
	if in, answer := l.signIn("imap", mailbox, "new", false); in {
		t.Errorf("a revoked app password: %s", answer)
	}
	const second = "gina@alpha.test"
	l.hook.Must(t, "second-factor", "off", second)
	if in, answer := l.signIn("pop3", second, "main", false); !in {
		t.Errorf("without the second factor: %s", answer)
	}
	l.turnOnSecondFactor(second)
	if in, answer := l.signIn("pop3", second, "main", false); in {
		t.Errorf("with the second factor: %s", answer)
	}
}
