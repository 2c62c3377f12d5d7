package setup

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"copialettere/policy"
)

// The schemas of [MS-OXDSCLI].
const (
	autodiscoverResponse = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
	outlookResponse      = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// The errors of autodiscover, by their codes.
const (
	autodiscoverUnknown = 500 // nothing is known of the address
	autodiscoverInvalid = 600 // the request cannot be read
	autodiscoverSchema  = 601 // the answer is wanted in a schema that is not spoken, such as that of ActiveSync
)

// MaxAutodiscover is the most bytes that a request of autodiscover has.
const MaxAutodiscover = 16 << 10

// maxAutodiscoverDepth is how deep the elements of a request may be nested. Requests have three levels.
const maxAutodiscoverDepth = 8

// errAutodiscover means that a request of autodiscover cannot be read.
var errAutodiscover = errors.New("not a request of autodiscover")

// autodiscoverQuery is what a request asks.
type autodiscoverQuery struct {
	address string
	schema  string // of the answer that is wanted; "" where it was not said
}

// parseAutodiscover reads a request, which comes from anybody. It takes no document type, so nothing in it can refer to anything else.
func parseAutodiscover(body []byte) (q autodiscoverQuery, err error) {
	if len(body) > MaxAutodiscover {
		return q, fmt.Errorf("%w: more than %d bytes", errAutodiscover, MaxAutodiscover)
	}
	decoder := xml.NewDecoder(bytes.NewReader(body))
	decoder.CharsetReader = nil // UTF-8 alone
	var path []string
	for {
		token, err := decoder.Token()
		if err == io.EOF && len(path) == 0 && q.address != "" {
			return q, nil
		}
		if err != nil {
			return q, fmt.Errorf("%w: %w", errAutodiscover, err)
		}
		switch token := token.(type) {
		case xml.Directive:
			return q, fmt.Errorf("%w: it has a document type", errAutodiscover)
		case xml.StartElement:
			if path = append(path, token.Name.Local); len(path) > maxAutodiscoverDepth {
				return q, fmt.Errorf("%w: nested too deep", errAutodiscover)
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			switch strings.Join(path, "/") {
			case "Autodiscover/Request/EMailAddress":
				q.address += string(token)
			case "Autodiscover/Request/AcceptableResponseSchema":
				q.schema += string(token)
			}
		}
	}
}

// The XML of an answer.
type (
	autodiscoverAnswer struct {
		XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
		Response any
	}
	outlookAnswer struct {
		XMLName xml.Name       `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
		User    outlookUser    `xml:"User"`
		Account outlookAccount `xml:"Account"`
	}
	outlookUser struct {
		DisplayName string `xml:"DisplayName"`
	}
	outlookAccount struct {
		AccountType string            `xml:"AccountType"`
		Action      string            `xml:"Action"`
		Protocol    []outlookProtocol `xml:"Protocol"`
	}
	outlookProtocol struct {
		Type           string `xml:"Type"`
		Server         string `xml:"Server"`
		Port           uint16 `xml:"Port"`
		DomainRequired string `xml:"DomainRequired"`
		LoginName      string `xml:"LoginName"`
		SPA            string `xml:"SPA"`
		SSL            string `xml:"SSL"`
		Encryption     string `xml:"Encryption"`
		AuthRequired   string `xml:"AuthRequired"`
		UsePOPAuth     string `xml:"UsePOPAuth,omitempty"`
		SMTPLast       string `xml:"SMTPLast,omitempty"`
	}
	autodiscoverFailure struct {
		XMLName xml.Name          `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Response"`
		Error   autodiscoverError `xml:"Error"`
	}
	autodiscoverError struct {
		Time      string   `xml:"Time,attr"`
		ID        string   `xml:"Id,attr"`
		ErrorCode int      `xml:"ErrorCode"`
		Message   string   `xml:"Message"`
		DebugData struct{} `xml:"DebugData"`
	}
)

// Autodiscover answers a request of autodiscover. What cannot be answered gets an answer that says so, as the specification has it. The name with
// which to sign in is the address that was asked about, whether it exists or not. ok is false for an answer that refuses.
func (g *Guide) Autodiscover(body []byte, now time.Time) (answer []byte, ok bool, err error) {
	refuse := func(code int, message string) ([]byte, bool, error) {
		answer, err := marshalXML(autodiscoverAnswer{Response: autodiscoverFailure{Error: autodiscoverError{
			Time: now.UTC().Format("15:04:05.0000000"), ID: "0", ErrorCode: code, Message: message,
		}}})
		return answer, false, err
	}
	q, err := parseAutodiscover(body)
	if err != nil {
		return refuse(autodiscoverInvalid, "Invalid Request")
	}
	if q.schema != "" && strings.TrimSpace(q.schema) != outlookResponse {
		return refuse(autodiscoverSchema, "Provider is not available")
	}
	address, err := policy.ParseAddress(strings.TrimSpace(q.address))
	var d Discovery
	if ok = err == nil; ok {
		d, ok = g.Discover(address.Domain)
	}
	if !ok {
		return refuse(autodiscoverUnknown, "The email address can't be found.")
	}
	login := address.String()
	protocol := func(s Server) outlookProtocol {
		p := outlookProtocol{
			Type: strings.ToUpper(string(s.Protocol)), Server: s.Host, Port: s.Port, DomainRequired: "off", LoginName: login, SPA: "off",
			// Old programs do not know Encryption, which comes before SSL; without SSL they might send a password in the clear.
			SSL: "on", Encryption: "SSL", AuthRequired: "on",
		}
		if s.Security == STARTTLS {
			p.Encryption = "TLS"
		}
		if s.Protocol == SMTP {
			p.UsePOPAuth, p.SMTPLast = "off", "off"
		}
		return p
	}
	outlook := outlookAnswer{User: outlookUser{login}, Account: outlookAccount{AccountType: "email", Action: "settings"}}
	for _, s := range d.Incoming {
		outlook.Account.Protocol = append(outlook.Account.Protocol, protocol(s))
	}
	if d.Outgoing != nil {
		outlook.Account.Protocol = append(outlook.Account.Protocol, protocol(*d.Outgoing))
	}
	answer, err = marshalXML(autodiscoverAnswer{Response: outlook})
	return answer, true, err
}

// AutodiscoverV2 is the answer to the question where a protocol is served, or why not.
type AutodiscoverV2 struct {
	Protocol     string `json:"Protocol,omitempty"`
	URL          string `json:"Url,omitempty"`
	ErrorCode    string `json:"ErrorCode,omitempty"`
	ErrorMessage string `json:"ErrorMessage,omitempty"`
}

// AutodiscoverWhere answers where a protocol is served. Only the XML of Autodiscover is, below the public URL. ok is false for an error.
func (g *Guide) AutodiscoverWhere(protocol string) (answer []byte, ok bool, err error) {
	v := AutodiscoverV2{ErrorCode: "InvalidProtocol", ErrorMessage: "The given protocol value is invalid. Supported values are 'AutodiscoverV1'"}
	if ok = strings.EqualFold(protocol, "AutodiscoverV1") && g.config.PublicURL != ""; ok {
		v = AutodiscoverV2{Protocol: "AutodiscoverV1", URL: g.config.PublicURL + "/autodiscover/autodiscover.xml"}
	}
	answer, err = json.Marshal(v)
	return answer, ok, err
}
