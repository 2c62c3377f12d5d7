package browser

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

//go:embed measure.js
var measureScript string

//go:embed axe/package.json axe/package-lock.json
var axePackage embed.FS

// axeScript returns axe-core, which npm installs at the version and with the digest of axe/package-lock.json.
var axeScript = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "copialettere-axe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	if err := os.CopyFS(folder, axePackage); err != nil {
		return "", err
	}
	command := exec.Command("npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
	command.Dir = filepath.Join(folder, "axe")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(command.Dir, "node_modules", "axe-core", "axe.min.js"))
	return string(b), err
})

// bringAxe has each page that the tab opens from now on come with a function that makes axe-core, for faults. It is half a megabyte, and to send it to
// every page takes as long as a run of it.
func (x *tab) bringAxe() {
	x.testing.Helper()
	x.call("axe-core", func() error {
		script, err := axeScript()
		if err == nil {
			source := "function makeAxe() {" + script + "\n}"
			_, err = chromedp.Call(x.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: source})
		}
		return err
	})
}

// violation is what axe-core finds.
type violation struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// What the pages promise, WCAG 2.2 AA, and what axe-core calls best practices. Frames are left out: they show the mail of others, whatever it looks like.
const axeOptions = `resultTypes: ["violations"], iframes: false`

// What axe.run checks: everything; everything but colours, which take most of the time; or what can change from light to dark.
const (
	everyRule   = `runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`
	plainRules  = everyRule + `, rules: {"color-contrast": {enabled: false}}`
	colourRules = `runOnly: {type: "rule", values: ["color-contrast", "link-in-text-block"]}`
)

// faults returns what is wrong with the page: what axe-core finds in one size of the window, and of colours, where wanted, in light and in dark; what is
// too wide for a window of any size; and what is too wide or cut off with the text at twice its size. The narrowest window is that of WCAG 2.2, 1.4.10. The
// tab must have axe-core (bringAxe).
func (x *tab) faults(narrow, colours bool) (list []string) {
	x.testing.Helper()
	rules := map[string]look{plainRules: {narrow: narrow}}
	if colours {
		rules = map[string]look{everyRule: {narrow: narrow}, colourRules: {narrow: narrow, dark: true}}
	}
	if _, err := evaluate[any](x, "makeAxe()"); err != nil {
		x.testing.Fatalf("axe-core at %s: %v", x.location(), err)
	}
	for rules, l := range rules {
		x.dress(l)
		found, err := x.violations(fmt.Sprintf(`axe.run({exclude: [["iframe"]]}, {%s, %s}).then(r => r.violations)`, rules, axeOptions))
		if err != nil {
			x.testing.Fatalf("axe-core at %s: %v", x.location(), err)
		}
		for _, v := range found {
			var nodes []string
			for _, n := range v.Nodes {
				nodes = append(nodes, n.HTML+"\n    "+n.Summary)
			}
			list = append(list, fmt.Sprintf("%v: %s: %s\n  %s", l, v.ID, v.Help, strings.Join(nodes, "\n  ")))
		}
	}
	for _, width := range []int64{320, 740, 1024, 1180} {
		x.resize(width, 760)
		list = append(list, x.measure("usual text")...)
	}
	x.dress(look{})
	x.setFontSize(2 * usualFontSize)
	defer x.setFontSize(usualFontSize)
	return append(list, x.measure("text at twice its size")...)
}

// violations runs axe-core.
func (x *tab) violations(expression string) ([]violation, error) {
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[[]violation](expression, chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
}

// usualFontSize is that of text in a browser of which nobody has changed the settings, in pixels.
const usualFontSize = 16

// setFontSize changes the size of text as the settings of a browser do.
func (x *tab) setFontSize(pixels int64) {
	x.testing.Helper()
	x.call("font size", func() error {
		_, err := chromedp.Call(x.ctx, page.SetFontSizes, page.SetFontSizesParams{FontSizes: &page.FontSizes{Standard: pixels, Fixed: pixels * 13 / usualFontSize}})
		return err
	})
}

// measure returns what is wider than the window, or does not show whole.
func (x *tab) measure(when string) (list []string) {
	x.testing.Helper()
	wide, err := evaluate[[]string](x, fmt.Sprintf("(%s)()", measureScript))
	if err != nil {
		x.testing.Fatalf("measure %s: %v", x.location(), err)
	}
	for _, one := range wide {
		list = append(list, when+": "+one)
	}
	return list
}

// bypass has the next pages ignore the policies that they come with.
func (x *tab) bypass(enabled bool) {
	x.testing.Helper()
	x.call("bypass the policy", func() error {
		_, err := chromedp.Call(x.ctx, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: enabled})
		return err
	})
}

// sound fails the test if anything is wrong with how the page looks.
func (x *tab) sound(narrow, colours bool) {
	x.testing.Helper()
	for _, fault := range x.faults(narrow, colours) {
		x.testing.Errorf("%s: %s", x.location(), fault)
	}
}

// TestFaults shows that the checks find what is wrong, each in a page with just that.
func TestFaults(t *testing.T) {
	const plain = `<main><h1>Page</h1><p>Text</p></main>`
	pages := []struct{ name, body, want string }{
		{"nothing", plain, ""},
		{"a field without a label", plain + `<main><form><input name="q"></form></main>`, "label"},
		{"no language", `<script>document.documentElement.lang = ""</script>` + plain, "html-has-lang"},
		{"pale text", plain + `<p style="color:#bbb">pale</p>`, "desktop-light: color-contrast"},
		{"pale text in the dark", plain + `<style>@media (prefers-color-scheme:dark){p{color:#bbb;background:#fff}}</style>`, "desktop-dark: color-contrast"},
		{"pale text in a narrow window", plain + `<style>@media (max-width:30rem){p{color:#bbb}}</style>`, "narrow-light: color-contrast"},
		{"small targets", `<main><h1>Page</h1><a href="/1" style="font-size:6px">1</a><br><a href="/2" style="font-size:6px">2</a></main>`, "target-size"},
		{"a wide line", `<main><h1>Page</h1><p style="width:400px">Text</p></main>`, "wider than the window of 320"},
		{"a wide table", `<main><h1>Page</h1><div style="width:45rem">Text</div></main>`, "twice its size: wider"},
		{"a table for a desktop", `<main><h1>Page</h1><div style="width:1100px">Text</div></main>`, "wider than the window of 740"},
		{"text that is cut off", `<main><h1>Page</h1><p style="height:20px;overflow:hidden">Text</p></main>`, "twice its size: cut off"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		var i int
		if _, err := fmt.Sscanf(r.URL.Path, "/page/%d", &i); err == nil {
			fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><head><title>Page</title><meta name="viewport" content="width=device-width">`+
				`<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"></head><body>%s</body></html>`, pages[i].body)
		}
	}))
	t.Cleanup(server.Close)
	x := openTab(t, server.URL, look{})
	x.bringAxe()
	for i, c := range pages {
		t.Run(c.name, func(t *testing.T) {
			x := x.in(t)
			x.open(fmt.Sprintf("/page/%d", i))
			found := strings.Join(append(x.faults(false, true), x.faults(true, true)...), "\n")
			if c.want == "" && found != "" || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}
