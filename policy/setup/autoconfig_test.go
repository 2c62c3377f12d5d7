package setup

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
)

// elements returns an XML document as a list of its elements in their order: "path attr=value ... text".
func elements(t *testing.T, document []byte) (list []string) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(document))
	var path []string
	var text, start string
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if start != "" {
				list = append(list, start)
			}
			path = append(path, token.Name.Local)
			start, text = strings.Join(path, "/"), ""
			for _, a := range token.Attr {
				start += " " + a.Name.Local + "=" + a.Value
			}
		case xml.CharData:
			text += string(token)
		case xml.EndElement:
			if start != "" {
				list = append(list, strings.TrimSpace(start+" "+strings.TrimSpace(text)))
			}
			start, path = "", path[:len(path)-1]
		}
	}
}

func TestAutoconfig(t *testing.T) {
	const provider = "clientConfig/emailProvider"
	server := func(direction, kind, host, port, socket string) []string {
		p := provider + "/" + direction
		return []string{p + " type=" + kind, p + "/hostname " + host, p + "/port " + port, p + "/socketType " + socket, p + "/username %EMAILADDRESS%",
			p + "/authentication password-cleartext"}
	}
	for _, c := range []struct {
		domain, display string
		servers         [][]string
	}{
		{"alpha.test", "alpha.test", [][]string{
			server("incomingServer", "imap", "imap.alpha.test", "993", "SSL"), server("incomingServer", "pop3", "pop.alpha.test", "110", "STARTTLS"),
			server("outgoingServer", "smtp", "smtp.alpha.test", "587", "STARTTLS"),
		}},
		{"archivio.example.org", "Archivio di sicurezza archivio.example.org", [][]string{
			server("incomingServer", "imap", "archivio.example.org", "993", "SSL"), server("outgoingServer", "smtp", "archivio.example.org", "465", "SSL"),
		}},
		{"gamma.test", "gamma.test", [][]string{server("incomingServer", "pop3", "pop.gamma.test", "995", "SSL")}},
		{"xn--citt-3na.test", "xn--citt-3na.test", [][]string{server("incomingServer", "imap", "imap.xn--citt-3na.test", "993", "SSL")}},
	} {
		d, _ := example(t).Discover(c.domain)
		text, err := d.Autoconfig()
		if err != nil {
			t.Fatal(err)
		}
		want := append([]string{"clientConfig version=1.1", provider + " id=" + c.domain, provider + "/domain " + c.domain, provider + "/displayName " + c.display,
			provider + "/displayShortName " + c.domain}, slices.Concat(c.servers...)...)
		if got := elements(t, text); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.domain, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestDomainOf(t *testing.T) {
	for in, want := range map[string]string{"mario@alpha.test": "alpha.test", "@alpha.test": "alpha.test", `"a@b"@alpha.test`: "alpha.test", "mario": "", "mario@": "", "": ""} {
		if got, ok := DomainOf(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
}

// FuzzDiscover asks about domains of anybody, which come from an address or the name of the host that was asked. What is known of them is well-formed.
func FuzzDiscover(f *testing.F) {
	for _, domain := range []string{"alpha.test", "gamma.test", "GAMMA.test.", "archivio.example.org", "xn--gamma-.test", "<a>", "a b", "\x00", "", "[::1]"} {
		f.Add(domain)
	}
	g := NewGuide(Config{PublicURL: "https://web.example.org", Domains: map[string]Domain{
		"gamma.test": {Mailbox: Servers{POP3: Endpoint{"pop.gamma.test", 995, TLS}}, ArchiveHost: "archivio.example.org"},
	}})
	f.Fuzz(func(t *testing.T, domain string) {
		d, ok := g.Discover(domain)
		if !ok {
			return
		}
		if d.Domain != "gamma.test" {
			t.Fatalf("%q is known as %q", domain, d.Domain)
		}
		text, err := d.Autoconfig()
		if err != nil {
			t.Fatal(err)
		}
		elements(t, text)
		if records, err := g.Records(domain); err != nil || len(records) != 9 {
			t.Fatalf("%d records, %v", len(records), err)
		}
	})
}
