package rig

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Session is an SMTP or LMTP client that sends exactly what a test gives it, odd parameters included.
type Session struct {
	connection net.Conn
	reader     *bufio.Reader
}

// Dial connects ("tcp" or "unix"), reads the greeting and sends the greeting command, EHLO or LHLO.
func Dial(network, address, hello string) (*Session, error) {
	connection, err := net.DialTimeout(network, address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	connection.SetDeadline(time.Now().Add(60 * time.Second))
	s := &Session{connection: connection, reader: bufio.NewReader(connection)}
	reply, err := s.Reply()
	if err == nil && reply.Code == 220 {
		reply, err = s.Command("%s client.ext.test", hello)
	}
	if err == nil && reply.Code/100 != 2 {
		err = fmt.Errorf("greeted with %v", reply)
	}
	if err != nil {
		connection.Close()
		return nil, err
	}
	return s, nil
}

// Reply is one reply of the server.
type Reply struct {
	Code int
	Text string // of all lines, joined by line ends
}

// String is the reply as a transcript shows it.
func (r Reply) String() string { return strconv.Itoa(r.Code) + " " + r.Text }

// Reply reads the next reply.
func (s *Session) Reply() (Reply, error) {
	var texts []string
	for {
		line, err := s.reader.ReadString('\n')
		if err != nil {
			return Reply{}, err
		}
		line = strings.TrimRight(line, "\r\n")
		code, err := strconv.Atoi(line[:min(3, len(line))])
		if err != nil {
			return Reply{}, fmt.Errorf("not a reply: %q", line)
		}
		texts = append(texts, line[min(4, len(line)):])
		if len(line) < 4 || line[3] == ' ' {
			return Reply{Code: code, Text: strings.Join(texts, "\n")}, nil
		}
	}
}

// Command sends a line and reads the reply.
func (s *Session) Command(format string, arguments ...any) (Reply, error) {
	if _, err := fmt.Fprintf(s.connection, format+"\r\n", arguments...); err != nil {
		return Reply{}, err
	}
	return s.Reply()
}

// Login authenticates by AUTH PLAIN with Password.
func (s *Session) Login(user string) (Reply, error) {
	return s.Command("AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+Password)))
}

// Body sends the message, dot-stuffed, and the final dot. The message must end in CRLF. The caller reads the replies.
func (s *Session) Body(message []byte) error {
	stuffed := bytes.ReplaceAll(message, []byte("\r\n."), []byte("\r\n.."))
	if bytes.HasPrefix(stuffed, []byte(".")) {
		stuffed = append([]byte("."), stuffed...)
	}
	if _, err := s.connection.Write(stuffed); err != nil {
		return err
	}
	_, err := s.connection.Write([]byte(".\r\n"))
	return err
}

// Limit gives the session that much time from now. At the start it has a minute.
func (s *Session) Limit(limit time.Duration) { s.connection.SetDeadline(time.Now().Add(limit)) }

// Write sends bytes as they are.
func (s *Session) Write(text []byte) (int, error) { return s.connection.Write(text) }

// Close ends the session politely and waits for the answer.
func (s *Session) Close() {
	s.Command("QUIT")
	s.connection.Close()
}

// Break drops the connection.
func (s *Session) Break() { s.connection.Close() }

// Mail is one message on its way into a server.
type Mail struct {
	Login   string   // authenticate as this user first, where not empty
	From    string   // the argument of MAIL FROM without the brackets
	To      []string // the arguments of RCPT TO; Send puts those without brackets into brackets
	Message []byte   // with CRLF
}

// Send sends a mail by SMTP and fails the test unless everything is accepted.
func Send(t testing.TB, address string, mail Mail) {
	t.Helper()
	s, err := Dial("tcp", address, "EHLO")
	if err != nil {
		t.Fatalf("connecting to %s: %v", address, err)
	}
	defer s.Close()
	if mail.Login != "" {
		s.expect(t, 235)(s.Login(mail.Login))
	}
	s.expect(t, 250)(s.Command("MAIL FROM:<%s>", mail.From))
	for _, to := range mail.To {
		s.expect(t, 250)(s.Command("RCPT TO:%s", bracketed(to)))
	}
	s.expect(t, 354)(s.Command("DATA"))
	if err := s.Body(mail.Message); err != nil {
		t.Fatal(err)
	}
	s.expect(t, 250)(s.Reply())
}

// bracketed puts an address into brackets unless it has them.
func bracketed(address string) string {
	if strings.HasPrefix(address, "<") {
		return address
	}
	return "<" + address + ">"
}

func (s *Session) expect(t testing.TB, code int) func(Reply, error) {
	return func(reply Reply, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if reply.Code != code {
			t.Fatalf("answered %v, expected %d", reply, code)
		}
	}
}

// Deliver sends a mail by LMTP and returns the final reply for each recipient: that to RCPT if it was refused there, or else the one after the
// dot. An error means that some recipients got no final reply; their replies are zero.
func Deliver(network, address string, mail Mail) ([]Reply, error) {
	s, err := Dial(network, address, "LHLO")
	if err != nil {
		return nil, err
	}
	defer s.Break()
	if reply, err := s.Command("MAIL FROM:<%s>", mail.From); err != nil || reply.Code != 250 {
		return nil, fmt.Errorf("MAIL: %v %v", reply, err)
	}
	replies := make([]Reply, len(mail.To))
	var accepted []int
	for i, to := range mail.To {
		reply, err := s.Command("RCPT TO:%s", bracketed(to))
		if err != nil {
			return replies, err
		}
		if reply.Code == 250 {
			accepted = append(accepted, i)
		} else {
			replies[i] = reply
		}
	}
	if len(accepted) == 0 {
		return replies, nil
	}
	if reply, err := s.Command("DATA"); err != nil || reply.Code != 354 {
		return replies, fmt.Errorf("DATA: %v %v", reply, err)
	}
	if err := s.Body(mail.Message); err != nil {
		return replies, err
	}
	for _, i := range accepted {
		reply, err := s.Reply()
		if err != nil {
			return replies, err
		}
		replies[i] = reply
	}
	s.Command("QUIT")
	return replies, nil
}
