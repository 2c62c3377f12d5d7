package config

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"copialettere/lmtp/nexthop"
)

// maxSocketPath is the longest path of a unix socket in bytes: sun_path of unix(7) without its final NUL.
const maxSocketPath = 107

// Listener is where the daemon listens.
type Listener struct {
	// Network is "unix", "tcp", or "systemd" for a socket that systemd hands over.
	Network string
	// Address is the absolute path of a unix socket, the HOST:PORT of TCP (an IP address or localhost; with port 0 the kernel chooses
	// one), or the FileDescriptorName of a systemd socket unit.
	Address string
}

// String returns the listener in the form of the file, with an absolute path.
func (l Listener) String() string { return l.Network + ":" + l.Address }

// loopback reports whether the address of a listener can be reached from this machine only.
func (l Listener) loopback() bool {
	if l.Network != "tcp" {
		return true
	}
	a, ok := tcpAddress(l.Address)
	return ok && a.Addr().IsLoopback()
}

// clashes reports whether two listeners cannot both be opened. Where one stands for a next hop, it reports whether that leads to the other.
func (l Listener) clashes(m Listener) bool {
	if l.Network != m.Network {
		return false
	}
	a, aok := tcpAddress(l.Address)
	b, bok := tcpAddress(m.Address)
	if l.Network != "tcp" || !aok || !bok {
		return l.Address == m.Address
	}
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	// Go listens on [::] for both families, on 0.0.0.0 for IPv4 only.
	covers := func(x, y netip.Addr) bool { return x.IsUnspecified() && (x.Is6() || y.Is4()) }
	return a.Addr() == b.Addr() || covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr())
}

// tcpAddress reads HOST:PORT where HOST is an IP address or localhost.
func tcpAddress(s string) (netip.AddrPort, bool) {
	if port, ok := strings.CutPrefix(s, "localhost:"); ok {
		s = "127.0.0.1:" + port
	}
	a, err := netip.ParseAddrPort(s)
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), err == nil
}

const listenForms = `write "unix:/PATH", "tcp:IP-ADDRESS:PORT" or "systemd:NAME"`

// parseListener reads "unix:PATH", "tcp:HOST:PORT" or "systemd:NAME". A relative path is taken from the data folder.
func parseListener(s, data string) (Listener, *fault) {
	network, address, ok := strings.Cut(s, ":")
	if !ok || address == "" {
		return Listener{}, faultf(listenForms, "%s is not a listen address", quote(s))
	}
	switch network {
	case "unix":
		path, f := socketPath(address, data)
		return Listener{network, path}, f
	case "tcp":
		return parseTCPListener(s, address)
	case "systemd":
		// FileDescriptorName= of systemd.socket(5).
		if len(address) > 255 || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
			return Listener{}, faultf("write the FileDescriptorName of the socket unit: at most 255 ASCII characters, without blanks and colons",
				"%s has no usable name", quote(s))
		}
		return Listener{network, address}, nil
	}
	return Listener{}, faultf(listenForms, "%s is not a listen address", quote(s))
}

func socketPath(path, data string) (string, *fault) {
	switch {
	case strings.ContainsRune(path, 0):
		return "", faultf("remove it", "%s has a NUL character", quote(path))
	case !filepath.IsAbs(path) && !filepath.IsLocal(path):
		return "", faultf("write an absolute path", "%s leaves the data folder", quote(path))
	case !filepath.IsAbs(path):
		path = filepath.Join(data, path)
	}
	path = filepath.Clean(path)
	if len(path) > maxSocketPath {
		return "", faultf("choose a shorter one", "the socket path %s has %d bytes, the system allows %d", quote(path), len(path), maxSocketPath)
	}
	return path, nil
}

func parseTCPListener(s, address string) (Listener, *fault) {
	host, port, f := splitHostPort(address, "tcp:", "127.0.0.1")
	if f != nil {
		return Listener{}, f
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return Listener{}, faultf("write a port from 1 to 65535", "%s has no valid port", quote(s))
	}
	if host == "" || host == "*" {
		return Listener{}, faultf(`write "tcp:0.0.0.0:`+port+`" for all addresses of IPv4, "tcp:[::]:`+port+`" for all`,
			"%s has no host", quote(s))
	}
	if _, ok := tcpAddress(address); !ok {
		return Listener{}, faultf("write the IP address to listen on", "%s has no IP address", quote(s))
	}
	return Listener{"tcp", address}, nil
}

// splitHostPort splits HOST:PORT or [IPV6]:PORT, and removes the brackets. The prefix and the example host are for the remedy.
func splitHostPort(s, prefix, example string) (host, port string, f *fault) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		if strings.Trim(s, "0123456789") == "" {
			return "", "", faultf(`write "`+prefix+example+":"+shorten(s)+`"`, "%s has no host", quote(prefix+s))
		}
		return "", "", faultf(`write "`+prefix+"HOST:PORT\"", "%s has no port", quote(prefix+s))
	}
	host, port = s[:i], s[i+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			return inner, port, nil
		}
	}
	if strings.Contains(host, ":") {
		return "", "", faultf(`write "`+prefix+"[IPV6-ADDRESS]:PORT\"", "%s has an IPv6 address without brackets", quote(prefix+s))
	}
	return host, port, nil
}

// parseNextHop reads a next hop for a direction, "received" or "sent".
func parseNextHop(s, direction string) (nexthop.Spec, *fault) {
	spec, err := nexthop.ParseSpec(s)
	switch {
	case err != nil:
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return spec, faultf(err.Error(), "%s is not a next hop", quote(s))
	case direction == "received" && spec.Scheme == nexthop.SMTP:
		return spec, faultf(`write "lmtp:HOST:PORT", "lmtp:unix:/PATH" or "maildir:/PATH"`,
			"%s has one reply for all recipients, and received mail needs one for each", quote(s))
	case direction == "sent" && spec.Scheme != nexthop.SMTP:
		return spec, faultf(`write the reinjection port of the MTA, as "smtp:127.0.0.1:10026"`, "%s cannot send mail on", quote(s))
	}
	return spec, nil
}

// hopListener returns the address of a next hop as a listener; the zero value where that address cannot be one of ours.
func hopListener(spec nexthop.Spec) Listener {
	switch {
	case spec.Scheme == nexthop.Maildir || spec.Scheme == nexthop.LMTPSRV:
		return Listener{}
	case spec.Path != "":
		return Listener{"unix", spec.Path}
	}
	return Listener{"tcp", net.JoinHostPort(spec.Host, strconv.Itoa(int(spec.Port)))}
}

// isDomain reports whether s is a host or domain name of letters, digits and hyphens (RFC 1123 2.1), with or without dots.
func isDomain(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.ContainsFunc(label, func(r rune) bool { return !isLetterDigit(r) && r != '-' }) {
			return false
		}
	}
	// A last label of digits means a mistyped IPv4 address (RFC 1123 2.1).
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func isLetterDigit(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z'
}

// parseDomain reads a mail domain and returns it in lower case.
func parseDomain(s string) (string, *fault) {
	if isDomain(s) {
		return strings.ToLower(s), nil
	}
	remedy := `write a domain such as "alpha.test"`
	if near := strings.ToLower(strings.Trim(s, "@. \t")); isDomain(near) {
		remedy = `write "` + near + `"`
	} else if strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f }) {
		remedy = `write it in its ASCII form, which begins with "xn--"`
	}
	return "", faultf(remedy, "%s is not a domain", quote(s))
}

// parseAddress reads a mail address and returns it in lower case. Its local part is a dot-string (RFC 5321 4.1.2) that may have
// characters beyond ASCII (RFC 6531 3.3); the quoted form is not needed here.
func parseAddress(s, domain string) (string, *fault) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		remedy := `write an address such as "postmaster@alpha.test"`
		if isLocalPart(s) && domain != "" {
			remedy = "write " + quote(s+"@"+domain)
		}
		return "", faultf(remedy, "%s is not a mail address", quote(s))
	}
	if !isLocalPart(s[:i]) || !isDomain(s[i+1:]) {
		return "", faultf(`write a plain address such as "postmaster@alpha.test"`, "%s is not a mail address", quote(s))
	}
	return strings.ToLower(s), nil
}

func isLocalPart(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, atom := range strings.Split(s, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return !isAtomRune(r) }) {
			return false
		}
	}
	return true
}

// isAtomRune reports whether r may stand in an atom: RFC 5322 3.2.3, widened by RFC 6532 3.2.
func isAtomRune(r rune) bool {
	return isLetterDigit(r) || r >= 0xa0 && r != '\ufffd' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// parsePrefix reads "10.0.0.0/8" or a single address.
func parsePrefix(s string) (netip.Prefix, *fault) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, faultf(`write an IP address or a network, as "127.0.0.1" or "10.0.0.0/8"`, "%s is not a network", quote(s))
	case p.Bits() == 0:
		return p, faultf("write the addresses of the hosts that are meant", "%s is every address there is", quote(s))
	case p.Masked() != p:
		return p, faultf(`write "`+p.Masked().String()+`"`, "%s has bits beyond its mask", quote(s))
	}
	return p, nil
}

// checkHeaderName checks the name of a header that the MTA prepends and the hook removes (RFC 5322 3.6.8).
func checkHeaderName(name string) *fault {
	if name == "" || len(name) > 76 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return faultf(`write a name such as "X-Copialettere-Login"`, "%s is not a header name", quote(name))
	}
	switch lower := strings.ToLower(name); {
	case strings.HasPrefix(lower, "content-"), strings.HasPrefix(lower, "resent-"):
	case strings.Contains(" bcc cc date delivered-to dkim-signature from in-reply-to message-id mime-version received references reply-to"+
		" return-path sender subject to x-original-to ", " "+lower+" "):
	default:
		return nil
	}
	return faultf("choose a name of your own, which begins with X-", "%s is a header that messages need", quote(name))
}

// checkRedirectHeader checks "Name: value". The fault never shows the value, which is a secret.
func checkRedirectHeader(s string) *fault {
	name, value, ok := strings.Cut(s, ":")
	value = strings.TrimSpace(value)
	switch {
	case !ok || value == "":
		return faultf(`write "X-Copialettere-Redirect: SECRET"`, "there is no value after the name of the header")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		return faultf("use ASCII characters", "the value of the header has characters that a header cannot carry")
	case len(value) < 12:
		return faultf("write 12 or more random characters", "the secret is short enough to be guessed")
	}
	return checkHeaderName(name)
}
