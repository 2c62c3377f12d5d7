package config

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0s": 0, "1ms": time.Millisecond, "30s": 30 * time.Second, "5m": 5 * time.Minute, "12h": 12 * time.Hour, "21d": 21 * 24 * time.Hour,
		"1h30m": 90 * time.Minute, "1d1h1m1s1ms": 25*time.Hour + time.Minute + time.Second + time.Millisecond, "007s": 7 * time.Second,
	} {
		if got, f := parseDuration(s); f != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, f)
		}
	}
	for _, s := range []string{"", "s", "1", "1S", "1 s", " 1s", "1s ", "+1s", "-1s", "1.5s", "1s2", "1us", "1w", "1ss", "106752d", "1sé", "①s"} {
		if got, f := parseDuration(s); f == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0B": 0, "1B": 1, "4kB": 4000, "4KiB": 4096, "150MB": 150_000_000, "150MiB": 150 << 20, "1GB": 1_000_000_000, "1GiB": 1 << 30,
		"9223372036854775807B": 1<<63 - 1, "9223372036GB": 9223372036_000_000_000,
	} {
		if got, f := parseSize(s); f != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, f)
		}
	}
	for _, s := range []string{
		"", "B", "1", "1b", "1KB", "1kb", "1 MB", "1.5MB", "-1MB", "1MB1kB", "1TB", "9223372036854775808B", "9223372037GB", "1M", "MB1", "0x1B",
	} {
		if got, f := parseSize(s); f == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// FuzzUnits: what parseDuration and parseSize accept is not negative, and reads back from its formatted form.
func FuzzUnits(f *testing.F) {
	for _, s := range []string{"30s", "1h30m", "150MB", "64KiB", "999ms", "106751d", "9223372036854775807B", "", "1", "1.5GB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, bad := parseDuration(s); bad == nil {
			if again, bad := parseDuration(formatDuration(d)); d < 0 || bad != nil || again != d {
				t.Errorf("%q: %d, again %d, %v", s, d, again, bad)
			}
		}
		if n, bad := parseSize(s); bad == nil {
			if again, bad := parseSize(formatSize(n)); n < 0 || bad != nil || again != n {
				t.Errorf("%q: %d, again %d, %v", s, n, again, bad)
			}
		}
	})
}
