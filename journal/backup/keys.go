package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"copialettere/journal/datafolder"
	"copialettere/journal/durable"
	"copialettere/journal/kv/keyed"
)

// The keys of the mailboxes are in each generation, wrapped by the operator's key. One that is destroyed in the newest generation is destroyed in all others
// of the same folder too: what they have of an erased mailbox cannot be read any more. Only the files of the keys change, and the lines that name them.

// scrub destroys, in earlier generations, the keys of mailboxes that are destroyed in the one that was written. After an error or a crash the next backup
// does the rest.
func (w *writer) scrub(earlier []*Generation) error {
	tells := make(map[string][]byte)
	for _, file := range w.generation.Files {
		if slices.Contains(datafolder.MailboxKeyFiles(), file.Name) {
			b, err := os.ReadFile(w.content(file.SHA256))
			if err != nil {
				return err
			}
			tells[file.Name] = b
		}
	}
	var replaced []string // digests
	for _, g := range earlier {
		changed := false
		for i := range g.Files {
			before := g.Files[i].SHA256
			done, err := w.scrubFile(&g.Files[i], tells[g.Files[i].Name])
			if err != nil {
				return fmt.Errorf("%s of %s: %w", g.Files[i].Name, g.name(), err)
			}
			if done {
				changed, replaced = true, append(replaced, before)
			}
		}
		if !changed {
			continue
		}
		b, err := g.encode()
		if err == nil {
			err = durable.Write(filepath.Join(w.dir, g.name()), bytes.NewReader(b), w.options.step)
		}
		if err != nil {
			return err
		}
	}
	return w.wipe(replaced)
}

// scrubFile destroys the keys in a file of a generation that are destroyed in another content of it.
func (w *writer) scrubFile(file *File, tells []byte) (changed bool, err error) {
	if tells == nil {
		return false, nil
	}
	content, err := os.ReadFile(w.content(file.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // Check has put it aside
	}
	if err != nil {
		return false, err
	}
	if content, changed = keyed.Scrub(content, tells); !changed {
		return false, nil
	}
	sum := sha256.Sum256(content)
	file.SHA256, file.Size = hex.EncodeToString(sum[:]), int64(len(content))
	if there, err := w.holds(*file); there || err != nil {
		return true, err
	}
	path := w.content(file.SHA256)
	if err := durable.MakeFolder(filepath.Dir(path)); err != nil {
		return false, err
	}
	return true, durable.Write(path, bytes.NewReader(content), w.options.step)
}

// wipe overwrites contents that no generation refers to any more, before they are removed.
func (w *writer) wipe(digests []string) error {
	if len(digests) == 0 {
		return nil
	}
	list, err := w.Generations()
	if err != nil {
		return err
	}
	for _, g := range list {
		for _, file := range g.Files {
			digests = slices.DeleteFunc(digests, func(one string) bool { return one == file.SHA256 })
		}
	}
	slices.Sort(digests)
	for _, one := range slices.Compact(digests) {
		if err := w.wipeContent(w.content(one)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) wipeContent(path string) error {
	if err := w.options.step("write " + path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.Write(make([]byte, info.Size()))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// mergeKeys adds the keys that an older generation has beside those of the newest one, which are in their place: two lines of the archive, as after a restore
// with Alone, have different ones.
func (r *restorer) mergeKeys(g *Generation) error {
	for _, file := range g.Files {
		if !slices.Contains(datafolder.MailboxKeyFiles(), file.Name) {
			continue
		}
		path := filepath.Join(r.at, file.Name)
		newest, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		older, err := os.ReadFile(r.content(file.SHA256))
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, file.Name, err)
		}
		if err := durable.Write(path, bytes.NewReader(keyed.Merge(newest, older)), r.options.step); err != nil {
			return err
		}
	}
	return nil
}
