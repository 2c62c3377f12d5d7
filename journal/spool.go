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
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"copialettere/journal/durable"
)

// The spool is a file of JSON objects, one Record a line, sealed where the journal is encrypted (see spoolseal.go). Each line is durable before the delivery it tells of. A last line without its
// line end is left from a failed write; its record was never acknowledged.

// spoolPatience is how long a record waits for the spool, which is on a disk too.
const spoolPatience = 2 * time.Second

// Keep puts records on record, durably: in the journal, or in the spool if the journal cannot take them before ctx ends. With an ended ctx
// it goes straight to the spool. After an error nothing is on record, though a record may turn up that a slow disk still wrote. Do not
// deliver a message whose gap is not on record.
func (j *Journal) Keep(ctx context.Context, records ...Record) error {
	err := ctx.Err()
	if err == nil {
		err = j.Record(ctx, records...)
	}
	if err == nil || j.gapSpool == "" || checkRecords(records) != nil {
		return err
	}
	if spoolErr := j.spool(ctx, records); spoolErr != nil {
		return errors.Join(err, fmt.Errorf("spool record: %w", spoolErr))
	}
	j.log.Error("records spooled: the journal cannot take them", "records", len(records), "spool", j.gapSpool, "error", err)
	return nil
}

// spool appends records to the spool. It does not wait for a disk that does not answer: its write goes on, and the next caller waits for
// that.
func (j *Journal) spool(ctx context.Context, records []Record) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, g := range records {
		if err := enc.Encode(g.bounded()); err != nil {
			return err
		}
	}
	lines, err := j.sealLines(b.Bytes())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), spoolPatience)
	defer cancel()
	if err := j.spooling.acquire(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	j.done.Go(func() {
		defer j.spooling.release()
		done <- j.appendSpool(lines)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the disk: %w", ctx.Err())
	}
}

func (j *Journal) appendSpool(lines []byte) error {
	f, err := os.OpenFile(j.gapSpool, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = appendLines(f, lines, func() error {
		if err := f.Sync(); err != nil {
			return err
		}
		return durable.SyncFolder(filepath.Dir(j.gapSpool))
	})
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// appendLines writes lines behind the last whole line of a file and syncs them. After an error it removes them again: the message whose
// gap is not acknowledged comes again, and may be archived then.
func appendLines(f *os.File, lines []byte, sync func() error) error {
	end, err := endOfLines(f)
	if err != nil {
		return err
	}
	// A torn line would spoil the next one.
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err = f.WriteAt(lines, end); err == nil {
		err = sync()
	}
	if err != nil {
		err = errors.Join(err, f.Truncate(end))
	}
	return err
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

// Unspool moves what is now in the spool into the journal. Call it at the start and from time to time. After an error all of it is still
// in the spool. What is spooled meanwhile does not wait, and stays there.
func (j *Journal) Unspool(ctx context.Context) error {
	if j.gapSpool == "" {
		return nil
	}
	if err := j.unspooling.acquire(ctx); err != nil {
		return fmt.Errorf("take in spool: %w", err)
	}
	defer j.unspooling.release()
	f, end, err := j.openSpool(ctx)
	if err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	if f == nil {
		return nil
	}
	defer f.Close()
	// Whole lines stay in the file until they are taken out, below.
	if err := j.unspool(ctx, io.NewSectionReader(f, 0, end)); err != nil {
		return fmt.Errorf("take in spool: %w", err)
	}
	if err := j.cutSpool(ctx, end); err != nil {
		return fmt.Errorf("empty spool: %w", err)
	}
	return nil
}

// openSpool opens the spool for reading, and returns where its last whole line ends. f is nil if there is none.
func (j *Journal) openSpool(ctx context.Context) (f *os.File, end int64, err error) {
	if err := j.spooling.acquire(ctx); err != nil {
		return nil, 0, err
	}
	defer j.spooling.release()
	f, err = os.Open(j.gapSpool)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil {
		end, err = endOfLines(f)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if end < info.Size() {
		j.log.Warn("the spool ends in a torn line: its record was not acknowledged", "spool", j.gapSpool)
	}
	return f, end, nil
}

// cutSpool removes the lines up to an offset from the spool, durably.
func (j *Journal) cutSpool(ctx context.Context, taken int64) error {
	if err := j.spooling.acquire(ctx); err != nil {
		return err
	}
	defer j.spooling.release()
	f, err := os.Open(j.gapSpool)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := endOfLines(f)
	if err != nil {
		return err
	}
	if end <= taken {
		return os.Remove(j.gapSpool)
	}
	return durable.Write(j.gapSpool, io.NewSectionReader(f, taken, end-taken), nil)
}

func (j *Journal) unspool(ctx context.Context, spool io.Reader) error {
	const group = 1000
	var records []Record
	for r, err := range j.spooled(spool) {
		if err != nil {
			return err
		}
		if records = append(records, r); len(records) == group {
			if err := j.Record(ctx, records...); err != nil {
				return err
			}
			records = records[:0]
		}
	}
	return j.Record(ctx, records...)
}

// spooled yields the records of the spool from its whole lines.
func (j *Journal) spooled(spool io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for r := bufio.NewReader(spool); ; {
			line, err := r.ReadBytes('\n')
			if err == io.EOF {
				return
			}
			var g Record
			if err == nil {
				g, err = j.spooledRecord(line)
			}
			if !yield(g, err) || err != nil {
				return
			}
		}
	}
}

// spooledRecord reads one line of the spool. A damaged line counts as a gap, which it may have been.
func (j *Journal) spooledRecord(line []byte) (Record, error) {
	var r Record
	plain, err := j.openLine(line)
	if err == nil {
		err = json.Unmarshal(plain, &r)
	}
	if err == nil {
		err = checkRecords([]Record{r})
	}
	if err == nil && (r.Kind == Gap || r.Kind == Skip) {
		return r, nil
	}
	j.log.Error("damaged line in gap spool", "spool", j.gapSpool, "error", err)
	info, err := os.Stat(j.gapSpool)
	if err != nil {
		return Record{}, err
	}
	// The time of the file is the same at the next try, so there will be one record.
	return Record{Kind: Gap, Time: info.ModTime().UTC(), Reason: ReasonLost, Detail: fmt.Sprintf("a damaged line of the gap spool: %.200q", line)}, nil
}

// CheckSpool reads a gap spool that no journal has in use, as Options.GapSpool names it, with the keys that seal it. It returns how many lines it has and
// how many of them cannot be read: each of those counts as a gap of all mailboxes when the spool is taken in. No file is an empty spool.
func CheckSpool(path string, keys [][32]byte) (lines, damaged int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read gap spool: %w", err)
	}
	defer f.Close()
	j := &Journal{gapSpool: path, spoolKeys: keys, log: slog.New(slog.DiscardHandler)}
	for r := bufio.NewReader(f); ; lines++ {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return lines, damaged, nil
		}
		if err != nil {
			return lines, damaged, fmt.Errorf("read gap spool: %w", err)
		}
		var one Record
		plain, err := j.openLine(line)
		if err == nil {
			err = json.Unmarshal(plain, &one)
		}
		if err != nil || checkRecords([]Record{one}) != nil || one.Kind != Gap && one.Kind != Skip {
			damaged++
		}
	}
}

func recordName(mailbox string, value []byte) string { return mailbox + "\x00" + string(value) }

// spooledOf yields the records of one mailbox, and those of all mailboxes, from the spool.
func (j *Journal) spooledOf(spool io.Reader, mailbox string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for g, err := range j.spooled(spool) {
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
