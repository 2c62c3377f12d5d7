package files

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"copialettere/journal/metrics"
)

// untouchedTime is how long a file must be left alone before it is read again, so a file being written in place is not read half.
const untouchedTime = 5 * time.Second

// Watch keeps the latest usable state of the files in force. InForce may be called concurrently with Look. A nil Watch has no files.
type Watch struct {
	sources Sources
	log     *slog.Logger
	files   []*watchedFile
	looked  time.Time // the last Look
	inForce atomic.Pointer[Set]
}

// watchedFile is a file with a state in force. It belongs to the caller of Look.
type watchedFile struct {
	source
	seen    fileState // as last read; nil if the next Look is to read the file anyway
	extent  extent    // in force
	problem string    // why the present file is not in force; "" if it is
	time    *metrics.Gauge
	failing *metrics.Gauge
	end     *metrics.Gauge // nil if nothing in the file ends
}

// Open reads the files and returns a Watch, or nil if s names none. The error is that of the first file that cannot be used.
func Open(s Sources, m *metrics.Registry, log *slog.Logger) (*Watch, error) {
	w := &Watch{sources: s, log: log}
	files := new(Set)
	for _, named := range s.named() {
		f := &watchedFile{
			source: named,
			time: m.Gauge("copialettere_pec_file_timestamp_seconds",
				"When the file of [pec] now in force was last modified, in seconds since 1970.", "file", named.key),
			failing: m.Gauge("copialettere_pec_file_failing",
				"1 while the present file of [pec] cannot be used and an earlier state of it is in force.", "file", named.key),
		}
		if f.ends != nil {
			f.end = m.CertificateEnd(named.key)
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
	w.showEnds(time.Now())
	return w, nil
}

// showEnds sets the metrics of when certificates and revocation lists end.
func (w *Watch) showEnds(now time.Time) {
	for _, f := range w.files {
		if f.end == nil {
			continue
		}
		if end := f.ends(w.InForce(), now); end.IsZero() {
			f.end.Set(0)
		} else {
			f.end.Set(end.Unix())
		}
	}
}

// put puts all files into force at once.
func (w *Watch) put(files *Set) {
	files.makeVerifier(w.sources)
	for _, reason := range files.verifier.UnusedLists() {
		w.log.Warn("file of [pec] not used", "detail", reason)
	}
	w.inForce.Store(files)
}

// InForce returns what is in force; nil without files.
func (w *Watch) InForce() *Set {
	if w == nil {
		return nil
	}
	return w.inForce.Load()
}

// Look reads files whose time, size or inode changed since they were last read, and puts those that can be used into force. It logs what it
// does, and each fault once. It must not be called concurrently with itself.
func (w *Watch) Look(now time.Time) {
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
			w.log.Warn("revocation list expired, so it proves no certificate good: put a new one in its place", "issuer", l.Issuer(), "end", end)
		}
	}
	w.showEnds(now)
	w.looked = now
}

// look reads the file into next if it has changed, and reports whether next has something new.
func (f *watchedFile) look(next *Set, now time.Time, log *slog.Logger) bool {
	state, err := f.stat(f.path)
	if err != nil {
		f.fail(nil, fmt.Errorf("%s: %w", f.name, err), log)
		return false
	}
	if f.seen != nil && f.seen.same(state) || !state.untouched(now) {
		return false
	}
	files := *next
	x, err := f.read(&files, f.path)
	if again, lookErr := f.stat(f.path); lookErr != nil || !state.same(again) {
		return false // it changed meanwhile: the next look decides
	}
	if err == nil && x.shrunk(f.extent) {
		err = fmt.Errorf("%s: less than half of what is in force (%s); if that is right, restart the daemon", f.detail(x), f.extent.text)
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread {
		state = nil // try again: the cause need not show on the file
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

// fail notes that the present file is not in force, and logs it once.
func (f *watchedFile) fail(state fileState, err error, log *slog.Logger) {
	f.seen = state
	f.failing.Set(1)
	if state == nil && f.problem == err.Error() {
		return
	}
	f.problem = err.Error()
	log.Error("file of [pec] cannot be used, the earlier state stays in force: put a whole one in its place", "file", f.name, "error", err)
}
