package browser

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

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
const axeRun = `axe.run({exclude: [["iframe"]]}, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"], iframes: false})
	.then(r => r.violations)`

// accessible fails the test if axe-core finds anything on the page, in each of the looks.
func (x *tab) accessible(looks ...look) {
	x.testing.Helper()
	script, err := axeScript()
	if err != nil {
		x.testing.Fatal(err)
	}
	// The page's own Content-Security-Policy would let no foreign script in. It is as strict again when the next page is loaded.
	x.bypass(true)
	defer x.bypass(false)
	x.do(chromedp.Reload())
	x.settle()
	if _, err := evaluate[any](x, script+"; 0"); err != nil {
		x.testing.Fatalf("axe-core at %s: %v", x.location(), err)
	}
	for _, l := range looks {
		x.setLook(l)
		found, err := chromedp.Run(x.ctx, chromedp.Evaluate[[]violation](axeRun, chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
		if err != nil {
			x.testing.Fatalf("axe-core at %s: %v", x.location(), err)
		}
		for _, v := range found {
			var nodes []string
			for _, n := range v.Nodes {
				nodes = append(nodes, n.HTML+"\n    "+n.Summary)
			}
			x.testing.Errorf("%s (%v): %s: %s\n  %s", x.location(), l, v.ID, v.Help, strings.Join(nodes, "\n  "))
		}
	}
}

func (x *tab) bypass(enabled bool) {
	x.call("bypass the policy", func() error {
		_, err := chromedp.Call(x.ctx, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: enabled})
		return err
	})
}

// fits fails the test if the page is wider than the window.
func (x *tab) fits() {
	x.testing.Helper()
	wide, err := evaluate[[]string](x, `(() => { const width = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= width) return [];
		return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > width + 1).slice(0, 5).map(e => e.outerHTML.slice(0, 200)) })()`)
	if err != nil || len(wide) > 0 {
		x.testing.Errorf("%s is wider than the window of a %v, %v:\n%s", x.location(), x.look, err, strings.Join(wide, "\n"))
	}
}

// light fails the test if the page weighs 60 kB or more, or needs more than one request beside itself. Frames are mail, which has requests of its own.
func (x *tab) light() {
	x.testing.Helper()
	type load struct {
		Size   int
		Others []string
	}
	got, err := evaluate[load](x, `({Size: performance.getEntriesByType("navigation")[0].decodedBodySize,
		Others: performance.getEntriesByType("resource").filter(r => r.initiatorType !== "iframe").map(r => r.name)})`)
	if err != nil || got.Size >= 60_000 || len(got.Others) > 1 {
		x.testing.Errorf("%s has %d bytes and loads %q, %v", x.location(), got.Size, got.Others, err)
	}
}

// TestNothingThere shows the page of an address that leads nowhere, which needs no sign-in.
func TestNothingThere(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct{ language, text string }{
		{"it-IT,it;q=0.9", "Pagina non trovata"}, {"en-GB,en;q=0.9", "Page not found"}, {"de,en;q=0.5", "Page not found"}, {"fr", "Pagina non trovata"},
	} {
		t.Run(c.language, func(t *testing.T) {
			x := s.newTab(t, look{language: c.language, phone: true, dark: true})
			x.open("/nothing/there")
			x.see(c.text)
			x.light()
			x.fits()
			x.accessible(x.look)
		})
	}
}
