package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"copialettere/lmtp/nexthop"
	"copialettere/policy"
)

// Bounds of the timeouts. They keep the whole transaction inside the timeouts of Postfix's lmtp(8) and smtp(8), and leave the hook time for its
// own work.
const (
	maxBeforeData = 290 * time.Second // lmtp_mail_timeout, lmtp_rcpt_timeout: 300s
	maxData       = 170 * time.Second // lmtp_data_xfer_timeout: 180s
	maxAfterDot   = 560 * time.Second // lmtp_data_done_timeout: 600s; a message may be handed on anew behind the dot, which has 30s
)

// reader reads one file and collects what is wrong in it.
type reader struct {
	file      string
	errors    Errors
	warnings  []Error
	tables    []*table // all tables that were read, for the unknown keys
	listeners []placedListener
	nextHops  []placedListener
	exposed   bool // every user of the machine may read the file
}

// placedListener is an address with its place in the file.
type placedListener struct {
	Listener
	text string // as the file has it
	key  string
	line int
}

func (l placedListener) where() string {
	if l.line == 0 {
		return "the default of " + l.key
	}
	return fmt.Sprintf("%s, line %d", l.key, l.line)
}

func (r *reader) fail(line int, key string, f *fault) {
	r.errors = append(r.errors, Error{File: r.file, Line: line, Key: key, Problem: f.problem, Remedy: f.remedy})
}

func (r *reader) warn(line int, key, problem, remedy string) {
	r.warnings = append(r.warnings, Error{File: r.file, Line: line, Key: key, Problem: problem, Remedy: remedy})
}

// read reads the whole file. The result is complete only if there was no error.
func (r *reader) read(text string) *Config {
	text = strings.TrimPrefix(text, "\ufeff")
	switch {
	case len(text) > maxFile:
		r.fail(1, "", faultf("name the configuration file", "the file is larger than %s", formatSize(maxFile)))
		return nil
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"):
		r.fail(1, "", faultf("save it as UTF-8", "the file is UTF-16"))
		return nil
	}
	root, deep := locate(text)
	if deep > 0 {
		r.fail(deep, "", faultf("close the brackets", "lists and tables are nested deeper than %d levels", maxDepth))
		return nil
	}
	values := make(map[string]any)
	if _, err := toml.Decode(text, &values); err != nil {
		r.syntax(err, text, root)
		return nil
	}
	return r.config(&table{reader: r, values: values, place: root, line: 0})
}

func (r *reader) config(top *table) *Config {
	r.tables = append(r.tables, top)
	c := &Config{}
	c.Data = top.data()
	received, sent := top.table("received"), top.table("sent")
	c.Received, c.Sent = received.received(c.Data), sent.sent(c.Data)
	if !top.has("received") && !top.has("sent") {
		top.lacks("received", "there is neither [received] nor [sent]", "add one of them or both")
	}
	c.Admin = top.table("admin").admin(c.Data)
	c.Log = top.table("log").log()
	c.Domains = r.domains(top, c.Received != nil)
	c.Rights = top.table("rights").rights(policy.DefaultRights())
	c.PEC = top.table("pec").pec()
	c.Notices = top.table("notices").notices()
	c.Postfix = top.table("postfix").postfix(c)
	auth := top.table("auth")
	c.Auth = auth.auth()
	c.TLS = top.table("tls").tls()
	c.ArchiveHosts = r.archiveHosts(top, auth, c)
	c.IMAP = top.table("imap").imap(c)
	c.IMAPC = top.table("imapc").imapc(c)
	c.Dovecot = top.table("dovecot").dovecot(c.Data)
	c.DovecotPolicy = top.table("dovecot_policy").dovecotPolicy(c)
	c.Web = top.table("web").web(c)
	c.Profile = top.table("profile").profile()
	c.MailboxServers = top.table("mailbox_servers").mailboxServers()
	c.Submission = top.table("submission").submission(c)
	c.Disk = top.table("disk").disk()
	c.Retention = top.table("retention").retention()
	c.Erase = top.table("erase").erase()
	c.Logs = top.table("logs").logs()
	c.Verify = top.table("verify").verify()
	c.Pull = top.table("pull").pull()
	c.Exports = top.table("exports").exports()
	c.Encryption = top.table("encryption").encryption()
	c.Evidence = top.table("evidence").evidence(c)
	c.Preservation = top.table("preservation").preservation(c)
	c.Scan = top.table("scan").scan()
	r.unknown()
	r.clashes()
	return c
}

func (t *table) data() string {
	const example = "/var/lib/copialettere"
	t.require("data", `data = "`+example+`"`)
	s, ok := t.text("data", example)
	switch {
	case !ok:
		return ""
	case strings.ContainsRune(s, 0):
		t.fail("data", faultf("remove it", "%s has a NUL character", quote(s)))
	case !filepath.IsAbs(s):
		t.fail("data", faultf(`write an absolute path such as "`+example+`"`, "%s is not an absolute path", quote(s)))
	case filepath.Clean(s) == "/":
		t.fail("data", faultf(`write a folder of its own such as "`+example+`"`, "the data folder cannot be the root folder"))
	}
	return filepath.Clean(s)
}

func (t *table) received(data string) *Received {
	c := &Received{Hook: t.hook(data, "lmtp:unix:/run/dovecot/lmtp", 1000)}
	c.Origin = choice(t, "origin", OriginORCPT, OriginXOriginalTo, OriginNone)
	if s, ok := t.text("redirect_header", "X-Copialettere-Redirect: SECRET"); ok {
		t.check("redirect_header", checkRedirectHeader(s))
		name, value, _ := strings.Cut(s, ":")
		c.RedirectHeader = name + ": " + strings.TrimSpace(value)
		if t.reader.exposed {
			t.reader.warn(t.lineOf("redirect_header"), t.key("redirect_header"),
				"every user of the machine can read the secret", "give the file the mode 0640")
		}
	}
	c.RedirectFrom = list(t, "redirect_from", "127.0.0.1", parsePrefix, func(p netip.Prefix) string { return p.String() })
	c.KeepSkips = t.duration("keep_skips", DefaultKeepSkips, time.Hour, 366*24*time.Hour)
	if t.absent {
		return nil
	}
	return c
}

func (t *table) sent(data string) *Sent {
	c := &Sent{Hook: t.hook(data, "smtp:127.0.0.1:10026", 2000)}
	c.Identity = choice(t, "identity", IdentityLoginHeader, IdentityMailFrom)
	name, ok := t.text("login_header", "X-Copialettere-Login")
	switch {
	case ok && c.Identity == IdentityMailFrom:
		t.fail("login_header", faultf("remove one of the two", `it has no effect with identity = "mail-from"`))
	case ok:
		t.check("login_header", checkHeaderName(name))
		c.LoginHeader = name
	case c.Identity == IdentityLoginHeader:
		c.LoginHeader = "X-Copialettere-Login"
	}
	if s, ok := t.text("login_domain", "alpha.test"); ok {
		var f *fault
		c.LoginDomain, f = parseDomain(s)
		t.check("login_domain", f)
	}
	if t.absent {
		return nil
	}
	return c
}

// hook reads the keys that [received] and [sent] share.
func (t *table) hook(data, nextHop string, recipients int64) Hook {
	var h Hook
	listen := "unix:/var/spool/postfix/private/copialettere"
	if t.name == "sent" {
		listen = "tcp:127.0.0.1:2525"
	}
	t.require("listen", `listen = ["`+listen+`"]`)
	h.Listen = t.listeners(data, listen)
	h.SocketMode, h.SocketGroup = t.socket(h.Listen, 0o660, 0o777)
	t.require("next_hop", `next_hop = "`+nextHop+`"`)
	h.NextHop = t.nextHop("next_hop", nextHop, t.name)
	h.MaxMessageSize = t.size("max_message_size", 150e6, 1e3, 2e9)
	// RFC 5321 4.5.3.1.8: a server takes at least 100 recipients.
	h.MaxRecipients = t.number("max_recipients", recipients, 100, 100000)
	h.MaxConnections = t.number("max_connections", 200, 1, 10000)
	h.OnJournalError = choice(t, "on_journal_error", JournalErrorDefer, JournalErrorDeliver)
	h.HelloName = t.hostName("hello_name", "mx.alpha.test")
	h.Timeouts = t.timeouts()
	return h
}

func (t *table) timeouts() Timeouts {
	c := Timeouts{
		Connect: t.duration("connect_timeout", 30*time.Second, time.Second, maxBeforeData-time.Second),
		Command: t.duration("command_timeout", 240*time.Second, time.Second, maxBeforeData-time.Second),
		Data:    t.duration("data_timeout", maxData, time.Second, maxData),
		Journal: t.duration("journal_timeout", 60*time.Second, time.Second, maxAfterDot-time.Second),
		Final:   t.duration("final_timeout", 480*time.Second, time.Second, maxAfterDot-time.Second),
		Idle:    t.duration("idle_timeout", 300*time.Second, time.Second, time.Hour),
	}
	t.sum("connect_timeout", c.Connect, "command_timeout", c.Command, maxBeforeData, "lmtp_rcpt_timeout")
	t.sum("journal_timeout", c.Journal, "final_timeout", c.Final, maxAfterDot, "lmtp_data_done_timeout")
	return c
}

// sum bounds the sum of two timeouts that Postfix waits for as one.
func (t *table) sum(keyA string, a time.Duration, keyB string, b, limit time.Duration, postfix string) {
	if a+b <= limit {
		return
	}
	key := keyB
	if !t.has(keyB) {
		key = keyA
	}
	t.fail(key, faultf("lower one of them: together they stay below Postfix's "+postfix, "%s (%s) and %s (%s) make more than %s",
		keyA, formatDuration(a), keyB, formatDuration(b), formatDuration(limit)))
}

func (t *table) admin(data string) Admin {
	c := Admin{Listen: t.listeners(data, "unix:admin.sock")}
	if !t.has("listen") {
		c.Listen = []Listener{{"unix", filepath.Join(data, "admin.sock")}}
		t.reader.listeners = append(t.reader.listeners, placedListener{c.Listen[0], "unix:admin.sock", t.key("listen"), t.line})
	} else if len(c.Listen) > 0 && c.Socket() == "" {
		t.fail("listen", faultf(`add "unix:admin.sock"`, "there is no unix socket, and the commands reach the daemon over one"))
	}
	c.SocketMode, c.SocketGroup = t.socket(c.Listen, 0o600, 0o660)
	return c
}

func (t *table) log() Log {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	return Log{Level: levels[choice(t, "level", "info", "debug", "warn", "error")], Format: choice(t, "format", LogText, LogJSON)}
}

func (r *reader) domains(top *table, received bool) []Domain {
	var domains []Domain
	lines := make(map[string]int)
	for _, t := range top.list("domain") {
		t.require("name", `name = "alpha.test"`)
		d := Domain{}
		if s, ok := t.text("name", "alpha.test"); ok {
			var f *fault
			d.Name, f = parseDomain(s)
			if first := lines[d.Name]; f == nil && first > 0 {
				f = faultf("remove one of the two", "%s is already the domain of line %d", quote(d.Name), first)
			}
			t.check("name", f)
			lines[d.Name] = t.lineOf("name")
		}
		d.RecipientDelimiter = t.delimiter()
		d.Postmasters = list(t, "postmasters", "postmaster@"+cmp.Or(d.Name, "alpha.test"),
			func(s string) (string, *fault) { return parseAddress(s, d.Name) }, func(s string) string { return s })
		d.NextHop = t.nextHop("next_hop", "lmtp:unix:/run/dovecot/lmtp", "received")
		if d.NextHop != (nexthop.Spec{}) && !received {
			r.warn(t.lineOf("next_hop"), t.key("next_hop"), "it has no effect without [received]", "remove it")
		}
		defaults := t.table("defaults")
		d.Defaults = defaults.defaults()
		t.limits(&d, defaults)
		d.Rights = t.table("rights").rights(policy.Rights{})
		d.MailboxServers = t.table("mailbox_servers").mailboxServers()
		d.RequireSecondFactor = t.flag("require_second_factor")
		if s, ok := t.text("from", "archivio@alpha.test"); ok {
			var f *fault
			d.NoticesFrom, f = parseAddress(s, "")
			t.check("from", f)
		}
		d.Brand = t.brand()
		d.TrustedProxies = t.trustedProxies()
		if !t.absent {
			domains = append(domains, d)
		}
	}
	return domains
}

func (t *table) delimiter() string {
	s, ok := t.text("recipient_delimiter", "+")
	if !ok {
		return "+"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("!#$%&'*+-./=?^_`{|}~", r) }) {
		t.fail("recipient_delimiter", faultf(`write the characters as Postfix has them, such as "+" or "+-", or "" for none`,
			"%s has a character that cannot separate an extension", quote(s)))
	}
	return s
}

// nextHop reads the address of a mail server for a direction, "received" or "sent".
func (t *table) nextHop(key, example, direction string) nexthop.Spec {
	s, ok := t.text(key, example)
	if !ok {
		return nexthop.Spec{}
	}
	spec, f := parseNextHop(s, direction)
	if t.check(key, f) {
		t.reader.nextHops = append(t.reader.nextHops, placedListener{hopListener(spec), s, t.key(key), t.lineOf(key)})
	}
	return spec
}

// listeners reads the key listen.
func (t *table) listeners(data, example string) []Listener {
	var all []Listener
	t.items("listen", example, func(s string, line int) {
		l, f := parseListener(s, data)
		if f != nil {
			t.reader.fail(line, t.key("listen"), f)
			return
		}
		all = append(all, l)
		t.reader.listeners = append(t.reader.listeners, placedListener{l, s, t.key("listen"), line})
		if !l.loopback() && t.name == "admin" {
			t.reader.warn(line, t.key("listen"), quote(s)+" can be reached from other machines, and the metrics ask for no password",
				"listen on 127.0.0.1, or let a firewall protect the port")
		} else if !l.loopback() {
			t.reader.warn(line, t.key("listen"), quote(s)+" can be reached from other machines, and the hook takes mail from everybody",
				"listen on 127.0.0.1 or a unix socket, or let a firewall protect the port")
		}
	})
	if t.has("listen") && t.length("listen") == 0 {
		t.fail("listen", faultf(`write listen = ["`+example+`"]`, "the list is empty"))
	}
	return all
}

// socket reads socket_mode and socket_group. The mode stays within limit.
func (t *table) socket(listen []Listener, fallback, limit os.FileMode) (os.FileMode, string) {
	mode := fallback
	example := fmt.Sprintf("%04o", fallback)
	if s, ok := t.text("socket_mode", example); ok {
		n, err := strconv.ParseUint(s, 8, 32)
		mode = os.FileMode(n)
		switch {
		case err != nil || len(s) < 3 || len(s) > 4 || n > 0o777:
			t.fail("socket_mode", faultf(`write an octal file mode such as "`+example+`"`, "%s is not a file mode", quote(s)))
		case mode&0o600 != 0o600:
			t.fail("socket_mode", faultf(`write "`+example+`"`, "%s keeps the owner from reading and writing", quote(s)))
		case mode&^limit != 0:
			t.fail("socket_mode", faultf(fmt.Sprintf(`write "%04o" or "%04o"`, fallback, limit),
				"%s lets every user of the machine give commands", quote(s)))
		}
	}
	group, ok := t.text("socket_group", "postfix")
	if ok && (group == "" || len(group) > 32 || strings.ContainsFunc(group, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '/' })) {
		t.fail("socket_group", faultf(`write the name of a group such as "postfix"`, "%s is not a group name", quote(group)))
	}
	for _, l := range listen {
		if l.Network == "unix" {
			return mode, group
		}
	}
	for _, key := range []string{"socket_mode", "socket_group"} {
		if t.has(key) && t.has("listen") {
			t.reader.warn(t.lineOf(key), t.key(key), "it has no effect without a unix socket in listen", "remove it")
		}
	}
	return mode, group
}

// clashes reports listeners that cannot both be opened, and next hops that lead back to the daemon.
func (r *reader) clashes() {
	for i, l := range r.listeners {
		for _, first := range r.listeners[:i] {
			if !l.clashes(first.Listener) {
				continue
			}
			if l.line == 0 {
				// The default of admin.listen has no line, so blame the other one.
				l, first = first, l
			}
			r.fail(l.line, l.key, faultf("give each an address of its own", "%s and %s (%s) cannot both be opened",
				quote(l.text), quote(first.text), first.where()))
			break
		}
	}
	for _, hop := range r.nextHops {
		for _, l := range r.listeners {
			if hop.clashes(l.Listener) {
				r.fail(hop.line, hop.key, faultf("write the address of the mail server behind the hook",
					"%s leads to our own listener (%s)", quote(hop.text), l.where()))
				break
			}
		}
	}
}

// syntax reports an error of the TOML library.
func (r *reader) syntax(err error, text string, root *place) {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		r.fail(1, "", faultf("write TOML 1.0", "%s", oneLine(err.Error())))
		return
	}
	// The library's line is one too high where it did not expect a line end; its offset is right.
	before := text[:min(max(parse.Position.Start, 0), len(text))]
	line, column := 1+strings.Count(before, "\n"), len(before)-strings.LastIndexByte(before, '\n')
	key, message := parse.LastKey, strings.TrimSuffix(parse.Message, ".")
	remedy := fmt.Sprintf("correct it at column %d", column)
	switch {
	case strings.HasPrefix(message, `expected value but found "`):
		remedy = "put text in quotes; write true and false in lower case"
	case strings.HasPrefix(message, "expected value but found"):
		remedy = "write a value after the ="
	case strings.HasPrefix(message, "strings cannot contain newlines"):
		remedy = "close the text with a quote on the same line"
	case strings.HasPrefix(message, "expected a comma (',') or array terminator"):
		remedy = "put a comma between the items and ] after the last"
	case strings.HasPrefix(message, "expected a top-level item to end"):
		remedy = "put durations, sizes and other text in quotes, and one key on a line"
	case strings.HasSuffix(message, "' has already been defined"):
		key = strings.TrimSuffix(strings.TrimPrefix(message, "Key '"), "' has already been defined")
		message, remedy = "it appears twice", "remove one of the two"
		if first := root.find(key); first != nil && first.line < line {
			remedy += fmt.Sprintf("; the first is in line %d", first.line)
		}
	}
	r.fail(line, oneLine(key), faultf(remedy, "%s", oneLine(message)))
}
