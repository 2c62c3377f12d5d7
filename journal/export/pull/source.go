package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Security is how the line to a server is encrypted.
type Security string

// The values of Security, which are the schemes of a source.
const (
	TLS       Security = "imaps"         // from the first byte on; port 993
	STARTTLS  Security = "imap+starttls" // before signing in; port 143
	Plaintext Security = "imap"          // not at all; only to this machine
)

// Account is an account on an IMAP server, whose mail is imported.
type Account struct {
	Security Security
	User     string
	Host     string // a name or an address
	Port     uint16
}

// ErrSource says that a text names no account.
var ErrSource = errors.New("not the address of an IMAP account")

// ParseAccount reads imaps://USER@HOST[:PORT], imap+starttls://... or imap://.... The user may have an @, and what is percent-encoded. The error wraps
// ErrSource.
func ParseAccount(text string) (Account, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	a := Account{Security: Security(strings.ToLower(scheme))}
	if !ok || !slices.Contains([]Security{TLS, STARTTLS, Plaintext}, a.Security) {
		return a, fmt.Errorf("%w: %.100q: want imaps://USER@HOST", ErrSource, text)
	}
	rest = strings.TrimSuffix(rest, "/")
	at := strings.LastIndexByte(rest, '@')
	if at < 1 {
		return a, fmt.Errorf("%w: %.100q names no user: want imaps://USER@HOST", ErrSource, text)
	}
	var err error
	if a.User, err = url.PathUnescape(rest[:at]); err != nil || strings.ContainsAny(a.User, "\r\n\x00") || len(a.User) > 500 {
		return a, fmt.Errorf("%w: the user of %.100q", ErrSource, text)
	}
	host := rest[at+1:]
	a.Port = 993
	if a.Security != TLS {
		a.Port = 143
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return a, fmt.Errorf("%w: the port of %.100q", ErrSource, text)
		}
		host, a.Port = h, uint16(n)
	}
	a.Host = strings.ToLower(strings.Trim(host, "[]"))
	if strings.Contains(rest[:at], ":") {
		return a, fmt.Errorf("%w: a password does not belong into the address: leave it out, and it is asked for; a colon of a user is written %%3A", ErrSource)
	}
	if a.Host == "" || len(a.Host) > 253 || strings.ContainsAny(a.Host, " /?#\r\n\t%\\") {
		return a, fmt.Errorf("%w: the host of %.100q", ErrSource, text)
	}
	return a, nil
}

// String returns the account as ParseAccount reads it.
func (a Account) String() string {
	return string(a.Security) + "://" + strings.ReplaceAll(url.PathEscape(a.User), ":", "%3A") + "@" + a.hostPort()
}

// place returns the server, for the source of a message.
func (a Account) place() string { return string(a.Security) + "://" + a.hostPort() }

func (a Account) hostPort() string {
	if a.Security == TLS && a.Port == 993 || a.Security != TLS && a.Port == 143 {
		if strings.Contains(a.Host, ":") {
			return "[" + a.Host + "]"
		}
		return a.Host
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

// Reach is where a pull may connect to, and whom it believes.
type Reach struct {
	// Public says that only public addresses and the ports of IMAP (143, 993) may be connected to: whoever names a server would otherwise have this
	// machine ask its neighbours.
	Public bool
	// Open says that a password may go over an open line to another machine.
	Open bool
	// Roots are the certificates of authorities that are believed; the system's where nil.
	Roots *x509.CertPool
}

// ErrUnreachable says that a server may not be connected to.
var ErrUnreachable = errors.New("not connected")

// notPublic are the networks that are no part of the Internet, beside those that netip knows (IANA's special-purpose registries, RFC 6890).
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	// IPv6 that holds an address of IPv4, which may be a private one, and documentation.
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("5f00::/16"), netip.MustParsePrefix("fec0::/10"),
}

// public reports whether an address is one of the Internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}

// control refuses addresses that may not be connected to, once the name is resolved: a name can lead anywhere, and elsewhere each time.
func (r Reach) control(_, address string, _ syscall.RawConn) error {
	if !r.Public {
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	switch {
	case at.Port() != 143 && at.Port() != 993:
		return fmt.Errorf("%w: port %d is none of IMAP (143, 993)", ErrUnreachable, at.Port())
	case !public(at.Addr()):
		return fmt.Errorf("%w: it is no server of the Internet", ErrUnreachable)
	}
	return nil
}

// connectTime is how long connecting may take, with TLS.
const connectTime = 30 * time.Second

// connect connects to the server of an account, up to where somebody signs in. The caller ends the client.
func connect(ctx context.Context, a Account, r Reach) (*client, error) {
	dialer := net.Dialer{Timeout: connectTime, Control: r.control}
	nc, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", a.Host, err)
	}
	c, err := greeted(ctx, nc, a, r)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", a.Host, err)
	}
	return c, nil
}

func greeted(ctx context.Context, nc net.Conn, a Account, r Reach) (*client, error) {
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if a.Security == TLS {
		var err error
		if nc, err = encrypted(ctx, nc, a, r); err != nil {
			return nil, err
		}
	}
	c := newClient(newWire(nc))
	preauth, err := c.greet()
	if err != nil {
		return nil, err
	}
	if a.Security != STARTTLS {
		return c, nil
	}
	// Nobody knows who says so before the line is encrypted.
	if preauth {
		return nil, fmt.Errorf("%w: it lets somebody in before STARTTLS", errProtocol)
	}
	if err := c.capability(); err != nil {
		return nil, err
	}
	if !c.has("STARTTLS") {
		return nil, fmt.Errorf("%w: it does not offer STARTTLS: use imaps://", ErrPlaintext)
	}
	if err := c.command(time.Minute, "STARTTLS", ""); err != nil {
		return nil, err
	}
	if c.w.in.Buffered() > 0 {
		return nil, fmt.Errorf("%w: something follows STARTTLS that is not encrypted", errProtocol)
	}
	if nc, err = encrypted(ctx, nc, a, r); err != nil {
		return nil, err
	}
	return newClient(newWire(nc)), nil
}

func encrypted(ctx context.Context, nc net.Conn, a Account, r Reach) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	t := tls.Client(nc, &tls.Config{ServerName: a.Host, RootCAs: r.Roots, MinVersion: tls.VersionTLS12})
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("encrypt the line: %w", err)
	}
	return t, nil
}

// signIn connects and signs in.
func signIn(ctx context.Context, a Account, password string, r Reach) (*client, error) {
	c, err := connect(ctx, a, r)
	if err != nil {
		return nil, err
	}
	// A password in clear goes no further than this machine, whatever the name of the server claims.
	open := a.Security == Plaintext && !r.Open && !isLoopback(c.w.nc.RemoteAddr())
	stop := c.w.interrupt(ctx)
	defer stop()
	if err := c.login(a.User, password, open); err != nil {
		c.w.nc.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("%s: %w", a.Host, err)
	}
	return c, nil
}

func isLoopback(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}
