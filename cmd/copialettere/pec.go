package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/metrics"
	"copialettere/lmtp"
	"copialettere/policy/pec"
)

// settleTime is how long a file must have been left alone before it is read anew: one that is written in place is not read half.
const settleTime = 5 * time.Second

// shrinkFrom is of how many entries a file must be for a loss of more than half of them to look like a cut download. A shorter list is made
// by hand, and may lose any part of it.
const shrinkFrom = 10

// pecFiles is what the files that [pec] names hold. What is not named is nil. It does not change while it is in force.
type pecFiles struct {
	domains  map[string]bool // certified or known not to be, by canonical domain
	index    *pec.Index
	bundle   []*x509.Certificate
	crls     []*pec.RevocationList // nil where no folder of them is named
	verifier *pec.Verifier         // of all of these but the domains
}

// verify makes the verifier of what the files hold.
func (f *pecFiles) verify(c config.PEC) {
	var options []pec.VerifierOption
	if c.SHA1Chains {
		options = append(options, pec.WithSHA1Chains())
	}
	if f.crls != nil {
		options = append(options, pec.WithRevocation(f.crls))
	}
	f.verifier = pec.NewVerifier(f.bundle, f.index, options...)
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

// pecFile is one of the files that [pec] names.
type pecFile struct {
	key  string // in the configuration
	name string // for people
	path string
	stat func(path string) (fileState, error)
	read func(into *pecFiles, path string) (extent, error)
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

// detail is what check and the log say of a file that was read.
func (f pecFile) detail(x extent) string { return f.path + ", " + x.text }

// filesOf returns the files that a configuration names.
func filesOf(c config.PEC) []pecFile {
	var named []pecFile
	for _, f := range []pecFile{
		{"domains_file", "list of domains", c.DomainsFile, stateOfFile, readDomains},
		{"provider_index", "provider index", c.ProviderIndex, stateOfFile, readIndex},
		{"trust_bundle", "trust bundle", c.TrustBundle, stateOfFile, readBundle},
		{"crl_folder", "folder of revocation lists", c.CRLFolder, stateOfCRLs, readCRLs},
	} {
		if f.path != "" {
			named = append(named, f)
		}
	}
	return named
}

func readDomains(into *pecFiles, path string) (extent, error) {
	domains, err := config.LoadDomains(path)
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

func readIndex(into *pecFiles, path string) (extent, error) {
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

func readBundle(into *pecFiles, path string) (extent, error) {
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

func readCRLs(into *pecFiles, path string) (extent, error) {
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

// pecWatch keeps in force what the files of [pec] hold. A nil one has no files.
type pecWatch struct {
	config  config.PEC
	log     *slog.Logger
	files   []*watchedFile
	looked  time.Time // the last look
	inForce atomic.Pointer[pecFiles]
}

// watchedFile is a file of which some state is in force. It belongs to whoever calls look.
type watchedFile struct {
	pecFile
	seen    fileState // of what was read last; nil where it is to be read at the next look, whatever it is
	extent  extent    // of what is in force
	problem string    // for which the file that is there is not in force; "" where it is
	time    *metrics.Gauge
	failing *metrics.Gauge
}

// openPEC reads the files that [pec] names. An error is that of the first one that can not be used; without files, the watch is nil.
func openPEC(c config.PEC, m *metrics.Registry, log *slog.Logger) (*pecWatch, error) {
	w := &pecWatch{config: c, log: log}
	files := new(pecFiles)
	for _, named := range filesOf(c) {
		f := &watchedFile{
			pecFile: named,
			time: m.Gauge("copialettere_pec_file_timestamp_seconds",
				"When the file of [pec] that is in force was last modified, in seconds since 1970.", "file", named.key),
			failing: m.Gauge("copialettere_pec_file_failing",
				"1 while the file of [pec] that is there can not be used, and an earlier state of it is in force.", "file", named.key),
		}
		state, err := f.stat(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		x, err := f.read(files, f.path)
		if err != nil {
			return nil, err
		}
		f.take(state, x, log)
		w.files = append(w.files, f)
	}
	if len(w.files) == 0 {
		return nil, nil
	}
	w.put(files)
	return w, nil
}

// put puts files into force, all at once.
func (w *pecWatch) put(files *pecFiles) {
	files.verify(w.config)
	for _, reason := range files.verifier.UnusedLists() {
		w.log.Warn("file of [pec] of no use", "detail", reason)
	}
	w.inForce.Store(files)
}

// known returns what is in force.
func (w *pecWatch) known() lmtp.PEC {
	if w == nil {
		return lmtp.PEC{}
	}
	files := w.inForce.Load()
	return lmtp.PEC{Verifier: files.verifier, Domains: files.certified}
}

// look takes files into use whose time, size or inode is not that of the file that was read last. It has one caller at a time.
func (w *pecWatch) look(now time.Time) {
	if w == nil {
		return
	}
	next, changed := *w.inForce.Load(), false
	for _, f := range w.files {
		changed = f.look(&next, now, w.log) || changed
	}
	if changed {
		w.put(&next)
	}
	for _, l := range w.inForce.Load().crls {
		if end := l.NextUpdate(); !end.After(now) && end.After(w.looked) {
			w.log.Warn("revocation list ran out, and no certificate is known to be good by it: put a new one in its place", "issuer", l.Issuer(), "end", end)
		}
	}
	w.looked = now
}

// look reads the file if it has changed, and reports whether there is something new in next.
func (f *watchedFile) look(next *pecFiles, now time.Time, log *slog.Logger) bool {
	state, err := f.stat(f.path)
	if err != nil {
		f.fail(nil, fmt.Errorf("%s: %w", f.name, err), log)
		return false
	}
	if f.seen != nil && f.seen.same(state) || !state.settled(now) {
		return false
	}
	files := *next
	x, err := f.read(&files, f.path)
	if again, lookErr := f.stat(f.path); lookErr != nil || !state.same(again) {
		return false // it changed meanwhile: the next look will tell
	}
	if err == nil && x.shrunk(f.extent) {
		err = fmt.Errorf("%s, which is less than half of what is in force (%s): where that is right, restart the daemon", f.detail(x), f.extent.text)
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread {
		state = nil // what keeps it from being read need not show on the file
	}
	if err != nil {
		f.fail(state, err, log)
		return false
	}
	*next = files
	f.take(state, x, log)
	return true
}

// take notes that the file is in force.
func (f *watchedFile) take(state fileState, x extent, log *slog.Logger) {
	f.seen, f.extent, f.problem = state, x, ""
	f.time.Set(state.modified())
	f.failing.Set(0)
	log.Info("file of [pec] in force", "file", f.name, "detail", f.detail(x))
}

// fail notes that the file that is there is not in force, and says so once.
func (f *watchedFile) fail(state fileState, err error, log *slog.Logger) {
	f.seen = state
	f.failing.Set(1)
	if state == nil && f.problem == err.Error() {
		return
	}
	f.problem = err.Error()
	log.Error("file of [pec] can not be used, what was read before stays in force: put a whole one in its place", "file", f.name, "error", err)
}
