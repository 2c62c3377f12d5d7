package archive

import (
	"strings"
	"testing"
)

// TestNotesNameTheAccount says by which names an archive signs in.
func TestNotesNameTheAccount(t *testing.T) {
	for account, want := range map[string][2]string{
		"anna@alpha.test": {"Account dell'archivio: anna@alpha.test. ", "Account of the archive: anna@alpha.test. "},
		"anna_alpha.test@archivio.alpha.test": {
			"Account dell'archivio: anna@alpha.test oppure anna_alpha.test@archivio.alpha.test. ",
			"Account of the archive: anna@alpha.test or anna_alpha.test@archivio.alpha.test. ",
		},
	} {
		first := notes("anna@alpha.test", account, []string{"anna@alpha.test"}, false)[0]
		if !strings.HasPrefix(first.Italian, want[0]) || !strings.HasPrefix(first.English, want[1]) {
			t.Errorf("%+v, want %q", first, want)
		}
	}
}
