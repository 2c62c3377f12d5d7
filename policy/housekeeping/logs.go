package housekeeping

import (
	"context"
	"errors"
	"time"

	"copialettere/journal"
)

// expireLogs removes records of who did what that are older than the schedule keeps them. It follows a run of the retention, which is refused where
// the clock has jumped: nothing is then removed here either.
func (k *Keeper) expireLogs(ctx context.Context, now time.Time) {
	before := journal.AddMonths(now, -k.schedule.Load().KeepLogs)
	done, err := k.options.Policy.ExpireLogs(ctx, before)
	logins, loginsErr := k.schedule.Load().Archive.ForgetAccesses(ctx, before)
	acts, actsErr := k.options.Journal.ExpireActs(ctx, before)
	const help = "Records of who did what that were removed because they were older than logs.keep."
	k.options.Metrics.Counter("copialettere_logs_removed_total", help, "of", "settings").Add(int64(done.Removed))
	k.options.Metrics.Counter("copialettere_logs_removed_total", help, "of", "messages").Add(int64(acts))
	k.options.Metrics.Counter("copialettere_logs_removed_total", help, "of", "recipients").Add(int64(done.Recipients))
	k.options.Metrics.Counter("copialettere_logs_removed_total", help, "of", "logins").Add(int64(logins))
	if err := errors.Join(err, actsErr, loginsErr); err != nil {
		k.failed(ctx, "old logs not removed, will be tried again after the next run of the retention", err)
	}
	if done.Removed+done.Nameless+done.Recipients > 0 || acts+logins > 0 {
		k.log.Info("old logs removed", "before", before, "changes", done.Removed, "names", done.Nameless, "acts", acts, "recipients", done.Recipients, "logins", logins)
	}
}
