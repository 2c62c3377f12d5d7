package config

import (
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Scan
		warning    string
	}{
		{"none", "", Scan{}, ""},
		{"an empty section", "[scan]\n", Scan{}, ""},
		{"a socket", "[scan]\nclamd = \"unix:/run/clamav/clamd.ctl\"\n", Scan{"unix", "/run/clamav/clamd.ctl"}, ""},
		{"a port", "[scan]\nclamd = \"tcp:127.0.0.1:3310\"\n", Scan{"tcp", "127.0.0.1:3310"}, ""},
		{"another machine", "[scan]\nclamd = \"tcp:192.0.2.1:3310\"\n", Scan{"tcp", "192.0.2.1:3310"}, "in the clear"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mustParse(t, minimal+c.text)
			if got.Scan != c.want {
				t.Errorf("%+v", got.Scan)
			}
			if c.warning == "" && len(got.Warnings) > 0 || c.warning != "" && (len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0].Error(), c.warning)) {
				t.Errorf("warnings %v", got.Warnings)
			}
		})
	}
}

func TestParseClamd(t *testing.T) {
	for _, s := range []string{"", "unix:", "unix:clamd.ctl", "tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:0", "tcp:127.0.0.1:x", "127.0.0.1:3310", "/run/clamav/clamd.ctl", "unix:/a\x00b"} {
		if c, f := parseClamd(s, "unix:/x"); f == nil || c != (Scan{}) {
			t.Errorf("%q: %+v", s, c)
		}
	}
}
