package browser

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"

	"copialettere/cmd/copialettere/e2e/rig"
)

// screenshots is the folder for the pictures of the pages; none are made without it.
var screenshots = flag.String("screenshots", "", "make pictures of the main pages in this `folder`")

// shell is Chromium without what is around a page, its windows and services. It shows pages as Chromium does, and takes half the processor time.
const shell = "chromium-headless-shell"

// What TestMain makes for all tests.
var (
	program     string          // path of the program under test
	certificate *keyPair        // of localhost
	chromium    context.Context // of the one browser; each test has a context of its own in it
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := errors.Join(rig.Missing(), missing()); err != nil {
		fmt.Fprintf(os.Stderr, "The browser tests cannot run here:\n%v\n\"make test\", run as root, installs what is missing.\n", err)
		return 1
	}
	rig.RemoveLeftovers()
	folder, err := rig.NewFolder()
	if err == nil {
		defer os.RemoveAll(folder)
		program, err = rig.Build(folder)
	}
	if err == nil {
		certificate, err = newKeyPair()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	allocated, release := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(shell), chromedp.Headless, chromedp.NoSandbox,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.DisableGPU, chromedp.Flag("ignore-certificate-errors-spki-list", certificate.hash),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("font-render-hinting", "none"), chromedp.Flag("hide-scrollbars", true))
	defer release()
	started, end := chromedp.NewContext(allocated)
	defer end()
	if err := chromedp.Do(started); err != nil {
		fmt.Fprintf(os.Stderr, "Chromium does not start: %v\n", err)
		return 1
	}
	chromium = started
	return m.Run()
}

// missing returns nil if the programs of the browser tests are there, or else an error with their remedy.
func missing() error {
	var problems []error
	for _, program := range []string{shell, "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			problems = append(problems, fmt.Errorf("%s is missing: apt-get install %s", program, program))
		}
	}
	return errors.Join(problems...)
}
