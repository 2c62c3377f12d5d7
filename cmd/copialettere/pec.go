package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
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
	verifier *pec.Verifier // of bundle and index
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
	read func(into *pecFiles, path string) (extent, error)
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
		{"domains_file", "list of domains", c.DomainsFile, readDomains},
		{"provider_index", "provider index", c.ProviderIndex, readIndex},
		{"trust_bundle", "trust bundle", c.TrustBundle, readBundle},
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

// pecWatch keeps in force what the files of [pec] hold. A nil one has no files.
type pecWatch struct {
	log     *slog.Logger
	files   []*watchedFile
	inForce atomic.Pointer[pecFiles]
}

// watchedFile is a file of which some state is in force. It belongs to whoever calls look.
type watchedFile struct {
	pecFile
	seen    os.FileInfo // of the file that was read last; nil where it is to be read at the next look, whatever it is
	extent  extent      // of what is in force
	problem string      // for which the file that is there is not in force; "" where it is
	time    *metrics.Gauge
	failing *metrics.Gauge
}

// openPEC reads the files that [pec] names. An error is that of the first one that can not be used; without files, the watch is nil.
func openPEC(c config.PEC, m *metrics.Registry, log *slog.Logger) (*pecWatch, error) {
	w := &pecWatch{log: log}
	files := new(pecFiles)
	for _, named := range filesOf(c) {
		f := &watchedFile{
			pecFile: named,
			time: m.Gauge("copialettere_pec_file_timestamp_seconds",
				"When the file of [pec] that is in force was last modified, in seconds since 1970.", "file", named.key),
			failing: m.Gauge("copialettere_pec_file_failing",
				"1 while the file of [pec] that is there can not be used, and an earlier state of it is in force.", "file", named.key),
		}
		info, err := os.Stat(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		x, err := f.read(files, f.path)
		if err != nil {
			return nil, err
		}
		f.take(info, x, log)
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
	files.verifier = pec.NewVerifier(files.bundle, files.index)
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
}

// look reads the file if it has changed, and reports whether there is something new in next.
func (f *watchedFile) look(next *pecFiles, now time.Time, log *slog.Logger) bool {
	info, err := os.Stat(f.path)
	if err != nil {
		f.fail(nil, fmt.Errorf("%s: %w", f.name, err), log)
		return false
	}
	if f.seen != nil && sameState(f.seen, info) || now.Sub(info.ModTime()).Abs() < settleTime {
		return false
	}
	files := *next
	x, err := f.read(&files, f.path)
	if again, statErr := os.Stat(f.path); statErr != nil || !sameState(info, again) {
		return false // it changed meanwhile: the next look will tell
	}
	if err == nil && x.shrunk(f.extent) {
		err = fmt.Errorf("%s, which is less than half of what is in force (%s): where that is right, restart the daemon", f.detail(x), f.extent.text)
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread {
		info = nil // what keeps it from being read need not show on the file
	}
	if err != nil {
		f.fail(info, err, log)
		return false
	}
	*next = files
	f.take(info, x, log)
	return true
}

// sameState reports whether nobody has touched the file between two looks at it.
func sameState(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// take notes that the file is in force.
func (f *watchedFile) take(info os.FileInfo, x extent, log *slog.Logger) {
	f.seen, f.extent, f.problem = info, x, ""
	f.time.Set(info.ModTime().Unix())
	f.failing.Set(0)
	log.Info("file of [pec] in force", "file", f.name, "detail", f.detail(x))
}

// fail notes that the file that is there is not in force, and says so once.
func (f *watchedFile) fail(info os.FileInfo, err error, log *slog.Logger) {
	f.seen = info
	f.failing.Set(1)
	if info == nil && f.problem == err.Error() {
		return
	}
	f.problem = err.Error()
	log.Error("file of [pec] can not be used, what was read before stays in force: put a whole one in its place", "file", f.name, "error", err)
}
