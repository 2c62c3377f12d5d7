package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/backup"
	"copialettere/journal/datafolder"
	"copialettere/journal/httpd"
	"copialettere/policy"
	"copialettere/policy/archive"
)

const backupHelp = `Usage: copialettere backup DIR [-begin] [-keep N] [-rate SIZE] [-config FILE] [-json]
       copialettere backup DIR -list | -check

Copies the whole data folder, as it is at one instant, to the backup DIR, such as a folder on an external disk. The daemon goes on meanwhile. Run it as
the daemon's user, daily. The first time, -begin makes an empty DIR a backup; without it a disk that is not mounted is noticed.

Only what is new is copied. It is synced, read back and compared; then the oldest backups go, beyond the -keep newest (7, at least 2). If it breaks off,
the earlier ones are whole: run it again. -rate limits how much is read a second (20MB; 0B is no limit).

-list shows the backups that DIR holds. -check reads all of them and compares every file with its SHA-256.

The exit status is 1 when part of the archive could not be read: the backup then has that part as the one before had it.
The configuration, and the files that it names, are not copied: keep a copy of /etc/copialettere too. "restore-backup" restores.

Example: sudo -u copialettere copialettere backup /mnt/disk/copialettere
`

// backupFlags are the flags of backup.
type backupFlags struct {
	begin, list, check bool
	keep               int
	rate               string
}

func defineBackup(flags *flag.FlagSet) runner {
	var f backupFlags
	flags.BoolVar(&f.begin, "begin", false, "")
	flags.BoolVar(&f.list, "list", false, "")
	flags.BoolVar(&f.check, "check", false, "")
	flags.IntVar(&f.keep, "keep", 7, "")
	flags.StringVar(&f.rate, "rate", "20MB", "")
	return func(ctx context.Context, in *invocation, args []string) error { return runBackup(ctx, in, args, f) }
}

func runBackup(ctx context.Context, in *invocation, args []string, f backupFlags) error {
	if err := want(args, "DIR"); err != nil {
		return err
	}
	rate, err := config.ParseSize(f.rate)
	if err != nil {
		return fmt.Errorf("%w: -rate: %w", errUsage, err)
	}
	if f.keep < backup.LeastKept {
		return fmt.Errorf("%w: -keep %d: keep at least %d", errUsage, f.keep, backup.LeastKept)
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	switch {
	case f.list:
		return in.listBackups(dir)
	case f.check:
		return in.checkBackup(ctx, dir)
	}
	if dir, err = in.outside(dir); err != nil {
		return err
	}
	o := backup.Options{Begin: f.begin, Keep: f.keep, Rate: rate, Logger: in.logger()}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	s := snapshot{in: in, c: c}
	defer s.end()
	if err := s.begin(ctx); err != nil {
		return err
	}
	report, err := backup.Write(ctx, dir, s.source(), o)
	if err != nil {
		return err
	}
	s.end()
	done := url.Values{"taken": {report.Taken.Format(time.RFC3339Nano)}, "bytes": {strconv.FormatInt(report.Bytes, 10)}, "place": {dir}}
	if _, err := each(in, ctx, c, http.MethodPost, "/backups", done, func(any) error { return nil }); err != nil {
		return fmt.Errorf("the backup is done, but the daemon could not be told: %w", err)
	}
	return in.printBackup(report)
}

func (in *invocation) printBackup(r *backup.Report) error {
	if in.json {
		if err := in.printJSON(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(in.stdout, "backup of %s: %d files of %s, of which %s were new; %d backups are kept\n", r.Taken.Format(time.RFC3339), r.Files,
			policy.English.Size(uint64(r.Bytes)), policy.English.Size(uint64(r.New)), r.Generations)
		for _, store := range slices.Sorted(maps.Keys(r.Unread)) {
			fmt.Fprintf(in.stdout, "not read: %s: %s\n", store, r.Unread[store])
		}
	}
	if len(r.Unread) > 0 {
		return errFailed
	}
	return nil
}

func (in *invocation) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(in.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// snapshot is a snapshot that is held as long as the answer to a request is open.
type snapshot struct {
	in     *invocation
	c      *client
	body   io.ReadCloser
	view   httpd.SnapshotView
	frozen backup.Frozen
	cancel context.CancelFunc
}

// begin asks where the data folder is, by a snapshot that is over at once. The one that is copied is asked for later: see backup.Source.
func (s *snapshot) begin(ctx context.Context) error {
	_, err := each(s.in, ctx, s.c, http.MethodPost, "/snapshot", url.Values{}, func(l httpd.SnapshotLine) error {
		if l.Snapshot != nil {
			s.view = *l.Snapshot
		}
		return nil
	})
	return err
}

func (s *snapshot) source() backup.Source {
	return backup.Source{Archive: s.view.Archive, Data: s.view.Data, Freeze: s.freeze}
}

// freeze asks for the snapshot, and reads the answer up to the place where it waits.
func (s *snapshot) freeze(ctx context.Context) (*backup.Frozen, error) {
	ctx, s.cancel = context.WithCancel(ctx)
	var err error
	if s.body, err = s.in.do(ctx, s.c, http.MethodPost, "/snapshot", url.Values{"hold": {"true"}}, nil); err != nil {
		return nil, err
	}
	for dec := json.NewDecoder(s.body); ; {
		var line struct {
			httpd.SnapshotLine
			Problem *httpd.Problem `json:"problem"`
		}
		if err := dec.Decode(&line); err != nil {
			return nil, fmt.Errorf("the answer broke off, as when the daemon is stopped: %w", err)
		}
		switch {
		case line.Problem != nil:
			return nil, errors.New(line.Problem.Detail)
		case line.Ready:
			return &s.frozen, nil
		case line.Snapshot != nil:
			s.frozen.Taken, s.frozen.Unread = line.Snapshot.Taken, line.Snapshot.Unread
		case line.File != nil:
			s.frozen.Files = append(s.frozen.Files, backup.SourceFile{
				Name: datafolder.JournalFolder + "/" + line.File.Name, Path: line.File.Path, Size: line.File.Size, Changed: line.File.Changed,
			})
		}
	}
}

// end lets the snapshot go, and waits until it is gone where this process has it.
func (s *snapshot) end() {
	if s.body == nil {
		return
	}
	s.cancel()
	_, _ = io.Copy(io.Discard, s.body)
	s.body.Close()
	s.body = nil
}

func (in *invocation) listBackups(dir string) error {
	f, err := backup.Open(dir, backup.Options{Logger: in.logger()})
	if err != nil {
		return err
	}
	list, err := f.Generations()
	for _, g := range list {
		if in.json {
			if err := in.printJSON(map[string]any{"taken": g.Taken, "files": len(g.Files), "bytes": g.Bytes}); err != nil {
				return errors.Join(err, f.Close())
			}
			continue
		}
		fmt.Fprintf(in.stdout, "%-30s  %6d files %10s\n", g.Taken.Format(time.RFC3339Nano), len(g.Files), policy.English.Size(uint64(g.Bytes)))
	}
	if err = errors.Join(err, f.Close()); err == nil && len(list) == 0 {
		return errNothing
	}
	return err
}

func (in *invocation) checkBackup(ctx context.Context, dir string) error {
	f, err := backup.Open(dir, backup.Options{Logger: in.logger()})
	if err != nil {
		return err
	}
	c, err := f.Check(ctx)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if in.json {
		if err := in.printJSON(c); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(in.stdout, "%d backups, %d files of %s read and compared, %d faults\n", c.Generations, c.Contents, policy.English.Size(uint64(c.Bytes)), len(c.Faults))
		for _, fault := range c.Faults {
			fmt.Fprintln(in.stdout, fault)
		}
	}
	if len(c.Faults) > 0 || c.Generations == 0 {
		return errFailed
	}
	return nil
}

// freeze returns how the journal in a data folder is frozen.
func (a *opened) freeze(data string) func(context.Context) (*archive.Frozen, error) {
	return func(ctx context.Context) (*archive.Frozen, error) {
		path, err := filepath.Abs(data)
		if err != nil {
			return nil, err
		}
		id, err := datafolder.ID(path)
		if err != nil {
			return nil, err
		}
		s, err := a.folder.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		return &archive.Frozen{Snapshot: s, Archive: id, Data: path}, nil
	}
}
