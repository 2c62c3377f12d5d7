package policy

import (
	"strings"
	"unicode/utf8"
)

// unicodeLabel returns the Unicode form of a domain label in lower case. A label that is not encoded (RFC 5890 section 2.3.2.1), or
// not encoded well, stays as it is. Mail arrives under either form, and a mailbox is to have one name.
func unicodeLabel(label string) string {
	encoded, ok := strings.CutPrefix(label, "xn--")
	if !ok {
		return label
	}
	decoded, ok := decodePunycode(encoded)
	ascii := len(decoded) == utf8.RuneCountInString(decoded)
	if !ok || ascii || strings.IndexFunc(decoded, notLabel) >= 0 || strings.ToLower(decoded) != decoded {
		return label
	}
	return decoded
}

// decodePunycode is the procedure of RFC 3492 section 6.2 with the parameters of section 5.
func decodePunycode(s string) (string, bool) {
	const base, tMin, tMax, skew, damp, initialBias, initialN = 36, 1, 26, 38, 700, 72, 128
	if len(s) > 63 { // RFC 1035 section 2.3.4; it also keeps the sums below from overflowing
		return "", false
	}
	var output []rune
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		output, s = []rune(s[:i]), s[i+1:]
	}
	n, i, bias := int64(initialN), int64(0), int64(initialBias)
	for s != "" {
		before, weight := i, int64(1)
		for k := int64(base); ; k += base {
			if s == "" || weight > utf8.MaxRune*64 {
				return "", false
			}
			digit := punycodeDigit(s[0])
			if s = s[1:]; digit < 0 {
				return "", false
			}
			i += digit * weight
			t := min(max(k-bias, tMin), tMax)
			if digit < t {
				break
			}
			weight *= base - t
		}
		length := int64(len(output)) + 1
		delta := (i - before) / 2
		if before == 0 {
			delta = (i - before) / damp
		}
		delta += delta / length
		for bias = 0; delta > (base-tMin)*tMax/2; bias += base {
			delta /= base - tMin
		}
		bias += (base - tMin + 1) * delta / (delta + skew)
		n, i = n+i/length, i%length
		if n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		output = append(output[:i], append([]rune{rune(n)}, output[i:]...)...)
		i++
	}
	return string(output), true
}

func punycodeDigit(c byte) int64 {
	switch {
	case 'a' <= c && c <= 'z':
		return int64(c - 'a')
	case '0' <= c && c <= '9':
		return int64(c-'0') + 26
	}
	return -1
}
