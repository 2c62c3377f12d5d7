package main

import (
	"context"
	"errors"
	"fmt"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/datafolder"
	"copialettere/policy/checkpoint"
)

const initHelp = `Usage: copialettere init [-config FILE]

Makes the data folder that the configuration names, with mode 0700, an empty journal, and a key that signs its checkpoints unless [evidence]
names one. Run it once, as the daemon's user. An existing data folder is left as it is. The daemon never makes the folder itself, because it would start an empty archive where a disk is not mounted.

Example: sudo -u copialettere copialettere init
`

func runInit(ctx context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	keys, err := encryptionKeys(ctx, c.Encryption)
	if err != nil {
		return err
	}
	made, err := datafolder.Make(ctx, c.Data, datafolder.Options{Keys: keys})
	if err != nil {
		return err
	}
	if made && c.Evidence.KeyFile == "" {
		if err := makeKey(ctx, c.Data, keys); err != nil {
			return err
		}
	}
	if in.json {
		return in.printJSON(map[string]any{"data": c.Data, "made": made})
	}
	if made {
		fmt.Fprintln(in.stdout, "made", c.Data)
	} else {
		fmt.Fprintln(in.stdout, c.Data, "is a data folder already")
	}
	return nil
}

// makeKey makes the key that signs the checkpoints of a new data folder.
func makeKey(ctx context.Context, data string, keys []datafolder.Key) error {
	f, err := datafolder.Open(ctx, data, datafolder.Options{Keys: keys})
	if err != nil {
		return err
	}
	_, err = checkpoint.MakeKey(f.EvidenceKey, f.EvidencePublic, keyName(f.ID), nil)
	return errors.Join(err, f.Close())
}
