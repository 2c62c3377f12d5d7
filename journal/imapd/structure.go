package imapd

import (
	"math"
	"strings"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal/part"
)

// structureOf returns the BODYSTRUCTURE of part i of a message (RFC 3501 section 7.4.2). It is complete whatever the message is like: go-imap
// panics on half of one. envelope returns the ENVELOPE of a message that is enclosed, by the index of its part.
func structureOf(t *part.Table, i int, envelope func(int) (*imap.Envelope, error)) (imap.BodyStructure, error) {
	p := &t.Parts[i]
	if p.IsMultipart() {
		multi := &imap.BodyStructureMultiPart{Subtype: subtype(p.Type)}
		for j := range t.Children(i) {
			child, err := structureOf(t, j, envelope)
			if err != nil {
				return nil, err
			}
			multi.Children = append(multi.Children, child)
		}
		if len(multi.Children) > 0 {
			_, params := part.RawParams(p.ContentType)
			multi.Extended = &imap.BodyStructureMultiPartExt{Params: params, Disposition: dispositionOf(p), Language: languageOf(p)}
			return multi, nil
		}
	}
	return singleOf(t, i, envelope)
}

// singleOf returns the structure of a part that holds no parts, or a message.
func singleOf(t *part.Table, i int, envelope func(int) (*imap.Envelope, error)) (imap.BodyStructure, error) {
	p := &t.Parts[i]
	_, params := part.RawParams(p.ContentType)
	if _, ok := params["charset"]; !ok && strings.HasPrefix(p.Type, "text/") {
		params["charset"] = "us-ascii" // RFC 2045 section 5.2; Dovecot shows it for all text
	}
	major, minor, _ := strings.Cut(p.Type, "/")
	single := &imap.BodyStructureSinglePart{
		Type: major, Subtype: minor, Params: params, ID: withoutControls(p.ContentID), Description: textOf(p.Description), Encoding: p.Encoding(),
		Size:     uint32(min(p.End-p.Body, math.MaxUint32)),
		Extended: &imap.BodyStructureSinglePartExt{Disposition: dispositionOf(p), Language: languageOf(p)},
	}
	enclosed := t.Enclosed(i)
	switch {
	case p.IsMultipart():
		// One without parts is read as text, and so is its number.
		single.Type, single.Subtype, single.Params = "text", "plain", map[string]string{"charset": "us-ascii"}
	case p.IsMessage() && enclosed < 0, major == "" || minor == "":
		single.Type, single.Subtype = "application", "octet-stream"
	case p.IsMessage():
		return messageOf(t, i, enclosed, single, envelope)
	}
	if single.Type == "text" {
		single.Text = &imap.BodyStructureText{NumLines: p.Lines}
	}
	return single, nil
}

// messageOf completes the structure of a part that is a message.
func messageOf(t *part.Table, i, enclosed int, single *imap.BodyStructureSinglePart, envelope func(int) (*imap.Envelope, error)) (imap.BodyStructure, error) {
	e, err := envelope(enclosed)
	if err != nil {
		return nil, err
	}
	inner, err := structureOf(t, enclosed, envelope)
	if err != nil {
		return nil, err
	}
	single.MessageRFC822 = &imap.BodyStructureMessageRFC822{Envelope: e, BodyStructure: inner, NumLines: t.Parts[i].Lines}
	return single, nil
}

func subtype(mediaType string) string {
	if _, minor, _ := strings.Cut(mediaType, "/"); minor != "" {
		return minor
	}
	return "mixed"
}

func dispositionOf(p *part.Part) *imap.BodyStructureDisposition {
	if p.Disposition == "" {
		return nil
	}
	value, params := part.RawParams(p.Disposition)
	if value == "" {
		return nil
	}
	return &imap.BodyStructureDisposition{Value: value, Params: params}
}

func languageOf(p *part.Part) []string {
	return strings.FieldsFunc(withoutControls(p.Language), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}
