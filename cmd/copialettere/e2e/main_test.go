package e2e

import (
	"fmt"
	"os"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// program is the path of the program under test, set by TestMain.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// Not a skip: a test that did not run must not look like one that passed.
	if err := rig.Missing(); err != nil {
		fmt.Fprintf(os.Stderr, "The end-to-end tests cannot run here:\n%v\n\"make test\", run as root, installs what is missing.\n", err)
		return 1
	}
	rig.RemoveLeftovers()
	folder, err := rig.NewFolder()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	if program, err = rig.Build(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
