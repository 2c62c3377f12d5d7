package pec_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// sixtyKilobytes returns an envelope of about 60 kB.
func sixtyKilobytes(o *pectest.Office) []byte {
	mail := letter()
	mail.Attachments[0].Content = bytes.Repeat([]byte("fattura "), 5000)
	return o.Send(mail, "").Envelope
}

func BenchmarkRead(b *testing.B) {
	for _, shape := range []string{"aruba", "legalmail"} {
		b.Run(shape, func(b *testing.B) {
			message := sixtyKilobytes(pectest.NewOffice(pectest.ShapeOf(shape), pectest.ShapeOf(shape)))
			table, header := scan(message)
			r := bytes.NewReader(message)
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if m := pec.Read(r, table, header); m.Data == nil {
					b.Fatal(m.DataError)
				}
			}
		})
	}
	b.Run("ordinary", func(b *testing.B) {
		o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
		message := o.Send(letter(), "").Original
		table, header := scan(message)
		r := bytes.NewReader(message)
		b.ReportAllocs()
		for b.Loop() {
			pec.Read(r, table, header)
		}
	})
}

func BenchmarkReadAndVerify(b *testing.B) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	message := sixtyKilobytes(o)
	index, err := pec.ParseIndex(bytes.NewReader(pectest.IndexLDIF(o.Providers()...)))
	if err != nil {
		b.Fatal(err)
	}
	v := pec.NewVerifier(verifierBundle(o), index)
	table, header := scan(message)
	r := bytes.NewReader(message)
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		m := pec.Read(r, table, header)
		s, err := v.Verify(context.Background(), r, table, m.Declared.From, pectest.Start)
		if err != nil || s.Result != pec.ResultVerified {
			b.Fatal(s.Reason, err)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	r := records(b)["delivery"]
	stored, err := r.AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var read pec.Record
		if err := read.UnmarshalBinary(stored); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(stored)), "bytes")
}

// BenchmarkPractice combines the receipts of a message to 2,000 recipients. Each receipt lists all of them.
func BenchmarkPractice(b *testing.B) {
	const recipients = 2000
	data := pec.Certification{Type: "avvenuta-consegna", Identifier: "1@alpha.test", ReceiptKind: pec.ReceiptShort, Time: pectest.Start}
	for i := range recipients {
		data.Recipients = append(data.Recipients, pec.Recipient{Address: fmt.Sprintf("Ufficio.%d@beta.test", i), Kind: pec.KindCertified})
	}
	for b.Loop() {
		p := pec.Practice{Identifier: "1@alpha.test"}
		for i := range recipients {
			one := data
			one.Recipients = slices.Clone(data.Recipients)
			one.Delivery = one.Recipients[i].Address
			p.Apply(&pec.Message{Data: &one})
		}
		if len(p.States) != recipients || len(p.Listed) != recipients {
			b.Fatalf("%d states of %d recipients", len(p.States), len(p.Listed))
		}
	}
}
