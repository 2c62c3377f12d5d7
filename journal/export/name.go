package export

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// names gives the files of messages their names. No two messages get the same one.
type names struct {
	zone    *time.Location
	folders map[string]string // of folders without their month
}

func newNames(zone *time.Location) *names { return &names{zone, make(map[string]string)} }

// folder returns the path of the folder of a message, without and with its month.
func (n *names) folder(m *Message) (folder, month string) {
	kept, month := m.Folder, ""
	if i := strings.LastIndexByte(m.Folder, '/'); i >= 0 {
		kept, month = m.Folder[:i], m.Folder[i+1:]
	}
	folder, ok := n.folders[kept]
	if !ok {
		var parts []string
		for name := range strings.SplitSeq(kept, "/") {
			parts = append(parts, PlainName(name, 60))
		}
		folder = strings.Join(parts, "/")
		for _, other := range n.folders {
			if strings.EqualFold(other, folder) {
				folder += "-" + strconv.Itoa(len(n.folders)+1)
			}
		}
		n.folders[kept] = folder
	}
	return folder, month
}

// eml returns the path of the file of a message.
func (n *names) eml(m *Message) string {
	folder, month := n.folder(m)
	subject := m.Subject
	if m.InnerSubject != "" {
		subject = m.InnerSubject
	}
	return fmt.Sprintf("%s/%s/%s_%s_%s_%d.eml", folder, month, m.Date.In(n.zone).Format("20060102-150405"), PlainName(m.Who, 40), PlainName(subject, 60), m.UID)
}

// maildir returns the path of the Maildir of a message, and the name of its file there. S is the size, which Dovecot goes by.
func (n *names) maildir(m *Message) (folder, name string) {
	folder, month := n.folder(m)
	return folder + "/" + month, fmt.Sprintf("%d.U%dP%.16s.copialettere,S=%d:2,S", m.Date.Unix(), m.UID, m.SHA256, m.Size)
}

// mbox returns the path of the mbox of a message.
func (n *names) mbox(m *Message) string {
	folder, month := n.folder(m)
	return folder + "/" + month + ".mbox"
}

// PlainName returns a text as a part of the name of a file that every system takes: ASCII letters and digits, and a few signs, at most so many bytes.
func PlainName(text string, most int) string {
	var out strings.Builder
	for _, r := range norm.NFD.String(text) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '@', r == '.', r == '_':
			out.WriteRune(r)
		case r >= 0x300 && r < 0x370: // the accent of the letter before
		default:
			if out.Len() > 0 && !strings.HasSuffix(out.String(), "-") {
				out.WriteByte('-')
			}
		}
		if out.Len() >= most {
			break
		}
	}
	// Dots at the ends hide a file, or get lost.
	name := strings.Trim(out.String(), "-.")
	if name == "" {
		return "-"
	}
	return name
}
