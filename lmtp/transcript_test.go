package lmtp

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
)

// Each file in testdata/transcripts is one case. Its first lines, after "#", say what it is about. Then come, in the order of time:
//
//	set KEY VALUE        how the hook is configured; these lines come first:
//	                     direction (received, sent), origin (of policy.Config), max-size, max-recipients, on-journal-error, identity
//	                     (login, mail-from), next-hop (smtp, lmtp: instead of the direction's usual), domain (with its own next hop:
//	                     H>DOMAIN> and H<DOMAIN> below)
//	P: enable MAILBOX    the archive of a mailbox, or disable; hold: a legal hold on it; hand-over: to another person
//	P: rename OLD NEW    a mailbox gets another address
//	C: LINE              what the client says, CRLF added. All C lines up to the next line of another kind are sent at once
//	C+ "TEXT"            the same as a Go string: any bytes, nothing added
//	C* N "TEXT"          N times that
//	C! close, connect    the client breaks off, or comes again
//	S: LINE              one line of a reply of the hook; "(id)" stands for a transaction id
//	S! closed            the hook closes the connection
//	H> KEY VALUE         what the next hop does from now on: greeting, hello, keywords, mail, data (with a reply), rcpt, final (with an
//	                     address, or - by SMTP, and replies), die (with a stage and on how many connections, 0 for all)
//	J! fail, heal        the disk of the journal fails, or works again
//
// After the client has gone and the hook has stopped, H< lines say what the next hop saw, connection by connection: its commands except
// QUIT, and the messages that came with their dot, with all their recipients. J: lines say what the journal holds. These end the file.
// "go test -run Transcripts -update" rewrites the texts of S and all H< and J: lines; the codes of S must match even then.
// Every case also ends with a clean Verify, no goroutine left, and the same bytes at the next hop and in the journal.
var update = flag.Bool("update", false, "write what came into the transcripts")

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			came := runTranscript(t, string(text))
			if *update && !t.Failed() {
				if err := os.WriteFile(file, []byte(came), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if came != string(text) {
				t.Errorf("came:\n%s", came)
			}
		})
	}
}

// transcript is one case under way.
type transcript struct {
	t       *testing.T
	rig     *rig
	client  net.Conn
	in      *bufio.Reader
	send    []byte
	scripts map[string]*nexthoptest.Script // by domain; "" is the next hop of all others
	came    strings.Builder
}

func runTranscript(t *testing.T, text string) string {
	t.Helper()
	c := &transcript{t: t, scripts: map[string]*nexthoptest.Script{"": {}}}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	// outcome writes these lines anew.
	for i, l := range lines {
		if strings.HasPrefix(l, "H<") || strings.HasPrefix(l, "H:") || strings.HasPrefix(l, "J: ") {
			lines = lines[:i]
			break
		}
	}
	options, rest := c.settings(lines)
	c.rig = newRig(t, options)
	c.connect()
	for _, l := range rest {
		if len(c.send) > 0 && !strings.HasPrefix(l, "C: ") && !strings.HasPrefix(l, "C+") && !strings.HasPrefix(l, "C*") {
			c.flush()
		}
		c.came.WriteString(c.line(l) + "\n")
		if t.Failed() {
			break
		}
	}
	c.flush()
	c.leave()
	c.rig.stop()
	c.outcome()
	return c.came.String()
}

// settings reads the comments and settings at the start, and returns the lines after them.
func (c *transcript) settings(lines []string) (o rigOptions, rest []string) {
	var change []func(*Config)
	for i, l := range lines {
		key, value, _ := strings.Cut(strings.TrimPrefix(l, "set "), " ")
		number, _ := strconv.Atoi(value)
		switch {
		case strings.HasPrefix(l, "#"):
		case !strings.HasPrefix(l, "set "):
			rest = lines[i:]
			o.script = *c.scripts[""]
			o.config = func(config *Config) {
				for _, f := range change {
					f(config)
				}
			}
			return o, rest
		case key == "direction" && value == "sent":
			o.direction = journal.Sent
			c.scripts[""].SMTP = true
			change = append(change, func(config *Config) { config.Origin = OriginHeader{Name: "X-Copialettere-Login"} })
		case key == "origin":
			o.origin = policy.OriginSource(value)
			change = append(change, func(config *Config) { config.Origin = OriginHeader{Name: "X-Original-To", First: true} })
		case key == "max-size":
			change = append(change, func(config *Config) { config.MaxMessageSize = int64(number) })
		case key == "max-recipients":
			change = append(change, func(config *Config) { config.MaxRecipients = number })
		case key == "on-journal-error":
			change = append(change, func(config *Config) { config.DeliverOnJournalError = value == "deliver" })
		case key == "next-hop":
			c.scripts[""].SMTP = value == "smtp"
		case key == "identity":
			change = append(change, func(config *Config) { config.SentByMailFrom = value == "mail-from" })
		case key == "domain":
			if o.domains == nil {
				o.domains = make(map[string]nexthoptest.Script)
			}
			o.domains[value] = nexthoptest.Script{}
			c.scripts[value] = new(nexthoptest.Script)
		default:
			c.t.Fatalf("bad line %q", l)
		}
		c.came.WriteString(l + "\n")
	}
	c.t.Fatal("nothing happens")
	return o, nil
}

// line does what one line says, and returns the line as it really came.
func (c *transcript) line(l string) string {
	kind, rest, _ := strings.Cut(l, " ")
	switch {
	case l == "" || l[0] == '#':
	case kind == "P:":
		verb, mailbox, _ := strings.Cut(rest, " ")
		switch verb {
		case "hold":
			c.rig.hold(mailbox)
		case "rename", "hand-over":
			c.changeHands(strings.Fields(mailbox))
		default:
			c.rig.setArchive(mailbox, verb == "enable")
		}
	case kind == "C:" || l == "C:":
		c.send = append(append(c.send, rest...), "\r\n"...)
	case kind == "C+":
		c.send = append(c.send, c.unquote(rest)...)
	case kind == "C*":
		n, text, _ := strings.Cut(rest, " ")
		times, err := strconv.Atoi(n)
		if err != nil {
			c.t.Fatalf("bad line %q", l)
		}
		c.send = append(c.send, strings.Repeat(c.unquote(text), times)...)
	case l == "C! close":
		c.client.Close()
	case l == "C! connect":
		c.connect()
	case kind == "S:":
		return "S: " + c.answer(rest)
	case l == "S! closed":
		if line, err := c.in.ReadString('\n'); err == nil {
			c.t.Fatalf("want the connection closed, got %q", line)
		}
	case kind == "H>" || strings.HasPrefix(l, "H>"):
		c.script(strings.TrimPrefix(kind, "H>"), rest)
	case l == "J! fail":
		c.rig.disk.failing.Store(true)
	case l == "J! heal":
		c.rig.heal()
	default:
		c.t.Fatalf("bad line %q", l)
	}
	return l
}

// changeHands gives a mailbox another address, or hands it over if there is none.
func (c *transcript) changeHands(addresses []string) {
	var list []policy.Address
	for _, text := range addresses {
		a, err := policy.ParseAddress(text)
		if err != nil {
			c.t.Fatal(err)
		}
		list = append(list, a)
	}
	operator := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	var err error
	if len(list) > 1 {
		_, err = c.rig.policy.Rename(context.Background(), list[0], list[1], operator)
	} else {
		_, err = c.rig.policy.HandOver(context.Background(), list[0], operator, list[0].String())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *transcript) unquote(s string) string {
	text, err := strconv.Unquote(s)
	if err != nil {
		c.t.Fatalf("bad string %s", s)
	}
	return text
}

func (c *transcript) connect() {
	c.client = c.rig.dial()
	c.in = bufio.NewReader(c.client)
	c.t.Cleanup(func() { c.client.Close() })
}

// flush sends the C lines gathered so far. It ignores errors: if the hook has closed the connection, the next S line shows it.
func (c *transcript) flush() {
	c.client.Write(c.send)
	c.send = nil
}

// answer reads one line of a reply, and checks its code.
func (c *transcript) answer(want string) string {
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("want %q: %v", want, err)
	}
	line = maskIDs(strings.TrimSuffix(line, "\r\n"))
	if len(want) < 3 || !strings.HasPrefix(line, want[:3]) {
		c.t.Fatalf("want %q, got %q", want, line)
	}
	return line
}

var transactionID = regexp.MustCompile(`\([A-Z2-7]{13}\)`)

func maskIDs(s string) string { return transactionID.ReplaceAllString(s, "(id)") }

// script changes what a next hop does.
func (c *transcript) script(domain, rest string) {
	domain = strings.Trim(domain, "<>")
	s := c.scripts[domain]
	if s == nil {
		c.t.Fatalf("no next hop of %q", domain)
	}
	key, value, _ := strings.Cut(rest, " ")
	value = strings.ReplaceAll(value, `\n`, "\n")
	switch key {
	case "greeting":
		s.Greeting = value
	case "hello":
		s.Hello = value
	case "keywords":
		s.Keywords = strings.Split(value, ",")
	case "mail":
		s.Mail = value
	case "data":
		s.Data = value
	case "rcpt", "final":
		replies := &s.Rcpt
		if key == "final" {
			replies = &s.Final
		}
		if *replies == nil {
			*replies = make(map[string][]string)
		}
		address, reply, _ := strings.Cut(value, " ")
		(*replies)[strings.TrimPrefix(address, "-")] = strings.Split(reply, " | ")
	case "die":
		stage, times, _ := strings.Cut(value, " ")
		stages := map[string]nexthoptest.Stage{
			"never": nexthoptest.Never, "greet": nexthoptest.Greet, "hello": nexthoptest.Hello, "mail": nexthoptest.Mail,
			"rcpt": nexthoptest.Rcpt, "data": nexthoptest.Data, "body": nexthoptest.Body, "dot": nexthoptest.Dot,
			"replied": nexthoptest.Replied,
		}
		var ok bool
		if s.Die, ok = stages[stage]; !ok {
			c.t.Fatalf("no stage %q", stage)
		}
		s.Deaths, _ = strconv.Atoi(times)
	default:
		c.t.Fatalf("no script for %q", key)
	}
	hop := c.rig.hop
	if domain != "" {
		hop = c.rig.domains[domain]
	}
	hop.SetScript(*s)
}

// leave ends the client's side, and checks that the hook said nothing that no line expects.
func (c *transcript) leave() {
	if nc, ok := c.client.(*net.TCPConn); ok {
		nc.CloseWrite()
	}
	if rest, _ := io.ReadAll(c.in); len(rest) > 0 {
		c.t.Errorf("the hook also said %q", rest)
	}
	c.client.Close()
}

// outcome writes what the next hops saw and what the journal holds.
func (c *transcript) outcome() {
	var delivered [][]byte
	for _, domain := range slices.Sorted(func(yield func(string) bool) {
		for domain := range c.scripts {
			if !yield(domain) {
				return
			}
		}
	}) {
		hop, name := c.rig.hop, "H<"
		if domain != "" {
			hop, name = c.rig.domains[domain], "H<"+domain+">"
		}
		for i, connection := range closedConnections(hop) {
			if i > 0 {
				fmt.Fprintln(&c.came, name, "(next connection)")
			}
			for _, command := range connection.Commands {
				if command != "QUIT" {
					fmt.Fprintln(&c.came, name, command)
				}
			}
			for _, m := range connection.Messages {
				delivered = append(delivered, m.Body)
				fmt.Fprintln(&c.came, name, "message from", "<"+m.From+">", "to", m.Recipients, quoteBody(m.Body))
			}
		}
	}
	if c.rig.disk.failing.Load() {
		c.rig.heal()
	}
	c.rig.verify()
	if err := c.rig.journal.Unspool(context.Background()); err != nil {
		c.t.Error(err)
	}
	c.journalHolds(delivered)
}

// closedConnections returns what came to a next hop, once all its connections have ended.
func closedConnections(hop *nexthoptest.Server) []nexthoptest.Connection {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		list := hop.Connections()
		if !slices.ContainsFunc(list, func(c nexthoptest.Connection) bool { return !c.Closed }) || time.Now().After(deadline) {
			return list
		}
	}
}

func (c *transcript) journalHolds(delivered [][]byte) {
	for m, err := range c.rig.policy.Mailboxes(context.Background()) {
		if err != nil {
			c.t.Fatal(err)
		}
		if m.Address.Closed != "" {
			m.Address.Closed = "DAY"
		}
		mailbox := m.Address.String()
		for _, e := range c.rig.entries(m.Archive) {
			body := c.rig.body(e)
			if e.State == journal.Delivered && !slices.ContainsFunc(delivered, func(b []byte) bool { return bytes.Equal(b, body) }) {
				c.t.Errorf("%s %s %d: the next hop has no message with the bytes of the journal", mailbox, e.Folder, e.UID)
			}
			fmt.Fprintf(&c.came, "J: entry %s %s %d %s from=<%s>", mailbox, e.Folder, e.UID, e.State, e.MailFrom)
			c.more("rcpt", e.RcptTo, "orcpt", e.ORCPT, "to", strings.Join(e.Recipients, ","), "flags", strings.Join(e.Flags, ","),
				"queue", e.QueueID, "peer", strings.Trim(strings.Join([]string{e.Peer.Name, e.Peer.Addr, e.Peer.Helo}, " "), " "))
			fmt.Fprintln(&c.came, "", quoteBody(body))
		}
		for r, err := range c.rig.journal.Records(context.Background(), m.Archive) {
			if err != nil {
				c.t.Fatal(err)
			}
			kind := map[journal.RecordKind]string{journal.Skip: "skip", journal.Gap: "gap"}[r.Kind]
			fmt.Fprintf(&c.came, "J: %s %s %s from=<%s>", kind, mailbox, r.Reason, r.MailFrom)
			c.more("rcpt", r.RcptTo, "orcpt", r.ORCPT, "detail", r.Detail, "message-id", r.MessageID)
			fmt.Fprintln(&c.came)
		}
	}
}

// more writes the pairs whose value is not empty.
func (c *transcript) more(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&c.came, " %s=%s", pairs[i], maskIDs(pairs[i+1]))
		}
	}
}

// quoteBody returns a message in the form of a transcript.
func quoteBody(b []byte) string {
	if len(b) > 400 {
		return fmt.Sprintf("%d bytes", len(b))
	}
	return strconv.Quote(string(b))
}
