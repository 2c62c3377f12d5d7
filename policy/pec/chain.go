package pec

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxChecks is the most certificate signatures that a chainFinder checks, the same as in crypto/x509.
const maxChecks = 100

// chainFinder looks for certificate chains (RFC 5280 6.1) that crypto/x509 does not find, because it refuses certificates signed with SHA-1.
// DigitPA CA1, which issued to PEC providers until 2015, signed with SHA-1. Everything else is checked as in crypto/x509: names, validity,
// critical extensions, authority, key usage, path length, uses nested from the authority to the signer, and name constraints. Constraints
// are read only for e-mail addresses: below an authority with constraints, a certificate with other names is refused.
type chainFinder struct {
	roots  []*x509.Certificate // trusted, self-signed or not
	others []*x509.Certificate // that came with the message
	at     time.Time
	checks int
	reason error // why the last certificate with the right name is not the issuer
}

var errNoIssuer = errors.New("the issuer's certificate is missing")

// find returns a chain from the signer to a root that has a certificate signed with SHA-1. The error says why there is none.
func (f *chainFinder) find(signer *x509.Certificate) ([]*x509.Certificate, error) {
	f.reason = errNoIssuer
	if err := f.usable(signer); err != nil {
		return nil, err
	}
	if !forEmail(signer) {
		return nil, fmt.Errorf("the certificate of %s is not for e-mail", SubjectText(signer))
	}
	chain := f.extend([]*x509.Certificate{signer})
	switch {
	case chain == nil:
		return nil, f.reason
	case !slices.ContainsFunc(chain[:len(chain)-1], func(c *x509.Certificate) bool { return usesSHA1(c.SignatureAlgorithm) }):
		return nil, errors.New("no certificate in the chain is signed with SHA-1")
	}
	return chain, nil
}

// usesSHA1 reports whether signatures of an algorithm rest on SHA-1.
func usesSHA1(a x509.SignatureAlgorithm) bool {
	return a == x509.SHA1WithRSA || a == x509.ECDSAWithSHA1
}

// extend returns the chain continued to a root, or nil.
func (f *chainFinder) extend(chain []*x509.Certificate) []*x509.Certificate {
	for i, parent := range slices.Concat(f.roots, f.others) {
		child := chain[len(chain)-1]
		if !bytes.Equal(child.RawIssuer, parent.RawSubject) || slices.ContainsFunc(chain, parent.Equal) {
			continue
		}
		if err := f.issued(parent, chain); err != nil {
			f.reason = err
			continue
		}
		longer := append(slices.Clip(chain), parent)
		if i < len(f.roots) {
			return longer
		}
		if len(longer) < maxChain {
			if found := f.extend(longer); found != nil {
				return found
			}
		}
	}
	return nil
}

// usable checks what must hold for every certificate in a chain.
func (f *chainFinder) usable(c *x509.Certificate) error {
	switch {
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("the certificate of %s has an unknown critical extension", SubjectText(c))
	case f.at.Before(c.NotBefore):
		return fmt.Errorf("the certificate of %s is valid only from %s", SubjectText(c), c.NotBefore.UTC().Format(time.RFC3339))
	case f.at.After(c.NotAfter):
		return fmt.Errorf("the certificate of %s expired on %s", SubjectText(c), c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// issued checks that the parent was allowed to issue the last certificate of a chain, and did.
func (f *chainFinder) issued(parent *x509.Certificate, chain []*x509.Certificate) error {
	if err := f.usable(parent); err != nil {
		return err
	}
	switch {
	case !parent.BasicConstraintsValid || !parent.IsCA:
		return fmt.Errorf("%s is not an authority", SubjectText(parent))
	case parent.KeyUsage != 0 && parent.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("the key of %s may not sign certificates", SubjectText(parent))
	case parent.MaxPathLen >= 0 && len(chain)-1 > parent.MaxPathLen:
		return fmt.Errorf("the path below %s is too long", SubjectText(parent))
	case !forEmail(parent):
		return fmt.Errorf("%s may not issue for e-mail", SubjectText(parent))
	}
	for _, c := range chain {
		if err := permitted(parent, c); err != nil {
			return err
		}
	}
	child := chain[len(chain)-1]
	if f.checks++; f.checks > maxChecks {
		return errors.New("too many certificates with the same name")
	}
	if err := parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature); err != nil {
		return fmt.Errorf("the certificate of %s does not bear the signature of %s: %w", SubjectText(child), SubjectText(parent), err)
	}
	return nil
}

// forEmail reports whether a certificate may serve for e-mail: it names no extended use, or that one.
func forEmail(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 || slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageEmailProtection || u == x509.ExtKeyUsageAny
	})
}

// permitted checks the names of a certificate against the constraints of an authority above it (RFC 5280 4.2.1.10).
func permitted(authority, c *x509.Certificate) error {
	a := authority
	constraints := [][]string{a.PermittedDNSDomains, a.ExcludedDNSDomains, a.PermittedURIDomains, a.ExcludedURIDomains, a.PermittedEmailAddresses,
		a.ExcludedEmailAddresses}
	constrained := len(a.PermittedIPRanges)+len(a.ExcludedIPRanges) > 0
	for _, list := range constraints {
		constrained = constrained || len(list) > 0
	}
	if !constrained {
		return nil
	}
	if len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs) > 0 {
		return fmt.Errorf("the certificate of %s has names other than e-mail addresses, which %s constrains", SubjectText(c), SubjectText(a))
	}
	addresses := slices.Clone(c.EmailAddresses)
	for _, name := range c.Subject.Names {
		if address, ok := name.Value.(string); ok && name.Type.Equal(oidEmailAddress) {
			addresses = append(addresses, address)
		}
	}
	for _, address := range addresses {
		within := func(constraint string) bool { return withinConstraint(address, constraint) }
		if slices.ContainsFunc(a.ExcludedEmailAddresses, within) ||
			len(a.PermittedEmailAddresses) > 0 && !slices.ContainsFunc(a.PermittedEmailAddresses, within) {
			return fmt.Errorf("%s may not issue for %.200q", SubjectText(a), address)
		}
	}
	return nil
}

// withinConstraint reports whether a name constraint covers an address. It names an address, a host, or, after a dot, all hosts below a domain.
func withinConstraint(address, constraint string) bool {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return false
	}
	local, host := address[:i], address[i+1:]
	if j := strings.LastIndexByte(constraint, '@'); j >= 0 {
		return local == constraint[:j] && equalFold(host, constraint[j+1:])
	}
	if strings.HasPrefix(constraint, ".") {
		return len(host) > len(constraint) && equalFold(host[len(host)-len(constraint):], constraint)
	}
	return equalFold(host, constraint)
}
