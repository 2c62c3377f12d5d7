package e2e

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/part"
)

// oddMail are messages that break the rules, or that mail servers read differently.
var oddMail = []string{
	"Subject: uno\nquesta riga non ha i due punti\nFrom: a@ext.test\n\ntesto\n",
	"Subject: senza corpo\nFrom: a@ext.test\n\n",
	"To: amici: a@x.test, B <b@x.test>;, undisclosed-recipients:;\nCc: solo\nFrom: \"A, B\" <ab@x.test> (nota)\nDate: oggi\n\n.\n",
	"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>\n--b\n\nultima\n--b--\n",
	"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>\n--b\n\nnon finisce\n",
	"Content-Type: multipart/mixed; boundary=b\n\nniente\n",
	"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nuno\n--b--\n--a\nContent-Type: message/rfc822\n\n" +
		"Content-Type: multipart/mixed; boundary=c\n\n--c\n\ndue\n--c--\n--a--\n",
	"Content-Type: application/pdf; name*0*=UTF-8''perch%C3%A9; name*1=.pdf\nContent-Disposition: attachment; filename*=UTF-8''perch%C3%A9.pdf\nContent-ID: <x@y>\n" +
		"Content-Description: un file\nContent-Language: it, en\nContent-Transfer-Encoding: BASE64\n\neA==\n",
	"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nSubject: dentro\nFrom: D <d@x.test>\nReply-To: r@x.test\n" +
		"Content-Type: multipart/alternative; boundary=b\n\n--b\n\nuno\n--b\nContent-Type: text/html; charset=utf-8\n\ndue\n--b--\n\n--a\n" +
		"Content-Type: message/rfc822\n\nSubject: altro\n\nx\n\n--a--\n",
	"Subject: fuori\nContent-Type: message/rfc822\n\nSubject: dentro\nTo: x@y.test\n\ntesto\n",
	"Subject: molti\nFrom: a@ext.test\nTo: " + manyAddresses(10_000) + "\nDate: Mon, 2 Nov 2026 09:12:00 +0100\n\ntesto\n",
	"Subject: zeri\nFrom: a@ext.test\nX-Zero: a\x00b\n\nuno\x00due\n\x00\n",
	"From: <lorenzo (il mercante)@ (vicino a) ext.test>\nTo: anna\n @alpha.test\nSubject: commenti\n\nx\n",
	"Subject: =?utf-8?q?perch=C3=A9?= no\nFrom: =?iso-8859-1?q?Jos=E9?= <jose@ext.test>\nSender: s@ext.test\nBcc: b@ext.test\nIn-Reply-To: <a@b> <c@d>\n" +
		"Message-ID: <m@x>\nDate: Mon, 2 Nov 2026 09:12:00 +0100 (CET)\n\nx\n",
}

// manyAddresses returns a list of addresses, four on a line.
func manyAddresses(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(",")
			if i%4 == 0 {
				b.WriteString("\n")
			}
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "Nome %d <nome.%d@ext.test>", i, i)
	}
	return b.String()
}

// allMessages returns every message that the project has, with lines that end with CRLF.
func allMessages(t *testing.T) (list []string) {
	t.Helper()
	err := filepath.WalkDir(rig.ModuleFolder(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".eml" {
			return err
		}
		text, err := os.ReadFile(path)
		list = append(list, strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n", "\r\n"))
		return err
	})
	if err != nil || len(list) < 40 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	return list
}

// difference is a class of differences to Dovecot's answers that are right.
type difference struct {
	why   string // the sentence of the standard
	holds func(what string, ours, dovecots any) bool
}

var rightDifferences = []difference{
	{"RFC 2046 5.1.1: the CRLF before a delimiter belongs to the delimiter. Dovecot counts it to a nested multipart, and to a message that ends with one.",
		func(what string, ours, dovecots any) bool {
			a, ok1 := ours.(string)
			b, ok2 := dovecots.(string)
			if ok1 && ok2 {
				return strings.HasPrefix(what, "section") && b == a+"\r\n"
			}
			n, ok1 := ours.(int64)
			m, ok2 := dovecots.(int64)
			return ok1 && ok2 && strings.HasSuffix(what, "message size") && m == n+2 || ok1 && ok2 && strings.HasSuffix(what, "message lines") && m == n+1
		}},
	{"RFC 5322 4.1: programs must accept obs-body, which may hold NUL. It is served as it was journaled; Dovecot serves 0x80 in its place, because RFC 3501 9 has " +
		"no NUL in a literal.",
		func(what string, ours, dovecots any) bool {
			a, ok1 := ours.(string)
			b, ok2 := dovecots.(string)
			return ok1 && ok2 && strings.HasPrefix(what, "section") && strings.Contains(a, "\x00") && b == strings.ReplaceAll(a, "\x00", "\x80")
		}},
	{"RFC 2046 5.1: a multipart has at least one part. One without any is shown as the text that it is; Dovecot shows an empty part in it.",
		func(what string, ours, dovecots any) bool {
			return strings.HasSuffix(what, " of a multipart without parts")
		}},
}

// TestSameAsDovecot compares what the archive and Dovecot say of the same messages: sizes, envelopes, structures and every section.
func TestSameAsDovecot(t *testing.T) {
	t.Parallel()
	s := newIMAP(t, true)
	messages := allMessages(t)
	for _, text := range oddMail {
		messages = append(messages, strings.ReplaceAll(text, "\n", "\r\n"))
	}
	for _, text := range messages {
		replies, err := rig.Deliver("tcp", s.lmtp, rig.Mail{From: "ext@ext.test", To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: []byte(text)})
		if err != nil || replies[0].Code != 250 {
			t.Fatalf("%v, %v", replies, err)
		}
	}
	dovecot := rig.StartDovecot(t, filepath.Join(rig.Folder(t), "dovecot"), []rig.Account{{Address: anna}})
	theirs := signIn(t, dovecot.ServeIMAP(t, anna, messages), rig.Password, "INBOX")
	ours := signIn(t, fmt.Sprintf("127.0.0.1:%d", s.starttls), annasPassword, s.hook.List(t, anna)[0].Folder)
	known := make(map[string]int)
	for i, text := range messages {
		c := &comparison{t: t, message: i + 1, known: known}
		scanner := part.NewScanner(part.DefaultLimits())
		scanner.Write([]byte(text))
		sections := sectionsOf(scanner.Close())
		c.empty = scanner.Close().Odd&part.OddNoParts != 0
		c.compare(fetch(t, ours, i+1, sections), fetch(t, theirs, i+1, sections), sections)
	}
	for _, d := range rightDifferences {
		if t.Logf("%d times: %s", known[d.why], d.why); known[d.why] == 0 {
			t.Errorf("no message shows any more: %s", d.why)
		}
	}
}

func signIn(t *testing.T, address, password, folder string) *imapclient.Client {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(nc, nil)
	t.Cleanup(func() { c.Close() })
	if err := c.Login(anna, password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select(folder, &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// sectionsOf returns all sections of a message that have a name.
func sectionsOf(table *part.Table) []*imap.FetchItemBodySection {
	list := []*imap.FetchItemBodySection{{}, {Specifier: imap.PartSpecifierHeader}, {Specifier: imap.PartSpecifierText},
		{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Subject", "from", "X-None"}},
		{Specifier: imap.PartSpecifierHeader, HeaderFieldsNot: []string{"Subject"}}, {Partial: &imap.SectionPartial{Offset: 10, Size: 20}}}
	for i := range table.Parts {
		number := table.Number(i)
		if number == "" {
			continue
		}
		var numbers []int
		for n := range strings.SplitSeq(number, ".") {
			var k int
			fmt.Sscan(n, &k)
			numbers = append(numbers, k)
		}
		for _, specifier := range []imap.PartSpecifier{imap.PartSpecifierNone, imap.PartSpecifierMIME, imap.PartSpecifierHeader, imap.PartSpecifierText} {
			if (specifier == imap.PartSpecifierHeader || specifier == imap.PartSpecifierText) && table.Enclosed(i) < 0 {
				continue
			}
			list = append(list, &imap.FetchItemBodySection{Part: numbers, Specifier: specifier})
		}
	}
	for _, s := range list {
		s.Peek = true
	}
	return list
}

func fetch(t *testing.T, c *imapclient.Client, n int, sections []*imap.FetchItemBodySection) *imapclient.FetchMessageBuffer {
	t.Helper()
	got, err := c.Fetch(imap.SeqSetNum(uint32(n)), &imap.FetchOptions{
		RFC822Size: true, Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: sections,
	}).Collect()
	if err != nil || len(got) != 1 {
		t.Fatalf("message %d: %d answers, %v", n, len(got), err)
	}
	return got[0]
}

// comparison is that of one message.
type comparison struct {
	t       *testing.T
	message int
	known   map[string]int
	empty   bool // it is a multipart without parts
}

func (c *comparison) same(what string, ours, dovecots any) {
	c.t.Helper()
	if reflect.DeepEqual(ours, dovecots) {
		return
	}
	if c.empty {
		what += " of a multipart without parts"
	}
	i := slices.IndexFunc(rightDifferences, func(d difference) bool { return d.holds(what, ours, dovecots) })
	if i < 0 {
		c.t.Errorf("message %d, %s: %.300q, Dovecot has %.300q", c.message, what, fmt.Sprint(ours), fmt.Sprint(dovecots))
		return
	}
	c.known[rightDifferences[i].why]++
}

func (c *comparison) compare(ours, dovecots *imapclient.FetchMessageBuffer, sections []*imap.FetchItemBodySection) {
	c.same("size", ours.RFC822Size, dovecots.RFC822Size)
	for _, s := range sections {
		c.same(fmt.Sprintf("section %v %s %v %v", s.Part, s.Specifier, s.HeaderFields, s.HeaderFieldsNot),
			string(ours.FindBodySection(s)), string(dovecots.FindBodySection(s)))
	}
	c.envelopes("", ours.Envelope, dovecots.Envelope)
	c.structures("structure", ours.BodyStructure, dovecots.BodyStructure)
}

func (c *comparison) envelopes(where string, ours, dovecots *imap.Envelope) {
	date := func(e *imap.Envelope) string {
		if e.Date.IsZero() {
			return ""
		}
		return e.Date.UTC().String()
	}
	c.same(where+"envelope date", date(ours), date(dovecots))
	a, b := *ours, *dovecots
	a.Date, b.Date = dovecots.Date, dovecots.Date
	c.same(where+"envelope", fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b))
}

func (c *comparison) structures(where string, ours, dovecots imap.BodyStructure) {
	if multi, ok := ours.(*imap.BodyStructureMultiPart); ok {
		theirs, ok := dovecots.(*imap.BodyStructureMultiPart)
		if !ok || len(multi.Children) != len(theirs.Children) {
			c.same(where, fmt.Sprintf("%+v", ours), fmt.Sprintf("%+v", dovecots))
			return
		}
		c.same(where+" multipart", fmt.Sprintf("%s %+v %+v", strings.ToLower(multi.Subtype), multi.Extended.Params, multi.Extended.Disposition),
			fmt.Sprintf("%s %+v %+v", strings.ToLower(theirs.Subtype), theirs.Extended.Params, theirs.Extended.Disposition))
		for i := range multi.Children {
			c.structures(fmt.Sprintf("%s.%d", where, i+1), multi.Children[i], theirs.Children[i])
		}
		return
	}
	single := ours.(*imap.BodyStructureSinglePart)
	theirs, ok := dovecots.(*imap.BodyStructureSinglePart)
	if !ok {
		c.same(where, fmt.Sprintf("%+v", ours), fmt.Sprintf("%+v", dovecots))
		return
	}
	text := func(s *imap.BodyStructureSinglePart) string {
		lines := int64(-1)
		if s.Text != nil {
			lines = s.Text.NumLines
		}
		return fmt.Sprintf("%s %v %s %s %s %d lines %+v %v", s.MediaType(), s.Params, s.ID, s.Description, strings.ToLower(s.Encoding), lines, s.Extended.Disposition,
			s.Extended.Language)
	}
	c.same(where, text(single), text(theirs))
	size := " size"
	if single.MessageRFC822 != nil && theirs.MessageRFC822 != nil {
		size = " message size"
		c.envelopes(where+" ", single.MessageRFC822.Envelope, theirs.MessageRFC822.Envelope)
		c.structures(where+".m", single.MessageRFC822.BodyStructure, theirs.MessageRFC822.BodyStructure)
		c.same(where+" message lines", single.MessageRFC822.NumLines, theirs.MessageRFC822.NumLines)
	}
	c.same(where+size, int64(single.Size), int64(theirs.Size))
}
