package auth

import (
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// sha512Crypt is a hash of crypt(3) that begins with $6$: "Unix crypt using SHA-256 and SHA-512" by Ulrich Drepper, version 0.6.
type sha512Crypt struct {
	rounds int
	salt   []byte
	sum    string // the last field, 86 characters
}

const (
	cryptRounds = 5000
	cryptDigits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// parseSHA512Crypt reads $6$[rounds=N$]SALT$SUM.
func parseSHA512Crypt(text string) (hashed, error) {
	rest, ok := strings.CutPrefix(text, "$6$")
	if !ok {
		return nil, errors.New("not a hash of SHA512-CRYPT")
	}
	h := sha512Crypt{rounds: cryptRounds}
	if number, ok := strings.CutPrefix(rest, "rounds="); ok {
		number, rest, _ = strings.Cut(number, "$")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 {
			return nil, errors.New("bad rounds of SHA512-CRYPT")
		}
		if n > maxCryptRounds {
			return nil, fmt.Errorf("SHA512-CRYPT asks for %d rounds, and the most are %d", n, maxCryptRounds)
		}
		h.rounds = max(n, 1000)
	}
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok || len(sum) != 86 || strings.Trim(sum, cryptDigits) != "" {
		return nil, errors.New("not a hash of SHA512-CRYPT")
	}
	h.salt, h.sum = []byte(salt[:min(len(salt), 16)]), sum
	return h, nil
}

func (h sha512Crypt) matches(password string) bool {
	sum := cryptSHA512([]byte(password), h.salt, h.rounds)
	return subtle.ConstantTimeCompare([]byte(sum), []byte(h.sum)) == 1
}

// cryptSHA512 returns the last field of the hash. The numbers are those of the steps in the specification.
func cryptSHA512(key, salt []byte, rounds int) string {
	b := sha512.New() // 4 to 8
	b.Write(key)
	b.Write(salt)
	b.Write(key)
	sumB := b.Sum(nil)

	a := sha512.New() // 1 to 3, 9 to 12
	a.Write(key)
	a.Write(salt)
	a.Write(repeated(sumB, len(key)))
	for n := len(key); n > 0; n >>= 1 {
		if n&1 != 0 {
			a.Write(sumB)
		} else {
			a.Write(key)
		}
	}
	sum := a.Sum(nil)

	dp := sha512.New() // 13 to 16
	for range len(key) {
		dp.Write(key)
	}
	p := repeated(dp.Sum(nil), len(key))
	ds := sha512.New() // 17 to 20
	for range 16 + int(sum[0]) {
		ds.Write(salt)
	}
	s := repeated(ds.Sum(nil), len(salt))

	c := sha512.New() // 21
	for round := range rounds {
		c.Reset()
		parts := [2][]byte{sum, p}
		if round&1 != 0 {
			parts = [2][]byte{p, sum}
		}
		c.Write(parts[0])
		if round%3 != 0 {
			c.Write(s)
		}
		if round%7 != 0 {
			c.Write(p)
		}
		c.Write(parts[1])
		sum = c.Sum(sum[:0:0])
	}
	return cryptText(sum)
}

// repeated returns the first n bytes of sum, repeated as often as needed.
func repeated(sum []byte, n int) []byte {
	out := make([]byte, 0, n+len(sum))
	for len(out) < n {
		out = append(out, sum...)
	}
	return out[:n]
}

// cryptText writes a digest in the digits and the order of step 22e.
func cryptText(sum []byte) string {
	var text strings.Builder
	write := func(value uint, digits int) {
		for range digits {
			text.WriteByte(cryptDigits[value&0x3f])
			value >>= 6
		}
	}
	// Each group of three takes one byte of each third, and which third comes first moves on.
	for i := range 21 {
		group := [3]byte{sum[i], sum[i+21], sum[i+42]}
		first := i % 3
		write(uint(group[first])<<16|uint(group[(first+1)%3])<<8|uint(group[(first+2)%3]), 4)
	}
	write(uint(sum[63]), 2)
	return text.String()
}
