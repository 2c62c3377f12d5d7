package body

import (
	"bytes"
	"fmt"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxName is the greatest length of a file name in bytes. ext4 allows 255, eCryptfs 143.
const maxName = 120

// bidiControl reports whether a character changes the direction of the text around it, and so how a file name or a URL looks.
func bidiControl(r rune) bool {
	return r == '\u061c' || r == '\u200e' || r == '\u200f' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// FileName returns the name of a part, which its sender chose, as one that is safe on any system: without path separators, control and invisible
// characters, without a dot at its start or end, and of maxName bytes at most, its extension kept. It is fallback where nothing is left.
func FileName(name, fallback string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(`/\:*?"<>|`, r), r == '\u2044', r == '\u2215', r == '\u29f8', r == '\uff0f', r == '\uff3c', r == utf8.RuneError:
			return '_'
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return -1
		}
		return r
	}, norm.NFC.String(name))
	name = strings.Trim(strings.Join(strings.Fields(name), " "), ". ")
	if len(name) > maxName {
		extension := path.Ext(name)
		if len(extension) > 20 {
			extension = ""
		}
		name = strings.TrimRight(strings.ToValidUTF8(name[:maxName-len(extension)], ""), ". ") + extension
	}
	if name == "" {
		return fallback
	}
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch strings.TrimSpace(stem) {
	case "CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9",
		"LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9":
		name = "_" + name // devices of Windows, with any extension
	}
	return name
}

// Disposition returns the Content-Disposition of a download (RFC 6266), of kind "attachment" or "inline". name is as FileName returns it.
func Disposition(kind, name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	value := kind + `; filename="` + ascii + `"`
	if ascii == name {
		return value
	}
	value += "; filename*=utf-8''"
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' {
			value += string(rune(c))
		} else {
			value += fmt.Sprintf("%%%02X", c)
		}
	}
	return value
}

// servedTypes are the media types under which files are downloaded, by extension. Whatever a browser might run or open in our name is not among them.
var servedTypes = map[string]string{
	".csv": "text/csv; charset=utf-8", ".doc": "application/msword", ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".eml": "message/rfc822", ".gif": "image/gif", ".ics": "text/calendar", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".mp3": "audio/mpeg",
	".mp4": "video/mp4", ".odp": "application/vnd.oasis.opendocument.presentation", ".ods": "application/vnd.oasis.opendocument.spreadsheet",
	".odt": "application/vnd.oasis.opendocument.text", ".p7m": "application/pkcs7-mime", ".p7s": "application/pkcs7-signature", ".pdf": "application/pdf",
	".png": "image/png", ".ppt": "application/vnd.ms-powerpoint", ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".rtf": "application/rtf", ".tif": "image/tiff", ".tiff": "image/tiff", ".txt": "text/plain", ".vcf": "text/vcard", ".webp": "image/webp",
	".xls": "application/vnd.ms-excel", ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".zip": "application/zip",
}

// ServedType returns the media type under which a file of a name, as FileName returns it, is downloaded. That of the sender does not matter.
func ServedType(name string) string {
	if kind := servedTypes[strings.ToLower(path.Ext(name))]; kind != "" {
		return kind
	}
	return "application/octet-stream"
}

// sniffed is how many bytes ImageType and Examine need of the beginning of a file.
const sniffed = 512

// ImageType returns the media type of an image that browsers may show, by its first bytes; empty for anything else, SVG included.
func ImageType(beginning []byte) string {
	if kind := http.DetectContentType(beginning[:min(len(beginning), sniffed)]); imageType(kind) {
		return kind
	}
	return ""
}

// imageType reports whether browsers may show images of a type.
func imageType(kind string) bool {
	return kind == "image/png" || kind == "image/jpeg" || kind == "image/gif" || kind == "image/webp" || kind == "image/jpg"
}

// hasAny reports whether b begins with one of several texts, in any case.
func hasAny(b []byte, prefixes ...string) bool {
	for _, p := range prefixes {
		if len(b) >= len(p) && bytes.EqualFold(b[:len(p)], []byte(p)) {
			return true
		}
	}
	return false
}
