package archive

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// BenchmarkTypes lists and opens the folders of an archive of 100,000 messages of all types with layout=type, 10,000 in each of ten months.
func BenchmarkTypes(b *testing.B) {
	const months, messages, parallel = 10, 10_000, 64
	r := newTypeRig(b)
	classes := []pec.Class{pec.PostaCertificata, pec.Accettazione, pec.AvvenutaConsegna, pec.Ordinary}
	certification := bytes.Repeat([]byte("certification "), 100)
	for month := range months {
		r.clock(fmt.Sprintf("2026-%02d", month+1))
		var adding sync.WaitGroup
		for worker := range parallel {
			adding.Go(func() {
				for i := worker; i < messages; i += parallel {
					draft := r.archive.journal.NewDraft(context.Background())
					fmt.Fprintf(draft, "From: a@ext.test\r\nSubject: %d\r\n\r\n%d %d\r\n", i, month, i)
					_, err := draft.Commit(context.Background(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: r.anna.String(),
						Direction: journal.Received, Class: string(classes[(i*i+i/7)%len(classes)]), Certification: certification}}, nil)
					draft.Discard()
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		adding.Wait()
	}
	list := func(b *testing.B) {
		if _, err := r.reader.Folders(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	choose := func(b *testing.B) {
		f, err := r.reader.Folder(b.Context(), "2026/10/Ricevute di accettazione")
		if err == nil {
			f, err = r.reader.Refresh(b.Context(), f)
		}
		var uids []uint32
		if err == nil {
			uids, err = r.reader.UIDs(b.Context(), f, 1)
		}
		if err != nil || len(uids) < messages/10 || uint64(len(uids)) != f.Holds.Entries {
			b.Fatalf("%d UIDs, %v", len(uids), err)
		}
	}
	for _, c := range []struct {
		name string
		do   func(*testing.B)
		cold bool
	}{{"LIST/cold", list, true}, {"LIST/warm", list, false}, {"SELECT/cold", choose, true}, {"SELECT/warm", choose, false}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if c.cold {
					r.archive.types = NewTypes()
				}
				c.do(b)
			}
			b.ReportMetric(float64(r.archive.types.bytes), "index-bytes")
		})
	}
}
