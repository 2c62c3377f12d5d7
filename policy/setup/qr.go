package setup

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is the width of the bright margin around a QR code, in modules (ISO/IEC 18004 section 6.3.8).
const quiet = 4

// QRImage returns the QR code of a link as a PNG.
func QRImage(link string) ([]byte, error) {
	code, err := qr.Encode(link, qr.M)
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	return code.PNG(), nil
}

// QRText returns the QR code of a link as lines of block elements (U+2580 to U+2588), each for two rows of modules: ink for what is dark. It has to
// be shown dark on bright.
func QRText(link string) ([]string, error) {
	code, err := qr.Encode(link, qr.M)
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	var lines []string
	for y := -quiet; y < code.Size+quiet; y += 2 {
		var line strings.Builder
		for x := -quiet; x < code.Size+quiet; x++ {
			line.WriteString(map[[2]bool]string{
				{false, false}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█",
			}[[2]bool{code.Black(x, y), code.Black(x, y+1)}])
		}
		lines = append(lines, line.String())
	}
	return lines, nil
}
