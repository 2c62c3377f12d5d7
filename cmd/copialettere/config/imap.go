package config

import (
	"os"
	"strings"
)

// TLS is the certificate that the daemon shows to mail programs and browsers.
type TLS struct {
	// Certificate is the absolute path of the certificate and of those between it and its authority, in PEM.
	Certificate string
	// Key is the absolute path of its private key, in PEM.
	Key string
}

// IMAP is how archives are opened with mail programs.
type IMAP struct {
	// Listen are the listeners, at least one.
	Listen []SecureListener
	// Name is the name of the server in its greeting.
	Name string
	// PublicPort is the port that programs are told when they set themselves up; 0 for that of the listener.
	PublicPort int
	// InsecureLoopback allows passwords without TLS on connections from the machine itself.
	InsecureLoopback bool
	// MaxConnections is how many connections all listeners have together, MaxPerAddress how many of them come from one address, and MaxPerMailbox
	// how many have signed in to one archive.
	MaxConnections, MaxPerAddress, MaxPerMailbox int
}

// SecureListener is a listener for people's passwords.
type SecureListener struct {
	Listener
	// TLS says that TLS begins with the first byte; else with STARTTLS.
	TLS bool
}

// String returns the listener in the form of the file.
func (l SecureListener) String() string {
	switch {
	case l.TLS && l.Network == "tcp":
		return "tls:" + l.Address
	case l.TLS:
		return "tls:" + l.Listener.String()
	}
	return l.Listener.String()
}

// tls reads [tls]; nil if the section is absent.
func (t *table) tls() *TLS {
	const certificate, key = "/etc/ssl/copialettere/fullchain.pem", "/etc/ssl/copialettere/key.pem"
	t.require("certificate", `certificate = "`+certificate+`"`)
	t.require("key", `key = "`+key+`"`)
	c := &TLS{Certificate: t.path("certificate", certificate), Key: t.path("key", key)}
	if t.absent {
		return nil
	}
	return c
}

// imap reads [imap]; nil if the section is absent.
func (t *table) imap(c *Config) *IMAP {
	t.require("listen", `listen = ["tls:0.0.0.0:993"]`)
	m := &IMAP{
		Name: t.hostName("name", "archivio.alpha.test"), PublicPort: t.number("public_port", 0, 1, 65535), InsecureLoopback: t.flag("insecure_loopback"),
		MaxConnections: t.number("max_connections", 4000, 1, 100000), MaxPerAddress: t.number("max_per_address", 100, 1, 100000),
		MaxPerMailbox: t.number("max_per_mailbox", 50, 1, 100000),
	}
	m.Listen = t.secureListeners("tls:0.0.0.0:993", c.TLS != nil, m.InsecureLoopback)
	if t.absent {
		return nil
	}
	if c.Auth == nil && t.has("listen") {
		t.fail("listen", faultf("add the section [auth]", "nobody can sign in without [auth]"))
	}
	return m
}

const secureForms = `write "tls:IP-ADDRESS:PORT" for TLS from the first byte, "tcp:IP-ADDRESS:PORT" for STARTTLS, "systemd:NAME" or "tls:systemd:NAME"`

// secureListeners reads the key listen where passwords are sent.
func (t *table) secureListeners(example string, certificate, insecureLoopback bool) []SecureListener {
	var all []SecureListener
	t.items("listen", example, func(s string, line int) {
		l, f := parseSecureListener(s, secureForms)
		if f == nil {
			switch {
			case l.TLS && !certificate:
				f = faultf("add the section [tls]", "%s needs a certificate", quote(s))
			case !l.TLS && !certificate && !(insecureLoopback && l.loopback()):
				f = faultf("add the section [tls]; on 127.0.0.1 insecure_loopback = true does as well", "nobody could send a password to %s without TLS", quote(s))
			}
		}
		if f != nil {
			t.reader.fail(line, t.key("listen"), f)
			return
		}
		all = append(all, l)
		t.reader.listeners = append(t.reader.listeners, placedListener{l.Listener, s, t.key("listen"), line})
	})
	if t.has("listen") && t.length("listen") == 0 {
		t.fail("listen", faultf(`write listen = ["`+example+`"]`, "the list is empty"))
	}
	return all
}

// parseSecureListener reads "tls:HOST:PORT", "tcp:HOST:PORT", "systemd:NAME" or "tls:systemd:NAME". The remedy says what those forms are for.
func parseSecureListener(s, remedy string) (SecureListener, *fault) {
	rest, secure := strings.CutPrefix(s, "tls:")
	if secure && !strings.HasPrefix(rest, "systemd:") {
		l, f := parseTCPListener(s, rest)
		if f != nil {
			f = &fault{strings.ReplaceAll(f.problem, `"tcp:`, `"tls:`), strings.ReplaceAll(f.remedy, `"tcp:`, `"tls:`)}
		}
		return SecureListener{l, true}, f
	}
	if !strings.HasPrefix(rest, "systemd:") && !strings.HasPrefix(rest, "tcp:") {
		return SecureListener{}, faultf(remedy, "%s is not a listen address", quote(s))
	}
	l, f := parseListener(rest, "")
	return SecureListener{l, secure}, f
}

// hostName reads a host name; without the key it is that of the machine.
func (t *table) hostName(name, example string) string {
	if t.has(name) {
		return t.host(name, example)
	}
	t.value(name)
	return machineName()
}

// machineName returns the host name of the machine.
func machineName() string {
	if s, err := os.Hostname(); err == nil && isDomain(s) {
		return s
	}
	return "localhost"
}

// host reads a host name, in lower case; "" where the key is absent or wrong.
func (t *table) host(name, example string) string {
	s, ok := t.text(name, example)
	if ok && !isDomain(s) {
		t.fail(name, faultf(`write a host name such as "`+example+`"`, "%s is not a host name", quote(s)))
		return ""
	}
	return strings.ToLower(s)
}
