// Package files keeps in force what is known of certified mail from files that change while the program runs: the operator's list of domains,
// the index of providers that AgID publishes every day, the bundle of trusted authorities, and revocation lists. A file that cannot be used,
// or has lost more than half of what it held, is not taken, and the earlier state stays in force.
//
// Whoever judges messages asks InForce once for each message, so that it sees all files as they were at one time. The package writes nothing.
package files

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"copialettere/policy/pec"
)

// shrinkFrom is of how many entries a file must be for a loss of more than half of them to look like a cut download. A shorter list is made
// by hand, and may lose any part of it.
const shrinkFrom = 10

// Sources name the files, each by its path; "" means none.
type Sources struct {
	DomainsFile   string // what the operator knows of domains
	ProviderIndex string
	TrustBundle   string
	CRLFolder     string // revocation lists, in files whose names end in .crl
	SHA1Chains    bool   // chains signed with SHA-1 count
	// LoadDomains reads DomainsFile: whether a domain is certified, by canonical domain.
	LoadDomains func(path string) (map[string]bool, error)
}

// Set is what the files hold. What is not named is nil. It does not change while it is in force.
type Set struct {
	domains  map[string]bool // certified or known not to be, by canonical domain
	index    *pec.Index
	bundle   []*x509.Certificate
	crls     []*pec.RevocationList // nil where no folder of them is named
	verifier *pec.Verifier         // of all of these but the domains
}

// Verifier verifies signatures by what the files hold.
func (f *Set) Verifier() *pec.Verifier { return f.verifier }

// verify makes the verifier of what the files hold.
func (f *Set) verify(s Sources) {
	var options []pec.VerifierOption
	if s.SHA1Chains {
		options = append(options, pec.WithSHA1Chains())
	}
	if f.crls != nil {
		options = append(options, pec.WithRevocation(f.crls))
	}
	f.verifier = pec.NewVerifier(f.bundle, f.index, options...)
}

// Warnings returns what is in the files and of no use: lists of unknown authorities, and those that have run out.
func (f *Set) Warnings(now time.Time) []string {
	warnings := f.verifier.UnusedLists()
	for _, l := range f.crls {
		if end := l.NextUpdate(); !end.After(now) {
			warnings = append(warnings, fmt.Sprintf("revocation list of %s: it ran out on %s", l.Issuer(), end.Format(time.RFC3339)))
		}
	}
	return warnings
}

// Certified says of a canonical domain whether it is certified, and whether that is known. The list of domains is the operator's own word
// and counts before the index. An index without the domain says nothing: the copy may be old.
func (f *Set) Certified(domain string) (certified, known bool) {
	if certified, known = f.domains[domain]; known {
		return certified, known
	}
	certified = f.index.Certified(domain)
	return certified, certified
}

// source is one of the files that are named.
type source struct {
	key  string // in the configuration
	name string // for people
	path string
	stat func(path string) (fileState, error)
	read func(into *Set, path string) (extent, error)
}

// fileState is what shows whether a file, or one of those in a folder, was touched. It is never nil.
type fileState []os.FileInfo

// stateOfFile looks at a file.
func stateOfFile(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return fileState{info}, nil
}

// stateOfCRLs looks at the files with revocation lists in a folder.
func stateOfCRLs(path string) (fileState, error) {
	names, err := crlFiles(path)
	if err != nil {
		return nil, err
	}
	state := make(fileState, len(names))
	for i, name := range names {
		if state[i], err = os.Stat(name); err != nil {
			return nil, err
		}
	}
	return state, nil
}

// same reports whether nobody has touched anything between two looks.
func (s fileState) same(other fileState) bool {
	return slices.EqualFunc(s, other, func(a, b os.FileInfo) bool {
		return a.Name() == b.Name() && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	})
}

// settled reports whether all that is there has been left alone for some time.
func (s fileState) settled(now time.Time) bool {
	return !slices.ContainsFunc(s, func(f os.FileInfo) bool { return now.Sub(f.ModTime()).Abs() < settleTime })
}

// modified returns when something was last modified, in seconds since 1970; 0 where nothing is there.
func (s fileState) modified() int64 {
	var last int64
	for _, f := range s {
		last = max(last, f.ModTime().Unix())
	}
	return last
}

// extent is how much a file holds.
type extent struct {
	text    string // for people
	numbers []int  // of the entries of each kind
}

// shrunk reports whether more than half of the entries of some kind are gone.
func (x extent) shrunk(before extent) bool {
	for i, n := range before.numbers {
		if n >= shrinkFrom && 2*x.numbers[i] < n {
			return true
		}
	}
	return false
}

// detail is what is said of a file that was read.
func (f source) detail(x extent) string { return f.path + ", " + x.text }

// named returns the files that there are.
func (s Sources) named() []source {
	var named []source
	for _, f := range []source{
		{"domains_file", "list of domains", s.DomainsFile, stateOfFile, s.readDomains},
		{"provider_index", "provider index", s.ProviderIndex, stateOfFile, readIndex},
		{"trust_bundle", "trust bundle", s.TrustBundle, stateOfFile, readBundle},
		{"crl_folder", "folder of revocation lists", s.CRLFolder, stateOfCRLs, readCRLs},
	} {
		if f.path != "" {
			named = append(named, f)
		}
	}
	return named
}

// Read reads all files, and tells of each what it holds, or why it cannot be used. What could be read is in the set.
func Read(s Sources, tell func(name, detail string, err error)) *Set {
	files := new(Set)
	for _, f := range s.named() {
		x, err := f.read(files, f.path)
		tell(f.name, f.detail(x), err)
	}
	files.verify(s)
	return files
}

// Check returns an error where one of the files cannot be used.
func Check(s Sources) (err error) {
	Read(s, func(name, _ string, fault error) {
		if fault != nil && err == nil {
			err = fmt.Errorf("%s: %w", name, fault)
		}
	})
	return err
}

func (s Sources) readDomains(into *Set, path string) (extent, error) {
	domains, err := s.LoadDomains(path)
	if err != nil {
		return extent{}, err
	}
	into.domains = domains
	certified := 0
	for _, is := range domains {
		if is {
			certified++
		}
	}
	return extent{fmt.Sprintf("%d domains, %d of them certified", len(domains), certified), []int{len(domains)}}, nil
}

func readIndex(into *Set, path string) (extent, error) {
	file, err := os.Open(path)
	if err != nil {
		return extent{}, fmt.Errorf("provider index: %w", err)
	}
	defer file.Close()
	index, err := pec.ParseIndex(file)
	if err != nil {
		return extent{}, fmt.Errorf("%s: %w", path, err)
	}
	into.index = index
	providers, domains := index.Len()
	return extent{fmt.Sprintf("%d providers, %d domains", providers, domains), []int{providers, domains}}, nil
}

func readBundle(into *Set, path string) (extent, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return extent{}, fmt.Errorf("trust bundle: %w", err)
	}
	bundle, err := pec.ParseBundle(text)
	if err != nil {
		return extent{}, fmt.Errorf("trust bundle: %s: %w", path, err)
	}
	into.bundle = bundle
	return extent{fmt.Sprintf("%d certificates", len(bundle)), []int{len(bundle)}}, nil
}

// crlFiles returns the paths of the files with revocation lists in a folder, in the order of their names.
func crlFiles(folder string) ([]string, error) {
	list, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, e := range list {
		if filepath.Ext(e.Name()) == ".crl" && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(folder, e.Name()))
		}
	}
	return names, nil
}

func readCRLs(into *Set, path string) (extent, error) {
	names, err := crlFiles(path)
	if err != nil {
		return extent{}, fmt.Errorf("revocation lists: %w", err)
	}
	lists, revoked, end := []*pec.RevocationList{}, 0, time.Time{}
	for _, name := range names {
		b, err := readLimited(name, pec.MaxRevocationLists)
		if err != nil {
			return extent{}, fmt.Errorf("revocation lists: %w", err)
		}
		list, err := pec.ParseRevocationLists(b)
		if err != nil {
			return extent{}, fmt.Errorf("revocation lists: %s: %w", name, err)
		}
		for _, l := range list {
			revoked += l.Len()
			if until := l.NextUpdate(); end.IsZero() || until.Before(end) {
				end = until
			}
		}
		lists = append(lists, list...)
	}
	into.crls = lists
	text := fmt.Sprintf("%d revocation lists, %d revoked certificates", len(lists), revoked)
	if len(lists) > 0 {
		text += ", the first runs out on " + end.Format(time.RFC3339)
	}
	return extent{text, []int{len(lists)}}, nil
}

// readLimited reads a file, and at most one byte more than the limit.
func readLimited(name string, limit int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit+1))
}
