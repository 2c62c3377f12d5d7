package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/backup"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/notice"
)

const restoreBackupHelp = `Usage: copialettere restore-backup DIR [-of TIME] [-alone] [-config FILE] [-json]

Makes the data folder anew from the backup DIR: from its newest backup, or with -of from another one, by its time as in "copialettere backup DIR -list".
Stop the daemon first, and move what is left of the data folder away; it must be absent or empty. Run this as the daemon's user.

Every file is compared with its SHA-256. The time between the backup and now is put on record as a gap of every archive that was on; owners see it, and
are told by mail where they asked for that, once the daemon runs.
Folders get a new UIDVALIDITY and higher UIDs: mail programs fetch the archive anew, and no UID is given out twice.

What was deleted or erased before the newest backup stays so, also with -of: what the newest one no longer holds is removed, and the settings,
passwords and holds are those of the newest one. "verify" then reports each log that a checkpoint knows longer: nobody puts one back in secret. If
the newest one cannot be read, -alone restores -of TIME without a look at it, and what was deleted after that TIME comes back.

If it breaks off, run it again. Start the daemon only when it is done; before that the folder is no data folder. "copialettere verify" then checks
everything.

Example: sudo -u copialettere copialettere restore-backup /mnt/disk/copialettere
`

func defineRestoreBackup(flags *flag.FlagSet) runner {
	of := flags.String("of", "", "")
	alone := flags.Bool("alone", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "DIR"); err != nil {
			return err
		}
		var o backup.RestoreOptions
		if *of != "" {
			t, err := time.Parse(time.RFC3339, *of)
			if err != nil {
				return fmt.Errorf("%w: -of %q: want a time as in \"copialettere backup DIR -list\", such as 2026-11-30T02:00:00Z", errUsage, *of)
			}
			o.Generation = t
		}
		if o.Alone = *alone; o.Alone && *of == "" {
			return fmt.Errorf("%w: -alone goes with -of TIME", errUsage)
		}
		return runRestoreBackup(ctx, in, args[0], o)
	}
}

func runRestoreBackup(ctx context.Context, in *invocation, dir string, o backup.RestoreOptions) error {
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	if err := noDaemon(c); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if o.Keys, err = encryptionKeys(ctx, c.Encryption); err != nil {
		return err
	}
	o.Logger = in.logger()
	o.Archives = func(ctx context.Context, settings kv.Store) (on, erased []string, err error) {
		p, err := policy.Open(ctx, settings, policyConfig(c))
		if err != nil {
			return nil, nil, err
		}
		for m, err := range p.Mailboxes(ctx) {
			switch {
			case err != nil:
				return nil, nil, err
			case m.Settings.State() == policy.StateOn:
				on = append(on, m.Archive)
			case m.Settings.State() == policy.StateOff && m.Settings.Erasure.State == policy.ErasureNone:
				erased = append(erased, m.Archive)
			}
		}
		return on, erased, nil
	}
	if c.Notices != nil {
		o.Gaps = func(ctx context.Context, settings kv.Store, gaps []journal.Record) error {
			p, err := policy.Open(ctx, settings, policyConfig(c))
			if err != nil {
				return err
			}
			return queueGaps(ctx, notice.New(settings, noticeOptions(c, p, o.Logger)), gaps, time.Now())
		}
	}
	r, err := backup.Restore(ctx, dir, c.Data, o)
	if err != nil {
		return err
	}
	if in.json {
		return in.printJSON(r)
	}
	fmt.Fprintf(in.stdout, "%s is as it was at %s: %d files of %s\n", c.Data, r.Taken.Format(time.RFC3339), r.Files, policy.English.Size(uint64(r.Bytes)))
	if r.Removed.Entries > 0 {
		fmt.Fprintf(in.stdout, "%d messages were deleted later, and stay so\n", r.Removed.Entries)
	}
	for _, store := range slices.Sorted(maps.Keys(r.Older)) {
		fmt.Fprintf(in.stdout, "%s is as it was at %s: it could not be read when the backup was made\n", store, r.Older[store].Format(time.RFC3339))
	}
	fmt.Fprintf(in.stdout, "%d archives have the time from then until %s on record as a gap\n", r.Gaps, r.Restored.Format(time.RFC3339))
	return nil
}

// noDaemon returns an error if a daemon answers at the admin socket.
func noDaemon(c *config.Config) error {
	nc, err := net.DialTimeout("unix", c.Admin.Socket(), 5*time.Second)
	if err != nil {
		return nil
	}
	nc.Close()
	return fmt.Errorf("the daemon is running (%s): stop it first", c.Admin.Socket())
}
