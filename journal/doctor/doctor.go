// Package doctor says in words what is wrong with a data folder that nobody has open, what that means for owners and mail, and what to do; and mends what
// can be mended. It stores nothing of its own.
//
// Examine changes nothing. Mend works in an order that may break off anywhere: each damaged store gets a fresh one in its place (level.Mend), which keeps
// what was lost with it until Settle has put that on record in the journal (journal.SettleLosses). Until then a data folder does not open otherwise.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// Finding is one thing that was found in a data folder.
type Finding struct {
	Kind     string   `json:"kind"`
	Fault    bool     `json:"fault"` // otherwise it is only told, and does no harm
	File     string   `json:"file,omitempty"`
	Month    kv.Month `json:"month,omitempty"`
	What     string   `json:"what"`             // what is there, and what is wrong
	Means    string   `json:"means,omitempty"`  // what it means for owners and mail
	Remedy   string   `json:"remedy,omitempty"` // what to do
	Mendable bool     `json:"mendable"`         // Mend mends it
	Loses    bool     `json:"loses,omitempty"`  // the damage has taken messages or what is known of them, which no mending brings back
}

// Kinds of findings, beside those of level.FaultKind.
const (
	KindFormat     = "format"     // the data folder has an earlier format
	KindOwner      = "owner"      // a file belongs to another user than the data folder
	KindMode       = "mode"       // others can read a file
	KindDisk       = "disk"       // the disk is full
	KindKeyCommand = "encryption" // the configured key cannot be had
	KindKeys       = "mailbox-keys"
	KindSpool      = "gap-spool" // the gap spool cannot be read
	KindSigningKey = "signing-key"
	KindSettings   = "settings" // the settings cannot be read
	KindLeftover   = "leftover" // a file of a write that was broken off
)

// Options say what to look at. Folder is required.
type Options struct {
	Folder     string           // the data folder
	Keys       []datafolder.Key // of the configuration
	KeysErr    error            // why they cannot be had
	SigningKey string           // file that the configuration names as the signing key of the checkpoints; empty: that of the data folder
}

func (o Options) folder() datafolder.Options { return datafolder.Options{Keys: o.Keys} }

// diskLeast is how many bytes, and inodesLeast how many files, must be free: less does not last for one write buffer.
const (
	diskLeast   = 32 << 20
	inodesLeast = 64
)

// Examine looks at a data folder that nobody has open, reads all of the journal's files, and changes nothing. The error is datafolder.ErrInUse or
// datafolder.ErrAbsent, or says otherwise why it could not look.
func Examine(ctx context.Context, o Options) ([]Finding, error) {
	if err := datafolder.Check(o.Folder); err != nil {
		return nil, err
	}
	x := &examiner{ctx: ctx, o: o}
	faults, err := datafolder.Examine(ctx, o.Folder, o.folder())
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{x.format, x.access, x.disk, x.keys, x.leftovers, x.spool} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	settings := true
	for _, f := range faults {
		one := inWords(f)
		settings = settings && !(one.Fault && f.Store == "settings")
		if f.Kind == "key" && o.KeysErr != nil {
			continue // the key as such is missing, which is told
		}
		x.found = append(x.found, one)
	}
	if settings {
		if err := x.signingKey(); err != nil {
			return nil, err
		}
	}
	return x.found, nil
}

// Faults counts the findings that are faults.
func Faults(list []Finding) (n int) {
	for _, f := range list {
		if f.Fault {
			n++
		}
	}
	return n
}

type examiner struct {
	ctx   context.Context
	o     Options
	found []Finding
}

func (x *examiner) add(f Finding) { x.found = append(x.found, f) }

func (x *examiner) path(name string) string { return filepath.Join(x.o.Folder, name) }

func (x *examiner) format() error {
	format, err := datafolder.FormatOf(x.o.Folder)
	if err == nil && format < x.o.folder().Format() {
		x.add(Finding{
			Kind: KindFormat, File: x.path(datafolder.IdentityFile), What: fmt.Sprintf("the data folder has format %d, and this program writes %d", format, x.o.folder().Format()),
			Means: "the next start raises it; an earlier program then refuses the folder", Remedy: "none is needed: make a backup first if you may want to go back",
		})
	}
	return err
}

// access looks for files that belong to another user than the data folder, and for those that others can read.
func (x *examiner) access() error {
	top, err := os.Stat(x.o.Folder)
	if err != nil {
		return err
	}
	owner := ownerOf(top)
	open := map[string]bool{filepath.Dir(x.o.Folder): true} // folders that others can get into
	return filepath.WalkDir(x.o.Folder, func(path string, entry fs.DirEntry, err error) error {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			return nil // whoever reads it tells
		}
		info, err := entry.Info()
		if err != nil {
			return nil // it is gone
		}
		if uid := ownerOf(info); uid != owner {
			x.add(Finding{
				Kind: KindOwner, Fault: true, File: path, What: fmt.Sprintf("it belongs to the user %d, and the data folder to %d", uid, owner),
				Means:  "the daemon cannot read or write it: it may not start, or mail to enabled mailboxes waits",
				Remedy: fmt.Sprintf("chown -R %d %s, and run commands as the daemon's user", owner, x.o.Folder),
			})
		}
		reach := open[filepath.Dir(path)]
		if info.IsDir() {
			open[path] = reach && info.Mode().Perm()&0o011 != 0
		}
		if reach && x.private(path) && info.Mode().Perm()&0o066 != 0 && info.Mode()&(fs.ModeSocket|fs.ModeSymlink) == 0 {
			x.add(Finding{
				Kind: KindMode, Fault: true, File: path, What: fmt.Sprintf("it has mode %04o: other users of the machine can read it", info.Mode().Perm()),
				Means: "whoever has a login on this machine can read mail, or keys", Remedy: "chmod go-rw " + path, Mendable: true,
			})
		}
		return nil
	})
}

// private reports whether nobody else is to read a file: all but what other servers are given.
func (x *examiner) private(path string) bool {
	if path == x.o.Folder {
		return true
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(path, x.o.Folder+string(filepath.Separator)), string(filepath.Separator))
	switch name {
	case "journal", "gaps", "exports", "evidence.key", "sources.key", "mailbox.keys", "mailbox.keys.copy":
		return true
	}
	return false
}

func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return 0
}

func (x *examiner) disk() error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(x.o.Folder, &stat); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", x.o.Folder, err)
	}
	x.found = append(x.found, full(x.o.Folder, stat)...)
	return nil
}

// full says whether a file system has no room, or no inodes, for what a journal writes.
func full(folder string, stat syscall.Statfs_t) (found []Finding) {
	const means = "nothing can be journaled: mail to enabled mailboxes waits at the server, and nothing is lost"
	if free := stat.Bavail * uint64(stat.Bsize); free < diskLeast {
		found = append(found, Finding{
			Kind: KindDisk, Fault: true, File: folder, What: fmt.Sprintf("the disk is full: %d bytes are free", free), Means: means,
			Remedy: "make room or a larger disk; do not delete files in the data folder",
		})
	}
	if stat.Files > 0 && stat.Ffree < inodesLeast {
		found = append(found, Finding{
			Kind: KindDisk, Fault: true, File: folder, What: fmt.Sprintf("the file system has no inodes left: %d of %d are free", stat.Ffree, stat.Files), Means: means,
			Remedy: "delete files elsewhere on it; df -i tells how many there are",
		})
	}
	return found
}

func (x *examiner) keys() error {
	if x.o.KeysErr != nil {
		x.add(Finding{
			Kind: KindKeyCommand, Fault: true, What: fmt.Sprintf("the key of the journal cannot be had: %v", x.o.KeysErr),
			Means:  "the daemon does not start: mail to enabled mailboxes waits at the server. Nothing is lost as long as the key is somewhere",
			Remedy: "put the file or the command of [encryption] right; the key is wherever you keep its copy",
		})
		return nil
	}
	return x.mailboxKeys()
}

// mailboxKeys looks at the keys of the mailboxes, where the journal is encrypted.
func (x *examiner) mailboxKeys() error {
	health, err := datafolder.ExamineKeys(x.o.Folder, x.o.folder())
	if err != nil {
		return err
	}
	file := x.path(datafolder.MailboxKeyFiles()[0])
	const put = "put it back from a backup (see \"Encryption\" in contrib/operating.md); keys that were made since stay where the other file is left as it is"
	switch {
	case len(health.Missing) == 2:
		x.add(Finding{
			Kind: KindKeys, Fault: true, File: file, What: "the keys of the mailboxes are lost, in both files",
			Means: "the daemon does not start: mail to enabled mailboxes waits at the server. Without these keys no entry can be read", Remedy: put,
		})
	case len(health.Missing) == 1:
		x.add(Finding{
			Kind: KindKeys, File: health.Missing[0], What: "one of the two files of the keys of the mailboxes is not there, or damaged as a whole", Means: "nothing is lost: the other one has all of them",
			Remedy: "none is needed: the next start makes it anew from the other",
		})
	}
	for _, differs := range health.Differs {
		x.add(Finding{
			Kind: KindKeys, File: differs, What: "a part of this file of the keys of the mailboxes is damaged, or behind the other file",
			Means: "nothing is lost that the other file has", Remedy: "none is needed: the next start makes it anew from the other. If it happens again, see to the disk",
		})
	}
	if health.Damaged > 0 {
		x.add(Finding{
			Kind: KindKeys, Fault: true, File: file, What: fmt.Sprintf("%d keys of mailboxes are damaged in both files", health.Damaged),
			Means: "what they sealed cannot be read; new mail to these mailboxes has other keys", Remedy: put,
		})
	}
	if health.Locked > 0 && len(x.o.Keys) > 0 {
		x.add(Finding{
			Kind: KindKeys, Fault: true, File: file, What: fmt.Sprintf("%d keys of mailboxes are wrapped by another key than those of [encryption]", health.Locked),
			Means: "what they sealed cannot be read", Remedy: "put the key that was in force before behind the first one in [encryption]",
		})
	}
	return nil
}

// leftovers looks for what a write or an export that was broken off has left.
func (x *examiner) leftovers() error {
	list, err := os.ReadDir(x.o.Folder)
	if err != nil {
		return err
	}
	for _, entry := range list {
		if name := entry.Name(); strings.HasSuffix(name, ".new") || name == "check" {
			x.leftover(x.path(name), "a file of a write that was broken off")
		}
	}
	jobs, err := os.ReadDir(x.path("exports"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, job := range jobs {
		if _, err := os.Stat(filepath.Join(x.path("exports"), job.Name(), "job.json")); errors.Is(err, fs.ErrNotExist) {
			x.leftover(filepath.Join(x.path("exports"), job.Name()), "the rest of an export that was being made or removed")
		}
	}
	return nil
}

func (x *examiner) leftover(path, what string) {
	x.add(Finding{Kind: KindLeftover, File: path, What: what, Means: "it does no harm", Remedy: "none is needed: rm -r " + path, Mendable: true})
}

func (x *examiner) spool() error {
	keys, err := x.o.folder().SpoolKeys()
	if err != nil {
		return err
	}
	path := x.path("gaps")
	lines, damaged, err := journal.CheckSpool(path, keys)
	switch {
	case err != nil:
		x.add(Finding{
			Kind: KindSpool, Fault: true, File: path, What: fmt.Sprintf("the spool of gaps cannot be read: %v", err), Means: "gaps may not be shown to their owners yet",
			Remedy: "see to the disk and to the rights of the file; do not delete it",
		})
	case damaged > 0 && x.o.KeysErr == nil:
		x.add(Finding{
			Kind: KindSpool, Fault: true, File: path, What: fmt.Sprintf("%d of the %d records in the spool of gaps cannot be read, or were sealed with another key", damaged, lines),
			Means:  "each of them becomes a gap of all mailboxes with the next start: nobody can say whose it was",
			Remedy: "where the key of [encryption] was changed, put the old one behind the new one before the next start",
		})
	}
	return nil
}

// signingKey compares the signing key with the last checkpoint.
func (x *examiner) signingKey() error {
	if x.o.KeysErr != nil {
		return nil
	}
	var last *journal.StoredCheckpoint
	err := datafolder.Peek(x.ctx, x.o.Folder, x.o.folder(), func(settings kv.View) (err error) {
		last, err = journal.LastCheckpointIn(settings)
		return err
	})
	if errors.Is(err, datafolder.ErrInUse) {
		return err
	}
	if err != nil {
		x.add(Finding{
			Kind: KindSettings, Fault: true, File: x.path("journal/settings"), What: fmt.Sprintf("the settings cannot be read: %v", err),
			Means: "the daemon does not start: mail to enabled mailboxes waits at the server", Remedy: "put the data folder back from a backup: copialettere restore-backup",
		})
		return nil
	}
	file, mine := x.o.SigningKey, false
	if file == "" {
		file, mine = x.path("evidence.key"), true
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && last == nil && mine {
		return nil // it is made with the first checkpoint
	}
	verifier := ""
	if err == nil {
		verifier, err = evidence.VerifierKey(strings.TrimSpace(string(b)))
	}
	f := Finding{
		Kind: KindSigningKey, Fault: true, File: file, Means: "no checkpoint is made, or those who keep a verifier key no longer recognise them; mail goes on",
		Remedy: "put the key back from a backup. If it is lost for good: copialettere checkpoint -new-key",
	}
	switch {
	case err != nil:
		f.What = fmt.Sprintf("the signing key of the checkpoints cannot be read: %v", err)
		x.add(f)
	case last != nil:
		if _, err := evidence.Open([]byte(last.Note), []string{verifier}); err != nil {
			f.What = fmt.Sprintf("the signing key is another one than that of the last checkpoint, %d of %s: %v", last.Number, last.Time.Format("2006-01-02"), err)
			f.Means = "that is so after -new-key, until the next checkpoint. Otherwise somebody has put another key there"
			f.Fault = !x.announced(verifier)
			x.add(f)
		}
	}
	return nil
}

// announced reports whether a verifier key is the newest in evidence.pub, where -new-key puts it.
func (x *examiner) announced(verifier string) bool {
	b, err := os.ReadFile(x.path("evidence.pub"))
	lines := strings.Fields(string(b))
	return err == nil && len(lines) > 1 && lines[len(lines)-1] == verifier
}
