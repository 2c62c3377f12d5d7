package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"copialettere/journal/durable"
)

// clean removes what an interrupted backup was writing.
func (f *Folder) clean() error {
	for _, pattern := range []string{filepath.Join(contentName, "*"+unfinished), generationPrefix + "*" + unfinished} {
		paths, err := filepath.Glob(filepath.Join(f.dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove what a backup left that broke off: %w", err)
			}
		}
	}
	return nil
}

// prune removes the generations beyond those to keep, and the contents that none refers to. As long as one cannot be read it removes no contents.
func (f *Folder) prune() error {
	names, err := f.generations()
	if err != nil {
		return err
	}
	for len(names) > f.options.Keep {
		path := filepath.Join(f.dir, names[0])
		if err := f.options.step("remove " + path); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		names = names[1:]
	}
	// Contents must not go before it is durable that nothing refers to them.
	if err := durable.SyncFolder(f.dir); err != nil {
		return err
	}
	list, err := f.Generations()
	if err != nil {
		return err
	}
	wanted := make(map[string]bool)
	for _, g := range list {
		for _, file := range g.Files {
			wanted[file.SHA256] = true
		}
	}
	return f.eachContent(func(sha, path string) error {
		if wanted[sha] {
			return nil
		}
		if err := f.options.step("remove " + path); err != nil {
			return err
		}
		return os.Remove(path)
	})
}

// eachContent calls fn for each file among the contents.
func (f *Folder) eachContent(fn func(sha, path string) error) error {
	folders, err := os.ReadDir(filepath.Join(f.dir, contentName))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		list, err := os.ReadDir(filepath.Join(f.dir, contentName, folder.Name()))
		if err != nil {
			return err
		}
		for _, entry := range list {
			if err := fn(entry.Name(), filepath.Join(f.dir, contentName, folder.Name(), entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Checked is what Check found.
type Checked struct {
	Generations int      `json:"generations"`
	Contents    int      `json:"contents"` // files that were read back
	Bytes       int64    `json:"bytes"`
	Faults      []string `json:"faults,omitempty"`
}

// Check reads all of a backup and compares it with its digests. A fault is no error. A damaged content is put aside: the next Write copies it anew if the
// data folder still has it.
func (f *Folder) Check(ctx context.Context) (*Checked, error) {
	c := new(Checked)
	list, err := f.Generations()
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err != nil {
		c.Faults = append(c.Faults, strings.Split(err.Error(), "\n")...)
	}
	c.Generations = len(list)
	seen := make(map[string]bool)
	for _, g := range list {
		for _, file := range g.Files {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if seen[file.SHA256] {
				continue
			}
			seen[file.SHA256] = true
			if err := f.compare(f.content(file.SHA256), file); err != nil {
				c.Faults = append(c.Faults, fmt.Sprintf("%s of %s: %v", file.Name, g.Taken.Format(generationTime), err))
				if errors.Is(err, ErrDamaged) {
					aside := filepath.Join(f.dir, contentName, file.SHA256+damaged)
					if err := os.Rename(f.content(file.SHA256), aside); err != nil {
						return nil, fmt.Errorf("put a damaged content aside: %w", err)
					}
				}
				continue
			}
			c.Contents++
			c.Bytes += file.Size
		}
	}
	return c, nil
}
