package pectest

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// Shape is how a provider builds its messages, where the rules leave a choice.
type Shape struct {
	Name             string
	Preamble         bool   // text before the first part
	Binary           bool   // Content-Transfer-Encoding: binary on the multiparts
	HTML             bool   // the text comes as plain text and HTML alternatives
	PostacertFirst   bool   // postacert.eml comes before daticert.xml
	Disposition      string // Content-Disposition of both
	CertificateType  string // of daticert.xml, without its name
	CertificateName  string // of daticert.xml, as written
	CertificateBase  bool   // daticert.xml in base64, else in quoted-printable
	PostacertNoCode  bool   // no Content-Transfer-Encoding on postacert.eml
	Protocol         string // media type of the signature
	Digests          map[crypto.Hash]string
	MicalgFolded     bool                // micalg on a line of its own, unquoted
	FieldName        func(string) string // spells a field name
	Extra            []string            // further fields
	ExtraPart        string              // a further part, last in the signed multipart
	identifierFormat string
}

func asIs(name string) string { return name }

var undashed = map[crypto.Hash]string{crypto.SHA1: "sha1", crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}
var dashed = map[crypto.Hash]string{crypto.SHA1: "sha-1", crypto.SHA256: "sha-256", crypto.SHA384: "sha-384", crypto.SHA512: "sha-512"}

// Shapes returns the forms seen at real providers (Aruba, Legalmail, Namirial), and odd, which strays as far from them as a reader must
// tolerate.
func Shapes() []Shape {
	const opec = "opec288.%s.%05d.310.1.63@%s"
	return []Shape{
		{Name: "aruba", Preamble: true, Binary: true, HTML: true, Disposition: "inline", CertificateType: "application/xml",
			CertificateName: `"daticert.xml"`, CertificateBase: true, Protocol: "application/x-pkcs7-signature", Digests: dashed,
			FieldName:        asIs,
			identifierFormat: opec},
		{Name: "legalmail", PostacertFirst: true, Disposition: "attachment", CertificateType: "application/xml; charset=UTF-8",
			CertificateName: `"daticert.xml"`, PostacertNoCode: true, Protocol: "application/pkcs7-signature", Digests: dashed,
			MicalgFolded: true,
			FieldName:    asIs, Extra: []string{"X-SentBy: PEC di prova", "X-Priority: 3"},
			identifierFormat: "50F138F4.%s.%08X.4CC725E8.posta-certificata@%s"},
		{Name: "namirial", Preamble: true, Binary: true, Disposition: "inline", CertificateType: "application/xml",
			CertificateName: "daticert.xml", CertificateBase: true, Protocol: "application/x-pkcs7-signature", Digests: undashed,
			FieldName: func(name string) string { return strings.Replace(name, "X-TipoRicevuta", "X-Tiporicevuta", 1) },
			Extra:     []string{"X-Namirial-Details: prova", "X-Fattura-PA: no"}, identifierFormat: opec},
		{Name: "odd", PostacertFirst: true, Disposition: "ATTACHMENT", CertificateType: "text/xml; charset=\"utf-8\"",
			CertificateName: `"=?ISO-8859-1?Q?DatiCert=2Exml?="`, Protocol: "application/pkcs7-signature", Digests: undashed, MicalgFolded: true,
			FieldName: strings.ToUpper, Extra: []string{"DKIM-Signature: v=1; a=rsa-sha256; d=alpha.test;\r\n\ts=prova; b=AAAA"},
			ExtraPart:        "Content-Type: application/pdf; name=\"informativa.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK",
			identifierFormat: "%s-%d@%s"},
	}
}

// ShapeOf returns a shape by its name: aruba, legalmail, namirial or odd. It panics on any other.
func ShapeOf(name string) Shape {
	for _, s := range Shapes() {
		if s.Name == name {
			return s
		}
	}
	panic("no shape " + name)
}

// Provider is a PEC provider of one domain.
type Provider struct {
	Name     string
	Domain   string
	Shape    Shape
	Digest   crypto.Hash
	Identity *Identity // its certificate is for Address
	// Letter, if not nil, puts the text for people into the words that the provider always uses, as plain text and as HTML. It has the characters of Latin-1.
	Letter func(text string) (plain, html string)
	// Boundary, if not nil, makes of the usual boundary of a multipart the one of this message.
	Boundary func(usual string) string

	issued int // ids given out
}

// Address returns the address that the provider sends from.
func (p *Provider) Address() string { return "posta-certificata@" + p.Domain }

// identifier returns a new id, without angle brackets.
func (p *Provider) identifier(at time.Time) string {
	p.issued++
	return fmt.Sprintf(p.Shape.identifierFormat, at.Format("20060102150405"), p.issued, p.Domain)
}

// Variation says how a message differs from what a provider would send. The zero value changes nothing.
type Variation struct {
	Digest       crypto.Hash             // of the signature; 0 for the provider's
	Identity     *Identity               // that signs; nil for the provider's
	Certificate  func(string) string     // changes daticert.xml; "" leaves the part out
	Header       func([]string) []string // changes the fields, without MIME fields
	Unsigned     bool                    // no signature: just the multipart/mixed
	Bare         bool                    // leave the signer's certificate out of the signature
	Opaque       bool                    // the signature encloses the parts (application/pkcs7-mime)
	HashEncoded  bool                    // a brief receipt hashes encoded bodies
	HashWrong    bool                    // a brief receipt hashes something else
	Attributes   func([][]byte) [][]byte // changes the signed attributes
	PostacertEnc bool                    // postacert.eml in base64, which the rules forbid
}

// content is what goes into a provider's message.
type content struct {
	header      []string // without MIME fields
	text        string   // for people, in Latin characters
	certificate string   // daticert.xml, "" for none
	postacert   []byte   // nil for none
	at          time.Time
}

// message builds and signs a message.
func (p *Provider) message(c content, v Variation) []byte {
	if v.Header != nil {
		c.header = v.Header(c.header)
	}
	if v.Certificate != nil && c.certificate != "" {
		c.certificate = v.Certificate(c.certificate)
	}
	var b bytes.Buffer
	for _, line := range append(c.header, p.Shape.Extra...) {
		name, rest, ok := strings.Cut(line, ":")
		if ok {
			line = p.Shape.FieldName(name) + ":" + rest
		}
		b.WriteString(line + "\r\n")
	}
	b.WriteString("MIME-Version: 1.0\r\n")
	signed := p.mixed(c, v)
	switch {
	case v.Unsigned:
		b.Write(signed)
	case v.Opaque:
		b.WriteString("Content-Type: application/pkcs7-mime; smime-type=signed-data; name=\"smime.p7m\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			crlf(foldBase64(p.sign(signed, c.at, v), "")) + "\r\n")
	default:
		p.signed(&b, signed, c.at, v)
	}
	return b.Bytes()
}

// sign returns the signature over a part.
func (p *Provider) sign(part []byte, at time.Time, v Variation) []byte {
	s := CMS{Identity: p.Identity, Digest: p.Digest, Time: at, Enclose: v.Opaque, Bare: v.Bare, Attributes: v.Attributes}
	if v.Identity != nil {
		s.Identity = v.Identity
	}
	if v.Digest != 0 {
		s.Digest = v.Digest
	}
	return s.Sign(part)
}

// signed writes a multipart/signed, beginning with its Content-Type.
func (p *Provider) signed(b *bytes.Buffer, part []byte, at time.Time, v Variation) {
	boundary := p.boundary("----3F1A5C7E9B2D4F60")
	digest := p.Digest
	if v.Digest != 0 {
		digest = v.Digest
	}
	fmt.Fprintf(b, "Content-Type: multipart/signed; protocol=%q;", p.Shape.Protocol)
	if p.Shape.MicalgFolded {
		fmt.Fprintf(b, "\r\n\tmicalg=%s;\r\n\tboundary=%q\r\n", p.Shape.Digests[digest], boundary)
	} else {
		fmt.Fprintf(b, " micalg=%q; boundary=%q\r\n", p.Shape.Digests[digest], boundary)
	}
	if p.Shape.Binary {
		b.WriteString("Content-Transfer-Encoding: binary\r\n")
	}
	b.WriteString("\r\n")
	if p.Shape.Preamble {
		b.WriteString("This is an S/MIME signed message\r\n\r\n")
	}
	b.WriteString("--" + boundary + "\r\n")
	b.Write(part)
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Type: %s; name=\"smime.p7s\"\r\nContent-Transfer-Encoding: base64\r\n"+
		"Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n%s\r\n--%s--\r\n\r\n",
		boundary, p.Shape.Protocol, crlf(foldBase64(p.sign(part, at, v), "")), boundary)
}

// mixed returns the multipart/mixed to sign, with its header.
func (p *Provider) mixed(c content, v Variation) []byte {
	boundary := p.boundary("----=_Part_PEC_1")
	var b bytes.Buffer
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%q\r\n", boundary)
	if p.Shape.Binary {
		b.WriteString("Content-Transfer-Encoding: binary\r\n")
	}
	b.WriteString("\r\n--" + boundary + "\r\n")
	p.text(&b, c.text)
	certificate := func() {
		if c.certificate != "" {
			b.WriteString("\r\n--" + boundary + "\r\n")
			p.certificate(&b, c.certificate)
		}
	}
	if !p.Shape.PostacertFirst {
		certificate()
	}
	if c.postacert != nil {
		b.WriteString("\r\n--" + boundary + "\r\n")
		p.postacert(&b, c.postacert, v.PostacertEnc)
	}
	if p.Shape.PostacertFirst {
		certificate()
	}
	if p.Shape.ExtraPart != "" {
		b.WriteString("\r\n--" + boundary + "\r\n" + p.Shape.ExtraPart)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes()
}

// text writes the part for people.
func (p *Provider) text(b *bytes.Buffer, text string) {
	plain := latin(text)
	html := "<html><body><p>" + plain + "</p></body></html>"
	if p.Letter != nil {
		plain, html = p.Letter(text)
		plain, html = latin(plain), latin(html)
	}
	const header = "; charset=ISO-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
	if !p.Shape.HTML {
		b.WriteString("Content-Type: text/plain" + header + plain)
		return
	}
	boundary := p.boundary("----=_Part_PEC_2")
	fmt.Fprintf(b, "Content-Type: multipart/alternative; boundary=%q\r\n\r\n--%s\r\nContent-Type: text/plain%s%s\r\n--%s\r\n"+
		"Content-Type: text/html%s%s\r\n--%s--\r\n", boundary, boundary, header, plain, boundary, header, html, boundary)
}

// latin encodes text of Latin-1 in it, and that in quoted-printable.
func latin(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteByte(byte(r))
	}
	return crlf(quote(b.String()))
}

func (p *Provider) boundary(usual string) string {
	if p.Boundary == nil {
		return usual
	}
	return p.Boundary(usual)
}

// certificate writes the part daticert.xml.
func (p *Provider) certificate(b *bytes.Buffer, text string) {
	fmt.Fprintf(b, "Content-Type: %s; name=%s\r\n", p.Shape.CertificateType, p.Shape.CertificateName)
	body, encoding := crlf(quote(text)), "quoted-printable"
	if p.Shape.CertificateBase {
		body, encoding = crlf(foldBase64([]byte(text), "")), "base64"
	}
	fmt.Fprintf(b, "Content-Transfer-Encoding: %s\r\nContent-Disposition: %s; filename=%s\r\n\r\n%s", encoding, p.Shape.Disposition,
		p.Shape.CertificateName, body)
}

// postacert writes the part postacert.eml.
func (p *Provider) postacert(b *bytes.Buffer, message []byte, encoded bool) {
	b.WriteString("Content-Type: message/rfc822; name=\"postacert.eml\"\r\n")
	switch {
	case encoded:
		b.WriteString("Content-Transfer-Encoding: base64\r\n")
		message = []byte(crlf(foldBase64(message, "")))
	case !p.Shape.PostacertNoCode:
		b.WriteString("Content-Transfer-Encoding: 7bit\r\n")
	}
	fmt.Fprintf(b, "Content-Disposition: %s; filename=\"postacert.eml\"\r\n\r\n", p.Shape.Disposition)
	b.Write(message)
}

// LF returns a message with LF line ends.
func LF(message []byte) []byte { return bytes.ReplaceAll(message, []byte("\r\n"), []byte("\n")) }

// Unclosed returns a message cut off before the delimiter that closes its outermost multipart.
func Unclosed(message []byte) []byte {
	return bytes.TrimRight(message[:bytes.LastIndex(message, []byte("\r\n--"))], "\r\n")
}

// Tampered returns a message with one character changed in its text for people, which is in the signed part.
func Tampered(message []byte) []byte {
	i := bytes.Index(message, []byte("charset=ISO-8859-1"))
	i += bytes.Index(message[i:], []byte("\r\n\r\n")) + len("\r\n\r\n")
	changed := bytes.Clone(message)
	changed[i] ^= 1
	return changed
}

// TamperedSignature returns a message with one bit changed in the last byte of its signature value.
func TamperedSignature(message []byte) []byte {
	mark := []byte("filename=\"smime.p7s\"\r\n\r\n")
	from := bytes.LastIndex(message, mark) + len(mark)
	to := from + bytes.Index(message[from:], []byte("\r\n--"))
	der, err := base64.StdEncoding.DecodeString(string(bytes.ReplaceAll(message[from:to], []byte("\r\n"), nil)))
	if err != nil {
		panic(err)
	}
	der[len(der)-1] ^= 1
	return append(append(bytes.Clone(message[:from]), crlf(foldBase64(der, ""))...), message[to:]...)
}
