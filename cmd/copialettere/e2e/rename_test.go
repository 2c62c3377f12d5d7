package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

const annaRossi = "anna.rossi@beta.test"

// TestRenameUnderLoad gives a mailbox another address and back, again and again, while clients deliver to both addresses, and kills the daemon
// with SIGKILL at random moments of it. Like an MTA, a client sends a message again until it gets a final reply. A message to both addresses must
// be in the archive once, whenever it came. One to a single address must be there once if the address was that of the mailbox all the time, and
// must not if it was not.
func TestRenameUnderLoad(t *testing.T) {
	t.Parallel()
	const renames = 24
	folder := rig.Folder(t)
	address := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(killConfig, address, filepath.Join(folder, "hook", "mail")))
	hook.Enable(t, anna, bruno)

	names := &changingName{}
	names.settled(anna)
	load := &renamedLoad{address: address}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for client := range 4 {
		load.clients.Go(func() { load.client(ctx, client) })
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	from, to := anna, annaRossi
	for n := range renames {
		time.Sleep(50*time.Millisecond + time.Duration(random.Int64N(int64(200*time.Millisecond))))
		names.changing()
		if n%3 > 0 {
			renameWhileKilled(t, hook, random, from, to)
		}
		hook.Must(t, "mailbox", "rename", from, to)
		names.settled(to)
		from, to = to, from
	}
	stop()
	load.clients.Wait()
	if load.err != nil {
		t.Error(load.err)
	}
	load.check(t, hook, names, from)
	if out, _, status := hook.Command(t, "list", to); status != 1 || len(out) > 0 {
		t.Errorf("list of %s, which is no mailbox: exit status %d: %.200s", to, status, out)
	}
	hook.Verify(t)
	hook.Stop(t)
	hook.Verify(t)
}

// renameWhileKilled kills the daemon while a command has it rename a mailbox, and starts it again. Whether the rename was made is open.
func renameWhileKilled(t *testing.T, hook *rig.Daemon, random *rand.Rand, from, to string) {
	t.Helper()
	var renaming sync.WaitGroup
	renaming.Go(func() { hook.Command(t, "mailbox", "rename", from, to) })
	time.Sleep(time.Duration(random.Int64N(int64(60 * time.Millisecond))))
	hook.Kill()
	renaming.Wait() // the command opens the data folder itself if it finds no daemon
	hook.Start(t)
}

// changingName remembers the address that a mailbox had.
type changingName struct {
	mu    sync.Mutex
	spans []nameSpan // in the order of time; guarded by mu
}

// nameSpan is a time in which the mailbox had an address for certain.
type nameSpan struct {
	address     string
	from, until time.Time
}

func (c *changingName) settled(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, nameSpan{address: address, from: time.Now()})
}

func (c *changingName) changing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans[len(c.spans)-1].until = time.Now()
}

// of returns the address that the mailbox had all the time; "" if it changed meanwhile.
func (c *changingName) of(from, until time.Time) string {
	for _, s := range c.spans {
		if !from.Before(s.from) && (s.until.IsZero() || !until.After(s.until)) {
			return s.address
		}
	}
	return ""
}

// renamedLoad holds what the clients of TestRenameUnderLoad send.
type renamedLoad struct {
	address string
	clients sync.WaitGroup

	mu   sync.Mutex
	sent []sentOnce // answered with 250 for every recipient; guarded by mu
	err  error      // a reply that no fault excuses; guarded by mu
}

// sentOnce is a message that got a 250 for every recipient.
type sentOnce struct {
	digest string
	to     []string
	first  time.Time // when its first try began
	last   time.Time // when its last try began
	done   time.Time
}

// client delivers messages until ctx ends, the last one to the end.
func (l *renamedLoad) client(ctx context.Context, client int) {
	random := rand.New(rand.NewPCG(uint64(client), 2))
	for n := 0; ctx.Err() == nil; n++ {
		text := append(message(fmt.Sprintf("rename-%d-%d", client, n)), randomLines(random.IntN(60_000))...)
		to := [][]string{{anna}, {annaRossi}, {anna, annaRossi}, {annaRossi, bruno, anna}}[random.IntN(4)]
		l.deliver(rig.Mail{From: ester, To: to, Message: text})
	}
}

// deliver sends a mail until every recipient has got a 250, each time to those that have not got one.
func (l *renamedLoad) deliver(mail rig.Mail) {
	digest := sha256.Sum256(mail.Message)
	s := sentOnce{digest: hex.EncodeToString(digest[:]), to: mail.To, first: time.Now()}
	for len(mail.To) > 0 {
		s.last = time.Now()
		replies, err := rig.Deliver("tcp", l.address, mail)
		var open []string
		for i, to := range mail.To {
			switch {
			case i < len(replies) && replies[i].Code == 250:
				continue
			case i < len(replies) && replies[i].Code/100 == 5:
				l.mu.Lock()
				l.err = fmt.Errorf("%s: %v", to, replies[i])
				l.mu.Unlock()
				return
			}
			open = append(open, to)
		}
		if mail.To = open; err != nil {
			time.Sleep(5 * time.Millisecond) // the daemon is being restarted
		}
	}
	s.done = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, s)
}

// check compares what was answered with the archive, which is under that address now, and with bruno's.
func (l *renamedLoad) check(t *testing.T, hook *rig.Daemon, names *changingName, address string) {
	t.Helper()
	held, others := make(map[string]int), make(map[string]int)
	for _, entry := range hook.List(t, address) {
		held[entry.SHA256]++
		if entry.Mailbox != address || entry.State != "delivered" && entry.State != "unknown" {
			t.Errorf("entry %d of %s in state %q", entry.UID, entry.Mailbox, entry.State)
		}
	}
	for _, entry := range hook.List(t, bruno) {
		others[entry.SHA256]++
	}
	counts := make(map[string]int)
	for _, s := range l.sent {
		kind, want := "between", -1
		switch last, whole := names.of(s.last, s.done), names.of(s.first, s.done); {
		case len(s.to) > 1:
			kind, want = "to both", 1
		case last == s.to[0]:
			kind, want = "to the address", 1
		case whole != "":
			kind, want = "to the other one", 0
		}
		counts[kind]++
		if got := held[s.digest]; want >= 0 && got != want || got > 1 {
			t.Errorf("%s (%s): %d entries, want %d", kind, strings.Join(s.to, ", "), got, want)
		}
		if len(s.to) == 3 && others[s.digest] != 1 {
			t.Errorf("%d entries of %s, want 1", others[s.digest], bruno)
		}
		delete(held, s.digest)
	}
	if len(held) > 0 {
		t.Errorf("the archive holds %d messages that were never answered with 250", len(held))
	}
	t.Logf("%d messages: %v", len(l.sent), counts)
	for _, kind := range []string{"to both", "to the address", "to the other one"} {
		if counts[kind] == 0 {
			t.Errorf("no message %s", kind)
		}
	}
}
