package config

import (
	"slices"
	"strings"

	"copialettere/journal/export/sincro"
	"copialettere/policy"
	"copialettere/policy/preservation"
)

// preservation reads [preservation].
func (t *table) preservation(c *Config) preservation.Settings {
	const anAgent = "VATIT-01234567890,Alpha S.r.l.,Contratto di conservazione 12/2026"
	s := preservation.Settings{Overdue: t.duration("overdue", 7*day, day, 366*day)}
	s.Drop = t.path("drop", "/srv/conservazione/da-versare")
	s.Receipts = t.path("receipts", "/srv/conservazione/ricevute")
	if text, ok := t.text("agent", anAgent); ok {
		if _, err := sincro.ParseAgent(text); err != nil {
			t.fail("agent", faultf(`write agent = "`+anAgent+`"`, "%v", err))
		}
		s.Agent = text
	}
	s.Domains = list(t, "domains", "alpha.test", func(name string) (string, *fault) {
		name = strings.ToLower(name)
		if !slices.ContainsFunc(c.Domains, func(d Domain) bool { return d.Name == name }) {
			return "", faultf("add a [[domain]] with that name, or remove it here", "%s is no domain of this file", quote(name))
		}
		return name, nil
	}, func(name string) string { return name })
	s.Mailboxes = list(t, "mailboxes", "mario@alpha.test", func(text string) (string, *fault) {
		a, err := policy.ParseMailbox(text)
		if err != nil {
			return "", faultf("write an address such as \"mario@alpha.test\"", "%v", err)
		}
		return a.String(), nil
	}, func(text string) string { return text })
	t.preserves(c, &s)
	return s
}

// preserves checks what the keys need of one another.
func (t *table) preserves(c *Config, s *preservation.Settings) {
	within := func(folder, other string) bool {
		return folder != "" && (folder == other || strings.HasPrefix(folder, other+"/"))
	}
	switch {
	case len(t.values) == 0:
	case s.Drop == "":
		t.lacks("drop", "there is no folder for packages", `write drop = "/srv/conservazione/da-versare"`)
	case s.Agent == "" && !t.has("agent"):
		t.lacks("agent", "nobody answers for the packages", `write agent = "ID,NAME,DOCUMENT"`)
	case within(s.Drop, c.Data):
		t.fail("drop", faultf("name a folder of its own", "it lies in the data folder"))
	case s.Receipts == s.Drop:
		t.fail("receipts", faultf("name another folder", "it is that of the packages"))
	case s.Domains == nil && s.Mailboxes == nil:
		t.reader.warn(t.line, "preservation", "neither domains nor mailboxes are named: nothing is handed over", `write domains = ["alpha.test"], or mailboxes = ["mario@alpha.test"]`)
	}
}
