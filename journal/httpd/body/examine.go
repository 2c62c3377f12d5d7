package body

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxExamined is how many bytes of one file Examine reads.
const maxExamined = 4 << 20

// Danger is why to be careful with a file. Nothing is no proof of harmlessness.
type Danger string

// The dangers, the worst first.
const (
	DangerProgram   Danger = "program"   // a program, a script or a shortcut to one, also in an archive
	DangerMacros    Danger = "macros"    // a document that can have macros, or has
	DangerPage      Danger = "page"      // a web page, which runs scripts on the computer that opens it
	DangerImage     Danger = "image"     // the image of a disk, whose files programs and virus scanners do not see
	DangerEncrypted Danger = "encrypted" // an archive with a password, which nobody has looked into
	DangerNone      Danger = ""
)

// dangerNames are the extensions of dangerous files.
var dangerNames = map[Danger][]string{
	DangerProgram: {
		"ade", "adp", "app", "appimage", "application", "appref-ms", "appx", "apk", "bat", "chm", "class", "cmd", "com", "command", "cpl", "deb",
		"diagcab", "dll", "dmg", "drv", "elf", "exe", "gadget", "hlp", "hta", "inf", "ins", "isp", "jar", "jnlp", "js", "jse", "library-ms", "lnk",
		"mam", "mde", "msc", "msi", "msix", "msp", "mst", "ocx", "one", "ops", "pcd", "pif", "pkg", "ps1", "psc1", "psd1", "psm1", "py", "pyw", "pyz", "rdp",
		"reg", "rpm", "scf", "scr", "sct", "search-ms", "searchconnector-ms", "settingcontent-ms", "sh", "shb", "shs", "sys", "theme", "themepack",
		"url", "vb", "vbe", "vbp", "vbs", "vxd", "website", "workflow", "ws", "wsc", "wsf", "wsh", "xbap", "xll", "xnk",
	},
	DangerMacros: {"docm", "dotm", "iqy", "potm", "ppam", "ppsm", "pptm", "sldm", "slk", "wll", "xla", "xlam", "xlm", "xlsb", "xlsm", "xltm"},
	DangerPage:   {"htm", "html", "mht", "mhtml", "shtml", "svg", "svgz", "xht", "xhtml"},
	DangerImage:  {"cue", "img", "iso", "udf", "vhd", "vhdx", "vmdk", "wim"},
}

// dangerByName returns what the extension of a name says. A signature around a file (.p7m and so on) does not hide it.
func dangerByName(name string) Danger {
	name = strings.ToLower(strings.TrimRight(name, ". \x00"))
	for {
		extension := strings.TrimPrefix(path.Ext(name), ".")
		switch extension {
		case "p7m", "p7s", "p7e", "m7m", "tsd", "tst", "asc", "gpg", "gz", "bz2", "xz":
			name = strings.TrimRight(name[:len(name)-len(extension)-1], ". ")
			continue
		}
		for _, danger := range []Danger{DangerProgram, DangerMacros, DangerPage, DangerImage} {
			for _, known := range dangerNames[danger] {
				if extension == known {
					return danger
				}
			}
		}
		return DangerNone
	}
}

// dangerByBeginning returns what the first bytes of a file say.
func dangerByBeginning(b []byte) Danger {
	text := bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case hasAny(text, "<html", "<!doctype html", "<script", "<svg", "<body", "<head"), hasAny(text, "<?xml") && bytes.Contains(text, []byte("<svg")):
		return DangerPage
	case len(b) > 64 && bytes.HasPrefix(b, []byte("MZ")), bytes.HasPrefix(b, []byte("\x7fELF")), bytes.HasPrefix(b, []byte("#!")),
		bytes.HasPrefix(b, []byte("L\x00\x00\x00\x01\x14\x02\x00")), // a shortcut of Windows
		bytes.HasPrefix(b, []byte("\xca\xfe\xba\xbe")), bytes.HasPrefix(b, []byte("\xce\xfa\xed\xfe")), bytes.HasPrefix(b, []byte("\xcf\xfa\xed\xfe")),
		bytes.HasPrefix(b, []byte("ITSF")): // compiled help of Windows
		return DangerProgram
	}
	return DangerNone
}

// Examine returns the worst danger that the name of a file and its content show, of which it reads maxExamined bytes at most. whole is false if the
// file has more. Errors are those of content.
func Examine(name string, content io.Reader) (danger Danger, whole bool, err error) {
	danger = dangerByName(name)
	r := bufio.NewReaderSize(io.LimitReader(content, maxExamined+1), 64<<10)
	beginning, err := r.Peek(sniffed)
	if err != nil && err != io.EOF {
		return danger, false, fmt.Errorf("examine file: %w", err)
	}
	danger = worse(danger, dangerByBeginning(beginning))
	var marks *markSearch
	switch {
	case danger == DangerProgram:
		return danger, true, nil
	case bytes.HasPrefix(beginning, []byte("PK\x03\x04")):
		marks = zipMarks()
	case bytes.HasPrefix(beginning, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		marks = oleMarks()
	case hasAny(beginning, "Rar!\x1a\x07", "7z\xbc\xaf\x27\x1c"):
		// Their lists of files are compressed, or at the end.
		return danger, false, nil
	default:
		return danger, true, nil
	}
	n, err := io.Copy(marks, r)
	if err != nil {
		return danger, false, fmt.Errorf("examine file: %w", err)
	}
	return worse(danger, marks.danger), n <= maxExamined, nil
}

func worse(a, b Danger) Danger {
	for _, d := range []Danger{DangerProgram, DangerMacros, DangerPage, DangerImage, DangerEncrypted} {
		if a == d || b == d {
			return d
		}
	}
	return DangerNone
}

// markSearch is written a file, and looks in it for marks.
type markSearch struct {
	marks  [][]byte
	found  func(mark int, after []byte) Danger // after is what follows the mark, up to keep bytes where there are as many
	keep   int
	window []byte
	danger Danger
}

// Write looks for marks in what was written so far, and keeps the end in which a mark may not be whole.
func (m *markSearch) Write(p []byte) (int, error) {
	m.window = append(m.window, p...)
	for i, mark := range m.marks {
		for at := 0; ; {
			next := bytes.Index(m.window[at:], mark)
			if next < 0 {
				break
			}
			at += next + len(mark)
			m.danger = worse(m.danger, m.found(i, m.window[at:]))
		}
	}
	if len(m.window) > m.keep {
		m.window = append(m.window[:0], m.window[len(m.window)-m.keep:]...)
	}
	return len(p), nil
}

// oleMarks finds the macros of old documents of Office: entries of their directory (MS-CFB 2.6.1, MS-OVBA 2.2.1), in UTF-16.
func oleMarks() *markSearch {
	var marks [][]byte
	for _, name := range []string{"_VBA_PROJECT", "Macros", "VBA\x00"} {
		var wide []byte
		for _, c := range []byte(name) {
			wide = append(wide, c, 0)
		}
		marks = append(marks, wide)
	}
	return &markSearch{marks: marks, keep: 64, found: func(int, []byte) Danger { return DangerMacros }}
}

// zipMarks finds the names in a ZIP (APPNOTE 4.3.7, 4.3.12), documents of Office included: those of its entries, and those in its list at the end.
func zipMarks() *markSearch {
	const flags, localName, listName = 2, 22, 24 // offsets after the marks
	return &markSearch{
		marks: [][]byte{[]byte("PK\x03\x04"), []byte("PK\x01\x02")}, keep: 400,
		found: func(mark int, after []byte) Danger {
			lengthAt, nameAt, flagsAt := localName, localName+4, flags
			if mark == 1 {
				lengthAt, nameAt, flagsAt = listName, listName+18, flags+2
			}
			if len(after) < nameAt {
				return DangerNone
			}
			length := int(binary.LittleEndian.Uint16(after[lengthAt:]))
			name := string(after[nameAt:min(len(after), nameAt+length)])
			danger := dangerByName(name)
			switch path.Base(strings.ToLower(name)) {
			case "vbaproject.bin", "script-lc.xml": // of Microsoft's formats, and of OpenDocument
				danger = worse(danger, DangerMacros)
			}
			if after[flagsAt]&1 != 0 {
				danger = worse(danger, DangerEncrypted)
			}
			return danger
		},
	}
}
