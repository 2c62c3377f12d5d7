package main

import (
	"context"
	"errors"
	"fmt"

	"copialettere/cmd/copialettere/config"
)

const rebuildHelp = `Usage: copialettere rebuild [-config FILE] [-json]

Recreates from the messages what follows from them: the counters of folders and mailboxes, what makes a repeated delivery find its message, what
ties the messages of a practice together, the folder of what was deleted, and what lets equal attachments be stored once; and from the leaves of
a log its head, where that is lost. It lists what was wrong. Stop the daemon first, and make a backup. It reads the whole archive.

No message, no leaf of a log and no record of a deletion is changed, and nothing comes back that was deleted. The next UID of a folder never goes back. A
folder whose counters are lost gets a new UIDVALIDITY, and mail programs fetch it anew. Run it when "copialettere verify" reports faults of that
kind; a damaged message it does not mend. A month that cannot be read it names and leaves alone. If it breaks off, run it again.

Example: sudo -u copialettere copialettere rebuild
`

func runRebuild(ctx context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	if err := noDaemon(c); err != nil {
		return err
	}
	a, err := openUnserved(ctx, c, in.logger())
	if err != nil {
		return err
	}
	defer a.close()
	r, err := a.journal.Rebuild(ctx)
	if in.json {
		return errors.Join(in.printJSON(r), err)
	}
	for _, detail := range r.Details {
		fmt.Fprintln(in.stdout, detail)
	}
	fmt.Fprintf(in.stdout, "%s read, %s mended\n", counted(r.Entries, "message", "messages"), counted(r.Changes(), "fault", "faults"))
	return err
}
