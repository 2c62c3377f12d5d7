package postfix

import (
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/policy"
)

// ours is the configuration of the tests, whose maps lie in a folder that only the fake postmap knows.
var ours = Config{Folder: "/maps", Received: receivedSide, Sent: sentSide}

// domains are the classes of most tests.
const domains = `mydestination = local.test
virtual_alias_domains = gamma.test
virtual_mailbox_domains = alpha.test, beta.test
relay_domains =
parent_domain_matches_subdomains = relay_domains
local_transport = local:mx.alpha.test
mailbox_transport =
mailbox_transport_maps =
virtual_transport = lmtp:unix:dovecot
relay_transport = relay
default_transport = smtp
recipient_delimiter = +
`

func TestReceivedRoute(t *testing.T) {
	const map1 = "transport_maps = hash:/maps/copialettere_transport\n"
	const in = "anna@alpha.test\t" + receivedSide + "\n"
	for _, c := range []struct {
		name           string
		main           string // what stands before domains, and counts before it
		tables         map[string]string
		config         Config // ours where empty
		mailbox        string // anna@alpha.test where empty
		state          State
		detail, remedy string // what stands in them
	}{
		{name: "in our map", main: map1, tables: map[string]string{"maps/copialettere_transport": in}, state: Routed, detail: "sends anna@alpha.test to"},
		{name: "not in our map", main: map1, tables: map[string]string{"maps/copialettere_transport": "bruno" + in}, state: NotRouted,
			detail: `nothing for anna@alpha.test, and virtual_transport is "lmtp:unix:dovecot"`, remedy: "run postmap /maps/copialettere_transport"},
		{name: "our map is not named", main: "transport_maps =\n", state: NotRouted, detail: "transport_maps (empty)",
			remedy: "put ${default_database_type}:/maps/copialettere_transport before all other maps in transport_maps"},
		{name: "our map is not made", main: map1, state: Unknown, detail: "No such file", remedy: "run postmap /maps/copialettere_transport"},
		{name: "another map comes first", main: "transport_maps = hash:other hash:/maps/copialettere_transport\n",
			tables: map[string]string{"maps/copialettere_transport": in, "other": "anna@alpha.test\tsmtp:elsewhere\n"}, state: NotRouted,
			detail: "(hash:other) sends anna@alpha.test to smtp:elsewhere", remedy: "put hash:/maps/copialettere_transport before all other maps"},
		{name: "another map comes later", main: "transport_maps = hash:/maps/copialettere_transport, hash:other\n",
			tables: map[string]string{"maps/copialettere_transport": in, "other": "anna@alpha.test\tsmtp:elsewhere\n"}, state: Routed},
		{name: "a later map that cannot be asked is not", main: "transport_maps = hash:/maps/copialettere_transport, ldap:none\n",
			tables: map[string]string{"maps/copialettere_transport": in}, state: Routed},
		{name: "an earlier map that cannot be asked", main: "transport_maps = ldap:none hash:/maps/copialettere_transport\n",
			tables: map[string]string{"maps/copialettere_transport": in}, state: Unknown, detail: "ldap:none", remedy: "let the daemon's user read that map"},
		{name: "through proxymap", main: "transport_maps = proxy:hash:other\n", tables: map[string]string{"other": in}, state: Routed, detail: "proxy:hash:other"},
		{name: "without its extension", main: "transport_maps = hash:other\n", tables: map[string]string{"other": in}, mailbox: "anna+tag@alpha.test", state: Routed},
		{name: "a whole domain", main: "transport_maps = hash:other\n", tables: map[string]string{"other": "alpha.test\t" + receivedSide + "\n"}, state: Routed},
		{name: "a domain above", main: "transport_maps = hash:other\n", tables: map[string]string{"other": ".test\t" + receivedSide + "\n"}, state: Routed},
		{name: "the address before the domain", main: "transport_maps = hash:other hash:/maps/copialettere_transport\n",
			tables: map[string]string{"maps/copialettere_transport": in, "other": "alpha.test\tsmtp:elsewhere\n"}, state: Routed},
		{name: "everything", main: "transport_maps = hash:other\n", tables: map[string]string{"other": "*\t" + receivedSide + "\n"}, state: Routed},
		{name: "patterns are not asked for a domain", main: "transport_maps = regexp:other\n",
			tables: map[string]string{"other": "alpha.test\t" + receivedSide + "\n"}, state: NotRouted},
		{name: "patterns are asked for an address", main: "transport_maps = regexp:other\n", tables: map[string]string{"other": in}, state: Routed},
		{name: "an entry without a transport", main: "transport_maps = hash:other\nvirtual_transport = " + receivedSide + "\n",
			tables: map[string]string{"other": "anna@alpha.test\t:\n"}, state: Routed, detail: "virtual_transport"},
		{name: "all virtual mail", main: "transport_maps =\nvirtual_transport = " + receivedSide + "\n", state: Routed, detail: "virtual_transport"},
		{name: "all virtual mail, domains in a map", state: Routed, tables: map[string]string{"d": "alpha.test\tx\n"},
			main: "transport_maps =\nvirtual_mailbox_domains = hash:d\nvirtual_transport = " + receivedSide + "\n"},
		{name: "all virtual mail, domains in a map that cannot be asked", state: Unknown, detail: "the class of the domain alpha.test",
			main: "transport_maps =\nvirtual_mailbox_domains = mysql:none\nvirtual_transport = " + receivedSide + "\n"},
		{name: "all virtual mail, domain of another class", mailbox: "anna@elsewhere.test", state: NotRouted, detail: `default_transport is "smtp"`,
			main: "transport_maps =\nvirtual_transport = " + receivedSide + "\n"},
		{name: "all local mail", mailbox: "anna@local.test", main: "transport_maps =\nmailbox_transport = " + receivedSide + "\n", state: Routed, detail: "mailbox_transport"},
		{name: "some local mail", mailbox: "anna@local.test", main: "transport_maps =\nmailbox_transport_maps = hash:m\n", state: Routed, detail: "(hash:m)",
			tables: map[string]string{"m": "anna\t" + receivedSide + "\n"}},
		{name: "a relay domain by its parent", mailbox: "anna@mail.delta.test", state: Routed, detail: "relay_transport",
			main: "transport_maps =\nrelay_domains = delta.test\nrelay_transport = " + receivedSide + "\n"},
		{name: "a domain of aliases", mailbox: "anna@gamma.test", main: "transport_maps =\n", state: NotRouted, detail: "virtual_alias_domains"},
		{name: "an alias", main: map1 + "virtual_alias_maps = hash:v\n", state: NotRouted, detail: "makes bruno@alpha.test of anna@alpha.test",
			tables: map[string]string{"maps/copialettere_transport": in, "v": "anna@alpha.test\tbruno@alpha.test\n"}, remedy: "enable the mailbox that"},
		{name: "a mailbox and a copy", main: map1 + "virtual_alias_maps = hash:v\n", state: Routed,
			tables: map[string]string{"maps/copialettere_transport": in, "v": "anna@alpha.test\tbruno@alpha.test, anna@alpha.test\n"}},
		{name: "an alias map that cannot be asked", main: map1 + "virtual_alias_maps = mysql:none\n", state: Routed,
			tables: map[string]string{"maps/copialettere_transport": in}},
		{name: "maps by hand", main: "transport_maps = hash:other\n", config: Config{Received: receivedSide}, tables: map[string]string{"other": ""},
			state: NotRouted, remedy: `add "anna@alpha.test ` + receivedSide + `"`},
		{name: "what no map can have", main: map1, mailbox: "#anna@alpha.test", tables: map[string]string{"maps/copialettere_transport": in},
			state: NotRouted, remedy: "begins with #"},
		{name: "a domain in both forms, one in the map", mailbox: "anna@città.test", state: NotRouted, detail: "anna@città.test",
			main:   map1 + "virtual_mailbox_domains = xn--citt-3na.test città.test\n",
			tables: map[string]string{"maps/copialettere_transport": "anna@xn--citt-3na.test\t" + receivedSide + "\n"}},
		{name: "a domain in one form only", mailbox: "anna@città.test", state: Routed,
			main:   map1 + "virtual_mailbox_domains = xn--citt-3na.test\n",
			tables: map[string]string{"maps/copialettere_transport": "anna@xn--citt-3na.test\t" + receivedSide + "\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fakePostfix{main: first(c.main + "virtual_alias_maps =\n" + domains), tables: c.tables}
			f.installIn(t)
			expectRoute(t, routeOf(t, c.config, c.mailbox, journal.Received), Route{Direction: "received", State: c.state, Detail: c.detail, Remedy: c.remedy})
		})
	}
}

// first keeps the first line of each parameter.
func first(main string) string {
	seen := make(map[string]bool)
	var kept strings.Builder
	for line := range strings.Lines(main) {
		name, _, _ := strings.Cut(line, " =")
		if !seen[name] {
			kept.WriteString(line)
		}
		seen[name] = true
	}
	return kept.String()
}

// installIn is install with the tables of /maps where they are looked for.
func (f fakePostfix) installIn(t *testing.T) string {
	flat := make(map[string]string)
	for name, text := range f.tables {
		flat[strings.ReplaceAll(name, "/", "%")] = text
	}
	f.tables = flat
	return f.install(t)
}

// routeOf asks for one route, by default of anna@alpha.test and with the configuration ours.
func routeOf(t *testing.T, c Config, mailbox string, d journal.Direction) Route {
	t.Helper()
	if c == (Config{}) {
		c = ours
	}
	if mailbox == "" {
		mailbox = "anna@alpha.test"
	}
	a := address(t, mailbox)
	return ask(t.Context(), &c, []policy.Address{a})[a][d]
}

// expectRoute compares a route: of detail and remedy, what is wanted has to stand in it.
func expectRoute(t *testing.T, got, want Route) {
	t.Helper()
	if got.Direction != want.Direction || got.State != want.State || !strings.Contains(got.Detail, want.Detail) || !strings.Contains(got.Remedy, want.Remedy) ||
		(got.Remedy == "") != (got.State == Routed) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

const master = `smtp       inet  n       -       y       -       -       smtpd
submission inet  n       -       y       -       -       smtpd -o smtpd_sasl_auth_enable=yes
127.0.0.1:10026 inet n   -       n       -       -       smtpd
pickup     unix  n       -       y       60      1       pickup
`

func TestSentRoute(t *testing.T) {
	const login = "submission/inet/smtpd_sasl_auth_enable = yes\n"
	const data = "submission/inet/smtpd_data_restrictions = "
	const own = "check_sasl_access hash:/maps/copialettere_senders\n"
	const in = "anna@alpha.test\tcopialettere_sent\n"
	const classes = "smtpd_restriction_classes = copialettere_sent, deeper\ncopialettere_sent = check_sasl_access static:FILTER x:y\ndeeper = " + own
	ownMap := map[string]string{"maps/copialettere_senders": in}
	for _, c := range []struct {
		name           string
		main           string
		master         string // what comes behind the usual one
		overrides      string
		tables         map[string]string
		config         Config
		mailbox        string
		state          State
		detail, remedy string
	}{
		{name: "in our map", overrides: login + data + own, tables: ownMap, state: Routed, detail: "smtpd_data_restrictions of submission"},
		{name: "not in our map", overrides: login + data + own, tables: map[string]string{"maps/copialettere_senders": "b" + in}, state: NotRouted,
			detail: "asked in hash:/maps/copialettere_senders", remedy: "run postmap /maps/copialettere_senders"},
		{name: "our map is not made", overrides: login + data + own, state: Unknown, detail: "No such file", remedy: "run postmap"},
		{name: "no restriction", overrides: login, state: NotRouted, remedy: "add -o smtpd_data_restrictions=$copialettere_submission_restrictions to submission"},
		{name: "nobody can log in", state: NotRouted, detail: "lets users log in"},
		{name: "in main.cf", main: "smtpd_data_restrictions = " + own, overrides: login, tables: ownMap, state: Routed},
		{name: "in main.cf, overridden", main: "smtpd_data_restrictions = " + own, overrides: login + data + "\n", tables: ownMap, state: NotRouted},
		{name: "in another list", overrides: login + "submission/inet/smtpd_recipient_restrictions = reject_non_fqdn_recipient, " + own, tables: ownMap, state: Routed},
		{name: "behind a permit", overrides: login + data + "permit_sasl_authenticated, " + own, tables: ownMap, state: NotRouted},
		{name: "in a class", main: classes, overrides: login + data + "deeper\n", tables: ownMap, state: Routed},
		{name: "for all, by a class", main: classes, overrides: login + data + "copialettere_sent\n", state: Routed, detail: "for all"},
		{name: "for all, by content_filter", config: Config{Sent: "FILTER copialettere-sent:[127.0.0.1]:2525"},
			overrides: login + "submission/inet/content_filter = copialettere-sent:[127.0.0.1]:2525\n", state: Routed, detail: "content_filter of submission"},
		{name: "a map of FILTERs", config: Config{Sent: "FILTER copialettere-sent:[127.0.0.1]:2525"}, overrides: login + data + "check_sasl_access hash:m\n",
			tables: map[string]string{"m": "anna@alpha.test\tFILTER copialettere-sent:[127.0.0.1]:2525\n"}, state: Routed},
		{name: "another map says DUNNO", overrides: login + data + "check_sasl_access hash:m " + own, state: Routed,
			tables: map[string]string{"maps/copialettere_senders": in, "m": "anna@alpha.test\tDUNNO\n"}},
		{name: "another map says OK", overrides: login + data + "check_sasl_access hash:m " + own, state: NotRouted, detail: "hash:m",
			tables: map[string]string{"maps/copialettere_senders": in, "m": "anna@alpha.test\tOK\n"}, remedy: "before all other maps"},
		{name: "braces", overrides: login + data + "check_client_access static:{PREPEND X-A: b, c}, " + own, tables: ownMap, state: Routed},
		{name: "a second port without it", overrides: login + data + own + "smtps/inet/smtpd_sasl_auth_enable = yes\n", state: NotRouted, detail: "of smtps",
			master: "smtps inet n - y - - smtpd\n", tables: ownMap, remedy: "to smtps in master.cf, or -o smtpd_sasl_auth_enable=no"},
		{name: "port 25 lets users log in behind postscreen", main: "smtpd_sasl_auth_enable = yes\n", state: NotRouted, detail: "of smtpd",
			overrides: "submission/inet/smtpd_data_restrictions = " + own + "smtp/inet/smtpd_sasl_auth_enable = no\n127.0.0.1:10026/inet/smtpd_sasl_auth_enable = no\n",
			master:    "smtpd pass - - y - - smtpd\n", tables: ownMap},
		{name: "a login without its domain, by hand", config: Config{Sent: sentSide, LoginDomain: "alpha.test"}, overrides: login + data + "check_sasl_access hash:m\n",
			tables: map[string]string{"m": "anna\tcopialettere_sent\n"}, state: Routed},
		{name: "by the envelope sender", config: Config{Sent: sentSide, ByMailFrom: true}, overrides: login + data + "check_sender_access hash:m\n", state: Unknown},
		{name: "a class that names itself", main: "smtpd_restriction_classes = a\na = a, a\n", overrides: login + data + "a\n", state: NotRouted},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fakePostfix{main: first(c.main + "smtpd_sasl_auth_enable = no\ntransport_maps =\n"), master: master + c.master, overrides: c.overrides, tables: c.tables}
			f.installIn(t)
			expectRoute(t, routeOf(t, c.config, c.mailbox, journal.Sent), Route{Direction: "sent", State: c.state, Detail: c.detail, Remedy: c.remedy})
		})
	}
}

// TestAskedOnce asks after many mailboxes: each table is asked once for all of them.
func TestAskedOnce(t *testing.T) {
	f := fakePostfix{
		main:      "transport_maps = hash:/maps/copialettere_transport hash:other\nvirtual_alias_maps = hash:v\n" + domains,
		master:    master,
		overrides: "submission/inet/smtpd_sasl_auth_enable = yes\nsubmission/inet/smtpd_data_restrictions = check_sasl_access hash:/maps/copialettere_senders\n",
		tables:    map[string]string{"maps/copialettere_transport": "", "maps/copialettere_senders": "", "other": "", "v": ""},
	}
	folder := f.installIn(t)
	var list []policy.Address
	for _, name := range []string{"anna", "bruno", "carla", "dario"} {
		list = append(list, address(t, name+"@alpha.test"))
	}
	found := ask(t.Context(), &ours, list)
	for _, a := range list {
		for _, d := range directions {
			if found[a][d].State != NotRouted {
				t.Errorf("%s %s: %+v", a, d, found[a][d])
			}
		}
	}
	for name, times := range asked(t, folder) {
		if times != 1 {
			t.Errorf("%s was asked %d times", name, times)
		}
	}
	if n := len(asked(t, folder)); n != 4 {
		t.Errorf("%d tables were asked", n)
	}
}

func TestItems(t *testing.T) {
	for _, c := range []struct {
		list string
		want []string
	}{
		{"", nil},
		{" , ,", nil},
		{"a, b c,d", []string{"a", "b", "c", "d"}},
		{"a static:{FILTER x:[y]:1, z} b", []string{"a", "static:{FILTER x:[y]:1, z}", "b"}},
		{"inline:{ {a = b, c}, {d = e} }", []string{"inline:{ {a = b, c}, {d = e} }"}},
		{"a } {b c}", []string{"a", "}", "{b c}"}},
		{"a {b", []string{"a", "{b"}},
	} {
		got := items(c.list)
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%q: %q, want %q", c.list, got, c.want)
		}
	}
}
