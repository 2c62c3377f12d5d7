package level

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"copialettere/journal/kv"
)

// Peek calls fn with a view of a store in the folder of an engine that nobody has open. It changes nothing: no log is replayed into tables, and nothing is
// recorded as lost. An empty month means the settings. The error is ErrInUse if the folder is open, and otherwise says why the store cannot be read.
func Peek(ctx context.Context, dir string, month kv.Month, opts Options, fn func(kv.View) error) error {
	name := string(month)
	if month == "" {
		name = settingsName
	} else if err := checkMonth(month); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, lockName)); err == nil {
		lock, err := lockFolder(dir)
		if err != nil {
			return err
		}
		defer unlockFolder(lock)
	}
	e := &Engine{dir: dir, opts: opts.withDefaults()}
	db, err := e.peek(name)
	if err != nil {
		return fmt.Errorf("read store %s: %w", name, err)
	}
	err = fn(peeked{ctx, db})
	return errors.Join(err, db.Close())
}

// Unsettled lists the stores, by the names of their folders, that were mended and whose losses are not settled: see Mended.Settle.
func Unsettled(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", mendedName))
	var names []string
	for _, file := range files {
		if name := filepath.Base(filepath.Dir(file)); isStoreName(name) {
			names = append(names, name)
		}
	}
	return names, err
}

// peek opens a database for reading, in files that nothing is changed in.
func (e *Engine) peek(name string) (*leveldb.DB, error) {
	s := &survey{name: name, folder: e.path(name)}
	manifest, err := s.readCurrent()
	if err != nil {
		return nil, err
	}
	_, key, err := e.readKey(s.folder)
	if err != nil {
		return nil, err
	}
	s.files = readOnly{folder: s.folder}
	if key != nil {
		s.files = &sealed{s.files, *key}
	}
	return leveldb.Open(&named{s.files, manifest}, &opt.Options{ReadOnly: true, ErrorIfMissing: true, Strict: opt.DefaultStrict})
}

// peeked is the view of Peek.
type peeked struct {
	ctx context.Context
	db  *leveldb.DB
}

// Get implements kv.View.
func (p peeked) Get(key []byte) ([]byte, error) {
	if err := errors.Join(p.ctx.Err(), kv.CheckKey(key)); err != nil {
		return nil, err
	}
	v, err := p.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, kv.ErrNotFound
	}
	return v, err
}

// GetAll implements kv.View.
func (p peeked) GetAll(keys [][]byte) ([][]byte, error) { return kv.GetEach(keys, p.Get) }
