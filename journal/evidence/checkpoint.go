package evidence

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrCheckpoint says that a text is no head, checkpoint or note of this package.
var ErrCheckpoint = errors.New("malformed checkpoint")

// Why a log ended. An ended log has no leaves in the archive any more.
const (
	EndedRetention = "retention" // its month was dropped as a whole
	EndedErased    = "erased"    // its archive was erased
	EndedForgotten = "forgotten" // its month was lost, and given up
	EndedRestored  = "restored"  // the archive was restored from a backup from before it
	EndedLost      = "lost"      // leaves of it were lost with a damaged disk
)

// Head is a log at some moment.
type Head struct {
	Log   LogID
	Month string // "2026-11"
	Size  int64
	Root  Hash
	Ended string // why the log ended, where it did; else empty
}

// Text returns a head as its hash is over: month, log, size, root (base64), and why it ended if it did, with blanks between.
func (h *Head) Text() string {
	s := fmt.Sprintf("%s %s %d %s", h.Month, h.Log, h.Size, h.Root)
	if h.Ended != "" {
		s += " " + h.Ended
	}
	return s
}

// ParseHead reads a head as Text writes it.
func ParseHead(s string) (h Head, err error) {
	words := strings.Split(s, " ")
	if len(words) != 4 && len(words) != 5 {
		return h, fmt.Errorf("%w: head %q", ErrCheckpoint, s)
	}
	h.Month = words[0]
	if h.Log, err = ParseLogID(words[1]); err == nil {
		h.Size, err = parseSize(words[2])
	}
	if err == nil {
		h.Root, err = tlog.ParseHash(words[3])
	}
	if len(words) == 5 {
		h.Ended = words[4]
	}
	if err != nil || h.Text() != s {
		return h, fmt.Errorf("%w: head %q", ErrCheckpoint, s)
	}
	return h, nil
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && (n < 0 || strconv.FormatInt(n, 10) != s) {
		err = ErrCheckpoint
	}
	return n, err
}

// Checkpoint is what one day says of the logs.
type Checkpoint struct {
	Number int64     // from 0, without a gap
	Time   time.Time // UTC, to the second
	Heads  int64     // how many
	Root   Hash      // of the tree over the texts of the heads, in the order of Text
}

// Text returns a checkpoint as its hash is over, four lines:
//
//	checkpoint 12
//	time 2026-11-30T02:00:00Z
//	heads 341
//	root BASE64
func (c *Checkpoint) Text() string {
	return fmt.Sprintf("checkpoint %d\ntime %s\nheads %d\nroot %s\n", c.Number, c.Time.UTC().Format(time.RFC3339), c.Heads, c.Root)
}

// ParseCheckpoint reads a checkpoint as Text writes it.
func ParseCheckpoint(s string) (c Checkpoint, err error) {
	var values [4]string
	rest := s
	for i, name := range [4]string{"checkpoint ", "time ", "heads ", "root "} {
		line, after, ok := strings.Cut(rest, "\n")
		value, named := strings.CutPrefix(line, name)
		if !ok || !named {
			return c, fmt.Errorf("%w: line %d of %q", ErrCheckpoint, i+1, s)
		}
		values[i], rest = value, after
	}
	if c.Number, err = parseSize(values[0]); err == nil {
		c.Time, err = time.Parse(time.RFC3339, values[1])
	}
	if err == nil {
		c.Heads, err = parseSize(values[2])
	}
	if err == nil {
		c.Root, err = tlog.ParseHash(values[3])
	}
	if err != nil || c.Text() != s {
		return c, fmt.Errorf("%w: %q", ErrCheckpoint, s)
	}
	return c, nil
}

// TextHash returns the hash of the text of a Head or a Checkpoint in the tree that holds it.
func TextHash(text string) Hash { return tlog.RecordHash([]byte(text)) }

// Note is what is signed: the tree over all checkpoints of an archive so far.
type Note struct {
	Origin string // names the archive; the name of its first key
	Size   int64  // how many checkpoints
	Root   Hash
}

// Text returns the text that is signed, in the form that transparency logs have agreed on (C2SP tlog-checkpoint): origin, size and root on three lines.
func (n *Note) Text() string { return fmt.Sprintf("%s\n%d\n%s\n", n.Origin, n.Size, n.Root) }

// ParseNote reads the text of a note. Lines after the third, which others may add, are left out.
func ParseNote(text string) (n Note, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "" {
		return n, fmt.Errorf("%w: note %q", ErrCheckpoint, text)
	}
	n.Origin = lines[0]
	if n.Size, err = parseSize(lines[1]); err == nil {
		n.Root, err = tlog.ParseHash(lines[2])
	}
	if err != nil {
		return n, fmt.Errorf("%w: note %q", ErrCheckpoint, text)
	}
	return n, nil
}

// Sign returns the note, signed by a key as NewKey makes it.
func (n *Note) Sign(key string) ([]byte, error) {
	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return note.Sign(&note.Note{Text: n.Text()}, signer)
}

// SignedError says that a note carries no signature that counts.
type SignedError struct {
	By  []string // the keys by which it says that it is signed: name and hash
	Why error
}

// Error names the keys, or the cause.
func (e *SignedError) Error() string {
	if len(e.By) == 0 {
		return e.Why.Error()
	}
	return fmt.Sprintf("it is signed by %s, which none of the known keys is", strings.Join(e.By, ", "))
}

// Unwrap returns the cause.
func (e *SignedError) Unwrap() error { return e.Why }

// Open checks that a note is signed by one of the verifier keys, and reads it. The error is a SignedError where it is not.
func Open(signed []byte, keys []string) (Note, error) {
	var list []note.Verifier
	for _, key := range keys {
		v, err := note.NewVerifier(key)
		if err != nil {
			return Note{}, fmt.Errorf("verifier key %q: %w", key, err)
		}
		list = append(list, v)
	}
	opened, err := note.Open(signed, note.VerifierList(list...))
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		e := &SignedError{Why: err}
		for _, s := range unverified.Note.UnverifiedSigs {
			e.By = append(e.By, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
		}
		return Note{}, e
	}
	if err != nil {
		return Note{}, &SignedError{Why: err}
	}
	return ParseNote(opened.Text)
}

// Unsigned reads a note without regard to its signatures.
func Unsigned(signed []byte) (Note, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return Note{}, fmt.Errorf("%w: no signature", ErrCheckpoint)
	}
	return ParseNote(text + "\n")
}

// VerifierKey returns the verifier key of a signing key: what others need to check its notes. Both are lines of text (x/mod/sumdb/note).
func VerifierKey(key string) (string, error) {
	words := strings.SplitN(key, "+", 5)
	if len(words) != 5 {
		return "", errors.New("a signing key has the form PRIVATE+KEY+NAME+HASH+DATA")
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	seed, err := base64.StdEncoding.DecodeString(words[4])
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	return newVerifierKey(signer.Name(), seed[1:])
}
