package imapd

import (
	"strings"
	"testing"

	"copialettere/journal"
)

func TestIsName(t *testing.T) {
	for _, test := range []struct {
		why, name string
		want      bool
	}{
		{"ASCII", "INBOX/2026-11", true},
		{"UTF-8", "perché", true},
		{"accented", "perch&AOk-", true},
		{"ampersand", "a&-b", true},
		{"ampersand after accented", "&AOk-&-", true},
		{"outside of the first plane", "&2D3cqQ-", true},
		{"not ended", "a&b", false},
		{"not ended after another", "&AOk-&x", false},
		{"not base64", "&!-", false},
		{"odd number of bytes", "&AAAA-", false},
		{"half a pair", "&2D0-", false},
		{"ASCII in base64", "&AGE-", false},
		{"two in a row", "&AOk-&AOk-", false},
		{"control character", "a\nb", false},
		{"not UTF-8", "perch\xe9", false},
	} {
		t.Run(test.why, func(t *testing.T) {
			if got := isName(test.name); got != test.want {
				t.Errorf("%q: %v", test.name, got)
			}
		})
	}
}

// TestImpossibleNames names folders in ways that no folder can be named, in each command that names one. go-imap would say that the server has failed.
func TestImpossibleNames(t *testing.T) {
	r := newRig(t, nil)
	r.add(anna, journal.Received, "Subject: x\r\n\r\nx\r\n")
	for _, command := range []string{"SELECT %", "EXAMINE %", "STATUS % (MESSAGES)", "SUBSCRIBE %", "UNSUBSCRIBE %", "CREATE %", "DELETE %",
		"RENAME INBOX %", "RENAME % x", `LIST "" %`, "LIST % *", `LSUB "" %`, "COPY 1 %", "UID COPY 1 %", "MOVE 1 %", "UID MOVE 1 %"} {
		t.Run(command, func(t *testing.T) {
			want := "c NO [NONEXISTENT] "
			if strings.HasPrefix(command, "L") {
				want = "c OK "
			}
			for _, name := range []string{`"a&b"`, "\"perch\xe9\"", "{3+}\r\n&!-", `"&AOk-&AOk-"`} {
				said := r.answers(t, []byte("a LOGIN "+anna+" "+password+"\r\nb SELECT INBOX/2026-11\r\nc "+strings.Replace(command, "%", name, 1)+"\r\n"), 1<<20)
				_, said, _ = strings.Cut(said, "SELECT completed\r\n")
				if !strings.HasPrefix(said, want) {
					t.Errorf("%s: %q", name, said)
				}
			}
		})
	}
}
