package rig

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Account is one user of the rig's Dovecot.
type Account struct {
	Address string
	Quota   int64  // bytes; 0 for none
	Sieve   string // the Sieve script, or ""
	Fields  string // more fields of the userdb, as "userdb_namespace/archivio/disabled=no"
}

// Dovecot is a running instance of Dovecot of its own: LMTP with Sieve and quota, authentication, and Maildir.
type Dovecot struct {
	LMTP           string // path of the LMTP socket of contrib/dovecot, for the hook only
	Direct         string // path of a second LMTP socket, for everybody: the way without the hook
	DirectTCP      string // address of LMTP on TCP, for smtp-source
	Auth           string // path of the socket for authentication at submission
	SubmissionHost string // address that Sieve redirects are sent to
	Log            string // path of the log

	folder  string
	process *Process
}

// Password is the password of every account.
const Password = "cera-lacca"

const dovecotConfig = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:%[1]s/mail/%%d/%%n
mail_save_crlf = yes
mail_plugins = quota
first_valid_uid = 1
default_process_limit = 200
default_client_limit = 1000
!include_try auth.conf
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%u %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
  override_fields = uid=nobody gid=nogroup home=%[1]s/home/%%d/%%n
}
plugin {
  quota = maildir:User quota
  sieve = file:%[1]s/sieve/%%u.sieve
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
}
service lmtp {
  process_limit = 200
  unix_listener direct {
    mode = 0666
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[2]d
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
!include contrib.conf
!include_try quota.conf
!include_try imap.conf
!include_try imapc.conf
`

const dovecotIMAP = `protocols = lmtp imap
service imap-login {
  inet_listener imap {
    address = 127.0.0.1
    port = %d
  }
  inet_listener imaps {
    port = 0
  }
}
`

// StartDovecot writes the configuration, which includes the file of contrib/dovecot, and starts Dovecot.
func StartDovecot(t testing.TB, folder string, accounts []Account) *Dovecot {
	t.Helper()
	port := FreePort(t)
	d := &Dovecot{
		LMTP: filepath.Join(folder, "run", "lmtp"), Direct: filepath.Join(folder, "run", "direct"), DirectTCP: loopback(port),
		Auth: filepath.Join(folder, "run", "auth-client"), SubmissionHost: loopback(FreePort(t)),
		Log: filepath.Join(folder, "dovecot.log"), folder: folder,
	}
	for _, name := range []string{"", "run", "state"} {
		makeFolder(t, filepath.Join(folder, name), "root", 0o755)
	}
	for _, name := range []string{"mail", "home", "sieve"} {
		makeFolder(t, filepath.Join(folder, name), "nobody", 0o755)
	}
	var users strings.Builder
	for _, account := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::", account.Address, Password)
		if account.Quota > 0 {
			fmt.Fprintf(&users, "userdb_quota_rule=*:bytes=%d ", account.Quota)
		}
		users.WriteString(account.Fields)
		users.WriteByte('\n')
		// Sieve needs the home even if nothing is ever stored there.
		local, domain, _ := strings.Cut(account.Address, "@")
		makeFolder(t, filepath.Join(folder, "home", domain), "nobody", 0o755)
		makeFolder(t, filepath.Join(folder, "home", domain, local), "nobody", 0o755)
		if account.Sieve != "" {
			writeFile(t, filepath.Join(folder, "sieve", account.Address+".sieve"), account.Sieve)
		}
	}
	writeFile(t, filepath.Join(folder, "users"), users.String())
	writeFile(t, filepath.Join(folder, "contrib.conf"), Contrib(t, "dovecot/90-copialettere.conf",
		"user = copialettere", "user = nobody", "submission_host = 127.0.0.1:10027", "submission_host = "+d.SubmissionHost))
	writeFile(t, filepath.Join(folder, "dovecot.conf"), fmt.Sprintf(dovecotConfig, folder, port))
	showLog(t, d.Log)
	d.Start(t)
	t.Cleanup(func() { d.process.Stop() })
	return d
}

// Start starts Dovecot again after Stop. It runs until the test that made it ends.
func (d *Dovecot) Start(t testing.TB) {
	t.Helper()
	d.process = launch(t, exec.Command("dovecot", "-F", "-c", filepath.Join(d.folder, "dovecot.conf")), d.Log)
	Wait(t, 20*time.Second, "Dovecot to listen", func() bool {
		for _, path := range []string{d.LMTP, d.Direct, d.Auth} {
			connection, err := net.Dial("unix", path)
			if err != nil {
				return false
			}
			connection.Close()
		}
		return true
	})
}

// WarnQuota restarts Dovecot with the file of contrib that has it call a daemon when mailboxes fill up.
func (d *Dovecot) WarnQuota(t testing.TB, hook *Daemon) {
	t.Helper()
	d.Stop()
	writeFile(t, filepath.Join(d.folder, "quota.conf"), Contrib(t, "dovecot/91-copialettere-quota.conf",
		"/usr/local/bin/copialettere quota-warning", hook.binary+" quota-warning -config "+hook.Config, "user = copialettere", "user = nobody",
		"user = vmail", "user = nobody"))
	d.Start(t)
}

// ServeIMAP starts Dovecot again with IMAP, and returns its address. The INBOX of an account has the messages, in their order, as they are.
func (d *Dovecot) ServeIMAP(t testing.TB, account string, messages []string) string {
	t.Helper()
	local, domain, _ := strings.Cut(account, "@")
	inbox := filepath.Join(d.folder, "mail", domain, local)
	for _, name := range []string{filepath.Dir(inbox), inbox, filepath.Join(inbox, "new"), filepath.Join(inbox, "tmp"), filepath.Join(inbox, "cur")} {
		makeFolder(t, name, "nobody", 0o755)
	}
	for i, text := range messages {
		writeFile(t, filepath.Join(inbox, "cur", fmt.Sprintf("%d.M%dP1.rig:2,S", 1_700_000_000+i, i)), text)
	}
	port := FreePort(t)
	writeFile(t, filepath.Join(d.folder, "imap.conf"), fmt.Sprintf(dovecotIMAP, port))
	d.Stop()
	d.Start(t)
	return loopback(port)
}

// ShowArchives writes the files of contrib by which archives are folders of the live mailboxes. It takes effect with the next Start. The archive listens
// on a port of this machine, and the file has the password by which Dovecot signs in there.
func (d *Dovecot) ShowArchives(t testing.TB, port int, keyFile string) {
	t.Helper()
	rights := filepath.Join(d.folder, "copialettere.acl")
	writeFile(t, rights, Contrib(t, "dovecot/copialettere.acl"))
	text := Contrib(t, "dovecot/92-copialettere-imapc.conf", "imapc_port = 143", fmt.Sprintf("imapc_port = %d", port), "/etc/copialettere/imapc.key", keyFile,
		"/etc/dovecot/copialettere.acl", rights)
	writeFile(t, filepath.Join(d.folder, "imapc.conf"), "namespace inbox {\n  inbox = yes\n  separator = /\n}\n"+text)
}

// Stop stops Dovecot.
func (d *Dovecot) Stop() { d.process.Stop() }

// Copies returns the messages with the mark in the inbox of a mailbox, as Dovecot stored them.
func (d *Dovecot) Copies(t testing.TB, mailbox string, mark string) [][]byte {
	t.Helper()
	local, domain, _ := strings.Cut(mailbox, "@")
	var found [][]byte
	for _, state := range []string{"new", "cur"} {
		files, _ := filepath.Glob(filepath.Join(d.folder, "mail", domain, local, state, "*"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(mark)) {
				found = append(found, text)
			}
		}
	}
	return found
}
