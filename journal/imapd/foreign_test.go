package imapd

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

const (
	bruno = "bruno@alpha.test"
	carla = "carla@alpha.test"
	// secret stands in every field and body of the messages of anna and carla, with their names.
	secret = "segreto-di-"
	month  = "INBOX/2026-11"
)

// foreign is a rig with real logins and a clock for them: anna has five messages, carla two and bruno one. All have the same password.
// Nobody tells its server of changes.
type foreign struct {
	*rig
	file  string
	clock atomic.Pointer[time.Time]
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{rig: newUntold(t, nil), file: filepath.Join(t.TempDir(), "passwd")}
	f.at(time.Now())
	lines := ""
	for _, login := range []string{anna, bruno, carla} {
		lines += login + ":{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a\n"
	}
	check(t, os.WriteFile(f.file, []byte(lines), 0o600))
	check(t, f.auth.Close())
	f.auth = auth.New(auth.Options{
		Source: auth.Source{Kind: auth.SourceFile, Address: f.file}, Policy: f.policy, Settings: f.settings, Now: func() time.Time { return *f.clock.Load() },
	})
	f.archive = archive.New(archive.Options{Journal: f.journal, Policy: f.policy, Auth: f.auth})
	f.server.config.Logins = f.auth
	f.enable(bruno)
	f.enable(carla)
	for mailbox, n := range map[string]int{anna: 5, bruno: 1, carla: 2} {
		name, _, _ := strings.Cut(mailbox, "@")
		for range n {
			for _, d := range []journal.Direction{journal.Received, journal.Sent} {
				f.add(mailbox, d, strings.ReplaceAll("From: X@X.test\r\nTo: X@X.test\r\nSubject: X\r\nMessage-ID: <X@X.test>\r\n\r\nX\r\n", "X", secret+name))
			}
		}
	}
	return f
}

func (f *foreign) at(now time.Time) { f.clock.Store(&now) }

// login returns the command by which somebody signs in with a new app password, which costs less time than the password.
func (f *foreign) login(name string) string {
	f.t.Helper()
	login := name[strings.LastIndex(name, "*")+1:]
	list, err := f.archive.AppPasswords(f.t.Context(), address(f.t, login))
	check(f.t, err)
	made, err := f.archive.AddAppPassword(f.t.Context(), operator, address(f.t, login), fmt.Sprint("program ", len(list)))
	check(f.t, err)
	return `LOGIN "` + name + `" ` + made.Password
}

// program is a connection that has been greeted.
type program struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
	n  int
}

func (f *foreign) program() *program {
	f.t.Helper()
	nc, err := net.Dial("tcp", f.addr)
	check(f.t, err)
	f.t.Cleanup(func() { nc.Close() })
	p := &program{t: f.t.(*testing.T), nc: nc, in: bufio.NewReader(nc)}
	p.nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := p.in.ReadString('\n'); err != nil {
		f.t.Fatal(err)
	}
	return p
}

// say sends a command and returns all that comes, up to its tagged reply or the end of the connection. Status is OK, NO, BAD or "" at the end.
// What stands behind "{}" is sent once the server asks for it.
func (p *program) say(command string) (status, came string) {
	p.t.Helper()
	p.n++
	tag := fmt.Sprintf("x%d", p.n)
	line, more, waits := strings.Cut(command, "{}")
	if _, err := p.nc.Write([]byte(tag + " " + line + "\r\n")); err != nil {
		return "", ""
	}
	for {
		line, err := p.in.ReadString('\n')
		came += line
		if err != nil {
			return "", came
		}
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			status, _, _ = strings.Cut(rest, " ")
			return status, came
		}
		if strings.HasPrefix(line, "+") && waits {
			waits = false
			if _, err := p.nc.Write([]byte(more + "\r\n")); err != nil {
				return "", came
			}
		}
	}
}

func (p *program) must(command string) string {
	p.t.Helper()
	status, came := p.say(command)
	if status != "OK" {
		p.t.Fatalf("%s: %s", command, came)
	}
	return came
}

// commands returns one or more forms of every command of RFC 9051 and of the extensions that the server or its engine knows. NAME stands for the name
// of a folder and SET for numbers of messages. Those that begin with a blank show and change nothing of any archive, whoever sends them.
func commands() []string {
	const message = "Subject: mine\\r\\n\\r\\nmine"
	return []string{
		" CAPABILITY", " NOOP", " LOGOUT", " ID NIL", " CHECK", " ENABLE UTF8=ACCEPT", " STARTTLS", " NAMESPACE", " UNSUBSCRIBE NAME", " LOGIN anna@alpha.test wrong",
		" AUTHENTICATE PLAIN AGFubmFAYWxwaGEudGVzdAB3cm9uZw==", " UNAUTHENTICATE", " CLOSE", " UNSELECT", " XSECRETS NAME",
		"SELECT NAME", "EXAMINE NAME", "STATUS NAME (MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE)", "SUBSCRIBE NAME",
		`LIST "" NAME`, `LIST NAME *`, `LIST NAME ""`, `LSUB "" NAME`, `LIST (SUBSCRIBED) "" (NAME "*NAME*") RETURN (CHILDREN STATUS (MESSAGES SIZE))`, `LIST "" *`,
		"CREATE NAME", "DELETE NAME", "RENAME NAME mine", "RENAME " + month + " NAME", fmt.Sprintf("APPEND NAME {%d}{}%s", len(message), message),
		"MYRIGHTS NAME", "GETACL NAME", "SETACL NAME bruno@alpha.test lrs", "DELETEACL NAME anna@alpha.test", "LISTRIGHTS NAME anna@alpha.test",
		"GETQUOTAROOT NAME", "GETQUOTA NAME", "SETQUOTA NAME (STORAGE 1)",
		"COPY 1 NAME", "MOVE 1 NAME", "UID COPY 1 NAME", "UID MOVE 1 NAME",
		"FETCH SET (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])", "FETCH SET BODY[HEADER.FIELDS (SUBJECT)]<0.10>",
		"UID FETCH SET (UID RFC822)", "UID FETCH SET (BODY[1.MIME] BODY[TEXT])", "SEARCH SET", "SEARCH TEXT segreto", "UID SEARCH UID SET OR ALL SUBJECT segreto",
		"UID SEARCH RETURN (SAVE) ALL", "UID FETCH $ (BODY.PEEK[])", `STORE SET +FLAGS (\Deleted)`, `UID STORE SET FLAGS.SILENT (\Seen)`, "EXPUNGE", "UID EXPUNGE SET",
		"COPY SET " + month, "MOVE SET Cestino", "UID COPY SET " + month, "UID MOVE SET Cestino", "IDLE{}DONE",
	}
}

// foreignNames are ways to name what is not one's own, as other servers understand them and as nobody does.
func foreignNames() []string {
	return []string{
		"anna@alpha.test", "anna", "anna/INBOX", "anna@alpha.test/" + month, "user/anna", "user.anna.INBOX", `"Other Users/anna/INBOX"`, `"Altri utenti/anna@alpha.test"`,
		"#shared/anna", "#user/anna@alpha.test", "~anna/INBOX", "../anna@alpha.test/INBOX", "INBOX/../../anna@alpha.test/INBOX", "/", `"INBOX/2026-11/../../anna"`,
		`"Posta inviata/anna"`, `"` + month + `\\anna"`, "INBOX/2026-11@anna", `"anna@alpha.test*bruno@alpha.test"`, "i&AAA-anna", "%61nna", `"e anna@alpha.test"`,
	}
}

var theirs = regexp.MustCompile(`(?i)` + secret + `(anna|carla)`)

// stand returns all that a mailbox holds.
func (f *foreign) stand(mailbox string) string {
	f.t.Helper()
	var text strings.Builder
	for e, err := range f.journal.List(f.t.Context(), mailbox) {
		check(f.t, err)
		fmt.Fprintf(&text, "%s %d %s\n", e.FolderName(), e.UID, e.SHA256)
	}
	return text.String()
}

// TestForeignNames says every command with every name of somebody else's folder, and with the numbers of messages that only somebody else has. Nothing
// of that comes, and nothing there changes. Whoever does it is an owner, or a delegate of another mailbox.
func TestForeignNames(t *testing.T) {
	f := newForeign(t)
	f.set(anna, policy.KeyWrite, "on")
	f.set(anna, policy.KeyAppend, "on")
	f.delegate(carla, bruno)
	before := f.stand(anna)
	for _, login := range []string{bruno, carla + "*" + bruno} {
		foreign := regexp.MustCompile(`(?i)` + secret + `anna`)
		if login == bruno {
			foreign = theirs
		}
		signIn := f.login(login)
		for _, command := range commands() {
			var p *program
			for _, name := range foreignNames() {
				if !strings.Contains(command, "NAME") && name != foreignNames()[0] {
					continue
				}
				if p == nil {
					p = f.program()
					p.must(signIn)
				}
				p.must("SELECT " + month)
				line := strings.NewReplacer("NAME", name, "SET", "3:*,1000").Replace(strings.TrimPrefix(command, " "))
				status, came := p.say(line)
				if foreign.MatchString(came) {
					t.Errorf("%s: %s shows\n%s", login, line, came)
				}
				if strings.Contains(command, "NAME") && command[0] != ' ' && !strings.HasPrefix(command, "L") && !strings.HasPrefix(command, "GETQUOTA NAME") && status == "OK" {
					t.Errorf("%s: %s is\n%s", login, line, came)
				}
				if status == "" {
					p = nil // the server has ended the connection
				}
			}
		}
	}
	if after := f.stand(anna); after != before {
		t.Errorf("anna's archive was\n%s\nand is\n%s", before, after)
	}
}

// TestDelegateWrites has a delegate try to change an archive whose owner may: nothing changes, each command is refused, and the connection stays.
func TestDelegateWrites(t *testing.T) {
	f := newForeign(t)
	f.set(anna, policy.KeyWrite, "on")
	f.set(anna, policy.KeyAppend, "on")
	f.delegate(anna, bruno)
	before := f.stand(anna)
	p := f.program()
	p.must(f.login(anna + "*" + bruno))
	if came := p.must("SELECT " + month); !strings.Contains(came, "[READ-ONLY]") || !strings.Contains(came, "[PERMANENTFLAGS ()]") {
		t.Errorf("selected with\n%s", came)
	}
	if came := p.must("MYRIGHTS " + month); !strings.Contains(came, " lr\r\n") && !strings.HasSuffix(strings.TrimSpace(strings.Split(came, "\n")[0]), " lr") {
		t.Errorf("rights:\n%s", came)
	}
	for _, line := range []string{
		`STORE 1 +FLAGS (\Deleted)`, "UID MOVE 1 Cestino", `UID MOVE 1 "Posta inviata/2026-11"`, `COPY 1 "Archiviati a mano"`, "COPY 1 INBOX",
		"APPEND INBOX {3+}\r\nx\r\n",
	} {
		if status, came := p.say(line); status != "NO" {
			t.Errorf("%s: %s\n%s", line, status, came)
		}
	}
	p.must("EXPUNGE")
	p.must("CLOSE")
	if after := f.stand(anna); after != before {
		t.Errorf("the archive was\n%s\nand is\n%s", before, after)
	}
}

// delegate lets somebody read a mailbox for a week.
func (f *foreign) delegate(mailbox, person string) {
	f.t.Helper()
	who := policy.Actor{Role: policy.RoleOwner, Name: mailbox}
	_, err := f.archive.AddDelegate(f.t.Context(), who, address(f.t, mailbox), address(f.t, person), f.clock.Load().AddDate(0, 0, 7))
	check(f.t, err)
}

// way is one in which somebody who is in loses his right.
type way struct {
	login string
	end   func(f *foreign)
}

func ends() map[string]way {
	return map[string]way{
		"delegate, too late": {anna + "*" + bruno, func(f *foreign) { f.at(time.Now().AddDate(0, 0, 8)) }},
		"delegate, revoked": {anna + "*" + bruno, func(f *foreign) {
			_, err := f.archive.RevokeDelegate(f.t.Context(), operator, address(f.t, anna), address(f.t, bruno))
			check(f.t, err)
		}},
		"delegate, of a mailbox handed over": {anna + "*" + bruno, func(f *foreign) {
			_, err := f.archive.HandOver(f.t.Context(), operator, address(f.t, anna), anna)
			check(f.t, err)
		}},
		"app password, revoked": {anna, func(f *foreign) {
			_, err := f.archive.RevokeAppPassword(f.t.Context(), operator, address(f.t, anna), "program 0")
			check(f.t, err)
		}},
		"imap, off":       {anna, func(f *foreign) { f.set(anna, policy.KeyIMAP, "off") }},
		"protocols, none": {anna, func(f *foreign) { f.set(anna, policy.KeyProtocols, "none") }},
		"archive, to be erased": {anna, func(f *foreign) {
			_, err := f.archive.Disable(f.t.Context(), operator, address(f.t, anna), anna, false)
			check(f.t, err)
		}},
	}
}

// TestEndedRights ends the right of somebody who is in, and says each command on a connection of its own: it gives nothing any more, and changes nothing.
// Nobody tells the server.
func TestEndedRights(t *testing.T) {
	for name, way := range ends() {
		t.Run(name, func(t *testing.T) {
			f := newForeign(t)
			f.set(anna, policy.KeyWrite, "on")
			f.set(anna, policy.KeyAppend, "on")
			f.delegate(anna, bruno)
			signIn := f.login(way.login)
			programs := make([]*program, len(commands()))
			for i := range programs {
				programs[i] = f.program()
				programs[i].must(signIn)
				programs[i].must("SELECT " + month)
				if !theirs.MatchString(programs[i].must("FETCH 1 (BODY.PEEK[])")) {
					t.Fatal("there was no right")
				}
			}
			way.end(f)
			before := f.stand(anna)
			for i, command := range commands() {
				line := strings.NewReplacer("NAME", month, "SET", "1:*").Replace(strings.TrimPrefix(command, " "))
				status, came := programs[i].say(line)
				if theirs.MatchString(came) || command[0] != ' ' && status == "OK" && strings.Contains(strings.ReplaceAll(came, "* BYE ", ""), "* ") {
					t.Errorf("%s is\n%s", line, came)
				}
				if status, came := programs[i].say("FETCH 1 (BODY.PEEK[])"); status == "OK" || theirs.MatchString(came) {
					t.Errorf("after %s a message is there: %s", line, came)
				}
			}
			if after := f.stand(anna); after != before {
				t.Errorf("the archive was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// TestConnectionsEnd ends the right of somebody who only waits: the connection ends at once, with a sentence.
func TestConnectionsEnd(t *testing.T) {
	for name, way := range ends() {
		t.Run(name, func(t *testing.T) {
			f := newForeign(t)
			f.tell()
			f.delegate(anna, bruno)
			signIn := f.login(way.login)
			waiting, other := f.program(), f.program()
			waiting.must(signIn)
			other.must("LOGIN " + carla + " cera-lacca")
			way.end(f)
			if line, err := waiting.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* BYE [UNAVAILABLE] ") {
				t.Errorf("%q, %v", line, err)
			}
			other.must("SELECT " + month)
		})
	}
}

// TestCommandsEnd ends the right of somebody who goes on before anybody tells the server: his command is answered, and then he is told why.
func TestCommandsEnd(t *testing.T) {
	for name, way := range ends() {
		t.Run(name, func(t *testing.T) {
			f := newForeign(t)
			f.delegate(anna, bruno)
			signIn := f.login(way.login)
			commands := []string{"NOOP", "FETCH 1 (FLAGS)", "FETCH 1 (ENVELOPE)", "STATUS INBOX (MESSAGES)"}
			programs := make([]*program, len(commands))
			for i := range programs {
				programs[i] = f.program()
				programs[i].must(signIn)
				programs[i].must("SELECT " + month)
			}
			way.end(f)
			for i, command := range commands {
				status, came := programs[i].say(command)
				line, err := programs[i].in.ReadString('\n')
				if status == "" || err != nil || !strings.HasPrefix(line, "* BYE [UNAVAILABLE] ") {
					t.Errorf("%s is\n%s%s%v", command, came, line, err)
				}
			}
		})
	}
}

// TestSecondFactorEndsConnections turns the second factor on while a program is in by the password, and another by an app password.
func TestSecondFactorEndsConnections(t *testing.T) {
	f := newForeign(t)
	f.tell()
	made, err := f.archive.AddAppPassword(t.Context(), operator, address(t, anna), "phone")
	check(t, err)
	main, app := f.program(), f.program()
	main.must("LOGIN " + anna + " cera-lacca")
	app.must("LOGIN " + anna + " " + made.Password)
	check(t, f.policy.Reconfigure(policy.Config{Domains: []policy.Domain{{Name: "alpha.test", RequireSecondFactor: true}}}))
	f.server.SettingsChanged()
	line, err := main.in.ReadString('\n')
	if err != nil || !strings.Contains(line, "Con l'autenticazione a due fattori i programmi di posta non accettano la password della casella") {
		t.Errorf("%q, %v", line, err)
	}
	app.must("SELECT " + month)
	again := f.program()
	status, came := again.say("LOGIN " + anna + " cera-lacca")
	if status != "NO" || !strings.Contains(came, "NO [ALERT] Con l'autenticazione") || !strings.Contains(came, "they need an app password") {
		t.Errorf("signed in again: %s", came)
	}
}

// TestThrottledLogin guesses until the server will not look any more: it says how long to wait, in both languages, and not that it is unavailable.
func TestThrottledLogin(t *testing.T) {
	f := newForeign(t)
	for n := range 50 {
		p := f.program()
		_, came := p.say(fmt.Sprintf("LOGIN %s wrong%d", anna, n))
		p.nc.Close()
		if strings.Contains(came, "AUTHENTICATIONFAILED") {
			continue
		}
		if !strings.Contains(came, "NO [ALERT] Troppi tentativi falliti. Riprovare fra") || !strings.Contains(came, "/ Too many failures. Try again in") {
			t.Errorf("the server says %s", came)
		}
		return
	}
	t.Error("nobody is held up")
}
