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

// Index is the index of PEC providers (IGPEC, RFC 6109 4.5): which certificates each one signs with, and which domains it manages. It does
// not change once read; its methods may be called concurrently, and a nil Index holds nothing.
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

// ParseIndex reads the index as providers get it: LDIF, bare or enclosed in a DER or BER PKCS #7 (.p7m). The seal of the latter must be
// whole; whose it is, is not asked: the file comes from the operator. At most 64 MiB are read. No URL in it is followed.
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

// countingReader counts the bytes that were read.
type countingReader struct {
	from io.Reader
	n    int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += int64(n)
	return n, err
}

// unseal returns the content of a PKCS #7 after a check of its signature.
func unseal(sealed []byte) ([]byte, error) {
	data, err := parseSignedData(sealed)
	if err != nil {
		return nil, err
	}
	if data.content == nil {
		return nil, errors.New("it encloses nothing")
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

// add takes a record. Those that are no provider, as the one at the base, are passed over.
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

// hashKey returns a certificate hash as the index keeps it. It is written with and without separators, in any case.
func hashKey(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(clip(s)))
}

// domainKey returns a domain as the index keeps it: in the canonical form of package policy, or, where it is none, in lower case.
func domainKey(s string) string {
	s = clip(strings.TrimSpace(s))
	if domain, err := policy.CanonicalDomain(s); err == nil {
		return domain
	}
	return strings.ToLower(s)
}

// Certified reports whether a domain, in either form of its labels, is one of PEC. Domains below a managed one are not, unless they are named themselves.
func (x *Index) Certified(domain string) bool {
	return x != nil && len(x.domains[domainKey(domain)]) > 0
}

// Providers returns the records that name a certificate, by its SHA-1 in hexadecimal, in any case.
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

// Len returns how many records and how many domains the index holds.
func (x *Index) Len() (providers, domains int) {
	if x == nil {
		return 0, 0
	}
	return len(x.providers), len(x.domains)
}

// match looks for a record that names a certificate and manages a domain. Found says that a record names the certificate; name is that
// of the record that does both, or else of the first one that names the certificate.
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
