package part

import (
	"bytes"
	"strings"
	"testing"
)

// benchmarkWrite scans a message in blocks of the size that the delivery path uses.
func benchmarkWrite(b *testing.B, text string) {
	data := []byte(text)
	s := NewScanner(DefaultLimits())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset()
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 32<<10)
			s.Write(rest[:n])
			s.Cuts()
			rest = rest[n:]
		}
		s.Close()
	}
}

func small() string {
	return "Return-Path: <mario@alpha.test>\r\n" +
		strings.Repeat("Received: from mx.ext.test (mx.ext.test [192.0.2.1])\r\n\tby mx.alpha.test (Postfix) with ESMTPS id 4XyZ0123;\r\n"+
			"\tTue,  3 Nov 2026 10:11:12 +0100 (CET)\r\n", 4) +
		"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=alpha.test;\r\n\ts=2026; t=1762000000;\r\n\tbh=" + strings.Repeat("x", 44) +
		";\r\n\th=From:To:Subject:Date;\r\n\tb=" + strings.Repeat("x", 60) + "\r\n\t " + strings.Repeat("x", 70) + "\r\n" +
		"From: mario@alpha.test\r\nTo: anna@beta.test\r\nSubject: Fattura\r\n" +
		"Date: Tue, 3 Nov 2026 10:11:12 +0100\r\nMessage-ID: <1@alpha.test>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		strings.Repeat("Gentile cliente, in allegato la fattura del mese di ottobre.\r\n", 45)
}

func BenchmarkScanner(b *testing.B) {
	base64 := strings.Repeat(strings.Repeat("A", 76)+"\r\n", 10<<20/78)
	attachment := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	for name, text := range map[string]string{
		"4kB":        small(),
		"envelope":   aruba,
		"base64":     attachment + base64 + "--b--\r\n",
		"shortLines": "\r\n" + strings.Repeat("ab\r\n", 1<<20),
		"oneLine":    "\r\n" + strings.Repeat("x", 10<<20),
		"dashes":     attachment + strings.Repeat("--\r\n", 1<<20),
		"bareCR":     "\r\n" + strings.Repeat("\r", 10<<20),
		"header":     strings.Repeat("X-Field: value\r\n", 1<<20),
	} {
		b.Run(name, func(b *testing.B) { benchmarkWrite(b, text) })
	}
}

func BenchmarkDecoder(b *testing.B) {
	for name, p := range map[string]Part{
		"base64": {Type: "application/pdf", TransferEncoding: "base64"},
		"quoted": {Type: "text/plain", TransferEncoding: "quoted-printable"},
		"latin1": {Type: "text/plain", ContentType: "text/plain; charset=iso-8859-1"},
		"utf8":   {Type: "text/plain"},
	} {
		data := []byte(strings.Repeat(strings.Repeat("AAAAAAA=", 9)+"\r\n", 1<<20/74))
		if name == "base64" {
			data = bytes.ReplaceAll(data, []byte("="), []byte("A"))
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var out bytes.Buffer
				out.Grow(2 * len(data))
				if _, err := out.ReadFrom(Decoder(p, bytes.NewReader(data))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTable(b *testing.B) {
	s := NewScanner(DefaultLimits())
	s.Write([]byte(aruba))
	table := s.Close()
	stored, err := table.AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			stored, _ = table.AppendBinary(stored[:0])
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := new(Table).UnmarshalBinary(stored); err != nil {
				b.Fatal(err)
			}
		}
	})
}
