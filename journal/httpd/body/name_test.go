package body

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

func TestFileName(t *testing.T) {
	long := strings.Repeat("è", 100)
	for _, c := range []struct{ name, in, want string }{
		{"plain", "fattura 12.pdf", "fattura 12.pdf"},
		{"letters", "Modulo però.docx", "Modulo però.docx"},
		{"composed", "pero\u0300.txt", "però.txt"},
		{"path", "../../etc/passwd", "_.._etc_passwd"},
		{"path of Windows", `C:\a\b.txt`, "C__a_b.txt"},
		{"other slashes", "a\u2215b\uff0fc\u2044d", "a_b_c_d"},
		{"turned around", "fattura\u202efdp.exe", "fatturafdp.exe"},
		{"invisible", "a\u200b\u2066\u00ad\ufeffb.txt", "ab.txt"},
		{"control characters", "a\x00\r\n\tb.txt", "a b.txt"},
		{"hidden", ".bashrc", "bashrc"},
		{"dots at the end", "a.exe. . ", "a.exe"},
		{"spaces that push the extension out of sight", "a.pdf" + strings.Repeat("\u00a0", 50) + ".exe", "a.pdf .exe"},
		{"device", "con.txt", "_con.txt"},
		{"device with a space", "NUL .txt", "_NUL .txt"},
		{"long", long + ".pdf", strings.Repeat("è", 58) + ".pdf"},
		{"long extension", "a." + strings.Repeat("b", 200), "a." + strings.Repeat("b", 118)},
		{"not UTF-8", "a\xffb", "a_b"},
		{"nothing left", " ..\u200b ", "part-2"},
		{"empty", "", "part-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := FileName(c.in, "part-2"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzFileName(f *testing.F) {
	for _, s := range []string{"a/b.pdf", "con", "a\u202eb", strings.Repeat("x.", 200), "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := FileName(s, "part")
		if name == "" || len(name) > maxName+1 || !utf8.ValidString(name) || strings.ContainsAny(name, `/\:*?"<>|`) || strings.Trim(name, ". ") != name ||
			strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
			t.Fatalf("%q becomes %q", s, name)
		}
		_, params, err := mime.ParseMediaType(Disposition("attachment", name))
		if err != nil || params["filename"] != name {
			t.Fatalf("%q: %s, %v", name, Disposition("attachment", name), err)
		}
	})
}

func TestDisposition(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"a b.pdf", `attachment; filename="a b.pdf"`},
		{"però.pdf", `attachment; filename="per_.pdf"; filename*=utf-8''per%C3%B2.pdf`},
	} {
		if got := Disposition("attachment", c.name); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestServedType serves nothing under a type that a browser runs.
func TestServedType(t *testing.T) {
	for name, want := range map[string]string{
		"a.pdf": "application/pdf", "A.PDF": "application/pdf", "a.txt": "text/plain", "a.html": "application/octet-stream", "a.svg": "application/octet-stream",
		"a.xml": "application/octet-stream", "a.js": "application/octet-stream", "a": "application/octet-stream", "a.exe": "application/octet-stream",
	} {
		if got := ServedType(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// archived returns a ZIP of empty files.
func archived(t testing.TB, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestExamine(t *testing.T) {
	wide := func(s string) string { return strings.Join(strings.Split(s, ""), "\x00") + "\x00" }
	const ole = "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
	encrypted := []byte(archived(t, "a.txt"))
	encrypted[6] |= 1
	for _, c := range []struct {
		name, file, content string
		want                Danger
		partly              bool
	}{
		{"a document", "a.pdf", "%PDF-1.7", DangerNone, false},
		{"no content", "a.txt", "", DangerNone, false},
		{"a program by its name", "fattura.pdf.EXE", "x", DangerProgram, false},
		{"a script by its name", "a.js", "x", DangerProgram, false},
		{"a shortcut by its name", "a.lnk", "x", DangerProgram, false},
		{"a dot at the end", "a.exe.", "x", DangerProgram, false},
		{"a signed program", "a.exe.p7m", "x", DangerProgram, false},
		{"a signed invoice", "IT01234567890_00001.xml.p7m", "x", DangerNone, false},
		{"a document with macros by its name", "a.xlsm", "x", DangerMacros, false},
		{"a web page by its name", "a.html", "x", DangerPage, false},
		{"a disk image by its name", "a.iso", "x", DangerImage, false},
		{"a program by its content", "a.pdf", "MZ" + strings.Repeat("\x00", 100), DangerProgram, false},
		{"two letters", "a.txt", "MZ", DangerNone, false},
		{"a shell script", "a.txt", "#!/bin/sh\n", DangerProgram, false},
		{"a shortcut by its content", "a.txt", "L\x00\x00\x00\x01\x14\x02\x00", DangerProgram, false},
		{"a web page by its content", "a.txt", "\xef\xbb\xbf \r\n<!DOCTYPE HTML>", DangerPage, false},
		{"SVG", "a.xml", "<?xml version=\"1.0\"?><svg>", DangerPage, false},
		{"XML", "a.xml", "<?xml version=\"1.0\"?><postacert>", DangerNone, false},
		{"an archive", "a.zip", archived(t, "a.txt", "b/c.pdf"), DangerNone, false},
		{"a program in an archive", "a.zip", archived(t, "a.txt", "b/c.scr"), DangerProgram, false},
		{"a program in an archive of another name", "a.dat", archived(t, "c.vbs"), DangerProgram, false},
		{"a document", "a.docx", archived(t, "[Content_Types].xml", "word/document.xml", "word/printerSettings1.bin"), DangerNone, false},
		{"macros in a document", "a.docx", archived(t, "[Content_Types].xml", "word/vbaProject.bin"), DangerMacros, false},
		{"macros in OpenDocument", "a.odt", archived(t, "mimetype", "Basic/script-lc.xml"), DangerMacros, false},
		{"an encrypted archive", "a.zip", string(encrypted), DangerEncrypted, false},
		{"an old document", "a.doc", ole + wide("WordDocument"), DangerNone, false},
		{"an old document with macros", "a.doc", ole + strings.Repeat("x", 70000) + wide("_VBA_PROJECT"), DangerMacros, false},
		{"another archive", "a.rar", "Rar!\x1a\x07\x01\x00", DangerNone, true},
		{"a large archive", "a.zip", archived(t, "a.txt") + strings.Repeat("x", maxExamined), DangerNone, true},
		{"a large archive with a program at its end", "a.zip", archived(t, "a.txt") + strings.Repeat("x", maxExamined-300) + archived(t, "b.exe"), DangerProgram, false},
		{"a truncated archive", "a.zip", archived(t, "a.txt")[:20], DangerNone, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.content), iotest.HalfReader(strings.NewReader(c.content))} {
				if got, whole, err := Examine(c.file, r); err != nil || got != c.want || whole == c.partly {
					t.Errorf("%q, whole %v, %v; want %q", got, whole, err, c.want)
				}
			}
		})
	}
}

func TestExamineFault(t *testing.T) {
	fault := errors.New("fault")
	for _, before := range []string{"", archived(t, "a.txt")} {
		if _, _, err := Examine("a.zip", io.MultiReader(strings.NewReader(before), iotest.ErrReader(fault))); !errors.Is(err, fault) {
			t.Errorf("%d bytes before: %v", len(before), err)
		}
	}
}

func FuzzExamine(f *testing.F) {
	f.Add("a.zip", archived(f, "a.txt"))
	f.Add("a.doc", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1x")
	f.Fuzz(func(t *testing.T, name, content string) {
		danger, _, err := Examine(name, strings.NewReader(content))
		if err != nil || worse(danger, dangerByName(name)) != danger {
			t.Fatalf("%q, %v", danger, err)
		}
	})
}

func TestImageType(t *testing.T) {
	gif, _ := base64.StdEncoding.DecodeString(onePixel)
	for _, c := range []struct{ name, content, want string }{
		{"GIF", string(gif), "image/gif"}, {"PNG", "\x89PNG\r\n\x1a\n", "image/png"}, {"JPEG", "\xff\xd8\xff", "image/jpeg"},
		{"SVG", "<svg xmlns=x>", ""}, {"text", "words", ""}, {"nothing", "", ""}, {"BMP", "BM", ""},
	} {
		if got := ImageType([]byte(c.content)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
