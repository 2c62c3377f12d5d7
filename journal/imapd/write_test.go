package imapd

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
)

// dialogue says a command and returns the answer.
func (p *reader) dialogue(t *testing.T, command string) string {
	t.Helper()
	var answer strings.Builder
	if _, err := fmt.Fprintf(p.nc, "t %s\r\n", command); err != nil {
		t.Error(err)
		return ""
	}
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			t.Error(err)
			return ""
		}
		answer.WriteString(line)
		if strings.HasPrefix(line, "t ") {
			return answer.String()
		}
	}
}

// open returns a program that has selected a folder.
func (r *rig) open(folder string) *reader {
	r.t.Helper()
	p, err := r.reader("INBOX/2026-11")
	check(r.t, err)
	r.t.Cleanup(func() { p.nc.Close() })
	p.uids = nil
	check(r.t, p.command("SELECT "+folder))
	return p
}

// TestOthersSee has one program delete and another look: it learns of what went and came, and never of a mark.
func TestOthersSee(t *testing.T) {
	r := newRig(t, nil)
	r.set(anna, "write", "on")
	for i := range 3 {
		r.add(anna, journal.Received, fmt.Sprintf("Subject: %d\r\n\r\nTesto\r\n", i))
	}
	one, two, trash := r.open("INBOX/2026-11"), r.open("INBOX/2026-11"), r.open("Cestino")
	for _, c := range []struct {
		who           *reader
		command, want string
	}{
		{one, "STORE 2 +FLAGS (\\Deleted)", "* 2 FETCH (FLAGS (\\Seen \\Deleted))\r\nt OK STORE completed\r\n"},
		{two, "FETCH 2 FLAGS", "* 2 FETCH (FLAGS (\\Seen))\r\nt OK FETCH completed\r\n"},
		{two, "EXPUNGE", "t OK EXPUNGE completed\r\n"},
		{one, "EXPUNGE", "* 2 EXPUNGE\r\nt OK EXPUNGE completed\r\n"},
		{two, "FETCH 1:* UID", "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\nt OK FETCH completed\r\n"},
		{two, "FETCH 2 RFC822.SIZE", "t NO [EXPUNGEISSUED] Alcuni messaggi non sono piu' nell'archivio\r\n"},
		{two, "NOOP", "* 2 EXPUNGE\r\nt OK NOOP completed\r\n"},
		{trash, "NOOP", "* 1 EXISTS\r\nt OK NOOP completed\r\n"},
		{trash, "UID MOVE 1 INBOX/2026-11", "* OK [COPYUID 1794736800 1 4] COPY completed\r\n* 1 EXPUNGE\r\nt OK UID MOVE completed\r\n"},
		{one, "NOOP", "* 3 EXISTS\r\nt OK NOOP completed\r\n"},
		{two, "UID FETCH 4 UID", "* 3 EXISTS\r\nt OK UID FETCH completed\r\n"},
		{two, "UID MOVE 3:4 Cestino", "* OK [COPYUID 1794736801 3:4 2:3] COPY completed\r\n* 2 EXPUNGE\r\n* 2 EXPUNGE\r\nt OK UID MOVE completed\r\n"},
	} {
		if got := c.who.dialogue(t, c.command); got != c.want {
			t.Errorf("%s: came %q, want %q", c.command, got, c.want)
		}
	}
	var acts []string
	for act, err := range r.journal.Acts(t.Context(), anna) {
		check(t, err)
		acts = append(acts, fmt.Sprintf("%s %s %s by %s", act.Kind, act.From.FolderName(), act.UIDs, act.Who))
	}
	if want := []string{"delete INBOX/2026-11 2 by owner anna@alpha.test (imap)", "undelete INBOX/2026-11 2 by owner anna@alpha.test (imap)",
		"delete INBOX/2026-11 3-4 by owner anna@alpha.test (imap)"}; !slices.Equal(acts, want) {
		t.Errorf("on record %q, want %q", acts, want)
	}
}

// TestTrashAtOnce has programs delete from two months and take back at once. Each learns the UIDs of what it moved, and in the end everything is in one
// place.
func TestTrashAtOnce(t *testing.T) {
	r := newRig(t, nil)
	r.set(anna, "write", "on")
	const programs, each = 6, 12
	for _, month := range []string{"2026-10", "2026-11"} {
		r.month(month)
		for i := range programs / 2 * each {
			r.add(anna, journal.Received, fmt.Sprintf("Subject: %s %d\r\n\r\nTesto\r\n", month, i))
		}
	}
	var moving sync.WaitGroup
	for n := range programs {
		folder := fmt.Sprintf("INBOX/2026-1%d", n%2)
		p, trash := r.open(folder), r.open("Cestino")
		moving.Go(func() {
			for i := range each {
				uid := n/2*each + i + 1
				answer := p.dialogue(t, fmt.Sprintf("UID MOVE %d Cestino", uid))
				var validity, from, to int
				if _, err := fmt.Sscanf(answer, "* OK [COPYUID %d %d %d]", &validity, &from, &to); err != nil || from != uid || !strings.HasSuffix(answer, "OK UID MOVE completed\r\n") {
					t.Errorf("program %d: %q", n, answer)
					return
				}
				if i%3 > 0 {
					continue
				}
				trash.dialogue(t, "NOOP")
				if answer := trash.dialogue(t, fmt.Sprintf("UID MOVE %d %s", to, folder)); !strings.Contains(answer, fmt.Sprintf(" %d ", to)) {
					t.Errorf("program %d takes %d back: %q", n, to, answer)
				}
			}
		})
	}
	moving.Wait()
	trash := r.open("Cestino")
	if want := programs * each * 2 / 3; len(trash.uids) != want {
		t.Errorf("%d messages in the trash, want %d", len(trash.uids), want)
	}
}

// TestTakeBackInAnyOrder takes back at once what was deleted one by one, the last first.
func TestTakeBackInAnyOrder(t *testing.T) {
	r := newRig(t, nil)
	r.set(anna, "write", "on")
	for i := range 5 {
		r.add(anna, journal.Received, fmt.Sprintf("Subject: %d\r\n\r\nTesto\r\n", i))
	}
	p := r.open("INBOX/2026-11")
	for _, uid := range []int{4, 5, 2, 1} {
		if got := p.dialogue(t, fmt.Sprintf("UID MOVE %d Cestino", uid)); !strings.HasSuffix(got, "t OK UID MOVE completed\r\n") {
			t.Fatal(got)
		}
	}
	const want = "* OK [COPYUID 1794736800 4,3,1:2 6,7,8:9] COPY completed\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nt OK MOVE completed\r\n"
	if got := r.open("Cestino").dialogue(t, "MOVE 1:* INBOX/2026-11"); got != want {
		t.Errorf("came %q, want %q", got, want)
	}
}

// TestTakeBackTooLate takes back messages after their grace: those that are still shown do not come back, and the program is not told that they did.
func TestTakeBackTooLate(t *testing.T) {
	r := newRig(t, nil)
	r.set(anna, "write", "on")
	for i := range 4 {
		r.add(anna, journal.Received, fmt.Sprintf("Subject: %d\r\n\r\nTesto\r\n", i))
	}
	later := func(d time.Duration) {
		now := r.now.Load().Add(d)
		r.now.Store(&now)
	}
	inbox := r.open("INBOX/2026-11")
	inbox.dialogue(t, "UID MOVE 1:2 Cestino")
	later(journal.DeletedGrace - time.Hour)
	inbox.dialogue(t, "UID MOVE 3 Cestino")
	later(2 * time.Hour)
	trash := r.open("Cestino")
	const gone = "t NO [EXPUNGEISSUED] Alcuni messaggi non sono piu' nell'archivio\r\n"
	for _, c := range []struct{ command, want string }{
		{"UID MOVE 1 INBOX/2026-11", gone},
		{"UID MOVE 2:3 INBOX/2026-11", "* OK [COPYUID 1794736800 3 5] COPY completed\r\n" + gone},
		{"NOOP", "* 3 EXPUNGE\r\nt OK NOOP completed\r\n"},
	} {
		if got := trash.dialogue(t, c.command); got != c.want {
			t.Errorf("%s: came %q, want %q", c.command, got, c.want)
		}
	}
}
