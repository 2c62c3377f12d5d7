package config

import (
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
