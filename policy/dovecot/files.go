package dovecot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"copialettere/journal/durable"
	"copialettere/policy"
)

// fileHead is the first line of each file.
const fileHead = "# Written by copialettere. Changes by hand are lost.\n"

// fileMode is the mode of each file.
const fileMode = 0o640

// The names of the files.
const (
	denyIMAP       = "deny.imap"
	denyPOP3       = "deny.pop3"
	denySMTP       = "deny.smtp"
	denySubmission = "deny.submission"
	denySieve      = "deny.sieve"
	denyMain       = "deny.2fa"
	appFile        = "app"
)

// Files returns the names of the files.
func Files() []string {
	return []string{denyIMAP, denyPOP3, denySMTP, denySubmission, denySieve, denyMain, appFile}
}

// write writes the files that differ, and returns how many those are.
func (k *Keeper) write(ctx context.Context) (written int, err error) {
	texts, err := k.render(ctx)
	if err != nil {
		return 0, err
	}
	folder := k.options.Folder
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %s", err, makeIt(folder))
	}
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, name := range Files() {
		changed, err := replace(filepath.Join(folder, name), texts[name].Bytes(), info, k.options.step)
		if changed {
			written++
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write %s: %w", name, err))
		}
	}
	return written, errors.Join(errs...)
}

// replace writes a file unless it has the text already, beside its end, and can be read by the group of its folder.
func replace(path string, text []byte, folder fs.FileInfo, step func(string) error) (changed bool, err error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err == nil && bytes.Equal(bytes.TrimRight(old, "#\n"), bytes.TrimRight(text, "#\n")) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() == fileMode && groupOf(info) == groupOf(folder) {
			return false, nil
		}
	}
	if len(old) == len(text) {
		text = append(text, "#\n"...)
	}
	err = durable.WriteShared(path, bytes.NewReader(text), step)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: the daemon's user must own %s, and files there must get its group: chmod g+s it", err, filepath.Dir(path))
	}
	return err == nil, err
}

// makeIt is the remedy for a folder that is not there. The daemon cannot give it to Dovecot's group.
func makeIt(folder string) string {
	return fmt.Sprintf("make it as root, for the daemon's user and Dovecot's group: install -d -o copialettere -g dovecot -m 2750 %s", folder)
}

func groupOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Gid }

// render returns the text of each file.
func (k *Keeper) render(ctx context.Context) (map[string]*bytes.Buffer, error) {
	texts := make(map[string]*bytes.Buffer)
	for _, name := range Files() {
		texts[name] = bytes.NewBufferString(fileHead)
	}
	logins := make(map[string][]string) // by archive
	var leftOut []string
	for m, err := range k.options.Policy.AllSwitches(ctx) {
		if err != nil {
			return nil, err
		}
		if m.Address.Closed != "" {
			continue
		}
		logins[m.Archive] = loginsOf(m.Address)
		if logins[m.Archive] == nil {
			leftOut = append(leftOut, m.Address.String())
		}
		for _, login := range logins[m.Archive] {
			for _, name := range denied(m.Protocols) {
				texts[name].WriteString(login + ":\n")
			}
		}
	}
	for a, err := range k.options.Auth.AllNeedAppPassword(ctx) {
		if err != nil {
			return nil, err
		}
		for _, login := range loginsOf(a) {
			texts[denyMain].WriteString(login + ":\n")
		}
	}
	for d, err := range k.options.Auth.AppDigests(ctx) {
		if err != nil {
			return nil, err
		}
		if _, known := logins[d.Archive]; !known {
			if logins[d.Archive], err = k.loginsOfArchive(ctx, d.Archive); err != nil {
				return nil, err
			}
		}
		for _, login := range logins[d.Archive] {
			for _, digest := range d.SHA256 {
				fmt.Fprintf(texts[appFile], "%s|%x:::::::nopassword=y copia_app=%s\n", login, digest, d.ID)
			}
		}
	}
	k.count(leftOut)
	return texts, nil
}

// loginsOfArchive returns the logins of an archive that is none of a mailbox that was set up.
func (k *Keeper) loginsOfArchive(ctx context.Context, archive string) ([]string, error) {
	a, err := policy.ParseAddress(archive)
	if err != nil || a.Domain == "" {
		return nil, nil // that of a mailbox that was handed over
	}
	m, err := k.options.Policy.Mailbox(ctx, a)
	if err != nil || m.Archive != archive {
		return nil, err // the address leads to another one by now
	}
	return loginsOf(a), nil
}

// count logs and counts the mailboxes that are in no file.
func (k *Keeper) count(leftOut []string) {
	if k.leftOut.Value() == int64(len(leftOut)) {
		return
	}
	k.leftOut.Set(int64(len(leftOut)))
	if len(leftOut) > 0 {
		k.options.Logger.Error("addresses that no line of a file for Dovecot can hold: their switches and app passwords have no effect there", "mailboxes", leftOut)
	}
}

// denied returns the files that name a mailbox with these protocols.
func denied(on policy.Protocols) (names []string) {
	if on&policy.ProtocolIMAP == 0 {
		names = append(names, denyIMAP)
	}
	if on&policy.ProtocolPOP3 == 0 {
		names = append(names, denyPOP3)
	}
	if on&policy.ProtocolSMTP == 0 {
		names = append(names, denySMTP, denySubmission)
	}
	if on&(policy.ProtocolIMAP|policy.ProtocolPOP3) == 0 {
		names = append(names, denySieve)
	}
	return names
}

// loginsOf returns the names by which somebody signs in to Dovecot for an address; nil if no line can hold it.
func loginsOf(a policy.Address) []string {
	name := a.String()
	if strings.HasPrefix(name, "#") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(":|%", r) }) {
		return nil
	}
	list := []string{name}
	if ascii := strings.TrimSuffix(name, a.Domain) + policy.ASCIIDomain(a.Domain); ascii != name {
		list = append(list, ascii)
	}
	return list
}
