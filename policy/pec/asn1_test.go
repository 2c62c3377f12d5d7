package pec

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"
)

func TestToDER(t *testing.T) {
	tests := []struct{ name, ber, want string }{ // want "" for an error
		{"primitive", "\x02\x01\x07", "\x02\x01\x07"},
		{"bytes behind it", "\x02\x01\x07xx", "\x02\x01\x07"},
		{"long length", "\x04\x82\x00\x01x", "\x04\x01x"},
		{"indefinite", "\x30\x80\x02\x01\x07\x00\x00", "\x30\x03\x02\x01\x07"},
		{"indefinite in definite", "\x30\x07\x31\x80\x02\x01\x07\x00\x00", "\x30\x05\x31\x03\x02\x01\x07"},
		{"empty indefinite", "\x30\x80\x00\x00", "\x30\x00"},
		{"string in pieces", "\x24\x80\x04\x01a\x24\x80\x04\x01b\x00\x00\x04\x02cd\x00\x00", "\x04\x04abcd"},
		{"string in pieces of another type", "\x24\x03\x02\x01\x07", ""},
		{"long tag", "\x7f\x81\x01\x02\x05\x00", "\x7f\x81\x01\x02\x05\x00"},
		{"empty", "", ""},
		{"no length", "\x30", ""},
		{"short", "\x30\x05\x02\x01", ""},
		{"no end", "\x30\x80\x02\x01\x07", ""},
		{"half an end", "\x30\x80\x02\x01\x07\x00", ""},
		{"primitive without length", "\x04\x80x\x00\x00", ""},
		{"length of length", "\x04\x85\x00\x00\x00\x00\x01x", ""},
		{"huge", "\x04\x84\xff\xff\xff\xffx", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := toDER([]byte(test.ber))
			if string(got) != test.want || (err != nil) != (test.want == "") {
				t.Errorf("got %x, %v", got, err)
			}
		})
	}
	for n, want := range map[int]bool{maxDepth + 1: true, maxDepth + 2: false} {
		deep := append(bytes.Repeat([]byte("\x30\x80"), n), make([]byte, 2*n)...)
		if _, err := toDER(deep); (err == nil) != want {
			t.Errorf("%d elements in one another, the outermost counted: %v", n, err)
		}
	}
}

func TestParseTime(t *testing.T) {
	day := time.Date(2026, 11, 3, 9, 11, 12, 0, time.UTC)
	tests := []struct {
		name    string
		tag     byte
		content string
		want    time.Time
	}{
		{"UTCTime", tagUTCTime, "261103091112Z", day},
		{"with an offset", tagUTCTime, "261103101112+0100", day},
		{"of the last century", tagUTCTime, "991231235959Z", time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"1950", tagUTCTime, "500101000000Z", time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"2049", tagUTCTime, "490101000000Z", time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"GeneralizedTime", tagTime, "20261103091112Z", day},
		{"no time", tagTime, "x", time.Time{}},
		{"of another type", tagInteger, "261103091112Z", time.Time{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := parseTime(test.tag, []byte(test.content)); !got.Equal(test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestLineWriter writes texts in pieces of every length.
func TestLineWriter(t *testing.T) {
	const text = "a\nb\r\nc\r\r\n\n\r\n\r"
	const want = "a\r\nb\r\nc\r\r\n\r\n\r\n\r"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		w := lineWriter{to: &out}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			w.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if out.String() != want {
			t.Errorf("in pieces of %d: %q", size, out.String())
		}
	}
}

// signatureIn returns the signature of a message in a file.
func signatureIn(t testing.TB, name string) []byte {
	t.Helper()
	message, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(message), "filename=\"smime.p7s\"")
	text, _, _ = strings.Cut(text, "--")
	signature, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// TestSignatureAlgorithm checks a valid signature that names other algorithms.
func TestSignatureAlgorithm(t *testing.T) {
	for algorithm, right := range map[string]bool{oidRSA: true, oidRSASHA512: true, oidRSASHA256: false, oidRSASHA1: false, oidRSAPSS: false,
		oidECDSASHA512: false, oidECDSAKey: false, "\x2a": false} {
		data, err := parseSignedData(signatureIn(t, "testdata/openssl-keyid.eml"))
		if err != nil {
			t.Fatal(err)
		}
		data.algorithm = algorithm
		if c, err := data.signer(); (err == nil) != right || (c != nil) != right {
			t.Errorf("algorithm %x: %v", algorithm, err)
		}
	}
}

func FuzzToDER(f *testing.F) {
	f.Add([]byte("\x30\x80\x24\x80\x04\x01a\x00\x00\x02\x01\x07\x00\x00"))
	f.Add([]byte("\x7f\x81\x01\x02\x05\x00"))
	f.Add([]byte("\x30\x83\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, ber []byte) {
		der, err := toDER(ber)
		if err != nil {
			return
		}
		if len(der) > len(ber) {
			t.Fatalf("%x is longer than %x", der, ber)
		}
		if again, err := toDER(der); err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x became %x, %v", der, again, err)
		}
	})
}

func FuzzSignedData(f *testing.F) {
	f.Add(signatureIn(f, "testdata/openssl-pss.eml"))
	f.Add(signatureIn(f, "testdata/openssl-keyid.eml"))
	f.Add([]byte("\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\x30\x80\x02\x01\x01\x31\x80\x00\x00\x30\x80\x00\x00\x31\x80\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, ber []byte) {
		data, err := parseSignedData(ber)
		if err != nil {
			return
		}
		if data.digest == 0 || len(data.certificates) > maxCertificates || len(data.attributes) == 0 {
			t.Errorf("%+v", data)
		}
		if c, err := data.signer(); (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
		data.chain(nil)
	})
}
