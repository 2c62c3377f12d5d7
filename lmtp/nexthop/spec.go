package nexthop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Scheme is the first part of a Spec: the protocol of the next hop.
type Scheme string

// The schemes.
const (
	LMTP    Scheme = "lmtp"     // LMTP (RFC 2033) to a unix socket or a host and port
	LMTPSRV Scheme = "lmtp+srv" // LMTP to the hosts in the SRV records of a name
	SMTP    Scheme = "smtp"     // SMTP (RFC 5321) to a host and port, or a unix socket
	Maildir Scheme = "maildir"  // no server at all: files below a folder
)

// maxSocketPath is the longest path of a unix socket on Linux, in bytes.
const maxSocketPath = 107

// Spec names a next hop. Specs are comparable. An operator writes:
//
//	lmtp:unix:/run/dovecot/lmtp   LMTP over a unix socket
//	lmtp:mail.alpha.test:24       LMTP over TCP; A and AAAA records are tried in turn
//	lmtp:[::1]:24                 the same, an IPv6 address
//	lmtp+srv:alpha.test           LMTP to the hosts of the SRV records _lmtp._tcp.alpha.test (RFC 2782)
//	smtp:127.0.0.1:10026          SMTP over TCP
//	maildir:/var/mail             one Maildir per address, at /var/mail/DOMAIN/LOCAL
type Spec struct {
	Scheme Scheme
	Path   string // of the unix socket or of the folder of the Maildirs; absolute
	Host   string // host name or IP address, without brackets; for LMTPSRV the name of the records
	Port   uint16
}

// String returns the spec as ParseSpec reads it.
func (s Spec) String() string {
	switch {
	case s.Scheme == Maildir:
		return string(s.Scheme) + ":" + s.Path
	case s.Path != "":
		return string(s.Scheme) + ":unix:" + s.Path
	case s.Scheme == LMTPSRV:
		return string(s.Scheme) + ":" + s.Host
	}
	return string(s.Scheme) + ":" + net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
}

// LMTP reports whether the hop answers the message once per accepted recipient. A Maildir does.
func (s Spec) LMTP() bool { return s.Scheme != SMTP }

// ParseSpec parses a spec; see Spec for the forms. Errors say what to write instead.
func ParseSpec(s string) (Spec, error) {
	spec, err := parseSpec(s)
	if err != nil {
		return Spec{}, fmt.Errorf("next hop %q: %w", s, err)
	}
	return spec, nil
}

func parseSpec(s string) (Spec, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	spec := Spec{Scheme: Scheme(scheme)}
	switch spec.Scheme {
	case Maildir:
		spec.Path = filepath.Clean(rest)
		if !filepath.IsAbs(rest) {
			return spec, errors.New("give the folder as an absolute path, as in maildir:/var/mail")
		}
		return spec, nil
	case LMTPSRV:
		spec.Host = rest
		if strings.HasPrefix(rest, "_") {
			return spec, errors.New("give the name without _lmtp._tcp, as in lmtp+srv:alpha.test")
		}
		if strings.Contains(rest, ":") {
			return spec, errors.New("the SRV records give the port: write the name alone, as in lmtp+srv:alpha.test")
		}
		if !isHostName(rest) {
			return spec, fmt.Errorf("%q is no host name; write it as in lmtp+srv:alpha.test", rest)
		}
		return spec, nil
	case LMTP, SMTP:
		if path, ok := strings.CutPrefix(rest, "unix:"); ok {
			return spec, spec.setSocket(path)
		}
		return spec, spec.setHostPort(rest)
	}
	return spec, errors.New("it must begin with lmtp:, lmtp+srv:, smtp: or maildir:, as in lmtp:unix:/run/dovecot/lmtp")
}

func (s *Spec) setSocket(path string) error {
	s.Path = filepath.Clean(path)
	if !filepath.IsAbs(path) {
		return fmt.Errorf("give the socket as an absolute path, as in %s:unix:/run/dovecot/lmtp", s.Scheme)
	}
	if len(s.Path) > maxSocketPath {
		return fmt.Errorf("the path of a socket has at most %d bytes, this one has %d: use a shorter one", maxSocketPath, len(s.Path))
	}
	return nil
}

func (s *Spec) setHostPort(rest string) error {
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		if strings.Count(rest, ":") > 1 {
			return fmt.Errorf("write an IPv6 address in brackets and a port after it, as in %s:[::1]:24", s.Scheme)
		}
		return fmt.Errorf("write host and port, as in %s:mail.alpha.test:24", s.Scheme)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("port %q is no number from 1 to 65535", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return fmt.Errorf("%q is no host name and no IP address", host)
	}
	if s.Scheme == LMTP && n == 25 {
		return errors.New("LMTP is not spoken on port 25 (RFC 2033 section 5): use the port of the LMTP service, usually 24, or write smtp: instead")
	}
	s.Host, s.Port = host, uint16(n)
	return nil
}

// isHostName reports whether s is a name of letters, digits, hyphens and underscores, with labels of 1 to 63 bytes and at most 253 bytes in
// all.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			letter := c|0x20 >= 'a' && c|0x20 <= 'z'
			if !letter && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
