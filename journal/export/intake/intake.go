package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"copialettere/policy"
)

// Piece is a message that was found.
type Piece struct {
	Folder  string    // the folders of the source, from the outermost on, with slashes between; empty for none
	Date    time.Time // when it came to the source, if the source tells for certain, or what an mbox tells of a message that does not tell; otherwise zero
	Source  string    // where it was found: "Lavoro.mbox at 4711"
	Quoting string    // of an mbox: archive.QuotingNone, QuotingUndecidable or QuotingUndone; otherwise empty
	Size    int64     // bytes that Message has; -1 if that is not known before they are read
	Message io.Reader // good until the next step of the walk
	// SHA256 is what a manifest of this program says of the bytes that the archive then has, in hexadecimal; otherwise empty.
	SHA256 string
}

// Kind says what was left.
type Kind string

// The kinds of a Left.
const (
	Refused Kind = "refused" // it is, or may be, mail that was not taken
	Skipped Kind = "skipped" // it is no mail, or none any more: indexes of mail programs, empty files, what a program has deleted
	Noted   Kind = "note"    // nothing was left: something about a message that was taken
)

// Left is what was found and not taken, or not as it seems. Others script against its names.
type Left struct {
	Kind   Kind   `json:"kind"`
	Source string `json:"source"` // "Lavoro.mbox at 4711"
	Why    string `json:"why"`    // what it is, and what to do
	// Italian is Why in Italian, for the pages.
	Italian string `json:"-"`
}

// Found is a message, or what was left: one of both.
type Found struct {
	*Piece
	*Left
}

// Limits bound what is read. All are counted while reading.
type Limits struct {
	Entry   int64 // bytes of one entry of a ZIP, or of one file
	All     int64 // bytes of all entries of all ZIPs
	Entries int   // entries of all ZIPs together
	Depth   int   // ZIPs within a ZIP: 1 is a ZIP alone
	Rows    int   // messages that manifests list, of about 100 bytes in memory each
}

// DefaultLimits suit an operator, who has the machine.
func DefaultLimits() Limits {
	return Limits{Entry: 64 << 30, All: 1 << 40, Entries: 5_000_000, Depth: 3, Rows: 2_000_000}
}

// UploadLimits suit what a person uploads to the pages.
func UploadLimits() Limits {
	return Limits{Entry: 1 << 30, All: 4 << 30, Entries: 100_000, Depth: 2, Rows: 500_000}
}

// Options say how a walk reads.
type Options struct {
	Limits Limits
	Temp   string // the folder of temporary files; empty for that of the system
	Name   string // of the file for WalkFile, for Source and Folder
}

// ErrSource says that what is to be read cannot be.
var ErrSource = errors.New("nothing can be read there")

// errStopped ends a walk that nobody follows any more, errLimit one that reached Limits.All or Limits.Entries.
var (
	errStopped = errors.New("stopped")
	errLimit   = errors.New("over the limit")
)

// Walk yields what is found in a file or a folder, in the order of names and offsets. An error ends it; it wraps ErrSource if path itself cannot be read,
// or is the context's. What is wrong with anything else is a Left.
func Walk(ctx context.Context, path string, o Options) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		w := newWalk(ctx, o, yield)
		w.end(w.path(path))
	}
}

// WalkFile is Walk for one open file.
func WalkFile(ctx context.Context, file io.ReaderAt, size int64, o Options) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		w := newWalk(ctx, o, yield)
		w.end(w.file(source{name: o.Name, key: o.Name, base: o.Name, r: file, size: size, single: true}))
	}
}

// walk is one Walk.
type walk struct {
	ctx      context.Context
	o        Options
	yield    func(Found, error) bool
	manifest manifest
	read     int64 // of all entries of ZIPs
	entries  int   // of ZIPs
	depth    int   // of the ZIP that is read
}

func newWalk(ctx context.Context, o Options, yield func(Found, error) bool) *walk {
	return &walk{ctx: ctx, o: o, yield: yield, manifest: manifest{rows: make(map[rowKey]row)}}
}

// end yields the error that ended the walk.
func (w *walk) end(err error) {
	if err != nil && !errors.Is(err, errStopped) && !errors.Is(err, errLimit) {
		w.yield(Found{}, err)
	}
}

// piece yields a message.
func (w *walk) piece(p Piece) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if !w.yield(Found{Piece: &p}, nil) {
		return errStopped
	}
	return nil
}

// left yields what was not taken.
func (w *walk) left(kind Kind, source string, why policy.Label, args ...any) error {
	if !w.yield(Found{Left: &Left{kind, source, fmt.Sprintf(why.English, args...), fmt.Sprintf(why.Italian, args...)}}, nil) {
		return errStopped
	}
	return w.ctx.Err()
}

// say is a text in both languages, and none is no text.
func say(italian, english string) policy.Label {
	return policy.Label{Italian: italian, English: english}
}

var none policy.Label

// source is a file that is read, from a disk or from a ZIP.
type source struct {
	name     string // for people, relative to what was asked for
	key      string // its path, as a manifest of this program has it
	folder   []string
	base     string // the name of the file
	r        io.ReaderAt
	size     int64
	modified time.Time // zero where it is not known
	maildir  bool      // it lies in cur or new
	single   bool      // it alone was asked for
}

// path walks what an operator names.
func (w *walk) path(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	if info.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSource, err)
		}
		defer root.Close()
		return w.folder(root, ".", 0)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is no file and no folder", ErrSource, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	defer f.Close()
	base := filepath.Base(path)
	return w.file(source{name: base, key: base, base: base, r: f, size: info.Size(), modified: info.ModTime(), single: true})
}
