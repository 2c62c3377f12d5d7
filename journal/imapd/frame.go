package imapd

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits on what a program may send. go-imap has the same or higher ones.
const (
	maxCommand = 48 << 10 // bytes of one command, its literals included
	maxLiteral = 4 << 10  // bytes of one literal, but for the message of APPEND
	maxSkipped = 1 << 30  // bytes of a literal that is read only to be dropped
)

// command is what conn needs to know of a command of a program.
type command struct {
	tag, verb string // verb in upper case: "UID FETCH"
	pieces    [][]byte
}

// greeting stands for the verb of the command that the greeting answers.
const greeting = "\x00greeting"

// messageTimeout is how long the next bytes of a message may take to come.
const messageTimeout = 5 * time.Minute

// errRefused says that a command was answered, and is not for go-imap.
var errRefused = errors.New("refused")

// next reads the next command and gives it to go-imap, or answers it.
func (c *conn) next() error {
	cmd, err := c.readCommand()
	if errors.Is(err, errRefused) {
		return nil
	}
	if err != nil {
		return err
	}
	if answered, err := c.own(&cmd); answered || err != nil {
		return err
	}
	c.command = cmd
	c.pieces, c.command.pieces = cmd.pieces, nil
	c.out.expect(c.command)
	return nil
}

// readCommand reads one command whole. It asks for synchronizing literals by itself and shows them to go-imap as the other kind, so that there is
// one request for each. The error is errRefused where the command was answered here.
func (c *conn) readCommand() (command, error) {
	line, err := c.readLine(maxCommand)
	if err != nil {
		return command{}, err
	}
	cmd, ok := splitCommand(line)
	if !ok {
		c.out.say("* BAD Want a tag and a command\r\n")
		return cmd, errRefused
	}
	refusal := ""
	if !cmd.hasName() {
		refusal = "BAD Want a command"
	}
	for total := 0; ; {
		size, waits, literal := literalOf(line)
		switch {
		case refusal != "":
		case !wellFormed(line):
			refusal, literal = "BAD Want quotes in pairs, and no control characters", false
		case literal && cmd.isMessage(line):
			if refusal = c.session.appendRefused(cmd.folder(line), size); refusal == "" && cmd.misdated(line) {
				refusal = "BAD Want a date such as \"06-May-2019 07:08:09 +0200\""
			}
			if refusal == "" {
				return c.beginMessage(cmd, line, size, waits)
			}
		case literal && size > maxLiteral:
			refusal = "NO [TOOBIG] Literals are limited to " + strconv.Itoa(maxLiteral) + " bytes"
		case total+len(line)+int(size) > maxCommand:
			refusal = "NO [TOOBIG] Commands are limited to " + strconv.Itoa(maxCommand) + " bytes"
		}
		if !literal || refusal != "" && waits {
			break
		}
		if refusal != "" {
			if err := c.skip(size); err != nil {
				return cmd, err
			}
		} else {
			data, err := c.readLiteral(size, waits)
			if err != nil {
				return cmd, err
			}
			cmd.pieces = append(cmd.pieces, asNonSynchronizing(line, size), data)
			total += len(line) + len(data)
		}
		if line, err = c.readLine(maxCommand); err != nil {
			return cmd, err
		}
	}
	if refusal != "" {
		c.out.say(cmd.tag + " " + refusal + "\r\n")
		return cmd, errRefused
	}
	cmd.pieces = append(cmd.pieces, line)
	return cmd, nil
}

// splitCommand returns tag and verb of the first line of a command. It reports false where there are none.
func splitCommand(line []byte) (command, bool) {
	words := strings.SplitN(strings.TrimRight(string(line), " \r\n"), " ", 4)
	if len(words) < 2 || words[1] == "" || !isTag(words[0]) {
		return command{}, false
	}
	cmd := command{tag: words[0], verb: strings.ToUpper(words[1])}
	if cmd.verb == "UID" && len(words) > 2 {
		cmd.verb += " " + strings.ToUpper(words[2])
	}
	return cmd, true
}

// hasName reports whether the verb is one, or two with UID. At any other go-imap ends the connection without a word.
func (cmd *command) hasName() bool {
	name, isUID := strings.CutPrefix(cmd.verb, "UID ")
	return isTag(name) && (isUID || name != "UID")
}

// isTag reports whether s is a tag (RFC 3501 section 9).
func isTag(s string) bool {
	return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`(){%*"\+]`, r) })
}

// literalOf reports whether a line ends with the size of a literal, and whether the program waits to be asked for it. go-imap accepts a space
// after the brace, so this does too.
func literalOf(line []byte) (size int64, waits, ok bool) {
	s := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	s, ok = bytes.CutSuffix(bytes.TrimSuffix(s, []byte(" ")), []byte("}"))
	i := bytes.LastIndexByte(s, '{')
	if !ok || i < 0 {
		return 0, false, false
	}
	digits, plus := bytes.CutSuffix(s[i+1:], []byte("+"))
	n, err := strconv.ParseUint(string(digits), 10, 63)
	if err != nil {
		return 0, false, false
	}
	return int64(n), !plus, true
}

// asNonSynchronizing returns a line that ends with a literal of size bytes that needs no request.
func asNonSynchronizing(line []byte, size int64) []byte {
	return append(line[:bytes.LastIndexByte(line, '{'):len(line)], "{"+strconv.FormatInt(size, 10)+"+}\r\n"...)
}

// wellFormed reports whether a line has its quotes in pairs, and neither NUL nor CR before its end: go-imap would look for the end of the quoted
// string in the next command, or take what follows the CR for one.
func wellFormed(line []byte) bool {
	text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	quoted := false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == 0 || b == '\r':
			return false
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		}
	}
	return !quoted
}

// readLiteral reads a literal, after asking for it where the program waits.
func (c *conn) readLiteral(size int64, waits bool) ([]byte, error) {
	if waits {
		c.out.say("+ Ready for literal data\r\n")
		if err := c.out.flush(); err != nil {
			return nil, err
		}
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(c.in, data); err != nil {
		return nil, c.leave(err)
	}
	return data, nil
}

// isMessage reports whether the literal at the end of a line of a command is the message of APPEND, and not the name of its folder.
func (cmd *command) isMessage(line []byte) bool {
	if cmd.verb != "APPEND" {
		return false
	}
	if len(cmd.pieces) > 0 {
		return true
	}
	text := strings.TrimSpace(string(line[:bytes.LastIndexByte(line, '{')]))
	return !strings.EqualFold(text, cmd.tag+" "+cmd.verb)
}

// folder returns the name of the folder of APPEND; line is the one that ends with the size of the message.
func (cmd *command) folder(line []byte) string {
	name := command{tag: cmd.tag, pieces: append(slices.Clone(cmd.pieces), line)}
	arguments, _ := name.arguments()
	if len(arguments) == 0 {
		return ""
	}
	return arguments[0]
}

// misdated reports whether APPEND has a date that is none, for which go-imap would take the blame; line is as for folder.
func (cmd *command) misdated(line []byte) bool {
	text := strings.TrimRight(string(line[:bytes.LastIndexByte(line, '{')]), " ~")
	text, date, quoted := cutLastQuoted(strings.TrimRight(strings.TrimSuffix(text, "UTF8 ("), " "))
	if !quoted || strings.EqualFold(strings.TrimSpace(text), cmd.tag+" "+cmd.verb) {
		return false
	}
	_, err := time.Parse("_2-Jan-2006 15:04:05 -0700", date)
	return err != nil
}

// cutLastQuoted returns what is quoted at the end of a text, and the text before it. It reports false where nothing is.
func cutLastQuoted(text string) (before, quoted string, ok bool) {
	text, ok = strings.CutSuffix(text, `"`)
	i := strings.LastIndexByte(text, '"')
	if !ok || i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// utf8Before stands before a message in UTF-8 (RFC 6855 section 4), which ends with a parenthesis.
const utf8Before = "UTF8 (~"

// beginMessage has go-imap read the message of APPEND as it comes. An empty one is a literal like others.
func (c *conn) beginMessage(cmd command, line []byte, size int64, waits bool) (command, error) {
	if waits {
		c.out.say("+ Ready for literal data\r\n")
	}
	cmd.pieces = append(cmd.pieces, asNonSynchronizing(line, size))
	if size > 0 {
		c.message, c.messageEnd = size, ""
		if before := line[:bytes.LastIndexByte(line, '{')]; len(before) > len(utf8Before) &&
			bytes.EqualFold(before[len(before)-len(utf8Before):], []byte(utf8Before)) {
			c.messageEnd = ")"
		}
		return cmd, nil
	}
	end, err := c.readLine(maxCommand)
	cmd.pieces = append(cmd.pieces, end)
	return cmd, err
}

// readMessage reads the next bytes of the message of APPEND. After the last of them comes the end of the line, as a piece. Before that is there, and is
// what it should be, go-imap does not get the last of them: it would keep a message whose command is not whole, or whose size is wrong. What follows
// such a message may be the rest of it, and is no command: the connection ends.
func (c *conn) readMessage(p []byte) (int, error) {
	if c.in.Buffered() == 0 {
		if err := c.out.flush(); err != nil {
			return 0, err
		}
	}
	c.SetReadDeadline(time.Now().Add(messageTimeout))
	n, err := c.in.Read(p[:min(int64(len(p)), c.message)])
	if err != nil {
		err = c.leave(err)
		c.out.fail(err)
		return n, err
	}
	if c.message -= int64(n); c.message > 0 {
		return n, nil
	}
	line, err := c.readLine(maxCommand)
	if err != nil {
		return 0, err
	}
	if strings.TrimRight(string(line), " \r\n") != c.messageEnd {
		if !c.out.answered() {
			c.out.say(c.command.tag + " BAD A message must end where its size says, and nothing may follow it\r\n")
		}
		err := c.bye("Command not understood")
		c.out.fail(err) // go-imap says nothing more
		return 0, err
	}
	c.pieces = [][]byte{line}
	return n, nil
}

// dropMessage reads what has not been read of the message of APPEND, and drops it.
func (c *conn) dropMessage() error {
	for buffer := make([]byte, 4<<10); c.message > 0; {
		if _, err := c.readMessage(buffer); err != nil {
			return err
		}
	}
	return nil
}

// skip reads a literal and drops it.
func (c *conn) skip(size int64) error {
	if size > maxSkipped {
		return c.bye("[TOOBIG] Literal too large")
	}
	if _, err := io.CopyN(io.Discard, c.in, size); err != nil {
		return c.leave(err)
	}
	return nil
}
