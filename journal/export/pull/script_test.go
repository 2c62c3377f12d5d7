package pull

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv/level"
	"copialettere/policy/archive"
	"copialettere/policy/source"
)

// mail is a message of a scripted server.
type mail struct {
	uid  uint32
	text string
	date string // INTERNALDATE; a fixed one where empty
}

// script is a server that does what real ones do, and what they do wrong.
type script struct {
	t  *testing.T
	mu sync.Mutex // held by the test, but for the time of a run; then by the server while it answers. Guards all that follows

	capability  string
	uidValidity uint32
	uidNext     uint32
	mails       []mail
	folders     []string // lines of LIST; INBOX where nil

	// fetch answers the FETCH of bodies in place of the server, and returns false where the server is to do it. It may break the connection by its error.
	fetch func(w io.Writer, uids []uint32) (done bool, err error)
	noop  string // what comes before the answer to NOOP
	once  bool   // that comes only once
	// refuse has the answers to commands that are not carried out, by their beginning.
	refuse  map[string]string
	cut     bool   // these answers are no answers, but what is said before the connection ends
	refused func() // is called after each
	silent  int    // connections that are closed at once

	tls      *tls.Config // the line is encrypted from the first byte on
	starttls *tls.Config // STARTTLS works
	injected string      // what comes in clear behind the answer to STARTTLS
	// encrypted is what the server can once the line is encrypted by STARTTLS; capability where empty.
	encrypted string
	preauth   bool // somebody is in from the start

	commands []string // all that came
}

const oldDate = " 6-May-2019 07:08:09 +0000"

// listen serves until the test ends, and returns the account.
func (s *script) listen() Account {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer nc.Close()
				s.serve(nc)
			})
		}
	})
	s.mu.Lock()
	s.t.Cleanup(func() {
		listener.Close()
		s.mu.Unlock()
		serving.Wait()
	})
	a, err := ParseAccount("imap://anna@" + listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *script) serve(nc net.Conn) {
	s.mu.Lock()
	if s.silent--; s.silent >= 0 {
		s.mu.Unlock()
		return
	}
	encrypt, greeting := s.tls, fmt.Sprintf("* OK [CAPABILITY %s] ready\r\n", s.capability)
	if s.preauth {
		greeting = "* PREAUTH ready\r\n"
	}
	s.mu.Unlock()
	if encrypt != nil {
		nc = tls.Server(nc, encrypt)
	}
	if _, err := io.WriteString(nc, greeting); err != nil {
		return
	}
	for lines := bufio.NewReader(nc); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		s.mu.Lock()
		s.commands = append(s.commands, command)
		if command == "STARTTLS" && s.starttls != nil {
			fmt.Fprintf(nc, "%s OK go on\r\n%s", tag, s.injected)
			s.capability = cmp.Or(s.encrypted, s.capability)
			nc = tls.Server(nc, s.starttls)
			lines = bufio.NewReader(nc)
		} else {
			err = s.answer(nc, tag, command)
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *script) answer(w io.Writer, tag, command string) error {
	for begin, text := range s.refuse {
		if !strings.HasPrefix(command, begin) {
			continue
		}
		if s.refused != nil {
			defer s.refused()
		}
		if s.cut {
			fmt.Fprintf(w, "%s\r\n", text)
			return errCut
		}
		_, err := fmt.Fprintf(w, "%s %s\r\n", tag, text)
		return err
	}
	verb, rest, _ := strings.Cut(command, " ")
	switch verb {
	case "CAPABILITY":
		fmt.Fprintf(w, "* CAPABILITY %s\r\n", s.capability)
	case "NAMESPACE":
		io.WriteString(w, "* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) ((\"\" \".\"))\r\n")
	case "LIST":
		list := s.folders
		if list == nil {
			list = []string{`() "/" INBOX`}
		}
		for _, one := range list {
			fmt.Fprintf(w, "* LIST %s\r\n", one)
		}
	case "STATUS":
		fmt.Fprintf(w, "* STATUS INBOX (UIDNEXT %d)\r\n", s.uidNext)
	case "EXAMINE", "SELECT":
		mode := "READ-ONLY"
		if verb == "SELECT" {
			mode = "READ-WRITE"
		}
		fmt.Fprintf(w, "* %d EXISTS\r\n* OK [UIDVALIDITY %d] ok\r\n* OK [PERMANENTFLAGS (\\Deleted \\Seen)] ok\r\n%s OK [%s] done\r\n", len(s.mails), s.uidValidity, tag, mode)
		return nil
	case "NOOP":
		io.WriteString(w, s.noop)
		if s.once {
			s.noop = ""
		}
	case "LOGOUT":
		fmt.Fprintf(w, "* BYE bye\r\n%s OK done\r\n", tag)
		return io.EOF
	case "UID":
		return s.uid(w, tag, rest)
	}
	_, err := fmt.Fprintf(w, "%s OK done\r\n", tag)
	return err
}

// uid answers UID FETCH, UID STORE and UID EXPUNGE.
func (s *script) uid(w io.Writer, tag, rest string) error {
	fields := strings.Fields(rest)
	uids := s.inSet(fields[1])
	if fields[0] == "EXPUNGE" {
		var left []mail
		for _, m := range s.mails {
			if !contains(uids, m.uid) {
				left = append(left, m)
			}
		}
		s.mails = left
	}
	if fields[0] == "FETCH" && strings.Contains(rest, "BODY.PEEK[]") && s.fetch != nil {
		if done, err := s.fetch(w, uids); err == errNo {
			_, err := fmt.Fprintf(w, "%s NO [UNAVAILABLE] later\r\n", tag)
			return err
		} else if err != nil {
			return err
		} else if done {
			_, err := fmt.Fprintf(w, "%s OK done\r\n", tag)
			return err
		}
	}
	for i, m := range s.mails {
		if fields[0] != "FETCH" || !contains(uids, m.uid) {
			continue
		}
		fmt.Fprintf(w, "* %d FETCH (UID %d", i+1, m.uid)
		if strings.Contains(rest, "RFC822.SIZE") {
			fmt.Fprintf(w, " RFC822.SIZE %d", len(m.text))
		}
		if strings.Contains(rest, "INTERNALDATE") {
			date := m.date
			if date == "" {
				date = oldDate
			}
			fmt.Fprintf(w, " INTERNALDATE %q", date)
		}
		if strings.Contains(rest, "BODY.PEEK[]") {
			fmt.Fprintf(w, " BODY[] {%d}\r\n%s", len(m.text), m.text)
		}
		io.WriteString(w, ")\r\n")
	}
	_, err := fmt.Fprintf(w, "%s OK done\r\n", tag)
	return err
}

func (s *script) inSet(set string) (uids []uint32) {
	for _, m := range s.mails {
		for span := range strings.SplitSeq(set, ",") {
			first, last, many := strings.Cut(span, ":")
			if !many {
				last = first
			}
			var from, to uint32
			fmt.Sscan(first, &from)
			if to = 1<<32 - 1; last != "*" {
				fmt.Sscan(last, &to)
			}
			if from <= m.uid && m.uid <= to {
				uids = append(uids, m.uid)
			}
		}
	}
	return uids
}

func contains(list []uint32, uid uint32) bool {
	for _, one := range list {
		if one == uid {
			return true
		}
	}
	return false
}

// sent returns the commands that begin so.
func (s *script) sent(begin string) (list []string) {
	for _, c := range s.commands {
		if strings.HasPrefix(c, begin) {
			list = append(list, c)
		}
	}
	return list
}

// shelf is a Keeper in memory that knows messages by their bytes.
type shelf struct {
	mu   sync.Mutex
	has  map[string]string // by SHA-256: the folder
	full int64             // bytes that have room; 0 for any
	err  error             // of Keep
	date time.Time         // of the last piece
}

// Keep implements Keeper.
func (s *shelf) Keep(_ context.Context, p archive.Piece) (archive.Kept, error) {
	text, err := io.ReadAll(p.Message)
	if err != nil {
		return archive.Kept{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return archive.Kept{}, s.err
	}
	if int64(len(text)) != p.Size {
		return archive.Kept{}, io.ErrUnexpectedEOF
	}
	s.date = p.Date
	digest := sha256.Sum256(text)
	kept := archive.Kept{State: archive.KeptImported, Folder: "Imported/" + p.Folder + "/2026-11", UID: 1, SHA256: hex.EncodeToString(digest[:])}
	switch _, there := s.has[kept.SHA256]; {
	case there:
		kept.State = archive.KeptDuplicate
	case s.full > 0 && int64(len(text)) > s.full:
		kept.State = archive.KeptFull
	default:
		s.has[kept.SHA256] = p.Folder
	}
	return kept, nil
}

// holds is Options.Holds of a shelf.
func (s *shelf) holds(_ context.Context, m source.Message, r io.Reader) (bool, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return false, err
	}
	digest := sha256.Sum256(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.has[hex.EncodeToString(digest[:])]
	return there && digest == m.SHA256, nil
}

// rig is a scripted server, and what is kept of it.
type rig struct {
	*script
	shelf   *shelf
	book    *source.Store
	account Account
	options Options
}

func newRig(t *testing.T, mails ...mail) *rig {
	t.Helper()
	engine, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{script: &script{t: t, capability: "IMAP4rev1 UIDPLUS", uidValidity: 7, uidNext: 100, mails: mails}, shelf: &shelf{has: make(map[string]string)}}
	r.book = source.New(settings, source.Sealer{Path: filepath.Join(t.TempDir(), "key")})
	r.account = r.listen()
	r.options = Options{MaxMessage: 50 << 20}
	return r
}

// run runs a pull, and returns what it told, as "STATE UID" each.
func (r *rig) run() (told string, err error) {
	r.t.Helper()
	r.script.mu.Unlock()
	defer r.script.mu.Lock()
	o := r.options
	o.Account, o.Password, o.Into, o.Holds, o.Book, o.Archive = r.account, "x", r.shelf, r.shelf.holds, r.book, "anna@alpha.test"
	var words []string
	o.Told = func(one Result) error {
		if one.State != StateFolder {
			words = append(words, fmt.Sprintf("%s %d", one.State, one.SourceUID))
		}
		return nil
	}
	_, err = Run(r.t.Context(), o)
	return strings.Join(words, ", "), err
}

// want runs a pull that must go through.
func (r *rig) want(step, want string) {
	r.t.Helper()
	told, err := r.run()
	// What is kept is told while the next batch is fetched.
	got, words := strings.Split(told, ", "), strings.Split(want, ", ")
	slices.Sort(got)
	slices.Sort(words)
	if err != nil || !slices.Equal(got, words) {
		r.t.Errorf("%s: %q, %v\nwant %q", step, told, err, want)
	}
}

// holdsOnly checks what is kept.
func (r *rig) holdsOnly(texts ...string) {
	r.t.Helper()
	if len(r.shelf.has) != len(texts) {
		r.t.Errorf("%d are kept, want %d", len(r.shelf.has), len(texts))
	}
	for _, text := range texts {
		digest := sha256.Sum256([]byte(text))
		if _, ok := r.shelf.has[hex.EncodeToString(digest[:])]; !ok {
			r.t.Errorf("%.20q is not kept", text)
		}
	}
}

func digestOf(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

func one(uid uint32) mail {
	return mail{uid: uid, text: fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", uid)}
}

var errCut = errors.New("cut")

// errNo has the server call itself busy.
var errNo = errors.New("no")
