package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestDovecot(t *testing.T) {
	const key, listen = "key_file = \"/etc/copialettere/key\"\n", "listen = [\"tcp:127.0.0.1:9181\"]\n"
	const files = "[dovecot]\nfiles = \"/var/lib/copialettere/auth\"\n"
	loopback := []SecureListener{{Listener{"tcp", "127.0.0.1:9181"}, false}}
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for _, c := range []struct {
		name, text string
		dovecot    *Dovecot
		policy     *DovecotPolicy
		warnings   int
	}{
		{"no section", "", nil, nil, 0},
		{"a folder", files, &Dovecot{"/var/lib/copialettere/auth", "dovecot"}, nil, 0},
		{"a folder in the data folder, and another user", "[dovecot]\nfiles = \"auth\"\nuser = \"dovenull\"\n",
			&Dovecot{"/var/lib/copialettere/auth", "dovenull"}, nil, 0},
		{"policy requests", files + "[dovecot_policy]\n" + key + listen, &Dovecot{"/var/lib/copialettere/auth", "dovecot"},
			&DovecotPolicy{loopback, "/etc/copialettere/key", local}, 0},
		{"without files", "[dovecot_policy]\n" + key + listen, nil, &DovecotPolicy{loopback, "/etc/copialettere/key", local}, 1},
		{"webmail elsewhere", files + "[dovecot_policy]\n" + key + listen + "webmail = [\"10.0.0.0/24\", \"2001:db8::1\"]\n",
			&Dovecot{"/var/lib/copialettere/auth", "dovecot"},
			&DovecotPolicy{loopback, "/etc/copialettere/key", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::1/128")}}, 0},
		{"no webmail", files + "[dovecot_policy]\n" + key + listen + "webmail = []\n", &Dovecot{"/var/lib/copialettere/auth", "dovecot"},
			&DovecotPolicy{loopback, "/etc/copialettere/key", nil}, 0},
	} {
		got := mustParse(t, minimal+c.text)
		if !reflect.DeepEqual(got.Dovecot, c.dovecot) || !reflect.DeepEqual(got.DovecotPolicy, c.policy) || len(got.Warnings) != c.warnings {
			t.Errorf("%s: %+v and %+v with warnings %v", c.name, got.Dovecot, got.DovecotPolicy, got.Warnings)
		}
	}
	for _, c := range []struct {
		name, text string
		want       []string // in the error
	}{
		{"no files", "[dovecot]\n", []string{"dovecot.files", "it is missing"}},
		{"the data folder itself", "[dovecot]\nfiles = \"/var/lib/copialettere/\"\n", []string{"dovecot.files", "folder of its own"}},
		{"out of the data folder", "[dovecot]\nfiles = \"../auth\"\n", []string{"leaves the data folder"}},
		{"what Dovecot would expand", "[dovecot]\nfiles = \"/var/lib/%d\"\n", []string{"a character that a setting of Dovecot would not take"}},
		{"no user", files + "user = \"\"\n", []string{"dovecot.user", "not a user name"}},
		{"no key", "[dovecot_policy]\n" + listen, []string{"dovecot_policy.key_file", "it is missing"}},
		{"a relative key", "[dovecot_policy]\nkey_file = \"key\"\n" + listen, []string{"not an absolute path"}},
		{"no listener", "[dovecot_policy]\n" + key, []string{"dovecot_policy.listen", "it is missing"}},
		{"an empty list", "[dovecot_policy]\nlisten = []\n" + key, []string{"the list is empty"}},
		{"the key in the clear", "[dovecot_policy]\nlisten = [\"tcp:192.0.2.1:9181\"]\n" + key, []string{"in the clear", `tls:192.0.2.1:9181`}},
		{"no certificate", "[dovecot_policy]\nlisten = [\"tls:192.0.2.1:9181\"]\n" + key, []string{"[tls]"}},
		{"a unix socket", "[dovecot_policy]\nlisten = [\"unix:policy.sock\"]\n" + key, []string{"is not a listen address", `"tcp:127.0.0.1:PORT"`}},
		{"no network", "[dovecot_policy]\nwebmail = [\"webmail\"]\n" + key + listen, []string{"dovecot_policy.webmail"}},
	} {
		_, err := Parse("copialettere.toml", []byte(minimal+c.text))
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", c.name, err, want)
			}
		}
	}
}
