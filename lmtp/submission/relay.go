package submission

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	relayTimeout  = 30 * time.Second // for connecting, TLS and signing in
	maxReplyBytes = 64 << 10         // of all replies of the relay before it has taken the password
)

// Relay is the provider's submission service. The zero Relay stands for none.
type Relay struct {
	Host string // name, or IP address without brackets
	Port uint16
	// TLS says that TLS begins with the first byte. Otherwise STARTTLS is demanded, except of a relay on this machine that takes passwords without
	// it. The certificate must be for Host, by the authorities that the machine trusts.
	TLS bool
}

// ParseRelay reads "smtps:HOST:PORT" (TLS from the first byte) or "smtp:HOST:PORT" (STARTTLS).
func ParseRelay(s string) (Relay, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	if scheme != "smtp" && scheme != "smtps" {
		return Relay{}, errors.New(`it begins with neither "smtps:" nor "smtp:"`)
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil || host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Relay{}, fmt.Errorf("%q is not HOST:PORT", rest)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Relay{}, fmt.Errorf("%q is not a port", port)
	}
	return Relay{host, uint16(n), scheme == "smtps"}, nil
}

// Address returns HOST:PORT.
func (r Relay) Address() string { return net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))) }

// String returns the relay in the form of ParseRelay.
func (r Relay) String() string {
	if r.TLS {
		return "smtps:" + r.Address()
	}
	return "smtp:" + r.Address()
}

// loopback reports whether the relay is on this machine.
func (r Relay) loopback() bool {
	a, err := netip.ParseAddr(r.Host)
	return err == nil && a.IsLoopback() || r.Host == "localhost"
}

// needed are the keywords that this server announces before it has a connection to the relay, so the relay must have them.
func needed() []string { return []string{"8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "SIZE"} }

// ReplyError is a reply of the relay that refuses.
type ReplyError struct {
	Code int    // 400 to 599
	Text string // without the code; lines are separated by LF
}

// Error returns the reply on one line.
func (e *ReplyError) Error() string {
	return fmt.Sprintf("%d %s", e.Code, strings.ReplaceAll(e.Text, "\n", " / "))
}

// relayed is a connection to the relay.
type relayed struct {
	net.Conn
	in       *bufio.Reader
	limited  *limitedReader
	keywords map[string]string // that the relay announced: its arguments by keyword, both in upper case
}

// limitedReader bounds what is read as long as left is not negative.
type limitedReader struct {
	net.Conn
	left int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, fmt.Errorf("more than %d bytes of replies", maxReplyBytes)
	}
	if l.left > 0 {
		p = p[:min(len(p), l.left)]
	}
	n, err := l.Conn.Read(p)
	if l.left > 0 {
		l.left -= n
	}
	return n, err
}

// connect connects to the relay, up to the reply to EHLO over TLS. The caller closes it.
func (r Relay) connect(ctx context.Context, hello string, roots *tls.Config) (_ *relayed, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", r.Address())
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &relayed{Conn: nc}
	c.over(nc)
	if r.TLS {
		err = c.handshake(ctx, r, roots)
	}
	if err == nil {
		_, err = c.read(220)
	}
	if err == nil {
		err = c.hello(hello)
	}
	if _, plain := c.keywords["AUTH"]; err == nil && !r.TLS && (!plain || !r.loopback()) {
		if _, err = c.ask(220, "STARTTLS"); err == nil {
			err = c.handshake(ctx, r, roots)
		}
		if err == nil {
			err = c.hello(hello)
		}
	}
	for _, keyword := range needed() {
		if _, ok := c.keywords[keyword]; err == nil && !ok {
			err = fmt.Errorf("the relay does not announce %s", keyword)
		}
	}
	if err != nil {
		c.Conn.Close()
		return nil, err
	}
	return c, nil
}

// over reads from a transport from now on.
func (c *relayed) over(nc net.Conn) {
	c.Conn = nc
	c.limited = &limitedReader{nc, maxReplyBytes}
	c.in = bufio.NewReaderSize(c.limited, 32<<10)
}

func (c *relayed) handshake(ctx context.Context, r Relay, roots *tls.Config) error {
	if c.in.Buffered() > 0 {
		return errors.New("the relay sent more than its reply to STARTTLS")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if roots != nil {
		config = roots.Clone()
	}
	config.ServerName = r.Host
	secure := tls.Client(c.Conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	c.over(secure)
	return nil
}

// hello says EHLO, and notes the keywords.
func (c *relayed) hello(name string) error {
	text, err := c.ask(250, "EHLO "+name)
	if err != nil {
		return err
	}
	c.keywords = make(map[string]string)
	for line := range strings.Lines(text) {
		keyword, arguments, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		c.keywords[keyword] = arguments
	}
	return nil
}

// signIn signs in with a name and a password. The error is a *ReplyError if the relay refuses them.
func (c *relayed) signIn(ctx context.Context, name, password string) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	mechanisms := strings.Fields(c.keywords["AUTH"])
	var err error
	switch {
	case slices.Contains(mechanisms, "PLAIN"):
		_, err = c.ask(235, "AUTH PLAIN "+encode("\x00"+name+"\x00"+password))
	case slices.Contains(mechanisms, "LOGIN"):
		_, err = c.ask(334, "AUTH LOGIN")
		if err == nil {
			_, err = c.ask(334, encode(name))
		}
		if err == nil {
			_, err = c.ask(235, encode(password))
		}
	default:
		err = errors.New("the relay offers neither AUTH PLAIN nor LOGIN")
	}
	if err == nil {
		stop()
		c.limited.left = -1
		c.SetDeadline(time.Time{})
	}
	return err
}

// ask sends a line and reads the reply.
func (c *relayed) ask(want int, line string) (string, error) {
	if _, err := c.Write([]byte(line + "\r\n")); err != nil {
		return "", err
	}
	return c.read(want)
}

// read reads a reply. The error is a *ReplyError for one that refuses.
func (c *relayed) read(want int) (string, error) {
	code, text, err := textproto.NewReader(c.in).ReadResponse(want)
	var refused *textproto.Error
	if errors.As(err, &refused) && refused.Code/100 >= 4 && refused.Code/100 <= 5 {
		return "", &ReplyError{refused.Code, refused.Msg}
	}
	if err == nil && code != want {
		err = fmt.Errorf("reply %d, want %d", code, want)
	}
	return text, err
}

// Check connects to the relay, and returns what it announces.
func (r Relay) Check(ctx context.Context, hello string) (detail string, err error) {
	c, err := r.connect(ctx, hello, nil)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.Write([]byte("QUIT\r\n"))
	mechanisms := c.keywords["AUTH"]
	if mechanisms == "" {
		return "", errors.New("the relay takes no passwords (no AUTH)")
	}
	return "takes passwords by " + mechanisms, nil
}
