package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

const killConfig = `
[received]
listen   = ["tcp:%s"]
next_hop = "maildir:%s"

[admin]
listen = ["unix:admin.sock"]

[[domain]]
name = "alpha.test"

[[domain]]
name = "beta.test"
`

// TestKill kills the daemon with SIGKILL at random moments while several clients deliver by LMTP. Like an MTA, a client sends a message again
// until it gets a final reply. In the end every message that was answered with 250 must be in the journal, byte for byte and once, and in the
// Maildir at least once, and no other message may be there. COPIALETTERE_KILLS sets the number of kills, 30 by default.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 30
	if text := os.Getenv("COPIALETTERE_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	folder := rig.Folder(t)
	address := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	maildir := filepath.Join(folder, "hook", "mail")
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(killConfig, address, maildir))
	enabled := []string{anna, bruno, elena}
	hook.Enable(t, enabled...)

	load := &load{address: address, mailboxes: append([]string{dario}, enabled...), delivered: make(map[string]map[string]bool)}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for client := range 6 {
		load.clients.Go(func() { load.client(ctx, client) })
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		time.Sleep(20*time.Millisecond + time.Duration(random.Int64N(int64(300*time.Millisecond))))
		hook.Kill()
		hook.Start(t)
	}
	stop()
	load.clients.Wait()
	if load.err != nil {
		t.Error(load.err)
	}
	load.check(t, hook, maildir, enabled)
	hook.Verify(t)
	hook.Stop(t)
	hook.Verify(t)
}

// load holds what the clients of TestKill send, and the replies that they got.
type load struct {
	address   string
	mailboxes []string
	clients   sync.WaitGroup

	mu        sync.Mutex
	delivered map[string]map[string]bool // by mailbox: SHA-256 of the messages that were answered with 250; guarded by mu
	attempts  int                        // guarded by mu
	err       error                      // a reply that no fault excuses; guarded by mu
}

// client delivers messages until ctx ends, the last one to the end.
func (l *load) client(ctx context.Context, client int) {
	random := rand.New(rand.NewPCG(uint64(client), 1))
	attachment := randomLines(120_000)
	for n := 0; ctx.Err() == nil; n++ {
		text := message(fmt.Sprintf("kill-%d-%d", client, n))
		switch {
		case n%10 == 3:
			text = append(text, attachment...) // shares its chunks with the messages before
		case n%10 == 7:
			text = append(text, randomLines(10_000+random.IntN(200_000))...)
		default:
			text = append(text, randomLines(random.IntN(3_000))...)
		}
		if n%17 == 11 {
			l.breakOff(text)
			continue
		}
		to := slices.Clone(l.mailboxes)
		random.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
		l.deliver(rig.Mail{From: ester, To: to[:1+random.IntN(3)], Message: text})
	}
}

// breakOff sends half a message and drops the connection. That message must not show up anywhere.
func (l *load) breakOff(text []byte) {
	session, err := rig.Dial("tcp", l.address, "LHLO")
	if err != nil {
		return
	}
	defer session.Break()
	for _, line := range []string{"MAIL FROM:<ester@ext.test>", "RCPT TO:<anna@alpha.test>", "DATA"} {
		if _, err := session.Command("%s", line); err != nil {
			return
		}
	}
	session.Write(text[:len(text)/2])
}

// deliver sends a mail until every recipient has got a 250, each time to those that have not got one.
func (l *load) deliver(mail rig.Mail) {
	digest := sha256.Sum256(mail.Message)
	for len(mail.To) > 0 {
		replies, err := rig.Deliver("tcp", l.address, mail)
		l.mu.Lock()
		l.attempts++
		var open []string
		for i, to := range mail.To {
			// The replies that came before a transaction broke are valid.
			if i < len(replies) && replies[i].Code == 250 {
				if l.delivered[to] == nil {
					l.delivered[to] = make(map[string]bool)
				}
				l.delivered[to][hex.EncodeToString(digest[:])] = true
				continue
			}
			if i < len(replies) && replies[i].Code/100 == 5 {
				l.err = fmt.Errorf("%s: %v", to, replies[i])
			}
			open = append(open, to)
		}
		mail.To = open
		failed := l.err != nil
		l.mu.Unlock()
		if failed {
			return
		}
		if err != nil {
			time.Sleep(5 * time.Millisecond) // the daemon is being restarted
		}
	}
}

// check compares the replies that the clients got with the journal and the Maildir.
func (l *load) check(t *testing.T, hook *rig.Daemon, maildir string, enabled []string) {
	total := 0
	for _, mailbox := range enabled {
		told := l.delivered[mailbox]
		total += len(told)
		held := make(map[string]int)
		for i, entry := range hook.List(t, mailbox) {
			held[entry.SHA256]++
			// "unknown": the outcome was only in memory when the daemon was killed. No message waits by now, so no other state is right.
			if entry.State != "delivered" && entry.State != "unknown" {
				t.Errorf("%s: entry %d is in state %q", mailbox, entry.UID, entry.State)
			}
			// verify compares all bytes with their digests; this reads some of them as a person would.
			if i%50 == 0 {
				if digest := sha256.Sum256(hook.Cat(t, entry)); hex.EncodeToString(digest[:]) != entry.SHA256 {
					t.Errorf("%s: the bytes of entry %d have another digest", mailbox, entry.UID)
				}
			}
		}
		for digest := range told {
			if held[digest] != 1 {
				t.Errorf("%s: the journal holds a message that was answered with 250 %d times, expected 1", mailbox, held[digest])
			}
		}
		for digest := range held {
			if !told[digest] {
				t.Errorf("%s: the journal holds a message that was never answered with 250", mailbox)
			}
		}
	}
	for mailbox, told := range l.delivered {
		stored := maildirDigests(t, maildir, mailbox)
		for digest := range told {
			if !stored[digest] {
				t.Errorf("%s: the Maildir does not hold a message that was answered with 250", mailbox)
			}
		}
		for digest := range stored {
			if !told[digest] {
				t.Errorf("%s: the Maildir holds a message that was never answered with 250", mailbox)
			}
		}
	}
	t.Logf("%d messages in %d mailboxes, in %d attempts", total, len(enabled), l.attempts)
	if total == 0 {
		t.Error("nothing was delivered")
	}
}

// maildirDigests returns the SHA-256 of every message in the Maildir of a mailbox.
func maildirDigests(t *testing.T, folder, mailbox string) map[string]bool {
	t.Helper()
	local, domain, _ := strings.Cut(mailbox, "@")
	files, err := filepath.Glob(filepath.Join(folder, domain, local, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	digests := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(text)
		digests[hex.EncodeToString(digest[:])] = true
	}
	return digests
}
