package archive

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/dovecot"
)

// TestInForce makes every act that may change what Dovecot goes by. When it returns, Dovecot's files have it; where they cannot be written, each says so.
func TestInForce(t *testing.T) {
	a, settings := openOn(t)
	a.options.Auth = auth.New(auth.Options{Policy: a.policy, Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { a.options.Auth.Close() })
	folder := filepath.Join(t.TempDir(), "auth")
	if err := os.Mkdir(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	a.options.Dovecot = dovecot.New(dovecot.Options{Folder: folder, Policy: a.policy, Auth: a.options.Auth, Logger: slog.New(slog.DiscardHandler)})
	operator := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	ctx := t.Context()
	alpha := func(local string) policy.Address { return policy.Address{Local: local, Domain: "alpha.test"} }
	anna, rossi, bruno := alpha("anna"), alpha("anna.rossi"), alpha("bruno")
	protocols := func(value string) []policy.Assignment {
		return []policy.Assignment{{Key: policy.KeyProtocols, Value: value}}
	}
	steps := []struct {
		name string
		act  func() error
		file string
		want string // what the file has then, or, with ! in front, has no longer
	}{
		{"set", func() error { _, err := a.Set(ctx, operator, anna, protocols("pop3")); return err }, "deny.imap", "anna@alpha.test:"},
		{"enable", func() error { _, err := a.Enable(ctx, operator, anna); return err }, "deny.smtp", "anna@alpha.test:"},
		{"add an app password", func() error { _, err := a.AddAppPassword(ctx, operator, anna, "phone"); return err }, "app", "anna@alpha.test|"},
		{"rename", func() error { _, err := a.Rename(ctx, operator, anna, rossi); return err }, "app", "anna.rossi@alpha.test|"},
		{"revoke an app password", func() error { _, err := a.RevokeAppPassword(ctx, operator, rossi, "phone"); return err }, "app", "!anna.rossi@alpha.test|"},
		{"hand over", func() error { _, err := a.HandOver(ctx, operator, rossi, rossi.String()); return err }, "deny.imap", "anna.rossi@alpha.test:"},
		{"provision", func() error {
			for _, err := range a.Provision(ctx, operator, Provision{Lines: strings.NewReader(bruno.String()), Assignments: protocols("none")}) {
				if err != nil {
					return err
				}
			}
			return nil
		}, "deny.pop3", "bruno@alpha.test:"},
	}
	for _, s := range steps {
		if err := s.act(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		text, err := os.ReadFile(filepath.Join(folder, s.file))
		want, not := strings.CutPrefix(s.want, "!")
		if err != nil || strings.Contains(string(text), want) == not {
			t.Errorf("%s: %s has\n%s%v, want %s", s.name, s.file, text, err, s.want)
		}
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Rename(ctx, operator, rossi, anna); !errors.Is(err, dovecot.ErrFiles) {
		t.Errorf("rename without a folder: %v", err)
	}
	for _, s := range steps {
		if s.name == "enable" {
			continue // it is on
		}
		if err := s.act(); !errors.Is(err, dovecot.ErrFiles) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s without a folder: %v", s.name, err)
		}
	}
	if m, err := a.policy.Mailbox(ctx, bruno); err != nil || m.Settings.Protocols != 0 {
		t.Errorf("%+v, %v", m, err)
	}
}
