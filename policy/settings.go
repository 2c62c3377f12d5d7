package policy

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// settingsVersion is the newest form of stored settings that this package reads. Fields may be added without a new version.
const settingsVersion = 1

// Settings are those of one mailbox. The zero value holds for a mailbox that was never set up.
type Settings struct {
	Enabled bool      // mail is archived
	Since   time.Time // since when, in UTC; zero while it is not
}

// Mailbox is an address that was set up once, with its settings of now.
type Mailbox struct {
	Address  Address
	Settings Settings
}

// Change tells of one change of one setting.
type Change struct {
	Number  uint64    `json:"-"` // counts the changes of this mailbox, from 1
	Mailbox Address   `json:"-"`
	Time    time.Time `json:"time"` // UTC
	Who     string    `json:"who"`
	Key     string    `json:"key"`    // which setting: "archive"
	Before  string    `json:"before"` // for "archive": "off" or "on"
	After   string    `json:"after"`
}

// Enable turns the archive of a mailbox on from now. It reports whether that changed anything; a mailbox that was enabled already keeps
// its date, and no change is recorded. Who tells whose doing it is, for the change log. The error wraps ErrUnknownDomain where the
// address lies in no configured domain.
func (p *Policy) Enable(ctx context.Context, a Address, who string) (changed bool, err error) {
	if _, ok := p.delimiters[a.Domain]; !ok {
		return false, fmt.Errorf("enable %s: %w", a, ErrUnknownDomain)
	}
	changed, err = p.change(ctx, a, who, func(s *Settings, now time.Time) {
		if !s.Enabled {
			s.Enabled, s.Since = true, now
		}
	})
	if err != nil {
		return false, fmt.Errorf("enable %s: %w", a, err)
	}
	return changed, nil
}

// Disable turns the archive of a mailbox off from now, and reports whether that changed anything. What the archive holds is not
// touched.
func (p *Policy) Disable(ctx context.Context, a Address, who string) (changed bool, err error) {
	changed, err = p.change(ctx, a, who, func(s *Settings, _ time.Time) {
		s.Enabled, s.Since = false, time.Time{}
	})
	if err != nil {
		return false, fmt.Errorf("disable %s: %w", a, err)
	}
	return changed, nil
}

// Settings returns the settings of a mailbox as they are in the store now.
func (p *Policy) Settings(ctx context.Context, a Address) (Settings, error) {
	r, _, err := p.load(ctx, a)
	return r.Settings, err
}

// Mailboxes yields all mailboxes that were ever set up, enabled or not, in the order of their canonical names.
func (p *Policy) Mailboxes(ctx context.Context) iter.Seq2[Mailbox, error] {
	return func(yield func(Mailbox, error) bool) {
		for pair, err := range p.store.Scan(ctx, []byte("m"), []byte("n")) {
			m, err := decodeMailbox(pair, err)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

func decodeMailbox(pair kv.Pair, err error) (Mailbox, error) {
	if err != nil {
		return Mailbox{}, fmt.Errorf("list mailboxes: %w", err)
	}
	a, err := ParseAddress(string(pair.Key[1:]))
	if err != nil {
		return Mailbox{}, fmt.Errorf("list mailboxes: key %q: %w", pair.Key, err)
	}
	r, err := decodeRecord(pair.Value)
	if err != nil {
		return Mailbox{}, fmt.Errorf("settings of %s: %w", a, err)
	}
	return Mailbox{Address: a, Settings: r.Settings}, nil
}

// Changes yields the changes of a mailbox's settings, oldest first.
func (p *Policy) Changes(ctx context.Context, a Address) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for pair, err := range p.store.Scan(ctx, changeKey(a, 0), changeKey(a, 1<<64-1)) {
			c := Change{Mailbox: a}
			if err == nil {
				c.Number = binary.BigEndian.Uint64(pair.Key[len(pair.Key)-8:])
				err = json.Unmarshal(pair.Value, &c)
			}
			if err != nil {
				yield(Change{}, fmt.Errorf("changes of %s: %w", a, err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func settingsKey(a Address) []byte { return []byte("m" + a.String()) }

func changeKey(a Address, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("l"+a.String()+"\x00"), n)
}

// load reads the settings of a mailbox; found says that it was set up once.
func (p *Policy) load(ctx context.Context, a Address) (r record, found bool, err error) {
	b, err := p.store.Get(ctx, settingsKey(a))
	if errors.Is(err, kv.ErrNotFound) {
		return record{}, false, nil
	}
	if err == nil {
		r, err = p.decoded.record(a, b)
	}
	if err != nil {
		return record{}, false, fmt.Errorf("settings of %s: %w", a, err)
	}
	return r, true, nil
}

// maxDecoded is how many mailboxes decodedRecords keeps.
const maxDecoded = 10_000

// decodedRecords saves decoding the same stored settings for every message. It is no cache of the store: what it keeps counts only for
// the very bytes that were read just now.
type decodedRecords struct {
	mu   sync.Mutex
	list map[Address]decodedRecord // guarded by mu
}

type decodedRecord struct {
	stored string
	record record
}

// record decodes the stored settings of a mailbox. The rest of what it returns is shared and must not be changed.
func (d *decodedRecords) record(a Address, stored []byte) (record, error) {
	d.mu.Lock()
	known, ok := d.list[a]
	d.mu.Unlock()
	if ok && known.stored == string(stored) {
		return known.record, nil
	}
	r, err := decodeRecord(stored)
	if err != nil {
		return record{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.list == nil || len(d.list) >= maxDecoded {
		d.list = make(map[Address]decodedRecord)
	}
	d.list[a] = decodedRecord{string(stored), r}
	return r, nil
}

// change applies edit to the settings of a mailbox and writes them together with a record for each setting that is another then.
func (p *Policy) change(ctx context.Context, a Address, who string, edit func(*Settings, time.Time)) (changed bool, err error) {
	if a.Local == "" || a.Domain == "" {
		return false, fmt.Errorf("%w: no domain", ErrAddress)
	}
	if who == "" {
		return false, errors.New("change of settings without an author")
	}
	key, now := settingsKey(a), time.Now().UTC().Round(0)
	err = p.store.Update(ctx, []string{string(key)}, func(tx kv.Tx) error {
		changed = false
		var r record
		b, err := tx.Get(key)
		if err == nil {
			r, err = decodeRecord(b)
		}
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		before := r.Settings
		edit(&r.Settings, now)
		for _, c := range differences(before, r.Settings) {
			c.Time, c.Who = now, who
			r.changes++
			value, err := json.Marshal(c)
			if err != nil {
				return err
			}
			switch _, err := tx.Get(changeKey(a, r.changes)); {
			case err == nil:
				return fmt.Errorf("change %d is on record already", r.changes)
			case !errors.Is(err, kv.ErrNotFound):
				return err
			}
			tx.Put(changeKey(a, r.changes), value)
			changed = true
		}
		if changed {
			value, err := r.encode()
			if err != nil {
				return err
			}
			tx.Put(key, value)
		}
		return nil
	})
	return changed && err == nil, err
}

// differences returns one change for each setting in which the two differ, without time and author.
func differences(before, after Settings) []Change {
	var changes []Change
	if before.Enabled != after.Enabled {
		changes = append(changes, Change{Key: "archive", Before: onOff(before.Enabled), After: onOff(after.Enabled)})
	}
	return changes
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// record is what is stored of a mailbox.
type record struct {
	Settings
	changes uint64                     // the number of the newest change
	rest    map[string]json.RawMessage // fields of other versions
}

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r.rest); err != nil {
		return record{}, fmt.Errorf("decode: %w", err)
	}
	var version int
	for _, field := range []struct {
		name string
		into any
	}{{"version", &version}, {"enabled", &r.Enabled}, {"since", &r.Since}, {"changes", &r.changes}} {
		raw, ok := r.rest[field.name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, field.into); err != nil {
			return record{}, fmt.Errorf("decode %q: %w", field.name, err)
		}
		delete(r.rest, field.name)
	}
	if version < 1 {
		return record{}, errors.New("decode: no version")
	}
	if version > settingsVersion {
		return record{}, fmt.Errorf("version %d: %w", version, ErrVersion)
	}
	r.Since = r.Since.UTC()
	return r, nil
}

func (r record) encode() ([]byte, error) {
	object := make(map[string]any, len(r.rest)+4)
	for name, raw := range maps.All(r.rest) {
		object[name] = raw
	}
	object["version"], object["enabled"], object["changes"] = settingsVersion, r.Enabled, r.changes
	if !r.Since.IsZero() {
		object["since"] = r.Since
	}
	b, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	return b, nil
}
