package imapd

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// namesFolders are the commands whose arguments are names of folders, or patterns of such, beside numbers.
var namesFolders = []string{
	"SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "LIST", "LSUB", "STATUS", "COPY", "MOVE", "UID COPY", "UID MOVE",
}

// impossibleName reports whether a command names a folder that is no name at all. go-imap would say that the server has failed.
func (cmd *command) impossibleName() bool {
	if !slices.Contains(namesFolders, cmd.verb) {
		return false
	}
	arguments, _ := cmd.arguments()
	return slices.ContainsFunc(arguments, func(s string) bool { return !isName(s) })
}

var nameEncoding = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// isName reports whether s is in modified UTF-7 (RFC 3501 section 5.1.3), where UTF-8 may stand too.
func isName(s string) bool {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false
	}
	_, s, shifted := strings.Cut(s, "&")
	for shifted {
		encoded, rest, ok := strings.Cut(s, "-")
		b, err := nameEncoding.DecodeString(encoded)
		if !ok || err != nil || len(b)%2 != 0 || encoded != "" && strings.HasPrefix(rest, "&") && !strings.HasPrefix(rest, "&-") {
			return false
		}
		var units []uint16
		for i := 0; i < len(b); i += 2 {
			units = append(units, uint16(b[i])<<8|uint16(b[i+1]))
		}
		if slices.ContainsFunc(utf16.Decode(units), func(r rune) bool { return r == utf8.RuneError || r >= ' ' && r <= '~' }) {
			return false
		}
		_, s, shifted = strings.Cut(rest, "&")
	}
	return true
}
