//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

const (
	mailbox = "anna@alpha.test"
	sender  = "ester@ext.test"
	rounds  = 5 // pairs; an odd number has a median
)

const hookConfig = `
[received]
listen          = ["tcp:%s"%s]
next_hop        = "lmtp:%s"
max_connections = 300

[admin]
listen = ["unix:admin.sock"]

[[domain]]
name = "alpha.test"

[log]
level = "warn"
`

// TestBench measures and prints the tables of the README. It fails unless all mail arrives and is in the journal.
func TestBench(t *testing.T) {
	if err := rig.Missing(); err != nil {
		t.Fatal(err)
	}
	rig.RemoveLeftovers()
	program, err := rig.Build(rig.Folder(t))
	if err != nil {
		t.Fatal(err)
	}
	c := newContest(t, rig.Folder(t), program)
	fmt.Printf("\nMeasured on %s; medians of %d rounds.\n\n%s\n", machine(t), c.rounds, pathHead)
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) { p.measure(t, c) })
	}
	fmt.Println("\n| | measured | goal |\n|---|---|---|")
	t.Run("cost", func(t *testing.T) { benchCost(t, program) })
	t.Run("stored", func(t *testing.T) { benchStored(t, program) })
	t.Run("office", func(t *testing.T) { benchOffice(t, program) })
	t.Run("memory", func(t *testing.T) { benchMemory(t, program) })
	t.Run("idle", func(t *testing.T) { benchIdle(t, program) })
	t.Run("recipients", func(t *testing.T) { benchRecipients(t, program) })
	t.Run("reading", func(t *testing.T) { benchReading(t, program) })
	t.Run("readers", func(t *testing.T) { benchReaders(t, program) })
}

// TestBenchRecipients measures one row of TestBench by itself.
func TestBenchRecipients(t *testing.T) {
	program, err := rig.Build(rig.Folder(t))
	if err != nil {
		t.Fatal(err)
	}
	benchRecipients(t, program)
}

// machine describes the machine.
func machine(t *testing.T) string {
	t.Helper()
	model := "an unnamed processor"
	for line := range strings.Lines(read(t, "/proc/cpuinfo")) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%d cores of %s, Linux %s, %s, %s", runtime.NumCPU(), model,
		strings.TrimSpace(read(t, "/proc/sys/kernel/osrelease")), runtime.Version(), time.Now().UTC().Format(time.DateOnly))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// source runs smtp-source and returns how long it took. All bodies are alike, the Message-IDs are not.
func source(t *testing.T, lmtp bool, address string, size, connections, count int) time.Duration {
	t.Helper()
	arguments := []string{"-d", "-s", strconv.Itoa(connections), "-m", strconv.Itoa(count), "-l", strconv.Itoa(size), "-f", sender, "-t", mailbox}
	if lmtp {
		arguments = append(arguments, "-L")
	}
	start := time.Now()
	if out, err := exec.Command("smtp-source", append(arguments, address)...).CombinedOutput(); err != nil {
		t.Fatalf("smtp-source: %v\n%s", err, out)
	}
	return time.Since(start)
}

// startSink starts smtp-sink as an LMTP server and returns its address.
func startSink(t *testing.T, folder string) string {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	rig.Start(t, exec.Command("smtp-sink", "-L", "-u", "nobody", address, "512"), filepath.Join(folder, "sink.log"))
	rig.Wait(t, 10*time.Second, "smtp-sink", func() bool {
		session, err := rig.Dial("tcp", address, "LHLO")
		if err == nil {
			session.Close()
		}
		return err == nil
	})
	return address
}

// startHook starts the program with the mailbox enabled and returns the address of its own listener.
func startHook(t *testing.T, program, folder, nextHop string) (*rig.Daemon, string) {
	t.Helper()
	return startVariant(t, variant{program: program}, folder, nextHop)
}

// benchCost measures the processor time of the hook for a message, journaled and handed on to smtp-sink by 8 connections.
func benchCost(t *testing.T, program string) {
	folder := rig.Folder(t)
	hook, address := startHook(t, program, folder, startSink(t, folder))
	goals := map[int]string{4_000: "0.25 ms", 100_000: "1 ms"}
	for _, size := range sizes {
		const count = 4_000
		source(t, true, address, size, 8, 100)
		before := processorTime(t, hook.PID())
		source(t, true, address, size, 8, count)
		alike := (processorTime(t, hook.PID()) - before) / count
		fmt.Printf("| processor time of the hook for a message of %d kB, bodies alike (smtp-source) | %.2f ms | %s |\n",
			size/1000, alike.Seconds()*1000, goals[size])
		before = processorTime(t, hook.PID())
		send(t, address, 8, count/4, size)
		random := (processorTime(t, hook.PID()) - before) / (count / 4)
		fmt.Printf("| the same, bodies of random base64, which neither share chunks nor compress well | %.2f ms | |\n", random.Seconds()*1000)
	}
	hook.Verify(t)
}

// report is a part of what "verify -json" prints.
type report struct {
	Bytes  int64 `json:"bytes"`  // of the messages of all entries
	Stored int64 `json:"stored"` // of all chunks
}

func verify(t *testing.T, hook *rig.Daemon) report {
	t.Helper()
	var r report
	if err := json.Unmarshal(hook.Must(t, "verify", "-json"), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// benchStored measures how many bytes reach the disk for a byte stored, and how many are stored for a byte received.
func benchStored(t *testing.T, program string) {
	folder := rig.Folder(t)
	hook, address := startHook(t, program, folder, startSink(t, folder))
	before := written(t, hook.PID())
	send(t, address, 8, 6_000, 75_000)
	after := written(t, hook.PID())
	rig.Wait(t, time.Minute, "the compactions to end", func() bool {
		last := after
		time.Sleep(2 * time.Second)
		after = written(t, hook.PID())
		return after == last
	})
	stored := verify(t, hook).Stored
	fmt.Printf("| bytes written (write_bytes of /proc/PID/io) for a byte stored; 6,000 messages of 75 kB, random base64 | %.2f | 3.2 |\n",
		float64(after-before)/float64(stored))

	fixtures := rig.Folder(t)
	hook, address = startHook(t, program, fixtures, startSink(t, fixtures))
	files, err := filepath.Glob(filepath.Join(rig.ModuleFolder(), "testdata", "messages", "*.eml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages in testdata: %v", err)
	}
	for _, file := range files {
		deliver(t, address, []byte(read(t, file)))
	}
	r := verify(t, hook)
	fmt.Printf("| bytes stored for a byte received; the %d messages of testdata, each once | %.2f | |\n",
		len(files), float64(r.Stored)/float64(r.Bytes))
}

// benchMemory measures the peak of the resident memory while 8 messages of 150 MB come at once.
func benchMemory(t *testing.T, program string) {
	folder := rig.Folder(t)
	hook, address := startHook(t, program, folder, startSink(t, folder))
	start := time.Now()
	send(t, address, 8, 8, 149_000_000)
	took := time.Since(start)
	fmt.Printf("| peak of the resident memory (VmHWM), 8 messages of 149 MB at once, in %.0f s | %d MiB | below 128 MiB |\n",
		took.Seconds(), peakMemory(t, hook.PID())>>20)
	if got := verify(t, hook).Bytes; got < 8*149_000_000 {
		t.Errorf("the journal holds %d bytes", got)
	}
}
