package intake

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
)

var utf7Encoding = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// decodeUTF7 returns the name of a Maildir folder, which is in modified UTF-7 (RFC 3501 section 5.1.3); as it stands if it is not.
func decodeUTF7(s string) string {
	var out strings.Builder
	rest := s
	for {
		before, after, shifted := strings.Cut(rest, "&")
		out.WriteString(before)
		if !shifted {
			return out.String()
		}
		encoded, next, ok := strings.Cut(after, "-")
		b, err := utf7Encoding.DecodeString(encoded)
		switch {
		case !ok || err != nil || len(b)%2 != 0:
			return s
		case encoded == "":
			out.WriteByte('&')
		default:
			units := make([]uint16, 0, len(b)/2)
			for i := 0; i < len(b); i += 2 {
				units = append(units, uint16(b[i])<<8|uint16(b[i+1]))
			}
			out.WriteString(string(utf16.Decode(units)))
		}
		rest = next
	}
}
