package submission

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
)

const (
	anna     = "anna@alpha.test"
	password = "cera-lacca"
)

// logins knows the password of everybody at alpha.test, and what else may become of a login, by its name.
type logins struct{}

func (logins) Login(_ context.Context, try auth.Attempt) (auth.Identity, error) {
	login, err := policy.ParseAddress(try.Login)
	switch {
	case try.Protocol != auth.ProtocolSubmission || !try.Remote.IsLoopback():
		return auth.Identity{}, context.Canceled
	case login.Local == "chiusa":
		return auth.Identity{}, &auth.Refusal{Reason: auth.ErrClosed, Sentence: policy.Label{Italian: "Questa casella è chiusa.", English: "This mailbox is closed."}}
	case login.Local == "provata":
		return auth.Identity{}, &auth.Refusal{Reason: auth.ErrThrottled, Sentence: policy.Label{Italian: "Troppi tentativi falliti.", English: "Too many failures."}}
	case login.Local == "ferma":
		return auth.Identity{}, auth.ErrUnavailable
	case err != nil || try.Password != password || try.Authorize != "" && try.Authorize != try.Login:
		return auth.Identity{}, auth.ErrDenied
	case login.Domain == "archivio.test": // the account name of anna
		login = policy.Address{Local: "anna", Domain: "alpha.test"}
	}
	return auth.Identity{Login: login, Mailbox: login, Actor: policy.Actor{Role: policy.RoleOwner, Name: login.String()}}, nil
}

// languageOf says that everybody speaks Italian but bob.
func languageOf(_ context.Context, mailbox policy.Address) policy.Language {
	if mailbox.Local == "bob" {
		return policy.English
	}
	return policy.Italian
}

// newServer serves a listener on loopback until the end of the test.
func newServer(t testing.TB, change func(*Config)) (*Server, string) {
	t.Helper()
	c := Config{Logins: logins{}, Language: languageOf, Name: "archivio.test", InsecureLoopback: true, MaxConnections: 100, MaxPerAddress: 100}
	if change != nil {
		change(&c)
	}
	s := NewServer(c)
	return s, serve(t, s, nil)
}

// serve serves one more listener.
func serve(t testing.TB, s *Server, secure *tls.Config) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	serving := make(chan error, 1)
	go func() { serving <- s.Serve(l, secure) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-serving; err != nil && err != net.ErrClosed {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// encode returns a line with what is in braces in the encoding of AUTH: {NAME:PASSWORD} as in PLAIN, anything else alone.
func encode(line string) string {
	before, rest, ok := strings.Cut(line, "{")
	if !ok {
		return line
	}
	inside, after, _ := strings.Cut(rest, "}")
	if name, password, plain := strings.Cut(inside, ":"); plain {
		inside = "\x00" + name + "\x00" + password
	}
	return before + base64.StdEncoding.EncodeToString([]byte(inside)) + after
}

// program is a mail program.
type program struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
}

// newReader returns a reader of lines.
func newReader(nc net.Conn) *bufio.Reader { return bufio.NewReader(nc) }

func dial(t testing.TB, address string) *program {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	check(t, err)
	t.Cleanup(func() { nc.Close() })
	return &program{t, nc, bufio.NewReader(nc)}
}

func (p *program) send(line string) {
	p.t.Helper()
	_, err := p.nc.Write([]byte(line))
	check(p.t, err)
}

// line returns the next line, or "(closed)".
func (p *program) line() string {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := p.in.ReadString('\n')
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		p.t.Fatal("no line came")
	}
	if err != nil {
		return "(closed)"
	}
	return strings.TrimRight(line, "\r\n")
}

// want reads lines that begin as wanted, the last of them being the end of a reply.
func (p *program) want(beginnings ...string) {
	p.t.Helper()
	for _, b := range beginnings {
		if line := p.line(); !strings.HasPrefix(line, b) {
			p.t.Fatalf("got %q, want %q", line, b)
		}
	}
}

// hello reads the greeting, says EHLO, and returns the keywords.
func (p *program) hello() string {
	p.t.Helper()
	p.want("220 ")
	p.send("EHLO pc.test\r\n")
	var all []string
	for {
		line := p.line()
		if all = append(all, line[4:]); line[3] == ' ' {
			return strings.Join(all, ",")
		}
	}
}

// certificate returns a certificate for hosts, and the authorities that trust it.
func certificate(t testing.TB, hosts ...string) (server, client *tls.Config) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: hosts, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	check(t, err)
	parsed, err := x509.ParseCertificate(der)
	check(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}, &tls.Config{RootCAs: pool}
}

// fakeRelay is a submission service that follows a script: "<" lines are what it must be told, ">" lines what it says, and "." reads a message.
type fakeRelay struct {
	t       testing.TB
	address Relay
	secure  *tls.Config // for STARTTLS, and from the first byte where address says TLS

	mu      sync.Mutex
	message []byte // read by ".", to the end of the dot; guarded by mu
	done    chan struct{}
}

// startRelay runs a script on one connection.
func startRelay(t testing.TB, host string, secure *tls.Config, implicit bool, script ...string) *fakeRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	r := &fakeRelay{t: t, address: Relay{host, uint16(l.Addr().(*net.TCPAddr).Port), implicit}, secure: secure, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		r.run(nc, script)
	}()
	t.Cleanup(func() {
		l.Close()
		<-r.done
	})
	return r
}

func (r *fakeRelay) run(nc net.Conn, script []string) {
	defer func() { nc.Close() }()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if r.address.TLS {
		nc = tls.Server(nc, r.secure)
	}
	in := bufio.NewReader(nc)
	for _, step := range script {
		kind, text, _ := strings.Cut(step, " ")
		switch kind {
		case ">":
			if _, err := nc.Write([]byte(text + "\r\n")); err != nil {
				return
			}
		case "<":
			line, err := in.ReadString('\n')
			if want := encode(text); err != nil || strings.TrimRight(line, "\r\n") != want {
				r.t.Errorf("the relay was told %q, %v, want %q", line, err, want)
				return
			}
		case ".":
			var message []byte
			for !bytes.HasSuffix(message, []byte("\r\n.\r\n")) {
				b, err := in.ReadByte()
				if err != nil {
					r.t.Errorf("the message broke off: %v", err)
					return
				}
				message = append(message, b)
			}
			r.mu.Lock()
			r.message = message
			r.mu.Unlock()
		case "wait":
			d, _ := time.ParseDuration(text)
			time.Sleep(d)
		case "tls":
			nc = tls.Server(nc, r.secure)
			in = bufio.NewReader(nc)
		case "end": // the connection must be at its end
			if _, err := in.ReadByte(); err == nil {
				r.t.Error("the relay was told more")
			}
		}
	}
}
