package level

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"copialettere/journal/durable"
	"copialettere/journal/kv"
)

// ErrAbsent says that a folder, store or register that the archive has is not there.
var ErrAbsent = errors.New("absent")

const (
	registerName   = "REGISTER"
	registerFormat = 1 // raised with that of the data folder when the layout changes, as its identity may be written by hand
	tagName        = "STORE"
)

// States of a store in the register. Empty: it must be there.
const (
	stateMaking   = "making"   // it is new, and nothing was ever acknowledged in it
	stateUntagged = "untagged" // it must be there; it is older than tags, and could not be given one yet
)

// registered is a store in the register.
type registered struct {
	Tag   string `json:"tag"`
	State string `json:"state,omitempty"`
}

// register is the content of the register. The map of one in use by an Engine does not change: enter replaces it.
type register struct {
	Format  int                   `json:"format"`
	Archive string                `json:"archive"`
	Stores  map[string]registered `json:"stores"` // by name of the folder
}

func newTag(archive, name string) string { return archive + "/" + name + "/" + rand.Text() }

// ofStore reports whether a tag belongs to a store of that name in an archive.
func ofStore(tag, archive, name string) bool { return strings.HasPrefix(tag, archive+"/"+name+"/") }

func isStoreName(name string) bool { return name == settingsName || checkMonth(kv.Month(name)) == nil }

// readRegister reads the register of a folder. The error is fs.ErrNotExist if there is none.
func readRegister(dir string) (register, error) {
	var r register
	path := filepath.Join(dir, registerName)
	b, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read register: %w", err)
	}
	// Read the format first: a newer one may change everything else.
	var number struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(b, &number) == nil && number.Format > registerFormat {
		return r, fmt.Errorf("register %s has format %d, and this program knows %d: use the copialettere that wrote it, or a newer one",
			path, number.Format, registerFormat)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err = dec.Decode(&r)
	switch {
	case err != nil:
	case dec.Decode(new(any)) != io.EOF:
		err = errors.New("more than one value")
	case r.Format != registerFormat:
		err = fmt.Errorf("format %d, and this program knows %d", r.Format, registerFormat)
	case r.Archive == "" || r.Stores[settingsName].Tag == "":
		err = errors.New("no archive, or no settings")
	}
	for name, entry := range r.Stores {
		known := entry.State == "" || entry.State == stateMaking || entry.State == stateUntagged
		if err == nil && (!isStoreName(name) || entry.Tag == "" || !known) {
			err = fmt.Errorf("store %q: %+v", name, entry)
		}
	}
	if err != nil {
		return r, fmt.Errorf("register %s is damaged (%w): put it back from a backup", path, err)
	}
	return r, nil
}

// planRegister returns the register of a folder, or one to begin with; begun reports whether there is one. It changes nothing.
func planRegister(dir string, o Options) (r register, begun bool, err error) {
	r, err = readRegister(dir)
	switch {
	case err == nil && o.Archive != "" && r.Archive != o.Archive:
		return r, false, fmt.Errorf("%s belongs to archive %s, and not to %s: put the right one back", dir, r.Archive, o.Archive)
	case err == nil:
		return r, true, nil
	case !errors.Is(err, fs.ErrNotExist):
		return r, false, err
	}
	r = register{Format: registerFormat, Archive: o.Archive, Stores: make(map[string]registered)}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, false, fmt.Errorf("open journal folder: %w", err)
	}
	for _, entry := range entries {
		if name := entry.Name(); isStoreName(name) {
			r.Stores[name] = registered{Tag: newTag(r.Archive, name), State: stateUntagged}
		}
	}
	_, settings := r.Stores[settingsName]
	switch {
	case len(r.Stores) == 0 && (o.Create || o.Archive == ""):
		if r.Archive == "" {
			r.Archive = rand.Text()
		}
		r.Stores[settingsName] = registered{Tag: newTag(r.Archive, settingsName), State: stateMaking}
	case len(r.Stores) == 0:
		return r, false, fmt.Errorf("there is no journal in %s: %w", dir, ErrAbsent)
	case !o.TakeIn:
		return r, false, fmt.Errorf("register %s: %w", filepath.Join(dir, registerName), ErrAbsent)
	case !settings:
		return r, false, fmt.Errorf("store %s: %w", filepath.Join(dir, settingsName), ErrAbsent)
	}
	return r, false, nil
}

// openRegister takes the register into use and compares it with the folder.
func (e *Engine) openRegister() error {
	r, begun, err := planRegister(e.dir, e.opts)
	if err != nil {
		return err
	}
	if !begun {
		// Folders with tags keep them: the register may have been lost.
		for name, entry := range r.Stores {
			if tag, err := readTag(e.path(name)); err == nil && ofStore(tag, r.Archive, name) {
				entry.Tag = tag
				r.Stores[name] = entry
			}
		}
		if err := e.writeRegister(r); err != nil {
			return fmt.Errorf("begin the register: %w", err)
		}
	}
	e.archive, e.register = r.Archive, r
	if err := e.finishDrops(); err != nil {
		return err
	}
	if err := e.takeIn(); err != nil {
		return err
	}
	for name, entry := range e.register.Stores {
		if entry.State == stateMaking {
			continue
		}
		_, err := e.claim(name, false)
		switch {
		case err == nil && entry.State == stateUntagged:
			if err := e.enter(name, &registered{Tag: entry.Tag}); err != nil {
				return err
			}
		case err != nil:
			e.opts.Logger.Error("journal store cannot be used", "store", name, "error", err)
		}
	}
	return nil
}

// takeIn looks for volumes that are in the folder but not in the register. It enters those of this archive, which may come from a backup;
// all others are strangers.
func (e *Engine) takeIn() error {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return fmt.Errorf("open journal folder: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if _, ok := e.register.Stores[name]; ok || !isStoreName(name) {
			continue
		}
		tag, err := readTag(e.path(name))
		if err == nil && ofStore(tag, e.archive, name) {
			e.opts.Logger.Warn("taking in a volume that the register did not have", "volume", name)
			if err := e.enter(name, &registered{Tag: tag}); err != nil {
				return err
			}
			continue
		}
		if some, err := holdsAnything(e.path(name)); err != nil || some {
			e.strangers[name] = errStranger(e.path(name))
			e.opts.Logger.Error("journal store cannot be used", "store", name, "error", e.strangers[name])
		}
	}
	return nil
}

func errStranger(path string) error {
	return fmt.Errorf("%s is in the folder of the archive, but is no volume of it: move it away", path)
}

// entry returns the register's entry of a store.
func (e *Engine) entry(name string) (entry registered, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry, ok = e.register.Stores[name]
	return entry, ok
}

// enter sets the register's entry of a store, durably; nil removes it.
func (e *Engine) enter(name string, entry *registered) error {
	e.registering.Lock()
	defer e.registering.Unlock()
	// registering keeps other writers out. e.mu is for readers, who need not wait while the file is written.
	r := e.register
	r.Stores = maps.Clone(r.Stores)
	if entry == nil {
		delete(r.Stores, name)
	} else {
		r.Stores[name] = *entry
	}
	if err := e.writeRegister(r); err != nil {
		return fmt.Errorf("write register: %w", err)
	}
	e.mu.Lock()
	e.register = r
	e.mu.Unlock()
	return nil
}

func (e *Engine) writeRegister(r register) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return e.write(filepath.Join(e.dir, registerName), append(b, '\n'))
}

func (e *Engine) write(path string, b []byte) error {
	return durable.Write(path, bytes.NewReader(b), e.step)
}

func (e *Engine) syncNames(folder string) error {
	if err := e.step("sync " + folder); err != nil {
		return err
	}
	return durable.SyncFolder(folder)
}

// step is where a test lets a change of names fail, or kills the process.
func (e *Engine) step(what string) error {
	if e.opts.step == nil {
		return nil
	}
	return e.opts.step(what)
}

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

// readTag reads the tag of the store in a folder.
func readTag(folder string) (string, error) {
	b, err := os.ReadFile(filepath.Join(folder, tagName))
	return strings.TrimSuffix(string(b), "\n"), err
}

// holdsAnything reports whether a folder is there and not empty, or a file is in its place.
func holdsAnything(path string) (bool, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return true, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if err == io.EOF {
		return false, nil
	}
	return err == nil, err
}

// claim checks that a folder belongs to its store, before anything in it is touched. A store in the register must be there. With create,
// claim enters one that is not in the register as being made, and makes its folder.
func (e *Engine) claim(name string, create bool) (registered, error) {
	path := e.path(name)
	entry, ok := e.entry(name)
	if !ok {
		some, err := holdsAnything(path)
		switch {
		case err != nil:
			return entry, err
		case some:
			return entry, errStranger(path)
		case !create:
			return entry, noVolume(name)
		}
		entry = registered{Tag: newTag(e.archive, name), State: stateMaking}
		if err := e.enter(name, &entry); err != nil {
			return entry, err
		}
	}
	if entry.State == stateMaking {
		err := e.step("make " + path)
		if err == nil {
			err = durable.MakeFolder(path)
		}
		if err != nil {
			return entry, err
		}
	}
	return entry, e.checkTag(name, entry)
}

// checkTag compares the tag in the folder of a store with the register. It tags a folder that may lack a tag: a new one, or an untagged
// one.
func (e *Engine) checkTag(name string, entry registered) error {
	path := e.path(name)
	tag, err := readTag(path)
	switch {
	case err == nil && tag == entry.Tag:
		return nil
	case err == nil:
		return fmt.Errorf("%s is another store (%.100q) than that of the archive (%q): put the right one back", path, tag, entry.Tag)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	some, err := holdsAnything(path)
	if err != nil {
		return err
	}
	if entry.State != stateMaking && !some {
		remedy := "mount its disk, or put it back from a backup"
		if name != settingsName {
			remedy += fmt.Sprintf("; \"copialettere volume forget %s\" gives it up for good", name)
		}
		return fmt.Errorf("%s is %w, or empty, although the archive has it: %s", path, ErrAbsent, remedy)
	}
	if entry.State == "" {
		return fmt.Errorf("%s does not say which store it is: if it is from a backup older than the file %s, write that: echo '%s' > %s",
			path, tagName, entry.Tag, filepath.Join(path, tagName))
	}
	return e.write(filepath.Join(path, tagName), []byte(entry.Tag+"\n"))
}
