package sincro

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"
)

// outline returns the elements of a document in order, each with its depth and its attributes, all in the namespace.
func outline(t *testing.T, b []byte) string {
	t.Helper()
	var out strings.Builder
	depth := 0
	for dec := xml.NewDecoder(bytes.NewReader(b)); ; {
		token, err := dec.Token()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			out.WriteString(strings.Repeat(".", depth) + e.Name.Local)
			depth++
			if e.Name.Space != Namespace {
				t.Errorf("%s is in the namespace %q", e.Name.Local, e.Name.Space)
			}
			for _, a := range e.Attr {
				if a.Name.Space == "xmlns" {
					continue
				}
				if a.Name.Space != Namespace {
					t.Errorf("the attribute %s of %s is in the namespace %q", a.Name.Local, e.Name.Local, a.Name.Space)
				}
				out.WriteString(" " + a.Name.Local + "=" + a.Value)
			}
			out.WriteString("\n")
		case xml.EndElement:
			depth--
		}
	}
}

func index() Index {
	return Index{ID: "x1", Label: "anna@alpha.test", Description: "<&>", Program: "copialettere", Version: "1", Agent: Agent{"VATIT-01234567890", "Alpha & C.", "Contratto 1"},
		Time: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)}
}

func of(list ...File) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, f := range list {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// TestWrite compares elements, their order and their attributes with what the schema of the standard asks for.
func TestWrite(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, index(), of(File{"INBOX/2026-11/a b.eml", "aa"}, File{"INBOX/2026-11/cur/1.U1:2,S", "bb"}, File{"manifest.csv", "cc"})); err != nil {
		t.Fatal(err)
	}
	const agent = "....AgentName\n.....FormalName\n....RelevantDocument\n"
	file := func(attributes string) string {
		return "..File " + attributes + "\n...ID scheme=local\n...Path\n...Hash canonicalXML=false hashFunction=SHA-256\n"
	}
	person := func(role string) string {
		return ".." + role + "\n...AgentID\n" + strings.ReplaceAll(agent, "....", "...")
	}
	want := "PIndex language=it sincroVersion=2.0 uri=" + Namespace + "PIndex.xsd\n.SelfDescription\n..ID scheme=local\n..CreatingApplication\n...Name\n...Version\n...Producer\n" +
		".PVolume\n..ID scheme=local\n..Label\n..Description\n.FileGroup\n..ID scheme=local\n" +
		file("encoding=binary extension=eml format=message/rfc822") + file("encoding=binary format=message/rfc822") + file("encoding=binary extension=csv format=text/csv") +
		".Process\n" + person("Submitter agentType=legal person") + person("Holder agentType=legal person holderRole=soggetto produttore") +
		person("AuthorizedSigner agentType=legal person signerRole=soggetto produttore") + "..TimeReference\n...TimeInfo attachedTimeStamp=false\n"
	if got := outline(t, b.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, text := range []string{"<sincro:Path>INBOX/2026-11/a%20b.eml</sincro:Path>", "Alpha &amp; C.", "&lt;&amp;&gt;", "2026-11-30T08:00:00Z"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %q in\n%s", text, b.String())
		}
	}
}

// TestWriteErrors has no file, a file that cannot be told, and a disk that is full at every place.
func TestWriteErrors(t *testing.T) {
	if err := Write(io.Discard, index(), of()); !errors.Is(err, ErrNoFile) {
		t.Errorf("no file: %v", err)
	}
	bad := errors.New("bad")
	if err := Write(io.Discard, index(), func(yield func(File, error) bool) { yield(File{}, bad) }); !errors.Is(err, bad) {
		t.Errorf("a file that cannot be told: %v", err)
	}
	var b bytes.Buffer
	if err := Write(&b, index(), of(File{"a.eml", "aa"})); err != nil {
		t.Fatal(err)
	}
	for at := range b.Len() {
		if err := Write(&full{at}, index(), of(File{"a.eml", "aa"})); !errors.Is(err, errFull) {
			t.Fatalf("full after %d of %d bytes: %v", at, b.Len(), err)
		}
	}
}

var errFull = errors.New("full")

type full struct{ left int }

// Write implements io.Writer.
func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// TestParseAgent reads agents as they are typed.
func TestParseAgent(t *testing.T) {
	for text, want := range map[string]*Agent{
		"VATIT-01234567890,Alpha S.r.l.,Contratto 1":               {"VATIT-01234567890", "Alpha S.r.l.", "Contratto 1"},
		`TINIT-RSSMRA80A01H501U,"Rossi, Mario",Contratto di Mario`: {"TINIT-RSSMRA80A01H501U", "Rossi, Mario", "Contratto di Mario"},
		"01234567890,Alpha,Contratto":                              nil,
		"VATIT-01234567890,Alpha":                                  nil,
		"VATIT-01234567890,,x":                                     nil,
		"":                                                         nil,
		`VATIT-1,"x`:                                               nil,
	} {
		got, err := ParseAgent(text)
		if (err == nil) != (want != nil) || want != nil && *got != *want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for id, want := range map[string]bool{"VATIT-01234567890": false, "TINIT-01234567890": false, "TINIT-RSSMRA80A01H501U": true} {
		if a := (&Agent{ID: id}); a.natural() != want {
			t.Errorf("%s is a person: %v", id, !want)
		}
	}
}

// FuzzParseAgent reads any text.
func FuzzParseAgent(f *testing.F) {
	f.Add("VATIT-01234567890,Alpha,Contratto")
	f.Fuzz(func(t *testing.T, text string) {
		if a, err := ParseAgent(text); err == nil && (a.ID == "" || a.Name == "" || a.Document == "") {
			t.Errorf("%+v", a)
		}
	})
}
