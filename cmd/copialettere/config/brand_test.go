package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestBrand reads how the provider presents itself, everywhere and in one domain.
func TestBrand(t *testing.T) {
	const web = "[web]\nlisten = [\"tcp:127.0.0.1:8080\"]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n"
	c := mustParse(t, minimal+web+"title = \"All\"\nsupport_url = \"mailto:help@alpha.test\"\nlogo = \"/etc/logo.png\"\n"+
		"[[domain]]\nname = \"xn--citt-3na.test\"\ntitle = \"Own\"\nfrom = \"archivio@own.test\"\nmore_room_url = \"https://panel.alpha.test/room?a=1\"\ntrusted_proxies = [\"192.0.2.7\"]\n")
	if len(c.Web.TrustedProxies) != 2 || c.Web.TrustedProxies[0].String() != "127.0.0.1/32" {
		t.Errorf("%v", c.Web.TrustedProxies)
	}
	if got := fmt.Sprint(c.TrustedProxies()); got != "[127.0.0.1/32 10.0.0.0/8 192.0.2.7/32]" {
		t.Errorf("the proxies are %s", got)
	}
	if got, want := c.Brand("beta.test"), (Brand{"All", "mailto:help@alpha.test", "", "/etc/logo.png"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := c.Brand("città.test"), (Brand{"Own", "mailto:help@alpha.test", "https://panel.alpha.test/room?a=1", "/etc/logo.png"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for line, want := range map[string]string{
		`title = ""`: "write a short name", `title = "a\nb"`: "write a short name", `support_url = "http://help.test"`: "https URL", `support_url = "javascript:x"`: "https URL",
		`more_room_url = "panel"`: "https URL", `more_room_url = "https://a:b@c.test"`: "https URL", `logo = "logo.png"`: "absolute path", `trusted_proxies = ["0.0.0.0/0"]`: "every address",
		`trusted_proxies = ["proxy"]`: "is not a network",
	} {
		text := strings.Replace(minimal+web, "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n", "", 1) + line + "\n"
		if _, err := Parse("c.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	next, changes := c.Reloaded(mustParse(t, minimal+web+"title = \"New\"\n[[domain]]\nname = \"xn--citt-3na.test\"\n"))
	for _, change := range changes {
		if change.Restart {
			t.Errorf("%s needs a restart", change.Key)
		}
	}
	if got := len(next.TrustedProxies()); got != 2 {
		t.Errorf("after a reload %d proxies", got)
	}
	if got, want := next.Brand("città.test"), (Brand{Title: "New"}); got != want {
		t.Errorf("after a reload %+v, want %+v", got, want)
	}
}
