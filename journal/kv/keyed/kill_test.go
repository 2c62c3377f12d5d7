package keyed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// What makes the test binary work on a ring, and kill itself at a step.
const (
	killedPath = "COPIALETTERE_TEST_KILLED_PATH"
	killedWork = "COPIALETTERE_TEST_KILLED_WORK" // "make", "destroy" or "rewrap"
	killedAt   = "COPIALETTERE_TEST_KILLED_AT"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(killedPath); path != "" {
		if err := workUntilKilled(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func workUntilKilled(path string) error {
	var at int
	fmt.Sscan(os.Getenv(killedAt), &at)
	work, begun := os.Getenv(killedWork), false
	o := Options{Wrappers: []Wrapper{one}, Logger: slog.New(slog.DiscardHandler), step: func(string) error {
		if at--; begun && at < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}}
	if work == "rewrap" {
		o.Wrappers, begun = []Wrapper{two, one}, true
	}
	r, err := OpenRing(path, o)
	if err != nil {
		return err
	}
	fmt.Sscan(os.Getenv(killedAt), &at)
	begun = true
	switch work {
	case "make":
		return r.makeKeys(context.Background(), [][]byte{[]byte("c"), []byte("d")})
	case "destroy":
		r.retire([]byte("a"))
		return r.destroy(context.Background(), []byte("a"))
	}
	return nil
}

// TestKilled kills the making, the destruction and the wrapping of keys at each step. No key of another mailbox is lost, and the same work once more gets
// to its end.
func TestKilled(t *testing.T) {
	for _, work := range []string{"make", "destroy", "rewrap"} {
		t.Run(work, func(t *testing.T) {
			p := newPlace(t)
			h := p.house(t)
			must(t, h.put("a1", "about a1"))
			must(t, h.put("b1", "about b1"))
			must(t, h.engine.Close())
			p.opts.Wrappers = []Wrapper{one, two}
			before, err := os.ReadFile(p.path())
			must(t, err)
			kills := 0
			for {
				for _, path := range []string{p.path(), p.path() + CopySuffix} {
					must(t, os.WriteFile(path, before, 0o600))
				}
				child := exec.Command(os.Args[0])
				child.Env = append(os.Environ(), killedPath+"="+p.path(), killedWork+"="+work, fmt.Sprint(killedAt, "=", kills))
				out, err := child.CombinedOutput()
				if err == nil {
					break
				}
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("at %d: %v %s", kills, err, out)
				}
				kills++
				h = p.house(t)
				h.wants(fmt.Sprint("killed at ", kills), "b1", "about b1")
				if work != "destroy" {
					h.wants(fmt.Sprint("killed at ", kills), "a1", "about a1")
				}
				must(t, h.engine.Close())
			}
			if want := map[string]int{"make": 6, "destroy": 4, "rewrap": 6}[work]; kills != want {
				t.Errorf("killed %d times, want each of %d steps", kills, want)
			}
			if work == "rewrap" {
				p.opts.Wrappers = []Wrapper{two}
			}
			h = p.house(t)
			h.wants("in the end", "a1", map[bool]string{true: "sealed", false: "about a1"}[work == "destroy"], "b1", "about b1")
			must(t, h.put("c1", "about c1"))
			h.wants("in the end", "c1", "about c1")
			if log := p.log.String(); strings.Contains(log, "level=ERROR") {
				t.Errorf("the log: %s", log)
			}
		})
	}
}
