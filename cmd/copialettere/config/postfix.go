package config

import (
	"path/filepath"
	"strings"
	"unicode"
)

// Postfix says how Postfix's routing follows the settings of mailboxes: see package policy/postfix.
type Postfix struct {
	// Maps is the absolute path of the folder for the maps; "" if the daemon writes none.
	Maps string
	// Received is the right-hand side of a mailbox in the map of received mail, as transport(5) has it.
	Received string
	// Sent is the right-hand side of a login in the map of sent mail, as access(5) has it.
	Sent string
}

// The right-hand sides that contrib/postfix uses.
const (
	defaultPostfixReceived = "copialettere-received:unix:private/copialettere"
	defaultPostfixSent     = "copialettere_sent"
)

// postfix reads [postfix]; nil if the section is absent.
func (t *table) postfix(whole *Config) *Postfix {
	c := &Postfix{
		Maps:     t.mapsFolder(whole.Data),
		Received: t.rightHandSide("received", defaultPostfixReceived),
		Sent:     t.rightHandSide("sent", defaultPostfixSent),
	}
	if c.Received != "" && !strings.Contains(c.Received, ":") {
		t.fail("received", faultf(`write a transport and a next hop such as "`+defaultPostfixReceived+`"`, "%s is no transport", quote(c.Received)))
	}
	for name, there := range map[string]bool{"received": whole.Received != nil, "sent": whole.Sent != nil} {
		if t.has(name) && !there {
			t.reader.warn(t.lineOf(name), t.key(name), "it has no effect without ["+name+"]", "remove it")
		}
	}
	if t.absent {
		return nil
	}
	return c
}

// mapsFolder reads the folder of the maps, which must not be the data folder itself.
func (t *table) mapsFolder(data string) string {
	const example = "/var/lib/copialettere/postfix"
	s, ok := t.text("maps", example)
	if !ok {
		return ""
	}
	path := s
	if !filepath.IsAbs(path) {
		path = filepath.Join(data, path)
	}
	switch path = filepath.Clean(path); {
	case strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`,{}$`, r)
	}):
		t.fail("maps", faultf(`write a path such as "`+example+`"`, "%s has a character that main.cf of Postfix would not take in a path", quote(s)))
	case !filepath.IsAbs(s) && !filepath.IsLocal(s):
		t.fail("maps", faultf("write an absolute path", "%s leaves the data folder", quote(s)))
	case path == "/" || path == data:
		t.fail("maps", faultf(`write a folder of its own such as "`+example+`"`, "%s cannot be the folder of the maps", quote(s)))
	}
	return path
}

// rightHandSide reads a right-hand side of the maps.
func (t *table) rightHandSide(name, fallback string) string {
	s, ok := t.text(name, fallback)
	if !ok {
		return fallback
	}
	if s == "" || len(s) > 500 || s != strings.TrimSpace(s) || strings.ContainsFunc(s, unicode.IsControl) {
		t.fail(name, faultf("write one line such as "+quote(fallback), "%s cannot stand in a map of Postfix", quote(s)))
	}
	return s
}
