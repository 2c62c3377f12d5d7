package pec

import (
	"reflect"
	"strings"
	"testing"
)

func TestDeclare(t *testing.T) {
	long := strings.Repeat("x", maxValue+1)
	tests := []struct {
		name, header string
		class        Class
		declared     Declared
	}{
		{"nothing", "", Ordinary, Declared{}},
		{"no field of PEC", "Subject: ACCETTAZIONE: x\n", Ordinary, Declared{}},
		{"accettazione", "X-Ricevuta: accettazione\n", Accettazione, Declared{Receipt: "accettazione"}},
		{"non-accettazione is none", "X-Ricevuta: non-accettazione\n", NonAccettazione, Declared{Receipt: "non-accettazione"}},
		{"presa-in-carico", "X-Ricevuta: presa-in-carico\n", PresaInCarico, Declared{Receipt: "presa-in-carico"}},
		{"avvenuta-consegna", "X-Ricevuta: avvenuta-consegna\n", AvvenutaConsegna, Declared{Receipt: "avvenuta-consegna"}},
		{"errore-consegna", "X-Ricevuta: errore-consegna\n", ErroreConsegna, Declared{Receipt: "errore-consegna"}},
		{"preavviso is none", "X-Ricevuta: preavviso-errore-consegna\n", PreavvisoErroreConsegna,
			Declared{Receipt: "preavviso-errore-consegna"}},
		{"rilevazione-virus", "X-Ricevuta: rilevazione-virus\nX-Mittente: mario@alpha.test\n", RilevazioneVirus,
			Declared{Receipt: "rilevazione-virus", Sender: "mario@alpha.test"}},
		{"envelope", "X-Trasporto: posta-certificata\n", PostaCertificata, Declared{Transport: "posta-certificata"}},
		{"anomaly", "X-Trasporto: errore\n", Anomalia, Declared{Transport: "errore"}},
		{"case and space", "x-RICEVUTA  :\n \tAccettazione \n", Accettazione, Declared{Receipt: "Accettazione"}},
		{"unknown value", "X-Ricevuta: accettazione-bis\n", Ordinary, Declared{Receipt: "accettazione-bis"}},
		{"value with a comment", "X-Ricevuta: accettazione (x)\n", Ordinary, Declared{Receipt: "accettazione (x)"}},
		{"unknown transport", "X-Trasporto: altro\n", Ordinary, Declared{Transport: "altro"}},
		{"receipt value as transport", "X-Trasporto: accettazione\n", Ordinary, Declared{Transport: "accettazione"}},
		{"transport value as receipt", "X-Ricevuta: posta-certificata\n", Ordinary, Declared{Receipt: "posta-certificata"}},
		{"both", "X-Ricevuta: accettazione\nX-Trasporto: errore\n", Anomalia, Declared{Receipt: "accettazione", Transport: "errore",
			Conflict: true}},
		{"both, one unknown", "X-Ricevuta: accettazione\nX-Trasporto: altro\n", Accettazione, Declared{Receipt: "accettazione",
			Transport: "altro"}},
		{"twice the same", "X-Ricevuta: accettazione\nX-Ricevuta: ACCETTAZIONE\n", Accettazione, Declared{Receipt: "accettazione"}},
		{"twice another", "X-Ricevuta: errore-consegna\nX-Ricevuta: accettazione\n", ErroreConsegna, Declared{Receipt: "errore-consegna",
			Conflict: true}},
		{"name in a value", "Subject: X-Ricevuta: accettazione\n", Ordinary, Declared{}},
		{"name with more", "X-Ricevuta-Altra: accettazione\n", Ordinary, Declared{}},
		{"behind the header", "Subject: x\n\nX-Ricevuta: accettazione\n", Ordinary, Declared{}},
		{"all values", "X-TipoRicevuta: complet\nX-Riferimento-Message-ID: <1@alpha.test>\nX-VerificaSicurezza: errore\nFrom: a@alpha.test\nMessage-Id: <2@alpha.test>\n" +
			"In-Reply-To: <3@alpha.test>\nReferences: <4@alpha.test>\n <5@alpha.test>\n", Ordinary,
			Declared{ReceiptKind: "complet", Reference: "<1@alpha.test>", SecurityCheck: "errore", From: "a@alpha.test",
				MessageID: "<2@alpha.test>",
				InReplyTo: "<3@alpha.test>", References: "<4@alpha.test> <5@alpha.test>"}},
		{"two senders", "From: a@alpha.test\nFrom: b@beta.test\n", Ordinary, Declared{From: "a@alpha.test, b@beta.test"}},
		{"longest value", "X-Ricevuta: " + long[:maxValue] + "\n", Ordinary, Declared{Receipt: long[:maxValue]}},
		{"long value", "X-Ricevuta: " + long + "\n", Ordinary, Declared{Receipt: long[:maxValue]}},
		{"rem", "REM-UAMessageIdentifier: 1\n", REM, Declared{REM: []Field{{Name: "REM-UAMessageIdentifier", Value: "1"}}}},
		{"old rem", "x-rem-msg-type: Dispatch\n", REM, Declared{REM: []Field{{Name: "x-rem-msg-type", Value: "Dispatch"}}}},
		{"rem in a receipt", "X-REM-Msg-Type: Dispatch\nX-Ricevuta: accettazione\n", Accettazione,
			Declared{Receipt: "accettazione", REM: []Field{{Name: "X-REM-Msg-Type", Value: "Dispatch"}}}},
		{"no rem", "Remark: x\nX-Remote: y\nRem-: z\n", Ordinary, Declared{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			header := strings.ReplaceAll(test.header, "\n", "\r\n")
			class, declared := Declare([]byte(header))
			if class != test.class || !reflect.DeepEqual(declared, test.declared) {
				t.Errorf("got %s, %+v\nwant %s, %+v", class, declared, test.class, test.declared)
			}
		})
	}
}

func TestDeclareKeepsFewFields(t *testing.T) {
	for n, want := range map[int]int{maxREMFields - 1: maxREMFields - 1, maxREMFields: maxREMFields, maxREMFields + 1: maxREMFields} {
		_, declared := Declare([]byte(strings.Repeat("REM-X: y\r\n", n)))
		if len(declared.REM) != want {
			t.Errorf("%d fields of %d, want %d", len(declared.REM), n, want)
		}
	}
}

func TestGroupOf(t *testing.T) {
	want := map[Class]Group{
		PostaCertificata: Certified, Accettazione: Acceptance, AvvenutaConsegna: Delivery, ErroreConsegna: Delivery,
		PreavvisoErroreConsegna: Delivery,
		NonAccettazione:         Other, PresaInCarico: Other, RilevazioneVirus: Other, Anomalia: Other, REM: Other, Ordinary: Other, "altro": Other,
	}
	for class, group := range want {
		if got := GroupOf(class); got != group {
			t.Errorf("%s is in %s, want %s", class, got, group)
		}
	}
}

func TestBelieved(t *testing.T) {
	if got := Believed(TrustHeaders, PostaCertificata, Ordinary); got != PostaCertificata {
		t.Errorf("headers: %s", got)
	}
	for _, trust := range []Trust{TrustSignature, "", "altro"} {
		if got := Believed(trust, PostaCertificata, Ordinary); got != Ordinary {
			t.Errorf("%q: a forged header made it %s", trust, got)
		}
		if got := Believed(trust, Ordinary, Accettazione); got != Accettazione {
			t.Errorf("%q: %s", trust, got)
		}
	}
}

func FuzzDeclare(f *testing.F) {
	for _, s := range []string{"", "X-Ricevuta: accettazione\r\n", "X-Trasporto:\r\n errore\r\nX-TRASPORTO: posta-certificata\r\n",
		"REM-\xff: x\r\n", "X-REM-A :\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		class, d := Declare(header)
		transport, receipt := transportClass(d.Transport), receiptClass(d.Receipt)
		switch {
		case transport != Ordinary && class != transport,
			transport == Ordinary && receipt != Ordinary && class != receipt,
			transport == Ordinary && receipt == Ordinary && class != Ordinary && class != REM:
			t.Errorf("%s from %+v", class, d)
		}
		for _, f := range d.fields() {
			if len(*f.slot) > maxValue {
				t.Errorf("a value of %d bytes", len(*f.slot))
			}
		}
		if len(d.REM) > maxREMFields {
			t.Errorf("%d fields of REM", len(d.REM))
		}
	})
}
