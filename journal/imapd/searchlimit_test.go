package imapd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
)

// TestSearchLimits searches under narrow limits. A search over them is refused in a sentence, and never answered in part; one that needs to read nothing,
// or less, is answered.
func TestSearchLimits(t *testing.T) {
	const refused = "t NO [LIMIT] Ricerca troppo estesa"
	for _, c := range []struct {
		name   string
		limits func(*Config)
		search string
		want   string
	}{
		{"bytes", func(c *Config) { c.searchBytes = 4000 }, "TEXT parola", refused},
		{"bytes, last message", func(c *Config) { c.searchBytes = 9 * 1030 }, "BODY parola", refused},
		{"bytes, not", func(c *Config) { c.searchBytes = 4000 }, "NOT BODY parola", refused},
		{"bytes, or", func(c *Config) { c.searchBytes = 4000 }, "OR BODY parola SUBJECT 3", refused},
		{"bytes, saved", func(c *Config) { c.searchBytes = 4000 }, "RETURN (SAVE COUNT) BODY parola", refused},
		{"bytes, few messages", func(c *Config) { c.searchBytes = 4000 }, "2:3 BODY parola", "* SEARCH 2 3\r\n"},
		{"bytes, by size", func(c *Config) { c.searchBytes = 1 }, "LARGER 10", "* SEARCH 1 2 3 4 5 6 7 8 9 10\r\n"},
		{"bytes, headers of all", func(c *Config) { c.searchBytes = 1 }, "HEADER X-None x", refused},
		{"enough bytes", func(c *Config) { c.searchBytes = 20_000 }, "BODY parola", "* SEARCH 1 2 3 4 5 6 7 8 9 10\r\n"},
		{"time", func(c *Config) { c.searchTime = time.Nanosecond }, "BODY parola", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.limits)
			for i := range 10 {
				r.add(anna, journal.Received, fmt.Sprintf("Subject: %d\r\n\r\n%sparola\r\n", i, strings.Repeat("x", 1000)))
			}
			p := r.open("INBOX/2026-11")
			if got := p.dialogue(t, "SEARCH "+c.search); !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got := p.dialogue(t, "NOOP"); got != "t OK NOOP completed\r\n" {
				t.Errorf("then %q", got)
			}
		})
	}
}
