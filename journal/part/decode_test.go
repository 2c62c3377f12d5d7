package part

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func TestDecoder(t *testing.T) {
	long := strings.Repeat(" ", 3000)
	tests := []struct{ name, contentType, encoding, body, want string }{
		{"7bit", "text/plain", "", "a\r\n", "a\r\n"},
		{"binary is untouched", "image/png", "binary", "\xff\x00", "\xff\x00"},
		{"unknown encoding", "image/png", "x-odd", "YQ==", "YQ=="},

		{"base64", "image/png", "BASE64 (really)", "aGVs\r\nbG8=\r\n", "hello"},
		{"base64 without padding", "image/png", "base64", "aGVsbG8", "hello"},
		{"base64 with stray bytes", "image/png", "base64", "> aG!Vs\x00\r\n\t bG8=", "hello"},
		{"base64 with a footer", "image/png", "base64", "aGVsbG8=\r\n--\r\nlist footer\r\n", "hello"},
		{"base64 with a character too many", "image/png", "base64", "aGVsbG8h\r\nQ", "hello!"},
		{"base64, empty", "image/png", "base64", "", ""},
		{"base64, only padding", "image/png", "base64", "====", ""},

		{"quoted-printable", "text/plain", "quoted-printable", "a=3Db=\r\nc =20\r\nd", "a=bc  \r\nd"},
		{"quoted-printable in lower case", "image/png", "quoted-printable", "=c3=a9", "é"},
		{"white space at the end of a line", "image/png", "quoted-printable", "a \t\r\nb = \t\r\nc", "a\r\nb c"},
		{"wrong escapes", "image/png", "quoted-printable", "=ZZ = =4 =\r=A=B", "=ZZ = =4 =\r=A=B"},
		{"soft line break at the end", "image/png", "quoted-printable", "a=", "a"},
		{"soft line break with LF", "image/png", "quoted-printable", "a=\nb", "ab"},
		{"half an escape at the end", "image/png", "quoted-printable", "a=4", "a=4"},
		{"raw 8-bit", "image/png", "quoted-printable", "\xe9", "\xe9"},
		{"much white space", "image/png", "quoted-printable", long + "x", long + "x"},

		{"latin 1", "text/plain; charset=iso-8859-1", "quoted-printable", "perch=E9", "perché"},
		{"utf-8", "text/plain; charset=UTF-8", "8bit", "perché", "perché"},
		{"false utf-8", "text/plain; charset=utf-8", "8bit", "perch\xe9 \x80", "perché €"},
		{"no charset", "text/plain", "8bit", "perché \xe9", "perché é"},
		{"unknown charset", "text/plain; charset=x-none", "8bit", "perch\xe9", "perché"},
		{"japanese", "text/html; charset=ISO-2022-JP", "7bit", "\x1b$BF|K\\\x1b(B", "日本"},
		{"no text, no conversion", "application/xml; charset=iso-8859-1", "8bit", "\xe9", "\xe9"},
		{"cut character", "text/plain", "8bit", "a\xe2\x82", "aâ‚"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := Part{ContentType: test.contentType, TransferEncoding: test.encoding}
			p.Type, _ = mediaType(test.contentType)
			readers := map[string]io.Reader{
				"whole":       strings.NewReader(test.body),
				"bytes":       iotest.OneByteReader(strings.NewReader(test.body)),
				"data at end": iotest.DataErrReader(strings.NewReader(test.body)),
			}
			for name, body := range readers {
				got, err := io.ReadAll(Decoder(p, body))
				if string(got) != test.want || err != nil {
					t.Errorf("%s: got %q, %v; want %q", name, got, err, test.want)
				}
			}
		})
	}
}

func TestDecoderPassesErrors(t *testing.T) {
	broken := errors.New("chunk missing")
	for _, encoding := range []string{"7bit", "base64", "quoted-printable"} {
		for _, contentType := range []string{"text/plain", "text/plain; charset=iso-8859-1", "image/png"} {
			p := Part{ContentType: contentType, TransferEncoding: encoding}
			p.Type, _ = mediaType(contentType)
			got, err := io.ReadAll(Decoder(p, io.MultiReader(strings.NewReader("abcd"), iotest.ErrReader(broken))))
			if !errors.Is(err, broken) || len(got) == 0 {
				t.Errorf("%s, %s: got %q, %v", contentType, encoding, got, err)
			}
		}
	}
}

func TestContentDecoder(t *testing.T) {
	p := Part{Type: "text/plain", ContentType: "text/plain; charset=iso-8859-1", TransferEncoding: "quoted-printable"}
	got, err := io.ReadAll(ContentDecoder(p, strings.NewReader("perch=E9")))
	if string(got) != "perch\xe9" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add("base64", "utf-8", []byte("aGVs\r\nbG8=x"))
	f.Add("quoted-printable", "iso-8859-1", []byte("a=\r\n=E9= \t\r\n \r\n=4"))
	f.Add("", "iso-2022-jp", []byte("\x1b$BF|K\\\x1b(B"))
	f.Add("7bit", "utf-16", []byte("\xfe\xff\x00a\xd8"))
	f.Add("", "gb18030", []byte("\x81\x30\x81"))
	f.Fuzz(func(t *testing.T, encoding, charset string, body []byte) {
		p := Part{Type: "text/plain", ContentType: "text/plain; charset=\"" + charset + "\"", TransferEncoding: encoding}
		got, err := io.ReadAll(Decoder(p, strings.NewReader(string(body))))
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(got) {
			t.Fatalf("got %q", got)
		}
		if len(got) > 3*len(body)+3 {
			t.Fatalf("%d bytes out of %d", len(got), len(body))
		}
		again, err := io.ReadAll(Decoder(p, iotest.OneByteReader(strings.NewReader(string(body)))))
		if err != nil || string(again) != string(got) {
			t.Fatalf("byte by byte: got %q, %v; want %q", again, err, got)
		}
	})
}
