package pull

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// heard is a connection on which a server says a text, whatever it is told.
type heard struct {
	io.Reader
	sent bytes.Buffer
}

func (h *heard) Write(b []byte) (int, error)      { return h.sent.Write(b) }
func (h *heard) Close() error                     { return nil }
func (h *heard) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (h *heard) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (h *heard) SetDeadline(time.Time) error      { return nil }
func (h *heard) SetReadDeadline(time.Time) error  { return nil }
func (h *heard) SetWriteDeadline(time.Time) error { return nil }

func hear(text string) *client { return newClient(newWire(&heard{Reader: strings.NewReader(text)})) }

// FuzzResponses lets a client read whatever a server may say. Nothing that was cut short counts, and a body that counts is as long as its size.
func FuzzResponses(f *testing.F) {
	for _, seed := range []string{
		"* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\nA1 OK\r\nA2 OK\r\n", "* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[] {3}\r\nab", "* BYE x\r\n",
		"* 1 EXPUNGE\r\nA1 OK\r\nA2 OK\r\nA3 OK\r\nA4 OK\r\n", "* LIST () \"/\" {3}\r\nabc\r\n", "* STATUS x (UIDNEXT 5)\r\nA1 NO [X] y\r\n", "* 1 FETCH (X ((((a) \"b\" NIL))))\r\n",
		"* OK [UIDVALIDITY 5] {3}\r\nabc\r\n", "* NAMESPACE NIL NIL ((\"\" \"/\"))\r\n", "* 1 FETCH (BODY[]<0> NIL BODY[] \"abc\" UID 1 RFC822.SIZE 3)\r\nA1 OK\r\nA2 OK\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		c := hear(said)
		out, err := c.bodiesOf([]listed{{uid: 1, size: 3}})
		if err == nil && !strings.Contains(said, "A2 OK") && !strings.Contains(strings.ToUpper(said), "A2 OK") {
			t.Errorf("whole without the answer to NOOP: %q", said)
		}
		for _, one := range out.whole {
			if err != nil || len(one.bytes) != 3 {
				t.Errorf("%q counts, %v", one.bytes, err)
			}
		}
		c = hear(said)
		if _, err := c.folders(); err == nil && !strings.Contains(strings.ToUpper(said), "A1 OK") {
			t.Errorf("folders without an answer: %q", said)
		}
	})
}

// FuzzNames decodes names of folders, which servers make up.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"INBOX", "Perch&AOk-", "&-", "&", "&AOk", "&2D3eAA-", "caf\xe9", "a.b", "INBOX.INBOX"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if name := decodeUTF7(raw); strings.ToValidUTF8(name, "") != name {
			t.Errorf("%q is %q", raw, name)
		}
		shown(raw, ".", []space{{"INBOX.", true}, {"", false}})
	})
}

// FuzzAccount reads addresses of accounts: what is read reads as itself.
func FuzzAccount(f *testing.F) {
	for _, seed := range []string{"imaps://mario@pec.it@imaps.pec.it", "imap+starttls://a%3Ab@host:1143", "imap://a@[::1]:143", "imaps://a:b@h", "imaps://@h", "ftp://x@y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAccount(text)
		if err != nil {
			if !errors.Is(err, ErrSource) {
				t.Error(err)
			}
			return
		}
		if again, err := ParseAccount(a.String()); err != nil || again != a {
			t.Errorf("%q is %+v, and %q is %+v, %v", text, a, a.String(), again, err)
		}
	})
}

// TestShown decodes names, and tells which belong to others.
func TestShown(t *testing.T) {
	courier := []space{{"INBOX.", true}, {"#shared.", false}, {"shared.", false}}
	cyrus := []space{{"INBOX.", true}, {"user.", false}, {"", false}}
	plain := []space{{"", true}}
	for _, test := range []struct {
		raw, delimiter string
		spaces         []space
		name           string
		foreign        bool
	}{
		{"INBOX", ".", courier, "INBOX", false},
		{"inbox", ".", courier, "INBOX", false},
		{"INBOX.Sent.2019", ".", courier, "Sent/2019", false},
		{"INBOX.INBOX", ".", courier, "INBOX/INBOX", false},
		{"shared.x", ".", courier, "shared/x", true},
		{"user.bruno", ".", cyrus, "user/bruno", true},
		{"anything", ".", cyrus, "anything", true},
		{"Perch&AOk- &- caff&AOg-", "/", plain, "Perché & caffè", false},
		{"&2D3eAA-", "/", plain, "😀", false},
		{"a&b", "/", plain, "a&b", false},
		{"&//-", "/", plain, "&//-", false},
		{"a/b", "", plain, "a/b", false},
		{"a.b/c", ".", plain, "a/b_c", false},
		{"caf\xe9", "/", plain, "caf_", false},
	} {
		if name, foreign := shown(test.raw, test.delimiter, test.spaces); name != test.name || foreign != test.foreign {
			t.Errorf("%q is %q, foreign %v; want %q, %v", test.raw, name, foreign, test.name, test.foreign)
		}
	}
}

// TestPublic tells addresses of the Internet from all others.
func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2a00:1450:4002::1": true, "127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "::1": false, "::": false, "fe80::1": false, "fd00::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false, "::7f00:1": false, "ff02::1": false, "2001:db8::1": false,
		"fe80::1%eth0": false, "::ffff:8.8.8.8": true,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	r := Reach{Public: true}
	if err := r.control("tcp4", "8.8.8.8:25", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("port 25: %v", err)
	}
	if err := r.control("tcp4", "8.8.8.8:993", nil); err != nil {
		t.Error(err)
	}
}

// TestBatches cuts lists by number and size, with large messages alone.
func TestBatches(t *testing.T) {
	var list []listed
	for i := range 450 {
		list = append(list, listed{uid: uint32(i + 1), size: 10})
	}
	list[100].size = alone + 1
	list[300].size, list[301].size, list[302].size, list[303].size, list[304].size = alone, alone, alone, alone, alone
	var sizes []int
	for _, b := range batches(list) {
		sizes = append(sizes, len(b))
	}
	if want := []int{100, 1, 200, 4, 145}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v, want %v", sizes, want)
	}
	if got := setOf([]uint32{1, 2, 3, 7, 9, 10}); got != "1:3,7,9:10" {
		t.Error(got)
	}
}

// TestTimeout has a server that says nothing: the command ends.
func TestTimeout(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	go io.Copy(io.Discard, server)
	c := newClient(newWire(client))
	if err := c.command(10*time.Millisecond, "NOOP", ""); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	client.Close()
}
