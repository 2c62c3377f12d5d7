package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/datafolder"
)

// keyTimeout is how long a command may take to print the key.
const keyTimeout = 30 * time.Second

// encryptionKeys returns the keys of a configuration; none where the journal is not encrypted.
func encryptionKeys(ctx context.Context, e config.Encryption) ([]datafolder.Key, error) {
	var keys []datafolder.Key
	add := func(from string, text []byte, err error) error {
		if err == nil {
			var more []datafolder.Key
			more, err = datafolder.ParseKeys(string(text))
			keys = append(keys, more...)
		}
		if err != nil {
			return fmt.Errorf("[encryption] %s: %w", from, err)
		}
		return nil
	}
	if e.KeyFile != "" {
		text, err := readKeyFile(e.KeyFile)
		if err := add(e.KeyFile, text, err); err != nil {
			return nil, err
		}
	}
	if len(e.KeyCommand) > 0 {
		text, err := runKeyCommand(ctx, e.KeyCommand)
		if err := add(e.KeyCommand[0], text, err); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func readKeyFile(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("everybody can read it: chmod 0600 %s", file)
	}
	return os.ReadFile(file)
}

func runKeyCommand(ctx context.Context, words []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	c.WaitDelay = time.Second
	text, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return text, err
}

const encryptionKeyHelp = `Usage: copialettere encryption-key

Prints a new key for [encryption] in the configuration, as a line of a key file. Write it to a file that only the daemon's user can read, and keep a copy
where the data folder is not: without the key nobody can read the archive any more.

To change the key, put the new line before the old one and restart the daemon: it wraps the keys of all months and mailboxes anew. Then remove the old
line.

Example: (umask 077; copialettere encryption-key >/etc/copialettere/encryption.key)
`

func runEncryptionKey(_ context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	key := datafolder.NewKey()
	if in.json {
		return in.printJSON(map[string]string{"key": key})
	}
	_, err := fmt.Fprintln(in.stdout, key)
	return err
}
