//go:build bench

package imapd

import (
	"cmp"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal"
)

// Dovecot's test tool imaptest runs its scripts, and its random dialogues, against the server. "make imaptest" calls these tests, and says with
// COPIALETTERE_IMAPTEST and COPIALETTERE_IMAPTEST_SCRIPTS where the program and its folder of scripts are, and with COPIALETTERE_IMAPTEST_SECONDS how
// long the random dialogues last.

// failsWritable are the commands of the scripts that fail on the writable backend, each with the reason.
var failsWritable = map[string]string{
	"fetch-envelope 1": "the source route of an address (obsolete: RFC 5322 section 4.4) has no place in go-imap's imap.Address, so ENVELOPE says NIL for it",
}

// maxFailsWritable is how many of the base protocol's commands may fail there.
const maxFailsWritable = 10

// failsReadOnly are the scripts that need what an archive does not do, each with the reason. All of their commands may fail, and those of no other.
var failsReadOnly = map[string]string{
	"append":             "no flags are kept, and nothing is new",
	"close":              "nothing is marked as deleted, so CLOSE removes nothing",
	"copy":               "no message is copied",
	"esearch":            "begins with the removal of a message",
	"expunge":            "no message is removed",
	"expunge2":           "no message is removed",
	"fetch":              "removes a message in the middle",
	"fetch-body":         "wants messages that are not seen, and that BODY[] makes them so",
	"fetch-envelope":     "the source route, as on the writable backend",
	"list":               "no folder is made",
	"listext":            "no folder is made, all are subscribed",
	"move":               "no message is moved",
	"mutf7":              "no folder is made",
	"nil":                "the flag NIL is not stored",
	"search-flags":       "no flag is stored",
	"search-sets":        "begins with the removal of a message",
	"select":             "wants new and unseen messages, and READ-WRITE",
	"store":              "no flag is stored",
	"subscribe":          "all folders are subscribed, and stay so",
	"uidplus":            "no message is removed, and APPEND of the tests tells no UID",
	"uidvalidity-rename": "no folder is renamed",
}

// TestImaptestWritable runs the scripts on the writable backend.
func TestImaptestWritable(t *testing.T) {
	r := newWritableRig(t)
	failed, base := r.scripts(t)
	for _, command := range failed {
		if failsWritable[command] == "" {
			t.Errorf("fails: %s", command)
		}
	}
	for command := range failsWritable {
		if !slices.Contains(failed, command) {
			t.Errorf("does not fail any more: %s", command)
		}
	}
	if base > maxFailsWritable {
		t.Errorf("%d commands of the base protocol fail", base)
	}
}

// TestImaptestReadOnly runs the scripts on an archive.
func TestImaptestReadOnly(t *testing.T) {
	var h shelves
	r := newRig(t, func(c *Config) {
		c.session = func(c *conn) backend { return &filled{session: newSession(c), shelves: &h} }
	})
	h.rig = r
	failed, _ := r.scripts(t)
	for _, command := range failed {
		if script, _, _ := strings.Cut(command, " "); failsReadOnly[script] == "" {
			t.Errorf("fails: %s", command)
		}
	}
}

// TestImaptestStress has imaptest say at random what programs say, on 20 connections, and check what it is told: on the writable backend, and at the
// same time on an archive where messages arrive. They do not go: imaptest takes NO [EXPUNGEISSUED] for an error; TestManyReaders has that.
func TestImaptestStress(t *testing.T) {
	seconds := "secs=" + cmp.Or(os.Getenv("COPIALETTERE_IMAPTEST_SECONDS"), "600")
	box := "mbox=" + os.Getenv("COPIALETTERE_IMAPTEST_SCRIPTS") + "/default.mbox"
	t.Run("writable", func(t *testing.T) {
		t.Parallel()
		stress(t, newWritableRig(t), seconds, box, "clients=20", "msgs=50", "UIDFETCH=50", "SEARCH=30", "COPY=30", "NOOP=30", "CHECK=10")
	})
	t.Run("archive", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		ctx, stop := context.WithCancel(t.Context())
		var arriving sync.WaitGroup
		arrive := func() { r.add(anna, journal.Received, "Subject: x\r\n\r\nTesto\r\n") }
		arrive()
		arriving.Go(func() {
			for ctx.Err() == nil {
				arrive()
				time.Sleep(300 * time.Millisecond)
			}
		})
		defer arriving.Wait()
		defer stop()
		stress(t, r, seconds, box, "box=INBOX/2026-11", "clients=20", "msgs=50", "-", "LIST=50", "STATUS=50", "UIDFETCH=50", "FETCH=100", "FETCH2=100", "SEARCH=50",
			"NOOP=30", "CHECK=10")
	})
}

func stress(t *testing.T, r *rig, arguments ...string) {
	out := r.imaptest(t, arguments...)
	if strings.Contains(out, "Error:") || !strings.Contains(out, "Totals:") {
		t.Error("protocol errors")
	}
}

func newWritableRig(t *testing.T) *rig {
	h := newShelf()
	return newRig(t, func(c *Config) {
		c.session = func(c *conn) backend { return &writable{session: newSession(c), shelf: h} }
	})
}

// imaptest runs the program, and returns what it says.
func (r *rig) imaptest(t *testing.T, arguments ...string) string {
	t.Helper()
	program := os.Getenv("COPIALETTERE_IMAPTEST")
	if program == "" {
		t.Skip("make imaptest IMAPTEST=PROGRAM TESTS=FOLDER runs it")
	}
	_, port, err := net.SplitHostPort(r.addr)
	check(t, err)
	arguments = append([]string{"host=127.0.0.1", "port=" + port, "user=" + anna, "pass=" + password}, arguments...)
	out, err := exec.Command(program, arguments...).CombinedOutput()
	t.Logf("%v\n%s", err, out)
	return string(out)
}

var (
	failedCommand = regexp.MustCompile(`(?m)^\*\*\* Test (\S+) command (\d+)/\d+`)
	failedSetUp   = regexp.MustCompile(`(?m)^\*\*\* Test (\S+) initialization failed`)
	failedBase    = regexp.MustCompile(`base protocol: (\d+)/\d+ individual commands failed`)
)

// scripts runs all scripts. It returns which commands failed, each as "SCRIPT NUMBER", and how many of those of the base protocol.
func (r *rig) scripts(t *testing.T) (failed []string, base int) {
	t.Helper()
	folder := os.Getenv("COPIALETTERE_IMAPTEST_SCRIPTS")
	out := r.imaptest(t, "test="+folder, "mbox="+folder+"/default.mbox")
	for _, m := range failedCommand.FindAllStringSubmatch(out, -1) {
		failed = append(failed, m[1]+" "+m[2])
	}
	for _, m := range failedSetUp.FindAllStringSubmatch(out, -1) {
		failed = append(failed, m[1]+" set-up")
	}
	m := failedBase.FindStringSubmatch(out)
	if m == nil {
		t.Fatal("imaptest did not come to its end")
	}
	base, err := strconv.Atoi(m[1])
	check(t, err)
	return failed, base
}

// filled is the session of an archive whose months a script can fill: CREATE gives a name to a month that is empty yet, and what is put there
// with APPEND arrives in that month. All else is as in every archive.
type filled struct {
	*session
	shelves *shelves
}

// shelves are the names that scripts have given to months.
type shelves struct {
	rig    *rig
	mu     sync.Mutex
	months int               // that have a name
	names  map[string]string // month by name
}

func (h *shelves) month(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.names[name]
}

// folder returns the name of a folder in the archive. A month where nothing lies is not shown there.
func (s *filled) folder(name string) string {
	month := s.shelves.month(name)
	if month == "" {
		return name
	}
	if _, err := s.session.folder("INBOX/" + month); err != nil {
		return "INBOX"
	}
	return "INBOX/" + month
}

func (s *filled) Create(name string, _ *imap.CreateOptions) error {
	h := s.shelves
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names == nil {
		h.names = make(map[string]string)
	}
	h.months++
	h.names[name] = time.Date(2027, time.Month(h.months), 1, 0, 0, 0, 0, time.UTC).Format("2006-01")
	return nil
}

func (s *filled) Delete(name string) error {
	s.shelves.mu.Lock()
	defer s.shelves.mu.Unlock()
	delete(s.shelves.names, name)
	return nil
}

func (s *filled) Select(name string, o *imap.SelectOptions) (*imap.SelectData, error) {
	return s.session.Select(s.folder(name), o)
}

func (s *filled) Status(name string, o *imap.StatusOptions) (*imap.StatusData, error) {
	data, err := s.session.Status(s.folder(name), o)
	if err == nil {
		data.Mailbox = name
	}
	return data, err
}

func (s *filled) appendRefused(string, int64) string { return "" }

func (s *filled) Append(name string, r imap.LiteralReader, o *imap.AppendOptions) (*imap.AppendData, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	month := s.shelves.month(name)
	if month == "" {
		return nil, no(imap.ResponseCodeTryCreate, "No such folder")
	}
	s.shelves.mu.Lock()
	defer s.shelves.mu.Unlock()
	s.shelves.rig.month(month)
	s.shelves.rig.add(anna, journal.Received, string(text))
	return nil, nil
}
