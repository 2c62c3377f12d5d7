package setup

import (
	"errors"
	"testing"

	"copialettere/policy"
)

// example is a provider with one archive host for two domains, and another domain whose live mailboxes are all that is told.
func example(t *testing.T) *Guide {
	t.Helper()
	endpoint := func(s string) Endpoint {
		e, err := ParseEndpoint(s)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	archive := Servers{IMAP: endpoint("archivio.example.org:993"), SMTP: endpoint("archivio.example.org:465")}
	return NewGuide(Config{PublicURL: "https://web.example.org:8443", Domains: map[string]Domain{
		"alpha.test": {
			Mailbox: Servers{endpoint("imap.alpha.test:993"), endpoint("pop.alpha.test:110"), endpoint("smtp.alpha.test:587")},
			Archive: archive, ArchiveHost: "archivio.example.org",
		},
		"beta.test":  {Archive: archive, ArchiveHost: "archivio.example.org"},
		"gamma.test": {Mailbox: Servers{POP3: endpoint("pop.gamma.test:995")}},
		"delta.test": {
			Mailbox: Servers{IMAP: endpoint("imap.delta.test:143"), SMTP: endpoint("smtp.delta.test:465")},
			Archive: Servers{IMAP: endpoint("archivio.delta.test:993"), SMTP: endpoint("smtp.delta.test:465")},
		},
		"città.test": {Mailbox: Servers{IMAP: endpoint("imap.xn--citt-3na.test:993")}},
	}})
}

func parse(t *testing.T, s string) policy.Address {
	t.Helper()
	a, err := policy.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Endpoint
		ok   bool
	}{
		{"imap.alpha.test:993", Endpoint{"imap.alpha.test", 993, TLS}, true},
		{"IMAP.alpha.test:143", Endpoint{"imap.alpha.test", 143, STARTTLS}, true},
		{"pop.alpha.test:110", Endpoint{"pop.alpha.test", 110, STARTTLS}, true},
		{"smtp.alpha.test:587", Endpoint{"smtp.alpha.test", 587, STARTTLS}, true},
		{"smtp.alpha.test:25", Endpoint{"smtp.alpha.test", 25, STARTTLS}, true},
		{"smtp.alpha.test:465", Endpoint{"smtp.alpha.test", 465, TLS}, true},
		{"imap.alpha.test:10993", Endpoint{"imap.alpha.test", 10993, TLS}, true},
		{"imap.alpha.test", Endpoint{}, false},
		{"imap.alpha.test:0", Endpoint{}, false},
		{"imap.alpha.test:65536", Endpoint{}, false},
		{"imap.alpha.test:imap", Endpoint{}, false},
		{"a:b:1", Endpoint{}, false},
	} {
		if got, err := ParseEndpoint(c.in); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %+v, %v", c.in, got, err)
		}
	}
}

func TestParameters(t *testing.T) {
	g := example(t)
	const name = "mario_alpha.test@archivio.example.org"
	for _, c := range []struct {
		name, mailbox string
		choice        Choice
		in, out       Server // out is zero for none
		want          error
	}{
		{"archive", "mario@alpha.test", Choice{Account: AccountArchive}, Server{IMAP, "archivio.example.org", 993, TLS, name}, Server{SMTP, "archivio.example.org", 465, TLS, name}, nil},
		{"archive by IMAP", "mario@alpha.test", Choice{AccountArchive, IMAP}, Server{IMAP, "archivio.example.org", 993, TLS, name}, Server{SMTP, "archivio.example.org", 465, TLS, name}, nil},
		{"archive by POP3", "mario@alpha.test", Choice{AccountArchive, POP3}, Server{}, Server{}, ErrNotOffered},
		{"archive whose outgoing server is the provider's", "mario@delta.test", Choice{Account: AccountArchive}, Server{IMAP, "archivio.delta.test", 993, TLS, name},
			Server{SMTP, "smtp.delta.test", 465, TLS, "mario@delta.test"}, nil},
		{"archive without IMAP", "mario@gamma.test", Choice{Account: AccountArchive}, Server{}, Server{}, ErrNotOffered},
		{"mailbox", "mario@alpha.test", Choice{Account: AccountMailbox}, Server{IMAP, "imap.alpha.test", 993, TLS, "mario@alpha.test"},
			Server{SMTP, "smtp.alpha.test", 587, STARTTLS, "mario@alpha.test"}, nil},
		{"mailbox by POP3", "mario@alpha.test", Choice{AccountMailbox, POP3}, Server{POP3, "pop.alpha.test", 110, STARTTLS, "mario@alpha.test"},
			Server{SMTP, "smtp.alpha.test", 587, STARTTLS, "mario@alpha.test"}, nil},
		{"mailbox with POP3 alone", "mario@gamma.test", Choice{Account: AccountMailbox}, Server{POP3, "pop.gamma.test", 995, TLS, "mario@gamma.test"}, Server{}, nil},
		{"mailbox with POP3 alone by IMAP", "mario@gamma.test", Choice{AccountMailbox, IMAP}, Server{}, Server{}, ErrNotOffered},
		{"mailbox without servers", "mario@beta.test", Choice{Account: AccountMailbox}, Server{}, Server{}, ErrNotOffered},
		{"unknown domain", "mario@omega.test", Choice{Account: AccountMailbox}, Server{}, Server{}, ErrNotOffered},
		{"by SMTP", "mario@alpha.test", Choice{AccountMailbox, SMTP}, Server{}, Server{}, ErrChoice},
		{"by gopher", "mario@alpha.test", Choice{AccountMailbox, "gopher"}, Server{}, Server{}, ErrChoice},
		{"another account", "mario@alpha.test", Choice{Account: "calendar"}, Server{}, Server{}, ErrChoice},
		{"no account", "mario@alpha.test", Choice{}, Server{}, Server{}, ErrChoice},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := g.Parameters(parse(t, c.mailbox), name, c.choice)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if p.Outgoing == nil {
				p.Outgoing = new(Server)
			}
			if p.Incoming != c.in || *p.Outgoing != c.out {
				t.Errorf("%+v %+v", p.Incoming, *p.Outgoing)
			}
		})
	}
}

// TestDiscover asks about domains as clients write them.
func TestDiscover(t *testing.T) {
	g := example(t)
	for _, c := range []struct {
		domain  string
		account Account // "" where nothing is known
		host    string
	}{
		{"alpha.test", AccountMailbox, "imap.alpha.test"},
		{"ALPHA.test.", AccountMailbox, "imap.alpha.test"},
		{"archivio.example.org", AccountArchive, "archivio.example.org"},
		{"gamma.test", AccountMailbox, "pop.gamma.test"},
		{"xn--citt-3na.test", AccountMailbox, "imap.xn--citt-3na.test"},
		{"città.test", AccountMailbox, "imap.xn--citt-3na.test"},
		{"beta.test", "", ""}, {"omega.test", "", ""}, {"example.org", "", ""}, {"", "", ""}, {"a b", "", ""}, {"[127.0.0.1]", "", ""}, {"alpha.test:443", "", ""},
	} {
		d, ok := g.Discover(c.domain)
		if ok != (c.account != "") || ok && (d.Account != c.account || d.Incoming[0].Host != c.host) {
			t.Errorf("%q: %+v, %v", c.domain, d, ok)
		}
	}
	if _, ok := NewGuide(Config{}).Discover("alpha.test"); ok {
		t.Error("a Guide without a configuration knows a domain")
	}
}
