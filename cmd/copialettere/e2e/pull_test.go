package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/export/pull"
)

// TestPull imports an account of each server: with a kill in the middle, with messages that others delete meanwhile, with a folder renamed, and with the
// account restored from an older copy. Nothing is lost, nothing comes twice, and nothing is invented. COPIALETTERE_PULL_MESSAGES has more messages.
func TestPull(t *testing.T) {
	messages := 300
	if n, err := strconv.Atoi(os.Getenv("COPIALETTERE_PULL_MESSAGES")); err == nil {
		messages = n
	}
	for _, server := range []struct {
		name  string
		start func(testing.TB, string) *rig.Source
	}{{"dovecot", rig.DovecotSource}, {"courier", rig.CourierSource}, {"cyrus", rig.CyrusSource}} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			folder := rig.Folder(t)
			p := &pulling{t: t, source: server.start(t, filepath.Join(folder, server.name)), want: make(map[string]string)}
			p.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(`
[received]
listen = ["tcp:127.0.0.1:%d"]
next_hop = "maildir:%s"
[[domain]]
name = "alpha.test"
`, rig.FreePort(t), filepath.Join(folder, "hook", "mail")))
			p.hook.Enable(t, anna)
			p.password = filepath.Join(folder, "password")
			if err := os.WriteFile(p.password, []byte(rig.Password+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			p.watch(func(string) {})
			p.front = p.between()
			p.killed(messages)
			p.expunged()
			p.renamed()
			p.restored()
			p.deleted()
			p.hook.Verify(t)
		})
	}
}

// pulling is one account that is imported, and what the archive must have of it.
type pulling struct {
	t        *testing.T
	source   *rig.Source
	hook     *rig.Daemon
	password string
	want     map[string]string // what must be archived, by SHA-256: where it comes from
	may      map[string]string // what may be archived besides
	number   int
	front    string // the address by which the server is reached: see between

	mu   sync.Mutex
	seen func(line string) // is called with what the client sends; guarded by mu
}

// watch sets what is called with each line that a client sends, before the server gets it.
func (p *pulling) watch(f func(line string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = f
}

// session signs in to the server.
func (p *pulling) session() *imapclient.Client {
	p.t.Helper()
	nc, err := net.Dial("tcp", p.source.Address)
	if err != nil {
		p.t.Fatal(err)
	}
	c := imapclient.New(nc, nil)
	p.t.Cleanup(func() { c.Close() })
	if err := c.Login(p.source.User, rig.Password).Wait(); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// fill appends messages to a folder.
func (p *pulling) fill(c *imapclient.Client, folder string, n, size int) {
	p.t.Helper()
	if folder != "INBOX" {
		folder = p.source.Prefix + folder
		c.Create(folder, nil).Wait() // it may be there
	}
	for range n {
		p.number++
		text := fmt.Sprintf("From: a@ext.test\r\nTo: %s\r\nSubject: number %d\r\nMessage-ID: <%d@pull.test>\r\n\r\n%s", anna, p.number, p.number,
			strings.Repeat("Egregi signori, in riferimento alla Vostra.\r\n", size/45+1))
		append := c.Append(folder, int64(len(text)), &imap.AppendOptions{Time: time.Date(2019, 5, 6, 7, 8, p.number%60, 0, time.UTC)})
		if _, err := io.WriteString(append, text); err != nil {
			p.t.Fatal(err)
		}
		append.Close()
		if _, err := append.Wait(); err != nil {
			p.t.Fatalf("append to %s: %v", folder, err)
		}
		p.want[sum(text)] = fmt.Sprintf("%s %d", folder, p.number)
	}
}

func sum(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

// pull imports the account, and returns the results and the exit status.
func (p *pulling) pull(more ...string) (list []pull.Result, status int) {
	p.t.Helper()
	out, problems, status := p.hook.Command(p.t, append([]string{"import", anna, "-json", "-from", "imap://" + p.source.User + "@" + p.front, "-password-file", p.password}, more...)...)
	for lines := json.NewDecoder(bytes.NewReader(out)); ; {
		var r pull.Result
		if err := lines.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			p.t.Fatalf("%v: %s", err, out)
		}
		list = append(list, r)
	}
	if status > 1 {
		p.t.Fatalf("status %d: %s", status, problems)
	}
	return list, status
}

// count returns how many results have a state.
func count(list []pull.Result, state string) (n int) {
	for _, r := range list {
		if r.State == state {
			n++
		}
	}
	return n
}

// check compares the archive with what it must have.
func (p *pulling) check(step string) {
	p.t.Helper()
	have := make(map[string]int)
	for _, e := range p.hook.List(p.t, anna) {
		have[e.SHA256]++
		_, wanted := p.want[e.SHA256]
		if _, may := p.may[e.SHA256]; !wanted && !may {
			p.t.Errorf("%s: %s %d is in no folder of the source: %s", step, e.Folder, e.UID, p.hook.Cat(p.t, e))
		}
	}
	for digest, place := range p.want {
		if have[digest] != 1 {
			p.t.Errorf("%s: %s is archived %d times", step, place, have[digest])
		}
	}
}

// killed kills the daemon in the middle of the first import.
func (p *pulling) killed(messages int) {
	c := p.session()
	p.fill(c, "INBOX", messages, 2000)
	p.fill(c, "Lavoro", 20, 100)
	p.fill(c, "Grandi", 2, 3<<20)
	p.fill(c, "Perch&AOk- & caff&AOg-", 0, 0) // go-imap encodes the name itself
	c.Logout().Wait()
	seen := 0
	p.watch(func(line string) {
		if strings.Contains(line, "BODY.PEEK") {
			if seen++; seen == 2 {
				p.hook.Kill()
			}
		}
	})
	p.hook.Command(p.t, "import", anna, "-from", "imap://"+p.source.User+"@"+p.front, "-password-file", p.password)
	p.hook.Start(p.t)
	first, _ := p.pull()
	if got := count(first, "imported") + count(first, "duplicate"); got == 0 || got > messages+22 {
		p.t.Errorf("after the kill %d came", got)
	}
	p.check("after a kill")
	again, status := p.pull()
	if status != 0 || len(again) != count(again, pull.StateFolder) {
		p.t.Errorf("a second run: status %d, %+v", status, again)
	}
}

// expunged has another session delete messages of a batch just before it is fetched.
func (p *pulling) expunged() {
	c := p.session()
	before := len(p.want)
	p.fill(c, "INBOX", 30, 500)
	if len(p.want) != before+30 {
		p.t.Fatal("messages alike")
	}
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		p.t.Fatal(err)
	}
	last := box.NumMessages
	texts, err := c.Fetch(imap.SeqSetNum(last-3, last), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
	if err != nil || len(texts) != 2 {
		p.t.Fatal(len(texts), err)
	}
	p.may = make(map[string]string)
	for _, one := range texts {
		digest := sum(string(one.BodySection[0].Bytes))
		p.may[digest] = p.want[digest]
		delete(p.want, digest)
	}
	done := false
	p.watch(func(line string) {
		if done || !strings.Contains(line, "BODY.PEEK") {
			return
		}
		done = true
		if err := c.Store(imap.SeqSetNum(last-3, last), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}, Silent: true}, nil).Close(); err != nil {
			p.t.Error(err)
		}
		if err := c.Expunge().Close(); err != nil {
			p.t.Error(err)
		}
	})
	list, status := p.pull()
	if !done || status != 0 {
		p.t.Errorf("status %d", status)
		for _, r := range list {
			if r.Failed() {
				p.t.Errorf("%+v", r)
			}
		}
	}
	p.check("deleted meanwhile")
}

// renamed renames a folder, which gives it new UIDs on some servers.
func (p *pulling) renamed() {
	c := p.session()
	if err := c.Rename(p.source.Prefix+"Lavoro", p.source.Prefix+"Affari", nil).Wait(); err != nil {
		p.t.Fatal(err)
	}
	list, status := p.pull()
	if n := count(list, "imported"); status != 0 || n != 0 || count(list, "duplicate") != 20 {
		p.t.Errorf("renamed: status %d, %d came, %d were there", status, n, count(list, "duplicate"))
	}
	p.check("renamed")
}

// restored puts the account back as it was, and lets UIDs be used again.
func (p *pulling) restored() {
	p.source.Save(p.t)
	c := p.session()
	p.fill(c, "INBOX", 3, 100)
	c.Logout().Wait()
	p.pull()
	p.check("before the restore")
	p.source.Restore(p.t)
	c = p.session()
	p.fill(c, "INBOX", 3, 100)
	list, status := p.pull()
	if n := count(list, "imported"); status != 0 || n != 3 {
		p.t.Errorf("restored: status %d, %d came", status, n)
	}
	p.check("restored")
}

// deleted deletes at the source what was imported, and nothing else, also where the daemon is killed meanwhile.
func (p *pulling) deleted() {
	c := p.session()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		p.t.Fatal(err)
	}
	// Another program has marked one, and one is not in the archive any more.
	if err := c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}, Silent: true}, nil).Close(); err != nil {
		p.t.Fatal(err)
	}
	p.hook.Must(p.t, "mailbox", "set", anna, "manual_delete=on")
	var lost rig.Entry
	for _, e := range p.hook.List(p.t, anna) {
		if e.Subject == "number 2" {
			lost = e
		}
	}
	p.hook.Must(p.t, "delete", anna, lost.Folder, fmt.Sprint(lost.UID))
	delete(p.want, lost.SHA256)
	list, status := p.pull("-folder", "INBOX", "-delete-after", "1d")
	if status != 0 || count(list, pull.StateDeleted)+count(list, pull.StateNotDeleted) != 0 {
		p.t.Errorf("too early: status %d, %+v", status, list)
	}
	for _, command := range []string{"+FLAGS.SILENT", "UID EXPUNGE"} {
		p.watch(func(line string) {
			if strings.Contains(line, command) {
				p.hook.Kill()
			}
		})
		p.hook.Command(p.t, "import", anna, "-from", "imap://"+p.source.User+"@"+p.front, "-password-file", p.password, "-delete-after", "0")
		p.hook.Start(p.t)
	}
	p.watch(func(string) {})
	list, status = p.pull("-delete-after", "0")
	if status != 1 || count(list, pull.StateNotDeleted) != 1 {
		p.t.Errorf("status %d, not deleted: %d of %d", status, count(list, pull.StateNotDeleted), len(list))
	}
	box, err := p.session().Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || box.NumMessages != 1 {
		p.t.Errorf("%d messages are left, %v", box.NumMessages, err)
	}
	p.check("deleted at the source")
}

// between forwards connections to the server, and shows p.seen each line that the client sends before the server gets it. It returns the address.
func (p *pulling) between() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.source.Address)
			if err != nil {
				client.Close()
				return
			}
			running.Go(func() {
				io.Copy(client, server)
				client.Close()
			})
			running.Go(func() {
				defer server.Close()
				for lines := bufio.NewReader(client); ; {
					text, err := lines.ReadString('\n')
					if err != nil {
						return
					}
					p.mu.Lock()
					p.seen(text)
					p.mu.Unlock()
					if _, err := io.WriteString(server, text); err != nil {
						return
					}
				}
			})
		}
	})
	p.t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}
