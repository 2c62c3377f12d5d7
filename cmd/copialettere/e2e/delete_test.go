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
	t.Logf("emptied of %d messages in %s", all, takes)
	act = actOf(t, d.Must(t, "delete", mailbox, past, act.UIDs.String(), "-undo", "-json"))
	if act.Count != all || act.ToUIDs.String() != fmt.Sprintf("%d-%d", all+1, 2*all) {
		t.Fatalf("brought back: %+v", act)
	}

	// deleted checks the log, and returns how many messages are deleted.
	deleted := func() uint64 {
		var once journal.UIDs
		var sum uint64
		for _, c := range logOf(t, d, mailbox) {
			if c.Key == journal.ActEmpty && c.UIDs[0].First > all {
				once, sum = append(once, c.UIDs...), sum+c.Messages
			}
		}
		again, err := journal.ParseUIDs(fmt.Sprint("1", joined(once)))
		if err != nil || again.Count() != sum+1 {
			t.Errorf("the acts have %d messages, of which %d differ; %v", sum, again.Count()-1, err)
		}
		listed := 0
		for _, e := range d.List(t, mailbox) {
			if e.Folder == past {
				listed++
			}
		}
		if listed+int(sum) != all {
			t.Errorf("%d messages are listed and %d on record as deleted, of %d", listed, sum, all)
		}
		return sum
	}
	random := rand.New(rand.NewPCG(uint64(now.UnixNano()), 0))
	amid := false
	for kills := 0; deleted() < all; kills++ {
		if kills == 40 {
			t.Fatal("the folder is not empty after 40 kills")
		}
		emptied := make(chan int, 1)
		go func() {
			_, _, status := d.Command(t, "empty", mailbox, past)
			emptied <- status
		}()
		select {
		case status := <-emptied:
			if status != 0 {
				t.Fatalf("empty: exit status %d", status)
			}
		case <-time.After(time.Duration(random.Int64N(int64(takes)))):
			d.Kill()
			<-emptied
			d.Start(t)
		}
		if n := deleted(); n > 0 && n < all {
			amid = true
		}
	}
	if !amid {
		t.Error("no kill came amid the emptying")
	}
	d.Verify(t)
	if act = actOf(t, d.Must(t, "empty", mailbox, past, "-json")); act.Count != 0 {
		t.Errorf("emptied again: %+v", act)
	}
	if stats := string(d.Must(t, "stats", mailbox)); !strings.Contains(stats, past+"           0 entries") {
		t.Errorf("the folder does not stay:\n%s", stats)
	}
	act = actOf(t, d.Must(t, "delete", mailbox, past, "1-1000000", "-undo", "-json"))
	if act.Count != all {
		t.Errorf("brought back: %+v", act)
	}
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

// joined returns the ranges as ParseUIDs reads them, with a comma before each.
func joined(ranges journal.UIDs) string {
	var b strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&b, ",%d-%d", r.First, r.Last)
	}
	return b.String()
}
