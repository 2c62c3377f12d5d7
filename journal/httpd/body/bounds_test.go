//go:build !race

package body

// The test of this file measures what is allocated, so it runs without the race detector, under which pools keep nothing.

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestSanitizeBounds gives text that would be costly to read whole. Time and memory stay bounded, and what is left out is told.
func TestSanitizeBounds(t *testing.T) {
	const much = 3 << 20
	fill := func(s string) string { return strings.Repeat(s, much/len(s)) }
	for _, c := range []struct {
		name, in string
		cut      bool
	}{
		{"a long text", fill("words "), true},
		{"many elements", fill("<b>"), true},
		{"deep elements", strings.Repeat("<div>", 40000) + "x" + strings.Repeat("</div>", 40000), false},
		{"a large table", "<table>" + fill("<tr><td>x"), true},
		{"end tags", strings.Repeat("<i>", 40000) + fill("</p></i>"), true},
		{"one tag of many attributes", "<p " + fill("a=1 ") + ">x", true},
		{"many attributes of one name", "<p " + strings.Repeat("style=color:red ", 100000) + ">x", false},
		{"a long style", `<p style="` + strings.Repeat("color:red;", 200000) + `">x`, false},
		{"much style", strings.Repeat(`<p style="`+strings.Repeat("color:red;", 400)+`">x`, 100), false},
		{"strings in styles", strings.Repeat(`<p style="`+strings.Repeat("font:'a';", 400)+`">x`, 100), false},
		{"parentheses in styles", strings.Repeat(`<p style="`+strings.Repeat("color:rgb(1,2,", 250)+`">x`, 100), false},
		{"many styles", strings.Repeat(`<p style="`+strings.Repeat("url(", 900)+`">x`, 100), false},
		{"unclosed comments in styles", strings.Repeat(`<p style="`+strings.Repeat("/*'", 1000)+`">x`, 100), false},
		{"ampersands", fill("&"), true},
		{"open tags", fill("<"), true},
		{"open comments", fill("<!--"), true},
		{"raw text elements", fill("<title>"), true},
		{"entities in attributes", `<p title="` + strings.Repeat("&amp", 400000) + `">x`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := htmlPart(t, c.in)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			found, err := NewSanitizer().Write(io.Discard, l, Options{})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			// What was allocated in all bounds what was held; it does not depend on the garbage collector.
			if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; err != nil || found.Cut != c.cut || took > time.Minute || allocated > 400 {
				t.Errorf("%+v, %v, in %v, %d MiB", found, err, took, allocated)
			}
			t.Logf("%v, %d MiB", took, (after.TotalAlloc-before.TotalAlloc)>>20)
		})
	}
}
