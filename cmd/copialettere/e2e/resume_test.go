package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
)

// The mailboxes of a bigArchive. Those with a retention get it from keepMonths.
const (
	keep = "keep@alpha.test" // forever
	half = "half@alpha.test" // for 6 months
	year = "year@alpha.test" // for 12, but for one message that is held
	four = "four@alpha.test" // for 48
	held = "held@alpha.test" // for 6, under a legal hold
)

var keepMonths = map[string]int{half: 6, year: 12, four: 48, held: 6}

// pastMonths are the months with mail, as the number of months before now. None is as many months ago as a retention is long, or one fewer:
// there the day would decide, or a month that ends during the test.
var pastMonths = []int{55, 54, 53, 52, 51, 18, 17, 16, 15, 14, 13, 3, 2}

// bigArchive is a data folder with thousands of messages of several months. A daemon deletes part or all of the mail of some mailboxes, and is
// killed meanwhile.
type bigArchive struct {
	*rig.Daemon
	listen string // address of the LMTP listener
	mails  []pastMail
	now    time.Time
	random *rand.Rand
	later  [][]byte // messages that came to keep@ during the test
}

// newBigArchive makes a bigArchive without starting its daemon. config is added to the configuration. Some messages share most of their bytes.
func newBigArchive(t *testing.T, config string) *bigArchive {
	t.Helper()
	folder := filepath.Join(rig.Folder(t), "hook")
	a := &bigArchive{listen: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), now: time.Now()}
	config += "[logs]\nkeep = \"240 months\"\n" // the acts of recordPast are of years ago
	a.Daemon = rig.Install(t, program, folder, fmt.Sprintf(killConfig, a.listen, filepath.Join(folder, "mail"))+config)
	shared := randomLines(30_000)
	for _, months := range pastMonths {
		for _, mailbox := range []string{keep, half, year, four, held} {
			if months > 50 && (mailbox == keep || mailbox == held) {
				continue // these months go as a whole
			}
			for i := range 120 {
				message := letter(fmt.Sprintf("%s-%d-%d", mailbox, months, i), 300+i)
				if i%15 == 0 {
					message = append(message, shared...)
				}
				a.mails = append(a.mails, pastMail{mailbox, months, message})
			}
		}
	}
	archivePast(t, a.Daemon, a.now, a.mails)
	a.recordPast(t)
	a.Enable(t, keep, half, year, four, held)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	a.random = rand.New(rand.NewPCG(seed, 0))
	return a
}

// oldMonth is a month that the retention drops. recordPast puts its records there.
const oldMonth = 53

// recordPast puts a gap and an act on record in a month that is to go. These records must stay.
func (a *bigArchive) recordPast(t *testing.T) {
	t.Helper()
	month := monthBefore(a.now, oldMonth)
	j, done := openJournal(t, a.Daemon, func() time.Time { return month.Start().AddDate(0, 0, 20) })
	defer done()
	gap := journal.Record{Kind: journal.Gap, Mailbox: four, Time: month.Start(), Reason: journal.ReasonJournalFault, MessageID: "<gap@ext.test>"}
	if err := j.Record(t.Context(), gap); err != nil {
		t.Fatal(err)
	}
	ref := journal.Ref{Mailbox: four, Month: month, Folder: "INBOX", UID: 7}
	if err := j.Hold(t.Context(), ref, "operator test", "case 11/2026"); err != nil {
		t.Fatal(err)
	}
	if err := j.Release(t.Context(), ref, "operator test", "case 11/2026 is closed"); err != nil {
		t.Fatal(err)
	}
}

// expectRecords fails the test unless the records of recordPast are there once.
func (a *bigArchive) expectRecords(t *testing.T) {
	t.Helper()
	gaps, log := string(a.Must(t, "gaps", four)), string(a.Must(t, "mailbox", "log", four))
	if strings.Count(gaps, "journal-fault  <gap@ext.test>") != 1 {
		t.Errorf("gaps:\n%s", gaps)
	}
	if strings.Count(log, "case 11/2026,") != 1 || strings.Count(log, "case 11/2026 is closed,") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

// erased returns how many entries of a mailbox are on record as erased.
func (a *bigArchive) erased(t *testing.T, mailbox string) (entries int) {
	t.Helper()
	for line := range strings.Lines(string(a.Must(t, "gaps", mailbox, "-json"))) {
		var g struct {
			Reason  string `json:"reason"`
			Entries int    `json:"entries"`
		}
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			t.Fatal(err)
		}
		if g.Reason == "erased" {
			entries += g.Entries
		}
	}
	return entries
}

// setRetention sets the retention of the mailboxes, places the holds, and returns the messages that are to stay.
func (a *bigArchive) setRetention(t *testing.T) (stay []pastMail) {
	t.Helper()
	const heldMonth, heldUID = 15, 7
	for mailbox, months := range keepMonths {
		a.Must(t, "mailbox", "set", mailbox, fmt.Sprintf("retention=%d", months))
	}
	a.Must(t, "mailbox", "hold", held, "-reason", "case 12/2026")
	a.Must(t, "hold", year, "INBOX/"+string(monthBefore(a.now, heldMonth)), fmt.Sprint(heldUID), "-reason", "case 12/2026")
	uid := make(map[string]int) // of the newest message of a mailbox and month
	for _, m := range a.mails {
		place := fmt.Sprint(m.mailbox, m.months)
		uid[place]++
		months := keepMonths[m.mailbox]
		if months == 0 || m.months < months || m.mailbox == held || m.mailbox == year && m.months == heldMonth && uid[place] == heldUID {
			stay = append(stay, m)
		}
	}
	return stay
}

// entries returns how many entries the archive holds, whether the daemon runs or not.
func (a *bigArchive) entries(t *testing.T) int {
	t.Helper()
	stdout, stderr, status := a.Command(t, "stats", "-json")
	if status != 0 {
		t.Fatalf("stats: exit status %d\n%s%s", status, stdout, stderr)
	}
	sum := 0
	for line := range strings.Lines(string(stdout)) {
		var f journal.FolderStats
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		sum += int(f.Entries)
	}
	return sum - len(a.later)
}

// receive sends a new message to keep@, whose archive stays.
func (a *bigArchive) receive(t *testing.T) {
	t.Helper()
	message := letter(fmt.Sprintf("later-%d", len(a.later)), 1000)
	replies, err := rig.Deliver("tcp", a.listen, rig.Mail{From: ester, To: []string{keep}, Message: message})
	if err != nil || replies[0].Code != 250 {
		t.Fatalf("mail meanwhile: %v, %v", replies, err)
	}
	a.later = append(a.later, message)
}

// awaitLogged starts some work and returns how long the daemon takes to log a text once more.
func (a *bigArchive) awaitLogged(t *testing.T, text string, start func()) time.Duration {
	t.Helper()
	before := len(a.Logged(t, text))
	start()
	begun := time.Now()
	rig.Wait(t, 20*time.Second, "the daemon to log "+text, func() bool { return len(a.Logged(t, text)) > before })
	return time.Since(begun)
}

// save keeps a copy of the data folder for reset. The daemon must not run.
func (a *bigArchive) save(t *testing.T) {
	t.Helper()
	copyFolder(t, a.Data, a.Data+".saved")
}

func (a *bigArchive) reset(t *testing.T) {
	t.Helper()
	copyFolder(t, a.Data+".saved", a.Data)
	a.later = nil
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

// killUntilDone starts some work again and again, and kills the daemon at a random moment of the time that the work takes, until the work is
// done or was interrupted three times. Mail comes in meanwhile. After each kill the journal must be sound. Rest is how many entries
// stay in the end. The test fails unless a kill came when the work was partly done; if the kills come too late, the work starts over.
func (a *bigArchive) killUntilDone(t *testing.T, takes time.Duration, rest int, work func()) {
	t.Helper()
	earliest, latest := takes/4, takes
	for range 5 {
		all := a.entries(t)
		interrupted := 0
		for left := all; left > rest && interrupted < 3; {
			moment := earliest + time.Duration(a.random.Int64N(int64(latest-earliest)))
			work()
			killAt := time.Now().Add(moment)
			a.receive(t)
			time.Sleep(time.Until(killAt))
			a.Kill()
			now := a.entries(t)
			t.Logf("killed after %v: of %d entries that were to go, %d were left before and %d are left now", moment, all-rest, left-rest, now-rest)
			switch {
			case now == left:
				earliest, latest = moment, max(latest, 2*moment)
			case now > rest:
				interrupted++
			case interrupted == 0:
				latest = moment
			}
			left = now
			a.Verify(t)
		}
		if interrupted > 0 {
			return
		}
		earliest = latest / 4
		a.reset(t)
	}
	t.Error("no kill has hit the work")
}

// expect fails the test unless the archive holds the messages that it should, byte for byte. The daemon must not run.
func (a *bigArchive) expect(t *testing.T, want []pastMail) {
	t.Helper()
	digests := map[string]map[[sha256.Size]byte]int{keep: {}}
	for _, m := range a.mails {
		digests[m.mailbox] = make(map[[sha256.Size]byte]int)
	}
	for _, m := range want {
		digests[m.mailbox][sha256.Sum256(m.message)]++
	}
	for _, message := range a.later {
		digests[keep][sha256.Sum256(message)]++
	}
	j, done := openJournal(t, a.Daemon, time.Now)
	defer done()
	for mailbox, want := range digests {
		held := heldBytes(t, j, mailbox)
		if maps.Equal(held, want) {
			continue
		}
		lost, left := 0, 0
		for digest, n := range want {
			lost += max(0, n-held[digest])
		}
		for digest, n := range held {
			left += max(0, n-want[digest])
		}
		t.Errorf("%s: %d messages that were to stay are missing, %d that were to go are there", mailbox, lost, left)
	}
}

// expectMonths fails the test unless the folders of past months on disk are exactly these, given as the number of months before now.
func (a *bigArchive) expectMonths(t *testing.T, months ...int) {
	t.Helper()
	folders, err := os.ReadDir(filepath.Join(a.Data, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, folder := range folders {
		if name := folder.Name(); folder.IsDir() && name < string(monthBefore(a.now, 0)) {
			got = append(got, name)
		}
	}
	for _, n := range months {
		want = append(want, string(monthBefore(a.now, n)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("folders of past months on disk: %v, expected %v", got, want)
	}
}

// finish starts the work one last time and waits until it is done.
func (a *bigArchive) finish(t *testing.T, rest int, work func()) {
	t.Helper()
	work()
	rig.Wait(t, 20*time.Second, "the rest to be done", func() bool { return a.entries(t) == rest })
	a.Verify(t)
}

// TestRetentionKilled kills the daemon in the middle of its daily retention run. Started again, it must go on by itself.
func TestRetentionKilled(t *testing.T) {
	a := newBigArchive(t, "[retention]\nmax_share = \"100%\"\n")
	want := a.setRetention(t)
	a.save(t)
	takes := a.awaitLogged(t, `msg="retention run"`, func() { a.Start(t) })
	t.Logf("a full run takes %v", takes)
	a.Stop(t)
	a.expect(t, want)

	a.reset(t)
	start := func() { a.Start(t) }
	a.killUntilDone(t, takes, len(want), start)
	a.finish(t, len(want), start)
	a.Stop(t)
	a.expect(t, want)
	a.expectMonths(t, 18, 17, 16, 15, 14, 13, 3, 2)
	a.expectRecords(t)
}

// TestRetentionCommandKilled kills the daemon while a command has it run the retention. The run is abnormal, so the daemon does not go on with
// it by itself: the command must be given again.
func TestRetentionCommandKilled(t *testing.T) {
	t.Parallel()
	a := newBigArchive(t, "[retention]\nmax_share = \"1%\"\n")
	all, want := len(a.mails), a.setRetention(t)
	command := func() (answer string, status int) {
		stdout, complaints, status := a.Command(t, "retention", "-yes")
		return string(stdout) + complaints, status
	}
	a.save(t)
	a.Start(t)
	if stdout, _, status := a.Command(t, "retention"); status != 1 || a.entries(t) != all {
		t.Fatalf("an abnormal run: exit status %d, and %d of %d entries are left\n%s", status, a.entries(t), all, stdout)
	}
	begun := time.Now()
	if answer, status := command(); status != 0 || a.entries(t) != len(want) {
		t.Fatalf("exit status %d, and %d entries are left of %d, %d too many\n%s", status, a.entries(t), all, a.entries(t)-len(want), answer)
	}
	takes := time.Since(begun)
	t.Logf("a full run takes %v", takes)
	a.Stop(t)

	a.reset(t)
	var commands sync.WaitGroup
	start := func() {
		commands.Wait()
		a.Start(t)
		commands.Go(func() {
			// The run may end before the kill.
			if answer, status := command(); status != 0 && status != 1 {
				t.Errorf("a command whose daemon was killed: exit status %d\n%s", status, answer)
			}
		})
	}
	a.killUntilDone(t, takes, len(want), start)
	a.finish(t, len(want), start)
	commands.Wait()
	a.Stop(t)
	a.expect(t, want)
	a.expectMonths(t, 18, 17, 16, 15, 14, 13, 3, 2)
	a.expectRecords(t)
}

// TestErasureKilled kills the daemon in the middle of erasing disabled archives. It must go on by itself.
func TestErasureKilled(t *testing.T) {
	t.Parallel()
	a := newBigArchive(t, "")
	want := slices.DeleteFunc(slices.Clone(a.mails), func(m pastMail) bool { return m.mailbox == half || m.mailbox == four })
	a.Must(t, "mailbox", "disable", half, "-confirm", half, "-now")
	a.Must(t, "mailbox", "disable", four, "-confirm", four, "-now")
	start := func() { a.Start(t) }
	a.save(t)
	takes := a.awaitLogged(t, `msg="archive erased" mailbox=`+half, start)
	t.Logf("the erasure takes %v", takes)
	a.Stop(t)
	a.reset(t)
	a.killUntilDone(t, takes, len(want), start)
	a.finish(t, len(want), start)
	a.Stop(t)
	a.expect(t, want)
	for _, mailbox := range []string{half, four} {
		held := 0
		for _, m := range a.mails {
			if m.mailbox == mailbox {
				held++
			}
		}
		if n := a.erased(t, mailbox); n != held {
			t.Errorf("%s: %d entries are on record as erased, of %d", mailbox, n, held)
		}
	}
}
