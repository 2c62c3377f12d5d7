package pages

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"copialettere/journal/export/pull"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
	"copialettere/policy/source"
)

// TestPullFailures shows why the last run of a profile ended early, and what it did not take, in words for owners of each language, and none of those of
// the program or of the server.
func TestPullFailures(t *testing.T) {
	r := newRig(t)
	r.set("append=on")
	b := r.signedIn("anna@alpha.test")
	const page = "/mailbox/anna@alpha.test/pulls"
	r.leads(b.post(page, url.Values{"name": {"pec"}, "host": {"imap.ext.test"}, "user": {"anna"}, "password": {"x"}}.Encode()), page+"?done=pull-added")
	const inner = "connect to 127.0.0.1: dial tcp"
	causes := map[notice.PullCause][2]string{
		notice.PullLogin:       {"Il server non accetta il nome utente o la password.", "The server does not accept the user name or the password."},
		notice.PullCertificate: {"Il certificato del server non è valido", "The certificate of the server is not valid"},
		notice.PullBusy:        {"Il server chiede di riprovare più tardi.", "The server asks to try again later."},
		notice.PullUnreachable: {"Il server non è raggiungibile.", "The server cannot be reached."},
		notice.PullAddress:     {"L&#39;indirizzo di questo server non è ammesso", "The address of this server is not allowed"},
		notice.PullFolder:      {"L&#39;account non ha una delle cartelle indicate.", "The account does not have one of the folders that are named."},
		notice.PullServer:      {"Il server non risponde come dovrebbe.", "The server does not answer as it should."},
		notice.PullPassword:    {"La password va scritta di nuovo", "The password has to be typed again"},
		notice.PullFull:        {"L&#39;archivio era pieno.", "The archive was full."},
		notice.PullNotOn:       {"L&#39;archivio non era attivo", "The archive was not on"},
		notice.PullForbidden:   {"Chi ha aggiunto l&#39;account non può più importare", "Who added the account may not import"},
		notice.PullStopped:     {"È stata interrotta.", "It was interrupted."},
		notice.PullHere:        {"C&#39;è stato un guasto da questa parte", "There was a fault on this side"},
		"":                     {"Finita prima del tempo.</td>", "Ended early.</td>"}, // of a version that kept no cause
	}
	states := map[string][2]string{
		archive.KeptFull: {"nell&#39;archivio non c&#39;era spazio", "the archive had no room"}, archive.KeptTooLarge: {"è troppo grande", "it is too large"},
		pull.StateNotOpened: {"la cartella non si apre", "the folder does not open"}, pull.StateNotGiven: {"il server non lo dà per intero", "the server does not give it whole"},
		pull.StateNotDeleted: {"là non è stato eliminato", "it was not deleted there"},
	}
	ran := func(run source.Run) {
		t.Helper()
		run.End = time.Now()
		_, err := r.archive.Sources().Ran(t.Context(), "anna@alpha.test", "pec", run)
		r.must(err)
	}
	for at, language := range []string{"it", "en"} {
		r.set("language=" + language)
		early := []string{"Finita prima del tempo.", "Ended early."}[at]
		for cause, want := range causes {
			ran(source.Run{Error: inner, Cause: string(cause)})
			w := b.get(page)
			r.holds(w, http.StatusOK, early, want[at])
			if strings.Contains(w.Body.String(), "dial tcp") {
				t.Errorf("%s %q shows: %s", language, cause, mainOf(w))
			}
		}
		for state, want := range states {
			ran(source.Run{Refused: 2, Notes: []string{"Lavoro 7: " + state + ": FETCH: NO [SERVERBUG]"}, Left: []source.Left{{Folder: "Lavoro", UID: 7, State: state}, {Folder: "Vecchia", State: state}}})
			w := b.get(page)
			r.holds(w, http.StatusOK, "<bdi>Lavoro</bdi>, "+[]string{"messaggio", "message"}[at]+" 7: "+want[at], "<bdi>Vecchia</bdi>: "+want[at])
			if body := w.Body.String(); strings.Contains(body, "SERVERBUG") || strings.Contains(body, early) {
				t.Errorf("%s %s shows: %s", language, state, mainOf(w))
			}
		}
	}
}

// TestPullNotConnected runs and tests profiles whose server may not, or cannot, be connected to.
func TestPullNotConnected(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, host string
		private    bool // servers that are none of the Internet may be named
		want       string
	}{
		{"not allowed", "127.0.0.1", false, "indirizzo di questo server non è ammesso"},
		{"nobody listens", host, true, "Il server non è raggiungibile."},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.set("append=on")
			r.pages.options.Pulls.Configure(r.archive, c.private)
			b := r.signedIn("anna@alpha.test")
			const page = "/mailbox/anna@alpha.test/pulls"
			r.leads(b.post(page, url.Values{"name": {"pec"}, "host": {c.host}, "user": {"anna"}, "password": {"x"}}.Encode()), page+"?done=pull-added")
			owner := policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}
			if _, err := r.pages.options.Pulls.Run(t.Context(), owner, r.address("anna@alpha.test"), "pec", nil); err == nil {
				t.Fatal("it went through")
			}
			for _, w := range []string{b.get(page).Body.String(), b.post(page+"/test", "name=pec").Body.String()} {
				if !strings.Contains(w, c.want) || strings.Contains(w, "dial") || strings.Contains(w, "cannot be read") {
					t.Errorf("%q is missing, or there is more, in: %s", c.want, w)
				}
			}
		})
	}
}

// TestPullNameTaken says that the name of a profile is that of another account, and not that it is no name.
func TestPullNameTaken(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("anna@alpha.test")
	const page = "/mailbox/anna@alpha.test/pulls"
	add := func(name, host string) string {
		return url.Values{"name": {name}, "host": {host}, "user": {"anna"}, "password": {"x"}, "every": {"1d"}}.Encode()
	}
	r.set("append=on")
	r.leads(b.post(page, add("pec", "imap.ext.test")), page+"?done=pull-added")
	for language, want := range map[string][2]string{
		"it": {"Un altro account ha già il nome «pec»", "senza barre"}, "en": {"Another account has the name “pec” already", "without slashes"},
	} {
		r.set("language=" + language)
		w := b.post(page, add("pec", "imap.other.test"))
		r.holds(w, http.StatusUnprocessableEntity, want[0])
		if strings.Contains(w.Body.String(), want[1]) {
			t.Errorf("%s: a taken name is told to be none: %s", language, mainOf(w))
		}
		r.holds(b.post(page, add("a/b", "imap.other.test")), http.StatusUnprocessableEntity, want[1])
	}
	r.leads(b.post(page, add("pec", "imap.ext.test")), page+"?done=pull-replaced")
}
