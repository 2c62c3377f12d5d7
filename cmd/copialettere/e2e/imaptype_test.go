package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// imaplibTypeScript prints the digest of every message with the name of its folder before it, and tries to move one into the folder of another type.
const imaplibTypeScript = `
import hashlib, imaplib, ssl, sys
host, port, ca, user, password = sys.argv[1:]
m = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))
m.login(user, password)
typ, list = m.list()
names = [line.decode().split(' "/" ')[1].strip('"') for line in list]
for name in names:
    typ, data = m.select('"' + name + '"', readonly=True)
    assert typ == "OK", data
    typ, data = m.uid("SEARCH", "ALL")
    for uid in data[0].split():
        typ, got = m.uid("FETCH", uid, "(BODY.PEEK[])")
        print(name + ": " + hashlib.sha256(got[0][1]).hexdigest())
        typ, data = m.uid("SEARCH", "UID", uid, "TEXT", '"nowhere to be found"')
        assert typ == "OK" and data == [b""], data
acceptance, delivery = [name for name in names if name.endswith("Ricevute di accettazione") or name.endswith("Ricevute di consegna")]
m.select('"' + acceptance + '"')
typ, data = m._simple_command("MOVE", "1", '"' + delivery + '"')
assert typ == "NO" and b"cartella del suo tipo" in data[0], data
m.logout()
`

// readByType reads the archive with layout=type: each message lies in the folder of its type, and only there.
func (s *imapSystem) readByType(t *testing.T, entries []rig.Entry) {
	s.hook.Must(t, "mailbox", "set", anna, "write=on")
	if out := string(s.hook.Must(t, "mailbox", "set", anna, "layout=type")); !strings.Contains(out, "mail programs fetch them anew") {
		t.Errorf("set layout=type: %s", out)
	}
	names := map[string]string{
		"posta-certificata": "Posta certificata ricevuta", "accettazione": "Ricevute di accettazione", "avvenuta-consegna": "Ricevute di consegna",
		"errore-consegna": "Ricevute di consegna", "preavviso-errore-consegna": "Ricevute di consegna",
	}
	var want []string
	for _, e := range entries {
		name := names[e.Class]
		if name == "" {
			name = "Posta non certificata ricevuta"
		}
		month := strings.ReplaceAll(strings.TrimPrefix(e.Folder, "INBOX/"), "-", "/")
		want = append(want, month+"/"+name+": "+e.SHA256)
	}
	slices.Sort(want)
	out, err := exec.Command("python3", "-c", imaplibTypeScript, "localhost", fmt.Sprint(s.tls), s.certificate, anna, annasPassword).CombinedOutput()
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if slices.Sort(got); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s\nwant\n%s", err, out, strings.Join(want, "\n"))
	}
	s.hook.Must(t, "mailbox", "set", anna, "layout=month", "write=off")
}
