package policy

import (
	"fmt"
	"testing"

	"copialettere/journal/kv/level"
)

// BenchmarkWanted asks for recipients as they come, in a store with few and with many mailboxes on a disk.
func BenchmarkWanted(b *testing.B) {
	for _, mailboxes := range []int{1, 5000} {
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
			p, err := Open(b.Context(), store, testConfig())
			if err != nil {
				b.Fatal(err)
			}
			orders, paths := make([]Order, mailboxes), make([]string, mailboxes)
			for i := range orders {
				orders[i] = Order{Mailbox: mustAddress(b, fmt.Sprintf("m%d@alpha.test", i)), Enable: true}
				paths[i] = fmt.Sprintf("m%d+x@alpha.test", i)
			}
			for _, err := range p.CarryOut(b.Context(), operator(), orders) {
				if err != nil {
					b.Fatal(err)
				}
			}
			for i := range paths { // the daemon has met them all
				if _, err := p.Wanted(b.Context(), paths[i]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if v, err := p.Wanted(b.Context(), paths[i*7919%mailboxes]); !v.Enabled || err != nil {
					b.Fatal(v, err)
				}
			}
		})
	}
}

func BenchmarkJudge(b *testing.B) {
	p, _ := openTest(b, testConfig(), "anna@alpha.test")
	lines, mail := one("anna@alpha.test", "rfc822;anna@alpha.test"), header(received)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := p.Judge(b.Context(), mail, lines); err != nil || !v[0].Journal {
			b.Fatal(v, err)
		}
	}
}
