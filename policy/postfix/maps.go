package postfix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"copialettere/journal/durable"
	"copialettere/policy"
)

const (
	gather     = 300 * time.Millisecond // how long to collect changes before writing the maps
	writeAgain = 10 * time.Second       // retry after a fault
	writeAnew  = time.Hour              // without a change, to undo edits by hand
	logEvery   = time.Hour              // how often the same fault is logged
)

// mapHead is the first line of a map.
const mapHead = "# Written by copialettere. Changes by hand are lost.\n"

// writer is the state of the goroutine that writes the maps.
type writer struct {
	*Keeper
	owed   bool      // ChangedFile must still be created
	fault  string    // the fault that was logged last; "" if it is over
	logged time.Time // when that was logged
}

// keepMaps writes the maps now, after each change, and every hour, until ctx ends. Changes made until then are written.
func (k *Keeper) keepMaps(ctx context.Context) {
	w := writer{Keeper: k, owed: true} // a crash may have come between writing a map and creating ChangedFile
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			select {
			case <-k.changed:
				w.write(context.WithoutCancel(ctx))
			default:
			}
			return
		case <-again.C:
		case <-k.changed:
			pause(ctx, gather)
		}
		if w.write(context.WithoutCancel(ctx)) {
			again.Reset(writeAnew)
		} else {
			again.Reset(writeAgain)
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// write brings the folder up to date, and reports whether it succeeded.
func (w *writer) write(ctx context.Context) bool {
	c := w.config.Load()
	if c.Folder == "" {
		wake(w.written) // somebody else keeps the maps, and the mailbox still needs a check
		return true
	}
	changed, err := w.replaceMaps(ctx, c)
	if w.owed = w.owed || changed; w.owed {
		markErr := markChanged(c)
		w.owed = markErr != nil
		err = errors.Join(err, markErr)
	}
	if changed {
		wake(w.written)
	}
	w.tell(c, err)
	return err == nil
}

// tell logs a fault and its end. It repeats the same fault once an hour.
func (w *writer) tell(c *Config, err error) {
	if err == nil {
		if w.fault != "" {
			w.log.Info("the maps for Postfix are written again", "folder", c.Folder)
		}
		w.fault = ""
		w.gauges.failing.Set(0)
		return
	}
	w.gauges.failing.Set(1)
	if err.Error() != w.fault || time.Since(w.logged) > logEvery {
		w.fault, w.logged = err.Error(), time.Now()
		w.log.Error("the maps for Postfix cannot be written, will be tried again: until then Postfix does not know who was enabled",
			"folder", c.Folder, "error", err)
	}
}

// replaceMaps writes the maps that have changed. After an error each map is either old or new, never in between.
func (k *Keeper) replaceMaps(ctx context.Context, c *Config) (changed bool, err error) {
	mailboxes, err := k.mailboxes(ctx)
	if err != nil {
		return false, err
	}
	transport, senders, leftOut := render(c, mailboxes)
	if k.gauges.leftOut.Value() != int64(len(leftOut)) {
		k.gauges.leftOut.Set(int64(len(leftOut)))
		if len(leftOut) > 0 {
			k.log.Error("addresses that begin with # cannot be written into a map of Postfix: their mail is not archived", "mailboxes", leftOut)
		}
	}
	if err := durable.MakeFolder(c.Folder); err != nil {
		return false, err
	}
	transportChanged, err := replace(c.path(TransportMap), transport)
	sendersChanged, sendersErr := replace(c.path(SendersMap), senders)
	return transportChanged || sendersChanged, errors.Join(err, sendersErr)
}

// replace writes a file unless it already has the text.
func replace(path string, text []byte) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	if err := durable.Write(path, bytes.NewReader(text), nil); err != nil {
		return false, fmt.Errorf("write map: %w", err)
	}
	return true, nil
}

// Probe reports whether the folder for the maps exists, and an error if it does and nothing can be written there.
func Probe(folder string) (there bool, err error) {
	_, err = durable.Probe(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("write to the folder of the maps: %w: run this as the daemon's user, which has to own the folder", err)
	}
	return true, err
}

// markChanged creates ChangedFile, which asks for a run of postmap.
func markChanged(c *Config) error {
	if err := durable.Write(c.path(ChangedFile), bytes.NewReader(nil), nil); err != nil {
		return fmt.Errorf("ask for postmap: %w", err)
	}
	return nil
}

// mailboxes returns the mailboxes whose mail must pass through the hook, sorted by name.
func (k *Keeper) mailboxes(ctx context.Context) ([]policy.Address, error) {
	var list []policy.Address
	for m, err := range k.options.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		if m.Settings.State() != policy.StateOff {
			list = append(list, m.Address)
		}
	}
	return list, nil
}

// render returns the text of both maps, and the mailboxes with a key that cannot be written.
func render(c *Config, mailboxes []policy.Address) (transport, senders []byte, leftOut []string) {
	var received, sent bytes.Buffer
	received.WriteString(mapHead)
	sent.WriteString(mapHead)
	add := func(to *bytes.Buffer, keys []string, right string) (all bool) {
		all = true
		for _, key := range keys {
			if !writable(key) {
				all = false
			} else if right != "" {
				to.WriteString(key + "\t" + right + "\n")
			}
		}
		return all
	}
	for _, a := range mailboxes {
		all := add(&received, addressKeys(a), c.Received)
		if !add(&sent, loginKeys(c, a), c.Sent) || !all {
			leftOut = append(leftOut, a.String())
		}
	}
	return received.Bytes(), sent.Bytes(), leftOut
}

// writable reports whether a line may begin with the key. postmap takes a line that begins with # for a comment.
func writable(key string) bool { return !strings.HasPrefix(key, "#") }

// addressKeys returns the keys by which Postfix looks up a mailbox: one for each form of its domain.
func addressKeys(a policy.Address) []string {
	local := external(a.Local)
	keys := []string{local + "@" + policy.ASCIIDomain(a.Domain)}
	if unicode := local + "@" + a.Domain; unicode != keys[0] {
		keys = append(keys, unicode)
	}
	return keys
}

// loginKeys returns the keys by which Postfix looks up the login of a mailbox.
func loginKeys(c *Config, a policy.Address) []string {
	keys := addressKeys(a)
	if domain, err := policy.CanonicalDomain(c.LoginDomain); err == nil && domain == a.Domain {
		keys = append(keys, external(a.Local))
	}
	return keys
}

// external returns a local part as Postfix looks it up, quoted if its ASCII characters require that.
func external(local string) string {
	ascii := strings.Map(func(r rune) rune {
		if r > 0x7f {
			return 'x'
		}
		return r
	}, local)
	if (policy.Address{Local: ascii}).String() == ascii {
		return local
	}
	return policy.Address{Local: local}.String()
}

// ownMap reports whether a table of Postfix, TYPE:PATH, is the map of that name in our folder.
func (c *Config) ownMap(table, name string) bool {
	_, path, ok := strings.Cut(table, ":")
	return ok && c.Folder != "" && filepath.Clean(path) == c.path(name)
}
