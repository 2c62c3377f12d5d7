package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"time"

	"copialettere/policy"
)

// What all authenticator apps take (RFC 6238): HMAC-SHA-1, six digits, a new code every 30 seconds.
const (
	totpSecret = 20 // bytes (RFC 4226 section 4)
	totpDigits = 6
	totpPeriod = 30 * time.Second
	totpSkew   = 1 // steps by which the clock of a phone may be wrong, either way (RFC 6238 section 5.2)
	totpIssuer = "copialettere"
)

func newTOTPSecret() []byte {
	secret := make([]byte, totpSecret)
	rand.Read(secret)
	return secret
}

// totpStep returns the number of the step that a time lies in.
func totpStep(now time.Time) int64 { return now.Unix() / int64(totpPeriod/time.Second) }

// totpCode returns the code of a step (RFC 4226 section 5.3).
func totpCode(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	return fmt.Sprintf("%0*d", totpDigits, binary.BigEndian.Uint32(sum[at:])&0x7fff_ffff%1_000_000)
}

// totpMatch returns the step whose code was typed, among those around now. It takes as long whichever it is.
func totpMatch(secret []byte, typed string, now time.Time) (step int64, ok bool) {
	for n := totpStep(now) - totpSkew; n <= totpStep(now)+totpSkew; n++ {
		if subtle.ConstantTimeCompare([]byte(totpCode(secret, n)), []byte(typed)) == 1 {
			step, ok = n, true
		}
	}
	return step, ok
}

// totpText returns a secret as it is typed into an app.
func totpText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// totpURI returns a secret as authenticator apps read it from a QR code.
func totpURI(login policy.Address, secret []byte) string {
	query := url.Values{"secret": {totpText(secret)}, "issuer": {totpIssuer}}
	return (&url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + totpIssuer + ":" + login.String(), RawQuery: query.Encode()}).String()
}
