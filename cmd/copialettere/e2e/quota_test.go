package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/lmtp/nexthop/nexthoptest"
)

// TestMailboxFull fills a live mailbox. Dovecot warns by the file of contrib that it is nearly full, and then refuses a message because it is full:
// the owner is told of both, once, at the address outside, and the refused message is not in the archive.
func TestMailboxFull(t *testing.T) {
	t.Parallel()
	relay := nexthoptest.Start(t, nexthoptest.Script{SMTP: true})
	further := fmt.Sprintf("[notices]\nrelay = %q\nfrom = \"archivio@alpha.test\"\n", relay.Spec())
	s := variant{further: further}.start(t, carla)
	s.dovecot.WarnQuota(t, s.hook)
	s.hook.Must(t, "mailbox", "set", carla, "notify=carla@ext.test", "notify_on=mailbox-full", "language=en")
	s.hook.Must(t, "mailbox", "confirm", carla, "-confirmed")
	filler := func(size int) string {
		mark := s.newMark(t)
		m := append(message(mark), strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)...)
		rig.Send(t, s.postfix.SMTP, rig.Mail{From: "ester@ext.test", To: []string{carla}, Message: m})
		s.postfix.Drain(t)
		return mark
	}
	told := func(want ...string) {
		t.Helper()
		var got []string
		rig.Wait(t, 20*time.Second, fmt.Sprintf("the owner to be told %q", want), func() bool {
			got = nil
			for _, m := range relay.Messages() {
				for line := range strings.Lines(string(m.Body)) {
					if subject, ok := strings.CutPrefix(line, "Subject: "); ok && slices.Equal(m.Recipients, []string{"carla@ext.test"}) {
						if !strings.HasPrefix(subject, "=?") { // the code for the address: its long subject is encoded
							got = append(got, strings.TrimSpace(subject))
						}
					}
				}
			}
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	const nearly, full = "The mailbox carla@alpha.test is 80% full", "The mailbox carla@alpha.test is full"
	small := s.receive(t, carla)
	s.testGiveBack(t, carla, small)
	nearlyFull := filler(3500)
	s.expect(t, carla, nearlyFull, "received")
	told(nearly)
	for range 2 {
		s.expectReason(t, carla, filler(3000), "refused")
	}
	told(nearly, full)
	// What Dovecot refuses to take back is shown in its own words.
	out, _, status := s.hook.Command(t, "give-back", carla, "INBOX/"+time.Now().UTC().Format("2006-01"), "2")
	if status != 1 || !strings.Contains(string(out), "refused: "+carla) || !strings.Contains(string(out), "Quota exceeded") {
		t.Errorf("given back to a full mailbox: status %d, %s", status, out)
	}
	s.expectCopies(t, carla, nearlyFull, 1)
	s.hook.Must(t, "verify")
}

// testGiveBack gives the first message of a mailbox back: Dovecot has it twice then, with the same bytes, and the archive once.
func (s *system) testGiveBack(t *testing.T, mailbox, mark string) {
	t.Helper()
	out, complaints, status := s.hook.Command(t, "give-back", mailbox, "INBOX/"+time.Now().UTC().Format("2006-01"), "1")
	if status != 0 || !strings.Contains(string(out), ": 250 2.0.0 <"+mailbox+">") {
		t.Fatalf("give-back: status %d, %s%s", status, out, complaints)
	}
	s.expect(t, mailbox, mark, "received")
	s.expectCopies(t, mailbox, mark, 2)
	for _, copied := range s.dovecot.Copies(t, mailbox, mark) {
		if _, body, _ := strings.Cut(string(copied), "Message-ID: "); body == "" || !strings.HasSuffix(string(message(mark)), body) {
			t.Errorf("Dovecot has\n%s", copied)
		}
	}
}
