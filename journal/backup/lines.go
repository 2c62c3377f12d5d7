package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"copialettere/journal/durable"
)

// identity is the content of the file BACKUP.
type identity struct {
	Format  int    `json:"format"`
	Archive string `json:"archive"`
}

func writeIdentity(dir, archive string) error {
	b, err := json.Marshal(identity{format, archive})
	if err == nil {
		err = durable.Write(filepath.Join(dir, identityName), bytes.NewReader(append(b, '\n')), nil)
	}
	if err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	return nil
}

func readIdentity(dir string) (archive string, err error) {
	name := filepath.Join(dir, identityName)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is %w: see whether its disk is mounted, and whether the path is right", dir, ErrNoBackup)
	}
	if err != nil {
		return "", fmt.Errorf("open backup: %w", err)
	}
	var id identity
	if err = json.Unmarshal(b, &id); err == nil && id.Format > format {
		return "", fmt.Errorf("%s has format %d, and this program knows %d: use a newer copialettere", dir, id.Format, format)
	}
	if err == nil && (id.Format < 1 || id.Archive == "") {
		err = errors.New("no format, or no archive")
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w: write it anew, {\"format\":%d,\"archive\":ID}, with the ID in the first line of a generation",
			ErrDamaged, name, err, format)
	}
	return id.Archive, nil
}

// header is the first line of a generation, and footer the last.
type header struct {
	Format  int       `json:"format"`
	Archive string    `json:"archive"`
	Taken   time.Time `json:"taken"`
}

type footer struct {
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// encode returns the lines of a generation, and sums up its bytes.
func (g *Generation) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(header{format, g.Archive, g.Taken.UTC()}); err != nil {
		return nil, err
	}
	g.Bytes = 0
	for _, f := range g.Files {
		g.Bytes += f.Size
		if err := enc.Encode(f); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(b.Bytes())
	err := enc.Encode(footer{len(g.Files), g.Bytes, hex.EncodeToString(sum[:])})
	return b.Bytes(), err
}

// maxLine is the length of the longest line of a generation, in bytes.
const maxLine = 64 << 10

// decode reads the lines of a generation.
func decode(r io.Reader) (*Generation, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	sum := sha256.New()
	g := new(Generation)
	var first header
	if !lines.Scan() {
		return nil, errors.Join(errors.New("it is empty"), lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &first); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	if first.Format != format {
		return nil, fmt.Errorf("line 1: format %d, and this program knows %d", first.Format, format)
	}
	g.Archive, g.Taken = first.Archive, first.Taken
	seen := make(map[string]bool)
	for n := 2; ; n++ {
		sum.Write(lines.Bytes())
		sum.Write([]byte{'\n'})
		if !lines.Scan() {
			return nil, errors.Join(errors.New("its last line is missing"), lines.Err())
		}
		var f File
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if f.Name == "" {
			break
		}
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if seen[f.Name] {
			return nil, fmt.Errorf("line %d: %q comes twice", n, f.Name)
		}
		seen[f.Name] = true
		g.Files = append(g.Files, f)
		g.Bytes += f.Size
	}
	var last footer
	if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
		return nil, fmt.Errorf("last line: %w", err)
	}
	if want := hex.EncodeToString(sum.Sum(nil)); last != (footer{len(g.Files), g.Bytes, want}) {
		return nil, errors.New("its last line does not match the others")
	}
	if lines.Scan() {
		return nil, errors.New("lines follow the last one")
	}
	return g, lines.Err()
}

// check refuses a line that would lead out of the folder, or to no content.
func (f *File) check() error {
	if !fs.ValidPath(f.Name) || f.Name == "." || path.Clean(f.Name) != f.Name || strings.ContainsRune(f.Name, 0) {
		return fmt.Errorf("name %q", f.Name)
	}
	if digest, err := hex.DecodeString(f.SHA256); err != nil || len(digest) != sha256.Size || strings.ToLower(f.SHA256) != f.SHA256 {
		return fmt.Errorf("digest %.100q", f.SHA256)
	}
	if f.Size < 0 {
		return fmt.Errorf("size %d", f.Size)
	}
	return nil
}

// read reads a generation. The error is ErrDamaged if it cannot be.
func (f *Folder) read(name string) (*Generation, error) {
	path := filepath.Join(f.dir, name)
	r, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer r.Close()
	g, err := decode(r)
	if err == nil && (g.name() != name || g.Archive != f.archive) {
		err = fmt.Errorf("it is of archive %s at %s", g.Archive, g.Taken)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: generation %s: %w", ErrDamaged, path, err)
	}
	return g, nil
}
