package e2e

import (
	"bytes"
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

// TestKillImport kills imports, and the daemon under them, with SIGKILL at random moments, and runs the same command again. In the end every message is
// there once.
func TestKillImport(t *testing.T) {
	t.Parallel()
	folder := rig.Folder(t)
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(killConfig, fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), filepath.Join(folder, "hook", "mail")))
	hook.Enable(t, anna)
	const count = 400
	var mbox strings.Builder
	var want []string
	for i := range count {
		text := fmt.Sprintf("Subject: Vecchia %d\r\n\r\n%s\r\n", i, strings.Repeat("x", i%50*100))
		fmt.Fprintf(&mbox, "From - Mon May  6 07:08:09 2019\r\n%s\r\n", text)
		want = append(want, digestOf([]byte(text)))
	}
	slices.Sort(want)
	from := filepath.Join(folder, "Vecchia posta.mbox")
	if err := os.WriteFile(from, []byte(mbox.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for try := range 6 {
		p := hook.Prepared("import", anna, "-from", from)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
		if try%2 == 1 {
			hook.Kill()
		} else {
			p.Process.Kill()
		}
		p.Wait()
		if try%2 == 1 {
			hook.Start(t)
		}
	}
	if out := hook.Must(t, "import", anna, "-from", from); !strings.Contains(string(out), " were there already") {
		t.Errorf("import: %s", out)
	}
	var got []string
	for _, e := range hook.List(t, anna) {
		got = append(got, e.SHA256)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d messages, %d of them different; want %d", len(got), len(slices.Compact(slices.Clone(got))), count)
	}
	hook.Verify(t)
}

// TestImportForeign imports what other programs have written: a Maildir of Dovecot with a folder whose name is not in ASCII, and an mbox of Python, in a
// ZIP of Python. The bytes are those that the programs were given.
func TestImportForeign(t *testing.T) {
	t.Parallel()
	folder := rig.Folder(t)
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(killConfig, fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), filepath.Join(folder, "hook", "mail")))
	from := filepath.Join(folder, "from")
	if err := os.MkdirAll(from, 0o777); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i, text := range everyMail(t) {
		// Dovecot has another byte for NUL, and Python quotes From lines and ends the last line.
		if bytes.Contains(text, []byte{0}) || bytes.Contains(text, []byte("\nFrom ")) || !bytes.HasSuffix(text, []byte("\r\n")) {
			continue
		}
		if err := os.WriteFile(filepath.Join(from, fmt.Sprint(i, ".eml")), text, 0o644); err != nil {
			t.Fatal(err)
		}
		want = append(want, digestOf(text))
	}
	if out, err := exec.Command("chown", "-R", "nobody:nogroup", from).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, form := range []string{"dovecot", "mbox"} {
		to, mailbox := filepath.Join(folder, form), form+"@alpha.test"
		if err := os.Mkdir(to, 0o777); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("chown", "nobody:nogroup", to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c := exec.Command("/usr/bin/python3", "-c", importScript, form, from, to)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		c.Env = append(os.Environ(), "USER=nobody", "HOME="+to)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", form, err, out)
		}
		hook.Enable(t, mailbox)
		if form == "mbox" {
			to = filepath.Join(to, "posta.zip")
		}
		out := hook.Must(t, "import", mailbox, "-from", to)
		var got []string
		for _, e := range hook.List(t, mailbox) {
			got = append(got, e.SHA256)
			if !strings.HasPrefix(e.Folder, "Imported/Attività/") {
				t.Errorf("%s: folder %s", form, e.Folder)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d messages, want %d\n%s", form, len(got), len(want), out)
		}
	}
}

// importScript writes the messages of a folder as Dovecot or Python does.
const importScript = `
import glob, imaplib, mailbox, os, sys, zipfile
form, source, to = sys.argv[1:]
messages = [open(name, "rb").read() for name in sorted(glob.glob(source + "/*.eml"))]
if form == "mbox":
    box = mailbox.mbox(to + "/box")
    for m in messages:
        box.add(m)
    box.flush()
    box.close()
    with zipfile.ZipFile(to + "/posta.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.write(to + "/box", "Attività.mbox")
else:
    conf = source + "/dovecot.conf"
    with open(conf, "w") as f:
        f.write("ssl = no\nlog_path = /dev/stderr\nstats_writer_socket_path =\nmail_uid = nobody\nmail_gid = nogroup\nfirst_valid_uid = 1\n" +
            "mail_location = maildir:" + to + "\nnamespace inbox {\n  inbox = yes\n}\n")
    box = imaplib.IMAP4_stream("/usr/lib/dovecot/imap -c " + conf)
    box.create('"Attivit&AOA-"')
    for m in messages:
        box.append('"Attivit&AOA-"', r"\Seen", None, m)
    box.logout()
`
