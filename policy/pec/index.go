package pec

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"copialettere/policy"
)

// Index is the index of PEC providers (IGPEC, RFC 6109 4.5): the certificates that each one signs with, and the domains that it manages. It is
// immutable, so methods may be called concurrently. A nil Index holds nothing.
type Index struct {
	providers []Provider
	hashes    map[string][]int32 // certificate hash: the records that name it
	domains   map[string][]int32 // domain: the records that manage it
}

// Provider is one record of the index: a provider, or a secondary environment of one.
type Provider struct {
	Name    string // providerName
	Unit    string // providerUnit, "" for the main environment
	Mailbox string // mailReceipt: where it takes receipts from other providers
}

// ParseIndex reads the index as providers get it: LDIF, bare or enclosed in a DER or BER PKCS #7 (.p7m). Such a seal must be intact, but
// anybody's will do: the file comes from the operator. A file over 64 MiB, or without a provider, is an error. No URL in it is followed.
func ParseIndex(r io.Reader) (*Index, error) {
	text := bufio.NewReader(io.LimitReader(r, maxLDIF+1))
	size := &countingReader{from: text}
	lines := io.Reader(size)
	if first, err := text.Peek(1); err == nil && first[0] == tagSequence {
		sealed, err := io.ReadAll(size)
		if err != nil {
			return nil, fmt.Errorf("provider index: %w", err)
		}
		content, err := unseal(sealed)
		if err != nil {
			return nil, fmt.Errorf("provider index: PKCS #7: %w", err)
		}
		lines = bytes.NewReader(content)
	}
	x := &Index{hashes: make(map[string][]int32), domains: make(map[string][]int32)}
	l := newLDIFReader(lines)
	for {
		record, err := l.record()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("provider index: %w", err)
		}
		x.add(record)
	}
	switch {
	case size.n > maxLDIF:
		return nil, fmt.Errorf("provider index: over %d bytes", maxLDIF)
	case len(x.providers) == 0:
		return nil, errors.New("provider index: no provider in it")
	}
	return x, nil
}

// countingReader counts the bytes read.
type countingReader struct {
	from io.Reader
	n    int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += int64(n)
	return n, err
}

// unseal checks the signature of a PKCS #7 and returns its content.
func unseal(sealed []byte) ([]byte, error) {
	data, err := parseSignedData(sealed)
	if err != nil {
		return nil, err
	}
	if data.content == nil {
		return nil, errors.New("nothing is enclosed")
	}
	if _, err := data.signer(); err != nil {
		return nil, err
	}
	h := data.digest.New()
	h.Write(data.content)
	if !bytes.Equal(h.Sum(nil), data.messageDigest) {
		return nil, errors.New("the content was changed after it was signed")
	}
	return data.content, nil
}

// add adds a record. It skips records that are not of a provider, such as the base.
func (x *Index) add(record []ldifAttribute) {
	var p Provider
	var hashes, domains []string
	for _, a := range record {
		value := strings.TrimSpace(string(a.value))
		switch a.name {
		case "providername":
			p.Name = clip(value)
		case "providerunit":
			p.Unit = clip(value)
		case "mailreceipt":
			p.Mailbox = clip(value)
		case "providercertificatehash":
			hashes = append(hashes, hashKey(value))
		case "providercertificate":
			if c, err := x509.ParseCertificate(a.value); err == nil {
				hash := sha1.Sum(c.Raw)
				hashes = append(hashes, hex.EncodeToString(hash[:]))
			}
		case "manageddomains":
			domains = append(domains, domainKey(value))
		}
	}
	if p.Name == "" || len(hashes) == 0 && len(domains) == 0 {
		return
	}
	n := int32(len(x.providers))
	x.providers = append(x.providers, p)
	for _, hash := range hashes {
		if len(hash) == 2*crypto.SHA1.Size() && !slices.Contains(x.hashes[hash], n) {
			x.hashes[hash] = append(x.hashes[hash], n)
		}
	}
	for _, domain := range domains {
		if list := x.domains[domain]; domain != "" && (len(list) == 0 || list[len(list)-1] != n) {
			x.domains[domain] = append(list, n)
		}
	}
}

// hashKey returns a certificate hash as the index keeps it: lower case, without separators.
func hashKey(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(clip(s)))
}

// domainKey returns a domain as the index keeps it: in the canonical form of package policy, or in lower case if it is not a domain.
func domainKey(s string) string {
	s = clip(strings.TrimSpace(s))
	if domain, err := policy.CanonicalDomain(s); err == nil {
		return domain
	}
	return strings.ToLower(s)
}

// Certified reports whether a provider manages a domain, given in ASCII or Unicode. Subdomains count only if they are listed themselves.
func (x *Index) Certified(domain string) bool {
	return x != nil && len(x.domains[domainKey(domain)]) > 0
}

// Providers returns the records that name a certificate. The hash is its SHA-1 in hexadecimal digits of either case.
func (x *Index) Providers(certificateHash string) []Provider {
	if x == nil {
		return nil
	}
	var list []Provider
	for _, n := range x.hashes[hashKey(certificateHash)] {
		list = append(list, x.providers[n])
	}
	return list
}

// Len returns the number of records and of domains.
func (x *Index) Len() (providers, domains int) {
	if x == nil {
		return 0, 0
	}
	return len(x.providers), len(x.domains)
}

// match looks for a record that names a certificate and manages a domain. Found says that some record names the certificate, manages that
// one does both. Name is from the record that does both, else from the first that names the certificate.
func (x *Index) match(certificateHash, domain string) (name string, found, manages bool) {
	list := x.hashes[hashKey(certificateHash)]
	managing := x.domains[domainKey(domain)]
	for _, n := range list {
		if slices.Contains(managing, n) {
			return x.providers[n].Name, true, true
		}
	}
	if len(list) > 0 {
		return x.providers[list[0]].Name, true, false
	}
	return "", false, false
}
