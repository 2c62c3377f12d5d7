package config

import (
	"net/netip"
	"strings"

	"copialettere/policy/auth"
)

// imapc reads [imapc]: how the provider's Dovecot signs in for its users. It returns nil if the section is absent.
func (t *table) imapc(c *Config) *auth.Master {
	const user, keyFile = "copialettere-imapc", "/etc/copialettere/imapc.key"
	t.require("master_user", `master_user = "`+user+`"`)
	t.require("key_file", `key_file = "`+keyFile+`"`)
	m := &auth.Master{KeyFile: t.path("key_file", keyFile)}
	if s, ok := t.text("master_user", user); ok {
		if m.User = s; s == "" || len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '@' || r == '*' }) {
			t.fail("master_user", faultf(`write a name that no mailbox has, such as "`+user+`"`, "%s is not a name without @, * and blanks", quote(s)))
		}
	}
	m.From = list(t, "from", "127.0.0.1", parsePrefix, func(p netip.Prefix) string { return p.String() })
	if !t.has("from") {
		m.From = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	} else if t.length("from") == 0 {
		t.fail("from", faultf(`write from = ["127.0.0.1"]`, "the list is empty, and the password would be worth nothing"))
	}
	if t.absent {
		return nil
	}
	if c.IMAP == nil {
		t.fail("master_user", faultf("add the section [imap]", "there is nothing to sign in to without [imap]"))
	}
	return m
}
