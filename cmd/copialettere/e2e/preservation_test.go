package e2e

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
	"copialettere/policy/pec"
)

// bcryptOf is the password "cera-lacca", as doveadm hashes it.
const bcryptOf = "{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a"

// handedOver is what "preservation -json" and "list -json" tell.
type handedOver struct {
	Name, State, SHA256 string
	Messages            int
	Placed              *time.Time
	Receipts            []struct{ Name, SHA256 string }
	Class               string
	Preservation        *struct {
		Package, State string
		Receipt        struct{ Name string }
	}
}

func decoded(t *testing.T, lines []byte) (list []handedOver) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(string(lines))); ; {
		var one handedOver
		if err := d.Decode(&one); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatalf("%v\n%s", err, lines)
		}
		list = append(list, one)
	}
}

// certifiedDay puts a day of mail into the data folder of a daemon that does not run: two certified messages and an ordinary one.
func certifiedDay(t *testing.T, d *rig.Daemon, at time.Time) {
	t.Helper()
	j, done := openJournal(t, d, func() time.Time { return at })
	defer done()
	for _, class := range []pec.Class{pec.PostaCertificata, pec.AvvenutaConsegna, pec.Ordinary} {
		draft := j.NewDraft(t.Context())
		defer draft.Discard()
		fmt.Fprintf(draft, "Subject: %s\r\n\r\nTesto.\r\n", class)
		placed, err := draft.Commit(t.Context(), journal.Envelope{MailFrom: ester, Transaction: "PAST"},
			[]journal.Intent{{Mailbox: anna, Direction: journal.Received, RcptTo: anna, ORCPT: "rfc822;" + anna, Class: string(class)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		j.Delivered(placed[0].Ref, "PAST")
	}
}

// TestPreservation hands a day of certified mail over, with a daemon that is killed again and again, and gets the receipt back. The command, the API and the
// page of the message tell of both.
func TestPreservation(t *testing.T) {
	t.Parallel()
	s := newWeb(t)
	passwords := filepath.Join(s.folder, "passwd")
	if err := os.WriteFile(passwords, []byte(anna+":"+bcryptOf+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	drop, receipts := filepath.Join(s.folder, "drop"), filepath.Join(s.folder, "receipts")
	for _, folder := range []string{drop, receipts} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		rig.GiveToDaemon(t, folder)
	}
	s.hook.Stop(t)
	config, err := os.OpenFile(s.hook.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(config, "\n[preservation]\ndrop = %q\nreceipts = %q\nagent = \"VATIT-01234567890,Alpha S.r.l.,Contratto 12/2026\"\ndomains = [\"alpha.test\"]\n", drop, receipts)
	if err := config.Close(); err != nil {
		t.Fatal(err)
	}
	day := time.Now().UTC().Add(-time.Hour).AddDate(0, 0, -1).Truncate(24 * time.Hour)
	certifiedDay(t, s.hook, day.Add(12*time.Hour))
	name := day.Format(time.DateOnly) + "_" + anna + ".zip"
	there := func() bool {
		_, err := os.Stat(filepath.Join(drop, name))
		return err == nil
	}
	for range 3 {
		s.hook.Start(t)
		s.hook.Kill()
	}
	s.hook.Start(t)
	rig.Wait(t, 20*time.Second, "the package", there)
	z, err := zip.OpenReader(filepath.Join(drop, name))
	if err != nil {
		t.Fatal(err)
	}
	messages := 0
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, ".eml") {
			messages++
		}
	}
	z.Close()
	whole, err := os.ReadFile(filepath.Join(drop, name))
	if err != nil {
		t.Fatal(err)
	}
	var list []handedOver
	rig.Wait(t, 20*time.Second, "the record", func() bool {
		list = decoded(t, s.hook.Must(t, "preservation", "-json"))
		return len(list) > 0 && list[0].Placed != nil
	})
	if len(list) != 1 || list[0].Name != name || list[0].State != "handed-over" || list[0].SHA256 != digestOf(whole) || list[0].Messages != 2 || messages != 2 {
		t.Errorf("%d messages in the package; on record %+v", messages, list)
	}

	// The service takes it, and its receipt comes; the daemon is killed once more.
	if err := os.Remove(filepath.Join(drop, name)); err != nil {
		t.Fatal(err)
	}
	receipt := filepath.Join(receipts, strings.TrimSuffix(name, ".zip")+".xml")
	ago := time.Now().Add(-time.Hour)
	for path, text := range map[string]string{receipt: "<ricevuta/>", filepath.Join(receipts, strings.TrimSuffix(name, ".zip")+".example.org.xml"): "<altra/>"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	s.hook.Kill()
	s.hook.Start(t)
	rig.Wait(t, 20*time.Second, "the receipt to be noted", func() bool {
		list = decoded(t, s.hook.Must(t, "preservation", anna, "-json"))
		return list[0].State == "received"
	})
	if len(list) != 1 || len(list[0].Receipts) != 1 || list[0].Receipts[0].Name != filepath.Base(receipt) ||
		list[0].Receipts[0].SHA256 != digestOf([]byte("<ricevuta/>")) {
		t.Errorf("with the receipt: %+v", list)
	}
	if there() {
		t.Error("the package is handed over twice")
	}
	api, status := s.curl(t, "http://admin/api/v1/mailboxes/"+anna+"/preservation", "--unix-socket", filepath.Join(s.hook.Data, "admin.sock"))
	if !strings.HasPrefix(status, "200 ") || strings.Count(string(api), `"name":"`+name) != 1 || !strings.Contains(string(api), `"state":"received"`) {
		t.Errorf("the API: %s %s", status, api)
	}
	noted := 0
	for _, e := range decoded(t, s.hook.Must(t, "list", anna, "-json")) {
		if (e.Preservation != nil) != (e.Class != string(pec.Ordinary)) {
			t.Errorf("of %s: %+v", e.Class, e.Preservation)
		}
		if in := e.Preservation; in != nil && in.Package == name && in.State == "received" && in.Receipt.Name == filepath.Base(receipt) {
			noted++
		}
	}
	if noted != 2 {
		t.Errorf("the receipt is noted on %d entries", noted)
	}
	jar, site := filepath.Join(s.folder, "cookies"), fmt.Sprintf("https://localhost:%d", s.ports["web"])
	s.curl(t, site+"/sign-in", "-c", jar, "-b", jar)
	if body, status := s.curl(t, site+"/sign-in", "-c", jar, "-b", jar, "--data-urlencode", "login="+anna, "--data-urlencode", "password=cera-lacca", "-H", "Origin: "+site); !strings.HasPrefix(status, "303 ") {
		t.Fatalf("sign-in: %s\n%s", status, body)
	}
	page, status := s.curl(t, fmt.Sprintf("%s/mailbox/%s/messages/INBOX%%2F%s/1", site, anna, day.Format("2006-01")), "-b", jar)
	for _, want := range []string{"Conservazione a norma", name, filepath.Base(receipt)} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page of the message (%s) lacks %q", status, want)
		}
	}
}
