package pectest

import (
	"os"
	"time"
)

// test is what a file writer needs of a testing.TB. This package does not import testing, since the demonstration uses it too.
type test interface {
	Helper()
	Fatal(args ...any)
}

// Written is when the files of [pec] that tests start from were last modified: long ago, so they count as complete.
var Written = time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)

// Overwrite writes a file in place, last modified at the given time.
func Overwrite(t test, path, text string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// Replace writes a new file beside the old one and renames it into place, as operators are told to.
func Replace(t test, path, text string, modified time.Time) {
	t.Helper()
	Overwrite(t, path+".new", text, modified)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
