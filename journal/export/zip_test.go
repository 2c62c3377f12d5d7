package export

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy/archive"
)

// TestZIPParts streams a ZIP whose tables are too long to be held: they come in parts, which together tell of all messages.
func TestZIPParts(t *testing.T) {
	var out bytes.Buffer
	z := NewZIP(&out, time.UTC)
	a := &archived{}
	m := a.add("INBOX/2026-11", strings.Repeat("s", 1000), november, []byte("Subject: x\r\n\r\n"))
	const messages = 4 * maxPart / 3 / 1000
	for i := range messages {
		m.UID = uint32(i + 1)
		if err := z.Add(m, strings.NewReader("Subject: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if z.manifest.Len() > maxPart+2000 || z.sums.Len() > maxPart+2000 {
			t.Fatalf("%d and %d bytes are held", z.manifest.Len(), z.sums.Len())
		}
	}
	if err := z.Miss(m); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(func(func(archive.Gap, error) bool) {}); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]bool)
	lines := 0
	for _, f := range r.File {
		files[f.Name] = true
		if strings.HasPrefix(f.Name, "manifest") {
			in, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			var table bytes.Buffer
			if _, err := table.ReadFrom(in); err != nil {
				t.Fatal(err)
			}
			lines += len(rowsOf(t, table.Bytes()))
		}
	}
	if lines != messages+1 || !files["manifest.csv"] || !files["manifest-2.csv"] || !files[incompleteName] || !files[gapsName] || !files[sumsName] || len(files) != messages+5 {
		t.Errorf("%d files, %d lines", len(files), lines)
	}
}

// TestPlainName makes names of files of anything.
func TestPlainName(t *testing.T) {
	for text, want := range map[string]string{
		"Perché no?":          "Perche-no",
		"..":                  "-",
		"../../etc":           "etc",
		"a\\b:c":              "a-b-c",
		"":                    "-",
		"🖋":                   "-",
		".htaccess ":          "htaccess",
		"Òa  —  b\u202egpj":   "Oa-b-gpj",
		"a b c d e f g h i j": "a-b-c-d-e",
	} {
		if got := PlainName(text, 10); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestZIPTime keeps times within what a ZIP can hold.
func TestZIPTime(t *testing.T) {
	for year, want := range map[int]int{1960: 1980, 1979: 1980, 1980: 1980, 2026: 2026, 2105: 2105, 2107: 2105, 2110: 2105} {
		if got := ZIPTime(time.Date(year, 6, 7, 8, 9, 10, 0, time.UTC)); got.Year() != want || got.Month() != 6 {
			t.Errorf("%d: %s", year, got)
		}
	}
}

// TestSumLine has sha256sum check files with odd names.
func TestSumLine(t *testing.T) {
	folder := t.TempDir()
	var sums strings.Builder
	for i, name := range []string{"plain", "a b", "new\nline", "back\\slash", "\\n", "perché", " x", "*x", "carriage\rreturn"} {
		content := []byte(fmt.Sprint(i))
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		sums.WriteString(sumLine(digestOf(content), name))
	}
	check := exec.Command("sha256sum", "--strict", "-c", "-")
	check.Dir, check.Stdin = folder, strings.NewReader(sums.String())
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNames gives no two messages the same name, also where case or signs alone differ.
func TestNames(t *testing.T) {
	a := &archived{}
	for _, folder := range []string{"INBOX/2026-11", "inbox/2026-11", "Imported/a:b/2026-11", "Imported/a;b/2026-11", "Imported/A b/2026-11"} {
		for range 2 {
			a.add(folder, "x", november, []byte("Subject: x\r\n\r\n"))
		}
	}
	for what, name := range map[string]func(n *names, m *Message) string{
		"eml": (*names).eml, "maildir": func(n *names, m *Message) string { folder, name := n.maildir(m); return folder + "/" + name },
	} {
		n := newNames(time.UTC)
		given := make(map[string]bool)
		for _, m := range a.messages {
			given[strings.ToLower(name(n, m))] = true
		}
		if len(given) != len(a.messages) {
			t.Errorf("%s: %q", what, slices.Sorted(maps.Keys(given)))
		}
	}
}

// sparse writes to a file, and leaves holes where zeros are.
type sparse struct{ *os.File }

func (s sparse) Write(b []byte) (int, error) {
	if len(b) > 4096 && b[0] == 0 {
		_, err := s.Seek(int64(len(b)), io.SeekCurrent)
		return len(b), err
	}
	return s.File.Write(b)
}

// TestZIPDirectory writes ZIPs with more files than a segment has, more than 65,535 files, and more than 4 GiB, and reads them with package zip and unzip.
func TestZIPDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		files int
		hole  int64 // bytes of a file before them
	}{
		"none": {}, "one segment": {files: segmentFiles}, "one more": {files: segmentFiles + 1}, "66,000 files": {files: 66_000}, "5 GiB": {files: segmentFiles + 10, hole: 5 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "out.zip"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			z := newZIPFile(sparse{file}, time.UTC, new(inMemory))
			if c.hole > 0 {
				hole := &zip.FileHeader{Name: "hole", Method: zip.Store, CompressedSize64: uint64(c.hole), UncompressedSize64: uint64(c.hole)}
				if err := z.addRaw(hole, zeros{}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range c.files {
				if err := z.add(fmt.Sprint(i, ".eml"), november, strings.NewReader(fmt.Sprint("message ", i))); err != nil {
					t.Fatal(err)
				}
			}
			if err := z.close(); err != nil {
				t.Fatal(err)
			}
			r, err := zip.OpenReader(file.Name())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if c.hole > 0 && len(r.File) > 0 {
				r.File = r.File[1:]
			}
			if len(r.File) != c.files {
				t.Fatalf("%d files, want %d", len(r.File), c.files)
			}
			for i, f := range r.File {
				if i%499 != 0 && i != c.files-1 {
					continue
				}
				in, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				content, err := io.ReadAll(in)
				if err != nil || string(content) != fmt.Sprint("message ", i) || f.Name != fmt.Sprint(i, ".eml") {
					t.Fatalf("%s: %q, %v", f.Name, content, err)
				}
			}
			if c.files == 0 {
				return
			}
			out, err := exec.Command("unzip", "-p", file.Name(), fmt.Sprint(c.files-1, ".eml")).CombinedOutput()
			if err != nil || string(out) != fmt.Sprint("message ", c.files-1) {
				t.Errorf("unzip: %q, %v", out, err)
			}
		})
	}
}

// TestZIPResumed spoils a ZIP of several segments in each of them, and just behind their ends. The same export again makes the same ZIP.
func TestZIPResumed(t *testing.T) {
	a := &archived{}
	for n := range 2*segmentFiles + 50 {
		a.add("INBOX/2026-11", fmt.Sprint(n), november, fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", n))
	}
	to := filepath.Join(scratch(t), "out.zip")
	export := func() (report *Report, content []byte) {
		t.Helper()
		o := a.options(FormZIP, to)
		o.Time = november
		report, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if content, err = os.ReadFile(to); err != nil {
			t.Fatal(err)
		}
		return report, content
	}
	_, want := export()
	r, err := zip.NewReader(bytes.NewReader(want), int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	// The first file is export.json.
	for _, kept := range []int{1, segmentFiles - 1, segmentFiles, segmentFiles + 1, 2 * segmentFiles, len(a.messages)} {
		at, err := r.File[kept+1].DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, want[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		if report, got := export(); report.Kept != uint64(kept) || !bytes.Equal(got, want) {
			t.Errorf("cut behind message %d: %d are kept, the same ZIP: %v", kept, report.Kept, bytes.Equal(got, want))
		}
	}
}
