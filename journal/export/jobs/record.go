package jobs

import (
	"bytes"
	"encoding/json"
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
	Asked  time.Time     `json:"asked"`
	Ended  *ended        `json:"ended,omitempty"` // absent until then
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
	if err := durable.Write(filepath.Join(folder, recordName), bytes.NewReader(append(b, '\n')), j.options.step); err != nil {
		return fmt.Errorf("write an export: %w", err)
	}
	return nil
}

// read reads the record of a job.
func (j *Jobs) read(id string) (*job, error) {
	b, err := os.ReadFile(filepath.Join(j.options.Folder, id, recordName))
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
	if r.Archive == "" || r.Role == "" || r.Asked.IsZero() || r.Ended != nil && r.Ended.At.IsZero() {
		return nil, fmt.Errorf("%s is not whole", recordName)
	}
	return &r, nil
}
