package intake

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"copialettere/policy"
	"copialettere/policy/archive"
)

const quotingUndone = archive.QuotingUndone

// perEntry is how many bytes the directory of a ZIP may have for each entry that Limits allows. The directory is held in memory, several times as large.
const perEntry = 200

// zip yields what a ZIP holds.
func (w *walk) zip(s source) error {
	if w.depth >= w.o.Limits.Depth {
		return w.left(Refused, s.name, say("uno ZIP dentro uno ZIP, per %d livelli: estrarlo, e importarlo da solo", "a ZIP in a ZIP, %d deep: unpack it, and import it by itself"), w.depth)
	}
	directory := &bounded{r: s.r, left: int64(w.o.Limits.Entries-w.entries)*perEntry + 128<<10}
	r, err := zip.NewReader(directory, s.size)
	directory.left = -1
	switch {
	case errors.Is(err, errDirectory):
		return w.left(Refused, s.name, say("il suo indice è troppo lungo: estrarlo, e importare la cartella", "its directory is too long: unpack it, and import the folder"))
	case err != nil && !errors.Is(err, zip.ErrInsecurePath):
		return w.left(Refused, s.name, say("uno ZIP che non si può leggere (%v): scaricarlo o esportarlo di nuovo", "a ZIP that cannot be read (%v): fetch or export it again"), err)
	}
	w.depth++
	defer func() { w.depth-- }()
	names := make([]string, len(r.File))
	maildirs := make(map[string]bool)
	for i, f := range r.File {
		names[i] = zipName(f)
		if dir := path.Dir(names[i]); path.Base(dir) == "cur" || path.Base(dir) == "new" {
			maildirs[path.Dir(dir)] = true
		}
	}
	for i, f := range r.File {
		if isManifest(path.Base(names[i])) && f.Flags&1 == 0 {
			if err := w.entry(s, f, names[i], w.readManifest); err != nil {
				return err
			}
		}
	}
	for i, f := range r.File {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		name := s.name + ": " + names[i]
		var err error
		switch {
		case strings.HasSuffix(f.Name, "/") || f.FileInfo().IsDir():
			continue
		case strings.HasPrefix(names[i], "__MACOSX/"):
			err = w.left(Skipped, name, say("annotazioni di macOS, non posta", "notes of macOS, no mail"))
		case f.Flags&1 != 0:
			err = w.left(Refused, name, say("è cifrato: estrarre lo ZIP con la sua password, e importare la cartella", "it is encrypted: unpack the ZIP with its password, and import the folder"))
		case !f.FileInfo().Mode().IsRegular():
			err = w.left(Refused, name, say("non è un file", "no regular file"))
		case unfinishedIn(maildirs, names[i]):
			err = w.left(Refused, name, unfinishedText)
		default:
			err = w.entry(s, f, names[i], w.file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry reads an entry of a ZIP. What does not look like mail is not read to its end.
func (w *walk) entry(s source, f *zip.File, name string, read func(source) error) error {
	if w.entries++; w.entries > w.o.Limits.Entries {
		return w.over(s.name, say("più di %d file negli ZIP, il limite qui: estrarlo, e importare la cartella", "more than %d files in ZIPs, which is the limit here: unpack it, and import the folder"), w.o.Limits.Entries)
	}
	shown := s.name + ": " + name
	folder, base, maildir := placeOf(name)
	one := source{name: shown, key: path.Join(zipKey(s), name), folder: append(append([]string(nil), zipFolder(s)...), folder...), base: base,
		modified: f.Modified, maildir: maildir}
	in, err := f.Open()
	if err != nil {
		return w.left(Refused, shown, say("non si può leggere (%v): estrarre lo ZIP con un altro programma, e importare la cartella", "it cannot be read (%v): unpack the ZIP with another program, and import the folder"), err)
	}
	defer in.Close()
	held := &spool{temp: w.o.Temp}
	defer held.close()
	limited := &counted{ctx: w.ctx, r: in, entry: w.o.Limits.Entry, all: &w.read, most: w.o.Limits.All}
	_, err = io.CopyN(held, limited, headSize)
	if err == nil {
		// A long row of zeros, or a film, need not be unpacked to see that it is no mail.
		_, own := w.manifest.row(one.key, 0)
		if head := held.memory.Bytes(); own || maildir || isManifest(base) || foreign(head) == none && noMail(one, head) == none && mayBeMail(one, head) {
			_, err = io.Copy(held, limited)
		}
	}
	switch {
	case err == nil || err == io.EOF:
	case errors.Is(err, errEntry):
		return w.left(Refused, shown, say("è più grande di %d byte, il limite qui: estrarlo, e importarlo da solo", "it is larger than %d bytes, which is the limit here: unpack it, and import it by itself"), w.o.Limits.Entry)
	case errors.Is(err, errLimit):
		return w.over(s.name, say("i suoi file sono insieme più grandi di %d byte, il limite qui: estrarlo, e importare la cartella", "its files are larger than %d bytes together, which is the limit here: unpack it, and import the folder"), w.o.Limits.All)
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	case errors.Is(err, errTemp):
		return err
	default:
		return w.left(Refused, shown, say("non si può leggere (%v): estrarre lo ZIP con un altro programma, e importare la cartella", "it cannot be read (%v): unpack the ZIP with another program, and import the folder"), err)
	}
	one.r, one.size = held, held.size
	return read(one)
}

// mayBeMail reports whether the first bytes of a long file are those of a message, an mbox, or a ZIP.
func mayBeMail(s source, head []byte) bool {
	start, _ := before(head)
	return isZIP(s, head) || bytes.HasPrefix(head[start:], []byte(fromLine)) || s.isMessage(head[start:]) || emlxCount.Match(head)
}

// over ends the walk: nothing more is read.
func (w *walk) over(name string, why policy.Label, args ...any) error {
	if err := w.left(Refused, name, why, args...); err != nil {
		return err
	}
	return errLimit
}

// zipKey is the folder under which a manifest in a ZIP has its files, and zipFolder the folders that a ZIP stands for: one that was asked for, none.
func zipKey(s source) string {
	if s.single {
		return "."
	}
	return s.key
}

func zipFolder(s source) []string {
	if s.single {
		return nil
	}
	name := s.base
	if strings.HasSuffix(strings.ToLower(name), ".zip") {
		name = name[:len(name)-len(".zip")]
	}
	return append(append([]string(nil), s.folder...), name)
}

// zipName returns the name of an entry. Whether one is UTF-8 is marked by few programs (APPNOTE 6.3.10, appendix D); others write what their system has,
// for which code page 850 stands, that of Windows in Italy: it has the letters of code page 437, and those with accents that 437 lacks. A backslash
// separates folders too, as some programs of Windows write it.
func zipName(f *zip.File) string {
	name := f.Name
	if !utf8.ValidString(name) {
		name, _ = charmap.CodePage850.NewDecoder().String(name)
	}
	return strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
}

// Errors of what is read of a ZIP.
var (
	errDirectory = errors.New("the directory is too long")
	errEntry     = errors.New("the entry is too large")
	errTemp      = errors.New("keep a file of a ZIP for a while")
)

// ours reports whether an error is no fault of what is read.
func ours(err error) bool {
	return errors.Is(err, errStopped) || errors.Is(err, errLimit) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// bounded reads so many bytes; any number if left is below 0.
type bounded struct {
	r    io.ReaderAt
	left int64
}

// ReadAt implements io.ReaderAt.
func (b *bounded) ReadAt(p []byte, offset int64) (int, error) {
	if b.left < 0 {
		return b.r.ReadAt(p, offset)
	}
	if int64(len(p)) > b.left {
		b.left = 0
		return 0, errDirectory
	}
	b.left -= int64(len(p))
	return b.r.ReadAt(p, offset)
}

// counted counts what is read of an entry, and of all.
type counted struct {
	ctx   context.Context
	r     io.Reader
	entry int64 // bytes that may still come of the entry
	all   *int64
	most  int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	*c.all += int64(n)
	c.entry -= int64(n)
	switch {
	case c.entry < 0:
		return 0, errEntry
	case *c.all > c.most:
		return 0, errLimit
	}
	return n, err
}

// mostInMemory is how much of an entry is held in memory before a file takes it.
const mostInMemory = 1 << 20

// spool holds an entry: in memory, or in a temporary file without a name.
type spool struct {
	temp   string
	memory bytes.Buffer
	file   *os.File // nil while memory suffices
	size   int64
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.memory.Len()+len(p) > mostInMemory {
		if err := s.toFile(); err != nil {
			return 0, fmt.Errorf("%w: %w", errTemp, err)
		}
	}
	s.size += int64(len(p))
	if s.file == nil {
		return s.memory.Write(p)
	}
	n, err := s.file.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", errTemp, err)
	}
	return n, err
}

func (s *spool) toFile() error {
	f, err := os.CreateTemp(s.temp, "copialettere-import-")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	s.file = f
	_, err = f.Write(s.memory.Bytes())
	return err
}

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(p []byte, offset int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, offset)
	}
	return bytes.NewReader(s.memory.Bytes()).ReadAt(p, offset)
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}
