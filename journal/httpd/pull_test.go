package httpd

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"copialettere/journal/export/pull"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/source"
)

// mailAccount serves an account by IMAP, with messages in its INBOX, and returns the members of a request that imports it.
func mailAccount(t *testing.T, messages ...string) string {
	t.Helper()
	user := imapmemserver.NewUser("anna", "s3cret")
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	for _, text := range messages {
		if _, err := user.Append("INBOX", literal{strings.NewReader(text)}, &imap.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	memory := imapmemserver.New()
	memory.AddUser(user)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return memory.NewSession(), nil, nil
		},
		Caps: imap.CapSet{imap.CapIMAP4rev1: {}}, InsecureAuth: true,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return url.Values{"from": {"imap://anna@" + listener.Addr().String()}, "password": {"s3cret"}}.Encode()
}

type literal struct{ *strings.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

// TestPull imports an account by the API: by hand, again, and by a profile.
func TestPull(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	account := mailAccount(t, "Subject: one\r\n\r\none\r\n", "Subject: two\r\n\r\ntwo\r\n")
	states := func(list []pull.Result) (all string) {
		for _, one := range list {
			all += one.State + " "
		}
		return strings.TrimSpace(all)
	}
	for _, step := range []struct{ name, request, want string }{
		{"a dry run", "POST /mailboxes/{mailbox}/pull?dry_run=true&" + anna + "&" + account, "folder new new"},
		{"the first time", "POST /mailboxes/{mailbox}/pull?" + anna + "&" + account, "folder imported imported"},
		{"again", "POST /mailboxes/{mailbox}/pull?" + anna + "&" + account, "folder"},
	} {
		if got := states(get[pull.Result](r, step.request)); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
	made := get[pull.Pull](r, "POST /mailboxes/{mailbox}/pulls?name=old&every=1d&"+anna+"&"+account)[0]
	if made.Name != "old" || made.Every != "1d" || made.Next == nil {
		t.Errorf("%+v", made)
	}
	if again := get[pull.Pull](r, "POST /mailboxes/{mailbox}/pulls?name=old&every=1d&"+anna+"&"+account)[0]; !again.Replaced {
		t.Errorf("added again: %+v", again)
	}
	for _, bad := range []string{"name=old&from=imaps://anna@elsewhere.test&password=x", "name=x&every=1m&" + account, "name=x&delete_after=x&" + account, "name=x&from=ftp://x&password=x", "name=a/b&" + account} {
		if status, lines := r.ask("POST /mailboxes/{mailbox}/pulls?" + bad + "&" + anna); status != 400 {
			t.Errorf("%s: %d %q", bad, status, lines)
		}
	}
	if got := states(get[pull.Result](r, "POST /mailboxes/{mailbox}/pulls/{name}/run?name=old&"+anna)); got != "folder" {
		t.Errorf("the profile: %q", got)
	}
	list := get[pull.Pull](r, "GET /mailboxes/{mailbox}/pulls?"+anna)
	if len(list) != 1 || list[0].Last == nil || list[0].Last.Error != "" {
		t.Errorf("%+v", list)
	}
	if status, lines := r.ask("POST /mailboxes/{mailbox}/pull?" + strings.Replace(account, "s3cret", "wrong", 1) + "&" + anna); status != 502 {
		t.Errorf("a wrong password: %d %q", status, lines)
	}
	r.ask("POST /mailboxes/{mailbox}/pulls?name=old&" + anna + "&" + strings.Replace(account, "s3cret", "wrong", 1))
	r.ask("POST /mailboxes/{mailbox}/pulls/{name}/run?name=old&" + anna)
	if list = get[pull.Pull](r, "GET /mailboxes/{mailbox}/pulls?"+anna); list[0].Last == nil || !strings.Contains(list[0].Last.Error, "127.0.0.1") {
		t.Errorf("an operator sees what happened: %+v", list[0].Last)
	}
	w := r.program("GET", "/api/v1/mailboxes/anna@alpha.test/pulls", "", "Authorization", "Bearer "+r.token("panel", auth.ScopeRead))
	if out := w.Body.String(); w.Code != 200 || !strings.Contains(out, `"error":"the server does not accept the user name or the password"`) {
		t.Errorf("a program sees no inner words: %d %s", w.Code, out)
	}
	log := get[archive.Change](r, "GET /mailboxes/{mailbox}/log?"+anna)
	if last := log[len(log)-1]; last.Key != archive.KeyPull || !strings.HasPrefix(last.After, "old, imap://anna@") {
		t.Errorf("the log ends with %+v", last)
	}
}

// TestPullSchedule has a Service run the profiles that are due, in the name of who made them. What an owner made reaches no server of this machine.
func TestPullSchedule(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=append=on")
	from, err := url.ParseQuery(mailAccount(t, "Subject: one\r\n\r\none\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s := pull.NewService(slog.New(slog.NewTextHandler(t.Output(), nil)), nil)
	s.Configure(r.backend.Archive, false)
	address := r.address("anna@alpha.test")
	for _, who := range []policy.Actor{{Role: policy.RoleOwner, Name: "anna@alpha.test"}, {Role: policy.RoleOperator, Name: "root"}} {
		n := pull.New{Name: string(who.Role), From: from.Get("from"), Password: from.Get("password"), Every: "1d"}
		if _, err := s.Add(ctx, who, address, n); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ctx)
	}()
	last := func(name string) *source.Run {
		list, err := s.List(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(p pull.Pull) bool { return p.Name == name })
		return list[i].Last
	}
	for deadline := time.Now().Add(30 * time.Second); (last("owner") == nil || last("operator") == nil) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	<-done
	if run := last("operator"); run == nil || run.Error != "" || run.Imported != 1 {
		t.Errorf("of the operator: %+v", run)
	}
	if run := last("owner"); run == nil || !strings.Contains(run.Error, pull.ErrUnreachable.Error()) {
		t.Errorf("of the owner: %+v", run)
	}
}
