package imapd

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"copialettere/journal"
	"copialettere/journal/part"
)

// oddMessages returns messages that break the rules, by name.
func oddMessages() map[string]string {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	many := make([]string, 10000)
	for i := range many {
		many[i] = fmt.Sprintf("Nome %d <utente%d@alpha.test>", i, i)
	}
	return map[string]string{
		"empty":             "",
		"no-colon":          crlf("Subject: uno\nquesta riga non ha i due punti\nFrom: a@ext.test\n\ntesto\n"),
		"from-line":         crlf("From ext@ext.test Mon Nov  2 09:12:00 2026\nSubject: uno\n\ntesto\n"),
		"many-recipients":   crlf("To: " + strings.Join(many, ",\n ") + "\nSubject: a molti\n\ntesto\n"),
		"nul":               crlf("Subject: nu\x00l\nFrom: a\x00b@ext.test\n\nte\x00sto\n\x00"),
		"no-end":            crlf("Subject: senza corpo\nFrom: a@ext.test\n"),
		"no-line-end":       crlf("Subject: x\n\nfine senza a capo"),
		"eight-bit":         "Subject: perch\xe9 no\r\nFrom: Jos\xe9 <jose@ext.test>\r\nTo: \xc3\xa8 <e@alpha.test>\r\n\r\ncitt\xe0\r\n",
		"bare-line-ends":    "Subject: a\nTo: b@alpha.test\n\nuno\rdue\ntre\r\r\nquattro\r\n",
		"groups":            crlf("To: amici: a@x.test, B <b@x.test>;, undisclosed-recipients:;\nCc: solo\nFrom: \"A, B\" <ab@x.test> (nota)\nDate: oggi\n\n.\n"),
		"unterminated":      crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>\n--b\n\nultima\n"),
		"no-parts":          crlf("Content-Type: multipart/mixed; boundary=b\n\nniente\n"),
		"no-boundary":       crlf("Content-Type: multipart/mixed\n\nniente\n"),
		"bad-type":          crlf("Content-Type: questo non va\nContent-Disposition: ???\n\nx\n"),
		"rfc2231":           crlf("Content-Type: application/pdf; name*0*=UTF-8''perch%C3%A9; name*1=.pdf\nContent-Disposition: attachment; filename*=UTF-8''perch%C3%A9.pdf\n\nx\n"),
		"nested":            crlf("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nSubject: dentro\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nuno\n--b\nContent-Type: text/html; charset=utf-8\n\ndue\n--b--\n\n--a\nContent-Type: message/rfc822\n\n\n--a\nContent-Type: multipart/digest; boundary=c\n\n--c\n\nSubject: d1\n\nx\n--c--\n--a--\n"),
		"message":           crlf("Subject: fuori\nContent-Type: message/rfc822\n\nSubject: dentro\nTo: x@y.test\n\ntesto\n"),
		"encoded-message":   crlf("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKeQo=\n"),
		"global":            crlf("Content-Type: message/global\n\nSubject: dentro\n\ntesto\n"),
		"deep":              crlf(strings.Repeat("Content-Type: message/rfc822\n\n", 150) + "Subject: in fondo\n\ntesto\n"),
		"same-boundary":     crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nuno\n--b--\n--b--\n"),
		"long-header-line":  crlf("Subject: " + strings.Repeat("lungo ", 20000) + "\nX-After: si\n\nx\n"),
		"long-header":       crlf(strings.Repeat("X-Padding: "+strings.Repeat("p", 60)+"\n", 8000) + "Subject: dopo\n\nx\n"),
		"quotes":            crlf("Subject: \"aperte\nFrom: \"A \\\"B\\\" C\" <\"a b\"@x.test>\nTo: <@r.test:c@x.test>\nMessage-ID: senza parentesi\nIn-Reply-To: <a@b> <c@d>\nDate: Thu, 1 Jan 1970 00:00:00 +0000\n\nx\n"),
		"control-in-params": crlf("Content-Type: text/plain; charset=\"utf\x01-8\"; name=\"a\x00b\"\nContent-ID: <\x02id>\nContent-Description: \x03\n\nx\n"),
	}
}

// everyMessage returns all fixtures and all odd messages.
func everyMessage(t testing.TB) map[string]string {
	all := fixtures(t)
	maps.Copy(all, oddMessages())
	return all
}

// dial signs in with go-imap's own client.
func (r *rig) dial(t testing.TB, mailbox string) *imapclient.Client {
	t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	check(t, err)
	c := imapclient.New(nc, nil)
	check(t, c.Login(mailbox, password).Wait())
	return c
}

// TestEveryMessage fetches each message in all ways: the bytes are those that were journaled, and every part is the slice that the part table says.
func TestEveryMessage(t *testing.T) {
	r := newRig(t, nil)
	all := everyMessage(t)
	names := slices.Sorted(maps.Keys(all))
	for _, name := range names {
		r.add(anna, journal.Received, all[name])
	}
	c := r.dial(t, anna)
	defer c.Close()
	_, err := c.Select("INBOX/2026-11", nil).Wait()
	check(t, err)
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			text := all[name]
			scanner := part.NewScanner(part.DefaultLimits())
			scanner.Write([]byte(text))
			table := scanner.Close()
			items := []*imap.FetchItemBodySection{{}, {Specifier: imap.PartSpecifierHeader}, {Specifier: imap.PartSpecifierText}}
			want := []string{text, text[:table.Parts[0].Body], text[table.Parts[0].Body:]}
			for i, p := range table.Parts {
				if number := table.Number(i); number != "" && strings.Count(number, ".") < 50 {
					items = append(items, &imap.FetchItemBodySection{Part: numbers(t, number)})
					want = append(want, text[p.Body:p.End])
				}
			}
			messages, err := c.Fetch(imap.SeqSetNum(uint32(i+1)), &imap.FetchOptions{
				RFC822Size: true, UID: true, Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: items,
			}).Collect()
			check(t, err)
			if len(messages) != 1 || messages[0].RFC822Size != int64(len(text)) || messages[0].Envelope == nil || messages[0].BodyStructure == nil {
				t.Fatalf("%d messages: %+v", len(messages), messages)
			}
			for k, item := range items {
				if got := string(messages[0].FindBodySection(item)); got != want[k] {
					t.Errorf("section %v %s: %d bytes, want %d", item.Part, item.Specifier, len(got), len(want[k]))
				}
			}
		})
	}
}

func numbers(t *testing.T, number string) (list []int) {
	for n := range strings.SplitSeq(number, ".") {
		var i int
		_, err := fmt.Sscan(n, &i)
		check(t, err)
		list = append(list, i)
	}
	return list
}

// TestPreparedEnvelopes compares, for each message and each one enclosed in it, the ENVELOPE from what is stored with that from the header.
func TestPreparedEnvelopes(t *testing.T) {
	r := newRig(t, nil)
	ready := 0
	for name, text := range everyMessage(t) {
		ref := r.add(anna, journal.Received, text)
		e, err := r.journal.Entry(t.Context(), ref)
		check(t, err)
		m := message{ctx: t.Context(), reader: r.archive.Reader(operator, address(t, anna)), entry: e}
		for i, p := range e.Parts.Parts {
			if p.Parent >= 0 && !e.Parts.Parts[p.Parent].IsMessage() {
				continue
			}
			header, err := m.header(i)
			check(t, err)
			want := envelopeOf(func(f part.EnvelopeField) string { return part.WholeValue(header, f.String()) })
			got, err := m.envelope(i)
			check(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, part %d:\n%.300s, want\n%.300s", name, i, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
			}
			if _, ok := prepared(e, i); ok {
				ready++
			}
		}
	}
	if ready < 40 {
		t.Errorf("%d envelopes are ready", ready)
	}
}

// TestPreparedSize weighs what is stored in entries so that ENVELOPE and BODYSTRUCTURE need no message: the envelopes and the part tables of all
// messages that the project has.
func TestPreparedSize(t *testing.T) {
	const limit = 300 // bytes, in the mean
	files, envelopes, tables := 0, 0, 0
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".eml" {
			return err
		}
		text, err := os.ReadFile(path)
		check(t, err)
		scanner := part.NewScanner(part.DefaultLimits())
		scanner.Write(text)
		table, err := scanner.Close().AppendBinary(nil)
		check(t, err)
		list := scanner.Envelopes()
		for i := range list {
			b, err := list[i].AppendBinary(nil)
			check(t, err)
			envelopes += len(b) + 2 // and its tag and length
		}
		files, tables = files+1, tables+len(table)+3
		return nil
	})
	check(t, err)
	t.Logf("%d messages, in the mean %d bytes for envelopes and %d for the part table", files, envelopes/files, tables/files)
	if files < 40 || (envelopes+tables)/files > limit {
		t.Errorf("of %d messages more than %d bytes in the mean", files, limit)
	}
}
