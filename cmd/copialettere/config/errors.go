package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Error is one thing wrong in a configuration file.
type Error struct {
	// File is the name of the file as it was given.
	File string
	// Line is the line, from 1; 0 where a key is missing at the top of the file.
	Line int
	// Key is the dotted key, as "received.next_hop"; "" for a syntax error outside of any key.
	Key string
	// Problem says what is wrong.
	Problem string
	// Remedy says what to do about it.
	Remedy string
}

// Error returns one line: "copialettere.toml:12: received.max_message_size: "150" has no unit: write "150MB"".
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	for _, s := range []string{e.Key, e.Problem, e.Remedy} {
		if s != "" {
			b.WriteString(": ")
			b.WriteString(s)
		}
	}
	return b.String()
}

// Errors is everything wrong in a configuration file, in the order of the lines. As an error it is never empty.
type Errors []Error

// Error returns one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
}

// fault is what is wrong with a value, without the place of the value.
type fault struct{ problem, remedy string }

func faultf(remedy, format string, args ...any) *fault {
	return &fault{fmt.Sprintf(format, args...), remedy}
}

// quote shows a value in an error, on one line and cut at 80 characters.
func quote(s string) string {
	const limit = 80
	if len(s) > limit {
		cut := limit
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// oneLine keeps foreign text on the line of its error.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
