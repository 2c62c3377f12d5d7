package browser

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// testSignIn signs sara in with a wrong password, then the right one, and out again.
func testSignIn(t *testing.T, s *site) {
	x := s.newTab(t, look{})
	x.open("/")
	x.see("Entra nell'archivio", "Indirizzo della casella")
	x.fill("Indirizzo", sara)
	x.fill("Password", "sbagliata")
	x.press("Entra")
	x.see("Nome o password sbagliati")
	x.fill("Password", rig.Password)
	x.press("Entra")
	x.wait("sara's archive", `location.pathname === "/mailbox/sara@alpha.test/"`)
	if cookies, err := evaluate[string](x, "document.cookie"); err != nil || strings.Contains(cookies, "copialettere") {
		t.Errorf("a script reads the cookies %q, %v", cookies, err)
	}
	y := s.newTab(t, look{})
	y.open("/mailbox/" + sara + "/gaps")
	y.see("Entra nell'archivio")
	y.fill("Indirizzo", sara)
	y.fill("Password", rig.Password)
	y.press("Entra")
	y.see("Lacune dell'archivio")
	x.press("Accessi")
	x.press("Esci da tutti gli altri dispositivi")
	x.see("Tutte le altre sessioni sono chiuse")
	y.open("/mailbox/" + sara + "/gaps")
	y.see("Entra nell'archivio")
	x.press(sara)
	x.press("Esci")
	x.see("La sessione è chiusa")
	x.open("/")
	x.see("Entra nell'archivio")
}

// testLanguages shows the pages in the language that the browser asks for, and after the sign-in in that of the mailbox.
func testLanguages(t *testing.T, s *site) {
	for _, c := range []struct{ language, signIn, nothing string }{
		{"it-IT,it;q=0.9", "Entra nell'archivio", "Pagina non trovata"}, {"en-GB,en;q=0.9", "Sign in to the archive", "Page not found"},
		{"de,en;q=0.5", "Sign in to the archive", "Page not found"}, {"fr", "Entra nell'archivio", "Pagina non trovata"},
	} {
		x := s.newTab(t, look{language: c.language})
		x.open("/sign-in")
		x.see(c.signIn)
		x.open("/nothing/there")
		x.see(c.nothing)
	}
	// Mario and Mary turn a second factor on while this runs.
	for _, c := range []struct{ who, asks, language string }{{bruno, "en-GB,en;q=0.9", "it"}, {brian, "it", "en"}} {
		x := s.newTab(t, look{language: c.asks})
		x.signIn(c.who)
		if language, err := evaluate[string](x, "document.documentElement.lang"); err != nil || language != c.language {
			t.Errorf("the page of %s is in %q, %v", c.who, language, err)
		}
	}
}

// testSecondFactor has sofia turn a second factor on. From then on her password alone does not open the archive, and no code does so twice.
func testSecondFactor(t *testing.T, s *site) {
	x := s.newTab(t, look{})
	x.signIn(sofia)
	x.open("/account/second-factor")
	x.press("Comincia")
	secret, now := x.textOf("code.secret"), time.Now()
	x.fill("Codice", totp(t, secret, now))
	x.press("Attiva")
	x.see("Codici di recupero")
	recovery := x.textOf(".secret code")
	x.press(sofia)
	x.press("Esci")

	begin := func(x *tab) {
		x.open("/sign-in")
		x.fill("Indirizzo", sofia)
		x.fill("Password", rig.Password)
		x.press("Entra")
		x.see("codice a sei cifre")
	}
	begin(x)
	x.fill("Codice", totp(t, secret, now)) // used already
	x.press("Entra")
	x.see("Il codice è sbagliato o è già stato usato")
	// The server takes a code of the step after its own, for clocks that are wrong by so much.
	x.fill("Codice", totp(t, secret, now.Add(30*time.Second)))
	x.press("Entra")
	x.wait("sofia's archive", `location.pathname === "/mailbox/sofia@alpha.test/"`)

	y := s.newTab(t, look{})
	begin(y)
	y.fill("Codice", recovery)
	y.press("Entra")
	y.wait("sofia's archive", `location.pathname === "/mailbox/sofia@alpha.test/"`)
	z := s.newTab(t, look{})
	begin(z)
	z.fill("Codice", recovery)
	z.press("Entra")
	z.see("Il codice è sbagliato o è già stato usato")
	x.open("/mailbox/" + sofia + "/access")
	x.see("con codice", "con codice di recupero")
}

// testHandOver opens the archive of hanna by a link that a program of the provider has asked for. It opens her archive alone, and works once.
func testHandOver(t *testing.T, s *site) {
	token := strings.TrimSpace(string(s.hook.Must(t, "token", "add", "webmail", "-domain", "alpha.test", "-scope", "write")))
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.origin+"/api/v1/mailboxes/"+hanna+"/sign-in", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+token[strings.LastIndexByte(token, '\n')+1:])
	answer, err := certificate.client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var link struct {
		URL string `json:"url"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&link); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %v", answer.StatusCode, err)
	}
	path := strings.TrimPrefix(link.URL, s.origin)
	x := s.newTab(t, look{})
	x.open(path)
	x.see("Archivio di " + hanna)
	x.press("Messaggi")
	x.press("Ricetta della torta")
	x.see("A presto")
	x.press("Accessi")
	x.see("programma del gestore «webmail»")
	x.open("/mailbox/" + mario + "/messages")
	x.see("Accesso non consentito")
	y := s.newTab(t, look{})
	y.open(path)
	if y.see("è scaduto o è già stato usato"); y.sees("Archivio di " + hanna) {
		t.Error("the link works twice")
	}
}

// testAppPassword makes a password for a mail program, which opens the archive there until it is revoked, and never these pages.
func testAppPassword(t *testing.T, s *site) {
	x := s.newTab(t, look{})
	x.signIn(aldo)
	x.open("/mailbox/" + aldo + "/settings")
	x.choose("Accesso all'archivio tramite IMAP")
	x.see("Salvato")
	x.open("/mailbox/" + aldo + "/app-passwords")
	x.see("Non ce n'è nessuna")
	x.fill("Per quale programma", "Tablet")
	x.press("Crea")
	x.see("Si vede solo adesso")
	password := x.textOf("code.secret")
	if in, answer := s.login(t, aldo, password); !in {
		t.Errorf("the app password is answered %s", answer)
	}
	x.open("/mailbox/" + aldo + "/access")
	x.see("password per programmi «Tablet»")
	x.open("/mailbox/" + aldo + "/app-passwords")
	if x.see("Tablet"); x.sees(password) {
		t.Error("the app password is shown again")
	}
	y := s.newTab(t, look{})
	y.open("/sign-in")
	y.fill("Indirizzo", aldo)
	y.fill("Password", password)
	y.press("Entra")
	y.see("Nome o password sbagliati")
	x.press("Revoca Tablet")
	x.see("non vale più", "Non ce n'è nessuna")
	if in, answer := s.login(t, aldo, password); in {
		t.Errorf("the revoked app password is answered %s", answer)
	}
}

// login signs in to the archive as a mail program does, and returns whether that succeeds, with the answer.
func (s *site) login(t *testing.T, who, password string) (in bool, answer string) {
	t.Helper()
	connection, err := tls.Dial("tcp", s.imap, certificate.client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(connection, "a LOGIN %q %q\r\n", who, password)
	for lines := bufio.NewScanner(connection); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "a "); ok {
			return strings.HasPrefix(rest, "OK "), rest
		}
	}
	t.Fatal("the IMAP server does not answer")
	return false, ""
}

// totp returns the code of RFC 6238 at a time, as an authenticator app shows it.
func totp(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimSpace(secret))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}
