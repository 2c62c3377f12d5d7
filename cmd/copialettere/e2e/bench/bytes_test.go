//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/httpd"
)

// bytesConfig logs what the daemon tells of its dictionaries.
var bytesConfig = strings.Replace(hookConfig, `level = "warn"`, `level = "info"`, 1)

// A daemon is given firstLetters, from which it may learn, and then what is measured. Behind each of the two parts it is stopped with SIGTERM and started again so
// many times, with one letter between two of them: each time LevelDB makes a table of what was in its log, and with the last one it merges them all, in both
// programs. What is in the data folder then is what stays there, without logs and without values that were replaced. All letters count.
const (
	firstLetters = 200
	settleStarts = 12
)

// corpora are what TestBenchBytes delivers. Goals are ratios to the earlier build.
var corpora = []struct {
	name             string
	bytes, processor float64 // goals of what is stored, and of the processor time
	learned          bool    // there must be a dictionary after firstLetters
	count            int     // behind these
	letters          func(l *letters, count int) []letter
}{
	{"certified mail of one provider", 0.35, 0.7, true, 1_000, (*letters).certified},
	{"ordinary text mail", 0.8, 0.7, true, 1_000, (*letters).ordinary},
	{"random attachments", 1, 0.8, false, 300, (*letters).attachments},
}

// readingGoal is that of reading back, as a ratio to the earlier build.
const readingGoal = 1.3

// TestBenchBytes measures what the messages of eight mailboxes take in the data folder, what they cost, and how long it takes to read them back. It does so for this
// build and for the earlier one that COPIALETTERE_BEFORE names, if any, in turns.
func TestBenchBytes(t *testing.T) {
	rig.RemoveLeftovers()
	folder := rig.Folder(t)
	program, err := rig.Build(folder)
	check(t, err)
	c := newContest(t, folder, program)
	variants := []variant{c.now}
	if c.before != nil {
		variants = append(variants, *c.before)
	}
	fmt.Printf("\nMeasured on %s.\n\n| to eight mailboxes, in turns with the build before | before | now | now / before | goal |\n|---|---|---|---|---|\n", machine(t))
	for i, of := range corpora {
		t.Run(of.name, func(t *testing.T) {
			list := of.letters(newLetters(uint64(i)), firstLetters+of.count)
			place := rig.Folder(t)
			sink := startSink(t, place)
			sides := make([]*bytesSide, len(variants))
			for i, v := range variants {
				sides[i] = startBytesSide(t, v, filepath.Join(place, strconv.Itoa(i)), sink)
			}
			first := list[:firstLetters]
			deliverLetters(t, sides, first[:firstLetters-settleStarts])
			if of.learned {
				rig.Wait(t, 10*time.Second, "a dictionary", func() bool { return len(sides[0].hook.Logged(t, "a dictionary was made")) > 0 })
			}
			settle(t, sides, first[firstLetters-settleStarts:])
			for _, s := range sides {
				s.stored, s.processor = -s.bytes(t), 0
			}
			measured := list[firstLetters:]
			bulk := measured[:of.count-settleStarts]
			deliverLetters(t, sides, bulk)
			settle(t, sides, measured[len(bulk):])
			for _, s := range sides {
				s.stored += s.bytes(t)
			}
			readLetters(t, sides, list)
			sides[0].hook.Verify(t)
			printBytes(fmt.Sprintf("%s, %d bytes of text a message: bytes in the data folder for one", of.name, textBytes(measured)/len(measured)), "", of.bytes, sides,
				func(s *bytesSide) []float64 { return []float64{float64(s.stored) / float64(len(measured))} })
			printBytes(of.name+": processor time of the hook for a message", " us", of.processor, sides,
				func(s *bytesSide) []float64 { return []float64{s.processor.Seconds() * 1e6 / float64(len(bulk))} })
			printBytes(of.name+": reading a message back, over the admin socket", " us", readingGoal, sides, func(s *bytesSide) []float64 { return s.read })
		})
	}
}

// printBytes prints a row: medians of what was measured in each round, and of the ratios.
func printBytes(what, unit string, goal float64, sides []*bytesSide, measured func(*bytesSide) []float64) {
	now := measured(sides[0])
	before, ratio := "", ""
	if len(sides) > 1 {
		values := measured(sides[1])
		ratios := make([]float64, len(now))
		for i := range now {
			ratios[i] = now[i] / values[i]
		}
		before, ratio = fmt.Sprintf("%.0f%s", median(slices.Clone(values)), unit), fmt.Sprintf("%.3f", median(ratios))
	}
	fmt.Printf("| %s | %s | %.0f%s | %s | %.2f |\n", what, before, median(slices.Clone(now)), unit, ratio, goal)
}

func textBytes(list []letter) (total int) {
	for _, l := range list {
		total += len(l.text)
	}
	return total
}

// bytesSide is one program of TestBenchBytes.
type bytesSide struct {
	hook      *rig.Daemon
	address   string
	client    *http.Client
	stored    int64         // in the data folder, of what is measured
	processor time.Duration // for what is measured
	read      []float64     // microseconds for a message, of each round
	earlier   *bool         // it is of before the API; nil: not known yet
}

func startBytesSide(t *testing.T, v variant, folder, nextHop string) *bytesSide {
	s := &bytesSide{address: listenAddress(t)}
	check(t, os.MkdirAll(folder, 0o755))
	s.hook = rig.NewDaemon(t, v.program, filepath.Join(folder, "hook"), fmt.Sprintf(bytesConfig, s.address, "", nextHop)+v.more)
	for i := range 8 {
		s.hook.Enable(t, eight(i))
		s.hook.Must(t, "mailbox", "set", eight(i), "quota=1000GB")
	}
	socket := filepath.Join(s.hook.Data, "admin.sock")
	s.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	return s
}

// deliverLetters delivers the same letters to all sides, in turns of some letters each.
func deliverLetters(t *testing.T, sides []*bytesSide, list []letter) {
	t.Helper()
	const turn = 50
	for round := 0; len(list) > 0; round++ {
		some := list[:min(turn, len(list))]
		list = list[len(some):]
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			before := processorTime(t, s.hook.PID())
			var next atomic.Int64
			overConnections(t, s.address, 4, len(some), func(session *rig.Session) error { return sendLetter(session, some[next.Add(1)-1]) })
			s.processor += processorTime(t, s.hook.PID()) - before
		}
	}
}

// settle delivers the last letters, and has LevelDB merge its tables. See settleStarts.
func settle(t *testing.T, sides []*bytesSide, list []letter) {
	t.Helper()
	for _, s := range sides {
		for _, l := range list {
			overConnections(t, s.address, 1, 1, func(session *rig.Session) error { return sendLetter(session, l) })
			s.hook.Stop(t)
			s.hook.Start(t)
		}
	}
}

func sendLetter(session *rig.Session, l letter) error {
	for _, line := range []string{"MAIL FROM:<" + l.from + ">", "RCPT TO:<" + l.to + ">", "DATA"} {
		if reply, err := session.Command("%s", line); err != nil || reply.Code/100 > 3 {
			return fmt.Errorf("%s: %v %v", line, reply, err)
		}
	}
	if err := session.Body(l.text); err != nil {
		return err
	}
	if reply, err := session.Reply(); err != nil || reply.Code != 250 {
		return fmt.Errorf("after the dot: %v %v", reply, err)
	}
	return nil
}

// bytes returns what the data folder holds, without LevelDB's logs, as soon as LevelDB has merged the tables of its level 0.
func (s *bytesSide) bytes(t *testing.T) (total int64) {
	t.Helper()
	last, same := int64(0), 0
	rig.Wait(t, time.Minute, "the tables to be merged", func() bool {
		total = folderBytes(t, s.hook.Data)
		if same++; total != last {
			last, same = total, 0
		}
		return same == 20
	})
	return total
}

func folderBytes(t *testing.T, folder string) (total int64) {
	t.Helper()
	check(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) == ".log" {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return ignoreGone(err)
	}))
	return total
}

// ignoreGone returns nil if a file is not there any more: LevelDB removes tables that it has merged.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readLetters reads all messages back on all sides in turns, over the admin socket, and notes how long that took.
func readLetters(t *testing.T, sides []*bytesSide, list []letter) {
	t.Helper()
	paths := make([][]string, len(sides))
	for i, s := range sides {
		for box := range 8 {
			for _, e := range s.hook.List(t, eight(box)) {
				paths[i] = append(paths[i], s.path(t, e))
			}
		}
		if len(paths[i]) != len(list) {
			t.Fatalf("%d messages, not %d", len(paths[i]), len(list))
		}
	}
	const readTimes = 9
	for round := range 1 + readTimes {
		for i := range sides {
			i = (i + round) % len(sides)
			begun, got := time.Now(), 0
			for _, path := range paths[i] {
				got += sides[i].get(t, path)
			}
			if want := textBytes(list); got != want {
				t.Fatalf("%d bytes were read back, not %d", got, want)
			}
			if round > 0 { // the first one warms it
				sides[i].read = append(sides[i].read, time.Since(begun).Seconds()*1e6/float64(len(list)))
			}
		}
	}
}

// path is where the admin socket has the bytes of a message. Programs before the API have it elsewhere.
func (s *bytesSide) path(t *testing.T, e rig.Entry) string {
	path := httpd.Prefix + "/mailboxes/" + e.Mailbox + "/messages/" + url.PathEscape(e.Folder) + "/" + strconv.Itoa(int(e.UID)) + "/raw"
	if s.earlier == nil {
		answer, err := s.client.Get("http://localhost" + path)
		check(t, err)
		answer.Body.Close()
		earlier := answer.StatusCode == http.StatusNotFound
		s.earlier = &earlier
	}
	if *s.earlier {
		return "/v1/message?" + url.Values{"mailbox": {e.Mailbox}, "folder": {e.Folder}, "uid": {strconv.Itoa(int(e.UID))}}.Encode()
	}
	return path
}

// get reads a message and returns its length.
func (s *bytesSide) get(t *testing.T, path string) int {
	answer, err := s.client.Get("http://localhost" + path)
	check(t, err)
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	check(t, err)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, answer.Status)
	}
	return int(n)
}
