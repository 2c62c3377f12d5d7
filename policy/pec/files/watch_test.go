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

// indexOf makes an index of some providers with some domains each. The first domain is p0d0.test.
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

// TestWatch goes through what can happen to the files under a daemon, look by look.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	domains, index, bundle := filepath.Join(dir, "domains"), filepath.Join(dir, "igpec.ldif"), filepath.Join(dir, "bundle.pem")
	pectest.Overwrite(t, domains, "list.test\n", pectest.Written)
	pectest.Overwrite(t, index, indexOf(20, 2), pectest.Written)
	pectest.Overwrite(t, bundle, string(pectest.NewAuthority().PEM()), pectest.Written)
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
	later := func(seconds int) time.Time { return pectest.Written.Add(time.Duration(seconds) * time.Second) }
	remove := func(path string) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	now := pectest.Written.Add(24 * time.Hour)
	const ahead = 25 * 3600
	sealed := string(pectest.CMS{Identity: pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba")).Sender.Identity,
		Digest: crypto.SHA256, Time: pectest.Start, Enclose: true}.Sign([]byte(indexOf(40, 3))))
	for _, step := range []struct {
		name    string
		change  func()
		inForce string   // of the index
		since   int64    // when the index in force was written, in seconds after the first
		failing bool     // the index
		logged  []string // what each line must contain, separated by bars
	}{
		{"nothing happened", func() {}, "20 providers, 40 domains", 0, false, nil},
		{"renamed into place", func() { pectest.Replace(t, index, indexOf(20, 3), later(10)) },
			"20 providers, 60 domains", 10, false, []string{`INFO|file="provider index" detail="` + index + `, 20 providers, 60 domains"`}},
		{"rewritten in place", func() { pectest.Overwrite(t, index, indexOf(21, 3), later(20)) }, "21 providers, 63 domains", 20, false,
			[]string{"21 providers"}},
		{"of the same size and time, another inode", func() {
			pectest.Replace(t, index, strings.ReplaceAll(indexOf(21, 3), "p0d0.test", "p0d1.test"), later(20))
		}, "21 providers, 62 domains", 20, false, []string{"62 domains"}},
		{"of the same size, in place", func() { pectest.Overwrite(t, index, indexOf(21, 3), later(30)) }, "21 providers, 63 domains", 30, false,
			[]string{"63 domains"}},
		{"of the same time, in place", func() { pectest.Overwrite(t, index, indexOf(25, 3), later(30)) }, "25 providers, 75 domains", 30, false,
			[]string{"75 domains"}},
		{"older than before", func() { pectest.Replace(t, index, indexOf(22, 3), later(5)) }, "22 providers, 66 domains", 5, false,
			[]string{"66 domains"}},
		{"being written", func() { pectest.Overwrite(t, index, indexOf(11, 3), now.Add(-untouchedTime+time.Second)) }, "22 providers, 66 domains", 5, false, nil},
		{"being written, by a clock that is ahead", func() { pectest.Overwrite(t, index, indexOf(12, 3), now.Add(untouchedTime-time.Second)) },
			"22 providers, 66 domains", 5, false, nil},
		{"written", func() { pectest.Overwrite(t, index, indexOf(23, 3), later(40)) }, "23 providers, 69 domains", 40, false, []string{"69 domains"}},
		{"by a clock that is far ahead", func() { pectest.Overwrite(t, index, indexOf(23, 2), now.Add(time.Hour)) }, "23 providers, 46 domains", ahead, false,
			[]string{"46 domains"}},
		{"broken", func() { pectest.Replace(t, index, "no LDIF", later(50)) }, "23 providers, 46 domains", ahead, true,
			[]string{"ERROR|put a whole one in its place|" + index + "|line 1: not an attribute"}},
		{"still broken", func() {}, "23 providers, 46 domains", ahead, true, nil},
		{"broken anew", func() { pectest.Replace(t, index, "no LDIF", later(60)) }, "23 providers, 46 domains", ahead, true,
			[]string{"line 1: not an attribute"}},
		{"no provider", func() { pectest.Replace(t, index, "", later(70)) }, "23 providers, 46 domains", ahead, true, []string{"no provider in it"}},
		{"gone", func() { remove(index) }, "23 providers, 46 domains", ahead, true, []string{"no such file"}},
		{"still gone", func() {}, "23 providers, 46 domains", ahead, true, nil},
		{"a folder", func() {
			if err := os.Mkdir(index, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(index, pectest.Written, pectest.Written); err != nil {
				t.Fatal(err)
			}
		}, "23 providers, 46 domains", ahead, true, []string{"is a directory"}},
		{"still a folder", func() {}, "23 providers, 46 domains", ahead, true, nil},
		{"whole again", func() { remove(index); pectest.Replace(t, index, indexOf(40, 3), later(80)) }, "40 providers, 120 domains", 80, false,
			[]string{"INFO"}},
		{"cut", func() { pectest.Replace(t, index, indexOf(40, 3)[:len(indexOf(19, 3))], later(90)) }, "40 providers, 120 domains", 80, true,
			[]string{"ERROR|19 providers, 57 domains|less than half of what is in force (40 providers, 120 domains)|restart the daemon"}},
		{"still cut", func() {}, "40 providers, 120 domains", 80, true, nil},
		{"half the domains", func() { pectest.Replace(t, index, indexOf(40, 1), later(100)) }, "40 providers, 120 domains", 80, true,
			[]string{"ERROR|40 providers, 40 domains|less than half"}},
		{"sealed, and cut", func() { pectest.Replace(t, index, sealed[:len(sealed)*3/4], later(110)) }, "40 providers, 120 domains", 80, true,
			[]string{"PKCS #7"}},
		{"sealed", func() { pectest.Replace(t, index, sealed, later(120)) }, "40 providers, 120 domains", 120, false, []string{"INFO"}},
		{"exactly half", func() { pectest.Replace(t, index, indexOf(20, 3), later(130)) }, "20 providers, 60 domains", 130, false, []string{"INFO"}},
		{"a good list beside a broken index", func() {
			pectest.Replace(t, index, "no LDIF", later(140))
			pectest.Replace(t, domains, "new.test\n", later(140))
		}, "20 providers, 60 domains", 130, true, []string{"INFO|list of domains|1 domains, 1 of them certified", "ERROR|provider index"}},
		{"a short list that gets shorter", func() {
			pectest.Replace(t, index, indexOf(20, 3), later(150))
			pectest.Replace(t, domains, "new.test\na.test\nb.test\n", later(150))
		}, "20 providers, 60 domains", 150, false, []string{"INFO|3 domains", "INFO|provider index"}},
		{"shorter", func() { pectest.Replace(t, domains, "new.test\n", later(160)) }, "20 providers, 60 domains", 150, false, []string{"1 domains"}},
		{"a wrong line in the list", func() { pectest.Replace(t, domains, "new.test\nno domain\n", later(170)) }, "20 providers, 60 domains", 150, false,
			[]string{"ERROR|" + domains + ":2|is not a domain|write a domain such as"}},
		{"the list in order", func() { pectest.Replace(t, domains, "new.test\n", later(180)) }, "20 providers, 60 domains", 150, false, []string{"INFO"}},
		{"a bundle that is cut", func() {
			pem := string(pectest.NewAuthority().PEM())
			pectest.Replace(t, bundle, pem+pem[:len(pem)/2], later(190))
		}, "20 providers, 60 domains", 150, false, []string{"ERROR|trust bundle|only 1 of 2 PEM blocks are whole"}},
	} {
		log.Reset()
		step.change()
		now = now.Add(time.Nanosecond)
		w.Look(now)
		providers, managed := w.inForce.Load().index.Len()
		if got := fmt.Sprintf("%d providers, %d domains", providers, managed); got != step.inForce {
			t.Errorf("%s: %s are in force, want %s", step.name, got, step.inForce)
		}
		if got := gauge("copialettere_pec_file_timestamp_seconds", "provider_index") - pectest.Written.Unix(); got != step.since {
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

// TestFileChangesWhileItIsRead: what was read is dropped, usable or not, and the next look takes the file as it is then.
func TestFileChangesWhileItIsRead(t *testing.T) {
	for name, found := range map[string]string{"usable": "found.test\n", "broken": "no domain\n"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "domains")
			pectest.Overwrite(t, file, "old.test\n", pectest.Written)
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
			pectest.Replace(t, file, found, pectest.Written.Add(time.Second))
			w.files[0].read = func(into *Set, path string) (extent, error) {
				x, err := w.sources.readDomains(into, path)
				pectest.Overwrite(t, path, "new.test\n", pectest.Written.Add(2*time.Second))
				return x, err
			}
			if w.Look(pectest.Written.Add(time.Hour)); !certified("old.test") || log.Len() > 0 {
				t.Errorf("a file that was changed meanwhile was taken: %s", &log)
			}
			w.files[0].read = w.sources.readDomains
			if w.Look(pectest.Written.Add(time.Hour)); !certified("new.test") || certified("old.test") || certified("found.test") {
				t.Errorf("the file is not in force: %s", &log)
			}
		})
	}
}

// TestFileThatCannotBeOpened: each look tries it again although nothing about it changes, and the fault is logged once.
func TestFileThatCannotBeOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "domains")
	pectest.Overwrite(t, file, "old.test\n", pectest.Written)
	var log bytes.Buffer
	w, err := Open(Sources{LoadDomains: config.LoadDomains, DomainsFile: file}, new(metrics.Registry), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	pectest.Replace(t, file, "new.test\n", pectest.Written.Add(time.Second))
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
		w.Look(pectest.Written.Add(time.Hour))
		if is, _ := w.InForce().Certified(step.inForce); !is || (log.Len() > 0) != (step.logged != "") || !strings.Contains(log.String(), step.logged) {
			t.Errorf("%s: %s is in force: %v, logged: %s", step.name, step.inForce, is, &log)
		}
	}
}

// TestWatchWithoutFiles: if [pec] names no file, there is nothing to look at, and nothing is known.
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

// TestWatchConcurrent judges messages while both files change together: each message sees both old or both new.
func TestWatchConcurrent(t *testing.T) {
	dir := t.TempDir()
	c := Sources{LoadDomains: config.LoadDomains, DomainsFile: filepath.Join(dir, "domains"), ProviderIndex: filepath.Join(dir, "index")}
	write := func(n int) {
		pectest.Replace(t, c.DomainsFile, fmt.Sprintf("list%d.test\n!old.test\n", n%2), pectest.Written.Add(time.Duration(n)*time.Second))
		pectest.Replace(t, c.ProviderIndex, strings.ReplaceAll(indexOf(1, 1), "p0d0", fmt.Sprintf("index%d", n%2)), pectest.Written.Add(time.Duration(n)*time.Second))
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
		w.Look(pectest.Written.Add(time.Hour))
		if certified, _ := w.InForce().Certified(fmt.Sprintf("index%d.test", n%2)); !certified {
			t.Errorf("change %d is not in force", n)
		}
	}
	close(stop)
	messages.Wait()
}
