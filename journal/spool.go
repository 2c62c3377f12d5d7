package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// The gap spool is a file of JSON objects, one Record a line, each line durable before the delivery it tells of. A last line without
// its line end is what a failed write left: its gap was never acknowledged.

// Gap puts gaps on record, durably: in the journal, or in the gap spool when the journal can not take them now. With an error
// nothing is on record, and the message must not be delivered.
func (j *Journal) Gap(ctx context.Context, gaps ...Record) error {
	err := j.Record(ctx, gaps...)
	if err == nil || j.gapSpool == "" || checkRecords(gaps) != nil {
		return err
	}
	if spoolErr := j.spool(gaps); spoolErr != nil {
		return errors.Join(err, fmt.Errorf("spool gap: %w", spoolErr))
	}
	j.log.Error("gaps spooled: the journal can not take them", "gaps", len(gaps), "spool", j.gapSpool, "error", err)
	return nil
}

func (j *Journal) spool(gaps []Record) error {
	j.spoolMu.Lock()
	defer j.spoolMu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, g := range gaps {
		if err := enc.Encode(g.bounded()); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(j.gapSpool, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = appendLines(f, b.Bytes())
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = syncFolder(filepath.Dir(j.gapSpool))
	}
	return err
}

// appendLines writes lines behind the last whole line of a file, durably.
func appendLines(f *os.File, lines []byte) error {
	end, err := endOfLines(f)
	if err != nil {
		return err
	}
	// A torn line would take the next one with it.
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err := f.WriteAt(lines, end); err != nil {
		return err
	}
	return f.Sync()
}

// endOfLines returns the offset behind the last line end of a file.
func endOfLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4<<10)
	for end > 0 {
		start := max(0, end-int64(len(buf)))
		block := buf[:end-start]
		if _, err := f.ReadAt(block, start); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(block, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Unspool takes the gaps of the spool into the journal and empties the spool. It is called at the start and now and then. After an
// error all is still in the spool.
func (j *Journal) Unspool(ctx context.Context) error {
	if j.gapSpool == "" {
		return nil
	}
	j.spoolMu.Lock()
	defer j.spoolMu.Unlock()
	f, err := os.Open(j.gapSpool)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read gap spool: %w", err)
	}
	defer f.Close()
	if err := j.unspool(ctx, f); err != nil {
		return fmt.Errorf("take in gap spool: %w", err)
	}
	if err := os.Remove(j.gapSpool); err != nil {
		return fmt.Errorf("empty gap spool: %w", err)
	}
	return nil
}

func (j *Journal) unspool(ctx context.Context, spool io.Reader) error {
	const group = 1000
	var gaps []Record
	for g, err := range j.spooled(spool) {
		if err != nil {
			return err
		}
		if gaps = append(gaps, g); len(gaps) == group {
			if err := j.Record(ctx, gaps...); err != nil {
				return err
			}
			gaps = gaps[:0]
		}
	}
	return j.Record(ctx, gaps...)
}

// spooled yields the gaps of the spool.
func (j *Journal) spooled(spool io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for r := bufio.NewReader(spool); ; {
			line, err := r.ReadBytes('\n')
			if err == io.EOF {
				if len(line) > 0 {
					j.log.Warn("the gap spool ends in a torn line, of a gap that was not acknowledged", "spool", j.gapSpool)
				}
				return
			}
			var g Record
			if err == nil {
				g, err = j.spooledGap(line)
			}
			if !yield(g, err) || err != nil {
				return
			}
		}
	}
}

// spooledGap reads one line of the spool. A line that is damaged was of a gap all the same.
func (j *Journal) spooledGap(line []byte) (Record, error) {
	var g Record
	err := json.Unmarshal(line, &g)
	if err == nil {
		err = checkRecords([]Record{g})
	}
	if err == nil && g.Kind == Gap {
		return g, nil
	}
	j.log.Error("damaged line in gap spool", "spool", j.gapSpool, "error", err)
	info, err := os.Stat(j.gapSpool)
	if err != nil {
		return Record{}, err
	}
	// The time of the file stays the same when this is tried again, so there will be one record.
	return Record{Kind: Gap, Time: info.ModTime().UTC(), Reason: ReasonLost, Detail: fmt.Sprintf("a damaged line of the gap spool: %.200q", line)}, nil
}

func recordName(mailbox string, value []byte) string { return mailbox + "\x00" + string(value) }

// openSpool opens the spool as it is now; nil where there is none. It can still be read when it has been taken in.
func (j *Journal) openSpool() (*openedSpool, error) {
	if j.gapSpool == "" {
		return nil, nil
	}
	j.spoolMu.Lock()
	defer j.spoolMu.Unlock()
	f, err := os.Open(j.gapSpool)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	end, err := endOfLines(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &openedSpool{f, end}, nil
}

// openedSpool is a spool with where its lines ended when it was opened.
type openedSpool struct {
	*os.File
	end int64
}

// spooledOf yields the gaps of one mailbox, and those of all mailboxes, from the spool.
func (j *Journal) spooledOf(spool *openedSpool, mailbox string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for g, err := range j.spooled(io.NewSectionReader(spool, 0, spool.end)) {
			if err != nil {
				yield(nil, fmt.Errorf("read gap spool: %w", err))
				return
			}
			if g.Mailbox != "" && g.Mailbox != mailbox {
				continue
			}
			g.Spooled = true
			if !yield(&g, nil) {
				return
			}
		}
	}
}
