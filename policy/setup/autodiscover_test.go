package setup

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const autodiscoverRequest = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>%s</EMailAddress>
    <AcceptableResponseSchema>%s</AcceptableResponseSchema>
  </Request>
</Autodiscover>`

func TestAutodiscover(t *testing.T) {
	const response = "Autodiscover/Response"
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	protocol := func(kind, host, port, login, encryption string, more ...string) []string {
		p := response + "/Account/Protocol"
		list := []string{p, p + "/Type " + kind, p + "/Server " + host, p + "/Port " + port, p + "/DomainRequired off", p + "/LoginName " + login, p + "/SPA off",
			p + "/SSL on", p + "/Encryption " + encryption, p + "/AuthRequired on"}
		for _, one := range more {
			list = append(list, p+"/"+one)
		}
		return list
	}
	account := func(address string, protocols ...[]string) []string {
		return append([]string{
			"Autodiscover xmlns=" + autodiscoverResponse, response + " xmlns=" + outlookResponse, response + "/User", response + "/User/DisplayName " + address,
			response + "/Account", response + "/Account/AccountType email", response + "/Account/Action settings",
		}, slices.Concat(protocols...)...)
	}
	refusal := func(code int, message string) []string {
		return []string{
			"Autodiscover xmlns=" + autodiscoverResponse, response + " xmlns=" + autodiscoverResponse, response + "/Error Time=12:00:00.0000000 Id=0",
			fmt.Sprintf("%s/Error/ErrorCode %d", response, code), response + "/Error/Message " + message, response + "/Error/DebugData",
		}
	}
	smtp := []string{"UsePOPAuth off", "SMTPLast off"}
	invalid, unknown := refusal(600, "Invalid Request"), refusal(500, "The email address can't be found.")
	ask := func(address, schema string) string { return fmt.Sprintf(autodiscoverRequest, address, schema) }
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"live mailbox", ask("Mario@Alpha.test", outlookResponse), account("mario@alpha.test",
			protocol("IMAP", "imap.alpha.test", "993", "mario@alpha.test", "SSL"), protocol("POP3", "pop.alpha.test", "110", "mario@alpha.test", "TLS"),
			protocol("SMTP", "smtp.alpha.test", "587", "mario@alpha.test", "TLS", smtp...))},
		{"archive", ask("mario_alpha.test@archivio.example.org", outlookResponse), account("mario_alpha.test@archivio.example.org",
			protocol("IMAP", "archivio.example.org", "993", "mario_alpha.test@archivio.example.org", "SSL"),
			protocol("SMTP", "archivio.example.org", "465", "mario_alpha.test@archivio.example.org", "SSL", smtp...))},
		{"no outgoing server, no schema, marks", ask("&lt;a&amp;b@gamma.test&gt;", " "), nil},
		{"characters of XML", ask("a&amp;b@gamma.test", outlookResponse), account("a&b@gamma.test", protocol("POP3", "pop.gamma.test", "995", "a&b@gamma.test", "SSL"))},
		{"without a schema", strings.ReplaceAll(ask("a@gamma.test", ""), "<AcceptableResponseSchema></AcceptableResponseSchema>", ""),
			account("a@gamma.test", protocol("POP3", "pop.gamma.test", "995", "a@gamma.test", "SSL"))},
		{"unknown domain", ask("mario@omega.test", outlookResponse), unknown},
		{"no address", ask("mario", outlookResponse), unknown},
		{"ActiveSync", ask("mario@alpha.test", "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"), refusal(601, "Provider is not available")},
		{"empty address", ask("", outlookResponse), invalid},
		{"nothing", "", invalid},
		{"JSON", `{"EMailAddress":"mario@alpha.test"}`, invalid},
		{"cut off", ask("mario@alpha.test", outlookResponse)[:200], invalid},
		{"another document", "<a><Request><EMailAddress>mario@alpha.test</EMailAddress></Request></a>", invalid},
		{"a document type", `<!DOCTYPE a [<!ENTITY b "mario@alpha.test">]>` + ask("&b;", outlookResponse), invalid},
		{"an entity of its own", ask("&b;", outlookResponse), invalid},
		{"another charset", strings.Replace(ask("mario@alpha.test", outlookResponse), "utf-8", "utf-16", 1), invalid},
		{"nested deep", strings.Repeat("<a>", 1000), invalid},
		{"too large", ask(strings.Repeat("a", MaxAutodiscover), outlookResponse), invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, ok, err := example(t).Autodiscover([]byte(c.body), now)
			if err != nil {
				t.Fatal(err)
			}
			got := elements(t, text)
			if c.want == nil {
				c.want = got // only that it can be read
			}
			if !slices.Equal(got, c.want) || ok != !strings.Contains(string(text), "<Error") {
				t.Errorf("ok=%v\n%s\nwant\n%s", ok, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestAutodiscoverWhere(t *testing.T) {
	for _, c := range []struct {
		protocol string
		want     AutodiscoverV2
	}{
		{"AutodiscoverV1", AutodiscoverV2{Protocol: "AutodiscoverV1", URL: "https://web.example.org:8443/autodiscover/autodiscover.xml"}},
		{"Autodiscoverv1", AutodiscoverV2{Protocol: "AutodiscoverV1", URL: "https://web.example.org:8443/autodiscover/autodiscover.xml"}},
		{"ActiveSync", AutodiscoverV2{ErrorCode: "InvalidProtocol", ErrorMessage: "The given protocol value is invalid. Supported values are 'AutodiscoverV1'"}},
		{"", AutodiscoverV2{ErrorCode: "InvalidProtocol", ErrorMessage: "The given protocol value is invalid. Supported values are 'AutodiscoverV1'"}},
	} {
		text, ok, err := example(t).AutodiscoverWhere(c.protocol)
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		var got AutodiscoverV2
		if err == nil {
			err = decoder.Decode(&got)
		}
		if err != nil || got != c.want || ok != (got.URL != "") {
			t.Errorf("%q: %s, %v, %v", c.protocol, text, ok, err)
		}
	}
}

// FuzzAutodiscover answers requests of anybody. Every answer is well-formed, and what is taken from the request comes out as it went in.
func FuzzAutodiscover(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(autodiscoverRequest, "mario@alpha.test", outlookResponse)))
	f.Add([]byte(fmt.Sprintf(autodiscoverRequest, "a&amp;b@gamma.test", "")))
	f.Add([]byte(fmt.Sprintf(autodiscoverRequest, `&#x22;a]]&gt;&#x22;@gamma.test`, outlookResponse)))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "&c;&c;"><!ENTITY c "x">]><Autodiscover><Request><EMailAddress>&b;</EMailAddress></Request></Autodiscover>`))
	f.Add([]byte("<Autodiscover><Request><EMailAddress>a@gamma.test</EMailAddress><EMailAddress>b@gamma.test</EMailAddress></Request></Autodiscover>"))
	g := NewGuide(Config{Domains: map[string]Domain{"gamma.test": {Mailbox: Servers{POP3: Endpoint{"pop.gamma.test", 995, TLS}}}}})
	f.Fuzz(func(t *testing.T, body []byte) {
		text, ok, err := g.Autodiscover(body, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			XMLName  xml.Name
			Response struct {
				Account struct {
					Protocol []struct{ Server, LoginName string }
				}
				Error *struct{ ErrorCode int }
			}
		}
		if err := xml.Unmarshal(text, &answer); err != nil || answer.XMLName.Local != "Autodiscover" {
			t.Fatalf("%v:\n%s", err, text)
		}
		if ok == (answer.Response.Error != nil) {
			t.Fatalf("ok=%v:\n%s", ok, text)
		}
		if ok {
			p := answer.Response.Account.Protocol
			if len(p) != 1 || p[0].Server != "pop.gamma.test" || !strings.HasSuffix(p[0].LoginName, "@gamma.test") {
				t.Fatalf("%s", text)
			}
		}
	})
}
