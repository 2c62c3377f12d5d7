package browser

import (
	"bytes"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy/pec/pectest"
)

// testOwner goes with olga through her archive: she looks for a message, opens certified mail, downloads, sees what became of what she sent, and changes
// what is archived.
func testOwner(t *testing.T, s *site) {
	x := s.newTab(t, look{})
	x.signIn(olga)
	x.see("Archivio di "+olga, "Spazio")
	t.Run("find", func(t *testing.T) { ownerFinds(t, s, x.in(t)) })
	t.Run("practice", func(t *testing.T) { ownerSeesPractice(t, x.in(t)) })
	t.Run("filter", func(t *testing.T) { ownerFilters(t, s, x.in(t)) })
}

// entry returns the message of a mailbox with a subject.
func (s *site) entry(t *testing.T, box, subject string) rig.Entry {
	t.Helper()
	for _, e := range s.hook.List(t, box) {
		if e.Subject == subject {
			return e
		}
	}
	t.Fatalf("%s has no message %q", box, subject)
	return rig.Entry{}
}

// ownerFinds looks for a certified message by words that stand inside its envelope, opens it, and compares what the browser saves with what was delivered.
func ownerFinds(t *testing.T, s *site, x *tab) {
	x.fill("Cerca nell'archivio", "controfirmato anna@beta.test")
	x.press("Cerca")
	x.see("Contratto controfirmato")
	if x.sees("Riunione di lunedì") {
		t.Error("the search finds what was not asked for")
	}
	x.press("Contratto controfirmato|POSTA CERTIFICATA: Contratto controfirmato")
	x.see("restituisco il contratto controfirmato: è già in vigore.", "Certificazione", "firma valida", "contratto.pdf")
	envelope := s.hook.Cat(t, s.entry(t, olga, "POSTA CERTIFICATA: Contratto controfirmato"))
	name, raw := x.download("INBOX-")
	if !bytes.Equal(raw, envelope) || !strings.HasSuffix(name, ".eml") {
		t.Errorf("%s has %d bytes, which are not the %d delivered", name, len(raw), len(envelope))
	}
	name, inner := x.download("postacert.eml")
	if !bytes.Contains(envelope, inner) || !bytes.Contains(inner, []byte("Subject: Contratto controfirmato\r\n")) || name != "postacert.eml" {
		t.Errorf("%s is\n%s", name, inner)
	}
	name, attached := x.download("contratto.pdf")
	if want := "%PDF-1.4\n% contratto di prova\n%%EOF\n"; string(attached) != want || name != "contratto.pdf" {
		t.Errorf("%s is %q", name, attached)
	}
}

// ownerSeesPractice looks at what became of what olga sent.
func ownerSeesPractice(t *testing.T, x *tab) {
	x.press("Pratiche")
	x.see("Contratto di fornitura 2026", "Sollecito di pagamento fattura 118", "Disdetta contratto di locazione", "Convocazione assemblea")
	x.press("Disdetta contratto di locazione")
	x.see("chiusa@beta.test")
	x.open("/mailbox/" + olga + "/practices")
	x.press("Contratto di fornitura 2026")
	x.see("anna@beta.test", "completa")
}

// ownerFilters has only certified mail archived, and the next deliveries obey.
func ownerFilters(t *testing.T, s *site, x *tab) {
	x.press("Impostazioni")
	x.choose("tutta la posta certificata")
	x.press("Salva: Messaggi da archiviare")
	x.see("Salvato")
	s.deliver(t, "Una lettera qualunque", olga)
	office := pectest.NewOffice(pectest.ShapeOf("namirial"), pectest.ShapeOf("odd"))
	office.Sender, office.Receivers[0] = office.Receivers[0], office.Sender
	certified := office.Send(pectest.Mail{From: "anna@beta.test", To: []string{olga}, Subject: "Una raccomandata", Text: "Certificata.\n"}, "")
	s.carry(t, pectest.Step{Name: "certified", From: office.Sender.Address(), To: []string{olga}, Message: certified.Envelope})
	var subjects []string
	for _, e := range s.hook.List(t, olga) {
		subjects = append(subjects, e.Subject)
	}
	if all := strings.Join(subjects, "\n"); !strings.Contains(all, "Una raccomandata") || strings.Contains(all, "Una lettera qualunque") {
		t.Errorf("the archive has\n%s", all)
	}
}
