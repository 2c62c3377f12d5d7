package browser

import (
	"strings"
	"testing"

	"copialettere/policy/pec/pectest"
)

// TestOwner goes with mario through his archive: he changes what is archived.
func TestOwner(t *testing.T) {
	s := newSite(t)
	x := s.newTab(t, look{})
	x.signIn(mario)
	x.see("Archivio di "+mario, "Spazio")
	t.Run("filter", func(t *testing.T) { ownerFilters(t, s, x.in(t)) })
}

// in returns the same tab for a subtest.
func (x *tab) in(t *testing.T) *tab {
	return &tab{testing: t, ctx: x.ctx, origin: x.origin, downloads: x.downloads, look: x.look}
}

// ownerFilters has only certified mail archived, and the next deliveries obey.
func ownerFilters(t *testing.T, s *site, x *tab) {
	x.press("Impostazioni")
	x.choose("tutta la posta certificata")
	x.press("Salva: Messaggi da archiviare")
	x.see("Salvato")
	s.deliver(t, mario, "Una lettera qualunque")
	office := pectest.NewOffice(pectest.ShapeOf("namirial"), pectest.ShapeOf("odd"))
	office.Sender, office.Receivers[0] = office.Receivers[0], office.Sender
	certified := office.Send(pectest.Mail{From: "anna@beta.test", To: []string{mario}, Subject: "Una raccomandata", Text: "Certificata.\n"}, "")
	s.carry(t, pectest.Step{Name: "certified", From: office.Sender.Address(), To: []string{mario}, Message: certified.Envelope})
	var subjects []string
	for _, e := range s.hook.List(t, mario) {
		subjects = append(subjects, e.Subject)
	}
	if all := strings.Join(subjects, "\n"); !strings.Contains(all, "Una raccomandata") || strings.Contains(all, "Una lettera qualunque") {
		t.Errorf("the archive has\n%s", all)
	}
}
