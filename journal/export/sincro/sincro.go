// Package sincro writes the index of a package that is handed to a service for legal preservation: PIndex of SInCRO (UNI 11386:2020, version 2.0). The
// index names the files of the package with their digests, and who answers for it. It is not signed: whoever hands the package over signs it.
//
// The elements and their order are those of the standard's schema. All attributes are qualified, as it wants them.
package sincro

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
)

// Namespace is that of version 2.0.
const Namespace = "http://www.uni.com/U3011/sincro-v2/"

// Agent is who answers for a package: the index names it as submitter, as holder (soggetto produttore), and as the one who signs.
type Agent struct {
	ID       string `json:"id"`       // such as "VATIT-01234567890" or "TINIT-RSSMRA80A01H501U" (ETSI EN 319 412-1)
	Name     string `json:"name"`     // of the company or the person
	Document string `json:"document"` // by which it is entitled, such as "Contratto di conservazione 12/2026"
}

var (
	agentID = regexp.MustCompile(`^(PAS|IDC|PNO|TIN|VAT|NTR|[A-Za-z0-9]{2}:)[A-Z]{2}-[a-zA-Z0-9]+$`)
	// ofPerson finds the tax code of a person: that of a company has digits only.
	ofPerson = regexp.MustCompile(`^(PAS|IDC|PNO|TIN[A-Z]{2}-[A-Z])`)
)

// ParseAgent reads an agent as "ID,NAME,DOCUMENT"; a value with a comma stands in double quotes.
func ParseAgent(text string) (*Agent, error) {
	const want = `want ID,NAME,DOCUMENT, such as VATIT-01234567890,Alpha S.r.l.,Contratto di conservazione 12/2026`
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	switch {
	case err != nil || len(fields) != 3 || strings.TrimSpace(fields[1]) == "" || strings.TrimSpace(fields[2]) == "":
		return nil, fmt.Errorf("%.100q: %s", text, want)
	}
	a := &Agent{fields[0], strings.TrimSpace(fields[1]), strings.TrimSpace(fields[2])}
	if err := a.Check(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, want)
	}
	return a, nil
}

// What an agent may lack.
var (
	ErrID       = errors.New("no identifier")
	ErrName     = errors.New("the name is empty")
	ErrDocument = errors.New("the document is empty")
)

// Check returns an error that says what an agent lacks. It wraps ErrID, ErrName or ErrDocument.
func (a *Agent) Check() error {
	switch {
	case !agentID.MatchString(a.ID):
		return fmt.Errorf("%.100q is %w, such as VATIT-01234567890", a.ID, ErrID)
	case strings.TrimSpace(a.Name) == "":
		return ErrName
	case strings.TrimSpace(a.Document) == "":
		return fmt.Errorf("%w, such as Contratto di conservazione 12/2026", ErrDocument)
	}
	return nil
}

// natural reports whether the agent is a person and no company.
func (a *Agent) natural() bool { return ofPerson.MatchString(a.ID) }

// File is one file of a package.
type File struct {
	Path   string // in the package, with slashes
	SHA256 string // hexadecimal
}

// Index is what an index says beside its files.
type Index struct {
	ID          string // of the index; the volume has it too
	Label       string // of the package
	Description string
	Program     string // that made it
	Version     string // of that
	Agent       Agent
	Time        time.Time
}

// ErrNoFile says that a package has no file: the standard knows no index of nothing.
var ErrNoFile = errors.New("an index names one file at least")

// writer writes elements, and remembers the first error.
type writer struct {
	enc *xml.Encoder
	err error
}

func name(local string) xml.Name { return xml.Name{Local: "sincro:" + local} }

// start begins an element with attributes in pairs.
func (w *writer) start(local string, attributes ...string) {
	e := xml.StartElement{Name: name(local)}
	for i := 0; i+1 < len(attributes); i += 2 {
		e.Attr = append(e.Attr, xml.Attr{Name: name(attributes[i]), Value: attributes[i+1]})
	}
	w.token(e)
}

func (w *writer) end(local string) { w.token(xml.EndElement{Name: name(local)}) }

// text writes an element that holds a text.
func (w *writer) text(local, text string, attributes ...string) {
	w.start(local, attributes...)
	w.token(xml.CharData(text))
	w.end(local)
}

func (w *writer) token(t xml.Token) {
	if w.err == nil {
		w.err = w.enc.EncodeToken(t)
	}
}

// Write writes PIndex.xml as its files come. Nothing is held of them.
func Write(to io.Writer, x Index, files iter.Seq2[File, error]) error {
	if _, err := io.WriteString(to, xml.Header); err != nil {
		return err
	}
	w := &writer{enc: xml.NewEncoder(to)}
	w.enc.Indent("", " ")
	w.token(xml.StartElement{Name: name("PIndex"), Attr: []xml.Attr{
		{Name: xml.Name{Local: "xmlns:sincro"}, Value: Namespace}, {Name: name("language"), Value: "it"}, {Name: name("sincroVersion"), Value: "2.0"},
		{Name: name("uri"), Value: Namespace + "PIndex.xsd"},
	}})
	w.start("SelfDescription")
	w.text("ID", x.ID, "scheme", "local")
	w.start("CreatingApplication")
	w.text("Name", x.Program)
	w.text("Version", x.Version)
	w.text("Producer", x.Program)
	w.end("CreatingApplication")
	w.end("SelfDescription")
	w.start("PVolume")
	w.text("ID", x.ID, "scheme", "local")
	w.text("Label", x.Label)
	w.text("Description", x.Description)
	w.end("PVolume")
	w.start("FileGroup")
	w.text("ID", x.ID+"-1", "scheme", "local")
	n := 0
	for f, err := range files {
		if err != nil {
			return err
		}
		n++
		w.file(n, f)
	}
	w.end("FileGroup")
	if w.err == nil && n == 0 {
		return ErrNoFile
	}
	w.process(x)
	w.end("PIndex")
	if w.err != nil {
		return w.err
	}
	if err := w.enc.Close(); err != nil {
		return err
	}
	_, err := io.WriteString(to, "\n")
	return err
}

// file writes one file.
func (w *writer) file(n int, f File) {
	extension := strings.TrimPrefix(path.Ext(f.Path), ".")
	format := map[string]string{"eml": "message/rfc822", "mbox": "application/mbox", "csv": "text/csv", "json": "application/json", "txt": "text/plain"}[extension]
	attributes := []string{"encoding", "binary", "extension", extension, "format", format}
	if format == "" { // a message in a Maildir
		attributes = []string{"encoding", "binary", "format", "message/rfc822"}
	}
	w.start("File", attributes...)
	w.text("ID", fmt.Sprint(n), "scheme", "local")
	w.text("Path", (&url.URL{Path: f.Path}).String())
	w.text("Hash", f.SHA256, "canonicalXML", "false", "hashFunction", "SHA-256")
	w.end("File")
}

// process writes who answers for the package, and when it was made.
func (w *writer) process(x Index) {
	w.start("Process")
	for _, role := range [][]string{{"Submitter"}, {"Holder", "holderRole", "soggetto produttore"}, {"AuthorizedSigner", "signerRole", "soggetto produttore"}} {
		kind := "legal person"
		if x.Agent.natural() {
			kind = "natural person"
		}
		w.start(role[0], append([]string{"agentType", kind}, role[1:]...)...)
		w.text("AgentID", x.Agent.ID)
		w.start("AgentName")
		w.text("FormalName", x.Agent.Name)
		w.end("AgentName")
		w.text("RelevantDocument", x.Agent.Document)
		w.end(role[0])
	}
	w.start("TimeReference")
	w.text("TimeInfo", x.Time.UTC().Format(time.RFC3339), "attachedTimeStamp", "false")
	w.end("TimeReference")
	w.end("Process")
}
