package pull

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// statusError is a command that the server refused.
type statusError struct {
	verb   string
	status string // NO or BAD
	text   string // what the server says, with its code
}

func (e *statusError) Error() string { return fmt.Sprintf("%s: %s %.300q", e.verb, e.status, e.text) }

// byeError is a connection that the server ended.
type byeError struct {
	text string // what the server said
	err  error
}

// Error implements error.
func (e *byeError) Error() string {
	return fmt.Sprintf("the server ended the connection: %.300q", e.text)
}

// Unwrap returns the error of the connection.
func (e *byeError) Unwrap() error { return e.err }

// Errors of signing in.
var (
	// ErrLogin says that the server refused user or password.
	ErrLogin = errors.New("the server does not let in")
	// ErrPlaintext says that a password would go over an open line.
	ErrPlaintext = errors.New("the password would go over an open line")
)

// client speaks IMAP4rev1 (RFC 3501) to a server, as far as a pull needs it: one command at a time. One goroutine uses it. After an error other than a
// *statusError it is of no more use.
type client struct {
	w         *wire
	number    int // of the last command
	caps      []string
	bye       string
	exists    uint32 // messages in the folder that is open
	expunged  int    // EXPUNGE and VANISHED responses since the folder was opened
	opened    opened
	fetchInto func(*fetched) error // what takes FETCH responses; nil where none was asked for
	listInto  func(attributes []any, delimiter, name string)
	stat      map[string]uint32 // of STATUS
	spaces    []any             // of NAMESPACE
	bodies    bodies
}

// opened is what the server said when a folder was opened.
type opened struct {
	uidValidity uint32
	uidNext     uint32 // 0 where it did not say
	readWrite   bool
	permanent   []string // flags that can be set for good; nil where it did not say
}

// fetched is one FETCH response.
type fetched struct {
	uid     uint32
	size    int64 // RFC822.SIZE; -1 where it is not in the response
	date    time.Time
	hasBody bool   // BODY[] is there, and no NIL
	body    []byte // where bodies is nil
	read    int64  // bytes of the body
}

// bodies takes the bytes of a body while they come. It is nil where they are to be collected; then at most keep bytes are.
type bodies struct {
	to   io.Writer
	keep int64
}

func newClient(w *wire) *client { return &client{w: w} }

// greet reads the greeting.
func (c *client) greet() (preauth bool, err error) {
	c.w.end = time.Now().Add(time.Minute)
	c.w.begin()
	if _, err := c.w.peekByte(); errors.Is(err, io.ErrUnexpectedEOF) {
		return false, errSilent
	}
	if err := c.w.expect('*'); err != nil {
		return false, fmt.Errorf("greeting: %w", err)
	}
	if err := c.w.blank(); err != nil {
		return false, fmt.Errorf("greeting: %w", err)
	}
	line, err := c.w.line()
	if err != nil {
		return false, fmt.Errorf("greeting: %w", err)
	}
	status, text, _ := strings.Cut(line, " ")
	switch strings.ToUpper(status) {
	case "OK", "PREAUTH":
		c.code(text)
		return strings.EqualFold(status, "PREAUTH"), nil
	case "BYE":
		return false, &byeError{text, io.ErrUnexpectedEOF}
	}
	return false, fmt.Errorf("greeting %.100q: %w", line, errProtocol)
}

// command sends a command and reads responses until it is answered. limit is how long that may take. The error is a *statusError for NO and BAD.
func (c *client) command(limit time.Duration, verb, arguments string) error {
	tag, err := c.send(limit, verb, arguments)
	if err != nil {
		return err
	}
	return c.await(tag, verb, nil)
}

func (c *client) send(limit time.Duration, verb, arguments string) (tag string, err error) {
	c.number++
	tag = "A" + strconv.Itoa(c.number)
	c.w.end = time.Now().Add(limit)
	line := tag + " " + verb
	if arguments != "" {
		line += " " + arguments
	}
	if err := c.w.write(line + "\r\n"); err != nil {
		return "", c.failed(verb, err)
	}
	return tag, nil
}

// await reads responses until the tagged one. goOn is called for a continuation request.
func (c *client) await(tag, verb string, goOn func() error) error {
	for {
		c.w.begin()
		first, err := c.w.peekByte()
		if err != nil {
			return c.failed(verb, err)
		}
		switch first {
		case '*':
			err = c.untagged()
		case '+':
			if _, err = c.w.line(); err == nil {
				if goOn == nil {
					err = fmt.Errorf("%w: it wants more where nothing is missing", errProtocol)
				} else {
					err = goOn()
				}
			}
		default:
			done, status, err := c.tagged(tag)
			switch {
			case err != nil:
				return c.failed(verb, err)
			case done && status == nil:
				return nil
			case done:
				status.verb = verb
				return status
			}
		}
		if err != nil {
			return c.failed(verb, err)
		}
	}
}

// failed wraps the error of a connection, with what the server said last.
func (c *client) failed(verb string, err error) error {
	var bye *byeError
	if c.bye != "" && !errors.As(err, &bye) {
		err = &byeError{c.bye, err}
	}
	return fmt.Errorf("%s: %w", verb, err)
}

func (c *client) tagged(tag string) (done bool, refused *statusError, err error) {
	line, err := c.w.line()
	if err != nil {
		return false, nil, err
	}
	got, rest, _ := strings.Cut(line, " ")
	status, text, _ := strings.Cut(rest, " ")
	if got != tag {
		return false, nil, fmt.Errorf("%w: %.100q", errProtocol, line)
	}
	switch status = strings.ToUpper(status); status {
	case "OK":
		c.code(text)
		return true, nil, nil
	case "NO", "BAD":
		return true, &statusError{status: status, text: text}, nil
	}
	return false, nil, fmt.Errorf("%w: %.100q", errProtocol, line)
}

// untagged reads one untagged response.
func (c *client) untagged() error {
	if err := c.w.expect('*'); err != nil {
		return err
	}
	if err := c.w.blank(); err != nil {
		return err
	}
	word, err := c.w.atom()
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(word, 10, 32); err == nil {
		return c.numbered(uint32(n))
	}
	switch strings.ToUpper(word) {
	case "OK", "NO", "BAD", "PREAUTH":
		text, err := c.w.line()
		c.code(strings.TrimPrefix(text, " "))
		return err
	case "BYE":
		text, err := c.w.line()
		if c.bye = strings.TrimPrefix(text, " "); c.bye == "" {
			c.bye = "BYE"
		}
		return err
	case "CAPABILITY":
		text, err := c.w.line()
		c.caps = strings.Fields(strings.ToUpper(text))
		return err
	case "LIST":
		return c.list()
	case "STATUS":
		return c.status()
	case "NAMESPACE":
		return c.namespace()
	case "VANISHED":
		c.expunged++
	}
	_, err = c.w.line()
	return err
}

// numbered reads a response that begins with a number.
func (c *client) numbered(n uint32) error {
	if err := c.w.blank(); err != nil {
		return err
	}
	word, err := c.w.atom()
	if err != nil {
		return err
	}
	switch strings.ToUpper(word) {
	case "EXISTS":
		c.exists = n
	case "EXPUNGE":
		c.expunged++
		if c.exists > 0 {
			c.exists--
		}
	case "FETCH":
		return c.fetch()
	}
	_, err = c.w.line()
	return err
}

// code takes note of the code in the text of a status response.
func (c *client) code(text string) {
	if !strings.HasPrefix(text, "[") {
		return
	}
	inside, _, ok := strings.Cut(text[1:], "]")
	if !ok {
		return
	}
	name, argument, _ := strings.Cut(inside, " ")
	number := func() uint32 {
		n, _ := strconv.ParseUint(strings.TrimSpace(argument), 10, 32)
		return uint32(n)
	}
	switch strings.ToUpper(name) {
	case "CAPABILITY":
		c.caps = strings.Fields(strings.ToUpper(argument))
	case "UIDVALIDITY":
		c.opened.uidValidity = number()
	case "UIDNEXT":
		c.opened.uidNext = number()
	case "READ-WRITE":
		c.opened.readWrite = true
	case "PERMANENTFLAGS":
		c.opened.permanent = strings.Fields(strings.ToLower(strings.Trim(argument, "()")))
		if c.opened.permanent == nil {
			c.opened.permanent = []string{}
		}
	}
}

func (c *client) has(capability string) bool { return slices.Contains(c.caps, capability) }

// capability asks what the server can, where it has not said so.
func (c *client) capability() error {
	if len(c.caps) > 0 {
		return nil
	}
	return c.command(time.Minute, "CAPABILITY", "")
}

// login signs in. open says that the line is neither encrypted nor within the machine.
func (c *client) login(user, password string, open bool) error {
	if err := c.capability(); err != nil {
		return err
	}
	if open {
		return ErrPlaintext
	}
	var err error
	switch {
	case c.has("AUTH=PLAIN"):
		err = c.authenticate(user, password)
	case c.has("LOGINDISABLED"):
		// It would be an error to send the password all the same (RFC 3501 section 6.2.3).
		return fmt.Errorf("%w: it takes no password on this line (LOGINDISABLED): use imaps:// or imap+starttls://", ErrLogin)
	default:
		if strings.ContainsAny(user+password, "\r\n\x00") {
			return fmt.Errorf("%w: a line end in user or password", ErrLogin)
		}
		err = c.commandWith(time.Minute, "LOGIN", user, password)
	}
	var refused *statusError
	if errors.As(err, &refused) && !busy(err) {
		return fmt.Errorf("%w: %s %.300q", ErrLogin, refused.status, refused.text)
	}
	if err != nil {
		return err
	}
	// They may be others once somebody is in.
	c.caps = nil
	return c.capability()
}

// authenticate signs in by PLAIN (RFC 4616), which takes every character.
func (c *client) authenticate(user, password string) error {
	answer := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	if c.has("SASL-IR") {
		return c.command(time.Minute, "AUTHENTICATE", "PLAIN "+answer)
	}
	tag, err := c.send(time.Minute, "AUTHENTICATE", "PLAIN")
	if err != nil {
		return err
	}
	asked := false
	return c.await(tag, "AUTHENTICATE", func() error {
		if asked {
			return fmt.Errorf("%w: it asks for the password twice", errProtocol)
		}
		asked = true
		return c.w.write(answer + "\r\n")
	})
}

// commandWith is command with arguments that are strings, which are sent as literals where quotes cannot hold them.
func (c *client) commandWith(limit time.Duration, verb string, arguments ...string) error {
	var pieces []string // each but the last ends with an announced literal
	text := ""
	for i, a := range arguments {
		if i > 0 {
			text += " "
		}
		if q, ok := quote(a); ok {
			text += q
			continue
		}
		pieces = append(pieces, fmt.Sprintf("%s{%d}", text, len(a)))
		text = a
	}
	pieces = append(pieces, text)
	tag, err := c.send(limit, verb, pieces[0])
	if err != nil {
		return err
	}
	next := 1
	return c.await(tag, verb, func() error {
		if next == len(pieces) {
			return fmt.Errorf("%w: it wants more where nothing is missing", errProtocol)
		}
		next++
		return c.w.write(pieces[next-1] + "\r\n")
	})
}

// quote puts a string in quotes, if these can hold it: seven bits, no line end.
func quote(s string) (string, bool) {
	for i := range len(s) {
		if s[i] == 0 || s[i] == '\r' || s[i] == '\n' || s[i] >= 0x80 {
			return "", false
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, true
}

// logout ends the session. It never closes a folder, which would expunge what other sessions have flagged.
func (c *client) logout(ctx context.Context) {
	if ctx.Err() == nil {
		c.command(5*time.Second, "LOGOUT", "")
	}
	c.w.nc.Close()
}
