//go:build bench

package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// readers is how many mail programs read while mail is delivered.
const readers = 50

// readRounds is how many pairs are measured: each takes seconds only.
const readRounds = 11

// pace is how long a person looks at what a program has fetched.
const pace = 5 * time.Second

// readAsPeople has programs read as people do, until ctx ends: each waits in IDLE, where it is told of what arrives in its folder, and every few
// seconds fetches a page of envelopes and a message.
func readAsPeople(ctx context.Context, p *reading, number int) error {
	pause := pace * time.Duration(number) / readers // they do not all begin at the same time
	for i := number; ; i++ {
		if err := p.idle(ctx, pause); err != nil || ctx.Err() != nil {
			return err
		}
		pause = pace
		first := 1 + i*50%(messagesRead-50)
		for _, command := range []string{fmt.Sprintf("FETCH %d:%d (UID FLAGS ENVELOPE)", first, first+49), fmt.Sprintf("FETCH %d BODY.PEEK[]", first)} {
			if _, err := p.say(command); err != nil {
				return err
			}
		}
	}
}

// idle waits in IDLE, and reads what the server tells.
func (p *reading) idle(ctx context.Context, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	if _, err := fmt.Fprintf(p.nc, "t IDLE\r\n"); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.nc.Write([]byte("DONE\r\n")) })
	defer stop()
	for {
		line, err := p.in.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "t ") {
			return err
		}
	}
}

// readAtFullSpeed has a program read all envelopes, and then messages, again and again until ctx ends.
func readAtFullSpeed(ctx context.Context, p *reading, number int) error {
	for i := number; ctx.Err() == nil; i++ {
		first := 1 + i*200%(messagesRead-200)
		for _, command := range []string{fmt.Sprintf("FETCH %d:%d (UID FLAGS ENVELOPE)", first, first+199), fmt.Sprintf("FETCH %d:%d BODY.PEEK[]", first, first+9)} {
			if _, err := p.say(command); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestBenchReaders measures these rows of TestBench by themselves.
func TestBenchReaders(t *testing.T) {
	program, err := rig.Build(rig.Folder(t))
	check(t, err)
	benchReaders(t, program)
}

// benchReaders compares delivery at the full rate of the hook, 8 connections to smtp-sink, while 50 programs read the same archive over IMAP with
// delivery while none does.
func benchReaders(t *testing.T, program string) {
	folder := rig.Folder(t)
	r := newReadable(t, program, folder, startSink(t, folder), 1)
	fmt.Println("\n| delivery while 50 programs read over IMAP / while none reads, messages of 4 kB | ratio | goal |\n|---|---|---|")
	for _, row := range []struct {
		name, goal string
		read       func(context.Context, *reading, int) error
	}{
		{"each in IDLE, and every 5 s fetches 50 envelopes and a message", "0.9", readAsPeople},
		{"each again and again 200 envelopes and 10 messages, without a pause", "", readAtFullSpeed},
	} {
		const count = 1500
		source(t, true, r.lmtp, 4_000, 8, 200)
		var ratios []float64
		for round := range readRounds {
			var took [2]time.Duration
			for side := range 2 {
				reading := (side + round) % 2
				stop := func() {}
				if reading == 1 {
					stop = startReaders(t, r.imap, row.read)
				}
				took[reading] = source(t, true, r.lmtp, 4_000, 8, count)
				stop()
			}
			ratios = append(ratios, took[0].Seconds()/took[1].Seconds())
		}
		slices.Sort(ratios)
		fmt.Printf("| %s | %.2f (%.2f to %.2f) | %s |\n", row.name, ratios[readRounds/2], ratios[0], ratios[readRounds-1], row.goal)
	}
	r.hook.Verify(t)
}

// startReaders signs programs in, has them read, and returns a function that ends them.
func startReaders(t *testing.T, address string, read func(context.Context, *reading, int) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var programs [readers]*reading
	for i := range programs {
		p, err := readAt(address, readPassword, "INBOX/2026-10")
		check(t, err)
		programs[i] = p
	}
	var reading sync.WaitGroup
	var failed atomic.Pointer[error]
	for i, p := range programs {
		reading.Go(func() {
			defer p.nc.Close()
			if err := read(ctx, p, i); err != nil {
				failed.Store(&err)
			}
		})
	}
	return func() {
		cancel()
		reading.Wait()
		if err := failed.Load(); err != nil {
			t.Errorf("a program: %v", *err)
		}
	}
}
