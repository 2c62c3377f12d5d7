//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// build is one of the compared hooks. All hand on to the same smtp-sink.
type build struct {
	hook    *rig.Daemon
	address string
}

// measured holds what a round cost a build.
type measured struct{ took, processor time.Duration }

// TestCompare measures this build against an earlier one, the program that COPIALETTERE_BEFORE names: smtp-source, the hook, smtp-sink, in
// rounds of random order. It prints the medians over the rounds of the speed and of the hook's processor time, as ratios to the earlier build.
// The earlier build runs twice. This build is compared with the mean of the two; their own ratio is the control, and tells how far to trust
// the other ratios.
func TestCompare(t *testing.T) {
	before := os.Getenv("COPIALETTERE_BEFORE")
	if before == "" {
		t.Fatal("COPIALETTERE_BEFORE must name the program of the earlier build")
	}
	rounds := 21
	if n, err := strconv.Atoi(os.Getenv("COPIALETTERE_ROUNDS")); err == nil {
		rounds = n
	}
	rig.RemoveLeftovers()
	folder := rig.Folder(t)
	program, err := rig.Build(folder)
	if err != nil {
		t.Fatal(err)
	}
	earlier := filepath.Join(folder, "before")
	if err := os.WriteFile(earlier, []byte(read(t, before)), 0o755); err != nil {
		t.Fatal(err)
	}
	sink := startSink(t, folder)
	var builds [3]build // the earlier one, the earlier one again, this one
	for i, program := range []string{earlier, earlier, program} {
		builds[i] = startBuild(t, program, filepath.Join(folder, strconv.Itoa(i)), sink)
	}
	fmt.Printf("\n%d rounds, %s; speed and processor time as ratios to the earlier build, in brackets the control.\n\n", rounds, machine(t))
	compareAll(t, builds, rounds)
}

// TestBenchEncrypted measures a hook whose journal is encrypted against the same one without a key, as TestCompare does.
func TestBenchEncrypted(t *testing.T) {
	rig.RemoveLeftovers()
	folder := rig.Folder(t)
	program, err := rig.Build(folder)
	check(t, err)
	sink := startSink(t, folder)
	key, err := exec.Command(program, "encryption-key").Output()
	check(t, err)
	var builds [3]build
	for i, encrypted := range []string{"", "", fmt.Sprintf("\n[encryption]\nkey_command = [\"/bin/echo\", %q]\n", strings.TrimSpace(string(key)))} {
		builds[i] = startBuild(t, program, filepath.Join(folder, strconv.Itoa(i)), sink, encrypted)
	}
	fmt.Printf("\n%d rounds, %s; speed and processor time of an encrypted journal as ratios to one in the clear, in brackets the control.\n\n", encryptedRounds, machine(t))
	compareAll(t, builds, encryptedRounds)
}

// encryptedRounds is how many rounds TestBenchEncrypted makes.
const encryptedRounds = 7

func startBuild(t *testing.T, program, folder, sink string, more ...string) (b build) {
	t.Helper()
	check(t, os.Mkdir(folder, 0o755))
	b.address = fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	b.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(hookConfig, b.address, "", sink)+strings.Join(more, ""))
	b.hook.Enable(t, mailbox)
	b.hook.Must(t, "mailbox", "set", mailbox, "quota=1000GB")
	return b
}

// compareAll measures and prints the table of all sizes and numbers of connections.
func compareAll(t *testing.T, builds [3]build, rounds int) {
	fmt.Println("| size | connections | speed | processor time |\n|---|---|---|---|")
	for _, size := range sizes {
		for _, n := range connections {
			compare(t, builds, size, n, rounds)
		}
	}
	builds[2].hook.Verify(t)
}

// compare measures and prints the line of one size and number of connections.
func compare(t *testing.T, builds [3]build, size, connections, rounds int) {
	count := map[int]int{4_000: 1500, 100_000: 500}[size]
	for _, b := range builds {
		source(t, true, b.address, size, connections, max(connections, 100))
	}
	var speed, processor, speedControl, processorControl []float64
	for range rounds {
		var round [3]measured
		for _, i := range rand.Perm(len(builds)) {
			b := builds[i]
			start := processorTime(t, b.hook.PID())
			round[i].took = source(t, true, b.address, size, connections, count)
			round[i].processor = processorTime(t, b.hook.PID()) - start
		}
		first, second, now := round[0], round[1], round[2]
		speed = append(speed, (first.took+second.took).Seconds()/2/now.took.Seconds())
		speedControl = append(speedControl, first.took.Seconds()/second.took.Seconds())
		processor = append(processor, 2*now.processor.Seconds()/(first.processor+second.processor).Seconds())
		processorControl = append(processorControl, second.processor.Seconds()/first.processor.Seconds())
	}
	fmt.Printf("| %d kB | %d | %.3f (%.3f) | %.3f (%.3f) |\n", size/1000, connections,
		median(speed), median(speedControl), median(processor), median(processorControl))
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
