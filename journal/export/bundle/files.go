package bundle

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"copialettere/journal/export"
)

// The names of files at the top of a bundle.
const (
	manifestName   = "bundle.json"
	practiceName   = "practice.json"
	tableName      = "practice.csv"
	changesName    = "log/changes.csv"
	accessesName   = "log/access.csv"
	sheetName      = "scheda.html"
	verifyName     = "VERIFY.txt"
	incompleteName = "INCOMPLETE.txt"
	sumsName       = "SHA256SUMS"
)

// The names of files in the folder of a message.
const (
	messageName   = "message.eml"
	envelopeName  = "envelope.json"
	digestsName   = "digests.json"
	daticertName  = "daticert.xml"
	postacertName = "postacert.eml"
	reportName    = "signature.json"
	cmsName       = "signature/smime.p7s"
	chainName     = "signature/chain.pem"
	anchorName    = "signature/anchor.pem"
)

// files writes the ZIP of a bundle, and remembers the digest of each file.
type files struct {
	out  *zip.Writer
	now  time.Time
	sums strings.Builder
}

// add adds a file. The zero date is now.
func (f *files) add(name string, date time.Time, content io.Reader) error {
	if date.IsZero() {
		date = f.now
	}
	w, err := f.out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: export.ZIPTime(date.UTC())})
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if name != sumsName {
		fmt.Fprintf(&f.sums, "%s  %s\n", hex.EncodeToString(sum.Sum(nil)), name) // no name has a backslash or a line end
	}
	return nil
}

func (f *files) addBytes(name string, b []byte) error {
	return f.add(name, time.Time{}, bytes.NewReader(b))
}

// addJSON adds a value as indented JSON, in which people can read what senders have written.
func (f *files) addJSON(name string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.addBytes(name, b.Bytes())
}

// close adds SHA256SUMS and ends the ZIP.
func (f *files) close() error {
	if err := f.add(sumsName, time.Time{}, strings.NewReader(f.sums.String())); err != nil {
		return err
	}
	return f.out.Close()
}
