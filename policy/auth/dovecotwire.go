package auth

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"copialettere/policy"
)

// The protocol between Dovecot's auth process and its clients, version 1: doc.dovecot.org, "Dovecot Authentication Protocol". 2.3 and 2.4 both take
// requests of minor version 1. Lines end with LF, fields are separated by TAB, and escaped as by escapeField.

// errBroken means that a connection to Dovecot has ended.
var errBroken = errors.New("the connection to Dovecot was closed")

const (
	maxAuthLine      = 16 << 10 // bytes of one line from Dovecot
	maxAuthHandshake = 200      // lines before DONE
)

// authConnection is one connection to Dovecot's auth process. Its methods may be called concurrently.
type authConnection struct {
	conn net.Conn
	in   *bufio.Reader // of the goroutine that runs read

	mu      sync.Mutex
	last    uint32                     // the newest request
	waiting map[uint32]chan authAnswer // by request; nil once the connection is broken
	cause   error                      // why it is broken
	retired bool                       // takes no more requests, and ends with the last answer
	life    *time.Timer                // until it is retired
}

// authAnswer is an answer to a request.
type authAnswer struct {
	ok     bool
	fields map[string]string // by name; "" for a field without a value
	err    error             // if the connection broke before
}

// dialAuth connects to Dovecot and greets it. The connection is retired when its life is over.
func dialAuth(ctx context.Context, s Source, life time.Duration) (*authConnection, error) {
	ctx, cancel := context.WithTimeout(ctx, dovecotConnect)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, s.Network, s.Address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	c := &authConnection{conn: conn, in: bufio.NewReaderSize(conn, maxAuthLine), waiting: make(map[uint32]chan authAnswer)}
	if err := c.greet(); err != nil {
		return nil, errors.Join(fmt.Errorf("greeting of Dovecot's auth process: %w", err), conn.Close())
	}
	conn.SetDeadline(time.Time{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life = time.AfterFunc(life, c.retire)
	return c, nil
}

// greet does the handshake.
func (c *authConnection) greet() error {
	// Dovecot refuses a second client with the same process id. Ids of several machines and containers can be equal, so this is a random one.
	var id [4]byte
	rand.Read(id[:])
	if _, err := fmt.Fprintf(c.conn, "VERSION\t1\t1\nCPID\t%d\n", binary.BigEndian.Uint32(id[:])>>1|1); err != nil {
		return err
	}
	version, plain := false, false
	for range maxAuthHandshake {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		switch field := strings.Split(line, "\t"); {
		case field[0] == "VERSION" && len(field) > 1:
			if field[1] != "1" {
				return fmt.Errorf("it speaks version %.20q of the protocol, and we speak 1", field[1])
			}
			version = true
		case field[0] == "MECH" && len(field) > 1 && field[1] == "PLAIN":
			plain = true
		case field[0] == "DONE" && !version:
			return errors.New("it told no version: is this the socket of an auth client?")
		case field[0] == "DONE" && !plain:
			return errors.New("it does not take PLAIN: add plain to auth_mechanisms of Dovecot")
		case field[0] == "DONE":
			return nil
		}
	}
	return errors.New("the handshake does not end")
}

// readLine returns the next line without its end.
func (c *authConnection) readLine() (string, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return string(line[:len(line)-1]), nil
}

// read hands answers to those who wait for them, until the connection ends.
func (c *authConnection) read() {
	for {
		line, err := c.readLine()
		if err != nil {
			c.fail(errBroken)
			return
		}
		id, answer, ok := parseAnswer(line)
		if !ok {
			continue
		}
		c.mu.Lock()
		waits := c.waiting[id]
		delete(c.waiting, id)
		done := c.retired && len(c.waiting) == 0
		c.mu.Unlock()
		if waits != nil {
			waits <- answer
		}
		if done {
			c.fail(errBroken)
		}
	}
}

// retire lets no more requests in.
func (c *authConnection) retire() {
	c.mu.Lock()
	c.retired = true
	done := len(c.waiting) == 0
	c.mu.Unlock()
	if done {
		c.fail(errBroken)
	}
}

// fail breaks the connection for all who wait.
func (c *authConnection) fail(cause error) {
	c.mu.Lock()
	waiting := c.waiting
	if waiting != nil {
		c.waiting, c.cause = nil, cause
	}
	c.life.Stop()
	c.mu.Unlock()
	c.conn.Close()
	for _, waits := range waiting {
		waits <- authAnswer{err: cause}
	}
}

// takes reports whether the connection takes requests.
func (c *authConnection) takes() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting != nil && !c.retired
}

// ask sends a login, and waits for the answer.
func (c *authConnection) ask(ctx context.Context, try Attempt, login policy.Address) (authAnswer, error) {
	answer := make(chan authAnswer, 1)
	if err := c.send(answer, try, login); err != nil {
		return authAnswer{}, err
	}
	select {
	case a := <-answer:
		return a, a.err
	case <-ctx.Done():
		return authAnswer{}, ctx.Err()
	}
}

// send writes the request of a login, whose answer goes to a channel with room for it.
func (c *authConnection) send(answer chan authAnswer, try Attempt, login policy.Address) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.waiting == nil:
		return c.cause
	case c.retired:
		return errBroken
	}
	c.last++
	c.waiting[c.last] = answer
	c.conn.SetWriteDeadline(time.Now().Add(dovecotAnswer))
	if _, err := c.conn.Write(authRequest(c.last, try, login)); err != nil {
		delete(c.waiting, c.last)
		c.conn.Close() // a request may be cut; read tells the others
		return errBroken
	}
	return nil
}

// authRequest returns the line that asks about a login. A page sends no address of the client: Dovecot would count the failures of all pages
// against one, and could not tell a page from a mail program.
func authRequest(id uint32, try Attempt, login policy.Address) []byte {
	service := "service=imap"
	remote := ""
	if try.Protocol == ProtocolWeb {
		service = "service=copialettere"
	} else if try.Remote.IsValid() {
		remote = "\trip=" + escapeField(try.Remote.Unmap().WithZone("").String())
	}
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + login.String() + "\x00" + try.Password))
	// resp comes last, as the protocol demands.
	return fmt.Appendf(nil, "AUTH\t%d\tPLAIN\t%s\tsecured\tno-penalty\tnologin%s\tresp=%s\n", id, service, remote, response)
}

// parseAnswer reads OK, FAIL or CONT, with the number of the request. Other lines are none.
func parseAnswer(line string) (id uint32, a authAnswer, ok bool) {
	field := strings.Split(line, "\t")
	if len(field) < 2 {
		return 0, authAnswer{}, false
	}
	number, err := strconv.ParseUint(field[1], 10, 32)
	if err != nil {
		return 0, authAnswer{}, false
	}
	switch field[0] {
	case "OK":
		a.ok = true
	case "FAIL":
	case "CONT":
		a.err = errors.New("the answer asks for more than PLAIN has")
	default:
		return 0, authAnswer{}, false
	}
	a.fields = make(map[string]string)
	for _, f := range field[2:] {
		name, value, _ := strings.Cut(f, "=")
		a.fields[unescapeField(name)] = unescapeField(value)
	}
	return uint32(number), a, true
}

// result returns the address that Dovecot knows the login by.
func (a authAnswer) result(login policy.Address) (policy.Address, error) {
	if a.ok {
		if user, err := policy.ParseAddress(a.fields["user"]); err == nil && user.Domain != "" {
			return user, nil
		}
		return login, nil // Dovecot knows it without a domain
	}
	if _, temporary := a.fields["temp"]; temporary || a.fields["code"] == "temp_fail" {
		return policy.Address{}, fmt.Errorf("%w: Dovecot reports an internal failure: see its log", ErrUnavailable)
	}
	return policy.Address{}, ErrDenied
}

var (
	fieldEscaper   = strings.NewReplacer("\x01", "\x011", "\x00", "\x010", "\t", "\x01t", "\n", "\x01n", "\r", "\x01r")
	fieldUnescaper = strings.NewReplacer("\x011", "\x01", "\x010", "\x00", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r")
)

func escapeField(s string) string { return fieldEscaper.Replace(s) }

func unescapeField(s string) string { return fieldUnescaper.Replace(s) }
