package pec_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// signatureFrom returns the range of a message's signature in base64.
func signatureFrom(message string) (from, to int) {
	const mark = "filename=\"smime.p7s\"\r\n\r\n"
	from = strings.LastIndex(message, mark) + len(mark)
	return from, from + strings.Index(message[from:], "\r\n--")
}

// withSignature returns a message with its signature changed.
func withSignature(t *testing.T, message []byte, change func([]byte) []byte) []byte {
	t.Helper()
	text := string(message)
	from, to := signatureFrom(text)
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text[from:to], "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text[:from] + base64.StdEncoding.EncodeToString(change(der)) + text[to:])
}

// streamed turns DER into the BER of programs that sign a stream: indefinite lengths around certificates and signer, and the content in
// pieces.
func streamed(der []byte, depth int) []byte {
	head := 2
	if der[1] > 0x80 {
		head += int(der[1] & 0x7f)
	}
	tag, content := der[0], der[head:]
	if tag == 0x04 && depth == 4 {
		out := []byte{0x24, 0x80}
		for len(content) > 0 {
			n := min(100, len(content))
			out = append(append(out, 0x04, byte(n)), content[:n]...)
			content = content[n:]
		}
		return append(out, 0, 0)
	}
	if tag&0x20 == 0 || depth == 5 || depth == 4 && tag == 0x30 || tag == 0x31 && depth > 2 {
		return der
	}
	out := []byte{tag, 0x80}
	for len(content) > 0 {
		n := 2
		length := int(content[1])
		if content[1] > 0x80 {
			length = 0
			for _, c := range content[2 : 2+content[1]&0x7f] {
				length = length<<8 | int(c)
			}
			n += int(content[1] & 0x7f)
		}
		out = append(out, streamed(content[:n+length], depth+1)...)
		content = content[n+length:]
	}
	return append(out, 0, 0)
}

func TestSignature(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := o.Send(letter(), "")
	address, key := o.Sender.Address(), o.Sender.Identity.Key
	signedBy := func(id *pectest.Identity) []byte {
		return c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Identity: id}})
	}
	issued := func(edit func(*x509.Certificate)) []byte {
		return signedBy(o.Authority.Issue(address, "ALPHA", key, edit))
	}
	attributes := func(edit func([][]byte) [][]byte) []byte {
		return c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Attributes: edit}})
	}
	changed := func(change func([]byte) []byte) []byte { return withSignature(t, c.Envelope, change) }
	replaced := func(old, new string) []byte { return []byte(strings.ReplaceAll(string(c.Envelope), old, new)) }
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Another certificate with the same name and number comes before the right one: only the key tells them apart.
	double := *o.Sender.Identity
	double.Extra = []*x509.Certificate{o.Authority.Issue(address, "ALPHA PEC S.p.A.", o.Receivers[0].Identity.Key, func(c *x509.Certificate) {
		c.SerialNumber = o.Sender.Identity.Certificate.SerialNumber
	}).Certificate, o.Authority.Certificate}
	table, _ := scan(c.Envelope)
	signed := &table.Parts[table.Child(0, 1)]
	signedPart := c.Envelope[signed.Header:signed.End]
	fixture := func(name string) []byte {
		b, err := os.ReadFile("testdata/openssl-" + name + ".eml")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name    string
		message []byte
		result  pec.Result
		reason  string
	}{
		{"as it should be", c.Envelope, pec.ResultVerified, ""},
		{"streamed BER", changed(func(b []byte) []byte { return streamed(b, 0) }), pec.ResultVerified, ""},
		{"ECDSA", signedBy(o.Authority.Issue(address, "ALPHA", curve, nil)), pec.ResultVerified, ""},
		{"signer not the first certificate", signedBy(&double), pec.ResultVerified, ""},
		{"RSA-PSS, by openssl", fixture("pss"), pec.ResultVerified, ""},
		{"key identifier and SHA-512, by openssl", fixture("keyid"), pec.ResultVerified, ""},
		{"without extended uses", issued(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), pec.ResultVerified, ""},
		{"bytes behind the signature", changed(func(b []byte) []byte { return append(b, 0, 0) }), pec.ResultVerified, ""},
		{"micalg of another digest", replaced(`micalg="sha-256"`, `micalg="md5"`), pec.ResultVerified, ""},
		{"no signed attributes, by openssl", fixture("noattr"), pec.ResultInvalid, "no signed attributes"},
		{"no message digest", attributes(func(a [][]byte) [][]byte { return a[:2] }), pec.ResultInvalid, "no content type or message digest"},
		{"message digest twice", attributes(func(a [][]byte) [][]byte { return append(a, a[2]) }), pec.ResultInvalid, "exactly one value"},
		{"content of another type", attributes(func(a [][]byte) [][]byte {
			b := bytes.Clone(a[0])
			b[len(b)-1]++
			return [][]byte{b, a[1], a[2]}
		}), pec.ResultInvalid, "not data"},
		{"no signing time", attributes(func(a [][]byte) [][]byte { return [][]byte{a[0], a[2]} }), pec.ResultVerified, ""},
		{"digest of the signature unknown", changed(func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("\x60\x86\x48\x01\x65\x03\x04\x02\x01"), []byte("\x60\x86\x48\x01\x65\x03\x04\x02\x09"))
		}), pec.ResultInvalid, "unknown digest algorithm"},
		{"two signers", changed(func([]byte) []byte {
			return pectest.CMS{Identity: o.Sender.Identity, Digest: crypto.SHA256, Time: pectest.Start, Twice: true}.Sign(signedPart)
		}), pec.ResultInvalid, "more than one signer"},
		{"content in the signature", changed(func([]byte) []byte {
			return pectest.CMS{Identity: o.Sender.Identity, Digest: crypto.SHA256, Time: pectest.Start, Enclose: true}.Sign(signedPart)
		}), pec.ResultInvalid, "encloses other content"},
		{"signed anew", changed(func([]byte) []byte {
			return pectest.CMS{Identity: o.Sender.Identity, Digest: crypto.SHA256, Time: pectest.Start}.Sign(signedPart)
		}), pec.ResultVerified, ""},
		{"no signature in the part", changed(func([]byte) []byte { return nil }), pec.ResultInvalid, "malformed"},
		{"signature of the greatest length", changed(func([]byte) []byte { return make([]byte, 256<<10) }), pec.ResultInvalid, "malformed"},
		{"signature over the limit", changed(func([]byte) []byte { return make([]byte, 256<<10+1) }), pec.ResultInvalid, "over 262144 bytes"},
		{"signature cut", changed(func(b []byte) []byte { return b[:len(b)/2] }), pec.ResultInvalid, "malformed"},
		{"tampered text", pectest.Tampered(c.Envelope), pec.ResultInvalid, "changed after it was signed"},
		{"tampered signature", pectest.TamperedSignature(c.Envelope), pec.ResultInvalid, "does not match the certificate"},
		{"name of another certificate", changed(func(b []byte) []byte {
			i := bytes.LastIndex(b, []byte("Autorit"))
			b = bytes.Clone(b)
			b[i] = 'B'
			return b
		}), pec.ResultIncomplete, "signer's certificate is missing"},
		{"part without signature", replaced("application/x-pkcs7-signature", "application/pgp-signature"), pec.ResultUnsigned, "not with S/MIME"},
		{"unknown authority", signedBy(pectest.NewRogue().Issue(address, "ALPHA", key, nil)), pec.ResultUntrusted, "no trusted chain"},
		{"expired", issued(func(c *x509.Certificate) { c.NotAfter = pectest.Start.Add(-time.Hour) }), pec.ResultUntrusted, "no trusted chain"},
		{"not valid yet", issued(func(c *x509.Certificate) { c.NotBefore = pectest.Start.Add(2 * time.Hour) }), pec.ResultUntrusted,
			"no trusted chain"},
		{"not for e-mail", issued(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
			pec.ResultUntrusted, "no trusted chain"},
		{"not for signatures", issued(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), pec.ResultUntrusted,
			"not for digital signatures"},
		{"no use named", issued(func(c *x509.Certificate) { c.KeyUsage = 0 }), pec.ResultUntrusted, "not for digital signatures"},
		{"an authority", issued(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), pec.ResultUntrusted,
			"that of an authority"},
		{"another address", issued(func(c *x509.Certificate) { c.EmailAddresses = []string{"mario@alpha.test"} }), pec.ResultUntrusted,
			"is not for"},
		{"no address", issued(func(c *x509.Certificate) { c.EmailAddresses = nil }), pec.ResultUntrusted, "is not for"},
		{"several addresses", issued(func(c *x509.Certificate) {
			c.EmailAddresses = []string{"x@alpha.test",
				"Posta-Certificata@Alpha.test"}
		}), pec.ResultVerified, ""},
	}
	v := verifierFor(o)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := verify(t, v, test.message)
			if s.Result != test.result || !strings.Contains(s.Reason, test.reason) || (test.reason == "") != (s.Reason == "") {
				t.Fatalf("%s: %q", s.Result, s.Reason)
			}
			if s.Result != pec.ResultVerified && s.Result != pec.ResultUntrusted {
				return
			}
			chain, err := s.Certificates()
			if err != nil || len(chain) == 0 {
				t.Fatalf("%d certificates, %v", len(chain), err)
			}
			if s.Result == pec.ResultVerified && !chain[len(chain)-1].Equal(o.Authority.Certificate) {
				t.Errorf("the chain ends in %v", chain[len(chain)-1].Subject)
			}
			if test.name == "signer not the first certificate" && !chain[0].Equal(o.Sender.Identity.Certificate) {
				t.Errorf("the signer is number %v", chain[0].SerialNumber)
			}
			if test.name != "no signing time" && s.SigningTime.IsZero() {
				t.Error("no signing time")
			}
		})
	}
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := o.Send(letter(), "")
	for name, bundle := range map[string][]*x509.Certificate{"nil": nil, "empty": {}, "another": {pectest.NewRogue().Certificate}} {
		s := verify(t, pec.NewVerifier(bundle, nil), c.Envelope)
		// The reason matters: a nil pool would mean the authorities of the machine.
		want := "no certificate is trusted"
		if name == "another" {
			want = "no trusted chain"
		}
		if s.Result != pec.ResultUntrusted || !strings.Contains(s.Reason, want) || len(s.Chain) != 1 {
			t.Errorf("%s: %s: %s, %d certificates", name, s.Result, s.Reason, len(s.Chain))
		}
	}
}

func TestSignatureWithIndex(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	c := o.Send(letter(), "")
	bundle := []*x509.Certificate{o.Authority.Certificate}
	renamed := *o.Sender
	renamed.Domain = "delta.test"
	tests := []struct {
		name, ldif string
		result     pec.Result
		reason     string
		provider   string
	}{
		{"named", string(pectest.IndexLDIF(o.Providers()...)), pec.ResultVerified, "", "ALPHA PEC S.p.A."},
		{"another provider", string(pectest.IndexLDIF(o.Receivers...)), pec.ResultUntrusted, "not in the provider index", ""},
		{"another domain", string(pectest.IndexLDIF(&renamed)), pec.ResultUntrusted, "does not manage", "ALPHA PEC S.p.A."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			index, err := pec.ParseIndex(strings.NewReader(test.ldif))
			if err != nil {
				t.Fatal(err)
			}
			s := verify(t, pec.NewVerifier(bundle, index), c.Envelope)
			if s.Result != test.result || !strings.Contains(s.Reason, test.reason) || s.Provider != test.provider {
				t.Errorf("%s: %s, provider %q", s.Result, s.Reason, s.Provider)
			}
		})
	}
}

func TestParseBundle(t *testing.T) {
	a, rogue := pectest.NewAuthority(), pectest.NewRogue()
	bundle, err := pec.ParseBundle([]byte("AgID di prova\n" + string(a.PEM()) + "# un altro\n" + string(rogue.PEM())))
	if err != nil || len(bundle) != 2 || !bundle[1].Equal(rogue.Certificate) {
		t.Errorf("%d certificates, %v", len(bundle), err)
	}
	if bundle, err := pec.ParseBundle([]byte("\ufeff" + string(a.PEM()) + string(rogue.PEM()))); err != nil || len(bundle) != 2 {
		t.Errorf("behind a byte-order mark: %d certificates, %v", len(bundle), err)
	}
	for name, text := range map[string]string{
		"empty": "", "no PEM": "x", "DER": string(a.Certificate.Raw),
		"damaged":      strings.Replace(string(a.PEM()), "MII", "MIJ", 1),
		"cut off":      string(a.PEM()) + string(rogue.PEM()[:200]),
		"one damaged":  strings.Replace(string(a.PEM()), "MII", "\x00II", 1) + string(rogue.PEM()),
		"another kind": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		if _, err := pec.ParseBundle([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// zeros is a message with a hundred megabytes between a prefix and a suffix that takes no memory.
type zeros struct {
	prefix, suffix []byte
	length         int64
}

func (z zeros) ReadAt(p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		at := offset + int64(n)
		switch end := int64(len(z.prefix)) + z.length; {
		case at < int64(len(z.prefix)):
			n += copy(p[n:], z.prefix[at:])
		case at < end:
			k := min(int64(len(p)-n), end-at)
			for i := range p[n : n+int(k)] {
				p[n+i] = 'A'
			}
			n += int(k)
		case at-end < int64(len(z.suffix)):
			n += copy(p[n:], z.suffix[at-end:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// TestSignedPartIsStreamed verifies a message of a hundred megabytes in little memory.
func TestSignedPartIsStreamed(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	h := crypto.SHA256.New()
	z := zeros{prefix: []byte("From: posta-certificata@alpha.test\r\nContent-Type: multipart/signed; boundary=b; protocol=\"application/pkcs7-signature\"\r\n\r\n--b\r\n\r\n"), length: 100 << 20}
	h.Write([]byte("\r\n")) // the empty header of the signed part
	io.Copy(h, io.NewSectionReader(zeros{length: z.length}, 0, z.length))
	signature := pectest.CMS{Identity: o.Sender.Identity, Digest: crypto.SHA256, Time: pectest.Start, Attributes: func(a [][]byte) [][]byte {
		a[2] = append(a[2][:len(a[2])-h.Size()], h.Sum(nil)...)
		return a
	}}.Sign(nil)
	z.suffix = []byte(fmt.Sprintf("\r\n--b\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n--b--\r\n", base64.StdEncoding.EncodeToString(signature)))
	// The scanner sees one byte in place of the zeros.
	table, _ := scan(append(append(bytes.Clone(z.prefix), 'A'), z.suffix...))
	for i := range table.Parts {
		p := &table.Parts[i]
		for _, offset := range []*int64{&p.Header, &p.Body, &p.End} {
			if *offset > int64(len(z.prefix)) {
				*offset += z.length - 1
			}
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := verifierFor(o).Verify(context.Background(), z, table, "posta-certificata@alpha.test", pectest.Start)
	runtime.ReadMemStats(&after)
	if err != nil || s.Result != pec.ResultVerified {
		t.Fatalf("%s: %s, %v", s.Result, s.Reason, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 2<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}
