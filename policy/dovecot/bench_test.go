package dovecot

import (
	"fmt"
	"log/slog"
	"testing"

	"copialettere/journal/kv/level"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// BenchmarkRender reads what the files must say from a store of many mailboxes: the cost of an act beside its wait for Dovecot.
func BenchmarkRender(b *testing.B) {
	for _, mailboxes := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(mailboxes), func(b *testing.B) {
			engine, err := level.Open(b.TempDir(), level.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer engine.Close()
			store, err := engine.Settings(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			p, err := policy.Open(b.Context(), store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
			if err != nil {
				b.Fatal(err)
			}
			orders := make([]policy.Order, mailboxes)
			for i := range orders {
				orders[i] = policy.Order{Mailbox: policy.Address{Local: fmt.Sprintf("m%d", i), Domain: "alpha.test"}, Enable: true}
				if i%10 == 0 {
					orders[i].Assignments = []policy.Assignment{{Key: policy.KeyProtocols, Value: "imap"}}
				}
			}
			for _, err := range p.CarryOut(b.Context(), operator, orders) {
				if err != nil {
					b.Fatal(err)
				}
			}
			logins := auth.New(auth.Options{Policy: p, Settings: store, Logger: slog.New(slog.DiscardHandler)})
			defer logins.Close()
			k := New(Options{Folder: b.TempDir(), Policy: p, Auth: logins, Logger: slog.New(slog.DiscardHandler)})
			for b.Loop() {
				if _, err := k.render(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
