package nexthop

import (
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/metrics"
)

// maildirStore delivers into Maildirs, for demonstrations and small machines without a mailstore. On disk, below its folder:
//
//	DOMAIN/LOCAL/tmp/   messages being written; what a crash leaves here was never delivered
//	DOMAIN/LOCAL/new/   messages, named by the Maildir rule: TIME.MmicrosecondsPpidQnumber.HOST
//	DOMAIN/LOCAL/cur/   for the mail program
//
// DOMAIN and LOCAL are in lower case, a quoted local part without its quotes. The store accepts every address that makes two safe folder
// names, and creates its Maildir. A message is written once, into the first recipient's tmp, and linked into the new of every RCPT line, so
// the folder must be one file system with hard links. A message is durable before its 250: the file is synced, linked, and the folder synced.
type maildirStore struct {
	path    string
	options Options
	open    func(path string) (maildirFiles, error) // replaced by tests
	host    string                                  // in file names
	number  atomic.Uint64                           // of deliveries, in file names

	mu       sync.Mutex
	prepared map[string]bool // guarded by mu: Maildirs that this process has created or found, and synced
}

func newMaildirStore(path string, options Options) *maildirStore {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return &maildirStore{
		path: path, options: options, open: openMaildirFiles,
		host:     strings.NewReplacer("/", `\057`, ":", `\072`).Replace(host),
		prepared: make(map[string]bool),
	}
}

// connect returns a connection. It opens the folder, and creates it if it is missing.
func (m *maildirStore) connect(answerTime *metrics.Histogram) (Conn, error) {
	files, err := m.open(m.path)
	if err != nil {
		return nil, err
	}
	return &maildirConn{store: m, files: files, answerTime: answerTime}, nil
}

// prepare creates a Maildir, "DOMAIN/LOCAL", and makes it durable, once in the life of the process. It syncs one that exists too: the
// process that created it may have died before its sync.
func (m *maildirStore) prepare(files maildirFiles, mailbox string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prepared[mailbox] {
		return nil
	}
	for _, name := range []string{"tmp", "new", "cur"} {
		if err := files.mkdirAll(path.Join(mailbox, name)); err != nil {
			return err
		}
	}
	for _, dir := range []string{mailbox, path.Dir(mailbox), "."} {
		if err := files.syncDir(dir); err != nil {
			return err
		}
	}
	m.prepared[mailbox] = true
	return nil
}

// forget makes the next delivery prepare the Maildir again, because somebody may have removed it.
func (m *maildirStore) forget(mailbox string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.prepared, mailbox)
}

// fileName returns a name that no other delivery on this machine has.
func (m *maildirStore) fileName() string {
	now := time.Now()
	return fmt.Sprintf("%d.M%dP%dQ%d.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), m.number.Add(1), m.host)
}

// maildirOf returns the Maildir, DOMAIN/LOCAL, of an address as it stands in a RCPT line. ok is false if the address is malformed or could
// lead elsewhere. "postmaster" alone is that of this host (RFC 5321 section 4.5.1).
func maildirOf(address, host string) (mailbox string, ok bool) {
	local, domain := address, ""
	if !utf8.ValidString(address) {
		return "", false
	}
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		local, domain = address[:at], address[at+1:]
	} else if strings.EqualFold(address, "postmaster") {
		domain = host
	}
	if len(local) >= 2 && local[0] == '"' && local[len(local)-1] == '"' {
		local = unquote(local[1 : len(local)-1])
	} else if strings.ContainsAny(local, " \"(),:;<>[]\\") {
		return "", false
	}
	local, domain = strings.ToLower(local), strings.ToLower(domain)
	return domain + "/" + local, isFolderName(local) && isFolderName(domain)
}

// unquote removes the backslashes of a quoted string (RFC 5321 section 4.1.2).
func unquote(s string) string {
	plain := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		plain = append(plain, s[i])
	}
	return string(plain)
}

// isFolderName reports whether s is safe as the name of one folder: not hidden, without slashes, printable, and at most 255 bytes.
func isFolderName(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || !unicode.IsPrint(r) })
}
