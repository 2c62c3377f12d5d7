package pec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"time"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// records returns records of messages of all kinds.
func records(t testing.TB) map[string]pec.Record {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := o.Send(letter(), "completa")
	v := verifierFor(o)
	list := make(map[string]pec.Record)
	for name, message := range map[string][]byte{"envelope": c.Envelope, "acceptance": c.Acceptance, "taken": c.Taken,
		"delivery": c.Deliveries[0].Message,
		"ordinary": c.Original, "rem": o.REM(letter(), "SubmissionAcceptance", "RelayFailure"), "tampered": pectest.Tampered(c.Envelope),
		"conflict": append([]byte("X-Ricevuta: accettazione\r\n"), c.Envelope...)} {
		m, _ := read(t, message)
		list[name] = pec.Record{Message: *m, Signature: verify(t, v, message)}
	}
	list["invoice"] = pec.Record{Message: pec.Message{Class: pec.PostaCertificata, Signed: 1, Daticert: -1, Postacert: 2,
		Inner:    pec.Inner{From: "f", Subject: "s", Date: "d", MessageID: "<m>", To: "t", Cc: "c", Files: []string{"a.pdf", "", "b"}},
		Invoices: []pec.InvoiceNotice{{Part: 5, Kind: "RC", File: "f", Invoice: "i", Identifier: "1"}, {Kind: "MT"}}}}
	list["revoked"] = pec.Record{Message: pec.Message{Class: pec.Accettazione, Signed: 1, Daticert: -1, Postacert: -1},
		Signature: pec.Signature{Result: pec.ResultUntrusted, Revocation: pec.RevocationRevoked, RevocationReason: "revoked"}}
	list["no data"] = pec.Record{Message: pec.Message{Class: pec.Accettazione, DataError: "no daticert.xml", Signed: 1, Daticert: -1,
		Postacert: 0}}
	return list
}

func TestRecord(t *testing.T) {
	for name, r := range records(t) {
		t.Run(name, func(t *testing.T) {
			b, err := r.AppendBinary([]byte("before"))
			if err != nil || !bytes.HasPrefix(b, []byte("before\x01")) {
				t.Fatalf("%q, %v", b, err)
			}
			b = b[len("before"):]
			var read pec.Record
			if err := read.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(read, r) {
				t.Errorf("%v\ngot\n%+v\nwant\n%+v", err, read, r)
			}
			if read.Verified() != r.Message.Verified(r.Signature) {
				t.Errorf("verified class %s", read.Verified())
			}
			// A later version may add fields.
			if err := read.UnmarshalBinary(append(bytes.Clone(b), 0xee, 3, 1, 2, 3)); err != nil || !reflect.DeepEqual(read, r) {
				t.Errorf("with an unknown field: %v", err)
			}
			for n := range b {
				var part pec.Record
				if err := part.UnmarshalBinary(b[:n]); err != nil && (!errors.Is(err, pec.ErrRecord) || !reflect.DeepEqual(part, pec.Record{})) {
					t.Fatalf("the first %d bytes: %v", n, err)
				}
			}
		})
	}
}

// TestRecordIsFixed pins the bytes: records stored today must be readable for years.
func TestRecordIsFixed(t *testing.T) {
	at := time.Date(2026, 11, 3, 9, 11, 12, 0, time.UTC)
	r := pec.Record{
		Message: pec.Message{Class: pec.Accettazione, Signed: 1, Daticert: 3, Postacert: -1,
			Declared: pec.Declared{Receipt: "a", From: "f", Conflict: true, REM: []pec.Field{{Name: "n", Value: "v"}}},
			Evidence: []pec.Evidence{{Part: 4, Event: "e"}},
			Data: &pec.Certification{Type: "t", Error: "e", Recipients: []pec.Recipient{{Address: "r", Kind: "k"}}, Time: at,
				Received: []string{"x"}, OtherDeliveries: []string{"d"}, Unread: []pec.Element{{Name: "n", Text: "t"}}, Omitted: 300}},
		Signature: pec.Signature{Result: pec.ResultVerified, Weak: true, Digest: "d", SigningTime: at, Provider: "p", Chain: [][]byte{{1, 2}}},
	}
	const want = "01" + "010c616363657474617a696f6e65" + "020161" + "080166" + "0c0901016e020176030100" + "0d00" + "0f0101" + "100103" +
		"1206030104040165" +
		"1327" + "010174" + "020165" + "040601017202016b" + "0805e094cdae0d" + "0f0178" + "110164" + "1206" + "01016e" + "020174" + "1302ac02" +
		"141d" + "01087665726966696564" + "040164" + "060170" + "0300" + "0505e094cdae0d" + "07020102"
	b, err := r.AppendBinary(nil)
	if err != nil || hex.EncodeToString(b) != want {
		t.Errorf("got  %x, %v\nwant %s", b, err, want)
	}
	fixed, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	var read pec.Record
	if err := read.UnmarshalBinary(fixed); err != nil || !reflect.DeepEqual(read, r) {
		t.Errorf("read %+v, %v", read, err)
	}
}

// TestLaterFieldsAreFixed pins the bytes of fields added to the first form.
func TestLaterFieldsAreFixed(t *testing.T) {
	r := pec.Record{
		Message: pec.Message{Class: pec.Ordinary, Signed: -1, Daticert: -1, Postacert: -1, Declared: pec.Declared{ReplyTo: "r"},
			Inner:    pec.Inner{From: "f", Subject: "s", Date: "d", MessageID: "m"},
			Invoices: []pec.InvoiceNotice{{Part: 5, Kind: "k", File: "n", Invoice: "i", Identifier: "1"}}},
		Signature: pec.Signature{Revocation: pec.RevocationGood, RevocationReason: "w"},
	}
	const want = "01" + "01086f7264696e617279" + "280172" + "290166" + "2a0173" + "2b0164" + "2c016d" +
		"2d0f" + "01016b" + "02016e" + "030169" + "040131" + "050105" + "1409" + "0804676f6f64" + "090177"
	b, err := r.AppendBinary(nil)
	if err != nil || hex.EncodeToString(b) != want {
		t.Errorf("got  %x, %v\nwant %s", b, err, want)
	}
	var read pec.Record
	if err := read.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(read, r) {
		t.Errorf("read %+v, %v", read, err)
	}
}

func TestRecordErrors(t *testing.T) {
	for name, b := range map[string]string{
		"empty": "", "version": "\x02", "no length": "\x01\x01", "short": "\x01\x01\x05abc",
		"long length": "\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"part":        "\x01\x0f\x05\xff\xff\xff\xff\x7f", "two numbers": "\x01\x0f\x02\x01\x01", "no number": "\x01\x0f\x00",
		"inner field": "\x01\x13\x02\x01\x07", "time": "\x01\x13\x0c\x08\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"signing time": "\x01\x14\x02\x05\x00",
	} {
		r := pec.Record{Message: pec.Message{DataError: "as it was"}}
		if err := r.UnmarshalBinary([]byte(b)); !errors.Is(err, pec.ErrRecord) || r.Message.DataError != "as it was" {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range records(f) {
		b, err := r.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r pec.Record
		if err := r.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, pec.ErrRecord) || !reflect.DeepEqual(r, pec.Record{}) {
				t.Fatalf("%v, %+v", err, r)
			}
			return
		}
		r.Verified()
		r.Message.Links()
		r.Message.Events()
		r.Signature.Certificates()
		again, err := r.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var second pec.Record
		if err := second.UnmarshalBinary(again); err != nil {
			t.Fatalf("%+v stored and read: %v", r, err)
		}
		if third, err := second.AppendBinary(nil); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("stored in two forms: %x and %x, %v", again, third, err)
		}
	})
}
