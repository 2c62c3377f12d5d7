//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

const importSize = 3_000 // bytes of the bodies of messages that go round

// TestBenchImport exports 100,000 messages in every form, imports each export into an empty archive, and compares all digests. It prints how long the
// imports take, and how long the same command takes once more, when all is there.
func TestBenchImport(t *testing.T) {
	rig.RemoveLeftovers()
	folder := rig.Folder(t)
	program, err := rig.Build(folder)
	check(t, err)
	hook := rig.Install(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(hookConfig, fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), "", "127.0.0.1:9"))
	hook.Enable(t, mailbox)
	for month := range monthsRead {
		fill(t, hook.Data, time.Date(2026, time.Month(10-month), 15, 10, 0, 0, 0, time.UTC), func(i int) string {
			var body bytes.Buffer
			body.WriteString("From: Lorenzo <lorenzo@ext.test>\r\nSubject: Consegna " + fmt.Sprint(i) + "\r\n\r\n>From me\r\nFrom you\r\n")
			check(t, newRandom(seeds.Add(1)).write(&body, importSize))
			return body.String()
		})
	}
	hook.Own(t)
	hook.Start(t)
	digests := func(mailbox string) (list []string) {
		for _, e := range hook.List(t, mailbox) {
			list = append(list, e.SHA256)
		}
		slices.Sort(list)
		return list
	}
	want := digests(mailbox)
	fmt.Printf("\nMeasured on %s. %d messages of %d bytes.\n\n| form | export | import | again |\n|---|---|---|---|\n", machine(t), len(want), importSize)
	for _, form := range []string{"eml", "mbox", "maildir", "zip"} {
		to, into := filepath.Join(folder, form), form+"@alpha.test"
		hook.Enable(t, into)
		hook.Must(t, "mailbox", "set", into, "quota=none")
		run := func(arguments ...string) time.Duration {
			syscall.Sync()
			began := time.Now()
			c := exec.Command(program, append(arguments, "-config", hook.Config)...)
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", arguments, err, out)
			}
			return time.Since(began)
		}
		export := run("export", mailbox, "-to", to, "-format", form)
		first := run("import", into, "-from", to)
		again := run("import", into, "-from", to)
		fmt.Printf("| %s | %.1f s | %.1f s | %.1f s |\n", form, export.Seconds(), first.Seconds(), again.Seconds())
		if got := digests(into); !slices.Equal(got, want) {
			t.Errorf("%s: %d messages, and not those that were exported", form, len(got))
		}
		check(t, os.RemoveAll(to))
	}
	hook.Verify(t)
}
