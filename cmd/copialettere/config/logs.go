package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Logs is how long records of who did what are kept.
type Logs struct {
	// Keep is how many months the changes of settings, the acts on messages and what receipts said of recipients are kept, from MinKeep to MaxKeep.
	Keep int
}

// Bounds and default of logs.keep, in months. The Italian data protection authority wants the accesses of system administrators kept for at least
// six months (decision of 27 November 2008). PEC providers keep their logs for thirty (DPR 68/2005, article 11).
const (
	MinKeep     = 6
	MaxKeep     = 240
	DefaultKeep = 30
)

func (t *table) logs() Logs {
	c := Logs{Keep: DefaultKeep}
	v, ok := t.value("keep")
	if !ok {
		return c
	}
	if n, bare := v.(int64); bare && n >= 0 {
		t.fail("keep", faultf(fmt.Sprintf("write %q", formatMonths(int(n))), "%d has no unit", n))
		return c
	}
	s, ok := t.text("keep", formatMonths(DefaultKeep))
	if !ok {
		return c
	}
	n, f := parseMonths(s)
	switch {
	case f != nil:
	case n < MinKeep:
		f = faultf(fmt.Sprintf("write %q or more: the Italian data protection authority asks for that (27 November 2008)", formatMonths(MinKeep)),
			"%s is too short", quote(s))
	case n > MaxKeep:
		f = faultf(fmt.Sprintf("write %q or less", formatMonths(MaxKeep)), "%s is too long", quote(s))
	}
	if t.check("keep", f) {
		c.Keep = n
	}
	return c
}

// parseMonths reads "30 months".
func parseMonths(s string) (int, *fault) {
	digits, ok := strings.CutSuffix(s, " months")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || !ok || digits[0] == '+' {
		return 0, faultf(fmt.Sprintf("write a number of calendar months, as %q", formatMonths(DefaultKeep)), "%s is not a number of months", quote(s))
	}
	return int(n), nil
}

func formatMonths(n int) string { return strconv.Itoa(n) + " months" }
