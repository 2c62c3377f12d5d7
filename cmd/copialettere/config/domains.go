package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"copialettere/policy"
)

const (
	// maxDomains is the largest list of domains in bytes. All existing PEC domains take about five megabytes.
	maxDomains = 64 << 20
	// maxDomainErrors is how many errors of a list of domains are reported.
	maxDomainErrors = 20
)

// LoadDomains reads the list of domains of pec.domains_file. The result says for each domain whether its mailboxes are certified; its keys are in
// the canonical form of package policy. The error is of type Errors unless the file cannot be read.
//
// Each line has one domain, in Unicode or in ASCII ("xn--"). A ! before it says that its mailboxes are not certified. A comment begins with #.
// Case does not matter. A domain does not stand for its subdomains.
func LoadDomains(path string) (map[string]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the list of domains: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDomains+1))
	if err != nil {
		return nil, fmt.Errorf("reading the list of domains: %w", err)
	}
	if len(text) > maxDomains {
		return nil, fmt.Errorf("reading the list of domains: %s is larger than %s", path, formatSize(maxDomains))
	}
	return parseDomains(path, string(text))
}

func parseDomains(file, text string) (map[string]bool, error) {
	r := &reader{file: file}
	domains, lines := make(map[string]bool), make(map[string]int)
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		line, _, _ = strings.Cut(line, "#")
		name, other := strings.CutPrefix(strings.TrimSpace(line), "!")
		if name = strings.TrimSpace(name); name == "" && !other {
			continue
		}
		domain, f := canonicalDomain(name)
		if first := lines[domain]; f == nil && first > 0 && domains[domain] == other {
			f = faultf("remove one of the two", "%s is certified in one line and not in another, line %d", quote(name), first)
		}
		if f != nil {
			r.fail(number, "", f)
			if len(r.errors) == maxDomainErrors {
				break
			}
			continue
		}
		if lines[domain] == 0 {
			lines[domain] = number
		}
		domains[domain] = !other
	}
	if len(r.errors) == 0 && len(domains) == 0 {
		r.fail(0, "", faultf("write one domain on a line", "there is not a domain in it"))
	}
	if len(r.errors) > 0 {
		return nil, r.errors
	}
	return domains, nil
}

// canonicalDomain reads a domain in either form, and returns the form of package policy.
func canonicalDomain(s string) (string, *fault) {
	// A character beyond ASCII may stand wherever a letter may.
	ascii := strings.Map(func(r rune) rune {
		if r > 0x7f {
			return 'x'
		}
		return r
	}, s)
	domain, err := policy.CanonicalDomain(s)
	if isDomain(ascii) && err == nil {
		return domain, nil
	}
	if _, f := parseDomain(s); f != nil && ascii == s {
		return "", f
	}
	return "", faultf(`write a domain such as "alpha.test"`, "%s is not a domain", quote(s))
}
