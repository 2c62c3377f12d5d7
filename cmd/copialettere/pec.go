package main

import (
	"crypto/x509"
	"fmt"
	"os"

	"copialettere/cmd/copialettere/config"
	"copialettere/policy/pec"
)

// pecFiles is what the files that [pec] names hold. What is not named is nil.
type pecFiles struct {
	domains map[string]bool // certified or known not to be, by canonical domain
	index   *pec.Index
	bundle  []*x509.Certificate
}

// readPEC reads the files that [pec] names.
func readPEC(c config.PEC) (*pecFiles, error) {
	f := new(pecFiles)
	for _, read := range []func(config.PEC) (string, error){f.readDomains, f.readIndex, f.readBundle} {
		if _, err := read(c); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// readDomains reads the list of domains, and says what was read, "" where none is named; as do the others.
func (f *pecFiles) readDomains(c config.PEC) (detail string, err error) {
	if c.DomainsFile == "" {
		return "", nil
	}
	if f.domains, err = config.LoadDomains(c.DomainsFile); err != nil {
		return "", err
	}
	certified := 0
	for _, is := range f.domains {
		if is {
			certified++
		}
	}
	return fmt.Sprintf("%s, %d domains, %d of them certified", c.DomainsFile, len(f.domains), certified), nil
}

func (f *pecFiles) readIndex(c config.PEC) (detail string, err error) {
	if c.ProviderIndex == "" {
		return "", nil
	}
	file, err := os.Open(c.ProviderIndex)
	if err != nil {
		return "", fmt.Errorf("provider index: %w", err)
	}
	defer file.Close()
	if f.index, err = pec.ParseIndex(file); err != nil {
		return "", fmt.Errorf("%s: %w", c.ProviderIndex, err)
	}
	providers, domains := f.index.Len()
	return fmt.Sprintf("%s, %d providers, %d domains", c.ProviderIndex, providers, domains), nil
}

func (f *pecFiles) readBundle(c config.PEC) (detail string, err error) {
	if c.TrustBundle == "" {
		return "", nil
	}
	text, err := os.ReadFile(c.TrustBundle)
	if err != nil {
		return "", fmt.Errorf("trust bundle: %w", err)
	}
	if f.bundle, err = pec.ParseBundle(text); err != nil {
		return "", fmt.Errorf("trust bundle: %s: %w", c.TrustBundle, err)
	}
	return fmt.Sprintf("%s, %d certificates", c.TrustBundle, len(f.bundle)), nil
}

// certified says of a canonical domain whether it is certified, and whether that is known. The list of domains is the operator's own word
// and counts before the index. An index without the domain says nothing: the copy may be old.
func (f *pecFiles) certified(domain string) (certified, known bool) {
	if certified, known = f.domains[domain]; known {
		return certified, known
	}
	certified = f.index.Certified(domain)
	return certified, certified
}
