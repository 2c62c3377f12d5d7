package files

import (
	"bytes"
	"crypto"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/metrics"
	"copialettere/policy/pec/pectest"
)

// indexOf is an index of so many providers, each of which manages so many domains: the first one p0d0.test.
func indexOf(providers, domains int) string {
	var b strings.Builder
	for p := range providers {
		fmt.Fprintf(&b, "dn: providerName=P%d,o=postacert\nproviderName: P%d\nproviderCertificateHash: %040d\n", p, p, p)
		for d := range domains {
			fmt.Fprintf(&b, "managedDomains: p%dd%d.test\n", p, d)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// written is the time at which the files of tests were last modified, long ago. Each replacement is a second later.
var written = time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)

// replace puts a file in place as an operator is told to: beside, then renamed.
func replace(t *testing.T, path, text string, modified time.Time) {
	t.Helper()
	overwrite(t, path+".new", text, modified)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// overwrite writes a file in place.
func overwrite(t *testing.T, path, text string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// TestWatch goes through what can happen to the files under a daemon, one look after the other.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	domains, index, bundle := filepath.Join(dir, "domains"), filepath.Join(dir, "igpec.ldif"), filepath.Join(dir, "bundle.pem")
	overwrite(t, domains, "list.test\n", written)
	overwrite(t, index, indexOf(20, 2), written)
	overwrite(t, bundle, string(pectest.NewAuthority().PEM()), written)
	var log bytes.Buffer
	m := new(metrics.Registry)
	w, err := Open(Sources{LoadDomains: config.LoadDomains, DomainsFile: domains, ProviderIndex: index, TrustBundle: bundle}, m, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "in force"); n != 3 {
		t.Errorf("%d files were logged at the start, want 3:\n%s", n, &log)
	}
	gauge := func(name, file string) int64 { return m.Gauge(name, "", "file", file).Value() }
	later := func(seconds int) time.Time { return written.Add(time.Duration(seconds) * time.Second) }
	remove := func(path string) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	now := written.Add(24 * time.Hour)
	const ahead = 25 * 3600
	sealed := string(pectest.CMS{Identity: pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba")).Sender.Identity,
		Digest: crypto.SHA256, Time: pectest.Start, Enclose: true}.Sign([]byte(indexOf(40, 3))))
	for _, step := range []struct {
		name    string
		change  func()
		inForce string   // of the index
		since   int64    // when the index in force was written, in seconds after the first one
		failing bool     // the index
		logged  []string // the lines: what must stand in each, with bars between
	}{
		{"nothing happened", func() {}, "20 providers, 40 domains", 0, false, nil},
		{"renamed into place", func() { replace(t, index, indexOf(20, 3), later(10)) },
			"20 providers, 60 domains", 10, false, []string{`INFO|file="provider index" detail="` + index + `, 20 providers, 60 domains"`}},
		{"rewritten in place", func() { overwrite(t, index, indexOf(21, 3), later(20)) }, "21 providers, 63 domains", 20, false,
			[]string{"21 providers"}},
		{"of the same size and time, another inode", func() {
			replace(t, index, strings.ReplaceAll(indexOf(21, 3), "p0d0.test", "p0d1.test"), later(20))
		}, "21 providers, 62 domains", 20, false, []string{"62 domains"}},
		{"of the same size, in place", func() { overwrite(t, index, indexOf(21, 3), later(30)) }, "21 providers, 63 domains", 30, false,
			[]string{"63 domains"}},
		{"of the same time, in place", func() { overwrite(t, index, indexOf(25, 3), later(30)) }, "25 providers, 75 domains", 30, false,
			[]string{"75 domains"}},
		{"older than before", func() { replace(t, index, indexOf(22, 3), later(5)) }, "22 providers, 66 domains", 5, false,
			[]string{"66 domains"}},
		{"being written", func() { overwrite(t, index, indexOf(11, 3), now.Add(-settleTime+time.Second)) }, "22 providers, 66 domains", 5, false, nil},
		{"being written, by a clock that is ahead", func() { overwrite(t, index, indexOf(12, 3), now.Add(settleTime-time.Second)) },
			"22 providers, 66 domains", 5, false, nil},
		{"written", func() { overwrite(t, index, indexOf(23, 3), later(40)) }, "23 providers, 69 domains", 40, false, []string{"69 domains"}},
		{"by a clock that is far ahead", func() { overwrite(t, index, indexOf(23, 2), now.Add(time.Hour)) }, "23 providers, 46 domains", ahead, false,
			[]string{"46 domains"}},
		{"broken", func() { replace(t, index, "no LDIF", later(50)) }, "23 providers, 46 domains", ahead, true,
			[]string{"ERROR|put a whole one in its place|" + index + "|line 1: no attribute"}},
		{"still broken", func() {}, "23 providers, 46 domains", ahead, true, nil},
		{"broken anew", func() { replace(t, index, "no LDIF", later(60)) }, "23 providers, 46 domains", ahead, true,
			[]string{"line 1: no attribute"}},
		{"no provider", func() { replace(t, index, "", later(70)) }, "23 providers, 46 domains", ahead, true, []string{"no provider in it"}},
		{"gone", func() { remove(index) }, "23 providers, 46 domains", ahead, true, []string{"no such file"}},
		{"still gone", func() {}, "23 providers, 46 domains", ahead, true, nil},
		{"a folder", func() {
			if err := os.Mkdir(index, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(index, written, written); err != nil {
				t.Fatal(err)
			}
		}, "23 providers, 46 domains", ahead, true, []string{"is a directory"}},
		{"still a folder", func() {}, "23 providers, 46 domains", ahead, true, nil},
		{"whole again", func() { remove(index); replace(t, index, indexOf(40, 3), later(80)) }, "40 providers, 120 domains", 80, false,
			[]string{"INFO"}},
		{"cut", func() { replace(t, index, indexOf(40, 3)[:len(indexOf(19, 3))], later(90)) }, "40 providers, 120 domains", 80, true,
			[]string{"ERROR|19 providers, 57 domains|less than half of what is in force (40 providers, 120 domains)|restart the daemon"}},
		{"still cut", func() {}, "40 providers, 120 domains", 80, true, nil},
		{"half the domains", func() { replace(t, index, indexOf(40, 1), later(100)) }, "40 providers, 120 domains", 80, true,
			[]string{"ERROR|40 providers, 40 domains|less than half"}},
		{"sealed, and cut", func() { replace(t, index, sealed[:len(sealed)*3/4], later(110)) }, "40 providers, 120 domains", 80, true,
			[]string{"PKCS #7"}},
		{"sealed", func() { replace(t, index, sealed, later(120)) }, "40 providers, 120 domains", 120, false, []string{"INFO"}},
		{"exactly half", func() { replace(t, index, indexOf(20, 3), later(130)) }, "20 providers, 60 domains", 130, false, []string{"INFO"}},
		{"a good list beside a broken index", func() {
			replace(t, index, "no LDIF", later(140))
			replace(t, domains, "new.test\n", later(140))
		}, "20 providers, 60 domains", 130, true, []string{"INFO|list of domains|1 domains, 1 of them certified", "ERROR|provider index"}},
		{"a short list that gets shorter", func() {
			replace(t, index, indexOf(20, 3), later(150))
			replace(t, domains, "new.test\na.test\nb.test\n", later(150))
		}, "20 providers, 60 domains", 150, false, []string{"INFO|3 domains", "INFO|provider index"}},
		{"shorter", func() { replace(t, domains, "new.test\n", later(160)) }, "20 providers, 60 domains", 150, false, []string{"1 domains"}},
		{"a wrong line in the list", func() { replace(t, domains, "new.test\nno domain\n", later(170)) }, "20 providers, 60 domains", 150, false,
			[]string{"ERROR|" + domains + ":2|is not a domain|write a domain such as"}},
		{"the list in order", func() { replace(t, domains, "new.test\n", later(180)) }, "20 providers, 60 domains", 150, false, []string{"INFO"}},
		{"a bundle that is cut", func() {
			pem := string(pectest.NewAuthority().PEM())
			replace(t, bundle, pem+pem[:len(pem)/2], later(190))
		}, "20 providers, 60 domains", 150, false, []string{"ERROR|trust bundle|of 2 blocks in PEM only 1 are whole"}},
	} {
		log.Reset()
		step.change()
		now = now.Add(time.Nanosecond)
		w.Look(now)
		providers, managed := w.inForce.Load().index.Len()
		if got := fmt.Sprintf("%d providers, %d domains", providers, managed); got != step.inForce {
			t.Errorf("%s: %s are in force, want %s", step.name, got, step.inForce)
		}
		if got := gauge("copialettere_pec_file_timestamp_seconds", "provider_index") - written.Unix(); got != step.since {
			t.Errorf("%s: by the metric the index is of %d s after the first one, want %d s", step.name, got, step.since)
		}
		if got := gauge("copialettere_pec_file_failing", "provider_index"); (got == 1) != step.failing {
			t.Errorf("%s: the metric of failure is %d", step.name, got)
		}
		lines := strings.SplitAfter(log.String(), "\n")
		if lines = lines[:len(lines)-1]; len(lines) != len(step.logged) {
			t.Errorf("%s: %d lines were logged, want %d:\n%s", step.name, len(lines), len(step.logged), &log)
			continue
		}
		for i, line := range lines {
			for want := range strings.SplitSeq(step.logged[i], "|") {
				if !strings.Contains(line, want) {
					t.Errorf("%s: %q is not in the log: %s", step.name, want, line)
				}
			}
		}
	}
	known := w.InForce()
	if certified, ok := known.Certified("new.test"); !certified || !ok {
		t.Error("the new list of domains is not in force")
	}
	if gauge("copialettere_pec_file_failing", "trust_bundle") != 1 || gauge("copialettere_pec_file_failing", "domains_file") != 0 {
		t.Error("the metrics of the other files")
	}
}

// TestFileChangesWhileItIsRead: what was read then is passed over, whether it could be used or not, and the next look takes what is there.
func TestFileChangesWhileItIsRead(t *testing.T) {
	for name, found := range map[string]string{"usable": "found.test\n", "broken": "no domain\n"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "domains")
			overwrite(t, file, "old.test\n", written)
			var log bytes.Buffer
			w, err := Open(Sources{LoadDomains: config.LoadDomains, DomainsFile: file}, new(metrics.Registry), slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			log.Reset()
			certified := func(domain string) bool {
				is, _ := w.InForce().Certified(domain)
				return is
			}
			replace(t, file, found, written.Add(time.Second))
			w.files[0].read = func(into *Set, path string) (extent, error) {
				x, err := w.sources.readDomains(into, path)
				overwrite(t, path, "new.test\n", written.Add(2*time.Second))
				return x, err
			}
			if w.Look(written.Add(time.Hour)); !certified("old.test") || log.Len() > 0 {
				t.Errorf("a file that was changed meanwhile was taken: %s", &log)
			}
			w.files[0].read = w.sources.readDomains
			if w.Look(written.Add(time.Hour)); !certified("new.test") || certified("old.test") || certified("found.test") {
				t.Errorf("the file is not in force: %s", &log)
			}
		})
	}
}

// TestFileThatCanNotBeOpened: it is tried again, although nothing about it changes, and logged once.
func TestFileThatCanNotBeOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "domains")
	overwrite(t, file, "old.test\n", written)
	var log bytes.Buffer
	w, err := Open(Sources{LoadDomains: config.LoadDomains, DomainsFile: file}, new(metrics.Registry), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	replace(t, file, "new.test\n", written.Add(time.Second))
	for _, step := range []struct {
		name, inForce, logged string
		fault                 error
	}{
		{"no rights", "old.test", "permission denied", os.ErrPermission},
		{"still no rights", "old.test", "", os.ErrPermission},
		{"another fault", "old.test", "file already closed", os.ErrClosed},
		{"no fault", "new.test", "1 domains, 1 of them certified", nil},
		{"nothing new", "new.test", "", os.ErrPermission},
	} {
		w.files[0].read = func(into *Set, path string) (extent, error) {
			if step.fault != nil {
				return extent{}, fmt.Errorf("reading: %w", &os.PathError{Op: "open", Path: path, Err: step.fault})
			}
			return w.sources.readDomains(into, path)
		}
		log.Reset()
		w.Look(written.Add(time.Hour))
		if is, _ := w.InForce().Certified(step.inForce); !is || (log.Len() > 0) != (step.logged != "") || !strings.Contains(log.String(), step.logged) {
			t.Errorf("%s: %s is in force: %v, logged: %s", step.name, step.inForce, is, &log)
		}
	}
}

// TestWatchWithoutFiles: where [pec] names no file, there is nothing to look at, and nothing is known.
func TestWatchWithoutFiles(t *testing.T) {
	w, err := Open(Sources{}, new(metrics.Registry), slog.New(slog.DiscardHandler))
	if w != nil || err != nil {
		t.Fatalf("%v, %v", w, err)
	}
	w.Look(time.Now())
	if known := w.InForce(); known != nil {
		t.Errorf("%+v is known", known)
	}
}

// TestWatchConcurrent has messages judged while both files change together: each message sees both as they were, or both as they are.
func TestWatchConcurrent(t *testing.T) {
	dir := t.TempDir()
	c := Sources{LoadDomains: config.LoadDomains, DomainsFile: filepath.Join(dir, "domains"), ProviderIndex: filepath.Join(dir, "index")}
	write := func(n int) {
		replace(t, c.DomainsFile, fmt.Sprintf("list%d.test\n!old.test\n", n%2), written.Add(time.Duration(n)*time.Second))
		replace(t, c.ProviderIndex, strings.ReplaceAll(indexOf(1, 1), "p0d0", fmt.Sprintf("index%d", n%2)), written.Add(time.Duration(n)*time.Second))
	}
	write(0)
	w, err := Open(c, new(metrics.Registry), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var messages sync.WaitGroup
	for range 4 {
		messages.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				known := w.InForce()
				list, _ := known.Certified("list0.test")
				index, _ := known.Certified("index0.test")
				if list != index || known.Verifier() == nil {
					t.Error("a message saw one file as it was and the other as it is")
					return
				}
			}
		})
	}
	for n := 1; n <= 50; n++ {
		write(n)
		w.Look(written.Add(time.Hour))
		if certified, _ := w.InForce().Certified(fmt.Sprintf("index%d.test", n%2)); !certified {
			t.Errorf("change %d is not in force", n)
		}
	}
	close(stop)
	messages.Wait()
}
