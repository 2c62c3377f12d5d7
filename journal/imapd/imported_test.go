package imapd

import (
	"strings"
	"testing"
	"time"

	"copialettere/journal"
)

// TestImportedFolders lists folders with the names of a source, which are not in ASCII, and opens one.
func TestImportedFolders(t *testing.T) {
	r := newRig(t, nil)
	r.add(anna, journal.Received, "Subject: x\r\n\r\nTesto\r\n")
	r.addAs(journal.Intent{Mailbox: anna, Direction: journal.Received, Folder: "Imported/Attività & C/2019",
		Import: &journal.Import{Who: "operator root", Date: time.Date(2019, 5, 6, 7, 8, 9, 0, time.UTC), Source: "a.mbox at 0", Once: true}}, "Subject: vecchia\r\n\r\nTesto\r\n")
	p := r.open("INBOX/2026-11")
	const list = `* LIST (\HasChildren) "/" "Importati"
* LIST (\HasChildren) "/" "Importati/Attivit&AOA- &- C"
* LIST (\HasChildren) "/" "Importati/Attivit&AOA- &- C/2019"
* LIST (\HasNoChildren) "/" "Importati/Attivit&AOA- &- C/2019/2026-11"
t OK LIST completed
`
	if got := strings.ReplaceAll(p.dialogue(t, `LIST "" Importati*`), "\r\n", "\n"); got != list {
		t.Errorf("listed\n%s", got)
	}
	check(t, p.command(`SELECT "Importati/Attivit&AOA- &- C/2019/2026-11"`))
	if got := p.dialogue(t, "FETCH 1 (UID INTERNALDATE)"); got != "* 1 FETCH (UID 1 INTERNALDATE \" 6-May-2019 07:08:09 +0000\")\r\nt OK FETCH completed\r\n" {
		t.Errorf("fetched %q", got)
	}
}
