package setup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestRecords reads the records as a zone file, as a name server does.
func TestRecords(t *testing.T) {
	const none = "SRV 0 0 0 ."
	for _, c := range []struct {
		domain string
		want   []string
	}{
		{"alpha.test", []string{
			"_imaps._tcp.alpha.test. SRV 0 1 993 imap.alpha.test.", "_imap._tcp.alpha.test. " + none,
			"_pop3s._tcp.alpha.test. " + none, "_pop3._tcp.alpha.test. SRV 10 1 110 pop.alpha.test.",
			"_submissions._tcp.alpha.test. " + none, "_submission._tcp.alpha.test. SRV 0 1 587 smtp.alpha.test.",
			"autoconfig.alpha.test. CNAME web.example.org.", "autodiscover.alpha.test. CNAME web.example.org.",
			"_autodiscover._tcp.alpha.test. SRV 0 1 8443 web.example.org.",
		}},
		{"archivio.example.org", []string{
			"_imaps._tcp.archivio.example.org. SRV 0 1 993 archivio.example.org.", "_imap._tcp.archivio.example.org. " + none,
			"_pop3s._tcp.archivio.example.org. " + none, "_pop3._tcp.archivio.example.org. " + none,
			"_submissions._tcp.archivio.example.org. SRV 0 1 465 archivio.example.org.", "_submission._tcp.archivio.example.org. " + none,
			"autoconfig.archivio.example.org. CNAME web.example.org.", "autodiscover.archivio.example.org. CNAME web.example.org.",
			"_autodiscover._tcp.archivio.example.org. SRV 0 1 8443 web.example.org.",
		}},
	} {
		records, err := example(t).Records(c.domain)
		if err != nil {
			t.Fatal(err)
		}
		var zone strings.Builder
		for _, r := range records {
			zone.WriteString(r.String() + " ; " + r.About + "\n")
		}
		parser := dns.NewZoneParser(strings.NewReader(zone.String()), "", "")
		var got []string
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			if h := rr.Header(); h.Ttl != recordTTL || h.Class != dns.ClassINET {
				t.Errorf("%s", rr)
			}
			fields := strings.Fields(rr.String())
			got = append(got, fields[0]+" "+strings.Join(fields[3:], " "))
		}
		if err := parser.Err(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.domain, err, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// TestRecordsOfPublicURL has the records that lead to the listener for browsers, by its URL.
func TestRecordsOfPublicURL(t *testing.T) {
	for _, c := range []struct {
		url, domain string
		want        []string
	}{
		{"", "gamma.test", nil},
		{"http://127.0.0.1:8080", "gamma.test", nil},
		{"https://[::1]", "gamma.test", nil},
		{"https://gamma.test", "gamma.test", []string{"autoconfig.gamma.test. CNAME gamma.test.", "autodiscover.gamma.test. CNAME gamma.test.",
			"_autodiscover._tcp.gamma.test. SRV 0 1 443 gamma.test."}},
		{"https://autoconfig.gamma.test", "gamma.test", []string{"autodiscover.gamma.test. CNAME autoconfig.gamma.test.",
			"_autodiscover._tcp.gamma.test. SRV 0 1 443 autoconfig.gamma.test."}},
	} {
		config := example(t).config
		config.PublicURL = c.url
		records, err := NewGuide(config).Records(c.domain)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range records[6:] {
			got = append(got, r.Name+" "+r.Type+" "+r.Data)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q", c.url, got)
		}
	}
	if _, err := example(t).Records("omega.test"); !errors.Is(err, ErrNotOffered) {
		t.Errorf("unknown domain: %v", err)
	}
}
