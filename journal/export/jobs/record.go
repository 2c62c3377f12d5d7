package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"copialettere/journal/durable"
	"copialettere/journal/export"
	"copialettere/journal/export/sincro"
	"copialettere/policy"
)

// layout is the number of the layout of record.
const layout = 1

// The names in the folder of a job.
const (
	recordName = "job.json"
	zipName    = "export.zip"
)

// record is what job.json has of a job: one JSON object.
type record struct {
	Layout  int         `json:"layout"`
	ID      string      `json:"id"`
	Mailbox string      `json:"mailbox"` // the address at which it was asked for
	Archive string      `json:"archive"` // policy.Mailbox.Archive
	Role    policy.Role `json:"role"`    // of whoever asked for it
	Name    string      `json:"name"`
	export.Selection
	Sincro *sincro.Agent `json:"sincro,omitempty"`
	// Key seals the ZIP and all that it is made of, by package sealing; nil where it is in the clear.
	Key   []byte    `json:"key,omitempty"`
	Asked time.Time `json:"asked"`
	Ended *ended    `json:"ended,omitempty"` // absent until then
}

// ended is what came of a job.
type ended struct {
	At       time.Time `json:"at"`
	Reason   Reason    `json:"reason,omitempty"` // why it failed; empty where it did not
	Size     int64     `json:"size,omitempty"`
	SHA256   string    `json:"sha256,omitempty"`
	Missing  uint64    `json:"missing,omitempty"`
	Messages uint64    `json:"messages"` // of the archive, and their bytes
	Bytes    int64     `json:"bytes"`
}

func (r *record) who() policy.Actor { return policy.Actor{Role: r.Role, Name: r.Name} }

// write makes the record of a job durable.
func (j *Jobs) write(one *job) error {
	r := one.record
	j.mu.Lock()
	if !one.ended.At.IsZero() {
		e := one.ended
		r.Ended = &e
	}
	j.mu.Unlock()
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write an export: %w", err)
	}
	folder := filepath.Join(j.options.Folder, one.ID)
	if err := durable.MakeFolder(folder); err != nil {
		return fmt.Errorf("write an export: %w", err)
	}
	b = j.options.Box.Seal(append(b, '\n'), use(one.ID))
	if err := durable.Write(filepath.Join(folder, recordName), bytes.NewReader(b), j.options.step); err != nil {
		return fmt.Errorf("write an export: %w", err)
	}
	return nil
}

// use is what the record of a job is sealed for.
func use(id string) string { return "export " + id }

// key returns the key that seals the files of a job; nil where they are in the clear.
func (r *record) key() *[32]byte {
	if len(r.Key) != 32 {
		return nil
	}
	return (*[32]byte)(r.Key)
}

// read reads the record of a job, and seals it anew where it is not sealed by the key that is in force.
func (j *Jobs) read(id string) (*job, error) {
	b, err := os.ReadFile(filepath.Join(j.options.Folder, id, recordName))
	if err != nil {
		return nil, err
	}
	b, current, err := j.options.Box.Open(b, use(id))
	if err != nil {
		return nil, err
	}
	r, err := parse(b)
	if err != nil {
		return nil, err
	}
	if r.ID != id {
		return nil, fmt.Errorf("it is that of %.50q", r.ID)
	}
	one := &job{record: *r, state: StateWaiting, ready: true}
	if e := r.Ended; e != nil {
		one.ended, one.record.Ended = *e, nil
		one.state = StateDone
		if e.Reason != "" {
			one.state = StateFailed
		}
		one.progress = export.Progress{Messages: e.Messages, Of: e.Messages, Bytes: e.Bytes, OfAll: e.Bytes}
	}
	switch {
	case j.options.Box != nil && one.key() == nil:
		return nil, errors.New("it is in the clear, and the journal is encrypted now: ask for it once more")
	case !current:
		return one, j.write(one)
	}
	return one, nil
}

// parse reads a job.json.
func parse(b []byte) (*record, error) {
	var r record
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: %w", recordName, err)
	}
	if r.Layout != layout {
		return nil, fmt.Errorf("%s has layout %d: this program knows %d", recordName, r.Layout, layout)
	}
	if _, err := policy.ParseMailbox(r.Mailbox); err != nil {
		return nil, fmt.Errorf("%s: %w", recordName, err)
	}
	if err := r.Selection.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", recordName, err)
	}
	if len(r.Key) != 0 && r.key() == nil || r.Archive == "" || r.Role == "" || r.Asked.IsZero() || r.Ended != nil && r.Ended.At.IsZero() {
		return nil, fmt.Errorf("%s is not whole", recordName)
	}
	return &r, nil
}
