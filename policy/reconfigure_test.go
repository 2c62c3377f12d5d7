package policy

import (
	"errors"
	"testing"
)

// TestReconfigure changes the configuration during decisions; a bad one changes nothing.
func TestReconfigure(t *testing.T) {
	c := testConfig()
	p, _ := openTest(t, c, "anna@alpha.test")
	judge := func() string {
		t.Helper()
		verdicts, err := p.Judge(t.Context(), header(received), one("anna-x@alpha.test", "rfc822;anna-x@alpha.test"))
		if err != nil {
			t.Fatal(err)
		}
		return describe(verdicts[0])
	}
	nuova := mustAddress(t, "nuova@nuova.test")
	if got, want := judge(), "anna-x@alpha.test disabled"; got != want {
		t.Errorf("before: %q, want %q", got, want)
	}
	if _, err := p.Enable(t.Context(), nuova, operator()); !errors.Is(err, ErrUnknownDomain) {
		t.Errorf("enable in a domain that is not configured: %v", err)
	}
	before := p.reading(t.Context())
	next := testConfig()
	for i := range next.Domains {
		next.Domains[i].RecipientDelimiter = "-"
	}
	next.Domains = append(next.Domains, Domain{Name: "nuova.test"})
	if err := p.Reconfigure(next); err != nil {
		t.Fatal(err)
	}
	if got, want := judge(), "anna@alpha.test journal"; got != want {
		t.Errorf("with another delimiter: %q, want %q", got, want)
	}
	if before.rules.delimiter("alpha.test") != "+" {
		t.Error("a decision under way has another configuration")
	}
	if _, err := p.Enable(t.Context(), nuova, operator()); err != nil {
		t.Errorf("enable in the new domain: %v", err)
	}
	bad := testConfig()
	bad.Domains = append(bad.Domains, Domain{Name: "bad..test"})
	if err := p.Reconfigure(bad); err == nil {
		t.Error("a bad configuration was taken")
	}
	if got, want := judge(), "anna@alpha.test journal"; got != want {
		t.Errorf("after a bad configuration: %q, want %q", got, want)
	}
}
