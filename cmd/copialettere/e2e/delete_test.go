package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
	"copialettere/policy/archive"
)

// TestEmptyKilled empties a folder of thousands of messages while the daemon is killed again and again. After each kill the log tells exactly
// what was deleted, each message once, and the same command does the rest. Mail of other folders and mailboxes is not touched, and all comes
// back.
func TestEmptyKilled(t *testing.T) {
	const mailbox, other, all = "mario@alpha.test", "anna@alpha.test", 4000
	awaitDay()
	now := time.Now()
	folder := filepath.Join(rig.Folder(t), "hook")
	listen := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	d := rig.Install(t, program, folder, fmt.Sprintf(killConfig, listen, filepath.Join(folder, "mail")))
	mails := []pastMail{{other, 1, letter("other", 400)}, {mailbox, 2, letter("two months ago", 400)}}
	for i := range all {
		mails = append(mails, pastMail{mailbox, 1, letter(fmt.Sprint("past ", i), 400)})
	}
	archivePast(t, d, now, mails)
	d.Start(t)
	d.Enable(t, mailbox, other)
	d.Must(t, "mailbox", "set", mailbox, "manual_delete=on")
	past := "INBOX/" + string(monthBefore(now, 1))

	// How long it takes, and back.
	start := time.Now()
	act := actOf(t, d.Must(t, "empty", mailbox, past, "-json"))
	takes := time.Since(start)
	if act.Act != journal.ActEmpty || act.Count != all || act.UIDs.String() != fmt.Sprint("1-", all) {
		t.Fatalf("emptied: %+v", act)
	}
	back := func() {
		t.Helper()
		act = actOf(t, d.Must(t, "delete", mailbox, past, "1-100000000", "-undo", "-json"))
		if act.Count != all || act.ToUIDs.Count() != all {
			t.Fatalf("brought back: %+v", act)
		}
	}
	back()

	// left compares the log with the folder, and returns how many messages are left there.
	left := func() int {
		t.Helper()
		on := map[string][]journal.UIDRange{}
		sum := map[string]int{}
		for _, c := range logOf(t, d, mailbox) {
			on[c.Key], sum[c.Key] = append(on[c.Key], c.UIDs...), sum[c.Key]+int(c.Messages)
		}
		for _, key := range []string{journal.ActEmpty, journal.ActUndelete} {
			if once := countOnce(t, on[key]); once != sum[key] {
				t.Errorf("the acts %s name %d messages, of which %d differ", key, sum[key], once)
			}
		}
		listed := 0
		for _, e := range d.List(t, mailbox) {
			if e.Folder == past {
				listed++
			}
		}
		if want := all - sum[journal.ActEmpty] + sum[journal.ActUndelete]; listed != want {
			t.Errorf("%d messages are listed, want %d after the log", listed, want)
		}
		return listed
	}
	seed := uint64(now.UnixNano())
	random, amid := rand.New(rand.NewPCG(seed, 0)), 0
	for kills := 0; amid < 2; kills++ {
		if kills == 100 {
			t.Fatalf("of %d kills %d came amid an emptying; seed %d", kills, amid, seed)
		}
		emptied := make(chan int, 1)
		start := time.Now()
		go func() {
			_, _, status := d.Command(t, "empty", mailbox, past)
			emptied <- status
		}()
		select {
		case status := <-emptied:
			takes = time.Since(start)
			if status != 0 {
				t.Fatalf("empty: exit status %d", status)
			}
		case <-time.After(time.Duration(random.Int64N(int64(takes)))):
			d.Kill()
			<-emptied
			d.Start(t)
		}
		switch n := left(); n {
		case all:
		case 0:
			back()
		default:
			amid++
		}
	}
	if act = actOf(t, d.Must(t, "empty", mailbox, past, "-json")); act.Count == 0 || left() != 0 {
		t.Errorf("emptied of the rest: %+v", act)
	}
	d.Verify(t)
	if act = actOf(t, d.Must(t, "empty", mailbox, past, "-json")); act.Count != 0 {
		t.Errorf("emptied again: %+v", act)
	}
	if stats := string(d.Must(t, "stats", mailbox)); !strings.Contains(stats, past+"           0 entries") {
		t.Errorf("the folder does not stay:\n%s", stats)
	}
	back()
	if n := len(d.List(t, mailbox)); n != all+1 {
		t.Errorf("%d entries, want %d", n, all+1)
	}
	if n := len(d.List(t, other)); n != 1 {
		t.Errorf("%d entries of another mailbox, want 1", n)
	}
	d.Verify(t)
}

// act is what an act answers with -json.
type act struct {
	Act    string       `json:"act"`
	Count  uint64       `json:"count"`
	UIDs   journal.UIDs `json:"uids"`
	ToUIDs journal.UIDs `json:"to_uids"`
}

func actOf(t *testing.T, answer []byte) (a act) {
	t.Helper()
	if err := json.Unmarshal(answer, &a); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return a
}

func logOf(t *testing.T, d *rig.Daemon, mailbox string) (list []archive.Change) {
	t.Helper()
	for line := range strings.Lines(string(d.Must(t, "mailbox", "log", mailbox, "-json"))) {
		var c archive.Change
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, c)
	}
	return list
}

// countOnce returns how many UIDs there are in ranges, each counted once.
func countOnce(t *testing.T, ranges []journal.UIDRange) int {
	t.Helper()
	if len(ranges) == 0 {
		return 0
	}
	text, err := journal.UIDs(ranges).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	set, err := journal.ParseUIDs(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return int(set.Count())
}
