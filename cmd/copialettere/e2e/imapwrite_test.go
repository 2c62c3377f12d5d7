package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestMailProgramsWrite deletes, moves and takes back with real programs, where write=on.
func TestMailProgramsWrite(t *testing.T) {
	s := newIMAP(t, false)
	s.hook.Must(t, "mailbox", "set", anna, "write=on")
	for i := range 6 {
		message := fmt.Appendf(nil, "From: ext@ext.test\r\nSubject: %d\r\nMessage-ID: <w%d@ext.test>\r\n\r\nTesto\r\n", i+1, i+1)
		replies, err := rig.Deliver("tcp", s.lmtp, rig.Mail{From: "ext@ext.test", To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: message})
		if err != nil || replies[0].Code != 250 {
			t.Fatalf("%v, %v", replies, err)
		}
	}
	folder := s.hook.List(t, anna)[0].Folder
	left := func(want ...string) {
		t.Helper()
		var got []string
		for _, e := range s.hook.List(t, anna) {
			got = append(got, fmt.Sprint(e.UID))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("left are %q, want %q", got, want)
		}
	}
	run := func(name string, cmd *exec.Cmd, want string) {
		t.Helper()
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}

	// imaplib deletes as most programs do, with a mark and EXPUNGE; then it moves to the trash and back.
	run("imaplib", exec.Command("python3", "-c", imaplibWriteScript, "localhost", fmt.Sprint(s.tls), s.certificate, anna, annasPassword, folder), "done")
	left("3", "4", "5", "6", "7")

	// curl says any command.
	path := strings.ReplaceAll(folder, "/", "%2F")
	run("curl", s.curl(path, "-X", "UID MOVE 3 Cestino"), "COPYUID")
	left("4", "5", "6", "7")
	if out, err := s.curl(path, "-X", "UID STORE 4 +FLAGS (\\Flagged)").CombinedOutput(); err == nil {
		t.Errorf("curl flags a message: %s", out)
	}

	// mbsync carries over what was deleted in its copy.
	place := t.TempDir()
	config := filepath.Join(place, "rc")
	text := fmt.Sprintf("IMAPAccount archive\nHost localhost\nPort %d\nUser %s\nPass %q\nSSLType IMAPS\nCertificateFile %s\n\nIMAPStore archive\nAccount archive\n\n"+
		"MaildirStore local\nInbox %[5]s/box\nSubFolders Maildir++\n\nChannel archive\nFar :archive:\nNear :local:\nPatterns INBOX/*\nCreate Near\nSync All\nExpunge Both\nSyncState *\n",
		s.tls, anna, annasPassword, s.certificate, place)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run("mbsync", exec.Command("mbsync", "-c", config, "-a"), "")
	files, err := filepath.Glob(filepath.Join(place, "box", "..*", "*", "*"))
	var one string
	for _, file := range files {
		if b, readErr := os.ReadFile(file); readErr == nil && strings.Contains(string(b), "Subject: 5") {
			one = file
		}
	}
	if err != nil || one == "" {
		t.Fatalf("mbsync made %q, %v", files, err)
	}
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	run("mbsync", exec.Command("mbsync", "-c", config, "-a"), "")
	left("4", "6", "7")
	run("mbsync", exec.Command("mbsync", "-c", config, "-a"), "")
	left("4", "6", "7")

	if log := string(s.hook.Must(t, "mailbox", "log", anna)); strings.Count(log, "by owner "+anna+" (imap)") != 5 {
		t.Errorf("on record is\n%s", log)
	}
	s.hook.Verify(t)
}

// TestMailProgramPutsIn copies older mail into the archive with imaplib: the bytes are kept, and everything that is said of the entries says that they
// were imported.
func TestMailProgramPutsIn(t *testing.T) {
	s := newIMAP(t, false)
	s.hook.Must(t, "mailbox", "set", anna, "append=on")
	folder := t.TempDir()
	var want []string
	for i, text := range fixtureMessages(t) {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%03d", i)), text, 0o644); err != nil {
			t.Fatal(err)
		}
		want = append(want, digestOf(text))
	}
	out, err := exec.Command("python3", "-c", imaplibAppendScript, "localhost", fmt.Sprint(s.tls), s.certificate, anna, annasPassword, folder).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for _, e := range s.hook.List(t, anna) {
		if !strings.HasPrefix(e.Folder, "Archived/") {
			t.Errorf("put into %s", e.Folder)
		}
		got = append(got, e.SHA256)
	}
	if !slices.Equal(got, want) {
		t.Errorf("put in\n%q, want\n%q", got, want)
	}
	for name, c := range map[string]struct {
		command []string
		want    string
		times   int
	}{
		"list":   {[]string{"list", anna, "-json"}, `"imported":{"by":"owner ` + anna + ` (imap)","date":"2019-05-06T05:08:09Z"}`, len(want)},
		"class":  {[]string{"list", anna, "-json"}, `"declared_class":"`, len(want)},
		"PEC":    {[]string{"list", anna, "-json"}, `"declared_class":"posta-certificata"`, 1},
		"why":    {[]string{"why", anna, "-json"}, `"verdict":"imported"`, len(want)},
		"why, 2": {[]string{"why", anna, "-json"}, `"verdict":"journaled"`, 0},
		"stats":  {[]string{"stats", anna, "-json"}, fmt.Sprintf(`"imported":%d`, len(want)), 1},
		"show":   {[]string{"mailbox", "show", anna}, fmt.Sprintf("%d entries (%d imported)", len(want), len(want)), 1},
		"usage":  {[]string{"usage", anna, "-json"}, fmt.Sprintf(`"archived":{"entries":%[1]d,"imported":%[1]d,`, len(want)), 1},
		"verify": {[]string{"verify", "-json"}, fmt.Sprintf(`"imported":%d`, len(want)), 1},
	} {
		if out := string(s.hook.Must(t, c.command...)); strings.Count(out, c.want) != c.times {
			t.Errorf("%s has not %d times %s:\n%s", name, c.times, c.want, out)
		}
	}
	s.hook.Verify(t)
}

const imaplibAppendScript = `
import imaplib, os, ssl, sys
host, port, ca, user, password, folder = sys.argv[1:]
m = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
m.login(user, password)
for i, name in enumerate(sorted(os.listdir(folder))):
    text = open(os.path.join(folder, name), "rb").read()
    # append() of imaplib would change line ends.
    m.literal = text
    typ, data = m._simple_command("APPEND", '"Archiviati a mano"', r"(\Seen)", '"06-May-2019 07:08:09 +0200"')
    assert typ == "OK" and ("APPENDUID" in str(data) and " %d]" % (i + 1) in str(data)), (typ, data)
m.logout()
`

const imaplibWriteScript = `
import imaplib, ssl, sys
host, port, ca, user, password, folder = sys.argv[1:]
m = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
m.login(user, password)
def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]
ok(m.select('"' + folder + '"'))
ok(m.store("1", "+FLAGS", r"(\Deleted \Seen)"))
assert ok(m.expunge()) == [b"1"]
ok(m.uid("MOVE", "2", "Cestino"))
assert m.uid("STORE", "3", "+FLAGS", r"(\Answered)")[0] == "NO"
ok(m.select("Cestino"))
found = ok(m.uid("SEARCH", "ALL"))[0].split()
assert found == [b"1", b"2"], found
subject = ok(m.fetch("1:2", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
assert b"Subject: 1" in subject[0][1] and b"Subject: 2" in subject[2][1], subject
ok(m.uid("MOVE", "2", '"' + folder + '"'))
ok(m.close())
m.logout()
print("done")
`
