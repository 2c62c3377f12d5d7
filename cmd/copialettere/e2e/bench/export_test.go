//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// exportRounds is how often each form is measured.
const exportRounds = 1

// mostExportMemory is how much memory, in KiB, the command and the daemon may take each, whatever is exported.
const mostExportMemory = 128 << 10

// exportMonths is how many months of 10,000 messages are exported, and exportSize how many bytes each has: random base64, which neither shares chunks nor
// compresses well. It is 2 GB, unless the environment says otherwise. These are 10 GB:
//
//	COPIALETTERE_EXPORT_SIZE=100000 go test -tags bench -count=1 -timeout 120m -v -run TestBenchExport$ ./cmd/copialettere/e2e/bench
func exportMonths(t *testing.T) int { return exportNumber(t, "COPIALETTERE_EXPORT_MONTHS", monthsRead) }
func exportSize(t *testing.T) int   { return exportNumber(t, "COPIALETTERE_EXPORT_SIZE", 20_000) }

func exportNumber(t *testing.T, name string, usual int) int {
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: want a number", name, text)
	}
	return n
}

// peakNow returns the highest resident memory of a process until now, in KiB; 0 once it has ended.
func peakNow(pid int) (kib int64) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Sscan(rest, &kib)
	return kib
}

// TestBenchExport prints how fast each form of an export of 100,000 messages is, and the same command once more, which verifies what is there; as a ratio
// to "cp -r" of the same messages as .eml files, with the sync that makes the copy durable and without it. So it does of a verification of all of them.
// All begin with nothing in the memory of the system, where that may be emptied.
func TestBenchExport(t *testing.T) {
	rig.RemoveLeftovers()
	folder := rig.Folder(t)
	program, err := rig.Build(folder)
	check(t, err)
	hook := rig.Install(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(hookConfig, fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), "", "127.0.0.1:9"))
	hook.Enable(t, mailbox)
	months, size := exportMonths(t), exportSize(t)
	for month := range months {
		fill(t, hook.Data, time.Date(2026, time.Month(10-month), 15, 10, 0, 0, 0, time.UTC), func(i int) string {
			var body bytes.Buffer
			body.WriteString("From: Lorenzo <lorenzo@ext.test>\r\nSubject: Consegna " + fmt.Sprint(i) + "\r\n\r\n")
			check(t, newRandom(seeds.Add(1)).write(&body, size))
			return body.String()
		})
	}
	hook.Own(t)
	hook.Start(t)
	times := make(map[string][]time.Duration)
	memory := make(map[string]int64)
	cold := "begins with nothing in memory"
	run := func(name string, command ...string) {
		syscall.Sync()
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0); err != nil {
			cold = "begins with what the system has kept in memory"
		}
		began := time.Now()
		c := exec.Command(command[0], command[1:]...)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		check(t, c.Start())
		// What wait4 tells begins with the memory of this program.
		ended, watched := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watched)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					memory[name] = max(memory[name], peakNow(c.Process.Pid))
				}
			}
		}()
		err := c.Wait()
		close(ended)
		<-watched
		if err != nil {
			t.Fatalf("%q: %v\n%s", command, err, out.String())
		}
		times[name] = append(times[name], time.Since(began))
	}
	to := func(name string) string { return filepath.Join(folder, name) }
	forms := []string{"eml", "mbox", "maildir", "zip"}
	for range exportRounds {
		for _, form := range forms {
			check(t, os.RemoveAll(to(form)))
			command := []string{program, "export", mailbox, "-to", to(form), "-format", form, "-config", hook.Config}
			run(form, command...)
			run(form+", again", command...)
		}
		run("verify", program, "verify", "-config", hook.Config)
		run("cp -r", "cp", "-r", to("eml"), to("copy"))
		check(t, os.RemoveAll(to("copy")))
		run("cp -r, sync", "sh", "-ec", `cp -r "$0" "$1"; sync -f "$1"`, to("eml"), to("copy"))
		check(t, os.RemoveAll(to("copy")))
	}
	median := func(name string) time.Duration { slices.Sort(times[name]); return times[name][len(times[name])/2] }
	fmt.Printf("\nMeasured on %s. %d messages of %d bytes in %d months; each %s.\n\n", machine(t), months*messagesRead, size, months, cold)
	fmt.Println("| | time | speed / cp -r, sync | speed / cp -r | peak memory |\n|---|---|---|---|---|")
	for _, name := range []string{"cp -r", "cp -r, sync", "eml", "eml, again", "maildir", "maildir, again", "mbox", "mbox, again", "zip", "zip, again", "verify"} {
		ratio := func(to string) float64 { return median(to).Seconds() / median(name).Seconds() }
		fmt.Printf("| %s | %.1f s | %.2f | %.2f | %d MiB |\n", name, median(name).Seconds(), ratio("cp -r, sync"), ratio("cp -r"), memory[name]>>10)
	}
	for name, peak := range memory {
		if !strings.HasPrefix(name, "cp") && peak > mostExportMemory {
			t.Errorf("%s takes %d MiB", name, peak>>10)
		}
	}
	daemon := peakMemory(t, hook.PID()) >> 10
	fmt.Printf("\nThe daemon takes %d MiB at most.\n", daemon>>10)
	if daemon > mostExportMemory {
		t.Errorf("the daemon takes %d MiB", daemon>>10)
	}
	if out := strings.TrimSpace(string(hook.Must(t, "verify"))); !strings.HasSuffix(out, "sound") {
		t.Error(out)
	}
}
