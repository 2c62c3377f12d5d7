package part

import (
	"slices"
	"strings"
	"testing"
)

func TestMessageID(t *testing.T) {
	long := strings.Repeat("x", MaxMessageID)
	for _, c := range []struct{ name, value, want string }{
		{"plain", "<1@a.test>", "1@a.test"},
		{"no brackets", "1@a.test", "1@a.test"},
		{"blanks inside", "< 1@a.test >", "1@a.test"},
		{"fold inside", "<1@\r\n a.test>", "1@a.test"},
		{"comment behind", "<1@a.test> (added by postmaster@mx.test)", "1@a.test"},
		{"comment before", "(see <2@b.test>) <1@a.test>", "1@a.test"},
		{"nested comment", "(a (b) <c@d.test>) <1@a.test>", "1@a.test"},
		{"comment without brackets", "1@a.test (added by postmaster@mx.test)", "1@a.test"},
		{"parenthesis in the id", "<1(2)@a.test>", "1(2)@a.test"},
		{"parenthesis in the id, no brackets", "1(2)@a.test", "1(2)@a.test"},
		{"comment that does not end", "<1@a.test> (added", "1@a.test"},
		{"bracket that does not end", "<1@a.test", "1@a.test"},
		{"two", "<1@a.test> <2@a.test>", "1@a.test"},
		{"words before", "id <1@a.test>", "1@a.test"},
		{"words alone", "a b@c.test", "ab@c.test"},
		{"zero byte", "<1\x00@a.test>", "1@a.test"},
		{"case is kept", "<ABC@A.test>", "ABC@A.test"},
		{"longest", "<" + long + ">", long},
		{"longer than a line", "<" + long + "y>", long},
		{"longer than a line, no brackets", long + "y", long},
		{"comment alone", "(1@a.test)", ""},
		{"nothing inside", "<>", ""},
		{"empty", "", ""},
	} {
		if got := MessageID(c.value); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        []string
	}{
		{"references", "<1@a.test>\r\n <2@a.test>", []string{"1@a.test", "2@a.test"}},
		{"no blanks", "<1@a.test><2@a.test>", []string{"1@a.test", "2@a.test"}},
		{"commas, no brackets", "1@a.test,2@a.test, junk", []string{"1@a.test", "2@a.test"}},
		{"words between", "Your message of <1@a.test> to you@b.test", []string{"1@a.test", "you@b.test"}},
		{"comment", "<1@a.test> (added by postmaster@mx.test) <2@a.test>", []string{"1@a.test", "2@a.test"}},
		{"nothing", "<> ()", nil},
	} {
		if got := slices.Collect(MessageIDs(c.value)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzMessageID(f *testing.F) {
	for _, s := range []string{"<1@a.test> (x)", "< 1 @ a >", "(a<b>", "a,b@c", "<a", "((((", "<\x00>", "\\(<a@b>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		id := MessageID(value)
		if len(id) > MaxMessageID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			t.Errorf("%q", id)
		}
		// The id in brackets reads as the same id.
		if !strings.ContainsRune(id, '>') && MessageID("<"+id+">") != id {
			t.Errorf("%q read again: %q", id, MessageID("<"+id+">"))
		}
		for one := range MessageIDs(value) {
			if one == "" || len(one) > MaxMessageID {
				t.Errorf("in a list: %q", one)
			}
		}
	})
}
