package datafolder

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"copialettere/journal/durable"
)

// identity is the content of the identity file.
type identity struct {
	Format  int       `json:"format"` // of the folder
	ID      string    `json:"id"`     // of the archive, as in the register of its journal
	Created time.Time `json:"created"`
}

// makeFolder makes the folder with its identity, and nothing else in it.
func makeFolder(folder string) (identity, error) {
	id := identity{ID: rand.Text(), Created: time.Now().UTC()}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return id, fmt.Errorf("make data folder: %w", err)
	}
	list, err := os.ReadDir(folder)
	if err != nil {
		return id, fmt.Errorf("make data folder: %w", err)
	}
	for _, entry := range list {
		if name := entry.Name(); name == RestoringFolder || name == journalFolder {
			return id, absent(folder) // nobody is to empty it
		}
		if entry.Name() != IdentityFile+".new" { // left by a Make that was broken off
			return id, fmt.Errorf("%s is not empty and is no data folder: name another one, or empty it", folder)
		}
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		return id, fmt.Errorf("make data folder: %w", err)
	}
	return id, writeIdentity(folder, id, formatUnregistered)
}

func writeIdentity(folder string, id identity, format int) error {
	id.Format = format
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	if err := durable.Write(filepath.Join(folder, IdentityFile), bytes.NewReader(append(b, '\n')), nil); err != nil {
		return fmt.Errorf("write identity of the data folder: %w", err)
	}
	return nil
}

// readIdentity returns the identity of a data folder. The error is fs.ErrNotExist where there is none.
func readIdentity(folder string) (identity, error) {
	var id identity
	b, err := os.ReadFile(filepath.Join(folder, IdentityFile))
	if err != nil {
		return id, err
	}
	// The format first: a newer one may give everything else another meaning.
	var number struct {
		Format int `json:"format"`
	}
	err = json.NewDecoder(bytes.NewReader(b)).Decode(&number)
	switch {
	case err != nil:
	case number.Format > Format:
		return id, fmt.Errorf("%s has format %d, and this program knows 1 to %d: use the copialettere that wrote it, or a newer one",
			folder, number.Format, Format)
	case number.Format < 1:
		err = errors.New("no format")
	default:
		if err = json.NewDecoder(bytes.NewReader(b)).Decode(&id); err == nil && id.ID == "" {
			err = errors.New("no id")
		}
	}
	if err != nil {
		err = fmt.Errorf("%s is damaged (%w): put it back from a backup", filepath.Join(folder, IdentityFile), err)
	}
	return id, err
}
