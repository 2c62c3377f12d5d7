package keyed

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkValue seals and opens a value of the size of an entry, with the keys of many mailboxes in memory.
func BenchmarkValue(b *testing.B) {
	p := newPlace(b)
	must(b, Make(p.path()))
	r, err := p.ring(b)
	must(b, err)
	const mailboxes = 1000
	for i := range mailboxes {
		must(b, r.makeKeys(b.Context(), [][]byte{fmt.Append(nil, "user", i, "@alpha.test")}))
	}
	key, value := []byte("e\x00user7@alpha.test\x00INBOX\x00\x00\x00\x00\x01"), bytes.Repeat([]byte{1}, 1200)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, ok := r.seal(fmt.Append(nil, "user", i%mailboxes, "@alpha.test"), november, key, value); !ok {
				b.Fatal("no key")
			}
		}
	})
	sealed, _ := r.seal([]byte("user7@alpha.test"), november, key, value)
	for _, name := range []string{"open one", "open in a scan"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			o := &opener{ring: r, month: november}
			for range b.N {
				if name == "open one" {
					o = &opener{ring: r, month: november}
				}
				if v := o.value(key, sealed); len(v) != len(value) {
					b.Fatal("not opened")
				}
			}
		})
	}
}
