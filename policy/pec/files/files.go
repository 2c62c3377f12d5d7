// Package files reads what is known about certified mail from files that change while the program runs: the operator's list of domains, the
// index of providers that AgID publishes every day, the bundle of trusted authorities, and revocation lists. A file that cannot be used, or
// that lost more than half of its entries, does not come into force: the earlier state stays.
//
// Call InForce once for each message to judge: its result shows all files as they were at one time. The package writes nothing.
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

// shrinkFrom is the number of entries from which losing more than half of them looks like a truncated download. A shorter list is made by hand,
// and may lose any number.
const shrinkFrom = 10

// Sources names the files by their paths; "" means none.
type Sources struct {
	DomainsFile   string // what the operator knows about domains
	ProviderIndex string
	TrustBundle   string
	CRLFolder     string // folder of revocation lists, in files named *.crl
	SHA1Chains    bool   // accept chains signed with SHA-1
	// LoadDomains reads DomainsFile: by canonical domain, whether it is certified. Needed only with a DomainsFile.
	LoadDomains func(path string) (map[string]bool, error)
}

// Set is what the files hold; nothing for files that Sources does not name. It is immutable once in force.
type Set struct {
	domains  map[string]bool // by canonical domain: certified, or known not to be
	index    *pec.Index
	bundle   []*x509.Certificate
	crls     []*pec.RevocationList // nil if no folder of them is named
	verifier *pec.Verifier         // made of everything above except the domains
}

// Verifier returns the verifier that goes by the files.
func (f *Set) Verifier() *pec.Verifier { return f.verifier }

// makeVerifier makes the verifier from what the files hold.
func (f *Set) makeVerifier(s Sources) {
	var options []pec.VerifierOption
	if s.SHA1Chains {
		options = append(options, pec.WithSHA1Chains())
	}
	if f.crls != nil {
		options = append(options, pec.WithRevocation(f.crls))
	}
	f.verifier = pec.NewVerifier(f.bundle, f.index, options...)
}

// Warnings lists, for people, what is in the files but of no use at the time now: revocation lists of unknown authorities, and expired ones.
func (f *Set) Warnings(now time.Time) []string {
	warnings := f.verifier.UnusedLists()
	for _, l := range f.crls {
		if end := l.NextUpdate(); !end.After(now) {
			warnings = append(warnings, fmt.Sprintf("revocation list of %s: it expired on %s", l.Issuer(), end.Format(time.RFC3339)))
		}
	}
	return warnings
}

// authoritiesEnd returns when the next of the trusted certificates ends; zero if none will. Those that have ended stay in the bundle for old mail.
func (f *Set) authoritiesEnd(now time.Time) (end time.Time) {
	for _, c := range f.bundle {
		if c.NotAfter.After(now) && (end.IsZero() || c.NotAfter.Before(end)) {
			end = c.NotAfter
		}
	}
	return end
}

// listsEnd returns when the first of the revocation lists ends, or has ended; zero if none says.
func (f *Set) listsEnd(time.Time) (end time.Time) {
	for _, l := range f.crls {
		if until := l.NextUpdate(); !until.IsZero() && (end.IsZero() || until.Before(end)) {
			end = until
		}
	}
	return end
}

// Certified says whether a canonical domain is certified, and whether that is known. The list of domains is the operator's own word, and counts
// before the index. A domain missing from the index stays unknown: the copy may be old.
func (f *Set) Certified(domain string) (certified, known bool) {
	if certified, known = f.domains[domain]; known {
		return certified, known
	}
	certified = f.index.Certified(domain)
	return certified, certified
}

// source is one of the named files.
type source struct {
	key  string // its key in the configuration
	name string // for people
	path string
	stat func(path string) (fileState, error)
	read func(into *Set, path string) (extent, error)
	// ends returns when the next of what is in force from the file ends; zero for never. nil if it holds nothing that ends.
	ends func(of *Set, now time.Time) time.Time
}

// fileState shows whether a file, or any file in a folder, was touched. An existing file or folder has one that is not nil.
type fileState []os.FileInfo

// stateOfFile returns the state of a file.
func stateOfFile(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return fileState{info}, nil
}

// stateOfCRLs returns the state of the revocation lists in a folder.
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

// same reports whether nothing was touched between two states.
func (s fileState) same(other fileState) bool {
	return slices.EqualFunc(s, other, func(a, b os.FileInfo) bool {
		return a.Name() == b.Name() && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	})
}

// untouched reports whether nothing was modified within untouchedTime of now.
func (s fileState) untouched(now time.Time) bool {
	return !slices.ContainsFunc(s, func(f os.FileInfo) bool { return now.Sub(f.ModTime()).Abs() < untouchedTime })
}

// modified returns the time of the last modification, in seconds since 1970; 0 without files.
func (s fileState) modified() int64 {
	var last int64
	for _, f := range s {
		last = max(last, f.ModTime().Unix())
	}
	return last
}

// extent is the amount of what a file holds.
type extent struct {
	text    string // for people
	numbers []int  // of entries of each kind
}

// shrunk reports whether more than half of the entries of some kind are gone, of at least shrinkFrom.
func (x extent) shrunk(before extent) bool {
	for i, n := range before.numbers {
		if n >= shrinkFrom && 2*x.numbers[i] < n {
			return true
		}
	}
	return false
}

// detail describes a file that was read, for people.
func (f source) detail(x extent) string { return f.path + ", " + x.text }

// named returns the files with a path, in a fixed order.
func (s Sources) named() []source {
	var named []source
	for _, f := range []source{
		{"domains_file", "list of domains", s.DomainsFile, stateOfFile, s.readDomains, nil},
		{"provider_index", "provider index", s.ProviderIndex, stateOfFile, readIndex, nil},
		{"trust_bundle", "trust bundle", s.TrustBundle, stateOfFile, readBundle, (*Set).authoritiesEnd},
		{"crl_folder", "folder of revocation lists", s.CRLFolder, stateOfCRLs, readCRLs, (*Set).listsEnd},
	} {
		if f.path != "" {
			named = append(named, f)
		}
	}
	return named
}

// Read reads all files. It calls tell for each with what the file holds, or why it cannot be used. The set has what could be read.
func Read(s Sources, tell func(name, detail string, err error)) *Set {
	files := new(Set)
	for _, f := range s.named() {
		x, err := f.read(files, f.path)
		tell(f.name, f.detail(x), err)
	}
	files.makeVerifier(s)
	return files
}

// Check returns an error if a file cannot be used: that of the first one.
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

// crlFiles returns the paths of the revocation lists in a folder, sorted by name. It skips hidden files.
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
		text += ", the first expires on " + end.Format(time.RFC3339)
	}
	return extent{text, []int{len(lists)}}, nil
}

// readLimited reads a file up to one byte beyond the limit, so the caller sees that it is too long.
func readLimited(name string, limit int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit+1))
}
