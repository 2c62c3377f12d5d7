package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/journal/sealing"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// errRoom says that there is no room for a ZIP.
var errRoom = errors.New("there is no room for it")

// runNext writes the ZIP of the job that waits longest. It returns false where none does, or ctx has ended.
func (j *Jobs) runNext(ctx context.Context) bool {
	waiting := j.list(func(one *job) bool { return one.ready && one.state == StateWaiting })
	if len(waiting) == 0 || ctx.Err() != nil {
		return false
	}
	one := waiting[0]
	within, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	j.mu.Lock()
	if one.gone {
		j.mu.Unlock()
		return true
	}
	one.state, one.stop, one.progress = StateRunning, stop, export.Progress{}
	j.mu.Unlock()
	report, err := j.export(within, stop, one)
	if cause := context.Cause(within); cause != nil && (err != nil || errors.Is(cause, errRoom)) {
		err = cause // no room may show with the last message, when nothing more is stopped
	}
	return j.end(ctx, one, report, err)
}

// end records what came of a job, and returns whether the next one may follow.
func (j *Jobs) end(ctx context.Context, one *job, report *export.Report, err error) bool {
	now := ended{At: j.options.Now().UTC()}
	j.mu.Lock()
	one.stop = nil
	gone := one.gone
	j.mu.Unlock()
	log := j.options.Logger.With("export", one.ID, "mailbox", one.Mailbox)
	rights, why := endedBy(err)
	switch {
	case gone:
		j.eraseLogged(one.ID)
		return true
	case rights:
		j.drop(one, why)
		return true
	case err != nil && ctx.Err() != nil:
		j.mu.Lock()
		one.state = StateWaiting // it goes on at the next start
		j.mu.Unlock()
		return false
	case errors.Is(err, errRoom):
		now.Reason = ReasonRoom
		log.Warn("export given up", "error", err)
	case err != nil:
		now.Reason = ReasonFault
		log.Error("export failed", "error", err)
	default:
		now.SHA256, now.Missing = report.SHA256, report.Damaged+report.Gone+uint64(len(report.Unreadable))
		now.Messages, now.Bytes = report.Messages, report.Bytes
		if f, err := j.openZIP(one); err == nil {
			now.Size, _ = f.Seek(0, io.SeekEnd)
			f.Close()
		}
	}
	if now.Reason != "" {
		if err := errors.Join(os.RemoveAll(j.zipOf(one)+".part"), os.RemoveAll(j.zipOf(one))); err != nil {
			log.Error("the files of an export are not removed", "error", err)
		}
	}
	j.mu.Lock()
	one.ended, one.state = now, StateDone
	if now.Reason != "" {
		one.state = StateFailed
	} else {
		one.progress = export.Progress{Messages: now.Messages, Of: now.Messages, Bytes: now.Bytes, OfAll: now.Bytes}
	}
	gone = one.gone
	j.mu.Unlock()
	if gone {
		j.eraseLogged(one.ID)
		return true
	}
	if err := j.write(one); err != nil {
		log.Error("the end of an export is not on record: after a restart it is written once more", "error", err)
	}
	log.Info("export ended", "messages", now.Messages, "bytes", now.Size, "missing", now.Missing, "reason", now.Reason)
	return true
}

func (j *Jobs) zipOf(one *job) string { return filepath.Join(j.options.Folder, one.ID, zipName) }

// export writes the ZIP of a job. Where messages were moved meanwhile, it looks once more where they are.
func (j *Jobs) export(ctx context.Context, stop func(error), one *job) (report *export.Report, err error) {
	for try := 0; try < 2 && (report == nil || report.Gone > 0); try++ {
		report, err = export.Run(ctx, export.Options{
			Source: &source{jobs: j, job: one, reader: j.reader(one), pace: j.config.Load().Archive.NewPace()}, Mailbox: one.Mailbox, Selection: one.Selection,
			Form: export.FormZIP, Key: one.key(), Sincro: one.Sincro, Program: j.options.Program, To: j.zipOf(one), Progress: func(p export.Progress) { j.advance(one, p, stop) },
		})
		if err != nil {
			return report, err
		}
	}
	return report, nil
}

// advance notes how far a job has come, and stops it where there is no room for the rest.
func (j *Jobs) advance(one *job, p export.Progress, stop func(error)) {
	j.mu.Lock()
	one.progress = p
	j.mu.Unlock()
	if p.Messages%roomEvery != 1 && p.Messages != p.Of {
		return
	}
	rest := p.OfAll - p.Bytes
	if p.Messages == 1 { // it may have been read, and not be written yet
		rest = p.OfAll - j.written(one)
	}
	room, err := j.options.Room()
	switch {
	case err != nil:
		stop(err)
	case room < rest:
		stop(fmt.Errorf("%w: %d bytes are to come, and the disk has %d above the watermark at which the daemon warns", errRoom, rest, room))
	case j.taken(one)+p.OfAll > j.config.Load().MaxSize:
		stop(fmt.Errorf("%w: with its %d bytes all exports would take more than may be", errRoom, p.OfAll))
	}
}

// written returns how much of the ZIP of a job was there when it began.
func (j *Jobs) written(one *job) int64 {
	info, err := os.Stat(filepath.Join(j.zipOf(one)+".part", "zip"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// roomEvery is after how many messages it is looked again whether there is room.
const roomEvery = 64

// taken returns what the ZIPs of all jobs but one take.
func (j *Jobs) taken(but *job) (total int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, one := range j.all {
		if one != but {
			total += one.ended.Size
		}
	}
	return total
}

// reader returns what reads the archive of a job, as whoever asked for it.
func (j *Jobs) reader(one *job) *archive.Reader {
	return j.config.Load().Archive.WebReader(one.who(), one.address()).Pinned(one.Archive)
}

// address returns the mailbox of a job, which was parsed before.
func (r *record) address() policy.Address {
	a, _ := policy.ParseMailbox(r.Mailbox)
	return a
}

// endedBy reports whether an error says that whoever asked for a job may not have it any more, and why.
func endedBy(err error) (ended bool, why string) {
	if errors.Is(err, policy.ErrForbidden) || errors.Is(err, auth.ErrClosed) {
		return true, err.Error()
	}
	return false, ""
}

// source is an archive as an export reads it: see export.Source.
type source struct {
	jobs   *Jobs
	job    *job
	reader *archive.Reader
	pace   *archive.Pace
}

// Plan implements export.Source.
func (s *source) Plan(ctx context.Context) iter.Seq2[export.Line, error] {
	return func(yield func(export.Line, error) bool) {
		if _, err := s.reader.Opened(ctx); err != nil {
			yield(export.Line{}, err)
			return
		}
		for l, err := range export.Lines(ctx, s.jobs.config.Load().Archive, s.job.address(), s.job.Selection) {
			if errors.Is(err, journal.ErrDamaged) {
				s.jobs.options.Logger.Error("left out of an export", "mailbox", s.job.Mailbox, "error", err)
				err = fmt.Errorf("a part of the archive: %w", export.ErrUnreadable)
			}
			if err == nil {
				err = s.pace.Step(ctx)
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// Copy implements export.Source.
func (s *source) Copy(ctx context.Context, m *export.Message, to io.Writer) error {
	folder, month, err := journal.ParseFolder(m.Folder)
	if err != nil {
		return err
	}
	_, body, err := s.reader.Message(ctx, journal.Ref{Month: month, Folder: folder, UID: m.UID})
	if err == nil {
		_, err = body.WriteTo(s.pace.Writer(ctx, to))
	}
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return export.ErrGone
	case errors.Is(err, journal.ErrDamaged):
		s.jobs.options.Logger.Error("message not read for an export", "mailbox", m.Mailbox, "folder", m.Folder, "uid", m.UID, "error", err)
		return fmt.Errorf("%w: %w", export.ErrUnreadable, err)
	}
	return err
}

// ZIP is the ZIP of a job that is being downloaded. It reads nothing any more once the job has gone.
type ZIP struct {
	Job
	jobs *Jobs
	job  *job
	file zipFile
}

// zipFile is the file of a ZIP as it was before it was sealed.
type zipFile interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// openZIP opens the ZIP of a job.
func (j *Jobs) openZIP(one *job) (zipFile, error) {
	f, err := os.Open(j.zipOf(one))
	if err != nil || one.key() == nil {
		return f, err
	}
	sealed, err := sealing.Open(f, *one.key())
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return sealed, nil
}

// Open opens the ZIP of a job of an archive. It needs archive.RightRead. The error wraps ErrNone or ErrUnfinished.
func (j *Jobs) Open(ctx context.Context, who policy.Actor, mailbox policy.Address, id string) (*ZIP, error) {
	one, err := j.find(ctx, who, mailbox, id)
	if err != nil {
		return nil, err
	}
	v := j.view(one)
	if v.State != StateDone {
		return nil, fmt.Errorf("%s: %w", id, ErrUnfinished)
	}
	f, err := j.openZIP(one)
	if err != nil {
		return nil, fmt.Errorf("open an export: %w", err)
	}
	return &ZIP{v, j, one, f}, nil
}

// Read implements io.Reader.
func (z *ZIP) Read(b []byte) (int, error) {
	z.jobs.mu.Lock()
	gone := z.job.gone
	z.jobs.mu.Unlock()
	if gone {
		return 0, ErrNone
	}
	return z.file.Read(b)
}

// Seek implements io.Seeker.
func (z *ZIP) Seek(offset int64, whence int) (int64, error) { return z.file.Seek(offset, whence) }

// Close closes the file.
func (z *ZIP) Close() error { return z.file.Close() }
