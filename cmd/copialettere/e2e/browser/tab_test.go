package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"copialettere/cmd/copialettere/e2e/rig"
)

// patience is how long a page may take to show what a test waits for. Test machines are slow at times.
const patience = 30 * time.Second

//go:embed find.js
var findScript string

// look is how somebody looks at the pages.
type look struct {
	language string // that the browser asks for; Italian if ""
	zone     string // of the browser; Europe/Rome if ""
	dark     bool
	phone    bool
	narrow   bool // as wide as a phone of old, or a desktop at 400 %
	noScript bool
}

// String names the look, as in the name of a picture.
func (l look) String() string {
	name := "desktop"
	if l.phone {
		name = "phone"
	}
	if l.narrow {
		name = "narrow"
	}
	if l.dark {
		return name + "-dark"
	}
	return name + "-light"
}

// size is that of the window.
func (l look) size() image.Point {
	if l.phone {
		return image.Point{360, 740}
	}
	if l.narrow {
		return image.Point{320, 640}
	}
	return image.Point{1180, 760}
}

// tab is a page of a browser of its own: no other test sees its cookies.
type tab struct {
	testing   *testing.T
	ctx       context.Context
	origin    string
	downloads string // folder
	look      look
	heard     *heard
}

// newTab opens a browser that has not been here before.
func (s *site) newTab(t *testing.T, l look) *tab {
	t.Helper()
	return openTab(t, s.origin, l)
}

func openTab(t *testing.T, origin string, l look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	x := &tab{testing: t, ctx: ctx, origin: origin, downloads: t.TempDir(), heard: &heard{loads: make(map[cdp.LoaderID]*load)}}
	// The page lasts as long as the context of the first action, so this one has no deadline.
	x.call("new tab", func() error { return chromedp.Do(ctx, chromedp.Navigate("about:blank")) })
	x.call("listen", func() error {
		tree, err := chromedp.Call(ctx, page.GetFrameTree, cdp.Empty{})
		if err != nil {
			return err
		}
		x.heard.top = tree.FrameTree.Frame.ID
		if err := chromedp.Listen(ctx, x.heard.hear); err != nil {
			return err
		}
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
		if err == nil {
			_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
		}
		if err == nil {
			// Another tab may be in front.
			_, err = chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		}
		return err
	})
	x.setLook(l)
	t.Cleanup(func() {
		for _, text := range x.heard.complained() {
			t.Errorf("the browser complains: %s", text)
		}
		if t.Failed() {
			t.Logf("at the end %s shows:\n%s", x.location(), x.text())
		}
	})
	x.call("download folder", func() error {
		_, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
			Behavior: browser.SetDownloadBehaviorBehaviorAllow, BrowserContextID: chromedp.FromContext(ctx).BrowserContextID, DownloadPath: x.downloads})
		return err
	})
	return x
}

// in returns the same tab for a subtest.
func (x *tab) in(t *testing.T) *tab {
	one := *x
	one.testing = t
	return &one
}

// setLook changes how the pages are looked at, from the next page on.
func (x *tab) setLook(l look) {
	x.testing.Helper()
	x.dress(l)
	language, zone := "it-IT,it;q=0.9", "Europe/Rome"
	if l.language != "" {
		language = l.language
	}
	if l.zone != "" {
		zone = l.zone
	}
	x.call("look", func() error {
		_, err := chromedp.Call(x.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": language}})
		if err == nil {
			_, err = chromedp.Call(x.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noScript})
		}
		if err == nil {
			_, err = chromedp.Call(x.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: zone})
		}
		return err
	})
}

// dress changes how this page looks: the size of the window, and light or dark.
func (x *tab) dress(l look) {
	x.testing.Helper()
	x.look = l
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	size := l.size()
	x.resize(int64(size.X), int64(size.Y))
	x.call("look", func() error {
		_, err := chromedp.Call(x.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return err
	})
}

// resize changes the size of the window.
func (x *tab) resize(width, height int64) {
	x.testing.Helper()
	x.call("size of the window", func() error {
		_, err := chromedp.Call(x.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
		return err
	})
}

func (x *tab) call(what string, f func() error) {
	x.testing.Helper()
	if err := f(); err != nil {
		x.testing.Fatalf("%s: %v", what, err)
	}
}

func (x *tab) do(action chromedp.Action[chromedp.Void]) {
	x.testing.Helper()
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, action); err != nil {
		x.testing.Fatal(err)
	}
}

// open goes to a page of the site.
func (x *tab) open(path string) {
	x.testing.Helper()
	x.do(chromedp.Navigate(x.origin + path))
}

// evaluate runs an expression in the page.
func evaluate[T any](x *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

// text returns what the page shows.
func (x *tab) text() string {
	text, err := evaluate[string](x, "document.body.innerText")
	if err != nil {
		return err.Error()
	}
	return text
}

// textOf returns the text of the first element that a selector finds.
func (x *tab) textOf(selector string) string {
	x.testing.Helper()
	text, err := evaluate[string](x, fmt.Sprintf("document.querySelector(%q).innerText", selector))
	if err != nil {
		x.testing.Fatalf("%s has no %s: %v", x.location(), selector, err)
	}
	return text
}

// location returns the URL of the page, without the origin.
func (x *tab) location() string {
	at, err := evaluate[string](x, "location.href")
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(at, x.origin)
}

// wait waits until an expression is true in the page.
func (x *tab) wait(what, expression string) {
	x.testing.Helper()
	rig.Wait(x.testing, patience, what+" at "+x.location(), func() bool {
		// The page may be about to leave, and then has nothing to evaluate in.
		ok, err := evaluate[bool](x, expression)
		return err == nil && ok
	})
}

// see waits until the page shows texts, in any case of letters.
func (x *tab) see(texts ...string) {
	x.testing.Helper()
	for _, text := range texts {
		deadline := time.Now().Add(patience)
		for !strings.Contains(strings.ToLower(x.text()), strings.ToLower(text)) {
			if time.Now().After(deadline) {
				x.testing.Fatalf("%s does not show %q", x.location(), text)
			}
		}
	}
}

// place is where an element is in the window.
type place struct{ X, Y float64 }

// find waits for the element that a person would find by a name: its text or its label. Kind is a word of find.js. It returns the place of it.
func (x *tab) find(kind, name string) place {
	x.testing.Helper()
	arguments, _ := json.Marshal([]string{kind, name})
	var found *place
	rig.Wait(x.testing, patience, fmt.Sprintf("the %s %q at %s", kind, name, x.location()), func() bool {
		var err error
		found, err = evaluate[*place](x, fmt.Sprintf("(%s)(...%s)", findScript, arguments))
		return err == nil && found != nil
	})
	return *found
}

// press clicks on the link or button of that name, and waits until the page that it leads to is there, if it leads to one.
func (x *tab) press(name string) {
	x.testing.Helper()
	x.click(x.find("press", name))
}

// click clicks at a place with the mouse, and waits for the page that it may lead to.
func (x *tab) click(at place) {
	x.testing.Helper()
	x.do(chromedp.MouseClickXY(at.X, at.Y))
	x.settle()
}

// settle waits until the page is complete, and no other one is on its way.
func (x *tab) settle() {
	x.testing.Helper()
	rig.Wait(x.testing, patience, "the page to be complete", func() bool {
		ok, err := evaluate[bool](x, "document.readyState === 'complete'")
		return err == nil && ok && x.heard.settled()
	})
}

// fill writes a text into the field of that label, in place of what it has. A day is written as "2026-11-29".
func (x *tab) fill(label, text string) {
	x.testing.Helper()
	x.find("field", label)
	value, _ := json.Marshal(text)
	// What is typed into a field for a day depends on the language of the browser itself.
	day, err := evaluate[bool](x, fmt.Sprintf(`(f => { if (f.type !== "date") { f.select && f.select(); return false } f.value = %s; return true })(document.activeElement)`, value))
	if err != nil {
		x.testing.Fatalf("fill %s: %v", label, err)
	}
	if !day {
		x.write(text)
	}
}

// key types a key, as kb.Tab.
func (x *tab) key(key string) {
	x.testing.Helper()
	x.do(chromedp.KeyEvent(key))
}

// write types a text where the focus is.
func (x *tab) write(text string) {
	x.testing.Helper()
	x.call("write", func() error {
		_, err := chromedp.Call(x.ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	})
}

// focused waits until the focus is on the element of that name: its label, or its text.
func (x *tab) focused(name string) {
	x.testing.Helper()
	x.wait("the focus on "+name, isFocused(name))
}

func isFocused(name string) string {
	text, _ := json.Marshal(name)
	return fmt.Sprintf(`[document.activeElement.innerText, document.activeElement.ariaLabel, ...[...(document.activeElement.labels || [])].map(l => l.innerText)]
		.some(t => (t || "").includes(%s))`, text)
}

// tabTo moves the focus on with the Tab key, to the element of that name.
func (x *tab) tabTo(name string) {
	x.testing.Helper()
	for range 150 {
		x.key(kb.Tab)
		if ok, err := evaluate[bool](x, isFocused(name)); err == nil && ok {
			return
		}
	}
	x.testing.Fatalf("at %s, the Tab key does not come to %q", x.location(), name)
}

// signIn signs somebody in with the password of the rig.
func (x *tab) signIn(address string) {
	x.testing.Helper()
	x.open("/sign-in")
	x.fill("Indirizzo|address", address)
	x.fill("Password", rig.Password)
	x.press("Entra|Sign in")
	x.wait("the page after the sign-in", "!location.pathname.startsWith('/sign-in')")
	x.settle()
}

// sees reports whether the page shows a text now.
func (x *tab) sees(text string) bool {
	return strings.Contains(strings.ToLower(x.text()), strings.ToLower(text))
}

// choose clicks on the radio button, check box or option of that label.
func (x *tab) choose(label string) {
	x.testing.Helper()
	x.click(x.find("choose", label))
}

// download presses a link and returns the name and the bytes of the file that the browser saves.
func (x *tab) download(name string) (string, []byte) {
	x.testing.Helper()
	at := x.find("press", name)
	x.do(chromedp.MouseClickXY(at.X, at.Y))
	var file string
	rig.Wait(x.testing, patience, "the file of "+name, func() bool {
		files, _ := filepath.Glob(filepath.Join(x.downloads, "*"))
		file = ""
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil || info.Size() == 0 || strings.HasSuffix(f, ".crdownload") || strings.HasPrefix(filepath.Base(f), ".") {
				return false // it is not written to its end: the browser makes an empty file of its name first
			}
			file = f
		}
		return file != ""
	})
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.Remove(file)
	}
	if err != nil {
		x.testing.Fatal(err)
	}
	return filepath.Base(file), b
}

// picture returns what the window shows as a PNG.
func (x *tab) picture() []byte {
	x.testing.Helper()
	var picture []byte
	x.call("picture", func() error {
		r, err := chromedp.Call(x.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})
		picture = r.Data
		return err
	})
	return picture
}
