package pec_test

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/part"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// enclosedIn opens the message that a receipt encloses.
func enclosedIn(t *testing.T, message []byte) (*bytes.Reader, *part.Table) {
	t.Helper()
	m, table := read(t, message)
	r, inner, err := pec.Enclosed(bytes.NewReader(message), table, m.Postacert)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, r.Size())
	if _, err := r.ReadAt(text, 0); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(text), inner
}

func TestBriefHashes(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := letter()
	enclosed := pectest.Mail{From: "zoe@ext.test", To: []string{"mario@alpha.test"}, Subject: "z", Text: "z\n",
		Attachments: []pectest.Attachment{{Name: "fattura.pdf", Type: "application/pdf", Content: []byte("inner")}}}
	mail.Attachments = append(mail.Attachments, pectest.Attachment{Name: "fattura.pdf", Type: "application/pdf",
		Content: []byte("second of that name")},
		pectest.Attachment{Name: "nota.txt.hash", Type: "text/plain", Content: []byte("no hash")},
		pectest.Attachment{Name: "inoltro.eml", Type: "message/rfc822", Content: enclosed.Bytes()})
	c := o.Send(mail, "breve")
	receipt := func(v pectest.Variation) []byte {
		return c.Notice(pectest.Notice{Class: pec.AvvenutaConsegna, Recipient: "anna@beta.test", Variation: v})
	}
	names := []string{"", "fattura.pdf", "perché.txt", "fattura.pdf", "nota.txt.hash", "inoltro.eml"}
	text := func(first, rest pec.HashResult) []pec.HashResult {
		return []pec.HashResult{first, rest, rest, rest, rest, rest}
	}
	all := func(r pec.HashResult) []pec.HashResult { return text(r, r) }
	replaced := func(old, new string) []byte {
		if !bytes.Contains(c.Original, []byte(old)) {
			t.Fatalf("%q is not in the original", old)
		}
		return bytes.ReplaceAll(c.Original, []byte(old), []byte(new))
	}
	tests := []struct {
		name     string
		receipt  []byte
		original []byte // nil if not archived
		results  []pec.HashResult
		reading  string // of parts with a hash
	}{
		{"decoded", receipt(pectest.Variation{}), c.Original, all(pec.HashMatch), "decoded"},
		{"encoded", receipt(pectest.Variation{HashEncoded: true}), c.Original, all(pec.HashMatch), "encoded"},
		{"against the message as the access point changed it", receipt(pectest.Variation{}), c.Rewritten, all(pec.HashMatch), "decoded"},
		{"wrong", receipt(pectest.Variation{HashWrong: true}), c.Original, text(pec.HashMatch, pec.HashMismatch), ""},
		{"original not archived", receipt(pectest.Variation{}), nil, all(pec.HashNoOriginal), ""},
		{"part changed", receipt(pectest.Variation{}), replaced("bm8gaGFzaA==", "bm8gaGFzYA=="),
			[]pec.HashResult{pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashMismatch, pec.HashMatch}, "decoded"},
		{"part renamed", receipt(pectest.Variation{}), replaced("inoltro.eml", "altro.eml"),
			[]pec.HashResult{pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashOtherName}, "decoded"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, table := enclosedIn(t, test.receipt)
			var originalTable *part.Table
			if test.original != nil {
				originalTable, _ = scan(test.original)
			}
			checks, err := pec.BriefHashes(r, table, bytes.NewReader(test.original), originalTable)
			if err != nil {
				t.Fatal(err)
			}
			var results []pec.HashResult
			for i, check := range checks {
				results = append(results, check.Result)
				if i < len(names) && check.Name != names[i] && check.Result != pec.HashOtherName {
					t.Errorf("name %q, want %q", check.Name, names[i])
				}
				if i > 0 && i < 5 && check.Result == pec.HashMatch && check.Reading != test.reading {
					t.Errorf("%s: reading %q", check.Name, check.Reading)
				}
			}
			if !reflect.DeepEqual(results, test.results) {
				t.Errorf("got %q, want %q", results, test.results)
			}
		})
	}
}

// TestBriefHashesOfSignedOriginal checks parts that the receipt leaves as they are: nameless ones, a signature, an encrypted message.
func TestBriefHashesOfSignedOriginal(t *testing.T) {
	const original = "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntesto\r\n" +
		"--m\r\nContent-Type: text/csv; name=a.csv\r\n\r\nabc\r\n--m--\r\n--s\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\nMIIB\r\n--s--\r\n"
	hashed := strings.NewReplacer("text/csv; name=a.csv", "text/plain; name=a.csv.hash", "abc",
		"A9993E364706816ABA3E25717850C26C9CD0D89D").Replace(original)
	const sealed = "Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nMIIB\r\n"
	const plain = "Content-Type: text/plain\r\n\r\ntesto\r\n"
	body, signature := pec.HashCheck{Result: pec.HashMatch, Reading: "equal", Part: 2, Original: 2},
		pec.HashCheck{Name: "smime.p7s", Result: pec.HashMatch, Reading: "equal", Part: 4, Original: 4}
	file := func(r pec.HashResult, reading string) []pec.HashCheck {
		return []pec.HashCheck{body, {Name: "a.csv", Result: r, Reading: reading, Part: 3, Original: 3}, signature}
	}
	tests := []struct {
		name, receipt, original string
		want                    []pec.HashCheck
	}{
		{"signed", hashed, original, file(pec.HashMatch, "decoded")},
		{"nothing hashed", original, original, file(pec.HashMatch, "equal")},
		{"another signature", strings.Replace(hashed, "MIIB", "MIIC", 1), original, append(file(pec.HashMatch, "decoded")[:2],
			pec.HashCheck{Name: "smime.p7s", Result: pec.HashMismatch, Part: 4, Original: 4})},
		{"encrypted", sealed, sealed, []pec.HashCheck{{Name: "smime.p7m", Result: pec.HashMatch, Reading: "equal"}}},
		{"encrypted, another", strings.Replace(sealed, "MIIB", "MIIC", 1), sealed, []pec.HashCheck{{Name: "smime.p7m", Result: pec.HashMismatch}}},
		{"no attachment", plain, plain, []pec.HashCheck{{Result: pec.HashMatch, Reading: "equal"}}},
		{"no hash in it", strings.Replace(hashed, "A9993E", "Z9993E", 1), original, file(pec.HashMismatch, "")},
		{"with the last line end", strings.Replace(hashed, "A9993E364706816ABA3E25717850C26C9CD0D89D",
			"34d4150adc3347f1dd8ce19fdf65b74d971ab602", 1), original, file(pec.HashMatch, "encoded, with its last line end")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			receipt, _ := scan([]byte(test.receipt))
			table, _ := scan([]byte(test.original))
			checks, err := pec.BriefHashes(strings.NewReader(test.receipt), receipt, strings.NewReader(test.original), table)
			if err != nil || !reflect.DeepEqual(checks, test.want) {
				t.Errorf("%v\ngot  %+v\nwant %+v", err, checks, test.want)
			}
		})
	}
	receipt, _ := scan([]byte(hashed))
	table, _ := scan([]byte(original))
	broken := failing{bytes.NewReader([]byte(original)), 0}
	if _, err := pec.BriefHashes(strings.NewReader(hashed), receipt, broken, table); !errors.Is(err, errDisk) {
		t.Errorf("broken original: %v", err)
	}
	if _, err := pec.BriefHashes(broken, receipt, strings.NewReader(original), table); !errors.Is(err, errDisk) {
		t.Errorf("broken receipt: %v", err)
	}
}

// TestBriefCases compares receipts and messages in the forms of real ones.
func TestBriefCases(t *testing.T) {
	for name, want := range map[string][]string{
		"brief-text":                     {"1 mismatch", "2 atto.pdf: match"},
		"brief-p7m":                      {"1 match", "2 atto.pdf.p7m: match"},
		"brief-no-attachment-other-text": {"1 mismatch"},
		"brief-p7m-attachment":           {"1 match", "2 fattura.xml.p7m: match"},
		"brief-text-7bit-lf":             {"1 match", "2 a.txt: match"},
	} {
		t.Run(name, func(t *testing.T) {
			message, err := os.ReadFile("testdata/" + name + ".eml")
			if err != nil {
				t.Fatal(err)
			}
			sent, err := os.ReadFile("testdata/" + name + ".sent.eml")
			if err != nil {
				t.Fatal(err)
			}
			r, table := enclosedIn(t, message)
			if got := briefAnswer(t, r, table, sent); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// briefAnswer returns the result of a comparison, one line for each part: number, name and result.
func briefAnswer(t *testing.T, receipt io.ReaderAt, table *part.Table, sent []byte) []string {
	t.Helper()
	sentTable, _ := scan(sent)
	checks, err := pec.BriefHashes(receipt, table, bytes.NewReader(sent), sentTable)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range checks {
		line := "+"
		if c.Original >= 0 {
			line = sentTable.Number(c.Original)
		}
		if name := c.Name + c.Field; name != "" {
			line += " " + name + ":"
		}
		lines = append(lines, line+" "+string(c.Result))
	}
	return lines
}

// multipart joins parts whose line ends are LF.
func multipart(header string, parts ...string) []byte {
	text := header + "Content-Type: multipart/mixed; boundary=b\n\n--b\n" + strings.Join(parts, "\n--b\n") + "\n--b--\n"
	return []byte(strings.ReplaceAll(text, "\n", "\r\n"))
}

func sha1Of(text string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(text))) }

// TestBriefParts checks that the result is a match only if the whole original is accounted for, and that it names any part that is not.
func TestBriefParts(t *testing.T) {
	const header = "From: Anna <anna@alpha.test>\nTo: bruno@beta.test\nSubject: =?utf-8?Q?perch=C3=A9?=\nDate: Fri, 20 Nov 2026 10:11:00 +0100\n"
	const text = "\nPago 100 euro"
	const file = "Content-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0x"
	const p7m = "Content-Type: application/pkcs7-mime; name=a.p7m\nContent-Transfer-Encoding: base64\n\nJVBERi0x"
	const p7s = "Content-Type: application/pkcs7-signature; name=a.p7s\nContent-Transfer-Encoding: base64\n\nJVBERi0x"
	hash := func(fields, value string) string { return fields + "\n\n" + value }
	named := func(name string) string { return "Content-Type: text/plain; name=\"" + name + "\"" }
	pdf := sha1Of("%PDF-1")
	const note = "Content-Type: text/plain; charset=utf-8; name=n.txt\n\nuno\ndue"
	const coded = "Content-Type: text/plain; charset=utf-8; name=n.txt\nContent-Transfer-Encoding: base64\n\ndW5vCmR1ZQo="
	const inner = "From: zoe@ext.test\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nciao\n--i\n"
	attached := func(part string) string { return "Content-Type: message/rfc822\n\n" + inner + part + "\n--i--" }
	tests := []struct {
		name          string
		receipt, sent []byte
		want          []string
	}{
		{"match", multipart(header, text, hash(named("a.pdf.hash"), pdf)), multipart(header, text, file), []string{"1 match", "2 a.pdf: match"}},
		{"text differs", multipart(header, "\nPago 900 euro", hash(named("a.pdf.hash"), pdf)), multipart(header, text, file),
			[]string{"1 mismatch", "2 a.pdf: match"}},
		{"enclosed whole", multipart(header, text, file), multipart(header, text, file), []string{"1 match", "2 a.pdf: match"}},
		{"enclosed whole, but differs", multipart(header, text, strings.Replace(file, "JVBE", "JVBF", 1)), multipart(header, text, file),
			[]string{"1 match", "2 a.pdf: mismatch"}},
		{"missing", multipart(header, text), multipart(header, text, file), []string{"1 match", "2 a.pdf: not covered"}},
		{"text missing", multipart(header, hash(named("a.pdf.hash"), pdf)), multipart(header, text, file), []string{"1 not covered", "2 a.pdf: match"}},
		{"one too many", multipart(header, text, hash(named("a.pdf.hash"), pdf), "\nPS: 900"), multipart(header, text, file),
			[]string{"1 match", "2 a.pdf: match", "+ mismatch"}},
		{"one differs, one is missing", multipart(header, "\nPago 900 euro", hash(named("a.pdf.hash"), pdf)), multipart(header, text, p7m, p7s),
			[]string{"1 mismatch", "2 a.p7m: other name", "3 a.p7s: not covered"}},
		{"S/MIME types, hashed", multipart(header, text, hash(named("a.p7m.hash"), pdf), hash(named("a.p7s.hash"), pdf)), multipart(header, text, p7m, p7s),
			[]string{"1 match", "2 a.p7m: match", "3 a.p7s: match"}},
		{"S/MIME types, other hashes", multipart(header, text, hash(named("a.p7m.hash"), pdf[1:]+"0"), hash(named("a.p7s.hash"), pdf[1:]+"0")),
			multipart(header, text, p7m, p7s), []string{"1 match", "2 a.p7m: mismatch", "3 a.p7s: mismatch"}},
		{"S/MIME types, left out", multipart(header, text), multipart(header, text, p7m, p7s),
			[]string{"1 match", "2 a.p7m: not covered", "3 a.p7s: not covered"}},
		{"kind of text", multipart(header, "Content-Type: text/html\n\n<b>x"), multipart(header, "\n<b>x"), []string{"1 mismatch"}},
		{"text in another encoding", multipart(header, "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nperch=E9\n\n"),
			multipart(header, "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\ncGVyY2jDqQo="), []string{"1 match"}},
		{"the same bytes in another charset", multipart(header, "Content-Type: text/plain; charset=iso-8859-15\n\n100 \xa4"),
			multipart(header, "Content-Type: text/plain; charset=iso-8859-1\n\n100 \xa4"), []string{"1 mismatch"}},

		{"name unlike filename", multipart(header, hash(named("b.pdf.hash"), pdf)),
			multipart(header, strings.Replace(file, "name=a.pdf", "name=a.pdf\nContent-Disposition: attachment; filename=b.pdf", 1)),
			[]string{"1 b.pdf: match"}},
		{"filename unlike name", multipart(header, hash(named("a.pdf.hash"), pdf)),
			multipart(header, strings.Replace(file, "name=a.pdf", "name=a.pdf\nContent-Disposition: attachment; filename=b.pdf", 1)),
			[]string{"1 b.pdf: match"}},
		{"suffix on the name alone", multipart(header, hash(named("a.pdf.hash")+"\nContent-Disposition: attachment; filename=a.pdf", pdf)),
			multipart(header, file), []string{"1 a.pdf: match"}},
		{"suffix on the filename alone", multipart(header, hash(named("a.pdf")+"\nContent-Disposition: attachment; filename=a.pdf.HASH", pdf)),
			multipart(header, file), []string{"1 a.pdf: match"}},
		{"NFC and NFD", multipart(header, hash("Content-Type: text/plain; name*=utf-8''perch%C3%A9.pdf.hash", pdf)),
			multipart(header, strings.Replace(file, "name=a.pdf", "name*=utf-8''perche%CC%81.pdf", 1)), []string{"1 perche\u0301.pdf: match"}},
		{"two of a name, in another order", multipart(header, hash(named("a.pdf.hash"), sha1Of("due")), hash(named("a.pdf.hash"), pdf)),
			multipart(header, file, strings.Replace(file, "JVBERi0x", "ZHVl", 1)), []string{"1 a.pdf: match", "2 a.pdf: match"}},
		{"two alike of two names", multipart(header, hash(named("b.pdf.hash"), pdf), hash(named("a.pdf.hash"), pdf)),
			multipart(header, file, strings.Replace(file, "a.pdf", "b.pdf", 1)), []string{"1 a.pdf: match", "2 b.pdf: match"}},
		{"one hash for two", multipart(header, hash(named("a.pdf.hash"), pdf)), multipart(header, file, file), []string{"1 a.pdf: match", "2 a.pdf: not covered"}},
		{"other name", multipart(header, hash(named("contratto.pdf.hash"), pdf)), multipart(header, file), []string{"1 a.pdf: other name"}},

		{"text, CRLF", multipart(header, hash(named("n.txt.hash"), sha1Of("uno\r\ndue"))), multipart(header, note), []string{"1 n.txt: match"}},
		{"text, LF", multipart(header, hash(named("n.txt.hash"), sha1Of("uno\ndue"))), multipart(header, note), []string{"1 n.txt: match"}},
		{"text, LF and a last one", multipart(header, hash(named("n.txt.hash"), sha1Of("uno\ndue\n"))), multipart(header, note), []string{"1 n.txt: match"}},
		{"text, joined, is another", multipart(header, hash(named("n.txt.hash"), sha1Of("unodue"))), multipart(header, note), []string{"1 n.txt: mismatch"}},
		{"text in base64, LF in it", multipart(header, hash(named("n.txt.hash"), sha1Of("uno\ndue\n"))), multipart(header, coded), []string{"1 n.txt: match"}},
		{"text in base64, as CRLF", multipart(header, hash(named("n.txt.hash"), sha1Of("uno\r\ndue\r\n"))), multipart(header, coded), []string{"1 n.txt: match"}},
		{"base64 with CRLF", multipart(header, hash(named("a.pdf.hash"), sha1Of("JVBE\r\nRi0x"))),
			multipart(header, strings.Replace(file, "JVBE", "JVBE\n", 1)), []string{"1 a.pdf: match"}},
		{"base64 with LF", multipart(header, hash(named("a.pdf.hash"), sha1Of("JVBE\nRi0x\n"))),
			multipart(header, strings.Replace(file, "JVBE", "JVBE\n", 1)), []string{"1 a.pdf: match"}},
		{"base64 without line breaks", multipart(header, hash(named("a.pdf.hash"), sha1Of("JVBERi0x"))),
			multipart(header, strings.Replace(file, "JVBE", "JVBE\n", 1)), []string{"1 a.pdf: match"}},

		{"attached message, hashed whole", multipart(header, hash(named("m.eml.hash"), sha1Of(strings.ReplaceAll(inner+file+"\n--i--", "\n", "\r\n")))),
			multipart(header, strings.Replace(attached(file), "rfc822", "rfc822; name=m.eml", 1)), []string{"1 m.eml: match"}},
		{"attached message, hashed inside", multipart(header, attached(hash(named("a.pdf.hash"), pdf))), multipart(header, attached(file)),
			[]string{"1.1 match", "1.2 a.pdf: match"}},
		{"attached message, text differs inside", multipart(header, strings.Replace(attached(hash(named("a.pdf.hash"), pdf)), "ciao", "addio", 1)),
			multipart(header, attached(file)), []string{"1.1 mismatch", "1.2 a.pdf: match"}},
		{"attached message of somebody else", multipart(header, strings.Replace(attached(hash(named("a.pdf.hash"), pdf)), "zoe", "rosa", 1)),
			multipart(header, attached(file)), []string{"1 mismatch"}},

		{"other subject", multipart(strings.Replace(header, "perch", "forse", 1), text), multipart(header, text), []string{" Subject: mismatch", "1 match"}},
		{"other recipient", multipart(strings.Replace(header, "bruno", "rosa", 1), text), multipart(header, text), []string{" To: mismatch", "1 match"}},
		{"a copy to somebody else", multipart("Cc: rosa@beta.test\n"+header, text), multipart(header, text), []string{" Cc: mismatch", "1 match"}},
		{"fields that an MTA adds", multipart(header, text), multipart("Subject: perch\xc3\xa9\n", text), []string{"1 match"}},
		{"header written otherwise", multipart("From: anna@alpha.test\nTo: \"Bruno B.\"\n <Bruno@beta.test>\nSubject: perch\xc3\xa9\nDate: 20 Nov 2026 09:11:00 GMT\n", text),
			multipart(header, text), []string{"1 match"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, _ := scan(test.receipt)
			got := briefAnswer(t, bytes.NewReader(test.receipt), table, test.sent)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			sentTable, _ := scan(test.sent)
			checks, _ := pec.BriefHashes(bytes.NewReader(test.receipt), table, bytes.NewReader(test.sent), sentTable)
			if match := !slices.ContainsFunc(test.want, func(line string) bool {
				return !strings.HasSuffix(line, "match") || strings.HasSuffix(line, "mismatch")
			}); match != (pec.WorstHash(checks) == pec.HashMatch) {
				t.Errorf("in all %s", pec.WorstHash(checks))
			}
		})
	}
	if got := pec.WorstHash(nil); got != pec.HashMismatch {
		t.Errorf("of nothing: %s", got)
	}
}

// FuzzBriefHashes compares any two messages. The result has every part of the original, and none twice.
func FuzzBriefHashes(f *testing.F) {
	for _, name := range []string{"brief-text", "brief-p7m"} {
		sent, err := os.ReadFile("testdata/" + name + ".sent.eml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sent, bytes.Replace(sent, []byte("100"), []byte("900"), 1))
	}
	f.Add([]byte("\r\n\r\n\r\n"), []byte("\r\n"))
	f.Add([]byte("Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nx\r\n"), []byte("Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\ny"))
	f.Fuzz(func(t *testing.T, receipt, sent []byte) {
		table, _ := scan(receipt)
		sentTable, _ := scan(sent)
		checks, err := pec.BriefHashes(bytes.NewReader(receipt), table, bytes.NewReader(sent), sentTable)
		if err != nil || len(checks) == 0 {
			t.Fatalf("%+v, %v", checks, err)
		}
		seen, seenSent := make(map[int]bool), make(map[int]bool)
		for _, c := range checks {
			if c.Field != "" {
				continue
			}
			if c.Part >= 0 && seen[c.Part] || c.Original >= 0 && seenSent[c.Original] || c.Part < 0 && c.Original < 0 {
				t.Fatalf("%+v", checks)
			}
			seen[c.Part], seenSent[c.Original] = true, true
			if match := c.Result == pec.HashMatch || c.Result == pec.HashOtherName; match != (c.Reading != "") {
				t.Fatalf("%+v", c)
			}
		}
		for i := range sentTable.Parts {
			for k := i; ; k = sentTable.Parts[k].Parent {
				if k < 0 {
					if !sentTable.Parts[i].IsMultipart() && !sentTable.Parts[i].IsMessage() {
						t.Fatalf("part %d is in no answer: %+v", i, checks)
					}
					break
				}
				if seenSent[k] {
					break
				}
			}
		}
	})
}
