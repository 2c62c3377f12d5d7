package auth

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// TestHashes checks hashes that other programs made: the published test vectors of SHA512-CRYPT, "doveadm pw" of Dovecot 2.3 and "openssl passwd".
func TestHashes(t *testing.T) {
	for _, c := range []struct{ name, field, password string }{
		{"vector 1", "{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1", "Hello world!"},
		{"vector 2, a longer salt", "{SHA512-CRYPT}$6$rounds=10000$saltstringsaltstring$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
			"Hello world!"},
		{"vector 3", "{SHA512-CRYPT}$6$rounds=5000$toolongsaltstring$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0",
			"This is just a test"},
		{"vector 4", "{SHA512-CRYPT}$6$rounds=1400$anotherlongsaltstring$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1",
			"a very much longer text to encrypt.  This one even stretches over morethan one line."},
		{"vector 5", "{SHA512-CRYPT}$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0",
			"we have a short salt string but not a short password"},
		{"vector 6", "{SHA512-CRYPT}$6$rounds=123456$asaltof16chars..$BtCwjqMJGx5hrJhZywWvt0RLE8uZ4oPwcelCjmw2kSYu.Ec6ycULevoBK25fs2xXgMNrCzIMVcgEJAstJeonj1", "a short string"},
		{"vector 7, too few rounds", "{SHA512-CRYPT}$6$rounds=10$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.",
			"the minimum number is still observed"},
		{"doveadm SHA512-CRYPT", "{SHA512-CRYPT}$6$HUiUn4KoZRY.WW6Z$6qiE5xX47VOp8BqwxrUpPt42E9tikOWTz40U6HJx7azyc5c11uVHhWv.tJqRdEERs9Rk3IqvtK1qJkKAKRAuD/", "cera-lacca"},
		{"doveadm BLF-CRYPT", "{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a", "cera-lacca"},
		{"doveadm ARGON2ID", "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$Uk3DtFH65nsnT+7gOIcj5A$FdfyzqruA/RqqwL5XHuoQfMiWeKdaf+2PBCRoC/nkoo", "cera-lacca"},
		{"openssl, not ASCII", "{CRYPT}$6$abcdefgh$b88gLaF2IOvY.8hR2ESd.yhR/w9buIX3D4kMi93gRxWli/iDNBsUcR3Y0aFbVGD8o.39ELFDBaV0wdE9n.lXy0", "però-città"},
		{"no scheme", "$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a", "cera-lacca"},
		{"scheme in lower case", "{crypt}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a", "cera-lacca"},
		{"ours", newHash("cera-lacca"), "cera-lacca"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := parseHash(c.field)
			if err != nil {
				t.Fatal(err)
			}
			if !h.matches(c.password) {
				t.Error("the right password does not match")
			}
			for _, wrong := range []string{"", c.password + "x"} {
				if h.matches(wrong) {
					t.Errorf("%q matches", wrong)
				}
			}
		})
	}
}

func TestBadHashes(t *testing.T) {
	for _, c := range []struct{ name, field, want string }{
		{"unknown scheme", "{SSHA}abcd", `the scheme "SSHA" is not known`},
		{"plain text", "{PLAIN}cera-lacca", `the scheme "PLAIN" is not known`},
		{"DES", "abJnggxhB/yWI", "crypt(3) of another kind"},
		{"open brace", "{ARGON2ID", "has no }"},
		{"argon2i", "{ARGON2ID}$argon2i$v=19$m=65536,t=3,p=1$Uk3DtFH65nsnT+7gOIcj5A$FdfyzqruA/RqqwL5XHuoQfMiWeKdaf+2PBCRoC/nkoo", "not a hash of ARGON2ID"},
		{"old argon", "{ARGON2ID}$argon2id$v=16$m=65536,t=3,p=1$Uk3DtFH65nsnT+7gOIcj5A$FdfyzqruA/RqqwL5XHuoQfMiWeKdaf+2PBCRoC/nkoo", "not version 19"},
		{"argon without passes", "{ARGON2ID}$argon2id$v=19$m=65536,t=0,p=1$Uk3DtFH65nsnT+7gOIcj5A$FdfyzqruA/RqqwL5XHuoQfMiWeKdaf+2PBCRoC/nkoo", "bad parameters"},
		{"argon without a key", "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$Uk3DtFH65nsnT+7gOIcj5A$", "bad salt or key"},
		{"too much memory", "{ARGON2ID}$argon2id$v=19$m=4194304,t=1,p=1$Uk3DtFH65nsnT+7gOIcj5A$FdfyzqruA/RqqwL5XHuoQfMiWeKdaf+2PBCRoC/nkoo", "more than 256 MiB"},
		{"too many passes", "{ARGON2ID}$argon2id$v=19$m=65536,t=4294967295,p=1$Uk3DtFH65nsnT+7gOIcj5A$FdfyzqruA/RqqwL5XHuoQfMiWeKdaf+2PBCRoC/nkoo", "more work"},
		{"dear bcrypt", "{BLF-CRYPT}$2y$31$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a", "a cost of 31"},
		{"cut bcrypt", "{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U", "not a hash of bcrypt"},
		{"too many rounds", "{SHA512-CRYPT}$6$rounds=999999999$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0", "999999999 rounds"},
		{"bad rounds", "{SHA512-CRYPT}$6$rounds=x$short$WuQyW2YR", "bad rounds"},
		{"cut SHA512-CRYPT", "{SHA512-CRYPT}$6$short$WuQyW2YR", "not a hash of SHA512-CRYPT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseHash(c.field); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestLongPasswordOfBcrypt checks that a password beyond the 72 bytes of bcrypt works as in crypt(3), which takes the first 72.
func TestLongPasswordOfBcrypt(t *testing.T) {
	long := strings.Repeat("0123456789", 10)
	stored, err := bcrypt.GenerateFromPassword([]byte(long[:72]), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHash("{BLF-CRYPT}" + string(stored))
	if err != nil || !h.matches(long) || h.matches(long[:71]) {
		t.Errorf("%v", err)
	}
}
