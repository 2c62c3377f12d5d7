package browser

import (
	"strings"
	"testing"
	"time"
)

// TestDelegate has mario let bruno read until a day, and revoke that.
func TestDelegate(t *testing.T) {
	s := newSite(t)
	x := s.newTab(t, look{})
	x.signIn(mario)
	x.open("/mailbox/" + mario + "/delegates")
	x.fill("Indirizzo con cui la persona entra", bruno)
	x.fill("Ultimo giorno", time.Now().AddDate(0, 0, 7).Format(time.DateOnly))
	x.press("Lascia leggere")
	x.see(bruno)

	y := s.newTab(t, look{})
	y.signIn(bruno)
	letter := s.messagePath(t, "Preventivo per il tetto")
	y.open(letter)
	y.see("ci sentiamo domani")
	if y.sees("Elimina…") {
		t.Error("a delegate is offered to delete")
	}
	if log := string(s.hook.Must(t, "access", mario)); !strings.Contains(log, bruno) {
		t.Errorf("the access log of mario is\n%s", log)
	}

	x.open("/mailbox/" + mario + "/delegates")
	x.press("Revoca " + bruno)
	x.see("solo il titolare")
	y.open(letter)
	if y.sees("ci sentiamo domani") {
		t.Error("who is a delegate no more still reads")
	}
}
