package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"copialettere/journal/kv"
)

// direction is the stored object of an address that does not simply lead to the archive of that name.
type direction struct {
	Archive string `json:"archive,omitempty"` // the name of the archive that the address leads to; empty: it is no mailbox
	Former  string `json:"former,omitempty"`  // the name of the archive that last left the address
}

func directionKey(a Address) []byte { return []byte("n" + a.String()) }

// lead is what an address leads to.
type lead struct {
	name   string  // of its archive; of one that is not set up, the name that it would get
	record *record // shared: do not change it; nil where nothing is set up
	former string  // the name of the archive that last left the address, where one did
}

// errMoved says that an archive was changing its address while the address was looked up.
var errMoved = fmt.Errorf("the archive is changing its address: %w", kv.ErrUnavailable)

// lookups is how often an address is looked up while its archive is changing address.
const lookups = 3

// directory looks up addresses in the settings store.
type directory struct {
	get    func(key []byte) ([]byte, error)
	decode func(name string, stored []byte) (*record, error)
}

// directoryIn returns the directory as an Update sees it.
func directoryIn(tx kv.View) directory {
	return directory{tx.Get, func(_ string, stored []byte) (*record, error) {
		r, err := decodeRecord(stored)
		return &r, err
	}}
}

// lead looks an address up in the store as it is now.
func (p *Policy) lead(ctx context.Context, a Address) (lead, error) {
	get := func(key []byte) ([]byte, error) { return p.store.Get(ctx, key) }
	return directory{get, p.decoded.record}.lead(a)
}

// lead looks up an address.
func (d directory) lead(a Address) (l lead, err error) {
	for range lookups {
		if l, err = d.once(a); !errors.Is(err, errMoved) {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("settings of %s: %w", a, err)
	}
	return l, err
}

// once looks up an address. Nearly all of those that are mailboxes lead to the archive of the same name, and cost one read.
func (d directory) once(a Address) (lead, error) {
	address := a.String()
	own, err := d.record(address)
	if err != nil || own != nil && own.address == (Address{}) {
		return lead{name: address, record: own}, err
	}
	to, err := d.direction(a)
	switch {
	case err != nil:
		return lead{}, err
	case to.Archive == "":
		name, err := d.freeName(a, own != nil)
		return lead{name: name, former: to.Former}, err
	}
	r, err := d.record(to.Archive)
	if err == nil && (r == nil || r.address != a) {
		err = errMoved
	}
	return lead{to.Archive, r, to.Former}, err
}

// record returns the record of an archive by its name; nil where there is none.
func (d directory) record(name string) (*record, error) {
	b, err := d.get(settingsKey(name))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return d.decode(name, b)
}

func (d directory) direction(a Address) (to direction, err error) {
	b, err := d.get(directionKey(a))
	if errors.Is(err, kv.ErrNotFound) {
		return direction{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &to)
	}
	return to, err
}

// freeName returns the name that an archive set up under an address gets: the address, or where that is the name of another archive, the
// address with a number. No address has a slash in its domain, so the name with a number is nobody's address. Names with the number of an
// address are given under the lock of that address.
func (d directory) freeName(a Address, taken bool) (string, error) {
	name := a.String()
	for n := 2; taken; n++ {
		name = a.String() + "/" + strconv.Itoa(n)
		r, err := d.record(name)
		if err != nil {
			return "", err
		}
		taken = r != nil
	}
	return name, nil
}

// point writes that an address leads to the archive of that name, or to none if it is empty. Former is the archive that left the address last.
func point(tx kv.Tx, a Address, name, former string) error {
	value, err := json.Marshal(direction{name, former})
	if err != nil {
		return err
	}
	tx.Put(directionKey(a), value)
	return nil
}
