package auth

import (
	"net/url"
	"testing"
	"time"
)

// TestTOTP has the values of RFC 6238 appendix B for SHA-1, cut to six digits, and those of RFC 4226 appendix D.
func TestTOTP(t *testing.T) {
	secret := []byte("12345678901234567890")
	for _, c := range []struct {
		at   int64
		want string
	}{
		{59, "287082"}, {1111111109, "081804"}, {1111111111, "050471"}, {1234567890, "005924"}, {2000000000, "279037"}, {20000000000, "353130"},
	} {
		if got := totpCode(secret, totpStep(time.Unix(c.at, 0))); got != c.want {
			t.Errorf("at %d: %s, want %s", c.at, got, c.want)
		}
	}
	for n, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := totpCode(secret, int64(n)); got != want {
			t.Errorf("step %d: %s, want %s", n, got, want)
		}
	}
}

// TestTOTPSkew types the codes of the steps around now.
func TestTOTPSkew(t *testing.T) {
	secret, now := newTOTPSecret(), time.Unix(1_800_000_007, 0)
	for skew := int64(-3); skew <= 3; skew++ {
		step, ok := totpMatch(secret, totpCode(secret, totpStep(now)+skew), now)
		if want := -1 <= skew && skew <= 1; ok != want || ok && step != totpStep(now)+skew {
			t.Errorf("%d steps off: %d, %v", skew, step, ok)
		}
	}
}

func TestTOTPURI(t *testing.T) {
	uri := totpURI(address(t, "o'hara+x@alpha.test"), []byte("12345678901234567890"))
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/copialettere:o'hara+x@alpha.test" ||
		u.Query().Get("secret") != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" || u.Query().Get("issuer") != "copialettere" {
		t.Errorf("%s, %v", uri, err)
	}
}
