package imapd

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// serverTLS returns a configuration with a certificate that nobody vouches for.
func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	check(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, MinVersion: tls.VersionTLS12}
}

// TestStartTLS signs in over STARTTLS. Before it no password is taken, nor is anything that was sent before it taken after it.
func TestStartTLS(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InsecureLoopback, c.TLS = false, serverTLS(t) })
	dial := func(t *testing.T) (net.Conn, *bufio.Reader) {
		nc, err := net.Dial("tcp", r.addr)
		check(t, err)
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		return nc, bufio.NewReader(nc)
	}
	say := func(t *testing.T, nc net.Conn, in *bufio.Reader, text string, want ...string) {
		t.Helper()
		fmt.Fprint(nc, text)
		for _, w := range want {
			if line, err := in.ReadString('\n'); !strings.HasPrefix(line, w) {
				t.Fatalf("after %q: %q, %v, want %q", text, line, err, w)
			}
		}
	}
	const capabilities = "CAPABILITY IMAP4rev1 ID STARTTLS SASL-IR LITERAL- LOGINDISABLED"
	t.Run("sign in", func(t *testing.T) {
		nc, in := dial(t)
		say(t, nc, in, "", "* OK ["+capabilities+"]")
		say(t, nc, in, "a CAPABILITY\r\nb LOGIN "+anna+" "+password+"\r\nc AUTHENTICATE PLAIN AGFubmFAYWxwaGEudGVzdABzZWdyZXRh\r\n",
			"* "+capabilities, "a OK", "b NO [PRIVACYREQUIRED]", "c NO [PRIVACYREQUIRED]")
		say(t, nc, in, "d STARTTLS\r\n", "d OK")
		secure := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		in = bufio.NewReader(secure)
		say(t, secure, in, "e CAPABILITY\r\nf STARTTLS\r\ng LOGIN "+anna+" "+password+"\r\nh SELECT INBOX\r\n",
			"* CAPABILITY IMAP4rev1 ID SASL-IR LITERAL- AUTH=PLAIN", "e OK", "f BAD", "g OK [CAPABILITY", "* 0 EXISTS")
	})
	t.Run("a command sent along", func(t *testing.T) {
		nc, in := dial(t)
		say(t, nc, in, "a STARTTLS\r\nb NOOP\r\n", "* OK", "* BYE Nothing may follow STARTTLS")
		if line, err := in.ReadString('\n'); err == nil {
			t.Errorf("then: %q", line)
		}
	})
	t.Run("no TLS comes", func(t *testing.T) {
		nc, in := dial(t)
		say(t, nc, in, "a STARTTLS\r\n", "* OK", "a OK")
		say(t, nc, in, "b LOGIN "+anna+" "+password+"\r\n")
		if line, err := in.ReadString('\n'); err == nil && !strings.HasPrefix(line, "\x15") {
			t.Errorf("then: %q", line)
		}
	})
}

// TestLimits opens more connections than there may be, in all, from one address and to one mailbox.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // the first line to the third program
	}{
		{"in all", func(c *Config) { c.MaxConnections = 2 }, "* BYE [UNAVAILABLE] Too many"},
		{"from one address", func(c *Config) { c.MaxPerAddress = 2 }, "* BYE [UNAVAILABLE] Too many"},
		{"to one mailbox", func(c *Config) { c.MaxPerMailbox = 2 }, "t NO [LIMIT] Troppe connessioni"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.change)
			for round := range 2 {
				var open []*reader
				for range 2 {
					nc, err := net.Dial("tcp", r.addr)
					check(t, err)
					p := &reader{nc: nc, in: bufio.NewReader(nc)}
					check(t, p.command("LOGIN "+anna+" "+password))
					open = append(open, p)
				}
				nc, err := net.Dial("tcp", r.addr)
				check(t, err)
				in := bufio.NewReader(nc)
				line, err := in.ReadString('\n')
				if strings.HasPrefix(line, "* OK") {
					fmt.Fprintf(nc, "t LOGIN %s %s\r\n", anna, password)
					line, err = in.ReadString('\n')
				}
				if err != nil || !strings.HasPrefix(line, c.want) {
					t.Errorf("round %d: %q, %v", round+1, line, err)
				}
				nc.Close()
				for _, p := range open {
					check(t, p.command("LOGOUT"))
					p.nc.Close()
				}
				for deadline := time.Now().Add(10 * time.Second); r.connections() > 0 && time.Now().Before(deadline); {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
}

func (r *rig) connections() int {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return len(r.server.conns)
}
