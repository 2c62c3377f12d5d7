package pages

import (
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/httpd/body"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
)

const (
	inlineText  = 24 << 10 // bytes of plain text in the page of a message; the rest has a page of its own
	shownFiles  = 60       // files in the page of a message; the others are in the message as it is
	shownHeader = 16 << 10 // bytes of a header
	shownPeople = 30       // addresses of one field
	readHeader  = 256 << 10
	maxPrinted  = 4 << 20 // bytes of text, with the images in it, in the page for printing; and of HTML that is read for any page of a message
	// examineAll is how many bytes of the files of one message are examined when its page is shown. Names are always.
	examineAll = 16 << 20
)

func messageRoutes() []Route {
	const message = "GET /mailbox/{mailbox}/messages/{folder}/{uid}"
	return []Route{
		{Pattern: message, For: OfMailbox, Right: archive.RightRead, serve: (*visit).showMessage},
		{Pattern: message + "/print", For: OfMailbox, Right: archive.RightRead, slow: true, serve: (*visit).printMessage},
		{Pattern: message + "/body/{part}", For: OfMailbox, Right: archive.RightRead, slow: true, serve: (*visit).serveBody},
		{Pattern: message + "/parts/{part}", For: OfMailbox, Right: archive.RightRead, slow: true, serve: (*visit).servePart},
		{Pattern: message + "/raw", For: OfMailbox, Right: archive.RightRead, slow: true, serve: (*visit).serveRaw},
	}
}

// opened is a message that a page is about.
type opened struct {
	entry  *journal.Entry
	body   *journal.Body
	parts  []pec.Located
	record *pec.Record // nil for ordinary mail
}

// ref returns the message of the path.
func (v *visit) ref() (journal.Ref, error) {
	folder, month, err := journal.ParseFolder(v.PathValue("folder"))
	if err != nil {
		return journal.Ref{}, fmt.Errorf("%w: %w", errNoPage, err)
	}
	uid, err := strconv.ParseUint(v.PathValue("uid"), 10, 32)
	if err != nil || uid == 0 {
		return journal.Ref{}, errNoPage
	}
	return journal.Ref{Mailbox: v.mailbox.String(), Month: month, Folder: folder, UID: uint32(uid)}, nil
}

// reader reads the mailbox of the path.
func (v *visit) reader() *archive.Reader { return v.pages.options.Archive.WebReader(v.who, v.mailbox) }

// open opens the message of the path, without its parts.
func (v *visit) open() (*opened, error) {
	ref, err := v.ref()
	if err != nil {
		return nil, err
	}
	o := new(opened)
	if o.entry, o.body, err = v.reader().Message(v.Context(), ref); err != nil {
		return nil, err
	}
	if len(o.entry.Certification) > 0 {
		o.record = new(pec.Record)
		if err := o.record.UnmarshalBinary(o.entry.Certification); err != nil {
			return nil, fmt.Errorf("%s %s %d: %w: %w", ref.Mailbox, ref.FolderName(), ref.UID, journal.ErrDamaged, err)
		}
	}
	return o, nil
}

// openWhole opens the message of the path with all its parts.
func (v *visit) openWhole() (*opened, error) {
	o, err := v.open()
	if err != nil {
		return nil, err
	}
	for l, err := range pec.Parts(o.body, &o.entry.Parts) {
		if err != nil {
			return nil, err
		}
		o.parts = append(o.parts, l)
	}
	return o, nil
}

// numberOf returns the number of a part, by its index in the part table of the message; empty for none.
func (o *opened) numberOf(index int) string {
	if index < 0 || index >= len(o.entry.Parts.Parts) {
		return ""
	}
	return o.entry.Parts.Number(index)
}

// enclosed returns the number of the part that is the certified message itself, and the parts of that message. Both are empty if there is none, or it
// could not be opened.
func (o *opened) enclosed() (string, []pec.Located) {
	if o.record == nil {
		return "", nil
	}
	number := o.numberOf(o.record.Message.Postacert)
	inside := body.Inside(o.parts, number)
	if len(inside) == 0 {
		return "", nil
	}
	return number, inside
}

// messagePage is what the page of a message shows.
type messagePage struct {
	Path          string // of the message, without a slash at its end
	Folder        string // with its month
	List          string // path of the list that the reader comes from
	From          string // the same for links to this page
	UID           uint32
	Subject       string
	Class         pec.Class
	Received      bool // the direction
	Entry         *journal.Entry
	Notes         []note // what the reader must know first
	First, Second *letter
	Certificate   *certificate // of certified mail
	Practices     []practiceLink
	Access        archive.Access
	Held          bool
	Preserved     *archive.PreservedIn // nil where it is in no package
	Files         []fileLink           // to be downloaded as a whole
	Images        bool                 // images from other servers are shown
	Text          bool                 // plain text is shown where there is one
	HasBoth       bool                 // there is a choice between text and HTML
	Print         bool
}

// note is one thing to know about a message.
type note struct {
	Kind string // "warning", "error" or empty: a class of the style sheet
	Text string
}

// letter is one message as people read it: its header, its texts, its files.
type letter struct {
	Title    string // over it; empty for the first one
	From     []person
	Fields   []field // To and so on
	Subject  string
	Date     string
	Header   string
	Sections []section
	Files    []attachment
	More     int // files that are not listed
}

// person is an address with its name.
type person struct{ Name, Address string }

// field is a field of a header with addresses.
type field struct {
	Name   string
	People []person
	More   int // that are not listed
}

// section is one text of a letter.
type section struct {
	Path    string        // of its own page
	Text    template.HTML // plain text, or in print HTML made harmless
	HTML    bool
	Remote  int  // images on other servers; unread where nobody has looked
	Cut     bool // the text goes on
	Sandbox string
	Short   bool // HTML that needs no high frame, as far as can be told: nothing learns how high it is
}

// unread is what Remote is of HTML beyond what is read for a page.
const unread = -1

// shortHTML is how many bytes the HTML of a short text has, with its transfer encoding.
const shortHTML = 1500

// attachment is one file of a letter.
type attachment struct {
	Path, Name, Type string
	Size             int64
	Danger           body.Danger
	Partly           bool // examined in part
	Image            bool // it can be shown
}

// showMessage shows a message: of a certified one the message itself first.
func (v *visit) showMessage() error {
	page, err := v.messagePage(false)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "message.html", page)
}

// printPolicy is the policy of a page for printing. It holds the HTML of mail itself: an iframe would print what fits into it. So it is what the policy
// of a body is.
func printPolicy(images bool) string {
	return strings.Replace(body.ContentPolicy(images), "frame-ancestors 'self'", "frame-ancestors 'none'", 1)
}

// printMessage shows a message whole, in one page and without anything around it.
func (v *visit) printMessage() error {
	page, err := v.messagePage(true)
	if err != nil {
		return err
	}
	return v.renderAs(http.StatusOK, "message.html", "print", printPolicy(page.Images), page)
}

// messagePage prepares the page of the message of the path.
func (v *visit) messagePage(print bool) (*messagePage, error) {
	o, err := v.openWhole()
	if err != nil {
		return nil, err
	}
	e := o.entry
	page := &messagePage{
		Path: v.path("messages", e.FolderName(), strconv.FormatUint(uint64(e.UID), 10)), Folder: e.FolderName(), UID: e.UID, Entry: e, Print: print,
		Class: pec.Class(e.Class), Received: e.Direction == journal.Received, Images: v.FormValue("images") == "1", Text: v.FormValue("view") == "text",
	}
	page.List, page.From = v.listBefore(page.Folder)
	reader := v.reader()
	if page.Access, err = reader.Access(v.Context()); err != nil {
		return nil, err
	}
	if page.Held, err = reader.IsHeld(v.Context(), e.Ref); err != nil {
		return nil, err
	}
	if page.Preserved, err = v.pages.options.Archive.PreservedIn(v.Context(), v.mailbox, e, time.Now()); err != nil {
		return nil, err
	}
	w := &letterWriter{visit: v, page: page, text: inlineText, html: maxPrinted, examine: examineAll}
	if print {
		w.text = maxPrinted
	}
	number, inside := o.enclosed()
	envelope := page.Class == pec.PostaCertificata || page.Class == pec.Anomalia || o.record != nil && len(o.record.Message.Events()) == 0
	switch {
	case len(inside) == 0:
		page.First, err = w.letter(o.parts, "")
	case envelope:
		if page.First, err = w.letter(inside, number); err == nil {
			page.Second, err = w.letter(o.parts, "")
		}
		if err == nil {
			page.Second.Title = v.t("Busta del gestore", "Envelope of the provider")
		}
	default:
		if page.First, err = w.letter(o.parts, ""); err == nil {
			page.Second, err = w.letter(inside, number)
		}
		if err == nil {
			page.Second.Title = v.t("Il messaggio di cui parla la ricevuta", "The message that the receipt is about")
		}
	}
	if err != nil {
		return nil, err
	}
	page.Subject = page.First.Subject
	page.Files = v.wholeFiles(o, page.Path, number)
	page.Notes = v.messageNotes(o, page)
	if o.record != nil {
		page.Certificate = v.certificate(o)
	}
	page.Practices = v.practiceLinks(o)
	return page, nil
}

// messageNotes says what the reader must know before anything else.
func (v *visit) messageNotes(o *opened, page *messagePage) (list []note) {
	e := o.entry
	add := func(kind, italian, english string, args ...any) {
		list = append(list, note{kind, v.t(italian, english, args...)})
	}
	switch e.State {
	case journal.Deferred:
		add("warning", "In archivio, ma non ancora consegnato: il server di posta non l'ha ancora accettato, e si riprova.", "Archived, but not delivered yet: the mail server has not taken it yet, and it will be tried again.")
	case journal.Unknown:
		add("warning", "In archivio, ma non si sa se è stato consegnato: la risposta del server di posta manca.", "Archived, but whether it was delivered is not known: the answer of the mail server is missing.")
	case journal.Refused:
		add("error", "In archivio, ma mai consegnato: il server di posta l'ha rifiutato.", "Archived, but never delivered: the mail server refused it.")
	case journal.Superseded:
		add("warning", "Mai consegnato in questa forma: il server di posta lo ha preso in carico di nuovo, come altro messaggio.", "Never delivered in this form: the mail server took it in anew, as another message.")
	}
	if e.Imported != nil {
		add("", "Inserito nell'archivio il %s da %s: non è stato archiviato al momento della consegna.", "Put into the archive on %s by %s: it was not archived when it was delivered.",
			dayText(v.language, v.zone, e.Time), e.Imported.Who)
		if e.Imported.Source != "" {
			add("", "Letto da: %s.", "Read from: %s.", calm(e.Imported.Source))
		}
		if e.Imported.Quoting == archive.QuotingUndecidable {
			add("", "Un archivio mbox aggiunge «>» alle righe che iniziano con «From »: se qui è successo non si può sapere, e le righe restano come erano.",
				"An mbox puts “>” before lines that begin with “From ”: whether it did so here cannot be known, and the lines stay as they were.")
		}
	}
	if page.Held {
		add("", "Sotto blocco legale: non può essere eliminato.", "Under a legal hold: it cannot be deleted.")
	}
	if slices.Contains(e.Flags, journal.FlagOriginUnknown) {
		add("", "Il server di posta non ha detto a quale indirizzo era diretto in origine.", "The mail server did not say to which address it was first sent.")
	}
	if slices.Contains(e.Flags, journal.FlagSenderUnverified) {
		add("", "Non si sa con quale account è stato inviato.", "Which account it was sent with is not known.")
	}
	if o.record == nil {
		return list
	}
	m := &o.record.Message
	switch {
	case page.Class == pec.Anomalia:
		add("warning", "Non è posta certificata: un messaggio ordinario che il gestore ha messo in una busta di anomalia.", "This is not certified mail: it is ordinary mail that the provider put into an anomaly envelope.")
	case page.Class == pec.Ordinary && m.Class != pec.Ordinary:
		add("error", "Si presenta come posta certificata («%s»), ma nulla lo prova. Non considerarlo tale.", "It claims to be certified mail (“%s”), but nothing proves it. Do not take it for that.", m.Class.Label().In(v.language))
	case o.record.Signature.Result == pec.ResultInvalid:
		add("error", "La firma del gestore non è valida.", "The signature of the provider is not valid.")
	}
	if page.Class == pec.AvvenutaConsegna {
		add("", "La ricevuta prova la consegna nella casella del destinatario, non che qualcuno abbia letto il messaggio.", "The receipt proves delivery to the recipient's mailbox, not that anybody has read the message.")
	}
	return list
}

// letterWriter makes letters of messages, within the limits of one page.
type letterWriter struct {
	*visit
	page    *messagePage
	text    int   // bytes of text that may still be in the page
	html    int64 // bytes of HTML that may still be read for the page
	examine int64 // bytes of files that may still be examined
}

// letter returns a message of its parts. number is that of the part around it, empty for the message itself.
func (w *letterWriter) letter(parts []pec.Located, number string) (*letter, error) {
	header, err := io.ReadAll(io.LimitReader(parts[0].Header(), readHeader))
	if err != nil {
		return nil, err
	}
	decoded := func(name string) string { return part.Decode(part.Value(header, name)) }
	l := &letter{Subject: decoded("Subject"), Date: w.dateOf(part.Value(header, "Date")), Header: visible(header)}
	l.From, _ = people(part.Value(header, "From"))
	for _, one := range []struct{ field, name string }{
		{"Sender", w.t("Inviato da", "Sender")}, {"Reply-To", w.t("Rispondere a", "Reply to")}, {"To", w.t("A", "To")}, {"Cc", "Cc"}, {"Bcc", w.t("Ccn", "Bcc")},
	} {
		if list, more := people(part.Value(header, one.field)); len(list) > 0 && !(one.field != "To" && slices.Equal(list, l.From)) {
			l.Fields = append(l.Fields, field{one.name, list, more})
		}
	}
	if number == "" && w.page.Entry.Direction == journal.Sent {
		l.Fields = append(l.Fields, w.envelopeRecipients(l.Fields)...)
	}
	view := body.Choose(parts)
	for _, s := range view.Sections {
		one, err := w.section(s, view)
		if err != nil {
			return nil, err
		}
		l.Sections = append(l.Sections, one)
	}
	l.Files, l.More, err = w.attachments(view.Attached)
	return l, err
}

// envelopeRecipients returns the recipients of a sent message that its header does not name: those in Bcc.
func (w *letterWriter) envelopeRecipients(fields []field) []field {
	named := make(map[string]bool)
	for _, f := range fields {
		for _, p := range f.People {
			named[pec.NormalAddress(p.Address)] = true
		}
		if f.More > 0 {
			return nil
		}
	}
	f := field{Name: w.t("Destinatari non visibili", "Hidden recipients")}
	for _, r := range w.page.Entry.Recipients {
		if address := pec.NormalAddress(r); !named[address] {
			f.People = append(f.People, person{Address: address})
		}
	}
	if len(f.People) == 0 {
		return nil
	}
	if f.More = max(0, len(f.People)-shownPeople); f.More > 0 {
		f.People = f.People[:shownPeople]
	}
	return []field{f}
}

// section returns one text of a message. HTML has a page of its own, which the page of the message has in a frame; in print it is in the page.
func (w *letterWriter) section(s body.Section, view *body.View) (section, error) {
	w.page.HasBoth = w.page.HasBoth || s.Plain != nil && s.HTML != nil
	options := body.Options{Images: w.page.Images}
	if s.HTML != nil && (!w.page.Text || s.Plain == nil) {
		one := section{Path: w.bodyPath(s.HTML), HTML: true, Sandbox: body.Sandbox, Short: s.HTML.Part.End-s.HTML.Part.Body <= shortHTML}
		var out strings.Builder
		var target io.Writer = io.Discard
		if w.html <= 0 || w.page.Print && w.text <= 0 {
			one.Remote, one.Cut = unread, w.page.Print
			return one, nil
		}
		w.html -= min(s.HTML.Part.End-s.HTML.Part.Body, body.MaxHTML)
		if w.page.Print {
			options.Related, options.Room = view.Related, int64(w.text)
			target = &out
		}
		found, err := w.pages.sanitizer.Write(target, s.HTML, options)
		if err != nil {
			return section{}, err
		}
		w.text -= out.Len()
		one.Text, one.Remote, one.Cut = template.HTML(out.String()), found.Remote, found.Cut
		return one, nil
	}
	one := section{Path: w.bodyPath(s.Plain)}
	var out strings.Builder
	cut, err := body.WriteText(&out, s.Plain, max(w.text, 0))
	w.text -= out.Len()
	one.Text, one.Cut = template.HTML(out.String()), cut
	return one, err
}

func (w *letterWriter) bodyPath(l *pec.Located) string {
	path := w.page.Path + "/body/" + l.Number
	if w.page.Images {
		path += "?images=1"
	}
	return path
}

// people returns the addresses of a field, and how many more there are than are shown.
func people(value string) (list []person, more int) {
	for _, a := range part.Addresses(value) {
		if a.Mailbox() == "" && a.Name == "" {
			continue
		}
		if len(list) == shownPeople {
			more++
			continue
		}
		list = append(list, person{part.Decode(a.Name), part.Decode(a.Mailbox())})
	}
	return list, more
}

// dateOf returns the Date of a message for people. One that cannot be read stays as it is.
func (v *visit) dateOf(value string) string {
	for _, layout := range []string{time.RFC1123Z, "2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 -0700", time.RFC1123} {
		if text, _, _ := strings.Cut(value, " ("); text != "" {
			if t, err := time.Parse(layout, strings.Join(strings.Fields(text), " ")); err == nil {
				return timeText(v.language, v.zone, t)
			}
		}
	}
	return part.Decode(value)
}

// visible returns the beginning of a header as it is, for people.
func visible(header []byte) string {
	text := strings.ReplaceAll(string(header[:min(len(header), shownHeader)]), "\r\n", "\n")
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	if len(header) > shownHeader {
		text += "…"
	}
	return strings.TrimSpace(text)
}

// practiceLink leads to the practice of a message.
type practiceLink struct{ Path, Identifier string }

// practiceLinks returns the practices that a message belongs to.
func (v *visit) practiceLinks(o *opened) (list []practiceLink) {
	e := o.entry
	if e.Direction == journal.Sent {
		if e.SentTo != "certified" {
			return nil
		}
		path := v.path("practices", strconv.FormatUint(uint64(e.UID), 10)) + "?folder=" + url.QueryEscape(e.FolderName())
		return []practiceLink{{path, ""}}
	}
	if o.record == nil {
		return nil
	}
	for _, id := range o.record.Message.Practices() {
		list = append(list, practiceLink{v.path("practices", "0") + "?identifier=" + url.QueryEscape(id), id})
	}
	return list
}

// classIcon returns the name of the symbol of a class.
func classIcon(c pec.Class) string {
	switch c {
	case pec.PostaCertificata, pec.REM:
		return "envelope"
	case pec.Accettazione, pec.PresaInCarico:
		return "acceptance"
	case pec.AvvenutaConsegna:
		return "delivery"
	case pec.ErroreConsegna, pec.NonAccettazione, pec.PreavvisoErroreConsegna, pec.RilevazioneVirus:
		return "failure"
	case pec.Anomalia:
		return "anomaly"
	}
	return "ordinary"
}

// Label returns what the class is called.
func (p *messagePage) Label() policy.Label { return p.Class.Label() }

// Icon returns the symbol of the class.
func (p *messagePage) Icon() string { return classIcon(p.Class) }
