package config

import (
	"strings"
	"time"
)

// Verify is how the daemon verifies the whole archive in the background.
type Verify struct {
	// Every is the time from the start of one verification to the start of the next; 0 for never.
	Every time.Duration
	// Rate is how many bytes a second it reads at most.
	Rate int64
}

func (t *table) verify() Verify {
	const never = "off"
	c := Verify{Rate: t.size("rate", 10e6, 100e3, 10e9)}
	if s, ok := t.values["every"].(string); ok && s == never {
		t.text("every", never)
		return c
	}
	c.Every = quantity(t, "every", 30*day, day, 366*day, func(s string) (time.Duration, *fault) {
		d, f := parseDuration(s)
		if f != nil && strings.Trim(s, "0123456789") != "" {
			f = faultf(`write a duration such as "30d", or "`+never+`"`, "%s is neither", quote(s))
		}
		return d, f
	}, formatDuration, "d")
	return c
}

const day = 24 * time.Hour
