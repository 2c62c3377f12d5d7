package intake

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
)

// What a manifest may have, in bytes: a line, with the line ends in its quotes, and the names of all folders together. All of that is held in memory.
const (
	mostRow     = 64 << 10
	mostFolders = 16 << 20
)

// manifest is what the manifests of exports of this program tell of the files beside them.
type manifest struct {
	rows    map[rowKey]row
	folders []string // that rows have by number
	bytes   int      // of folders
}

// errRow says that a line of a manifest is too long.
var errRow = errors.New("a line is too long")

// rowReader reads what is left of a row.
type rowReader struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (r *rowReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, errRow
	}
	n, err := r.r.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// rowKey is the beginning of the SHA-256 of a file's path and the offset of a message in it.
type rowKey [16]byte

// row is what a manifest tells of one message.
type row struct {
	date    int64 // seconds since 1970
	folder  uint32
	digest  [sha256.Size]byte
	changed changes
}

// changes is what an mbox has changed of a message.
type changes byte

const (
	quoted changes = 1 << iota
	lineEnds
	final
	bareLF
)

// wholeFile is the offset under which a file is known that holds several messages.
const wholeFile = -1

func keyOf(file string, offset int64) rowKey {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(file), uint64(offset)))
	return rowKey(sum[:16])
}

var manifestName = regexp.MustCompile(`^manifest(-[0-9]+)?\.csv$`)

func isManifest(name string) bool { return manifestName.MatchString(name) }

// knows reports whether a manifest lists messages of an mbox.
func (m *manifest) knows(file string) bool {
	_, ok := m.rows[keyOf(file, wholeFile)]
	return ok
}

func (m *manifest) row(file string, offset int64) (row, bool) {
	r, ok := m.rows[keyOf(file, offset)]
	return r, ok
}

// readManifest reads a manifest. Another table of that name is left alone: it is told of when its turn among the files comes.
func (w *walk) readManifest(s source) error {
	limited := &rowReader{io.NewSectionReader(s.r, 0, min(s.size, w.o.Limits.Entry)), mostRow}
	r := csv.NewReader(bufio.NewReader(limited))
	r.ReuseRecord = true
	fields, err := r.Read()
	if err != nil {
		return nil
	}
	columns := make(map[string]int)
	for i, name := range fields {
		columns[strings.TrimPrefix(name, "\ufeff")] = i
	}
	for _, name := range []string{"file", "folder", "date", "sha256", "changed", "offset", "length"} {
		if _, ok := columns[name]; !ok {
			return nil
		}
	}
	numbers := make(map[string]uint32)
	for {
		limited.left = mostRow
		record, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return w.left(Noted, s.name, say("il manifest è danneggiato da qui in poi, e non si sa che cosa dica del resto: %v", "the manifest is damaged from here on, and what it says of the rest is not known: %v"), err)
		}
		if most := w.o.Limits.Rows; len(w.manifest.rows) >= most || w.manifest.bytes > mostFolders {
			return w.left(Refused, s.name, say("elenca più di %d messaggi, o troppe cartelle: importarle una per volta", "it lists more than %d messages, or too many folders: import them one by one"), most)
		}
		w.manifest.add(path.Dir(s.key), record, columns, numbers)
	}
}

// add adds a line of a manifest that lies in a folder. One that is malformed is left out.
func (m *manifest) add(dir string, record []string, columns map[string]int, numbers map[string]uint32) {
	value := func(name string) string { return record[columns[name]] }
	file := path.Join(dir, value("file"))
	date, err := time.Parse(time.RFC3339, value("date"))
	digest, digestErr := hex.DecodeString(value("sha256"))
	if value("file") == "" || err != nil || digestErr != nil || len(digest) != sha256.Size {
		return
	}
	r := row{date: date.Unix(), digest: [sha256.Size]byte(digest)}
	for name := range strings.FieldsSeq(value("changed")) {
		switch name {
		case export.ChangedQuoted:
			r.changed |= quoted
		case export.ChangedLineEnds:
			r.changed |= lineEnds
		case export.ChangedFinal:
			r.changed |= final
		case export.ChangedBareLF:
			r.changed |= bareLF
		}
	}
	folder := ownFolder(value("folder"))
	number, ok := numbers[folder]
	if !ok {
		number = uint32(len(m.folders))
		m.folders = append(m.folders, folder)
		m.bytes += len(folder)
		numbers[folder] = number
	}
	r.folder = number
	var offset int64
	if value("length") != "" {
		if offset, err = strconv.ParseInt(value("offset"), 10, 64); err != nil || offset < 0 {
			return
		}
		m.rows[keyOf(file, wholeFile)] = row{}
	}
	m.rows[keyOf(file, offset)] = r
}

// ownFolder returns the folder of an export without its month, and without the one that all that was imported lies in.
func ownFolder(name string) string {
	if folder, _, err := journal.ParseFolder(name); err == nil {
		name = folder
	}
	if name == journal.Imported {
		return ""
	}
	return strings.TrimPrefix(name, journal.Imported+"/")
}

// own fills in what a manifest tells of a message.
func (w *walk) own(p *Piece, r row) {
	p.Folder, p.Date, p.SHA256 = w.manifest.folders[r.folder], time.Unix(r.date, 0).UTC(), hex.EncodeToString(r.digest[:])
}

// undo returns the bytes of a message before an export wrote them to an mbox: content has the part from behind the From line up to the next one.
func (r row) undo(content *io.SectionReader) io.Reader {
	size := content.Size() - 1 // the empty line
	if r.changed&final != 0 {
		size--
	}
	return &undoing{r: bufio.NewReaderSize(io.NewSectionReader(content, 0, max(size, 0)), 64<<10), crlf: r.changed&bareLF == 0, start: true}
}

// undoing takes one ">" off the lines of ">" and "From ", and ends lines with CRLF.
type undoing struct {
	r      *bufio.Reader
	crlf   bool
	start  bool   // a line begins
	quotes int64  // ">" that come before what is in out
	out    []byte // that waits to be read
	err    error
}

// Read implements io.Reader.
func (u *undoing) Read(p []byte) (int, error) {
	for u.quotes == 0 && len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		u.next()
	}
	if u.quotes > 0 {
		n := int(min(u.quotes, int64(len(p))))
		for i := range n {
			p[i] = '>'
		}
		u.quotes -= int64(n)
		return n, nil
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// next reads the ">" at the start of a line, or what follows them, or a part of it.
func (u *undoing) next() {
	if u.start {
		u.start = false
		for {
			c, err := u.r.ReadByte()
			if err != nil {
				u.err = err
				return
			}
			if c != '>' {
				u.err = u.r.UnreadByte()
				break
			}
			u.quotes++
		}
		if from, _ := u.r.Peek(len(fromLine)); u.quotes > 0 && string(from) == fromLine {
			u.quotes--
		}
		return
	}
	line, err := u.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		u.err = err
	}
	u.start = err == nil
	u.out = append(u.out[:0], line...)
	if u.start && u.crlf {
		u.out = append(u.out[:len(u.out)-1], "\r\n"...)
	}
}
