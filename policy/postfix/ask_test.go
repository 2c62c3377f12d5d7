package postfix

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestRun runs programs that do what Postfix's should not.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, script string
		answer       string
		fault        string // what stands in the error; "" for none
	}{
		{"an answer", "cat\n", "keys\n", ""},
		{"nothing found", "exit 1\n", "", ""},
		{"a warning", "echo 'postmap: warning: odd' >&2; cat\n", "keys\n", ""},
		{"something fatal", "echo 'postmap: warning: odd' >&2; echo 'postmap: fatal: open database x.db: No such file' >&2; exit 1\n", "", ": open database x.db: No such file"},
		{"something fatal behind a flood", "echo 'postmap: fatal: out of order' >&2; head -c 1000000 /dev/zero >&2; exit 1\n", "", "out of order"},
		{"another exit status", "exit 3\n", "", "exit status 3"},
		{"a signal", "kill -9 $$\n", "", "signal: killed"},
		{"too much", "exec yes\n", "", "answers more than 100 bytes"},
		{"no end", "exec sleep 600\n", "", "deadline exceeded"},
		{"no end of a child", "sleep 15 & echo; exit 0\n", "", ""},
		{"no name", "", "", "neither in PATH nor in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			name := "copialettere-test-" + strings.ReplaceAll(c.name, " ", "-")
			path := folder + "/" + name
			if c.script != "" {
				writeProgram(t, folder, name, "#!/bin/sh\n"+c.script)
			} else {
				path = name
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			answer, err := run(ctx, []byte("keys\n"), 100, path)
			switch {
			case c.name == "no end of a child":
				// Its output stays open: the wait for it ends, with an error.
				if err == nil {
					t.Error("no error")
				}
			case c.fault == "":
				if err != nil || string(answer) != c.answer {
					t.Errorf("got %q, %v", answer, err)
				}
			case err == nil || !strings.Contains(err.Error(), c.fault):
				t.Errorf("error %v, want %q", err, c.fault)
			}
		})
	}
}

// TestProgramPath looks for a program where PATH is too short.
func TestProgramPath(t *testing.T) {
	empty, folder, other := t.TempDir(), t.TempDir(), t.TempDir()
	writeProgram(t, folder, "postconf", "#!/bin/sh\n")
	writeProgram(t, other, "postconf", "#!/bin/sh\n")
	t.Setenv("PATH", empty)
	if path, err := programPath("postconf", []string{empty, folder, other}); err != nil || path != folder+"/postconf" {
		t.Errorf("found %q, %v, want the first of the folders that has it", path, err)
	}
	if path, err := programPath("postconf", []string{empty}); err == nil || !strings.Contains(err.Error(), "nor in "+empty) {
		t.Errorf("found %q, %v", path, err)
	}
	t.Setenv("PATH", other)
	if path, err := programPath("postconf", []string{folder}); err != nil || path != other+"/postconf" {
		t.Errorf("found %q, %v, want that of PATH", path, err)
	}
}
