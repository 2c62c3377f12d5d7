package setup

import (
	"encoding/xml"
	"strings"
)

// The XML of autoconfig, version 1.1. Thunderbird takes the first server of each kind that it can use.
type (
	clientConfig struct {
		XMLName  xml.Name      `xml:"clientConfig"`
		Version  string        `xml:"version,attr"`
		Provider emailProvider `xml:"emailProvider"`
	}
	emailProvider struct {
		ID               string             `xml:"id,attr"`
		Domain           string             `xml:"domain"`
		DisplayName      string             `xml:"displayName"`
		DisplayShortName string             `xml:"displayShortName"`
		Incoming         []autoconfigServer `xml:"incomingServer"`
		Outgoing         []autoconfigServer `xml:"outgoingServer"`
	}
	autoconfigServer struct {
		Type           Protocol `xml:"type,attr"`
		Hostname       string   `xml:"hostname"`
		Port           uint16   `xml:"port"`
		SocketType     string   `xml:"socketType"`
		Username       string   `xml:"username"`
		Authentication string   `xml:"authentication"`
	}
)

// Autoconfig returns config-v1.1.xml of a domain. The program puts the address that was typed in place of %EMAILADDRESS%.
func (d Discovery) Autoconfig() ([]byte, error) {
	server := func(s Server) autoconfigServer {
		kind := "SSL"
		if s.Security == STARTTLS {
			kind = "STARTTLS"
		}
		return autoconfigServer{s.Protocol, s.Host, s.Port, kind, "%EMAILADDRESS%", "password-cleartext"}
	}
	name := d.Domain
	if d.Account == AccountArchive {
		name = d.Account.label().Italian + " " + name
	}
	c := clientConfig{Version: "1.1", Provider: emailProvider{ID: d.Domain, Domain: d.Domain, DisplayName: name, DisplayShortName: d.Domain}}
	for _, s := range d.Incoming {
		c.Provider.Incoming = append(c.Provider.Incoming, server(s))
	}
	if d.Outgoing != nil {
		c.Provider.Outgoing = append(c.Provider.Outgoing, server(*d.Outgoing))
	}
	return marshalXML(c)
}

// marshalXML returns an XML document.
func marshalXML(v any) ([]byte, error) {
	b, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

// DomainOf returns the domain of what was typed as an address: all after the last @. It returns false where there is none.
func DomainOf(address string) (string, bool) {
	i := strings.LastIndexByte(address, '@')
	return address[i+1:], i >= 0 && i+1 < len(address)
}
