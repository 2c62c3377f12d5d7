package level

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// writerFolder is the environment variable that names a folder. The test binary then writes to it until it is killed.
const writerFolder = "COPIALETTERE_TEST_WRITER_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerFolder); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// killOptions make the logs rotate many times in a round.
var killOptions = Options{WriteBuffer: 64 << 10, TableSize: 64 << 10, Logger: slog.New(slog.DiscardHandler)}

const killMonth = kv.Month("2026-11")

// writeUntilKilled puts pairs of keys, and prints the name of each acknowledged pair.
func writeUntilKilled(dir string) {
	ctx, fail := context.Background(), func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	e, err := Open(dir, killOptions)
	if err != nil {
		fail(err)
	}
	s, err := e.Volume(ctx, killMonth, true)
	if err != nil {
		fail(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				value := []byte(strings.Repeat(name, 1+i%200))
				if err := s.Update(ctx, []string{"lock"}, func(tx kv.Tx) error {
					tx.Put([]byte("a "+name), value)
					tx.Put([]byte("b "+name), value)
					return nil
				}); err != nil {
					fail(err)
				}
				// In one write call, so the line is whole or missing.
				os.Stdout.WriteString(name + "\n")
			}
		})
	}
	wg.Wait()
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := make(map[string]bool)
	for round := range 10 {
		before := len(acknowledged)
		for _, name := range writeAndKill(t, dir, time.Duration(30+rand.IntN(120))*time.Millisecond) {
			acknowledged[name] = true
		}
		if len(acknowledged) == before {
			t.Fatalf("round %d: the writer acknowledged nothing before it was killed", round)
		}
		checkAfterKill(t, dir, acknowledged)
	}
	t.Logf("%d acknowledged updates outlived 10 kills", len(acknowledged))
}

// writeAndKill runs a writer, kills it some time after its first acknowledgement, and returns the acknowledged names.
func writeAndKill(t *testing.T, dir string, after time.Duration) []string {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerFolder+"="+dir)
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var names []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if len(names) == 0 {
			time.AfterFunc(after, func() { _ = child.Process.Kill() })
		}
		names = append(names, lines.Text())
	}
	if err := child.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the writer ended by itself: %v %s", err, stderr.String())
	}
	return names
}

func checkAfterKill(t *testing.T, dir string, acknowledged map[string]bool) {
	t.Helper()
	opts := killOptions
	opts.Logger = testLogger(t)
	e, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s, err := e.Volume(t.Context(), killMonth, false)
	if err != nil {
		t.Fatal(err)
	}
	halves := make(map[string]int)
	for p, err := range s.Scan(t.Context(), nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(string(p.Key), " ")
		halves[name]++
		if times := len(p.Value) / len(name); times == 0 || string(p.Value) != strings.Repeat(name, times) {
			t.Errorf("the value of %q is not what was put", p.Key)
		}
	}
	for name, n := range halves {
		if n != 2 {
			t.Errorf("of update %q only a half is there", name)
		}
	}
	for name := range acknowledged {
		if halves[name] != 2 {
			t.Errorf("acknowledged update %q is missing", name)
		}
	}
	if losses, err := s.Lost(t.Context()); err != nil || len(losses) > 0 {
		t.Errorf("losses are reported: %v (%v)", losses, err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
