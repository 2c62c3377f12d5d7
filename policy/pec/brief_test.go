package pec_test

import (
	"bytes"
	"errors"
	"reflect"
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
	names := []string{"fattura.pdf", "perché.txt", "fattura.pdf", "nota.txt.hash", "inoltro.eml"}
	all := func(r pec.HashResult) []pec.HashResult { return []pec.HashResult{r, r, r, r, r} }
	replaced := func(old, new string) []byte {
		if !bytes.Contains(c.Original, []byte(old)) {
			t.Fatalf("%q is not in the original", old)
		}
		return bytes.Replace(c.Original, []byte(old), []byte(new), 1)
	}
	tests := []struct {
		name     string
		receipt  []byte
		original []byte // nil for not archived
		results  []pec.HashResult
		reading  string
	}{
		{"decoded", receipt(pectest.Variation{}), c.Original, all(pec.HashMatch), "decoded"},
		{"encoded", receipt(pectest.Variation{HashEncoded: true}), c.Original, all(pec.HashMatch), "encoded"},
		{"against the message as the access point changed it", receipt(pectest.Variation{}), c.Rewritten, all(pec.HashMatch), "decoded"},
		{"wrong", receipt(pectest.Variation{HashWrong: true}), c.Original, all(pec.HashMismatch), ""},
		{"original not archived", receipt(pectest.Variation{}), nil, all(pec.HashNoOriginal), ""},
		{"part changed", receipt(pectest.Variation{}), replaced("bm8gaGFzaA==", "bm8gaGFzYA=="),
			[]pec.HashResult{pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashMismatch, pec.HashMatch}, "decoded"},
		{"part renamed", receipt(pectest.Variation{}), bytes.ReplaceAll(c.Original, []byte("inoltro.eml"), []byte("altro.eml")),
			[]pec.HashResult{pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashMatch, pec.HashMismatch, pec.HashNotCovered}, "decoded"},
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
				if i < len(names) && check.Name != names[i] {
					t.Errorf("name %q, want %q", check.Name, names[i])
				}
				if i < 4 && check.Result == pec.HashMatch && check.Reading != test.reading {
					t.Errorf("%s: reading %q", check.Name, check.Reading)
				}
				if check.Result == pec.HashMatch && originalTable.Parts[check.Original].Name() != check.Name {
					t.Errorf("%s was compared with part %d", check.Name, check.Original)
				}
			}
			if !reflect.DeepEqual(results, test.results) {
				t.Errorf("got %q, want %q", results, test.results)
			}
		})
	}
}

// TestBriefHashesOfSignedOriginal checks what the receipt leaves as it is: parts without a name, a signature, an encrypted message.
func TestBriefHashesOfSignedOriginal(t *testing.T) {
	const original = "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntesto\r\n" +
		"--m\r\nContent-Type: text/csv; name=a.csv\r\n\r\nabc\r\n--m--\r\n--s\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\nMIIB\r\n--s--\r\n"
	hashed := strings.NewReplacer("text/csv; name=a.csv", "text/plain; name=a.csv.hash", "abc",
		"A9993E364706816ABA3E25717850C26C9CD0D89D").Replace(original)
	const sealed = "Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nMIIB\r\n"
	const plain = "Content-Type: text/plain\r\n\r\ntesto\r\n"
	tests := []struct {
		name, receipt, original string
		want                    []pec.HashCheck
	}{
		{"signed", hashed, original, []pec.HashCheck{{Name: "a.csv", Result: pec.HashMatch, Reading: "decoded", Part: 3, Original: 3}}},
		{"nothing hashed", original, original, nil},
		{"left out", strings.ReplaceAll(original, "a.csv", "b.csv"), original, []pec.HashCheck{{Name: "a.csv", Result: pec.HashNotCovered,
			Part: -1, Original: 3}}},
		{"encrypted", sealed, sealed, nil},
		{"no attachment", plain, plain, nil},
		{"no hash in it", strings.Replace(hashed, "A9993E", "Z9993E", 1), original, []pec.HashCheck{{Name: "a.csv",
			Result: pec.HashMismatch, Part: 3, Original: 3}}},
		{"with the last line end", strings.Replace(hashed, "A9993E364706816ABA3E25717850C26C9CD0D89D",
			"34d4150adc3347f1dd8ce19fdf65b74d971ab602", 1), original,
			[]pec.HashCheck{{Name: "a.csv", Result: pec.HashMatch, Reading: "encoded, with its last line end", Part: 3, Original: 3}}},
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
