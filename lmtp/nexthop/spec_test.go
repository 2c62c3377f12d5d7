package nexthop

import (
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	tests := []struct {
		text string
		want Spec
	}{
		{"lmtp:unix:/run/dovecot/lmtp", Spec{Scheme: LMTP, Path: "/run/dovecot/lmtp"}},
		{"lmtp:mail.alpha.test:24", Spec{Scheme: LMTP, Host: "mail.alpha.test", Port: 24}},
		{"lmtp:192.0.2.1:24", Spec{Scheme: LMTP, Host: "192.0.2.1", Port: 24}},
		{"lmtp:[::1]:24", Spec{Scheme: LMTP, Host: "::1", Port: 24}},
		{"lmtp+srv:alpha.test", Spec{Scheme: LMTPSRV, Host: "alpha.test"}},
		{"smtp:127.0.0.1:10026", Spec{Scheme: SMTP, Host: "127.0.0.1", Port: 10026}},
		{"smtp:mail_1.alpha.test.:25", Spec{Scheme: SMTP, Host: "mail_1.alpha.test.", Port: 25}},
		{"smtp:unix:/run/reinject", Spec{Scheme: SMTP, Path: "/run/reinject"}},
		{"maildir:/var/mail", Spec{Scheme: Maildir, Path: "/var/mail"}},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseSpec(tt.text)
			if err != nil || got != tt.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, tt.want)
			}
			if got.String() != tt.text {
				t.Errorf("written out as %q", got.String())
			}
			if got.LMTP() != (tt.want.Scheme != SMTP) {
				t.Errorf("LMTP() is %v", got.LMTP())
			}
		})
	}
}

func TestParseSpecErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", `next hop "": it must begin with lmtp:, lmtp+srv:, smtp: or maildir:, as in lmtp:unix:/run/dovecot/lmtp`},
		{"mail.alpha.test:24", `it must begin with lmtp:`},
		{"LMTP:mail.alpha.test:24", `it must begin with lmtp:`},
		{"lmtp:mail.alpha.test", `write host and port, as in lmtp:mail.alpha.test:24`},
		{"smtp:mail.alpha.test", `write host and port, as in smtp:mail.alpha.test:24`},
		{"lmtp:::1:24", `write an IPv6 address in brackets and a port after it, as in lmtp:[::1]:24`},
		{"lmtp:mail.alpha.test:lmtp", `port "lmtp" is no number from 1 to 65535`},
		{"lmtp:mail.alpha.test:0", `port "0" is no number from 1 to 65535`},
		{"lmtp:mail.alpha.test:65536", `port "65536" is no number`},
		{"lmtp:mail.alpha.test:25", `LMTP is not spoken on port 25 (RFC 2033 section 5)`},
		{"lmtp:-mail.alpha.test:24", `"-mail.alpha.test" is no host name and no IP address`},
		{"lmtp::24", `"" is no host name and no IP address`},
		{"lmtp:mail..test:24", `"mail..test" is no host name`},
		{"lmtp:unix:run/lmtp", `give the socket as an absolute path, as in lmtp:unix:/run/dovecot/lmtp`},
		{"lmtp:unix:", `give the socket as an absolute path`},
		{"lmtp:unix:/" + strings.Repeat("x", 107), `at most 107 bytes, this one has 108: use a shorter one`},
		{"lmtp+srv:_lmtp._tcp.alpha.test", `give the name without _lmtp._tcp, as in lmtp+srv:alpha.test`},
		{"lmtp+srv:alpha.test:24", `the SRV records give the port: write the name alone`},
		{"lmtp+srv:", `"" is no host name`},
		{"maildir:var/mail", `give the folder as an absolute path, as in maildir:/var/mail`},
		{"maildir:", `give the folder as an absolute path`},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseSpec(tt.text)
			if err == nil {
				t.Fatalf("taken as %+v", got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
		})
	}
}

// FuzzParseSpec checks that an accepted spec can be written out and read again.
func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"lmtp:unix:/a", "lmtp:[::1]:24", "lmtp:[fe80::1%lo]:24", "lmtp+srv:alpha.test", "maildir:/a/../b", "smtp:a:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		spec, err := ParseSpec(s)
		if err != nil {
			return
		}
		again, err := ParseSpec(spec.String())
		if err != nil || again != spec {
			t.Fatalf("%q is %+v, written out %q, read as %+v, %v", s, spec, spec.String(), again, err)
		}
	})
}
