package policy

import "testing"

// The samples are those of RFC 3492 section 7.1, in lower case.
func TestDecodePunycode(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{ // an empty want stands for a refusal
		{"Arabic", "egbpdaj6bu4bxfgehfvwxn", "ليهمابتكلموشعربي؟"},
		{"Chinese", "ihqwcrb4cv8a8dqg056pqjye", "他们为什么不说中文"},
		{"Hebrew", "4dbcagdahymbxekheh6e0a7fei0b", "למההםפשוטלאמדבריםעברית"},
		{"Japanese", "n8jok5ay5dzabd5bym9f0cm5685rrjetr6pdxa", "なぜみんな日本語を話してくれないのか"},
		{"Spanish", "porqunopuedensimplementehablarenespaol-fmd56a", "porquénopuedensimplementehablarenespañol"},
		{"Japanese and digits", "3b-ww4c5e180e575a65lsy2b", "3年b組金八先生"},
		{"hyphens", "hello-another-way--fc4qua05auwb3674vfr0b", "hello-another-way-それぞれの場所"},
		{"plain", "-> $1.00 <--", "-> $1.00 <-"},
		{"bad digit", "caff-8_a", ""},
		{"cut", "caff-8o", ""},
		{"beyond Unicode", "99999999", ""},
		{"surrogate", "ib9b", ""},
		{"long", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := decodePunycode(c.in); ok != (c.want != "") || ok && got != c.want {
				t.Errorf("decodePunycode(%q) = %q, %v; want %q", c.in, got, ok, c.want)
			}
		})
	}
}
