package auth

import (
	"testing"

	"copialettere/policy"
)

// FuzzParted divides names. What comes out are two addresses, or the name as it was.
func FuzzParted(f *testing.F) {
	for _, name := range []string{anna, anna + "*" + bruno, "*", "a*b@alpha.test", "a*b@alpha.test*c*d@beta.test", `"a@b*c"@alpha.test`, "anna*bruno", "@*@", anna + "*"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		login, mailbox, ok := parted(name)
		if !ok {
			if login != name || mailbox != "" {
				t.Errorf("%q: %q, %q", name, login, mailbox)
			}
			return
		}
		if mailbox+separator+login != name {
			t.Errorf("%q is divided into %q and %q", name, mailbox, login)
		}
		for _, text := range []string{login, mailbox} {
			if a, err := policy.ParseAddress(text); err != nil || a.Domain == "" {
				t.Errorf("%q: %q is no address: %v", name, text, err)
			}
		}
	})
}
