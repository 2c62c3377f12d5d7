package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// settingsVersion is the newest version of stored settings that this package reads. New fields do not need a new version.
const settingsVersion = 1

// record is the stored record of a mailbox.
type record struct {
	Settings
	address Address                    // the address that leads to the archive; zero where that is its name
	changes uint64                     // the number of the newest change
	rest    map[string]json.RawMessage // fields unknown to this version
}

// storedHold is the stored form of a hold. Fields that another version adds are lost: a hold is replaced as a whole.
type storedHold struct {
	Reason string    `json:"reason"`
	Who    string    `json:"who"`
	Since  time.Time `json:"since"`
}

func decodeRecord(b []byte) (record, error) {
	r := record{Settings: programDefaults()}
	if err := json.Unmarshal(b, &r.rest); err != nil {
		return record{}, fmt.Errorf("decode: %w", err)
	}
	var version int
	var hold storedHold
	var erasure, address, pending, delay string
	for _, field := range []struct {
		name string
		into any
	}{
		{"version", &version}, {"enabled", &r.Enabled}, {"since", &r.Since}, {"paused", &r.Paused}, {"changes", &r.changes}, {KeyHold, &hold},
		{KeyErasure, &erasure}, {KeyAddress, &address}, {KeyNotifyPending, &pending},
		{KeyRetentionDelay, &delay},
	} {
		if _, err := r.take(field.name, field.into); err != nil {
			return record{}, err
		}
	}
	if version < 1 {
		return record{}, errors.New("decode: no version")
	}
	if version > settingsVersion {
		return record{}, fmt.Errorf("version %d: %w", version, ErrVersion)
	}
	for _, key := range Keys() {
		var value string
		found, err := r.take(key, &value)
		if err == nil && found {
			err = r.setValue(key, value)
		}
		if err != nil {
			return record{}, fmt.Errorf("decode %q: %w", key, err)
		}
	}
	if pending != "" {
		var err error
		if r.NotifyPending, err = parsePending(pending); err != nil {
			return record{}, fmt.Errorf("decode %q: %w", KeyNotifyPending, err)
		}
	}
	if delay != "" {
		var err error
		if r.RetentionDelay, err = parseDelay(delay); err != nil {
			return record{}, fmt.Errorf("decode %q: %w", KeyRetentionDelay, err)
		}
	}
	if erasure != "" {
		var err error
		if r.Erasure, err = parseErasure(erasure); err != nil {
			return record{}, fmt.Errorf("decode %q: %w", KeyErasure, err)
		}
	}
	if address != "" {
		var err error
		if r.address, err = ParseMailbox(address); err != nil {
			return record{}, fmt.Errorf("decode %q: %w", KeyAddress, err)
		}
	}
	if hold.Reason != "" {
		r.Hold = Hold{Reason: hold.Reason, Who: hold.Who, Since: hold.Since.UTC()}
	}
	r.Since, r.Paused = r.Since.UTC(), r.Paused.UTC()
	return r, nil
}

// take decodes a field and removes it from the rest. It reports whether the field was there.
func (r *record) take(name string, into any) (found bool, err error) {
	raw, found := r.rest[name]
	if !found {
		return false, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return true, fmt.Errorf("decode %q: %w", name, err)
	}
	delete(r.rest, name)
	return true, nil
}

func (r *record) encode() ([]byte, error) {
	object := make(map[string]any, len(r.rest)+16)
	for name, raw := range maps.All(r.rest) {
		object[name] = raw
	}
	object["version"], object["enabled"], object["changes"] = settingsVersion, r.Enabled, r.changes
	for _, key := range Keys() {
		object[key] = r.value(key)
	}
	if !r.Since.IsZero() {
		object["since"] = r.Since
	}
	if !r.Paused.IsZero() {
		object["paused"] = r.Paused
	}
	if r.address != (Address{}) {
		object[KeyAddress] = r.address.String()
	}
	if r.Held() {
		object[KeyHold] = storedHold(r.Hold)
	}
	if r.Erasure.State != ErasureNone {
		object[KeyErasure] = r.Erasure.String()
	}
	for _, key := range []string{KeyNotifyPending, KeyRetentionDelay} {
		if value := r.value(key); value != "none" {
			object[key] = value
		}
	}
	b, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	return b, nil
}

// maxDecoded is the greatest number of mailboxes that decodedRecords keeps.
const maxDecoded = 10_000

// decodedRecords saves decoding the same stored settings for every message. It is not a cache of the store: a kept record counts only for
// exactly the bytes that were just read.
type decodedRecords struct {
	mu   sync.Mutex
	list map[string]decodedRecord // by the name of the archive; guarded by mu
}

type decodedRecord struct {
	stored string
	record *record
}

// record decodes the stored settings of an archive. The record is shared: do not change it.
func (d *decodedRecords) record(name string, stored []byte) (*record, error) {
	d.mu.Lock()
	known, ok := d.list[name]
	d.mu.Unlock()
	if ok && known.stored == string(stored) {
		return known.record, nil
	}
	r, err := decodeRecord(stored)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.list == nil || len(d.list) >= maxDecoded {
		d.list = make(map[string]decodedRecord)
	}
	d.list[name] = decodedRecord{string(stored), &r}
	return &r, nil
}

// listed is record for who reads all records: it keeps one only where there is room, so that those of the mailboxes with mail stay.
func (d *decodedRecords) listed(name string, stored []byte) (*record, error) {
	d.mu.Lock()
	known, ok := d.list[name]
	room := len(d.list) < maxDecoded
	d.mu.Unlock()
	if ok && known.stored == string(stored) {
		return known.record, nil
	}
	if room || ok {
		return d.record(name, stored)
	}
	r, err := decodeRecord(stored)
	return &r, err
}
