package intake

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const apple = "<?xml version=\"1.0\"?>\n<plist><dict>\n<key>date-received</key>\n<integer>1557126489</integer>\n<key>flags</key>\n<integer>%d</integer>\n</dict></plist>\n"

// emlx returns a file of Apple Mail.
func emlx(message string, flags int) string {
	return fmt.Sprintf("%-10d\n%s", len(message), message) + fmt.Sprintf(apple, flags)
}

// TestFile finds out what single files are.
func TestFile(t *testing.T) {
	for _, test := range []struct {
		name, file, content string
		want                []string
		left                string // the beginning of what was left: its kind, and why
	}{
		{"eml", "a.eml", one, []string{one}, ""},
		{"eml, CRLF", "a.eml", crlf(one), []string{crlf(one)}, ""},
		{"eml, mixed", "a.eml", crlf("Subject: uno\n\n") + "a\nb\r\n", []string{crlf("Subject: uno\n\n") + "a\nb\r\n"}, ""},
		{"eml, byte order mark", "a.eml", "\xef\xbb\xbf" + one, []string{one}, ""},
		{"eml, blank lines on top", "a.eml", "\r\n\n" + one, []string{one}, ""},
		{"eml, From line", "a.eml", dated + one, []string{one}, ""},
		{"eml, byte order mark and From line", "a.eml", "\xef\xbb\xbf\r\n" + dated + one, []string{one}, ""},
		{"eml, no final line end", "a.eml", "Subject: uno\n\nx", []string{"Subject: uno\n\nx"}, ""},
		{"eml, NUL, lone CR and 0x1a", "a.eml", "Subject: uno\n\n\x00\rx\x1a", []string{"Subject: uno\n\n\x00\rx\x1a"}, ""},
		{"eml of one odd field", "a.eml", "Foo: bar\n\nx", []string{"Foo: bar\n\nx"}, ""},
		{"message without a name for it", "5d41402a", one, []string{one}, ""},
		{"plain text named msg", "a.msg", one, []string{one}, ""},
		{"emlx", "1.emlx", emlx(one, 1), []string{one}, ""},
		{"emlx, count not padded", "1.emlx", fmt.Sprintf("%d\n%s", len(one), one), []string{one}, ""},
		{"emlx, deleted", "1.emlx", emlx(one, 3), nil, "skipped Apple Mail has deleted it"},
		{"emlx, count too large", "1.emlx", fmt.Sprintf("%d\n%s", len(one)+5, one), nil, "refused a damaged file of Apple Mail"},
		{"emlx, count too small", "1.emlx", fmt.Sprintf("%d\n%s", len(one)-5, one), nil, "refused a damaged file of Apple Mail"},
		{"emlx without its attachments", "1.partial.emlx", emlx(one, 1), nil, "refused Apple Mail keeps its attachments apart"},
		{"emlx without a count", "1.emlx", one, []string{one}, ""},
		{"text", "leggimi.txt", "Ciao, ecco la posta.\n", nil, "refused no mail"},
		{"text with a colon", "leggimi.txt", "Nota: ecco la posta.\n", nil, "refused no mail"},
		{"empty", "Inbox", "", nil, "skipped it is empty"},
		{"blank", "Inbox", "\r\n\r\n", nil, "skipped it is empty"},
		{"Outlook", "a.msg", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + strings.Repeat("x", 600), nil, "refused a message of Outlook"},
		{"PST", "a.pst", "!BDN" + strings.Repeat("x", 600), nil, "refused a data file of Outlook"},
		{"Outlook Express 4", "Inbox.mbx", "JMF6" + strings.Repeat("x", 600), nil, "refused a mailbox of Outlook Express 4"},
		{"gzip", "a.mbox.gz", "\x1f\x8b\x08", nil, "refused compressed (gzip)"},
		{"zstd", "a.zst", "\x28\xb5\x2f\xfd", nil, "refused compressed (zstd)"},
		{"winmail.dat", "winmail.dat", "\x78\x9f\x3e\x22", nil, "refused an attachment of Outlook"},
		{"tar", "a.tar", strings.Repeat("\x00", 257) + "ustar\x00", nil, "refused an archive (tar)"},
		{"UTF-16", "a.eml", "\xff\xfeF\x00", nil, "refused text in UTF-16"},
		{"no ZIP", "a.zip", "Subject: x\n\n", nil, "refused a ZIP that cannot be read"},
		{"ZIP cut short", "a.zip", "PK\x03\x04abcdef", nil, "refused a ZIP that cannot be read"},
		{"index", "Inbox.msf", "// <!-- <mdb:mork:z v=\"1.4\"/> -->", nil, "skipped an index"},
		{"mail named as an index", "Inbox.msf", dated + one, []string{one}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			pieces, left := walkBytes(t, test.file, []byte(test.content))
			if got := texts(pieces); !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
			var why string
			if len(left) > 0 {
				why = string(left[0].Kind) + " " + left[0].Why
			}
			if len(left) > 1 || test.left == "" && why != "" || !strings.HasPrefix(why, test.left) {
				t.Errorf("left %+v, want %q", left, test.left)
			}
		})
	}
}

// zipEntry is an entry of a ZIP.
type zipEntry struct {
	zip.FileHeader
	content string
}

func makeZIP(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, e := range entries {
		w, err := z.CreateHeader(&e.FileHeader)
		if err == nil {
			_, err = io.WriteString(w, e.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func named(name, content string) zipEntry {
	return zipEntry{zip.FileHeader{Name: name, Method: zip.Deflate}, content}
}

// TestZIP reads ZIPs as programs of several systems make them.
func TestZIP(t *testing.T) {
	unmarked := func(name string) zipEntry {
		return zipEntry{zip.FileHeader{Name: name, NonUTF8: true, Method: zip.Store}, one}
	}
	encrypted := makeZIP(t, named("segreto.eml", one), named("b.eml", two))
	for _, signature := range []string{"PK\x01\x02", "PK\x03\x04"} { // the flags of the first entry, in both its headers
		at := bytes.Index(encrypted, []byte(signature)) + map[string]int{"PK\x01\x02": 8, "PK\x03\x04": 6}[signature]
		encrypted[at] |= 1
	}
	deep := makeZIP(t, named("a.eml", one))
	for range 3 {
		deep = makeZIP(t, named("dentro.zip", string(deep)))
	}
	for _, test := range []struct {
		name string
		zip  []byte
		want []string // folder and source
		left []string // kind and source
	}{
		{"files and an mbox", makeZIP(t, named("Lavoro/a.eml", one), named("Lavoro/Fatture.mbox", dated+one+"\n"+dated+two)),
			[]string{"Lavoro|p.zip: Lavoro/a.eml", "Lavoro/Fatture|p.zip: Lavoro/Fatture.mbox at 0", "Lavoro/Fatture|p.zip: Lavoro/Fatture.mbox at 83"}, nil},
		{"UTF-8 without a mark", makeZIP(t, unmarked("Attività/a.eml")), []string{"Attività|p.zip: Attività/a.eml"}, nil},
		{"code page of the system", makeZIP(t, unmarked("Attivit\x85/a.eml")), []string{"Attività|p.zip: Attività/a.eml"}, nil},
		{"code page of the system, in Italy", makeZIP(t, unmarked("PERCH\xd4/a.eml")), []string{"PERCHÈ|p.zip: PERCHÈ/a.eml"}, nil},
		{"backslashes", makeZIP(t, unmarked(`Lavoro\Fatture\a.eml`)), []string{"Lavoro/Fatture|p.zip: Lavoro/Fatture/a.eml"}, nil},
		{"ways out", makeZIP(t, unmarked("../../etc/a.eml"), unmarked("/b.eml")), []string{"etc|p.zip: etc/a.eml", "|p.zip: b.eml"}, nil},
		{"two of one name", makeZIP(t, named("a.eml", one), named("a.eml", two)), []string{"|p.zip: a.eml", "|p.zip: a.eml"}, nil},
		{"macOS", makeZIP(t, named("a.eml", one), named("__MACOSX/._a.eml", "\x00\x05\x16\x07")), []string{"|p.zip: a.eml"}, []string{"skipped p.zip: __MACOSX/._a.eml"}},
		{"Maildir", makeZIP(t, named("M/cur/1557126489.a:2,S", one), named("M/.Lavoro.Attivit&AOA-/new/1557126489.b", two), named("M/tmp/x", one)),
			[]string{"M|p.zip: M/cur/1557126489.a:2,S", "M/Lavoro/Attività|p.zip: M/.Lavoro.Attivit&AOA-/new/1557126489.b"}, []string{"refused p.zip: M/tmp/x"}},
		{"encrypted", encrypted, []string{"|p.zip: b.eml"}, []string{"refused p.zip: segreto.eml"}},
		{"ZIP in a ZIP", makeZIP(t, named("Altro/q.zip", string(makeZIP(t, named("L/a.eml", one))))), []string{"Altro/q/L|p.zip: Altro/q.zip: L/a.eml"}, nil},
		{"too deep", deep, nil, []string{"refused p.zip: dentro.zip: dentro.zip"}},
		{"empty", makeZIP(t), nil, nil},
		{"something before it", append([]byte("MZ stub"), makeZIP(t, named("a.eml", one))...), []string{"|p.zip: a.eml"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			pieces, left := walkBytes(t, "p.zip", test.zip)
			var got, gotLeft []string
			for _, p := range pieces {
				if p.text != one && p.text != two {
					t.Errorf("%s: %q", p.source, p.text)
				}
				got = append(got, p.folder+"|"+p.source)
			}
			for _, l := range left {
				gotLeft = append(gotLeft, string(l.Kind)+" "+l.Source)
			}
			if !slices.Equal(got, test.want) || !slices.Equal(gotLeft, test.left) {
				t.Errorf("%q, left %q", got, gotLeft)
			}
		})
	}
}

// columns begin a manifest, and rows are some of it, each with a folder of its own that begins so.
const columns = "file,folder,date,sha256,changed,offset,length\n"

func rows(n int, folder string) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "%d.eml,%s%d,2019-05-06T07:08:09Z,%064d,,,\n", i, folder, i, 0)
	}
	return all.String()
}

// TestZIPBombs reads no more than the limits say, whatever a ZIP says of itself.
func TestZIPBombs(t *testing.T) {
	big := one + strings.Repeat("a", 3<<20)
	many := make([]zipEntry, 30)
	for i := range many {
		many[i] = named(fmt.Sprint(i, ".eml"), one)
	}
	for _, test := range []struct {
		name   string
		zip    []byte
		limits Limits
		want   int
		why    string
	}{
		{"one large entry", makeZIP(t, named("a.eml", big), named("b.eml", two)), Limits{Entry: 1 << 20, All: 1 << 40, Entries: 99, Depth: 2}, 1, "larger than 1048576 bytes"},
		{"all together", makeZIP(t, named("a.eml", one), named("b.eml", big), named("c.eml", two)), Limits{Entry: 4 << 20, All: 2 << 20, Entries: 99, Depth: 2}, 1, "larger than 2097152 bytes together"},
		{"many entries", makeZIP(t, many...), Limits{Entry: 1 << 20, All: 1 << 40, Entries: 10, Depth: 2}, 10, "more than 10 files"},
		{"a manifest of one line", makeZIP(t, named("manifest.csv", columns+strings.Repeat("\"x\n\"", 1<<20)), named("b.eml", two)), DefaultLimits(), 1, "a line is too long"},
		{"a manifest of one line from the start", makeZIP(t, named("manifest.csv", "\""+strings.Repeat("x\n", 1<<20)), named("b.eml", two)), DefaultLimits(), 1, "a table of an export"},
		{"a manifest of many rows", makeZIP(t, named("manifest.csv", columns+rows(99, "INBOX")), named("b.eml", two)), Limits{1 << 20, 1 << 40, 10, 2, 50}, 1, "more than 50 messages"},
		{"a manifest of long folders", makeZIP(t, named("manifest.csv", columns+rows(400, strings.Repeat("x", 60_000))), named("b.eml", two)), DefaultLimits(), 1, "too many folders"},
		{"no mail", makeZIP(t, named("a.eml", strings.Repeat("\x00", 8<<20)), named("b.eml", two)), Limits{Entry: 1 << 30, All: 1 << 20, Entries: 10, Depth: 2}, 1, "no mail"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pieces, why := 0, ""
			for f, err := range WalkFile(t.Context(), bytes.NewReader(test.zip), int64(len(test.zip)), Options{Limits: test.limits, Name: "p.zip", Temp: t.TempDir()}) {
				switch {
				case err != nil:
					t.Fatal(err)
				case f.Left != nil:
					why += f.Left.Why
				default:
					pieces++
				}
			}
			if pieces != test.want || !strings.Contains(why, test.why) {
				t.Errorf("%d messages, left %q", pieces, why)
			}
		})
	}
	// A file is bounded as an entry is.
	pieces, left := 0, ""
	for f, err := range WalkFile(t.Context(), strings.NewReader(dated+big), int64(len(dated+big)), Options{Limits: Limits{Entry: 1 << 20}, Name: "Inbox"}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Left != nil {
			left = f.Left.Why
		} else {
			pieces++
		}
	}
	if pieces != 0 || !strings.Contains(left, "larger than 1048576 bytes") {
		t.Errorf("a large file: %d messages, left %q", pieces, left)
	}
	// The directory itself may be the bomb.
	directory := &bounded{r: bytes.NewReader(makeZIP(t, many...)), left: 100}
	if _, err := zip.NewReader(directory, directory.r.(*bytes.Reader).Size()); !errors.Is(err, errDirectory) {
		t.Errorf("long directory: %v", err)
	}
}

// TestFolder walks a folder with all that may lie there.
func TestFolder(t *testing.T) {
	root := t.TempDir()
	at := time.Unix(1557126489, 0)
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("eml/Fatture/a.eml", one)
	write("maildir/cur/1557126489.M1P2.host,S=42:2,S", one)
	write("maildir/cur/1557126489.M2P2.host;2,FS", one)
	write("maildir/cur/1557120000.M3P2.host_2,S", one)
	write("maildir/new/1557126489.M4P2.host", two)
	write("maildir/new/1557126490.M7P2.host", "no header\n")
	write("maildir/new/1557126491.M8P2.host:2,SZ", "\x1f\x8b\x08compressed")
	write("maildir/new/LEGGIMI", "Ciao.\n")
	write("maildir/tmp/1557126489.M5P2.host", two)
	write("maildir/dovecot.index", "\x07\x03")
	write("maildir/.Lavoro.Fatture/cur/1557126489.M6P2.host!2,", two)
	write("Thunderbird/Inbox", dated+one)
	write("Thunderbird/Inbox.msf", "// <!-- <mdb:mork:z v=\"1.4\"/> -->")
	write("Thunderbird/Inbox.sbd/Lavoro", dated+two)
	write("Thunderbird/Empty", "")
	write("Apple/Lavoro.mbox/mbox", dated+one)
	write("Apple/V8/INBOX.mbox/1-2-3/Data/4/Messages/17.emlx", emlx(two, 1))
	write("Apple/V8/INBOX.mbox/1-2-3/Data/4/Messages/18.partial.emlx", emlx(two, 1))
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "link.eml")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for f, err := range Walk(t.Context(), root, Options{Limits: DefaultLimits(), Temp: t.TempDir()}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case f.Left != nil:
			got = append(got, string(f.Left.Kind)+" "+f.Left.Source)
		default:
			line := f.Folder + " | " + f.Piece.Source
			if !f.Date.IsZero() {
				line += " | " + f.Date.Format(time.RFC3339)
			}
			got = append(got, line)
		}
	}
	want := []string{
		"Apple/Lavoro | Apple/Lavoro.mbox/mbox at 0 | 2019-05-06T07:08:09Z",
		"INBOX | Apple/V8/INBOX.mbox/1-2-3/Data/4/Messages/17.emlx | 2019-05-06T07:08:09Z",
		"refused Apple/V8/INBOX.mbox/1-2-3/Data/4/Messages/18.partial.emlx",
		"skipped Thunderbird/Empty",
		"Thunderbird/Inbox | Thunderbird/Inbox at 0 | 2019-05-06T07:08:09Z",
		"skipped Thunderbird/Inbox.msf",
		"Thunderbird/Inbox/Lavoro | Thunderbird/Inbox.sbd/Lavoro at 0 | 2019-05-06T07:08:09Z",
		"eml/Fatture | eml/Fatture/a.eml",
		"refused link.eml",
		"maildir/Lavoro/Fatture | maildir/.Lavoro.Fatture/cur/1557126489.M6P2.host!2, | 2019-05-06T07:08:09Z",
		"maildir | maildir/cur/1557120000.M3P2.host_2,S",
		"maildir | maildir/cur/1557126489.M1P2.host,S=42:2,S | 2019-05-06T07:08:09Z",
		"maildir | maildir/cur/1557126489.M2P2.host;2,FS | 2019-05-06T07:08:09Z",
		"skipped maildir/dovecot.index",
		"maildir | maildir/new/1557126489.M4P2.host | 2019-05-06T07:08:09Z",
		"maildir | maildir/new/1557126490.M7P2.host | 2019-05-06T07:08:10Z",
		"refused maildir/new/1557126491.M8P2.host:2,SZ",
		"refused maildir/new/LEGGIMI",
		"refused maildir/tmp/1557126489.M5P2.host",
		"refused pipe",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}

	t.Run("too deep", func(t *testing.T) {
		deep := t.TempDir()
		if err := os.MkdirAll(filepath.Join(deep, strings.Repeat("a/", maxLevels+1)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(deep, strings.Repeat("a/", maxLevels), "b.eml"), []byte(one), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		for f, err := range Walk(t.Context(), deep, Options{Limits: DefaultLimits()}) {
			switch {
			case err != nil:
				t.Fatal(err)
			case f.Left != nil:
				got = append(got, f.Left.Why)
			default:
				got = append(got, "a message")
			}
		}
		if want := []string{"it lies too deep: import it by itself", "a message"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	t.Run("nothing there", func(t *testing.T) {
		for _, err := range Walk(t.Context(), filepath.Join(root, "absent"), Options{}) {
			if !errors.Is(err, ErrSource) {
				t.Errorf("error %v", err)
			}
		}
	})
	t.Run("stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n, last := 0, error(nil)
		for f, err := range Walk(ctx, root, Options{Limits: DefaultLimits()}) {
			if last = err; f.Piece != nil {
				n++
				cancel()
			}
		}
		if n != 1 || !errors.Is(last, context.Canceled) {
			t.Errorf("%d messages, %v", n, last)
		}
	})
}

func TestDecodeUTF7(t *testing.T) {
	for name, want := range map[string]string{
		"Lavoro": "Lavoro", "Attivit&AOA-": "Attività", "R&-D": "R&D", "&ZeVnLIqe-": "日本語", "&bad": "&bad", "&A-": "&A-", "&AOA": "&AOA",
	} {
		if got := decodeUTF7(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// FuzzFile reads anything as a file of any name: it ends, and what it yields can be read.
func FuzzFile(f *testing.F) {
	f.Add("a.eml", []byte(one))
	f.Add("1.emlx", []byte(emlx(one, 1)))
	f.Add("p.zip", makeZIP(f, named("a.eml", one)))
	f.Add("manifest.csv", []byte("file,folder,date,sha256,changed,offset,length\nx,,,,,,\n"))
	f.Add("Attivit&AOA-.mbox", []byte("\xef\xbb\xbf\n"+dated+one))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		limits := Limits{Entry: 1 << 20, All: 4 << 20, Entries: 100, Depth: 2}
		for f, err := range WalkFile(t.Context(), bytes.NewReader(content), int64(len(content)), Options{Limits: limits, Name: name, Temp: t.TempDir()}) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Piece != nil {
				if n, err := io.Copy(io.Discard, f.Message); err != nil || f.Size >= 0 && n != f.Size {
					t.Fatalf("%d of %d bytes: %v", n, f.Size, err)
				}
			}
		}
		placeOf(name)
	})
}
