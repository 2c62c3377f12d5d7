package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestExport kills an export with SIGKILL at random moments and runs the same command again. What there is in the end has the bytes of the archive, as
// other programs read it: sha256sum, unzip, Python's zipfile and mailbox, and Dovecot.
func TestExport(t *testing.T) {
	t.Parallel()
	folder := rig.Folder(t)
	address := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(killConfig, address, filepath.Join(folder, "hook", "mail")))
	hook.Enable(t, anna)
	var served []string // by Dovecot, which has 0x80 for NUL
	for _, text := range append(everyMail(t), []byte("Subject: x\r\n\r\nFrom here\r\n>From there\r\n>>>From \r\n\r\n\r\n")) {
		replies, err := rig.Deliver("tcp", address, rig.Mail{From: ester, To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: text})
		if err != nil || replies[0].Code != 250 {
			t.Fatalf("%v, %v", replies, err)
		}
		served = append(served, digestOf(bytes.ReplaceAll(text, []byte{0}, []byte{0x80})))
	}
	slices.Sort(served)
	var want []string
	for _, e := range hook.List(t, anna) {
		want = append(want, e.SHA256)
	}
	slices.Sort(want)
	month := hook.List(t, anna)[0].Folder
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for form, readers := range map[string][]func(to, month string) *exec.Cmd{
		"eml":     {sha256sum},
		"mbox":    {sha256sum, pythonReads("mbox"), dovecotReads("mbox:%[1]s/.index:INBOX=%[1]s/%[2]s.mbox")},
		"maildir": {sha256sum, pythonReads("maildir"), dovecotReads("maildir:%[1]s/%[2]s")},
		"zip":     {unzip, pythonReads("zip")},
	} {
		to := filepath.Join(folder, form)
		command := []string{"export", anna, "-to", to, "-format", form, "-config", hook.Config}
		for range 3 {
			p := exec.Command(program, command...)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
			p.Process.Kill()
			p.Wait()
		}
		if out, err := exec.Command(program, command...).CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprintf(": %d messages of ", len(want))) {
			t.Fatalf("%s: %v\n%s", form, err, out)
		}
		if out, err := exec.Command("chown", "-R", "nobody:nogroup", to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, reader := range readers {
			read := reader(to, month)
			out, err := read.Output()
			if err != nil {
				t.Errorf("%s: %q: %v\n%s", form, read.Args, err, out)
			}
			got := strings.Fields(string(out))
			slices.Sort(got)
			want := want
			if slices.Contains(read.Args, "dovecot") {
				want = served
			}
			if read.Args[0] == "/usr/bin/python3" && !slices.Equal(got, want) {
				lacks := slices.DeleteFunc(slices.Clone(want), func(d string) bool { return slices.Contains(got, d) })
				t.Errorf("%s: %q read %d messages of %d, and not those with the digests %q", form, read.Args[3:], len(got), len(want), lacks)
			}
		}
	}
}

func sha256sum(to, _ string) *exec.Cmd {
	c := exec.Command("sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS")
	c.Dir = to
	return c
}

// unzip unpacks a ZIP, and has sha256sum check what comes out.
func unzip(to, _ string) *exec.Cmd {
	return exec.Command("sh", "-ec", `mkdir "$0.d"; cd "$0.d"; unzip -q "$0"; sha256sum --strict --quiet -c SHA256SUMS`, to)
}

// pythonReads prints the digests of the messages, as Python reads them.
func pythonReads(form string) func(to, month string) *exec.Cmd {
	return func(to, month string) *exec.Cmd {
		return exec.Command("/usr/bin/python3", "-c", exportScript, form, to, month)
	}
}

// dovecotReads prints the digests of the messages, as Dovecot reads them from a mail location. Dovecot refuses to do that as root.
func dovecotReads(location string) func(to, month string) *exec.Cmd {
	return func(to, month string) *exec.Cmd {
		c := exec.Command("/usr/bin/python3", "-c", exportScript, "dovecot", to, fmt.Sprintf(location, to, month))
		var nobody, nogroup uint32 = 65534, 65534
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nogroup}}
		c.Env = append(os.Environ(), "USER=nobody", "HOME="+to)
		return c
	}
}

// exportScript takes one ">" from what the mbox quotes, as the manifest tells, and gives lines their CRLF.
const exportScript = `
import hashlib, imaplib, mailbox, re, sys, zipfile
form, to, month = sys.argv[1:]
def unquote(text):
    return re.sub(rb"(?m)^>(>*From )", rb"\1", text).replace(b"\n", b"\r\n")
if form == "mbox":
    box = mailbox.mbox(to + "/" + month + ".mbox", create=False)
    messages = [unquote(box.get_bytes(key)) for key in box.keys()]
elif form == "maildir":
    box = mailbox.Maildir(to + "/" + month, create=False)
    messages = [box.get_file(key).read() for key in box.keys()]
    assert all(box.get_message(key).get_flags() == "S" for key in box.keys())
elif form == "zip":
    with zipfile.ZipFile(to) as z:
        assert z.testzip() is None
        messages = [z.read(name) for name in z.namelist() if name.endswith(".eml")]
else:
    with open(to + "/dovecot.conf", "w") as f:
        f.write("ssl = no\nlog_path = /dev/stderr\nstats_writer_socket_path =\nmail_uid = nobody\nmail_gid = nogroup\nfirst_valid_uid = 1\n" +
            "mail_location = " + month + "\nnamespace inbox {\n  inbox = yes\n}\n")
    box = imaplib.IMAP4_stream("/usr/lib/dovecot/imap -c " + to + "/dovecot.conf")
    box.select("INBOX", readonly=True)
    messages = [part[1] for part in box.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(part, tuple)]
    if month.startswith("mbox:"):
        messages = [unquote(m.replace(b"\r\n", b"\n")) for m in messages]
for m in messages:
    print(hashlib.sha256(m).hexdigest())
`

// TestExportInBackground kills the daemon with SIGKILL while it writes a ZIP. When it runs again it goes on, and the ZIP has the bytes of the archive, as
// unzip and sha256sum read it.
func TestExportInBackground(t *testing.T) {
	t.Parallel()
	folder := rig.Folder(t)
	address := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(killConfig, address, filepath.Join(folder, "hook", "mail")))
	hook.Enable(t, anna)
	for _, text := range everyMail(t) {
		if replies, err := rig.Deliver("tcp", address, rig.Mail{From: ester, To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: text}); err != nil || replies[0].Code != 250 {
			t.Fatalf("%v, %v", replies, err)
		}
	}
	ask := func(path string, args ...string) []byte {
		t.Helper()
		out, err := exec.Command("curl", append([]string{"-sSf", "--unix-socket", filepath.Join(hook.Data, "admin.sock"), "http://admin/api/v1/mailboxes/" + anna + "/exports" + path}, args...)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return out
	}
	var job struct {
		ID, State, SHA256 string
		Messages          int
	}
	if err := json.Unmarshal(ask("?who=root", "-H", "Content-Type: application/json", "-d", "{}"), &job); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		hook.Kill()
		hook.Start(t)
	}
	rig.Wait(t, 20*time.Second, "the export to be written", func() bool {
		if err := json.Unmarshal(ask("/"+job.ID), &job); err != nil {
			t.Fatal(err)
		}
		return job.State == "done"
	})
	to := filepath.Join(folder, "export.zip")
	ask("/"+job.ID+"/zip", "-r", "0-99", "-o", to)
	ask("/"+job.ID+"/zip", "-C", "-", "-o", to)
	whole, err := os.ReadFile(to)
	if err != nil || digestOf(whole) != job.SHA256 || job.Messages != len(everyMail(t)) {
		t.Errorf("%d bytes of %+v, %v", len(whole), job, err)
	}
	if out, err := unzip(to, "").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
