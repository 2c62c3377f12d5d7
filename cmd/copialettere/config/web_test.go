package config

import (
	"strings"
	"testing"
)

func TestPublicURL(t *testing.T) {
	for _, c := range []struct{ name, in, want, problem string }{
		{"host", "https://archivio.alpha.test", "https://archivio.alpha.test", ""},
		{"slash, capitals", "https://Archivio.Alpha.test/", "https://archivio.alpha.test", ""},
		{"port", "https://archivio.alpha.test:8443", "https://archivio.alpha.test:8443", ""},
		{"an address", "https://192.0.2.1", "https://192.0.2.1", ""},
		{"the machine itself", "http://127.0.0.1:8080", "http://127.0.0.1:8080", ""},
		{"the machine itself by IPv6", "http://[::1]:8080", "http://[::1]:8080", ""},
		{"in the clear", "http://archivio.alpha.test", "", "not https"},
		{"a path", "https://mail.alpha.test/archivio", "", "has a path"},
		{"a query", "https://archivio.alpha.test?a=b", "", "is not the URL of a host"},
		{"an empty query", "https://archivio.alpha.test?", "", "is not the URL of a host"},
		{"a fragment", "https://archivio.alpha.test#a", "", "is not the URL of a host"},
		{"a user", "https://mario@archivio.alpha.test", "", "is not the URL of a host"},
		{"no scheme", "archivio.alpha.test", "", "is not the URL of a host"},
		{"another scheme", "ftp://archivio.alpha.test", "", "not https"},
		{"no host name", "https://archivio_alpha", "", "has no host name"},
		{"no port", "https://archivio.alpha.test:", "", "has no valid port"},
		{"port 0", "https://archivio.alpha.test:0", "", "has no valid port"},
		{"no such port", "https://archivio.alpha.test:65536", "", "has no valid port"},
		{"a line break", "https://archivio.alpha.test\n", "", "is not the URL of a host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, f := parsePublicURL(c.in)
			if f == nil {
				f = &fault{}
			}
			if got != c.want || !strings.Contains(f.problem, c.problem) || (c.problem == "") != (f.problem == "") {
				t.Errorf("%q, fault %q", got, f.problem)
			}
		})
	}
}

func TestWebWarnings(t *testing.T) {
	const tls = "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n"
	for _, c := range []struct {
		name, listen, warning string
	}{
		{"TLS for all", `"tls:0.0.0.0:8443", "tls:systemd:web"`, ""},
		{"a proxy on the machine", `"tcp:127.0.0.1:8080", "tcp:[::1]:8080", "systemd:web"`, ""},
		{"in the clear for all", `"tcp:0.0.0.0:8080"`, `write "tls:0.0.0.0:8080"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mustParse(t, minimal+tls+"[web]\nlisten = ["+c.listen+"]\n").Warnings
			if c.warning == "" && len(got) > 0 || c.warning != "" && (len(got) != 1 || !strings.Contains(got[0].Error(), c.warning)) {
				t.Errorf("%v", got)
			}
		})
	}
}
