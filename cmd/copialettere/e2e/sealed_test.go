package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/kv"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

const sealedConfig = `
[received]
listen           = ["tcp:%s"]
next_hop         = "maildir:%s"
on_journal_error = "deliver"

[sent]
listen   = ["tcp:%s"]
next_hop = %q
identity = "mail-from"

[pec]
trust = "headers"

[notices]
relay = "smtp:127.0.0.1:%d"
from  = "archivio@alpha.test"

[[domain]]
name = "alpha.test"
`

const sealedPreservation = `
[preservation]
drop     = %q
receipts = %q
agent    = "VATIT-01234567890,Alpha S.r.l.,Contratto 12/2026"
domains  = ["alpha.test"]
`

// What the mail of TestNothingInTheClear is about. None of it stands in the configuration.
const (
	wordSubject  = "Preventivo-zorba-1"
	wordID       = "<zorba-2@ext.test>"
	wordImported = "Importata-zorba-3"
	wordSentTo   = "cliente-zorba-4@ext.test"
	wordNotices  = "avvisi-zorba-5@ext.test"
	wordGap      = "mittente-zorba-6@ext.test"
	wordAccount  = "utente-zorba-7"
	wordPassword = "parola-zorba-8"
	wordDeleted  = "Cancellata-zorba-9"
	wordExported = "zorba-0@ext.test"
)

// sealedHouse is a daemon with mail, and what is looked for in its data folder.
type sealedHouse struct {
	t     *testing.T
	hook  *rig.Daemon
	lmtp  string
	words map[string][]byte // by what they are
	found map[string]string // of the words: in which file
	files int
}

// look searches the name and the content of every file in the data folder for the words: as they are, in base64, and in UTF-16.
func (h *sealedHouse) look() {
	h.t.Helper()
	err := filepath.WalkDir(h.hook.Data, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		content := []byte(path)
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			content = append(content, b...)
			h.files++
		}
		for what, word := range h.words {
			for _, form := range forms(word) {
				if bytes.Contains(content, form) {
					h.found[what] = path
				}
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// forms returns a word in all forms in which it is looked for.
func forms(word []byte) [][]byte {
	list := [][]byte{word}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // bytes in front of it
			text := encoding.EncodeToString(append(make([]byte, before), word...))
			list = append(list, []byte(text[(before*8+5)/6:len(text)-2])) // without what the neighbours share
		}
	}
	var little, big []byte
	for _, unit := range utf16.Encode([]rune(string(word))) {
		little, big = append(little, byte(unit), byte(unit>>8)), append(big, byte(unit>>8), byte(unit))
	}
	return append(list, little, big)
}

func (h *sealedHouse) deliver(from, subject, id string, body []byte) {
	h.t.Helper()
	text := fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: %s\r\n\r\n%s\r\n", from, anna, subject, id, body)
	h.hand(from, text)
}

func (h *sealedHouse) hand(from string, text []byte) {
	h.t.Helper()
	replies, err := rig.Deliver("tcp", h.lmtp, rig.Mail{From: from, To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: text})
	if err != nil || replies[0].Code != 250 {
		h.t.Fatalf("%v, %v", replies, err)
	}
}

// yesterday archives a certified message of yesterday, for the hand-over to legal preservation, while no daemon runs.
func (h *sealedHouse) yesterday(message []byte, keys []datafolder.Key, at time.Time) {
	h.t.Helper()
	f, err := datafolder.Open(h.t.Context(), h.hook.Data, datafolder.Options{Keys: keys})
	if err != nil {
		h.t.Fatal(err)
	}
	j, err := journal.Open(f.Engine, journal.Options{Now: func() time.Time { return at }})
	if err != nil {
		h.t.Fatal(err)
	}
	draft := j.NewDraft(h.t.Context())
	defer draft.Discard()
	draft.Write(message)
	placed, err := draft.Commit(h.t.Context(), journal.Envelope{MailFrom: ester, Transaction: "PAST"},
		[]journal.Intent{{Mailbox: anna, Direction: journal.Received, RcptTo: anna, ORCPT: "rfc822;" + anna, Class: string(pec.PostaCertificata)}}, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	j.Delivered(placed[0].Ref, "PAST")
	if err := errors.Join(j.Close(), f.Close()); err != nil {
		h.t.Fatal(err)
	}
	h.hook.Own(h.t)
}

// TestNothingInTheClear takes an encrypted archive through all that stores something: received and sent mail, certified mail, notices that wait, a deletion,
// an import, a saved account elsewhere, an export in the background, a package for legal preservation, and a gap that waits in the spool, with kills in
// between. At no time does a file in the data folder have an address, a word of a message or a password. The same archive without a key has all of them, so
// the search would find them.
func TestNothingInTheClear(t *testing.T) {
	for _, encrypted := range []bool{true, false} {
		t.Run(map[bool]string{true: "encrypted", false: "in the clear"}[encrypted], func(t *testing.T) {
			t.Parallel()
			h := newSealedHouse(t, encrypted)
			if h.files < 100 {
				t.Errorf("only %d files were searched", h.files)
			}
			for what := range h.words {
				path, found := h.found[what]
				switch {
				case encrypted && found:
					t.Errorf("%s: in %s", what, path)
				case !encrypted && !found && what != "password": // which is never in the clear
					t.Errorf("the search does not find %s where it is in the clear", what)
				}
			}
			h.hook.Verify(t)
		})
	}
}

func newSealedHouse(t *testing.T, encrypted bool) *sealedHouse {
	folder := rig.Folder(t)
	h := &sealedHouse{t: t, lmtp: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), found: make(map[string]string)}
	smtp := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	hop := nexthoptest.Start(t, nexthoptest.Script{SMTP: true})
	drop, receipts := filepath.Join(folder, "drop"), filepath.Join(folder, "receipts")
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		rig.GiveToDaemon(t, path)
		return path
	}
	for _, one := range []string{drop, receipts} {
		if err := os.Mkdir(one, 0o755); err != nil {
			t.Fatal(err)
		}
		rig.GiveToDaemon(t, one)
	}
	config := fmt.Sprintf(sealedConfig, h.lmtp, filepath.Join(folder, "hook", "mail"), smtp, hop.Spec(), rig.FreePort(t))
	var keys []datafolder.Key
	if encrypted {
		text := datafolder.NewKey()
		var err error
		if keys, err = datafolder.ParseKeys(text); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("[encryption]\nkey_file = %q\n", write("key", text))
	}
	// Bytes that no compression changes, for what is stored compressed.
	random, body := rand.New(rand.NewPCG(1, 1)), make([]byte, 8<<10)
	for i := range body {
		for body[i] == 0 || body[i] == '\r' || body[i] == '\n' {
			body[i] = byte(random.Uint32())
		}
	}
	h.words = map[string][]byte{
		"the mailbox": []byte(anna), "a sender": []byte(ester), "a subject": []byte(wordSubject), "a Message-ID": []byte(wordID), "a body": body[4000:4024],
		"an imported message": []byte(wordImported), "a recipient of sent mail": []byte(wordSentTo), "the address for notices": []byte(wordNotices),
		"the sender of a message in a gap": []byte(wordGap), "an account elsewhere": []byte(wordAccount), "password": []byte(wordPassword),
		"a deleted message": []byte(wordDeleted), "a certified subject": []byte("Contratto"), "who asked for an export": []byte(wordExported),
	}
	h.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), config)
	h.fill(smtp, write, body)
	h.export()
	certified := pecMessages(pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail")))
	h.hook.Stop(t)
	day := time.Now().UTC().Add(-time.Hour).AddDate(0, 0, -1).Truncate(24 * time.Hour)
	h.yesterday(certified["envelope"], keys, day.Add(12*time.Hour))
	file, err := os.OpenFile(h.hook.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(file, sealedPreservation, drop, receipts)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	h.hook.Start(t)
	h.hand("posta-certificata@pec.alpha.test", certified["envelope"])
	h.look()
	rig.Wait(t, 20*time.Second, "the package", func() bool {
		list, err := os.ReadDir(drop)
		h.look()
		return err == nil && slices.ContainsFunc(list, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".zip") })
	})
	h.gap()
	return h
}

// fill has mail come and go.
func (h *sealedHouse) fill(smtp string, write func(name, text string) string, body []byte) {
	h.t.Helper()
	d := h.hook
	d.Enable(h.t, anna)
	d.Must(h.t, "mailbox", "set", anna, "manual_delete=on", "notify="+wordNotices, "notify_on=certified,full,gap")
	d.Must(h.t, "mailbox", "confirm", anna, "-confirmed")
	h.deliver(ester, wordSubject, wordID, body)
	h.deliver(ester, wordDeleted, "<gone@ext.test>", nil)
	month := string(kv.MonthOf(time.Now()))
	d.Must(h.t, "delete", anna, "INBOX/"+month, "2")
	rig.Send(h.t, smtp, rig.Mail{From: anna, To: []string{wordSentTo}, Message: []byte("Subject: risposta\r\n\r\nTesto.\r\n")})
	d.Must(h.t, "import", anna, "-from", write("old.eml", "Subject: "+wordImported+"\r\n\r\nTesto.\r\n"))
	d.Must(h.t, "pull", "add", anna, "altrove", "-from", "imaps://"+wordAccount+"@imap.ext.test", "-every", "1d", "-password-file", write("password", wordPassword+"\n"))
	h.look()
	d.Kill()
	h.look()
	d.Start(h.t)
}

// export has a ZIP be written in the background, with kills.
func (h *sealedHouse) export() {
	h.t.Helper()
	ask := func(path string, args ...string) []byte {
		h.t.Helper()
		url := "http://admin/api/v1/mailboxes/" + anna + "/exports" + path
		out, err := exec.Command("curl", append([]string{"-sSf", "--unix-socket", filepath.Join(h.hook.Data, "admin.sock"), url}, args...)...).Output()
		if err != nil {
			h.t.Fatalf("%s: %v", path, err)
		}
		return out
	}
	for i := range 40 {
		h.deliver(ester, fmt.Sprint(wordSubject, i), fmt.Sprintf("<m%d@ext.test>", i), []byte(strings.Repeat(fmt.Sprint("Riga ", i, "\r\n"), 1000)))
	}
	var job struct{ ID, State, SHA256 string }
	if err := json.Unmarshal(ask("?who="+wordExported, "-H", "Content-Type: application/json", "-d", "{}"), &job); err != nil {
		h.t.Fatal(err)
	}
	for range 3 {
		h.look()
		h.hook.Kill()
		h.look()
		h.hook.Start(h.t)
	}
	rig.Wait(h.t, 20*time.Second, "the export", func() bool {
		h.look()
		if err := json.Unmarshal(ask("/"+job.ID), &job); err != nil {
			h.t.Fatal(err)
		}
		return job.State == "done"
	})
	h.look()
	if b := ask("/" + job.ID + "/zip"); digestOf(b) != job.SHA256 || !bytes.HasPrefix(b, []byte("PK")) {
		h.t.Errorf("%d bytes of the ZIP, with another digest", len(b))
	}
}

// gap has a message be delivered that the journal cannot take: it is on record in the spool until it can.
func (h *sealedHouse) gap() {
	h.t.Helper()
	h.hook.Stop(h.t)
	month := filepath.Join(h.hook.Data, "journal", string(kv.MonthOf(time.Now())))
	away := filepath.Join(h.t.TempDir(), "away")
	if err := os.Rename(month, away); err != nil {
		h.t.Fatal(err)
	}
	h.hook.Start(h.t)
	h.deliver(wordGap, "senza archivio", "<gap@ext.test>", nil)
	if _, err := os.Stat(filepath.Join(h.hook.Data, "gaps")); err != nil {
		h.t.Errorf("the gap is not in the spool: %v", err)
	}
	h.look()
	h.hook.Kill()
	h.look()
	if err := os.Rename(away, month); err != nil {
		h.t.Fatal(err)
	}
	h.hook.Start(h.t)
	h.look()
}
