package pull

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxFolders is how many folders of an account are listed.
const maxFolders = 100_000

// folder is a folder of the source.
type folder struct {
	raw      string // its name, as the server has it
	name     string // its name for people: decoded, "/" between the levels, without the prefix of the namespace
	noSelect bool   // it holds no messages
	foreign  bool   // it is another user's, or shared
}

// space is a namespace (RFC 2342).
type space struct {
	prefix   string
	personal bool
}

// folders lists all folders of the account.
func (c *client) folders() ([]folder, error) {
	spaces, err := c.namespaces()
	if err != nil {
		return nil, err
	}
	var list []folder
	seen := make(map[string]bool)
	c.listInto = func(attributes []any, delimiter, name string) {
		if len(list) == maxFolders {
			return
		}
		f := folder{raw: name}
		for _, a := range attributes {
			text, _ := a.(string)
			if strings.EqualFold(text, `\Noselect`) || strings.EqualFold(text, `\NonExistent`) {
				f.noSelect = true
			}
		}
		f.name, f.foreign = shown(name, delimiter, spaces)
		if !seen[name] {
			seen[name] = true
			list = append(list, f)
		}
	}
	defer func() { c.listInto = nil }()
	err = c.command(10*time.Minute, "LIST", `"" "*"`)
	if len(list) == maxFolders {
		return nil, fmt.Errorf("LIST: more than %d folders", maxFolders)
	}
	return list, err
}

// list reads a LIST response.
func (c *client) list() error {
	if err := c.w.blank(); err != nil {
		return err
	}
	attributes, err := c.w.value()
	if err != nil {
		return err
	}
	if err := c.w.blank(); err != nil {
		return err
	}
	delimiter, err := c.w.value()
	if err != nil {
		return err
	}
	if err := c.w.blank(); err != nil {
		return err
	}
	name, err := c.w.value()
	if err != nil {
		return err
	}
	if _, err := c.w.line(); err != nil {
		return err
	}
	text, ok := name.(string)
	if name == nil {
		text, ok = "NIL", true // a folder of that name, sent as an atom
	}
	flags, _ := attributes.([]any)
	between, _ := delimiter.(string)
	if ok && c.listInto != nil {
		c.listInto(flags, between, text)
	}
	return nil
}

// namespaces asks for the namespaces; without that capability there is one personal one.
func (c *client) namespaces() ([]space, error) {
	all := []space{{personal: true}}
	if !c.has("NAMESPACE") {
		return all, nil
	}
	c.spaces = nil
	if err := c.command(time.Minute, "NAMESPACE", ""); err != nil {
		return nil, err
	}
	var list []space
	for i, kind := range c.spaces {
		members, _ := kind.([]any)
		for _, one := range members {
			fields, _ := one.([]any)
			if len(fields) == 0 {
				continue
			}
			prefix, _ := fields[0].(string)
			list = append(list, space{prefix, i == 0})
		}
	}
	if !slices.ContainsFunc(list, func(s space) bool { return s.personal }) {
		return all, nil
	}
	return list, nil
}

// namespace reads a NAMESPACE response.
func (c *client) namespace() error {
	var all []any
	for range 3 {
		if err := c.w.blank(); err != nil {
			return err
		}
		one, err := c.w.value()
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	c.spaces = all
	_, err := c.w.line()
	return err
}

// shown returns what people call a folder, and whether it is in no personal namespace. A name belongs to the namespace with the longest prefix.
func shown(raw, delimiter string, spaces []space) (name string, foreign bool) {
	if !strings.EqualFold(raw, "INBOX") {
		var best *space
		for i, s := range spaces {
			if strings.HasPrefix(raw, s.prefix) && (best == nil || len(s.prefix) > len(best.prefix) || len(s.prefix) == len(best.prefix) && s.personal) {
				best = &spaces[i]
			}
		}
		if foreign = best == nil || !best.personal; !foreign {
			// INBOX.INBOX is an ordinary folder, and not the INBOX.
			if rest := raw[len(best.prefix):]; rest != "" && !strings.EqualFold(rest, "INBOX") {
				raw = rest
			}
		}
	} else {
		raw = "INBOX"
	}
	if delimiter == "" {
		return decodeUTF7(raw), foreign
	}
	levels := strings.Split(raw, delimiter)
	for i, level := range levels {
		levels[i] = strings.ReplaceAll(decodeUTF7(level), "/", "_") // it would be a level of its own
	}
	return strings.Join(levels, "/"), foreign
}

// decodeUTF7 decodes modified UTF-7 (RFC 3501 section 5.1.3). What is no such text stays as it is: servers have such names.
func decodeUTF7(s string) string {
	var text strings.Builder
	for rest := s; ; {
		before, after, shifted := strings.Cut(rest, "&")
		text.WriteString(before)
		if !shifted {
			break
		}
		inside, left, ended := strings.Cut(after, "-")
		switch {
		case !ended:
			return valid(s)
		case inside == "":
			text.WriteByte('&')
		default:
			units, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(inside, ",", "/"))
			if err != nil || len(units)%2 != 0 {
				return valid(s)
			}
			wide := make([]uint16, len(units)/2)
			for i := range wide {
				wide[i] = binary.BigEndian.Uint16(units[2*i:])
			}
			text.WriteString(string(utf16.Decode(wide)))
		}
		rest = left
	}
	return valid(text.String())
}

func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "_")
}

// status reads a STATUS response.
func (c *client) status() error {
	if err := c.w.blank(); err != nil {
		return err
	}
	if _, err := c.w.value(); err != nil {
		return err
	}
	if err := c.w.blank(); err != nil {
		return err
	}
	items, err := c.w.value()
	if err != nil {
		return err
	}
	list, _ := items.([]any)
	c.stat = make(map[string]uint32)
	for i := 0; i+1 < len(list); i += 2 {
		name, _ := list[i].(string)
		text, _ := list[i+1].(string)
		n, _ := strconv.ParseUint(text, 10, 32)
		c.stat[strings.ToUpper(name)] = uint32(n)
	}
	_, err = c.w.line()
	return err
}

// uidNext asks for the UIDNEXT of a folder that is not open: Courier tells it nowhere else. It is 0 where the server does not say.
func (c *client) uidNext(raw string) (uint32, error) {
	c.stat = nil
	if err := c.onFolder(5*time.Minute, "STATUS", raw, " (UIDNEXT)"); err != nil {
		return 0, err
	}
	return c.stat["UIDNEXT"], nil
}

// open opens a folder, to read it only where write is not set.
func (c *client) open(raw string, write bool) (opened, error) {
	verb := "EXAMINE"
	if write {
		verb = "SELECT"
	}
	c.opened, c.exists, c.expunged = opened{}, 0, 0
	err := c.onFolder(5*time.Minute, verb, raw, "")
	return c.opened, err
}

// onFolder sends a command on a folder, with what follows its name.
func (c *client) onFolder(limit time.Duration, verb, raw, more string) error {
	if q, ok := quote(raw); ok {
		return c.command(limit, verb, q+more)
	}
	tag, err := c.send(limit, verb, fmt.Sprintf("{%d}", len(raw)))
	if err != nil {
		return err
	}
	sent := false
	return c.await(tag, verb, func() error {
		if sent {
			return fmt.Errorf("%w: it wants the name of the folder twice", errProtocol)
		}
		sent = true
		return c.w.write(raw + more + "\r\n")
	})
}
