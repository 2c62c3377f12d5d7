//go:build bench

package bench

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// What an archive holds that is read.
const (
	monthsRead   = 10
	messagesRead = 10_000 // in each month
	readPassword = "ceralacca rossa"
)

const readingConfig = `
[received]
listen          = ["tcp:%s"]
next_hop        = "lmtp:%s"
max_connections = 300

[auth]
source = "file:%s"

[imap]
listen            = ["tcp:%s"]
insecure_loopback = true
name              = "localhost"

[[domain]]
name = "alpha.test"

[log]
level = "warn"
`

// readable is a daemon that serves an archive of many messages over IMAP.
type readable struct {
	hook       *rig.Daemon
	lmtp, imap string // addresses
}

// newReadable starts a daemon whose next hop is an address. Its archive has months of messages, each with the same ones.
func newReadable(t *testing.T, program, folder, nextHop string, months int) *readable {
	t.Helper()
	r := &readable{lmtp: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), imap: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))}
	passwords := filepath.Join(folder, "passwd")
	address, err := policy.ParseAddress(mailbox)
	check(t, err)
	check(t, auth.SetPassword(passwords, address, readPassword))
	check(t, os.Chmod(passwords, 0o644))
	r.hook = rig.Install(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(readingConfig, r.lmtp, nextHop, passwords, r.imap))
	r.hook.Enable(t, mailbox)
	r.hook.Must(t, "mailbox", "set", mailbox, "imap=on", "quota=1000GB")
	for month := range months {
		fill(t, r.hook.Data, time.Date(2026, time.Month(10-month), 15, 10, 0, 0, 0, time.UTC), readMessage)
	}
	r.hook.Own(t)
	r.hook.Start(t)
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill journals messagesRead messages as of a time.
func fill(t *testing.T, data string, now time.Time, text func(i int) string) {
	t.Helper()
	folder, err := datafolder.Open(t.Context(), data, datafolder.Options{})
	check(t, err)
	defer folder.Close()
	j, err := journal.Open(folder.Engine, journal.Options{Now: func() time.Time { return now }})
	check(t, err)
	defer j.Close()
	var adding sync.WaitGroup
	const parallel = 64
	errors := make([]error, parallel)
	for worker := range parallel {
		adding.Go(func() {
			for i := worker; i < messagesRead && errors[worker] == nil; i += parallel {
				errors[worker] = archive(t, j, text(i))
			}
		})
	}
	adding.Wait()
	for _, err := range errors {
		check(t, err)
	}
}

func archive(t *testing.T, j *journal.Journal, text string) error {
	draft := j.NewDraft(t.Context())
	defer draft.Discard()
	if _, err := draft.Write([]byte(text)); err != nil {
		return err
	}
	placed, err := draft.Commit(t.Context(), journal.Envelope{MailFrom: sender, Transaction: "T"},
		[]journal.Intent{{Mailbox: mailbox, Direction: journal.Received}}, nil)
	if err == nil {
		j.Delivered(placed[0].Ref, "T")
	}
	return err
}

// readMessage returns a message of 7 kB as offices send them: a text, the same in HTML, and something attached.
func readMessage(i int) string {
	day := time.Date(2026, 10, 1, 8, 0, 0, 0, time.FixedZone("", 7200)).Add(time.Duration(i) * time.Minute)
	return strings.NewReplacer("\n", "\r\n", "DAY", day.Format(time.RFC1123Z), "NUMBER", fmt.Sprint(i)).Replace(
		`Received: from mail.ext.test (mail.ext.test [192.0.2.7]) by mx.alpha.test (Postfix) with ESMTPS id NUMBERA
	for <anna@alpha.test>; DAY
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=ext.test; s=2026; h=from:to:subject:date;
	bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=` + strings.Repeat("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345\n\t", 8) + `
From: "Lorenzo Datini" <lorenzo.datini@ext.test>
To: Anna <anna@alpha.test>, "Mario Rossi" <mario@alpha.test>
Cc: ufficio.acquisti@alpha.test
Subject: Consegna numero NUMBER della lana di Prato
Date: DAY
Message-ID: <NUMBER.lana@ext.test>
In-Reply-To: <NUMBER.ordine@alpha.test>
References: <NUMBER.ordine@alpha.test>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="a-NUMBER"

--a-NUMBER
Content-Type: multipart/alternative; boundary="b-NUMBER"

--b-NUMBER
Content-Type: text/plain; charset=utf-8

` + strings.Repeat("Buongiorno, le balle di lana partono oggi da Prato.\n", 25) + `
--b-NUMBER
Content-Type: text/html; charset=utf-8

` + strings.Repeat("<p>Buongiorno, le balle di lana partono <b>oggi</b> da Prato.</p>\n", 25) + `
--b-NUMBER--
--a-NUMBER
Content-Type: application/pdf; name="bolla-NUMBER.pdf"
Content-Disposition: attachment; filename="bolla-NUMBER.pdf"
Content-Transfer-Encoding: base64

` + strings.Repeat("JVBERi0xLjcKJeLjz9MKMSAwIG9iago8PC9UeXBlL0NhdGFsb2cvUGFnZXMgMiAwIFI+PgplbmRv\n", 30) + `
--a-NUMBER--
`)
}

// reading is a connection of a mail program.
type reading struct {
	nc net.Conn
	in *bufio.Reader
}

// readAt signs in and selects a folder.
func readAt(address, password, folder string) (*reading, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &reading{nc: nc, in: bufio.NewReaderSize(nc, 256<<10)}
	for _, command := range []string{"LOGIN " + mailbox + ` "` + password + `"`, "SELECT " + folder} {
		if _, err := p.say(command); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return p, nil
}

// say says a command, reads the answer, and returns how long that took.
func (p *reading) say(command string) (time.Duration, error) {
	start := time.Now()
	if _, err := fmt.Fprintf(p.nc, "t %s\r\n", command); err != nil {
		return 0, err
	}
	for {
		line, err := p.in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil:
			return 0, err
		case len(line) > 2 && line[0] == 't' && line[1] == ' ':
			if !strings.HasPrefix(string(line), "t OK") {
				return 0, fmt.Errorf("%.100s: %s", command, line)
			}
			return time.Since(start), nil
		}
	}
}

// readCommands are the rows of benchReading. Goals are absolute, or a ratio to Dovecot's time.
var readCommands = []struct{ name, command, goal string }{
	{"LIST", `LIST "" *`, "50 ms"},
	{"SELECT", "SELECT %s", "100 ms"},
	{"flags", "FETCH 1:* (UID FLAGS)", ""},
	{"envelopes", "FETCH 1:* ENVELOPE", "half of Dovecot"},
	{"structures", "FETCH 1:* BODYSTRUCTURE", ""},
	{"the header fields that Thunderbird asks for", "UID FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority " +
		"X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])", ""},
	{"SEARCH SUBJECT", "SEARCH SUBJECT 9999", ""},
	{"SEARCH TEXT, nothing found", "SEARCH TEXT nessuno", ""},
}

// benchReading compares how fast a mail program reads 10,000 messages of one folder from the archive, which has 100,000 in all, and from Dovecot's
// Maildir, which has these alone. Both are warm, and asked in turns.
func benchReading(t *testing.T, program string) {
	folder := rig.Folder(t)
	r := newReadable(t, program, folder, startSink(t, folder), monthsRead)
	dovecot := rig.StartDovecot(t, filepath.Join(folder, "dovecot"), []rig.Account{{Address: mailbox}})
	messages := make([]string, messagesRead)
	for i := range messages {
		messages[i] = readMessage(i)
	}
	theirs, err := readAt(dovecot.ServeIMAP(t, mailbox, messages), rig.Password, "INBOX")
	check(t, err)
	defer theirs.nc.Close()
	ours, err := readAt(r.imap, readPassword, "INBOX/2026-10")
	check(t, err)
	defer ours.nc.Close()
	fmt.Println("\n| 10,000 messages of 7 kB read over IMAP, 100,000 in the archive | archive | Dovecot | archive / Dovecot | goal |\n|---|---|---|---|---|")
	for _, c := range readCommands {
		var took [2][]float64 // in ms
		var ratios []float64
		for round := range 1 + rounds {
			var now [2]time.Duration
			for side := range 2 {
				i := (side + round) % 2
				program, folder := ours, "INBOX/2026-10"
				if i == 1 {
					program, folder = theirs, "INBOX"
				}
				now[i], err = program.say(strings.Replace(c.command, "%s", folder, 1))
				check(t, err)
			}
			if round == 0 {
				continue // warms both up
			}
			for i := range now {
				took[i] = append(took[i], now[i].Seconds()*1000)
			}
			ratios = append(ratios, now[0].Seconds()/now[1].Seconds())
		}
		slices.Sort(ratios)
		fmt.Printf("| %s | %.1f ms | %.1f ms | %.2f (%.2f to %.2f) | %s |\n", c.name, median(took[0]), median(took[1]), ratios[rounds/2], ratios[0], ratios[rounds-1], c.goal)
	}
	r.hook.Stop(t)
}

// TestBenchReading measures these rows of TestBench by themselves.
func TestBenchReading(t *testing.T) {
	program, err := rig.Build(rig.Folder(t))
	check(t, err)
	benchReading(t, program)
}
