package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/pec"
	"copialettere/policy/preservation"
)

const minimal = `data = "/var/lib/copialettere"
[received]
listen = ["tcp:127.0.0.1:2424"]
next_hop = "lmtp:unix:/run/dovecot/lmtp"
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBad reads every file of testdata/bad. The first comment lines of a file are its errors, word for word.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				message, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "# "+name)
				if !ok {
					break
				}
				want = append(want, name+message)
			}
			_, err = Parse(name, text)
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
			if secret := "correct horse"; strings.Contains(err.Error(), secret) {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := mustParse(t, minimal+"[[domain]]\nname = \"Alpha.test\"\n[sent]\nlisten = [\"unix:sent.sock\"]\nnext_hop = \"smtp:127.0.0.1:10026\"\n")
	hello := c.Received.HelloName
	if host, err := os.Hostname(); err == nil && isDomain(host) && hello != host || hello == "" {
		t.Errorf("hello_name is %q", hello)
	}
	timeouts := Timeouts{
		Connect: 30 * time.Second, Command: 240 * time.Second, Data: 170 * time.Second,
		Journal: 60 * time.Second, Final: 480 * time.Second, Idle: 300 * time.Second,
	}
	want := &Config{
		Data: "/var/lib/copialettere",
		Received: &Received{
			Hook: Hook{
				Listen: []Listener{{"tcp", "127.0.0.1:2424"}}, SocketMode: 0o660,
				NextHop:        nexthop.Spec{Scheme: nexthop.LMTP, Path: "/run/dovecot/lmtp"},
				MaxMessageSize: 150_000_000, MaxRecipients: 1000, MaxConnections: 200,
				OnJournalError: JournalErrorDefer, HelloName: hello, Timeouts: timeouts,
			},
			Origin: OriginORCPT, KeepSkips: 21 * 24 * time.Hour,
		},
		Sent: &Sent{
			Hook: Hook{
				Listen: []Listener{{"unix", "/var/lib/copialettere/sent.sock"}}, SocketMode: 0o660,
				NextHop:        nexthop.Spec{Scheme: nexthop.SMTP, Host: "127.0.0.1", Port: 10026},
				MaxMessageSize: 150_000_000, MaxRecipients: 2000, MaxConnections: 200,
				OnJournalError: JournalErrorDefer, HelloName: hello, Timeouts: timeouts,
			},
			Identity: IdentityLoginHeader, LoginHeader: "X-Copialettere-Login",
		},
		Admin:   Admin{Listen: []Listener{{"unix", "/var/lib/copialettere/admin.sock"}}, SocketMode: 0o600},
		Log:     Log{Level: slog.LevelInfo, Format: LogText},
		Domains: []Domain{{Name: "alpha.test", RecipientDelimiter: "+"}},
		Rights:  policy.Rights{Owner: []string{"notify", "notify_on", "language", "layout", "protocols"}},
		PEC:     PEC{Trust: pec.TrustHeaders},
		Disk:    Disk{Warn: Watermark{Percent: 10}, Stop: Watermark{Percent: 3}}, Retention: Retention{Hour: 3, Minute: 30, MaxShare: 20},
		Erase: Erase{Grace: 72 * time.Hour}, Logs: Logs{Keep: 30}, Verify: Verify{Every: 30 * 24 * time.Hour, Rate: 10_000_000},
		Exports:      Exports{Keep: 7 * 24 * time.Hour, MaxSize: 20_000_000_000},
		Preservation: preservation.Settings{Overdue: 7 * 24 * time.Hour},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if got := c.Admin.Socket(); got != "/var/lib/copialettere/admin.sock" {
		t.Errorf("admin socket %q", got)
	}
}

func TestValues(t *testing.T) {
	c := mustParse(t, `
data = "/srv/archive/"
[received]
listen = ["systemd:lmtp", "tcp:[::1]:2424", "unix:run/../lmtp.sock", "tcp:localhost:0", "tcp:127.0.0.1:0"]
socket_mode = "666"
socket_group = "postfix"
next_hop = "lmtp+srv:beta.test"
max_message_size = "64MiB"
max_recipients = 100
max_connections = 7
on_journal_error = "deliver"
hello_name = "mx.beta.test"
origin = "x-original-to"
redirect_header = "X-Redirect:  correct horse battery "
redirect_from = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.1"]
keep_skips = "1d12h"
connect_timeout = "500ms5s"
command_timeout = "4m"
data_timeout = "1m30s"
journal_timeout = "10s"
final_timeout = "9m10s"
idle_timeout = "1h"
[sent]
listen = ["tcp:127.0.0.1:2525"]
next_hop = "smtp:mx.beta.test:10026"
identity = "mail-from"
login_domain = "Beta.test"
[admin]
listen = ["tcp:127.0.0.1:9180", "unix:/run/copialettere/admin.sock"]
socket_mode = "0660"
socket_group = "adm"
[log]
level = "debug"
format = "json"
[rights]
owner = []
[pec]
trust = "signature"
domains_file = "/etc/copialettere/../domains"
provider_index = "/srv/igpec.ldif"
trust_bundle = "/srv/agid.pem"
sha1_chains = "weak"
crl_folder = "/srv/crl"
[notices]
relay = "smtp:[::1]:587"
from = "Archivio@Beta.test"
max_per_day = 1
operator = "Operator@Beta.test"
[disk]
warn = "50GB"
stop = "3%"
[retention]
at = "00:00"
max_share = "100%"
[erase]
grace = "1d"
[logs]
keep = "12 months"
[verify]
every = "7d12h"
rate = "20MB"
[[domain]]
name = "beta.test"
recipient_delimiter = "+-"
postmasters = ["Postmaster@Beta.test", "o'hara.élan+x@beta.test"]
require_second_factor = true
next_hop = "maildir:/var/mail"
max_mailboxes = 50
quota_total = "1TB"
quota_default = "5GB"
quota_max = "10GB"
retention_max = "48"
[domain.defaults]
retention = "24"
filter = "certified, acceptance"
[[domain]]
name = "xn--prv-1ma.test"
recipient_delimiter = ""
`)
	if c.Data != "/srv/archive" {
		t.Errorf("data %q", c.Data)
	}
	wantReceived := &Received{
		Hook: Hook{
			Listen: []Listener{
				{"systemd", "lmtp"}, {"tcp", "[::1]:2424"}, {"unix", "/srv/archive/lmtp.sock"}, {"tcp", "localhost:0"}, {"tcp", "127.0.0.1:0"},
			},
			SocketMode: 0o666, SocketGroup: "postfix", NextHop: nexthop.Spec{Scheme: nexthop.LMTPSRV, Host: "beta.test"},
			MaxMessageSize: 64 << 20, MaxRecipients: 100, MaxConnections: 7, OnJournalError: JournalErrorDeliver, HelloName: "mx.beta.test",
			Timeouts: Timeouts{
				Connect: 5500 * time.Millisecond, Command: 4 * time.Minute, Data: 90 * time.Second, Journal: 10 * time.Second,
				Final: 550 * time.Second, Idle: time.Hour,
			},
		},
		Origin: OriginXOriginalTo, RedirectHeader: "X-Redirect: correct horse battery", KeepSkips: 36 * time.Hour,
		RedirectFrom: []netip.Prefix{
			netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"),
			netip.MustParsePrefix("192.0.2.1/32"),
		},
	}
	if !reflect.DeepEqual(c.Received, wantReceived) {
		t.Errorf("got  %+v\nwant %+v", c.Received, wantReceived)
	}
	if s := c.Sent; s.Identity != IdentityMailFrom || s.LoginHeader != "" || s.LoginDomain != "beta.test" || s.NextHop.Host != "mx.beta.test" {
		t.Errorf("sent %+v", s)
	}
	wantAdmin := Admin{Listen: []Listener{{"tcp", "127.0.0.1:9180"}, {"unix", "/run/copialettere/admin.sock"}}, SocketMode: 0o660, SocketGroup: "adm"}
	if !reflect.DeepEqual(c.Admin, wantAdmin) || c.Admin.Socket() != "/run/copialettere/admin.sock" {
		t.Errorf("admin %+v", c.Admin)
	}
	if c.Log != (Log{slog.LevelDebug, LogJSON}) {
		t.Errorf("log %+v", c.Log)
	}
	wantDomains := []Domain{
		{
			"beta.test", "+-", []string{"postmaster@beta.test", "o'hara.élan+x@beta.test"}, nexthop.Spec{Scheme: nexthop.Maildir, Path: "/var/mail"},
			[]policy.Assignment{{Key: "filter", Value: "certified, acceptance"}, {Key: "retention", Value: "24"}, {Key: "quota", Value: "5GB"}},
			policy.Limits{Archives: 50, QuotaTotal: 1e12, Quota: 10e9, Retention: 48}, policy.Rights{}, true, "", nil, Brand{}, nil,
		},
		{Name: "xn--prv-1ma.test"},
	}
	if !reflect.DeepEqual(c.Domains, wantDomains) {
		t.Errorf("domains %+v", c.Domains)
	}
	if owner := c.Rights.Owner; owner == nil || len(owner) > 0 {
		t.Errorf("rights %#v", c.Rights)
	}
	if c.PEC != (PEC{pec.TrustSignature, "/etc/domains", "/srv/igpec.ldif", "/srv/agid.pem", true, "/srv/crl"}) {
		t.Errorf("pec %+v", c.PEC)
	}
	if n := c.Notices; n == nil || *n != (Notices{nexthop.Spec{Scheme: nexthop.SMTP, Host: "::1", Port: 587}, "archivio@beta.test", 1, "operator@beta.test"}) {
		t.Errorf("notices %+v", n)
	}
	if c.Disk != (Disk{Watermark{Bytes: 50e9}, Watermark{Percent: 3}}) || c.Retention != (Retention{0, 0, 100}) || c.Erase.Grace != 24*time.Hour {
		t.Errorf("%+v %+v %+v", c.Disk, c.Retention, c.Erase)
	}
	if c.Logs.Keep != 12 {
		t.Errorf("logs %+v", c.Logs)
	}
	if c.Verify != (Verify{180 * time.Hour, 20e6}) {
		t.Errorf("verify %+v", c.Verify)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %v", c.Warnings)
	}
}

// TestFixedNames reads the keys that operators script against, as the design fixes them.
func TestFixedNames(t *testing.T) {
	c := mustParse(t, `
data = "/var/lib/copialettere"

[received]                                            # LMTP, from the MTA's final delivery
listen   = ["unix:/var/spool/postfix/private/copialettere", "tcp:127.0.0.1:2424"]
next_hop = "lmtp:unix:/run/dovecot/lmtp"              # or lmtp:HOST:PORT, lmtp+srv:NAME, maildir:/path
max_message_size = "150MB"
on_journal_error = "defer"                            # or "deliver", with a recorded gap

[sent]                                                # SMTP, from the submission service's FILTER
listen       = ["tcp:127.0.0.1:2525"]
next_hop     = "smtp:127.0.0.1:10026"
login_header = "X-Copialettere-Login"                 # or identity = "mail-from"

[admin]
listen = ["unix:admin.sock"]                          # relative to data; mode 0600; metrics on /metrics

[[domain]]
name                = "alpha.test"
recipient_delimiter = "+"
postmasters         = ["postmaster@alpha.test"]
next_hop            = "lmtp:unix:/run/dovecot-alpha/lmtp"   # optional override
`)
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %v", c.Warnings)
	}
	if c.Domains[0].NextHop.Path != "/run/dovecot-alpha/lmtp" || c.Admin.SocketMode != 0o600 {
		t.Errorf("%+v", c)
	}
}

// TestExample checks contrib/copialettere.toml: it is accepted as it stands, its defaults are the defaults, its settings that are off can be set,
// and it has every key.
func TestExample(t *testing.T) {
	raw, err := os.ReadFile("../../../contrib/copialettere.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	c := mustParse(t, text)
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}

	withDefault := regexp.MustCompile(`(?m)^\S.*# default.*$`)
	if n := len(withDefault.FindAllString(text, -1)); n < 25 {
		t.Errorf("only %d lines say that they are the default", n)
	}
	if d := mustParse(t, withDefault.ReplaceAllString(text, "")); !reflect.DeepEqual(c, d) {
		t.Errorf("without the lines that say default:\n%+v\nwith them:\n%+v", d, c)
	}

	all := regexp.MustCompile(`(?m)^#([a-z0-9_]+ *= )`).ReplaceAllString(text, "$1")
	if _, err := Parse("copialettere.toml", []byte(all)); err != nil {
		t.Errorf("with all settings on:\n%v", err)
	}
	r := &reader{}
	r.read(all)
	for _, table := range r.tables {
		for _, key := range table.known {
			if !table.has(key) {
				t.Errorf("%s is not in the example", table.key(key))
			}
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"none", minimal, nil},
		{"received reachable from outside", strings.Replace(minimal, "127.0.0.1", "0.0.0.0", 1), []string{
			`test.toml:3: received.listen: "tcp:0.0.0.0:2424" can be reached from other machines, and the hook takes mail from everybody: ` +
				`listen on 127.0.0.1 or a unix socket, or let a firewall protect the port`,
		}},
		{"several, by line", minimal + "socket_group = \"postfix\"\n[admin]\nlisten = [\n\"unix:admin.sock\",\n\"tcp:[::]:9180\"]\n" +
			"[sent]\nlisten = [\"tcp:192.0.2.1:2525\"]\nnext_hop = \"smtp:127.0.0.1:10026\"", []string{
			`test.toml:5: received.socket_group: it has no effect without a unix socket in listen: remove it`,
			`test.toml:9: admin.listen: "tcp:[::]:9180" can be reached from other machines, and the metrics ask for no password: ` +
				`listen on 127.0.0.1, or let a firewall protect the port`,
			`test.toml:11: sent.listen: "tcp:192.0.2.1:2525" can be reached from other machines, and the hook takes mail from everybody: ` +
				`listen on 127.0.0.1 or a unix socket, or let a firewall protect the port`,
		}},
		{"next hop of a domain without received", "data = \"/srv\"\n[sent]\nlisten = [\"systemd:sent\"]\nnext_hop = \"smtp:127.0.0.1:10026\"\n" +
			"[[domain]]\nname = \"alpha.test\"\nnext_hop = \"lmtp:127.0.0.1:24\"\n", []string{
			`test.toml:7: domain.next_hop: it has no effect without [received]: remove it`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, w := range mustParse(t, test.text).Warnings {
				got = append(got, w.Error())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(test.want, "\n  "))
			}
		})
	}
}

func TestLoad(t *testing.T) {
	write := func(t *testing.T, text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "copialettere.toml")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("as Parse", func(t *testing.T) {
		got, err := Load(write(t, minimal, 0o644))
		if want := mustParse(t, minimal); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	})
	t.Run("with a byte order mark", func(t *testing.T) {
		if _, err := Load(write(t, "\ufeff"+minimal, 0o644)); err != nil {
			t.Error(err)
		}
	})
	t.Run("errors name the path", func(t *testing.T) {
		path := write(t, "data = 1\n", 0o644)
		_, err := Load(path)
		var all Errors
		if !errors.As(err, &all) || len(all) != 2 || all[1].File != path || all[1].Line != 1 || all[1].Key != "data" {
			t.Errorf("%#v", err)
		}
	})
	t.Run("secret in a file that all can read", func(t *testing.T) {
		text := minimal + "redirect_header = \"X-Redirect: correct horse battery\"\n"
		c, err := Load(write(t, text, 0o644))
		if err != nil || len(c.Warnings) != 1 || c.Warnings[0].Line != 5 || strings.Contains(c.Warnings[0].Error(), "horse") {
			t.Errorf("%+v, %v", c, err)
		}
		if c, err := Load(write(t, text, 0o640)); err != nil || len(c.Warnings) != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("a folder", func(t *testing.T) {
		if _, err := Load(t.TempDir()); err == nil {
			t.Error("no error")
		}
	})
	t.Run("too large", func(t *testing.T) {
		if _, err := Load(write(t, minimal+strings.Repeat("#", maxFile-len(minimal)), 0o644)); err != nil {
			t.Errorf("of the greatest size: %v", err)
		}
		_, err := Load(write(t, minimal+strings.Repeat("#", maxFile-len(minimal)+1), 0o644))
		if err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Error(err)
		}
	})
	t.Run("UTF-16", func(t *testing.T) {
		_, err := Parse("test.toml", []byte("\xff\xfed\x00a\x00"))
		if want := "test.toml:1: the file is UTF-16: save it as UTF-8"; err == nil || err.Error() != want {
			t.Error(err)
		}
	})
}

// FuzzParse: Parse never panics. A refused file has errors with a line and a remedy, and an accepted one keeps the promises of Config.
func FuzzParse(f *testing.F) {
	f.Add(minimal)
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../../../contrib/copialettere.toml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("fuzz.toml", []byte(text))
		if err != nil {
			checkErrors(t, err, text)
			return
		}
		checkErrors(t, Errors(c.Warnings), text)
		if !filepath.IsAbs(c.Data) || c.Received == nil && c.Sent == nil || c.Admin.Socket() == "" {
			t.Errorf("accepted %+v", c)
		}
		if c.Received != nil {
			checkHook(t, c.Received.Hook)
		}
		if c.Sent != nil {
			checkHook(t, c.Sent.Hook)
		}
		checkArchive(t, c)
	})
}

func checkErrors(t *testing.T, err error, text string) {
	t.Helper()
	all, ok := err.(Errors)
	if !ok {
		t.Fatalf("%T", err)
	}
	for i, e := range all {
		if e.Line < 0 || e.Line > strings.Count(text, "\n")+1 || e.Problem == "" || e.Remedy == "" || strings.ContainsAny(e.Error(), "\n\r") {
			t.Errorf("%#v", e)
		}
		if e.Line == 0 && e.Key != "data" && e.Key != "received" {
			t.Errorf("without a line: %v", e)
		}
		if i > 0 && e.Line < all[i-1].Line {
			t.Errorf("out of order: %v", e)
		}
	}
}

func checkHook(t *testing.T, h Hook) {
	t.Helper()
	w := h.Timeouts
	if w.Connect+w.Command > 290*time.Second || w.Data > 170*time.Second || w.Journal+w.Final > 560*time.Second {
		t.Errorf("timeouts %+v outlast Postfix", w)
	}
	if min(w.Connect, w.Command, w.Data, w.Journal, w.Final, w.Idle) < time.Second {
		t.Errorf("timeouts %+v", w)
	}
	if len(h.Listen) == 0 || h.NextHop == (nexthop.Spec{}) || h.HelloName == "" || h.MaxMessageSize < 1000 || h.MaxRecipients < 100 ||
		h.MaxConnections < 1 || h.SocketMode&^0o777 != 0 {
		t.Errorf("accepted %+v", h)
	}
}

// TestExampleAtFirst checks what the README says: without the optional sections from [notices] to [dovecot_policy], [postfix] excepted, the example is
// accepted, and names no file that has to be made first.
func TestExampleAtFirst(t *testing.T) {
	raw, err := os.ReadFile("../../../contrib/copialettere.toml")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(raw), "\n[notices]\n")
	_, rest, _ = strings.Cut(rest, "\n[postfix]\n")
	postfix, rest, _ := strings.Cut(rest, "\n[auth]\n")
	_, rest, ok := strings.Cut(rest, "\n[disk]\n")
	if !ok {
		t.Fatal("the sections stand in another order")
	}
	file := filepath.Join(t.TempDir(), "copialettere.toml")
	if err := os.WriteFile(file, []byte(before+"\n[postfix]\n"+postfix+"\n[disk]\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Postfix == nil || c.Auth != nil || c.TLS != nil || c.IMAP != nil || c.Submission != nil || c.Dovecot != nil || c.DovecotPolicy != nil {
		t.Errorf("%+v", c)
	}
}
