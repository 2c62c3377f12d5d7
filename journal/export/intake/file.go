package intake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/policy"
)

// headSize is how many bytes of a file say what it is.
const headSize = 64 << 10

// file finds out what a file is, and yields what it holds.
func (w *walk) file(s source) error {
	if r, ok := w.manifest.row(s.key, 0); ok && !w.manifest.knows(s.key) {
		p := Piece{Source: s.name, Size: s.size, Message: s.section(0, s.size)}
		w.own(&p, r)
		return w.piece(p)
	}
	if s.maildir && s.size > 0 { // whatever else it holds: the file of a Maildir is a message
		if name := compression(s.head(8)); name != "" {
			return w.left(Refused, s.name, say("compresso dal server di posta (%s): prendere la posta dal server via IMAP, o estrarre il file e importarlo", "compressed by the mail server (%s): fetch the mail from the server by IMAP, or unpack the file and import it"), name)
		}
		return w.piece(Piece{Folder: join(s.folder), Date: s.delivered(), Source: s.name, Size: s.size, Message: s.section(0, s.size)})
	}
	head := make([]byte, min(s.size, headSize))
	if n, err := s.r.ReadAt(head, 0); err != nil && err != io.EOF {
		return w.left(Refused, s.name, say("non si può leggere: %v", "it cannot be read: %v"), cause(err))
	} else {
		head = head[:n]
	}
	if why := noMail(s, head); why != none {
		return w.left(Skipped, s.name, why)
	}
	if why := foreign(head); why != none {
		return w.left(Refused, s.name, why)
	}
	if isZIP(s, head) {
		return w.zip(s)
	}
	if w.o.Limits.Entry > 0 && s.size > w.o.Limits.Entry {
		return w.left(Refused, s.name, say("è più grande di %d byte, il limite qui", "it is larger than %d bytes, which is the limit here"), w.o.Limits.Entry)
	}
	if strings.HasSuffix(strings.ToLower(s.base), ".partial.emlx") {
		return w.left(Refused, s.name, say("Apple Mail tiene gli allegati a parte: esportare il messaggio da Apple Mail", "Apple Mail keeps its attachments apart: export the message from Apple Mail"))
	}
	if start, end, date, deleted, ok := s.emlx(head); ok {
		if deleted {
			return w.left(Skipped, s.name, say("eliminato in Apple Mail", "Apple Mail has deleted it"))
		}
		return w.piece(Piece{Folder: join(s.folder), Date: date, Source: s.name, Size: end - start, Message: s.section(start, end)})
	}
	if emlxCount.Match(head) && strings.HasSuffix(strings.ToLower(s.base), ".emlx") {
		return w.left(Refused, s.name, say("un file di Apple Mail danneggiato: la prima riga non dice quanti byte ha il messaggio. Esportare il messaggio da Apple Mail", "a damaged file of Apple Mail: its first line does not say how many bytes the message has. Export the message from Apple Mail"))
	}
	start, junk := before(head)
	rest := head[start:]
	switch {
	case len(rest) == 0 && int64(start) == s.size:
		return w.left(Skipped, s.name, say("è vuoto", "it is empty"))
	case bytes.HasPrefix(rest, []byte(fromLine)) && !isFromField(rest):
		return w.mbox(s, int64(start))
	case !s.isMessage(rest):
		return w.left(Refused, s.name, say("non è posta: non inizia con l'intestazione di un messaggio, né con una riga From come un mbox", "no mail: it does not begin with the header of a message, nor with a From line as an mbox does"))
	}
	name := s.name
	if start > 0 {
		name = fmt.Sprintf("%s without %s before it", s.name, junk)
	}
	return w.piece(Piece{Folder: join(s.folder), Source: name, Size: s.size - int64(start), Message: s.section(int64(start), s.size)})
}

// head returns the first bytes of a file, fewer where it has no more or they cannot be read.
func (s source) head(n int64) []byte {
	head := make([]byte, min(n, s.size))
	got, _ := s.r.ReadAt(head, 0)
	return head[:got]
}

func (s source) section(start, end int64) *io.SectionReader {
	return io.NewSectionReader(s.r, start, end-start)
}

// before returns how many bytes come before what a file holds: a byte order mark, and blank lines.
func before(head []byte) (n int, what string) {
	var list []string
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		n = 3
		list = append(list, "a byte order mark")
	}
	if blank := len(head[n:]) - len(bytes.TrimLeft(head[n:], "\r\n")); blank > 0 {
		n += blank
		list = append(list, "blank lines")
	}
	return n, strings.Join(list, " and ")
}

// noMail says what a file is that mail programs and systems put beside mail; none for others.
func noMail(s source, head []byte) policy.Label {
	switch {
	case strings.HasPrefix(s.base, "._") && bytes.HasPrefix(head, []byte("\x00\x05\x16\x07")), s.base == ".DS_Store", s.base == "Thumbs.db", s.base == "desktop.ini":
		return say("annotazioni del sistema, non posta", "notes of the system, no mail")
	case isManifest(s.base) || slices.Contains([]string{"export.json", "gaps.csv", "SHA256SUMS", "INCOMPLETE.txt", "PIndex.xml"}, s.base) && !s.isMessage(head):
		return say("una tabella di un'esportazione, non posta", "a table of an export, no mail")
	case strings.HasPrefix(s.base, "dovecot"), strings.HasPrefix(s.base, "courier"), strings.HasSuffix(s.base, ".msf"),
		slices.Contains([]string{"subscriptions", "maildirfolder", "maildirsize", "popstate.dat", "filterlog.html", "msgFilterRules.dat", "table_of_contents"}, s.base):
		if !s.isMessage(head) && !bytes.HasPrefix(head, []byte(fromLine)) {
			return say("un indice o un'impostazione di un programma di posta, non posta", "an index or setting of a mail program, no mail")
		}
	}
	return none
}

// foreign says what a file is that mail comes in and that is not read here, and what to do; none for others.
func foreign(head []byte) policy.Label {
	if name := compression(head); name != "" {
		return say("compresso ("+name+"): estrarlo, e importare il file", "compressed ("+name+"): unpack it, and import the file")
	}
	for _, kind := range []struct {
		magic  string
		offset int
		why    policy.Label
	}{
		{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, say("un messaggio di Outlook (.msg), che non è il messaggio inviato: salvarlo come .eml, in Outlook sul web o con Thunderbird", "a message of Outlook (.msg), which is not the message that was sent: save it as .eml, in Outlook on the web or with Thunderbird")},
		{"!BDN", 0, say("un file di dati di Outlook (.pst o .ost): con Outlook, copiarne le cartelle in un account IMAP, o nell'archivio via IMAP", "a data file of Outlook (.pst or .ost): copy its folders to an IMAP account with Outlook, or into the archive by IMAP")},
		{"JMF6", 0, say("una casella di Outlook Express 4: importarla in Outlook Express, e salvare i messaggi come .eml", "a mailbox of Outlook Express 4: import it with Outlook Express, and save the messages as .eml")},
		{"JMF9", 0, say("una casella di Outlook Express 4: importarla in Outlook Express, e salvare i messaggi come .eml", "a mailbox of Outlook Express 4: import it with Outlook Express, and save the messages as .eml")},
		{"\xcf\xad\x12\xfe", 0, say("una casella di Outlook Express (.dbx): salvarne i messaggi come .eml", "a mailbox of Outlook Express (.dbx): save its messages as .eml")},
		{"7z\xbc\xaf\x27\x1c", 0, say("un archivio (7z): estrarlo, e importare la cartella", "an archive (7z): unpack it, and import the folder")},
		{"Rar!\x1a\x07", 0, say("un archivio (RAR): estrarlo, e importare la cartella", "an archive (RAR): unpack it, and import the folder")},
		{"ustar", 257, say("un archivio (tar): estrarlo, e importare la cartella", "an archive (tar): unpack it, and import the folder")},
		{"\xff\xfe", 0, say("testo in UTF-16, che nessun messaggio è: salvarlo come è arrivato, o come UTF-8", "text in UTF-16, which no mail is: save it as it came, or as UTF-8")},
		{"\xfe\xff", 0, say("testo in UTF-16, che nessun messaggio è: salvarlo come è arrivato, o come UTF-8", "text in UTF-16, which no mail is: save it as it came, or as UTF-8")},
		{"\x78\x9f\x3e\x22", 0, say("un allegato di Outlook (winmail.dat), non un messaggio: importare il messaggio di cui faceva parte", "an attachment of Outlook (winmail.dat), no message: import the message that it was part of")},
		{"SQLite format 3\x00", 0, say("una base di dati: esportare i messaggi con il programma che l'ha fatta", "a database: export the messages with the program that made it")},
	} {
		if len(head) >= kind.offset && bytes.HasPrefix(head[kind.offset:], []byte(kind.magic)) {
			return kind.why
		}
	}
	return none
}

// compression returns the name of the compression of a file, as Dovecot's mail_compress also has it in a Maildir; empty for none.
func compression(head []byte) string {
	for _, kind := range [...][2]string{{"\x1f\x8b\x08", "gzip"}, {"BZh", "bzip2"}, {"\xfd7zXZ\x00", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"\x04\x22\x4d\x18", "lz4"}} {
		if bytes.HasPrefix(head, []byte(kind[0])) {
			return kind[1]
		}
	}
	return ""
}

// isZIP reports whether a file is a ZIP: by its first bytes or, where something stands before them, by its name.
func isZIP(s source, head []byte) bool {
	for _, magic := range []string{"PK\x03\x04", "PK\x05\x06", "PK\x07\x08"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return strings.HasSuffix(strings.ToLower(s.base), ".zip")
}

// mailFields are header fields of which a message has one at least.
var mailFields = regexp.MustCompile(`(?i)^(from|to|cc|bcc|date|subject|sender|reply-to|message-id|received|return-path|delivered-to|envelope-to|mime-version|content-[a-z-]+|resent-[a-z-]+|x-[a-z0-9-]+|dkim-signature|authentication-results|arc-[a-z-]+|in-reply-to|references|list-[a-z-]+|status|user-agent|importance)[ \t]*:`)

// isMessage reports whether text begins with the header of a message: fields, of which mail has one. What is named as a message needs no more than a field.
func (s source) isMessage(text []byte) bool {
	named := strings.HasSuffix(strings.ToLower(s.base), ".eml")
	for first := true; len(text) > 0; first = false {
		var line []byte
		line, text, _ = cutLine(text)
		switch {
		case !first && (line[0] == ' ' || line[0] == '\t'):
		case first && bytes.HasPrefix(line, []byte(">"+fromLine)): // some exporters put it there
		case len(trimEnd(line)) == 0:
			return false
		case mailFields.Match(line):
			return true
		case isField(line):
			if named {
				return true
			}
		default:
			return false
		}
	}
	return false
}

// delivered returns when a message came to a Maildir, where the name of its file and the time of the file agree: the time alone may be that of a copy.
func (s source) delivered() time.Time {
	number, _, _ := strings.Cut(s.base, ".")
	seconds, err := strconv.ParseInt(number, 10, 64)
	if err != nil || s.modified.IsZero() {
		return time.Time{}
	}
	at := time.Unix(seconds, 0).UTC()
	if apart := s.modified.Sub(at).Abs(); apart > 2*time.Second { // a ZIP has even seconds
		return time.Time{}
	}
	return at
}

// mbox yields the messages of an mbox, which begins at start.
func (w *walk) mbox(s source, start int64) error {
	folder := join(mboxFolder(s))
	split := splitter{file: s.r, size: s.size}
	if w.manifest.knows(s.key) {
		split.known = func(offset int64) bool {
			_, ok := w.manifest.row(s.key, offset)
			return ok
		}
	}
	at := func(offset int64) string { return fmt.Sprintf("%s at %d", s.name, offset) }
	split.note = func(offset int64, why policy.Label, args ...any) error {
		return w.left(Noted, at(offset), why, args...)
	}
	split.part = func(p part) error {
		r, own := w.manifest.row(s.key, p.from)
		switch {
		case own && split.known != nil:
			piece := Piece{Source: at(p.from), Quoting: quotingUndone, Size: -1, Message: r.undo(s.section(p.start, p.end))}
			w.own(&piece, r)
			return w.piece(piece)
		case p.deleted:
			return w.left(Skipped, at(p.from), say("eliminato in Thunderbird; sparisce quando la cartella viene compattata", "Thunderbird has deleted it; it goes when the folder is compacted"))
		case p.end <= p.start:
			return w.left(Skipped, at(p.from), say("una riga From senza messaggio", "a From line without a message"))
		}
		return w.piece(Piece{Folder: folder, Date: p.date, Source: at(p.from), Quoting: quotingOf(p), Size: p.end - p.start, Message: s.section(p.start, p.end)})
	}
	if err := split.split(start); err != nil {
		if ours(err) || w.ctx.Err() != nil {
			return err
		}
		return w.left(Refused, at(split.offset), say("da qui in poi non si può leggere: %v", "it cannot be read from here on: %v"), cause(err))
	}
	return nil
}

// emlx returns where the message in a file of Apple Mail is, when it came, and whether it was deleted. The first line has the size of the message, and a
// property list follows it.
func (s source) emlx(head []byte) (start, end int64, date time.Time, deleted, ok bool) {
	line, _, whole := cutLine(head)
	count, err := strconv.ParseInt(strings.TrimSpace(string(line)), 10, 64)
	if !whole || err != nil || len(line) > 24 || count <= 0 {
		return 0, 0, date, false, false
	}
	start = int64(len(line))
	if end = start + count; end > s.size {
		return 0, 0, date, false, false
	}
	list, err := io.ReadAll(bufio.NewReader(io.NewSectionReader(s.r, end, 64<<10)))
	if err != nil || len(bytes.TrimSpace(list)) > 0 && !bytes.HasPrefix(bytes.TrimSpace(list), []byte("<?xml")) && !bytes.HasPrefix(bytes.TrimSpace(list), []byte("<!DOCTYPE")) {
		return 0, 0, date, false, false
	}
	if found := emlxDate.FindSubmatch(list); found != nil {
		if seconds, err := strconv.ParseFloat(string(found[1]), 64); err == nil && seconds > 0 && seconds < 1<<33 {
			date = time.Unix(int64(seconds), 0).UTC()
		}
	}
	if found := emlxFlags.FindSubmatch(list); found != nil {
		flags, err := strconv.ParseUint(string(found[1]), 10, 64)
		deleted = err == nil && flags&2 != 0
	}
	return start, end, date, deleted, true
}

var (
	emlxDate  = regexp.MustCompile(`<key>date-received</key>\s*<(?:integer|real)>([0-9.]{1,20})<`)
	emlxCount = regexp.MustCompile(`^[0-9]{1,20} *\r?\n`)
	emlxFlags = regexp.MustCompile(`<key>flags</key>\s*<integer>([0-9]{1,20})<`)
)

// unfinishedIn reports whether a path in a ZIP is in the tmp of a Maildir.
func unfinishedIn(maildirs map[string]bool, name string) bool {
	dir := path.Dir(name)
	return path.Base(dir) == "tmp" && maildirs[path.Dir(dir)]
}
