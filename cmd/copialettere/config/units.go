package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

type unit struct {
	name   string
	factor int64
}

// durationUnits are the units of a duration in nanoseconds, the largest first.
var durationUnits = [...]unit{
	{"d", int64(24 * time.Hour)},
	{"h", int64(time.Hour)},
	{"m", int64(time.Minute)},
	{"s", int64(time.Second)},
	{"ms", int64(time.Millisecond)},
}

// sizeUnits are the units of a size in bytes, the largest first.
var sizeUnits = [...]unit{
	{"GiB", 1 << 30},
	{"GB", 1e9},
	{"MiB", 1 << 20},
	{"MB", 1e6},
	{"KiB", 1 << 10},
	{"kB", 1e3},
	{"B", 1},
}

const sizeUnitList = "B, kB, MB, GB, KiB, MiB, GiB"

// parseDuration reads "30s" or "1h30m".
func parseDuration(s string) (time.Duration, *fault) {
	if s == "" {
		return 0, faultf(`write a number with a unit, as "30s"`, "the duration is empty")
	}
	var total int64
	for rest := s; rest != ""; {
		digits, name, after := splitQuantity(rest)
		if digits == s {
			return 0, faultf(`write "`+shorten(s)+`s"`, "%s has no unit", quote(s))
		}
		factor, ok := lookupUnit(durationUnits[:], name)
		if digits == "" || !ok {
			return 0, faultf(`write whole numbers with a unit (ms, s, m, h, d), as "30s" or "1h30m"`, "%s is not a duration", quote(s))
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > (math.MaxInt64-total)/factor {
			return 0, faultf("write a smaller one", "%s is too large for a duration", quote(s))
		}
		total += n * factor
		rest = after
	}
	return time.Duration(total), nil
}

// ParseSize reads a size as the file has it: "150MB".
func ParseSize(s string) (int64, error) {
	n, bad := parseSize(s)
	if bad != nil {
		return 0, fmt.Errorf("%s: %s", bad.problem, bad.remedy)
	}
	return n, nil
}

// parseSize reads "150MB".
func parseSize(s string) (int64, *fault) {
	if s == "" {
		return 0, faultf(`write a number with a unit, as "150MB"`, "the size is empty")
	}
	digits, name, after := splitQuantity(s)
	if digits == "" || after != "" {
		return 0, faultf(`write one whole number with a unit (`+sizeUnitList+`), as "150MB"`, "%s is not a size", quote(s))
	}
	if name == "" {
		return 0, faultf(`write "`+shorten(s)+`MB"`, "%s has no unit", quote(s))
	}
	factor, ok := lookupUnit(sizeUnits[:], name)
	if !ok {
		remedy := "the units are " + sizeUnitList
		if near := nearUnit(name); near != "" {
			remedy = `write "` + shorten(digits) + near + `"`
		}
		return 0, faultf(remedy, "%s has an unknown unit", quote(s))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return 0, faultf("write a smaller one", "%s is too large for a size", quote(s))
	}
	return n * factor, nil
}

// splitQuantity splits s into its leading digits, the letters that follow, and the rest.
func splitQuantity(s string) (digits, name, after string) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	j := i
	for j < len(s) && ('a' <= s[j]|0x20 && s[j]|0x20 <= 'z') {
		j++
	}
	return s[:i], s[i:j], s[j:]
}

func lookupUnit(units []unit, name string) (int64, bool) {
	for _, u := range units {
		if u.name == name {
			return u.factor, true
		}
	}
	return 0, false
}

// nearUnit returns the unit that an operator means by "mb" or "G", or "".
func nearUnit(name string) string {
	for _, u := range sizeUnits {
		if strings.EqualFold(u.name, name) || strings.EqualFold(strings.TrimSuffix(u.name, "B"), name) {
			return u.name
		}
	}
	return ""
}

// shorten keeps a remedy readable when the value is long.
func shorten(s string) string {
	if len(s) > 20 {
		return s[:20] + "..."
	}
	return s
}

// formatDuration writes d as parseDuration reads it.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range durationUnits {
		if n := int64(d) / u.factor; n > 0 {
			b.WriteString(strconv.FormatInt(n, 10) + u.name)
			d -= time.Duration(n * u.factor)
		}
	}
	return b.String()
}

// formatSize writes n in the largest unit that leaves a whole number.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.factor && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
