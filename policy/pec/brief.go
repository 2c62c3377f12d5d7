package pec

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"copialettere/journal/part"
)

// HashResult is what became of one part of a brief receipt. The values are an interface that others script against.
type HashResult string

// The results.
const (
	HashMatch      HashResult = "match"                 // the part of the original has that hash
	HashMismatch   HashResult = "mismatch"              // it has another one, or is not there
	HashNoOriginal HashResult = "original not archived" // there is nothing to compare with
	HashNotCovered HashResult = "not covered"           // a named part of the original of which the receipt says nothing
)

const (
	hashSuffix       = ".hash"
	hashHexLength    = 2 * sha1.Size
	maxHashFile      = 4 << 10 // bytes of a .hash part that are read
	maxHashParts     = 500     // parts that are compared
	readingDecoded   = "decoded"
	readingEncoded   = "encoded"
	readingWithBreak = "encoded, with its last line end"
)

// HashCheck is the comparison of one hash of a brief receipt.
type HashCheck struct {
	Name     string // of the part in the original, decoded
	Result   HashResult
	Reading  string // with HashMatch, what was hashed: "decoded", "encoded", or "encoded, with its last line end"
	Part     int    // index in the table of the message that the receipt encloses, or -1
	Original int    // index in the table of the original, or -1
}

// BriefHashes compares a brief receipt with the message that was sent (RFC 6109 3.3.2.2). Receipt is the message that the receipt
// encloses, as Enclosed opens it: in the place of each part with a name it has a text part NAME.hash that holds a SHA-1. The original is
// the message as it was sent; with a nil original table the results say that it is not archived. The rule can be read in two ways,
// and both are tried: over the decoded content and over the encoded body as it stands in the message. Parts of the same name are compared
// in their order. What the receipt leaves intact (signature parts, encrypted messages) is not compared. No result at all means that the
// receipt holds no hash and the original no part with a name. Bodies are read as streams. Errors are those of the readers.
func BriefHashes(receipt io.ReaderAt, receiptTable *part.Table, original io.ReaderAt, originalTable *part.Table) ([]HashCheck, error) {
	c := hashComparison{receipt: receipt, receiptTable: receiptTable, original: original, originalTable: originalTable}
	if originalTable != nil {
		c.open = make(map[string][]int)
		for _, i := range namedParts(originalTable) {
			name := originalTable.Parts[i].Name()
			c.open[name] = append(c.open[name], i)
		}
	}
	for _, i := range leaves(receiptTable) {
		p := &receiptTable.Parts[i]
		if name, ok := strings.CutSuffix(p.Name(), hashSuffix); ok && p.Type == "text/plain" && len(c.checks) < maxHashParts {
			if err := c.compare(i, name); err != nil {
				return nil, err
			}
		}
	}
	if originalTable != nil {
		c.uncovered()
	}
	return c.checks, nil
}

type hashComparison struct {
	receipt, original           io.ReaderAt
	receiptTable, originalTable *part.Table
	open                        map[string][]int // by name: parts of the original that are not compared yet; nil without an original
	checks                      []HashCheck
}

// compare compares the hash in part i of the receipt with the next part of that name.
func (c *hashComparison) compare(i int, name string) error {
	check := HashCheck{Name: name, Result: HashMismatch, Part: i, Original: -1}
	if c.originalTable == nil {
		check.Result = HashNoOriginal
	} else if list := c.open[name]; len(list) > 0 {
		check.Original, c.open[name] = list[0], list[1:]
		want, err := readHash(c.receipt, &c.receiptTable.Parts[i])
		if err != nil {
			return err
		}
		if check.Reading, err = matchHash(c.original, &c.originalTable.Parts[check.Original], want); err != nil {
			return err
		}
		if check.Reading != "" {
			check.Result = HashMatch
		}
	}
	c.checks = append(c.checks, check)
	return nil
}

// uncovered reports the parts of the original that are left, save those that the receipt has as well, by their name.
func (c *hashComparison) uncovered() {
	intact := make(map[string]int)
	for _, i := range leaves(c.receiptTable) {
		intact[c.receiptTable.Parts[i].Name()]++
	}
	for _, i := range namedParts(c.originalTable) {
		name := c.originalTable.Parts[i].Name()
		list := c.open[name]
		if len(list) == 0 || list[0] != i {
			continue
		}
		c.open[name] = list[1:]
		if intact[name]--; intact[name] < 0 {
			c.checks = append(c.checks, HashCheck{Name: name, Result: HashNotCovered, Part: -1, Original: i})
		}
	}
}

// leaves returns the parts that hold no others, in order; enclosed messages count as such.
func leaves(t *part.Table) []int {
	var list []int
	for i := 0; i < len(t.Parts); {
		p, next := &t.Parts[i], i+1
		switch {
		case p.IsMessage():
			for next < len(t.Parts) && t.Parts[next].Parent >= i {
				next++
			}
			list = append(list, i)
		case !p.IsMultipart() || t.Child(i, 1) < 0:
			list = append(list, i)
		}
		i = next
	}
	return list
}

// namedParts returns the parts that a brief receipt has hashes for: those with a name that are no signature and no encrypted message.
func namedParts(t *part.Table) []int {
	var list []int
	for _, i := range leaves(t) {
		p := &t.Parts[i]
		switch {
		case isSignatureType(p.Type), p.Type == "application/pkcs7-mime", p.Type == "application/x-pkcs7-mime":
		case p.Name() != "" && len(list) < maxHashParts:
			list = append(list, i)
		}
	}
	return list
}

// readHash returns the hash that a part holds, or nil.
func readHash(r io.ReaderAt, p *part.Part) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(part.Decoder(*p, bodyReader(r, p)), maxHashFile))
	if err != nil {
		return nil, fmt.Errorf("read hash: %w", err)
	}
	value := strings.TrimSpace(string(text))
	if len(value) != hashHexLength {
		return nil, nil
	}
	hash, err := hex.DecodeString(value)
	if err != nil {
		return nil, nil
	}
	return hash, nil
}

// matchHash returns the reading in which a part has the hash, or "".
func matchHash(r io.ReaderAt, p *part.Part, want []byte) (string, error) {
	decoded, encoded := sha1.New(), sha1.New()
	// The decoder may stop before the end of the body: hence a pass for each.
	if _, err := io.Copy(decoded, part.ContentDecoder(*p, bodyReader(r, p))); err != nil {
		return "", fmt.Errorf("read original: %w", err)
	}
	if _, err := io.Copy(encoded, bodyReader(r, p)); err != nil {
		return "", fmt.Errorf("read original: %w", err)
	}
	switch string(want) {
	case string(decoded.Sum(nil)):
		return readingDecoded, nil
	case string(encoded.Sum(nil)):
		return readingEncoded, nil
	}
	encoded.Write([]byte("\r\n"))
	if string(encoded.Sum(nil)) == string(want) {
		return readingWithBreak, nil
	}
	return "", nil
}
