package postfix

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fakePostmap answers as postmap -q - does: TYPE:PLACE is the file PLACE in the folder of the test, with a key, a tab and a value on a line;
// static:VALUE has the value for every key. What it was asked goes into the file "asked".
const fakePostmap = `#!/bin/sh
echo "$3" >>"%[1]s/asked"
case "$3" in static:*) exec awk -v v="${3#static:}" '{print $0 "\t" v}';; esac
file="%[1]s/$(printf %%s "${3#*:}" | sed "s,^/,,; s,/,%%,g")"
if [ ! -e "$file" ]; then echo "postmap: fatal: open database $file.db: No such file or directory" >&2; exit 1; fi
exec awk -F '\t' -v f="$file" 'BEGIN {while ((getline line < f) > 0) {split(line, a, "\t"); m[a[1]] = a[2]}} $0 in m {print $0 "\t" m[$0]; n++} END {exit !n}'
`

// fakePostconf answers with the files "main", "master" and "overrides".
const fakePostconf = `#!/bin/sh
case "$1" in -x) cat "%[1]s/main";; -M) cat "%[1]s/master";; -Px) cat "%[1]s/overrides";; esac
`

// fakePostfix is what stands for Postfix in a test: its configuration, and its tables by name.
type fakePostfix struct {
	main, overrides string
	master          string
	tables          map[string]string
}

// install puts the stand-ins for Postfix's programs into PATH, and returns their folder.
func (f fakePostfix) install(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range f.tables {
		writeFile(t, folder, name, text)
	}
	writeFile(t, folder, "main", f.main)
	writeFile(t, folder, "master", f.master)
	writeFile(t, folder, "overrides", f.overrides)
	writeProgram(t, folder, "postmap", fmt.Sprintf(fakePostmap, folder))
	writeProgram(t, folder, "postconf", fmt.Sprintf(fakePostconf, folder))
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	return folder
}

func writeFile(t testing.TB, folder, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeProgram(t testing.TB, folder, name, text string) {
	t.Helper()
	// A program that another test starts meanwhile would inherit the open file, and Linux runs no file that is open for writing.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	writeFile(t, folder, name, text)
	if err := os.Chmod(filepath.Join(folder, name), 0o700); err != nil {
		t.Fatal(err)
	}
}

// asked returns how often each table was asked.
func asked(t testing.TB, folder string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "asked"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		count[strings.TrimSpace(line)]++
	}
	return count
}
