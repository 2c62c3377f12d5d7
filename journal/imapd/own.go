package imapd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
)

// own answers a command that go-imap does not know or must not see. It reports whether it did.
func (c *conn) own(cmd *command) (answered bool, err error) {
	switch cmd.verb {
	case "ID":
		c.say(cmd, `* ID ("name" "copialettere")`, "OK ID completed")
	case "STARTTLS":
		return true, c.startTLS(cmd)
	case "LOGIN", "AUTHENTICATE":
		if c.secure || c.session.signedIn() {
			return false, nil
		}
		c.say(cmd, "NO [PRIVACYREQUIRED] "+c.session.say(policy.Label{
			Italian: "La password si manda soltanto con TLS", English: "Send the password over TLS only"}))
	case "ENABLE":
		if !c.session.signedIn() || !cmd.dropIMAP4rev2() {
			return false, nil
		}
		c.say(cmd, "* ENABLED", "OK ENABLE completed")
	case "GETQUOTA", "GETQUOTAROOT", "MYRIGHTS", "SETQUOTA", "GETACL", "SETACL", "DELETEACL", "LISTRIGHTS":
		if !c.session.signedIn() {
			c.say(cmd, "BAD Sign in first")
			break
		}
		c.say(cmd, c.session.aboutFolders(cmd)...)
	default:
		if !c.session.signedIn() || !cmd.impossibleName() {
			return false, nil
		}
		if cmd.verb == "LIST" || cmd.verb == "LSUB" {
			c.say(cmd, "OK "+cmd.verb+" completed") // none matches
			break
		}
		c.say(cmd, "NO [NONEXISTENT] "+c.session.say(sentenceNoFolder))
	}
	return true, nil
}

// dropIMAP4rev2 takes IMAP4rev2 out of ENABLE: go-imap would enable it although it is not offered. It reports whether nothing else was to be enabled.
func (cmd *command) dropIMAP4rev2() (nothing bool) {
	all := strings.Fields(string(cmd.pieces[0]))
	words := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return strings.EqualFold(s, "IMAP4rev2") })
	if len(cmd.pieces) > 1 || len(words) == len(all) {
		return false
	}
	cmd.pieces[0] = []byte(strings.Join(words, " ") + "\r\n")
	return len(words) == 2
}

// say gives untagged lines, and the last one with the tag of a command.
func (c *conn) say(cmd *command, lines ...string) {
	last := len(lines) - 1
	for _, line := range lines[:last] {
		c.out.say(line + "\r\n")
	}
	c.out.say(cmd.tag + " " + lines[last] + "\r\n")
}

// startTLS answers STARTTLS (RFC 3501 section 6.2.1).
func (c *conn) startTLS(cmd *command) error {
	switch {
	case c.server.config.TLS == nil || c.overTLS():
		c.say(cmd, "BAD TLS is not offered here")
		return nil
	case c.session.signedIn():
		c.say(cmd, "BAD STARTTLS comes before the password")
		return nil
	case c.in.Buffered() > 0:
		// What was sent in the clear must not count as sent over TLS.
		return c.bye("Nothing may follow STARTTLS before TLS has begun")
	}
	c.say(cmd, "OK Begin TLS negotiation now")
	if err := c.out.flush(); err != nil {
		return err
	}
	return c.handshake(c.server.config.TLS)
}

// aboutFolders answers the commands of the extensions QUOTA (RFC 9208) and ACL (RFC 4314). Rights can be asked for, and not changed.
func (s *session) aboutFolders(cmd *command) []string {
	arguments, ok := cmd.arguments()
	switch {
	case !ok || len(arguments) == 0:
		return []string{"BAD Want an argument"}
	case cmd.verb == "GETQUOTA":
		quota, err := s.quota()
		if err != nil {
			return []string{s.status(err)}
		}
		if arguments[0] != "" {
			return []string{"NO [NONEXISTENT] No such quota root"}
		}
		return []string{quota, "OK GETQUOTA completed"}
	case cmd.verb == "GETQUOTAROOT" || cmd.verb == "MYRIGHTS":
		return s.aboutFolder(cmd, arguments[0])
	}
	return []string{"NO [NOPERM] " + s.say(sentenceRights)}
}

func (s *session) aboutFolder(cmd *command, name string) []string {
	folder, err := s.folder(name)
	if err != nil {
		return []string{s.status(err)}
	}
	if cmd.verb == "MYRIGHTS" {
		rights, err := s.rights(folder)
		if err != nil {
			return []string{s.status(err)}
		}
		return []string{"* MYRIGHTS " + quoted(name) + " " + rights, "OK MYRIGHTS completed"}
	}
	quota, err := s.quota()
	if err != nil {
		return []string{s.status(err)}
	}
	return []string{"* QUOTAROOT " + quoted(name) + ` ""`, quota, "OK GETQUOTAROOT completed"}
}

// quota returns the reply that tells how full the mailbox is, in KiB.
func (s *session) quota() (string, error) {
	access, err := s.reader.Access(s.conn.ctx)
	if err != nil {
		return "", err
	}
	if access.Quota == 0 {
		return `* QUOTA "" ()`, nil
	}
	used, err := s.reader.Usage(s.conn.ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`* QUOTA "" (STORAGE %d %d)`, (used+1023)/1024, (access.Quota+1023)/1024), nil
}

// rights returns what may be done in a folder, in the letters of RFC 4314.
func (s *session) rights(f archive.Folder) (string, error) {
	access, err := s.reader.Access(s.conn.ctx)
	if err != nil {
		return "", err
	}
	rights := "lr"
	allowed := s.reader.In(access, f)
	if allowed.Take || allowed.Append {
		rights += "i"
	}
	if allowed.Delete {
		rights += "te"
	}
	return rights, nil
}

// quoted returns a string as IMAP writes it. Names of folders are ASCII, and one that is not is not found.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// arguments returns the arguments of a command: atoms, quoted strings and literals. Where there is anything else it returns those before that, and
// false.
func (cmd *command) arguments() (list []string, ok bool) {
	literal := false // the piece is one
	var text string
	for _, piece := range cmd.pieces {
		if literal {
			list = append(list, string(piece))
			literal = false
			continue
		}
		text = string(piece)
		if len(list) == 0 && strings.HasPrefix(text, cmd.tag+" ") {
			_, text, _ = strings.Cut(text[len(cmd.tag)+1:], " ")
		}
		if _, _, literal = literalOf(piece); literal {
			text = text[:strings.LastIndexByte(text, '{')]
		}
		more, err := words(strings.TrimRight(text, " \r\n"))
		list = append(list, more...)
		if err != nil {
			return list, false
		}
	}
	return list, true
}

var errWords = errors.New("malformed arguments")

// words splits a text into atoms and quoted strings.
func words(text string) (list []string, err error) {
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			if strings.ContainsAny(word, `"(){`) {
				return list, errWords
			}
			list, text = append(list, word), rest
			continue
		}
		var word strings.Builder
		i := 1
		for ; i < len(text) && text[i] != '"'; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				i++
			}
			word.WriteByte(text[i])
		}
		if i == len(text) {
			return list, errWords
		}
		list, text = append(list, word.String()), text[i+1:]
	}
	return list, nil
}
