package imapd

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"copialettere/journal"
)

// BenchmarkFolder asks for a folder of 10,000 messages of 7 kB in the ways that mail programs do.
func BenchmarkFolder(b *testing.B) {
	const messages, parallel = 10000, 64
	r := newRig(b, nil)
	text := strings.Repeat("Buongiorno, le balle di lana partono oggi da Prato.\r\n", 130)
	var adding sync.WaitGroup
	for worker := range parallel {
		adding.Go(func() {
			for i := worker; i < messages; i += parallel {
				r.add(anna, journal.Received, fmt.Sprintf("From: Lorenzo Datini <lorenzo@ext.test>\r\nTo: Anna <%s>\r\nCc: Mario <mario@alpha.test>\r\n"+
					"Subject: Consegna numero %d\r\nDate: Mon, 02 Nov 2026 09:12:00 +0100\r\nMessage-ID: <%d@ext.test>\r\nMIME-Version: 1.0\r\n"+
					"Content-Type: text/plain; charset=utf-8\r\n\r\n%d\r\n%s", anna, i, i, i, text))
			}
		})
	}
	adding.Wait()
	nc, err := net.Dial("tcp", r.addr)
	check(b, err)
	defer nc.Close()
	in := bufio.NewReaderSize(nc, 64<<10)
	say := func(command string) (bytes int64) {
		fmt.Fprintf(nc, "t %s\r\n", command)
		for {
			line, err := in.ReadString('\n')
			check(b, err)
			bytes += int64(len(line))
			if strings.HasPrefix(line, "t ") {
				if !strings.HasPrefix(line, "t OK") {
					b.Fatal(line)
				}
				return bytes
			}
		}
	}
	say("LOGIN " + anna + " " + password)
	say("SELECT INBOX/2026-11")
	for _, command := range []string{`LIST "" *`, "SELECT INBOX/2026-11", "FETCH 1:* (UID FLAGS)", "FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE)", "FETCH 1:* BODYSTRUCTURE",
		"FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM TO CC SUBJECT DATE MESSAGE-ID)]", "SEARCH SUBJECT 9999", "SEARCH TEXT nessuno"} {
		b.Run(strings.ReplaceAll(command, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				b.SetBytes(say(command))
			}
		})
	}
}
