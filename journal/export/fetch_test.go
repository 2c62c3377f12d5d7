package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// manyArchived gives many messages at once, as badly as it may.
type manyArchived struct {
	*archived
	given func(i int, content []byte) (io.Reader, error) // nil for a message that is left out; an error ends the call
}

// CopyMany implements ManySource.
func (a *manyArchived) CopyMany(_ context.Context, list []*Message, got func(int, io.Reader) error) error {
	for i, m := range list {
		r, err := a.given(i, a.bytes[m.SHA256])
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		if err := got(i, r); err != nil {
			return err
		}
	}
	return nil
}

// TestCopyMany exports from a source that gives many messages at once. What it leaves out or spoils is asked for by itself, and so is what it had not
// come to.
func TestCopyMany(t *testing.T) {
	spoilt := errors.New("spoilt")
	for name, given := range map[string]func(i int, content []byte) (io.Reader, error){
		"all": func(_ int, content []byte) (io.Reader, error) { return bytes.NewReader(content), nil },
		"piece by piece": func(_ int, content []byte) (io.Reader, error) {
			return iotest.HalfReader(bytes.NewReader(content)), nil
		},
		"some left out": func(i int, content []byte) (io.Reader, error) {
			if i%3 == 1 {
				return nil, nil
			}
			return bytes.NewReader(content), nil
		},
		"ends early": func(i int, content []byte) (io.Reader, error) {
			if i == 5 {
				return nil, spoilt
			}
			return bytes.NewReader(content), nil
		},
		"breaks off": func(i int, content []byte) (io.Reader, error) {
			if i == 3 {
				return io.MultiReader(bytes.NewReader(content[:len(content)/2]), iotest.ErrReader(spoilt)), nil
			}
			return bytes.NewReader(content), nil
		},
		"other bytes": func(i int, content []byte) (io.Reader, error) {
			if i%4 == 2 {
				return strings.NewReader("Subject: another\r\n\r\n"), nil
			}
			return bytes.NewReader(content), nil
		},
		"too many bytes": func(i int, content []byte) (io.Reader, error) {
			return io.MultiReader(bytes.NewReader(content), strings.NewReader(strings.Repeat("x", i%2))), nil
		},
		"nothing": func(int, []byte) (io.Reader, error) { return nil, nil },
	} {
		for _, f := range Forms() {
			if f != FormEML && name != "breaks off" {
				continue
			}
			t.Run(name+"/"+string(f), func(t *testing.T) {
				a := fixtures(t)
				to := filepath.Join(scratch(t), "out")
				o := a.options(f, to)
				o.Source = &manyArchived{a, given}
				report, err := Run(t.Context(), o)
				if err != nil || !report.Complete() || report.Messages != uint64(len(a.messages)) {
					t.Fatalf("%+v, %v", report, err)
				}
				a.check(t, f, exported(t, f, to))
				if whole := name == "all" || name == "piece by piece"; whole && f == FormEML && a.copied != 0 {
					t.Errorf("%d messages were asked for by themselves", a.copied)
				}
			})
		}
	}
}

// TestRunCompares alters a byte of each file on the disk before it is read back. It is found, and the same Run mends it.
func TestRunCompares(t *testing.T) {
	for _, f := range Forms() {
		t.Run(string(f), func(t *testing.T) {
			a := &archived{}
			for n := range 4 {
				a.add("INBOX/2026-11", fmt.Sprint(n), november, fmt.Appendf(nil, "Subject: %d\r\n\r\n%s\r\n", n, strings.Repeat("x", 50)))
			}
			folder := scratch(t)
			for at, found := 1, true; found; at++ {
				to := filepath.Join(folder, fmt.Sprint(at))
				o := a.options(f, to)
				var mu sync.Mutex
				n, last := 0, ""
				root := to
				if f == FormZIP {
					root = folder
				}
				found = false
				o.Step = func(what string) error {
					mu.Lock()
					defer mu.Unlock()
					name, reads := strings.CutPrefix(what, "read ")
					// Of an altered export.json nobody could tell whose it is. The mbox is read back under its first name.
					if n++; !reads || n < at || found || name == orderName || name == "INBOX/2026-11.mbox" {
						return nil
					}
					path := filepath.Join(root, name)
					content, err := os.ReadFile(path)
					if err != nil || len(content) == 0 {
						return err
					}
					found, at, last = true, n, what
					content[len(content)/2] ^= 4
					return os.WriteFile(path, content, 0o600)
				}
				if _, err := Run(t.Context(), o); found && !errors.Is(err, ErrCompare) {
					t.Errorf("step %d, %s: %v", at, last, err)
				}
				o.Step = nil
				if report, err := Run(t.Context(), o); err != nil || !report.Complete() {
					t.Fatalf("step %d, again: %+v, %v", at, report, err)
				}
				a.check(t, f, exported(t, f, to))
			}
		})
	}
}
