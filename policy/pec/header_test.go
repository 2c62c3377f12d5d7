package pec_test

import (
	"reflect"
	"strings"
	"testing"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// TestDeclareBehindLongHeader checks that Declare finds each of its fields after 300 kB of References, and after many fields.
func TestDeclareBehindLongHeader(t *testing.T) {
	const fields = "X-Ricevuta: accettazione\r\nX-Trasporto: errore\r\nX-TipoRicevuta: breve\r\nX-Riferimento-Message-ID: <1@alpha.test>\r\n" +
		"X-VerificaSicurezza: errore\r\nX-Mittente: a@alpha.test\r\nFrom: b@alpha.test\r\nReply-To: c@alpha.test\r\nMessage-ID: <2@alpha.test>\r\nIn-Reply-To: <3@alpha.test>\r\n" +
		"References: <4@alpha.test>\r\nREM-Section-Type: rem_message\r\nX-REM-Msg-Type: Dispatch\r\n\r\n"
	_, want := pec.Declare([]byte(fields))
	for name, before := range map[string]string{
		"one":  "X-References: " + strings.Repeat("<0123456789@alpha.test>\r\n ", 300<<10/26) + "\r\n",
		"many": strings.Repeat("X-Spam: "+strings.Repeat("y", 900)+"\r\n", 350),
	} {
		_, header := scan([]byte(before + fields + "hello"))
		class, got := pec.Declare(header)
		if class != pec.Anomalia || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s\n%+v, want\n%+v", name, class, got, want)
		}
	}
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := o.Send(letter(), "completa")
	message := append([]byte("References: "+strings.Repeat("<0123456789@alpha.test>\r\n ", 300<<10/26)+"\r\n"), c.Acceptance...)
	if m, _ := read(t, message); m.Class != pec.Accettazione || m.Data == nil || m.Verified(verify(t, verifierFor(o), message)) != pec.Accettazione {
		t.Errorf("acceptance: %s, %s", m.Class, m.DataError)
	}
}
