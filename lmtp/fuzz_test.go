package lmtp

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// referenceBody does byte by byte what bodyReader must do. It returns the message, un-stuffed and with CRLF line ends, and the bytes after
// its dot; ok reports whether there was one.
func referenceBody(wire []byte) (message, rest []byte, ok bool) {
	start := true // after a CRLF, or at the first byte
	for i := 0; i < len(wire); i++ {
		if start && wire[i] == '.' {
			if bytes.HasPrefix(wire[i:], []byte(".\r\n")) {
				return message, wire[i+3:], true
			}
			if i++; i == len(wire) {
				break
			}
		}
		start = false
		switch {
		case wire[i] != '\n':
			message = append(message, wire[i])
		case i > 0 && wire[i-1] == '\r':
			message, start = append(message, '\n'), true
		default:
			message = append(message, "\r\n"...)
		}
	}
	return message, nil, false
}

// cutReader reads in pieces. The bytes of cuts, over and over, are their lengths.
type cutReader struct {
	data []byte
	cuts []byte
	n    int
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(r.data))
	if len(r.cuts) > 0 {
		n = min(n, int(r.cuts[r.n%len(r.cuts)])+1)
		r.n++
	}
	copy(p, r.data[:n])
	r.data = r.data[n:]
	return n, nil
}

// bodies are messages on the wire with odd line ends and dots.
var bodies = []string{
	".\r\n", "a\r\n.\r\n", "a\r\n.\r\nQUIT\r\n", "..\r\n.\r\n", ".a\r\n..b\r\n.\r\n", "a\n.\nb\r\n.\r\n", "a\n.\r\nb\r\n.\r\n",
	"a\r.\r\nb\r\n.\r\n",
	"a\r\n.\rb\r\n.\r\n", "a\r\n.\nb\r\n.\r\n", "\n\n\r\n\n.\r\n\r\n.\r\n", "\r\r\n.\r\r\n.\r\n", "a\r\n\n.\r\n.\r\n", "\r\n.", "\r\n.\r", "a", "",
	"\x00\xff\r\n.\r\n", "\r", "\r\n\r\n.\r\n.\r\n", ".\n.\r\n", ".\r.\r\n\r\n.\r\n",
}

func FuzzBodyReader(f *testing.F) {
	for i, b := range bodies {
		f.Add([]byte(b), []byte{})
		f.Add([]byte(b), []byte{0})
		f.Add([]byte(strings.Repeat("text of a line\r\n", i)+b), []byte{byte(i), 1, 0})
	}
	f.Fuzz(func(t *testing.T, wire, cuts []byte) {
		want, rest, ok := referenceBody(wire)
		in := bufio.NewReaderSize(&cutReader{data: wire, cuts: cuts}, 16)
		b := &bodyReader{r: in}
		var got []byte
		for {
			p, err := b.next()
			if err != nil {
				if complete := err == io.EOF; complete != ok {
					t.Fatalf("ended with %v, complete: %t", err, ok)
				} else if !complete && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
			if len(p) == 0 {
				t.Fatal("no bytes and no end")
			}
			got = append(got, p...)
		}
		if !ok {
			// The reader may hold back the last bytes of a message without a dot.
			if !bytes.HasPrefix(want, got) {
				t.Fatalf("got %q of %q", got, want)
			}
			return
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		if after, _ := io.ReadAll(in); !bytes.Equal(after, rest) {
			t.Fatalf("after the dot %q, want %q", after, rest)
		}
	})
}

func TestBodyReaderError(t *testing.T) {
	broken := errors.New("broken")
	b := &bodyReader{r: bufio.NewReader(io.MultiReader(strings.NewReader("text\r\n."), iotest.ErrReader(broken)))}
	p, err := b.next()
	if string(p) != "text\r\n" || err != nil {
		t.Errorf("got %q, %v", p, err)
	}
	if _, err := b.next(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"<>", "<a@b.test>", " <a@b.test> SIZE=1 BODY=8BITMIME", "a@b.test SIZE=1", `<"a b"@c.test> X`, `<"a>\"b"@c.test>`, "<@r.test:a@b.test>",
		`<"open@b.test> X=y`, "<a<b>", "<a@b.test", "", " ", "<\x00>", "<a@b.test>SIZE=1\tX", "<@r.test>", `<"> "x`,
		"<j\u00fcrgen@\u00e9.test> ORCPT=utf-8;a\u00a0b", `<a\>b@c.test>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseArgument(s)
		if err != nil {
			if !errors.Is(err, errSyntax) {
				t.Fatal(err)
			}
			return
		}
		line := "<" + p.address + ">"
		for _, v := range p.params {
			if v == "" || strings.ContainsAny(v, " \t") {
				t.Fatalf("parameter %q of %q", v, s)
			}
			line += " " + v
		}
		if strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("%q would split the command: %q", s, line)
		}
		if !strings.Contains(s, p.address) {
			t.Fatalf("address %q is not in %q", p.address, s)
		}
		// A second hook reads the same address from what the first one hands on, unless no server takes such a path.
		whole := closingBracket("<"+p.address+">") == len(p.address)+1 && !strings.HasPrefix(p.address, "@")
		if again, err := parseArgument(line); err == nil && whole && again.address != p.address {
			t.Fatalf("%q handed on is %q", p.address, again.address)
		}
	})
}

func FuzzXForward(f *testing.F) {
	for _, s := range []string{
		"NAME=mail.ext.test ADDR=192.0.2.7 PORT=4242", "PROTO=ESMTP HELO=a+20b IDENT=5 SOURCE=REMOTE", "NAME=[UNAVAILABLE]", "",
		"NAME", "LOGIN=x", "name=+0A+", "ADDR==", "HELO=+C3+BC",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x := xforward{"NAME": "before"}
		if err := x.parse(s); err != nil {
			if !errors.Is(err, errSyntax) || len(x) != 1 || x["NAME"] != "before" {
				t.Fatalf("%v, %q", err, x)
			}
			return
		}
		attributes := x.attributes()
		again := make(xforward)
		if err := again.parse(strings.Join(attributes, " ")); err != nil {
			t.Fatalf("%q: %v", attributes, err)
		}
		for key, value := range x {
			if again[key] != value && !hasControl(value) {
				t.Fatalf("%s handed on as %q, want %q", key, again[key], value)
			}
		}
		if strings.ContainsAny(strings.Join(attributes, " "), "\r\n\x00") {
			t.Fatalf("control characters in %q", attributes)
		}
	})
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// referenceHead does with a whole message what headFilter must do.
func referenceHead(message string, header OriginHeader) (value string, found bool, rest string) {
	rest = message
	for at := 0; at < len(message); {
		end := at
		for {
			n := strings.IndexByte(message[end:], '\n')
			if n < 0 {
				return "", false, rest
			}
			if end += n + 1; end == len(message) || message[end] != ' ' && message[end] != '\t' {
				break
			}
		}
		name, text, ok := strings.Cut(message[at:end], ":")
		switch {
		case !ok || strings.TrimRight(message[at:at+strings.IndexByte(message[at:], '\n')], "\r") == "":
			return "", false, rest
		case strings.EqualFold(name, header.Name):
			return strings.Join(strings.Fields(text), " "), true, message[:at] + message[end:]
		case header.First || strings.EqualFold(name, "Received"):
			return "", false, rest
		}
		at = end
	}
	return "", false, rest
}

func FuzzHeadFilter(f *testing.F) {
	for i, s := range []string{
		"X-Login: anna\r\nReceived: x\r\n\r\ntext\r\n", "A: b\r\nX-LOGIN:\r\n anna\r\n\tb\r\nReceived: x\r\n", "Received: x\r\nX-Login: anna\r\n",
		"", "\r\nX-Login: a\r\n",
		"no colon\r\nX-Login: a\r\n", "X-Login: a\r\n", "X-Login\r\n", ": x\r\nX-Login: a\r\n", "A: b\r\n\r\nX-Login: a\r\n",
		"X-Login: a\r\nX-Login: b\r\n\r\n",
	} {
		f.Add(s, []byte{byte(i)}, i%2 == 0)
		f.Add(s, []byte{}, i%2 == 1)
	}
	f.Fuzz(func(t *testing.T, s string, cuts []byte, first bool) {
		// bodyReader comes first: all line ends are CRLF, the last one too.
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
		if s != "" && !strings.HasSuffix(s, "\r\n") {
			s += "\r\n"
		}
		if len(s) > maxHead {
			return
		}
		h := headFilter{header: OriginHeader{Name: "X-Login", First: first}}
		value, found, rest := referenceHead(s, h.header)
		var got []byte
		for r := (&cutReader{data: []byte(s), cuts: cuts}); ; {
			p := make([]byte, 64)
			n, err := r.Read(p)
			if err != nil {
				break
			}
			got = append(got, h.take(p[:n])...)
		}
		got = append(got, h.rest()...)
		if string(got) != rest || h.found != found || h.value != value {
			t.Fatalf("got %q, %t, %q; want %q, %t, %q", got, h.found, h.value, rest, found, value)
		}
	})
}

// A message whose header does not end within maxHead goes on as it is, and in bounded time, however small its pieces.
func TestHeadFilterLimit(t *testing.T) {
	h := headFilter{header: OriginHeader{Name: "X-Login"}}
	sent, got := 0, 0
	for range 2 * maxHead / len("\r\n ") {
		sent += len("\r\n ")
		got += len(h.take([]byte("\r\n ")))
	}
	if got += len(h.rest()); got != sent || h.found {
		t.Errorf("%d of %d bytes, found: %t", got, sent, h.found)
	}
	h = headFilter{header: OriginHeader{Name: "X-Login"}}
	sent, got = 0, 0
	for range maxHead {
		sent += len("a: b\r\n")
		got += len(h.take([]byte("a: b\r\n")))
	}
	if got += len(h.rest()); got != sent || h.found {
		t.Errorf("%d of %d bytes, found: %t", got, sent, h.found)
	}
}

// FuzzDialogue: whatever a client says, nothing panics, and each message that the next hop gets is one that the client sent, and is in the
// journal with the same bytes.
func FuzzDialogue(f *testing.F) {
	const envelope = "LHLO mx.test\r\n" + "MAIL FROM:<ext@ext.test>\r\nRCPT TO:<anna@alpha.test>\r\nDATA\r\n"
	for i, b := range bodies {
		f.Add([]byte(envelope+b), []byte{byte(7 * i)})
		f.Add([]byte(envelope+b+"MAIL FROM:<>\r\nRCPT TO:<anna@alpha.test>\r\nRCPT TO:<anna@alpha.test>\r\nDATA\r\n"+b+"QUIT\r\n"), []byte{})
	}
	for _, s := range []string{
		"QUIT\r\n", "\r\n\r\n", "LHLO\r\nLHLO a\r\nRSET\r\nNOOP\r\nVRFY\r\nAUTH PLAIN x\r\nSTARTTLS\r\n", "BDAT 5 LAST\r\nhello",
		"LHLO a\r\nBDAT 5\r\nhello",
		"LHLO a\r\nXFORWARD NAME=x\r\nMAIL FROM:<a@b.test> SIZE=99999999999\r\nRCPT TO:<>\r\nDATA x\r\n",
		"lhlo a\nmail from:<>\nrcpt to:<anna@alpha.test>\ndata\nx\r\n.\r\n",
		"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<anna@alpha.test>\r\nDATA\r\nx\r\n.\r\nRSET\r\n" +
			"LHLO b\r\nRCPT TO:<x>\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nDATA \r\n",
	} {
		f.Add([]byte(s), []byte{3})
	}
	// Without a source of origins nothing is skipped.
	shared := newRig(f, rigOptions{enable: anna, origin: policy.OriginNone, config: func(c *Config) { c.MaxConnections = 1000 }})
	f.Fuzz(func(t *testing.T, dialogue, cuts []byte) {
		r := *shared
		r.tb = t
		before := len(r.hop.Messages())
		nc, err := net.Dial(r.network, r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		read := make(chan []byte, 1)
		go func() {
			said, err := io.ReadAll(nc)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the hook waits for something")
			}
			read <- said
		}()
		in := &cutReader{data: dialogue, cuts: cuts}
		if len(cuts) == 0 || len(dialogue) > 4096 {
			in.cuts = nil
		}
		io.Copy(nc, struct{ io.Reader }{in})
		nc.(*net.TCPConn).CloseWrite()
		said := <-read
		checkReplies(t, said)
		for _, m := range r.hop.Messages()[before:] {
			if !sent(dialogue, m.Body) {
				t.Fatalf("the next hop got %q", m.Body)
			}
			if r.anyEnabled(m.Recipients) && !r.holds(anna[0], m.Body) {
				t.Fatalf("not in the journal: %q", m.Body)
			}
		}
	})
}

// checkReplies checks that the hook said nothing but replies, none of them from a panic.
func checkReplies(t *testing.T, said []byte) {
	t.Helper()
	for line := range strings.Lines(string(said)) {
		if len(line) < 6 || line[0] < '2' || line[0] > '5' || line[3] != ' ' && line[3] != '-' || !strings.HasSuffix(line, "\r\n") ||
			strings.Contains(line, "nternal") {
			t.Fatalf("the hook said %q", line)
		}
	}
}

// sent reports whether the dialogue holds a message, in wire form, at a place where one can begin.
func sent(dialogue, body []byte) bool {
	for at := 0; at <= len(dialogue); at++ {
		if at > 0 && dialogue[at-1] != '\n' {
			continue
		}
		if message, _, ok := referenceBody(dialogue[at:]); ok && bytes.Equal(message, body) {
			return true
		}
	}
	return false
}

func (r *rig) anyEnabled(recipients []string) bool {
	r.tb.Helper()
	return slices.ContainsFunc(recipients, func(address string) bool {
		v, err := r.policy.Wanted(r.tb.Context(), address)
		if err != nil {
			r.tb.Fatal(err)
		}
		return v.Enabled
	})
}

// holds reports whether a mailbox has a message with these bytes in the journal.
func (r *rig) holds(mailbox string, body []byte) bool {
	digest := journal.Digest(sha256.Sum256(body))
	return slices.ContainsFunc(r.entries(mailbox), func(e *journal.Entry) bool {
		return e.SHA256 == digest && bytes.Equal(r.body(e), body)
	})
}
