package setup

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestQR has zbarimg read both forms of the QR code.
func TestQR(t *testing.T) {
	if _, err := exec.LookPath("zbarimg"); err != nil {
		t.Fatalf("%v: make needs installs it", err)
	}
	read := func(picture []byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "qr.png")
		if err := os.WriteFile(path, picture, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := exec.Command("zbarimg", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", path).Output()
		if err != nil {
			t.Fatalf("zbarimg: %v", err)
		}
		return strings.TrimSuffix(string(b), "\n")
	}
	for _, link := range []string{
		"https://archivio.alpha.test/set-up/eGeec9juhGTN2Gobs1sLGw",
		"https://" + strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + ".test:65535/set-up/----__________________",
	} {
		picture, err := QRImage(link)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(picture); got != link {
			t.Errorf("the PNG says %q", got)
		}
		lines, err := QRText(link)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(painted(t, lines)); got != link {
			t.Errorf("the text says %q", got)
		}
	}
	if _, err := QRImage(strings.Repeat("a", 5000)); err == nil {
		t.Error("a text that is too long for a QR code is no error")
	}
}

// painted returns the lines as a terminal shows them, dark on bright, as a PNG.
func painted(t *testing.T, lines []string) []byte {
	t.Helper()
	const scale = 5
	width := utf8.RuneCountInString(lines[0])
	picture := image.NewGray(image.Rect(0, 0, width*scale, len(lines)*2*scale))
	for y, line := range lines {
		if n := utf8.RuneCountInString(line); n != width {
			t.Fatalf("line %d has %d characters, the first one %d", y, n, width)
		}
		for x, r := range []rune(line) {
			for half, dark := range []bool{r == '▀' || r == '█', r == '▄' || r == '█'} {
				for i := range scale * scale {
					shade := color.Gray{255}
					if dark {
						shade = color.Gray{0}
					}
					picture.SetGray(x*scale+i%scale, (2*y+half)*scale+i/scale, shade)
				}
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
