package imapd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// reader is a mail program that keeps the UIDs of a folder as RFC 3501 lets it know them.
type reader struct {
	nc   net.Conn
	in   *bufio.Reader
	uids []string // "" where it does not know the UID yet
}

func (r *rig) reader(folder string) (*reader, error) {
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	p := &reader{nc: nc, in: bufio.NewReader(nc)}
	for _, command := range []string{"LOGIN " + anna + " " + password, "SELECT \"" + folder + "\""} {
		if err := p.command(command); err != nil {
			return nil, fmt.Errorf("%s: %w", command, err)
		}
	}
	return p, nil
}

var untagged = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE|FETCH \(UID (\d+))`)

// command says a command and takes the answer. For IDLE it says DONE after the first line.
func (p *reader) command(text string) error {
	if _, err := fmt.Fprintf(p.nc, "t %s\r\n", text); err != nil {
		return err
	}
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "+ ") {
			time.Sleep(20 * time.Millisecond)
			if _, err := p.nc.Write([]byte("DONE\r\n")); err != nil {
				return err
			}
		}
		if strings.HasPrefix(line, "t ") {
			if !strings.HasPrefix(line, "t OK") && !strings.Contains(line, "EXPUNGEISSUED") {
				return fmt.Errorf("%s", line)
			}
			return nil
		}
		m := untagged.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		switch {
		case m[2] == "EXISTS" && n >= len(p.uids):
			p.uids = append(p.uids, make([]string, n-len(p.uids))...)
		case m[2] == "EXISTS", n < 1, n > len(p.uids):
			return fmt.Errorf("with %d messages: %s", len(p.uids), line)
		case m[2] == "EXPUNGE":
			p.uids = append(p.uids[:n-1], p.uids[n:]...)
		case p.uids[n-1] != "" && p.uids[n-1] != m[3]:
			return fmt.Errorf("message %d was %s: %s", n, p.uids[n-1], line)
		default:
			p.uids[n-1] = m[3]
		}
	}
}

// TestManyReaders has 500 programs read one folder while messages arrive, move and go, and while some of the programs delete and move. What each of
// them knows stays true, and in the end all know the same. Likewise 200 with the folder of one type, while messages of another one come and go as well.
func TestManyReaders(t *testing.T) { testReaders(t, 500, 200) }

// TestReaders has fewer programs do the same, for the race detector.
func TestReaders(t *testing.T) { testReaders(t, 40, 20) }

func testReaders(t *testing.T, months, types int) {
	for _, c := range []struct {
		layout   policy.Layout
		folder   string
		programs int
		shows    func(*journal.Entry) bool
	}{
		{policy.LayoutMonth, "INBOX/2026-11", months, func(*journal.Entry) bool { return true }},
		{policy.LayoutType, "2026/11/Posta non certificata ricevuta", types, func(e *journal.Entry) bool { return e.Class == "" }},
	} {
		t.Run(string(c.layout), func(t *testing.T) {
			r := newRig(t, nil)
			r.set(anna, "write", "on")
			r.set(anna, policy.KeyLayout, string(c.layout))
			programs := r.manyReaders(c.folder, c.programs)
			var uids []uint32
			for e, err := range r.journal.FiledHeads(context.Background(), anna, "2026-11", "INBOX", 1, 1<<32-1) {
				check(t, err)
				if c.shows(e) {
					uids = append(uids, e.UID)
				}
			}
			want := strings.Trim(fmt.Sprint(uids), "[]")
			for i, p := range programs {
				if p == nil {
					continue
				}
				for _, command := range []string{"NOOP", "FETCH 1:* (UID)"} {
					if err := p.command(command); err != nil {
						t.Errorf("program %d: %s: %v", i, command, err)
					}
				}
				if got := strings.Join(p.uids, " "); got != want && !t.Failed() {
					t.Errorf("program %d knows %s, want %s", i, got, want)
				}
				p.nc.Close()
			}
		})
	}
}

// manyReaders has programs read a folder into which messages come, and from which they go.
func (r *rig) manyReaders(folder string, n int) []*reader {
	t := r.t
	for i := range 20 {
		r.add(anna, journal.Received, fmt.Sprintf("Subject: x %d\r\n\r\nTesto\r\n", i))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var changing, reading sync.WaitGroup
	changing.Go(func() { r.churn(ctx) })
	programs := make([]*reader, n)
	for i := range programs {
		reading.Go(func() {
			p, err := r.reader(folder)
			if err != nil {
				t.Errorf("program %d: %v", i, err)
				return
			}
			programs[i] = p
			for range 4 {
				for _, command := range append([]string{"NOOP", "FETCH 1:* (UID)", "IDLE", "UID FETCH 1:* (UID RFC822.SIZE ENVELOPE)", "SEARCH ALL"}, p.acts(i)...) {
					if err := p.command(command); err != nil {
						t.Errorf("program %d: %s: %v", i, command, err)
						return
					}
				}
			}
		})
	}
	reading.Wait()
	stop()
	changing.Wait()
	return programs
}

// acts returns what program i does to a message that it knows: most do nothing.
func (p *reader) acts(i int) []string {
	if len(p.uids) < 5 || p.uids[i%5] == "" {
		return nil
	}
	switch uid := p.uids[i%5]; i % 20 {
	case 0:
		return []string{"UID STORE " + uid + " +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE " + uid}
	case 7:
		return []string{"UID STORE " + uid + " +FLAGS.SILENT (\\Deleted)", "EXPUNGE"}
	case 10:
		return []string{"UID MOVE " + uid + " Cestino"}
	}
	return nil
}

// churn files, moves and deletes messages of anna until ctx ends.
func (r *rig) churn(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		class := ""
		if i%3 == 0 {
			class = "accettazione"
		}
		r.addAs(journal.Intent{Mailbox: anna, Direction: journal.Received, Class: class}, fmt.Sprintf("Subject: %d\r\n\r\nTesto\r\n", i))
		uids, err := r.journal.UIDs(context.Background(), anna, "2026-11", "INBOX", 1)
		if err != nil || len(uids) < 15 {
			continue
		}
		uid := uids[rand.IntN(len(uids))]
		s := journal.Selection{Mailbox: anna, Month: "2026-11", Folder: "INBOX", UIDs: journal.UIDs{{First: uid, Last: uid}}}
		if i%2 == 0 {
			_, err = r.journal.Delete(context.Background(), s, "test")
		} else {
			_, err = r.journal.Move(context.Background(), s, journal.Trash, "test")
		}
		if err != nil && !errors.Is(err, journal.ErrNotFound) { // a program has taken it away
			r.t.Errorf("change %d: %v", i, err)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestIdleMemory holds 2,000 connections over TLS that wait in IDLE. Each costs less than 64 KiB, both of its ends together.
func TestIdleMemory(t *testing.T) {
	const programs, limit = 2000, 64 << 10
	r := newRig(t, func(c *Config) { c.MaxConnections, c.MaxPerAddress, c.MaxPerMailbox = programs, programs, programs })
	secure := serverTLS(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	serving := make(chan error, 1)
	go func() { serving <- r.server.Serve(l, secure) }()
	t.Cleanup(func() {
		l.Close()
		check(t, <-serving)
	})
	before := memory()
	conns := make([]*tls.Conn, programs)
	for i := range conns {
		nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		check(t, err)
		conns[i] = nc
		fmt.Fprintf(nc, "a LOGIN %s %s\r\nb SELECT INBOX\r\nc IDLE\r\n", anna, password)
		awaitLine(t, nc, "+ idling")
	}
	used := (memory() - before) / programs
	t.Logf("%d bytes for each connection, both of its ends", used)
	if used > limit {
		t.Errorf("an idle connection takes %d bytes", used)
	}
	for _, nc := range conns {
		nc.Close()
	}
}

// awaitLine reads until a line begins with a text.
func awaitLine(t *testing.T, nc net.Conn, text string) {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(time.Minute))
	var got []byte
	for !strings.Contains("\n"+string(got), "\n"+text) {
		b := make([]byte, 512)
		n, err := nc.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got = append(got, b[:n]...)
	}
}

func memory() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}
