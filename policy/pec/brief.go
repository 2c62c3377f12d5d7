package pec

import (
	"fmt"
	"io"
	"slices"

	"copialettere/journal/part"
)

// HashResult is the result for one part of a brief receipt. Others script against the values.
type HashResult string

// The results.
const (
	HashMatch      HashResult = "match"                 // the part is the original's, or holds its hash
	HashMismatch   HashResult = "mismatch"              // it differs, or the original has no such part
	HashNoOriginal HashResult = "original not archived" // there is nothing to compare with
	HashNotCovered HashResult = "not covered"           // the receipt has this part of the original neither whole nor as a hash
	HashOtherName  HashResult = "other name"            // its content agrees, but the file has another name
)

// hashResults lists the results, the worst last.
var hashResults = []HashResult{HashMatch, HashOtherName, HashNotCovered, HashMismatch, HashNoOriginal}

const (
	hashSuffix   = ".hash"
	maxHashFile  = 4 << 10   // most bytes of a part that is searched for a hash
	maxHashDepth = 8         // how deep nested messages are compared part by part
	maxSameField = 256 << 10 // most bytes compared of a message's header
)

// HashCheck is the comparison of one part of a brief receipt.
type HashCheck struct {
	Name     string // of the part in the original, decoded; "" where it has none
	Field    string // the field of the message's own header that differs; "" for a part
	Result   HashResult
	Reading  string // with HashMatch and HashOtherName: "equal" for a part that is there whole, else what was hashed
	Part     int    // index in the table of the enclosed message, or -1
	Original int    // index in the table of the original, or -1
}

// BriefHashes compares a brief receipt with the message that was sent (RFC 6109 3.3.2.2). Receipt is the message that the receipt
// encloses, as Enclosed opens it: a text part NAME.hash with a SHA-1 replaces each named part. Original is the message as it was sent; with a
// nil original table the results say that it is not archived.
//
// The answer has one check for each part of the original, and for each part of the receipt that the original lacks. A multipart has none of
// its own: its parts stand for it. Only if every check says HashMatch is the whole original accounted for: a part without a hash must be
// there, equal. The provider may choose which parts to hash. If the message itself is signed or encrypted by S/MIME, providers leave the
// signature, or the whole, as it is, and hash attachments of any type. Of the header, only From, To, Cc, Subject and Date are compared,
// since the access point changes other fields; a check appears only for those that differ.
//
// Parts are paired by place and content: mail programs and providers agree least about names. The rule on hashes can be read in several ways.
// All are tried, and Reading names the one that fits: the decoded content; the body as it stands in the message ("encoded"), with or
// without its last line end, with LF for CRLF, or base64 without line breaks; for text, the content with CRLF or LF line ends. Text is equal
// if it differs only in line ends and in empty lines at its end. Bodies are read as streams. Errors are those of the readers.
func BriefHashes(receipt io.ReaderAt, receiptTable *part.Table, original io.ReaderAt, originalTable *part.Table) ([]HashCheck, error) {
	c := hashComparison{receipt: receipt, receiptTable: receiptTable, original: original, originalTable: originalTable}
	if len(receiptTable.Parts) == 0 {
		return nil, nil
	}
	if originalTable == nil || len(originalTable.Parts) == 0 {
		for _, i := range leaves(receiptTable, 0) {
			c.add(HashNoOriginal, "", i, -1)
		}
		return c.checks, nil
	}
	if err := c.header(); err != nil {
		return nil, err
	}
	if err := c.message(0, 0, 0); err != nil {
		return nil, err
	}
	return c.checks, nil
}

// WorstHash returns the result of a whole comparison: the worst of its checks, HashMismatch if there are none.
func WorstHash(checks []HashCheck) HashResult {
	if len(checks) == 0 {
		return HashMismatch
	}
	worst := 0
	for _, c := range checks {
		worst = max(worst, slices.Index(hashResults, c.Result))
	}
	return hashResults[worst]
}

type hashComparison struct {
	receipt, original           io.ReaderAt
	receiptTable, originalTable *part.Table
	checks                      []HashCheck
}

// add records a result for part i of the receipt and part j of the original; either may be -1.
func (c *hashComparison) add(result HashResult, reading string, i, j int) {
	name := ""
	if j >= 0 {
		name = c.originalTable.Parts[j].Name()
	} else {
		name = withoutSuffix(c.receiptTable.Parts[i].Name())
	}
	c.checks = append(c.checks, HashCheck{Name: name, Result: result, Reading: reading, Part: i, Original: j})
}

// message compares the parts of message i of the receipt and message j of the original.
func (c *hashComparison) message(i, j, depth int) error {
	ours, theirs := leaves(c.receiptTable, i), leaves(c.originalTable, j)
	have, want := make([]partContent, len(ours)), make([]partContent, len(theirs))
	var err error
	for k, i := range ours {
		if have[k], err = readContent(c.receipt, &c.receiptTable.Parts[i], true); err != nil {
			return fmt.Errorf("read receipt: %w", err)
		}
	}
	for k, j := range theirs {
		if want[k], err = readContent(c.original, &c.originalTable.Parts[j], false); err != nil {
			return fmt.Errorf("read original: %w", err)
		}
	}
	pair, readings := pairParts(have, want)
	taken := make([]bool, len(ours))
	for k, j := range theirs {
		p := pair[k]
		switch {
		case p < 0:
			c.add(HashNotCovered, "", -1, j)
			continue
		case readings[k] != "" && have[p].mayBe(&want[k]):
			c.add(HashMatch, readings[k], ours[p], j)
		case readings[k] != "":
			c.add(HashOtherName, readings[k], ours[p], j)
		default:
			if err := c.differing(ours[p], j, depth); err != nil {
				return err
			}
		}
		taken[p] = true
	}
	for k, i := range ours {
		if !taken[k] {
			c.add(HashMismatch, "", i, -1)
		}
	}
	return nil
}

// differing compares two parts that differ as a whole. An attached message may have its attachments hashed one by one.
func (c *hashComparison) differing(i, j, depth int) error {
	inner, sent := c.receiptTable.Enclosed(i), c.originalTable.Enclosed(j)
	if inner < 0 || sent < 0 || depth >= maxHashDepth {
		c.add(HashMismatch, "", i, j)
		return nil
	}
	same, err := c.sameHeader(inner, sent)
	if err != nil {
		return err
	}
	if !same {
		c.add(HashMismatch, "", i, j)
		return nil
	}
	return c.message(inner, sent, depth+1)
}

// leaves returns the parts of message i that hold no others, in order. An enclosed message counts as one of them.
func leaves(t *part.Table, i int) []int {
	end := endOf(t, i)
	var list []int
	for i < end {
		p, next := &t.Parts[i], i+1
		switch {
		case p.IsMessage():
			next = endOf(t, i)
			list = append(list, i)
		case !p.IsMultipart() || t.Child(i, 1) < 0:
			list = append(list, i)
		}
		i = next
	}
	return list
}

// pairParts finds the part of the receipt that stands for each part of the original, or -1, and the reading in which the two agree, or "".
// Both results, like the lists, go by place in want and have. Parts that agree are paired first, those with the same name before others;
// then parts that differ but have the same name; last, nameless parts in order. Among several candidates, the one in the same place wins.
func pairParts(have, want []partContent) (pair []int, readings []string) {
	pair, readings = make([]int, len(want)), make([]string, len(want))
	for k := range pair {
		pair[k] = -1
	}
	taken := make([]bool, len(have))
	round := func(reading func(h, w *partContent) (string, bool)) {
		for k := range want {
			try := func(p int) {
				if p >= len(have) || taken[p] || pair[k] >= 0 {
					return
				}
				if r, ok := reading(&have[p], &want[k]); ok {
					pair[k], readings[k], taken[p] = p, r, true
				}
			}
			try(k)
			for p := 0; p < len(have) && pair[k] < 0; p++ {
				try(p)
			}
		}
	}
	round(func(h, w *partContent) (string, bool) {
		if !h.mayBe(w) {
			return "", false
		}
		r := h.agrees(w)
		return r, r != ""
	})
	round(func(h, w *partContent) (string, bool) { r := h.agrees(w); return r, r != "" })
	round(func(h, w *partContent) (string, bool) { return "", len(h.names) > 0 && len(w.names) > 0 && h.mayBe(w) })
	round(func(h, w *partContent) (string, bool) { return "", len(h.names) == 0 && len(w.names) == 0 })
	return pair, readings
}
