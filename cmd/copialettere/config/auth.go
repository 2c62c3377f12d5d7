package config

import "copialettere/policy/auth"

// Auth says who may open an archive.
type Auth struct {
	// Source is where passwords are checked.
	Source auth.Source
	// Operators are the addresses of those who are operators when they sign in, in lower case.
	Operators []string
	// ArchiveHost is the host of archives as accounts of their own, in lower case, for the domains that no ArchiveHosts of Config has; "" for none.
	ArchiveHost string
}

// auth reads [auth]; nil if the section is absent.
func (t *table) auth() *Auth {
	const example = "file:/etc/copialettere/passwd"
	t.require("source", `source = "`+example+`"`)
	c := &Auth{}
	if s, ok := t.text("source", example); ok {
		var err error
		if c.Source, err = auth.ParseSource(s); err != nil {
			t.fail("source", faultf(`write "file:/PATH", "dovecot:unix:/PATH" or "dovecot:HOST:PORT"`, "%s: %v", quote(s), err))
		}
	}
	c.Operators = list(t, "operators", "ugo@alpha.test",
		func(s string) (string, *fault) { return parseAddress(s, "alpha.test") }, func(s string) string { return s })
	c.ArchiveHost = t.host("archive_host", "archivio.alpha.test")
	if t.absent {
		return nil
	}
	return c
}
