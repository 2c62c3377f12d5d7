package config

import (
	"net/netip"
	"path/filepath"
	"strings"
	"unicode"
)

// Dovecot says how Dovecot obeys the switches and takes the app passwords of mailboxes: see package policy/dovecot.
type Dovecot struct {
	// Files is the absolute path of the folder for the files.
	Files string
	// User is the user as which Dovecot's auth process reads them.
	User string
}

// dovecot reads [dovecot]; nil if the section is absent.
func (t *table) dovecot(data string) *Dovecot {
	c := &Dovecot{Files: t.dovecotFiles(data), User: "dovecot"}
	if s, ok := t.text("user", c.User); ok {
		if c.User = s; s == "" || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(":/", r) }) {
			t.fail("user", faultf(`write the name of a user such as "dovecot"`, "%s is not a user name", quote(s)))
		}
	}
	if t.absent {
		return nil
	}
	return c
}

// dovecotFiles reads the folder of the files, which must not be the data folder itself.
func (t *table) dovecotFiles(data string) string {
	const example = "/var/lib/copialettere/auth"
	t.require("files", `files = "`+example+`"`)
	s, ok := t.text("files", example)
	if !ok {
		return ""
	}
	path := s
	if !filepath.IsAbs(path) {
		path = filepath.Join(data, path)
	}
	switch path = filepath.Clean(path); {
	case strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`%{}$#"`, r)
	}):
		t.fail("files", faultf(`write a path such as "`+example+`"`, "%s has a character that a setting of Dovecot would not take in a path", quote(s)))
	case !filepath.IsAbs(s) && !filepath.IsLocal(s):
		t.fail("files", faultf("write an absolute path", "%s leaves the data folder", quote(s)))
	case path == "/" || path == data:
		t.fail("files", faultf(`write a folder of its own such as "`+example+`"`, "%s cannot be the folder of the files", quote(s)))
	}
	return path
}

// DovecotPolicy is where Dovecot asks before it signs somebody in, and reports how it ended: see auth.Provider.
type DovecotPolicy struct {
	// Listen are the listeners, at least one. What is not TLS is on loopback, or handed over by systemd.
	Listen []SecureListener
	// KeyFile is the absolute path of the file with the key that Dovecot shows.
	KeyFile string
	// Webmail are the addresses from which webmail connects, and which nothing is closed to.
	Webmail []netip.Prefix
}

// dovecotPolicy reads [dovecot_policy]; nil if the section is absent.
func (t *table) dovecotPolicy(c *Config) *DovecotPolicy {
	const listen, keyFile, forms = "tcp:127.0.0.1:9181", "/etc/copialettere/dovecot-policy.key", `write "tcp:127.0.0.1:PORT", "tls:IP-ADDRESS:PORT", "systemd:NAME" or "tls:systemd:NAME"`
	t.require("listen", `listen = ["`+listen+`"]`)
	t.require("key_file", `key_file = "`+keyFile+`"`)
	p := &DovecotPolicy{Webmail: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	t.items("listen", listen, func(s string, line int) {
		l, f := parseSecureListener(s, forms)
		switch {
		case f != nil:
		case l.TLS && c.TLS == nil:
			f = faultf("add the section [tls]", "%s needs a certificate", quote(s))
		case !l.TLS && l.Network == "tcp" && !l.loopback():
			f = faultf(`write "tls:`+l.Address+`"`, "%s can be reached from other machines, and carries the key in the clear", quote(s))
		}
		if f != nil {
			t.reader.fail(line, t.key("listen"), f)
			return
		}
		p.Listen = append(p.Listen, l)
		t.reader.listeners = append(t.reader.listeners, placedListener{l.Listener, s, t.key("listen"), line})
	})
	if t.has("listen") && t.length("listen") == 0 {
		t.fail("listen", faultf(`write listen = ["`+listen+`"]`, "the list is empty"))
	}
	if s, ok := t.text("key_file", keyFile); ok {
		if p.KeyFile = filepath.Clean(s); !filepath.IsAbs(s) {
			t.fail("key_file", faultf(`write an absolute path such as "`+keyFile+`"`, "%s is not an absolute path", quote(s)))
		}
	}
	if webmail := list(t, "webmail", "127.0.0.1/32", parsePrefix, func(p netip.Prefix) string { return p.String() }); t.has("webmail") {
		p.Webmail = webmail
	}
	if t.absent {
		return nil
	}
	if c.Dovecot == nil {
		t.reader.warn(t.line, t.name, "without [dovecot] nothing is closed while the daemon is down, and no app password opens anything in Dovecot", "add [dovecot]")
	}
	return p
}
