package config

import (
	"cmp"

	"copialettere/lmtp/submission"
)

// Submission is the outgoing server that mail programs want beside an archive.
type Submission struct {
	// Listen are the listeners, at least one.
	Listen []SecureListener
	// Name is the name of the server in its greeting, and what it calls itself towards Relay.
	Name string
	// PublicPort is the port that programs are told when they set themselves up; 0 for that of the listener.
	PublicPort int
	// Relay is the provider's submission service; the zero Relay where nothing is sent.
	Relay submission.Relay
	// InsecureLoopback allows passwords without TLS on connections from the machine itself.
	InsecureLoopback bool
	// MaxConnections is how many connections all listeners have together, MaxPerAddress how many of them come from one address.
	MaxConnections, MaxPerAddress int
}

// submission reads [submission]; nil if the section is absent.
func (t *table) submission(c *Config) *Submission {
	const example, relay = "tls:0.0.0.0:465", "smtps:smtp.alpha.test:465"
	t.require("listen", `listen = ["`+example+`"]`)
	s := &Submission{
		PublicPort: t.number("public_port", 0, 1, 65535), InsecureLoopback: t.flag("insecure_loopback"), MaxConnections: t.number("max_connections", 1000, 1, 100000),
		MaxPerAddress: t.number("max_per_address", 50, 1, 100000),
	}
	if s.Name = t.host("name", "archivio.alpha.test"); s.Name == "" && c.IMAP != nil {
		s.Name = c.IMAP.Name
	}
	s.Name = cmp.Or(s.Name, machineName())
	s.Listen = t.secureListeners(example, c.TLS != nil, s.InsecureLoopback)
	if text, ok := t.text("relay", relay); ok {
		var err error
		if s.Relay, err = submission.ParseRelay(text); err != nil {
			t.fail("relay", faultf(`write "smtps:HOST:PORT" for TLS from the first byte, or "smtp:HOST:PORT" for STARTTLS`, "%s: %v", quote(text), err))
		} else {
			t.reader.nextHops = append(t.reader.nextHops, placedListener{Listener{"tcp", s.Relay.Address()}, text, t.key("relay"), t.lineOf("relay")})
		}
	}
	if t.absent {
		return nil
	}
	if c.Auth == nil && t.has("listen") {
		t.fail("listen", faultf("add the section [auth]", "nobody can sign in without [auth]"))
	}
	return s
}
