//go:build bench

package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy/pec/pectest"
)

const officeConfig = `
[received]
listen   = ["tcp:%s"]
next_hop = "lmtp:%s"

[sent]
listen   = ["tcp:%s"]
next_hop = "smtp:%s"
identity = "mail-from"

[admin]
listen = ["unix:admin.sock"]

[[domain]]
name = "alpha.test"

[log]
level = "warn"
`

// officeMails is how many certified messages the office sends; each has three recipients.
const officeMails = 1_000

// benchOffice measures how many bytes are stored for a byte received in the mailbox of a PEC office: its sent messages with attachments of 20 to
// 300 kB that do not compress, the acceptance of each, and a full delivery receipt (completa) for every recipient.
func benchOffice(t *testing.T, program string) {
	folder := rig.Folder(t)
	received, sent, smtp := listenAddress(t), listenAddress(t), listenAddress(t)
	rig.Start(t, exec.Command("smtp-sink", "-u", "nobody", smtp, "512"), filepath.Join(folder, "smtp.log"))
	rig.Wait(t, 10*time.Second, "smtp-sink", func() bool {
		session, err := rig.Dial("tcp", smtp, "EHLO")
		if err == nil {
			session.Close()
		}
		return err == nil
	})
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(officeConfig, received, startSink(t, folder), sent, smtp))
	hook.Enable(t, mailbox)
	hook.Must(t, "mailbox", "set", mailbox, "quota=100GB")
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	sizes := []int{20_000, 60_000, 120_000, 300_000}
	for i := range officeMails {
		mail := pectest.Mail{
			From: mailbox, To: []string{"bruno@beta.test", "carla@gamma.test", "dario@beta.test"},
			Subject: fmt.Sprintf("Contratto %d", i), Text: "In allegato.\n", MessageID: "auto",
			Attachments: []pectest.Attachment{{Name: "contratto.pdf", Type: "application/pdf", Content: noise(sizes[i%len(sizes)], i)}},
		}
		c := office.Send(mail, "completa")
		rig.Send(t, sent, rig.Mail{From: mailbox, To: mail.To, Message: c.Original})
		deliver(t, received, c.Acceptance)
		for _, d := range c.Deliveries {
			deliver(t, received, d.Message)
		}
	}
	r := verify(t, hook)
	fmt.Printf("| bytes stored for a byte received in the mailbox of a PEC office: %d sent messages of 20 to 300 kB, 3 recipients each, full receipts | %.2f | 0.35 |\n",
		officeMails, float64(r.Stored)/float64(r.Bytes))
}

// noise returns bytes that do not compress. Each seed gives others.
func noise(size, seed int) []byte {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], uint64(seed))
	b := make([]byte, size)
	rand.NewChaCha8(key).Read(b)
	return b
}

func listenAddress(t *testing.T) string { return fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)) }
