package e2e

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// searchMail are messages for searches, beside the fixtures and those that break the rules: words in every encoding, in headers and within other
// messages.
var searchMail = []string{
	"Subject: =?utf-8?b?cGVyY2jDqSBu?=\n =?utf-8?q?on_arriva?=\nFrom: =?iso-8859-1?q?Jos=E9_Perr=F2?= <jose@ext.test>\nTo: anna@alpha.test\nCc: Carla <carla@ext.test>\n" +
		"Date: Sat, 31 Oct 2026 23:30:00 -0500\nMessage-ID: <cerca.1@ext.test>\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n" +
		"Citt=E0 e virt=F9, una parola lun=\nghissima.\n",
	"Subject: codificato\nFrom: b@ext.test\nDate: Sun, 1 Nov 2026 00:30:00 +0100\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" +
		"TGEgcGFyb2xhIG5hc2Nvc3RhIMOoIHTDqC4K\n",
	"Subject: lettera\nFrom: c@ext.test\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\nproemio\n--x\nContent-Type: text/html; charset=utf-8\n\n" +
		"<p>In <b>grassetto</b> e semplice</p>\n--x\nContent-Type: message/rfc822\n\nSubject: acclusa\nFrom: dentro@ext.test\n\nTesto accluso\n--x\n" +
		"Content-Type: application/octet-stream; name=segreto.bin\nContent-Transfer-Encoding: base64\n\nc2VncmV0bw==\n--x--\ncongedo\n",
	"Subject: due  spazi\nFrom: \"Rossi, Maria\" <maria@ext.test>\nBcc: nascosto@ext.test\nX-Prova: uno\nX-Prova: due\nDate: Mon, 2 Nov 2026 12:00:00 +0000\n\nfine\n",
}

// searches are asked of the archive and of Dovecot, in this order.
var searches = []string{
	"ALL", "1:3", "2,4,6:5", "*", "4:*", "UID 1:5", "UID 3:*,1", "NOT 2:4", "NOT UID 3", "UID 900:*", "NOT ALL",
	"SUBJECT lana", "SUBJECT LANA", `SUBJECT "consegna della"`, `SUBJECT "due  spazi"`, `SUBJECT ""`, "SUBJECT nessuno",
	"FROM ext.test", "FROM maria", "TO anna", "CC carla", "BCC nascosto", "FROM undisclosed", "TO amici",
	"HEADER Message-ID cerca.1", "HEADER message-id CERCA.1", "HEADER X-Prova due", `HEADER X-Prova ""`, `HEADER X-None ""`, "HEADER Content-Type html",
	"CHARSET UTF-8 SUBJECT {7+}\r\nperché", "CHARSET UTF-8 SUBJECT {7+}\r\nPERCHÉ", "CHARSET UTF-8 FROM {6+}\r\nPerrò", "CHARSET UTF-8 BODY {6+}\r\ncittà",
	"CHARSET UTF-8 TEXT {6+}\r\nvirtù", "CHARSET US-ASCII SUBJECT lana", "CHARSET X-NESSUNO SUBJECT lana",
	"BODY lunghissima", "BODY nascosta", "BODY grassetto", "BODY accluso", "BODY acclusa", "BODY segreto", "BODY lana", "TEXT lana", "TEXT accluso", "TEXT acclusa",
	"TEXT dentro@ext.test", "TEXT cerca.1", `TEXT "Subject: due"`, "BODY cerca.1", "TEXT nessuna-parola",
	"LARGER 400", "SMALLER 400", "LARGER 0", "SMALLER 1", "OR LARGER 2000 SMALLER 150",
	"SINCE 1-Jan-2020", "BEFORE 1-Jan-2020", "NOT BEFORE 1-Jan-2020", "ON 1-Jan-2020",
	"SENTSINCE 1-Nov-2026", "SENTBEFORE 1-Nov-2026", "SENTON 31-Oct-2026", "SENTON 1-Nov-2026", "SENTSINCE 1-Nov-2026 SENTBEFORE 3-Nov-2026", "NOT SENTSINCE 1-Nov-2026",
	"OR SUBJECT lana FROM maria", "OR (SUBJECT lana TEXT testo) NOT SMALLER 2000", "NOT (SUBJECT lana FROM ext.test)", "NOT NOT SUBJECT lana",
	"OR OR SUBJECT lana SUBJECT lettera SUBJECT codificato", "(1:10 (SUBJECT lana))", "1:10 NOT SUBJECT lana UID 2:8",
	"UNDELETED", "DELETED", "UNANSWERED", "FLAGGED", "DRAFT", "KEYWORD parola", "UNKEYWORD parola",
	"RETURN (SAVE) SUBJECT lana", "$", "NOT $", "UID $", "$ 1:4", "RETURN (COUNT) ALL", "RETURN (MIN MAX) SUBJECT lana", "RETURN (SAVE MIN) ALL", "$",
}

// searchDifferences are answers that differ from Dovecot's and are right, with the reason.
var searchDifferences = map[string]string{
	`SUBJECT "due  spazi"`:       "RFC 3501 6.4.4: a key matches if the string is a substring of the field. Dovecot makes one space of two before it looks.",
	"BODY acclusa":               "RFC 3501 6.4.4: BODY is about all that is in the body; the header of an enclosed message is. Dovecot leaves it out.",
	"SENTBEFORE 1-Nov-2026":      "RFC 3501 6.4.4: SENTBEFORE is about messages whose Date is earlier. Dovecot adds those without a date that can be read.",
	"RETURN (SAVE) SUBJECT lana": "RFC 5182 2.1: with SAVE alone no numbers need be told. go-imap tells them, and programs take what they did not ask for (RFC 3501 7).",
}

// TestSearchAsDovecot asks the archive and Dovecot the same of the same messages.
func TestSearchAsDovecot(t *testing.T) {
	t.Parallel()
	s := newIMAP(t, true)
	var messages []string
	for _, text := range fixtureMessages(t) {
		messages = append(messages, string(text))
	}
	for _, text := range append(searchMail, oddMail...) {
		messages = append(messages, strings.ReplaceAll(text, "\n", "\r\n"))
	}
	for _, text := range messages {
		replies, err := rig.Deliver("tcp", s.lmtp, rig.Mail{From: "ext@ext.test", To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: []byte(text)})
		if err != nil || replies[0].Code != 250 {
			t.Fatalf("%v, %v", replies, err)
		}
	}
	dovecot := rig.StartDovecot(t, filepath.Join(rig.Folder(t), "dovecot"), []rig.Account{{Address: anna}})
	theirs := searchAll(t, dovecot.ServeIMAP(t, anna, messages), rig.Password, "INBOX")
	ours := searchAll(t, fmt.Sprintf("127.0.0.1:%d", s.starttls), annasPassword, s.hook.List(t, anna)[0].Folder)
	for i, search := range searches {
		why, known := searchDifferences[search]
		switch {
		case ours[i] != theirs[i] && !known:
			t.Errorf("%q: %s, Dovecot has %s", search, ours[i], theirs[i])
		case ours[i] == theirs[i] && known:
			t.Errorf("%q: no difference any more: %s", search, why)
		}
	}
}

// searchAll asks all searches of a server, and returns what each is answered: the untagged line, or the reply without its text.
func searchAll(t *testing.T, address, password, folder string) []string {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	in := bufio.NewReader(nc)
	say := func(command string) (untagged, tagged string) {
		t.Helper()
		if _, err := fmt.Fprintf(nc, "t %s\r\n", command); err != nil {
			t.Fatal(err)
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			line = strings.TrimRight(line, "\r\n")
			switch {
			case strings.HasPrefix(line, "t "):
				return untagged, line
			case strings.HasPrefix(line, "* SEARCH"), strings.HasPrefix(line, "* ESEARCH"):
				untagged = line
			}
		}
	}
	for _, command := range []string{"LOGIN " + anna + " \"" + password + "\"", "EXAMINE " + folder} {
		if _, reply := say(command); !strings.HasPrefix(reply, "t OK") {
			t.Fatalf("%s: %s", command, reply)
		}
	}
	var answers []string
	for _, search := range searches {
		untagged, tagged := say("SEARCH " + search)
		if untagged == "" {
			// Without an answer in numbers only the kind of the reply and its code count.
			untagged = strings.Join(strings.Fields(tagged)[1:2], " ")
			if code, _, ok := strings.Cut(tagged, "]"); ok && strings.Contains(code, "[BADCHARSET") {
				untagged += " [BADCHARSET]"
			}
		}
		answers = append(answers, strings.TrimSpace(untagged))
	}
	return answers
}
