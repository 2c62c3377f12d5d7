package rig

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// PostfixConfig is what a test decides about its Postfix. Each map is the text of a map file.
type PostfixConfig struct {
	Dovecot *Dovecot // final delivery without the hook, and the authentication of submission
	HookTCP int      // port of the hook's SMTP listener; 0 for an MTA without the hook

	ReceivedAll bool   // virtual_transport for all mail, not transport_maps for the mailboxes of Transport
	Transport   string // the map copialettere_transport at the start
	Senders     string // the map copialettere_senders at the start

	VirtualMailboxes, VirtualAliases string // virtual_mailbox_maps, virtual_alias_maps
	LocalAliases                     string // aliases(5) of the domain local.test
	RecipientBcc, SenderBcc          string
	RecipientCanonical               string
	Forward                          map[string]string // content of the .forward file of a local user
}

// Postfix is a running instance of Postfix of its own. Mail for ext.test is accepted and thrown away.
type Postfix struct {
	SMTP       string // address of the port that stands for port 25
	Submission string // address of the submission port, with authentication
	Sieve      string // address of the reinjection port of Sieve redirects
	Sent       string // address of the reinjection port of sent mail
	Socket     string // path of the hook's unix socket
	Log        string // path of the mail log
	Config     string // the folder of main.cf and master.cf
	Maps       string // the folder of copialettere_transport and copialettere_senders, which the daemon's user owns

	queue    string
	settings PostfixConfig
	process  *Process
}

// RedirectTag is the header that the Sieve port of the rig's Postfix puts on top of a message.
const RedirectTag = "X-Copialettere-Redirect: ceralacca-e-spago"

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/postfix.log
maillog_file_prefixes = %[1]s
myhostname = mx.alpha.test
mydestination = local.test
mynetworks = 192.0.2.1
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
local_header_rewrite_clients =
default_database_type = hash
default_transport = discard:outside
relay_transport = discard:outside
virtual_mailbox_domains = alpha.test beta.test
virtual_mailbox_maps = texthash:$config_directory/mailboxes
virtual_alias_domains = gamma.test old.test
virtual_alias_maps = texthash:$config_directory/virtual
virtual_transport = lmtp:unix:%[2]s
alias_maps = texthash:$config_directory/aliases
alias_database =
forward_path = %[1]s/forward/$user
local_recipient_maps =
recipient_delimiter = +
recipient_canonical_maps = texthash:$config_directory/canonical
recipient_bcc_maps = texthash:$config_directory/recipient_bcc
sender_bcc_maps = texthash:$config_directory/sender_bcc
message_size_limit = 160000000
mailbox_size_limit = 0
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[3]s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
`

const postfixMaster = `%[1]s inet n - n - - smtpd
%[2]s inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_auth_only=no
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// StartPostfix writes the configuration, with the files of contrib/postfix if there is a hook, and starts Postfix.
func StartPostfix(t testing.TB, folder string, settings PostfixConfig) *Postfix {
	t.Helper()
	p := &Postfix{
		SMTP: loopback(FreePort(t)), Submission: loopback(FreePort(t)), Sieve: settings.Dovecot.SubmissionHost, Sent: loopback(FreePort(t)),
		Config: filepath.Join(folder, "etc"), Maps: filepath.Join(folder, "maps"), queue: filepath.Join(folder, "queue"), Log: filepath.Join(folder, "postfix.log"),
		Socket: filepath.Join(folder, "queue", "private", "copialettere"), settings: settings,
	}
	makeFolder(t, p.Config, "root", 0o755)
	makeFolder(t, p.queue, "root", 0o755)
	makeFolder(t, filepath.Join(folder, "data"), "postfix", 0o700)
	makeFolder(t, filepath.Join(folder, "forward"), "root", 0o755)
	for user, text := range settings.Forward {
		writeFile(t, filepath.Join(folder, "forward", user), text)
	}
	for name, text := range map[string]string{
		"mailboxes": settings.VirtualMailboxes, "virtual": settings.VirtualAliases, "aliases": settings.LocalAliases,
		"canonical": settings.RecipientCanonical, "recipient_bcc": settings.RecipientBcc, "sender_bcc": settings.SenderBcc,
	} {
		writeFile(t, filepath.Join(p.Config, name), text)
	}
	main := fmt.Sprintf(postfixMain, folder, settings.Dovecot.Direct, settings.Dovecot.Auth)
	master := fmt.Sprintf(postfixMaster, p.SMTP, p.Submission)
	if settings.HookTCP != 0 {
		main += p.hookMain(t)
		hook := Contrib(t, "postfix/master.cf", "127.0.0.1:10026", p.Sent, "127.0.0.1:10027", p.Sieve)
		// The line that contrib tells the operator to add; submission is the only entry with authentication.
		const line = "  -o smtpd_data_restrictions=$copialettere_submission_restrictions\n"
		if !strings.Contains(hook, "#"+line) {
			t.Fatalf("contrib/postfix/master.cf does not name the line %q", line)
		}
		master = strings.Replace(master, "  -o smtpd_sasl_auth_enable=yes\n", "  -o smtpd_sasl_auth_enable=yes\n"+line, 1) + hook
		writeFile(t, filepath.Join(p.Config, "copialettere_login.regexp"), Contrib(t, "postfix/copialettere_login.regexp"))
		makeFolder(t, p.Maps, "nobody", 0o700)
		p.postmap(t, "copialettere_transport", settings.Transport)
		p.postmap(t, "copialettere_senders", settings.Senders)
	}
	writeFile(t, filepath.Join(p.Config, "main.cf"), main)
	writeFile(t, filepath.Join(p.Config, "master.cf"), master)
	showLog(t, p.Log)
	p.Command(t, "postfix", "check") // makes the folders of the queue
	// As "postfix start-fg" does, but without its shell, which signals would hit.
	command := exec.Command("/usr/lib/postfix/sbin/master", "-c", p.Config, "-s")
	command.Env = append(os.Environ(), "MAIL_CONFIG="+p.Config)
	p.process = Start(t, command, p.Log)
	p.await(t)
	return p
}

// hookMain returns the lines of contrib/postfix/main.cf for this test.
func (p *Postfix) hookMain(t testing.TB) string {
	t.Helper()
	replacements := []string{
		"/var/lib/copialettere/postfix", p.Maps,
		"[127.0.0.1]:2525", fmt.Sprintf("[127.0.0.1]:%d", p.settings.HookTCP),
		"X-Copialettere-Redirect: change-this-word", RedirectTag,
	}
	if p.settings.ReceivedAll {
		replacements = append(replacements, "\n#virtual_transport", "\nvirtual_transport", "\ntransport_maps", "\n#transport_maps")
	}
	return Contrib(t, "postfix/main.cf", replacements...)
}

// postmap makes one of the maps in the folder of the daemon's user.
func (p *Postfix) postmap(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(p.Maps, name)
	writeFile(t, path, text)
	uid, gid := userID(t, "nobody")
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("postmap", "hash:"+path).CombinedOutput(); err != nil {
		t.Fatalf("postmap %s: %v\n%s", name, err, out)
	}
}

// await waits until Postfix greets.
func (p *Postfix) await(t testing.TB) {
	t.Helper()
	Wait(t, 20*time.Second, "Postfix to greet", func() bool {
		if ended, err := p.process.Ended(); ended {
			t.Fatalf("Postfix has ended: %v", err)
		}
		connection, err := net.DialTimeout("tcp", p.SMTP, time.Second)
		if err != nil {
			return false
		}
		defer connection.Close()
		connection.SetDeadline(time.Now().Add(2 * time.Second))
		greeting := make([]byte, 4)
		_, err = connection.Read(greeting)
		return err == nil && string(greeting) == "220 "
	})
}

// Command runs one of Postfix's commands on this instance and returns its output.
func (p *Postfix) Command(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	out, err := exec.Command(name, append([]string{"-c", p.Config}, arguments...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

// Queued counts the messages in the queue, the deferred ones apart.
func (p *Postfix) Queued() (active, deferred int) {
	count := func(name string) (n int) {
		filepath.WalkDir(filepath.Join(p.queue, name), func(_ string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				n++
			}
			return nil
		})
		return n
	}
	// In the order in which messages move, so a moving one is counted twice rather than not at all.
	active = count("maildrop") + count("incoming") + count("active")
	return active, count("deferred")
}

// Drain waits until no message is in the queue. A message leaves after those that it causes, so two empty looks suffice.
func (p *Postfix) Drain(t testing.TB) {
	t.Helper()
	empty := 0
	Wait(t, 60*time.Second, "Postfix's queue to be empty", func() bool {
		if active, deferred := p.Queued(); active+deferred > 0 {
			empty = 0
			return false
		}
		empty++
		return empty == 3
	})
}

// AwaitDeferred waits until exactly that many messages are deferred and nothing else is in the queue.
func (p *Postfix) AwaitDeferred(t testing.TB, want int) {
	t.Helper()
	Wait(t, 60*time.Second, fmt.Sprintf("%d messages to be deferred", want), func() bool {
		active, deferred := p.Queued()
		return active == 0 && deferred == want
	})
}

// Flush makes Postfix try all deferred messages now, and waits until the queue is empty.
func (p *Postfix) Flush(t testing.TB) {
	t.Helper()
	p.Command(t, "postqueue", "-f")
	p.Drain(t)
}

// SendMail hands a message to sendmail(1), as local programs do.
func (p *Postfix) SendMail(t testing.TB, from string, message []byte, to ...string) {
	t.Helper()
	command := exec.Command("sendmail", append([]string{"-C", p.Config, "-i", "-f", from, "--"}, to...)...)
	command.Stdin = strings.NewReader(strings.ReplaceAll(string(message), "\r\n", "\n"))
	command.Env = append(os.Environ(), "MAIL_CONFIG="+p.Config)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
}
