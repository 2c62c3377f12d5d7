package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Web is the listener for browsers, and for mail programs and telephones that set themselves up.
type Web struct {
	// Listen are the listeners, at least one. What is not TLS is for a proxy that speaks TLS.
	Listen []SecureListener
	// PublicURL is where people reach the listener, as "https://archivio.alpha.test" or "https://archivio.alpha.test:8443", without a slash at its
	// end; "" where it is not told.
	PublicURL string
	// TrustedProxies are the networks of the proxies whose word is taken for the address of a client.
	TrustedProxies []netip.Prefix
	// Brand is how the provider presents itself, where the domain does not say it.
	Brand Brand
	// MaxConnections is how many connections all listeners have together, and MaxPerAddress how many of those with TLS come from one address.
	MaxConnections, MaxPerAddress int
}

// web reads [web]; nil if the section is absent.
func (t *table) web(c *Config) *Web {
	const listen = "tls:0.0.0.0:8443"
	t.require("listen", `listen = ["`+listen+`"]`)
	w := &Web{MaxConnections: t.number("max_connections", 4000, 1, 100000), MaxPerAddress: t.number("max_per_address", 100, 1, 100000)}
	t.items("listen", listen, func(s string, line int) {
		l, f := parseSecureListener(s, webForms)
		if f == nil && l.TLS && c.TLS == nil {
			f = faultf("add the section [tls]", "%s needs a certificate", quote(s))
		}
		if f != nil {
			t.reader.fail(line, t.key("listen"), f)
			return
		}
		w.Listen = append(w.Listen, l)
		t.reader.listeners = append(t.reader.listeners, placedListener{l.Listener, s, t.key("listen"), line})
		if !l.TLS && !l.loopback() {
			t.reader.warn(line, t.key("listen"), quote(s)+" can be reached from other machines, and carries everything in the clear",
				`write "tls:`+l.Address+`", or let a firewall protect the way from the proxy`)
		}
	})
	if t.has("listen") && t.length("listen") == 0 {
		t.fail("listen", faultf(`write listen = ["`+listen+`"]`, "the list is empty"))
	}
	if s, ok := t.text("public_url", publicURLExample); ok {
		var f *fault
		w.PublicURL, f = parsePublicURL(s)
		t.check("public_url", f)
	}
	w.TrustedProxies = t.trustedProxies()
	w.Brand = t.brand()
	if t.absent {
		return nil
	}
	return w
}

func (t *table) trustedProxies() []netip.Prefix {
	return list(t, "trusted_proxies", "127.0.0.1", parsePrefix, func(p netip.Prefix) string { return p.String() })
}

// TrustedProxies returns the proxies of [web] and of all domains. Whose mailbox a request is about is not known yet when its client's address counts, so
// each is believed for all.
func (c *Config) TrustedProxies() []netip.Prefix {
	if c.Web == nil {
		return nil
	}
	all := slices.Clone(c.Web.TrustedProxies)
	for _, d := range c.Domains {
		all = append(all, d.TrustedProxies...)
	}
	return all
}

const (
	webForms         = `write "tls:IP-ADDRESS:PORT", "tcp:IP-ADDRESS:PORT" for a proxy that speaks TLS, "systemd:NAME" or "tls:systemd:NAME"`
	publicURLExample = "https://archivio.alpha.test"
)

// parsePublicURL reads "https://HOST" or "https://HOST:PORT". On the machine itself it may be http.
func parsePublicURL(s string) (string, *fault) {
	const remedy = `write it as "` + publicURLExample + `"`
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(s, "#") || strings.HasSuffix(s, "?") {
		return "", faultf(remedy, "%s is not the URL of a host", quote(s))
	}
	if u.Path != "" && u.Path != "/" {
		return "", faultf(`write it without the path; a host name of its own does`, "%s has a path", quote(s))
	}
	host, port := u.Hostname(), u.Port()
	address, err := netip.ParseAddr(host)
	local := host == "localhost" || err == nil && address.IsLoopback()
	if err != nil && !isDomain(host) {
		return "", faultf(remedy, "%s has no host name", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); strings.HasSuffix(u.Host, ":") || port != "" && (err != nil || n == 0) {
		return "", faultf("write a port from 1 to 65535, or none", "%s has no valid port", quote(s))
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return "", faultf(remedy, "%s is not https, and carries everything in the clear", quote(s))
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}
