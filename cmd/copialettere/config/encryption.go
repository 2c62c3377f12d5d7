package config

import "path/filepath"

// Encryption says where the keys are with which the journal is encrypted. Both fields are empty where it is not; where both are set, the keys of the file
// come first.
type Encryption struct {
	KeyFile    string
	KeyCommand []string // prints what a key file has
}

func (t *table) encryption() Encryption {
	e := Encryption{KeyFile: t.path("key_file", "/etc/copialettere/encryption.key")}
	t.items("key_command", "/usr/local/bin/print-key", func(s string, _ int) { e.KeyCommand = append(e.KeyCommand, s) })
	if len(e.KeyCommand) > 0 && !filepath.IsAbs(e.KeyCommand[0]) {
		t.fail("key_command", faultf(`write an absolute path such as "/usr/local/bin/print-key"`, "%s is not an absolute path", quote(e.KeyCommand[0])))
	}
	return e
}
