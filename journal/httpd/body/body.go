// Package body makes the content of mail from anywhere fit to be shown and downloaded in a browser.
//
// Choose picks from the parts of a message what a reader sees: the text as plain text and as HTML, the images in it, and all that is attached.
// Sanitizer.Write makes HTML harmless, WriteText plain text readable. FileName and ServedType say under which name and type a part may be downloaded,
// Examine what is dangerous about it.
//
// Three layers keep hostile HTML harmless, and each suffices by itself: HTML passes through an allowlist of elements, attributes, URLs and styles;
// the document is answered under ContentPolicy, which lets it run no script and send no request; and a page shows it in an iframe with Sandbox.
//
// Memory and time are bounded for any message: at most MaxHTML bytes and maxElements elements of HTML are read, MaxText bytes of plain text,
// maxImages bytes of images in the text, and maxExamined bytes of what is attached.
package body

import (
	"strings"

	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// maxSections is how many texts of one message are shown. Further ones are listed as attached.
const maxSections = 20

// Section is one text of a message. Plain and HTML are the same text in two forms; one of them may be nil.
type Section struct {
	Plain, HTML *pec.Located
}

// View is what to show of a message. Every part that is no container is in it, so nothing of a message is hidden from its reader.
type View struct {
	Sections []Section      // the texts, in order
	Attached []*pec.Located // everything else, in order, the images in the texts included
	// Related are the images that HTML may name by their Content-ID (RFC 2392), by that id without brackets.
	Related map[string]*pec.Located
}

// Inside returns the parts inside the part with a number, such as those of the message that postacert.eml is, in the order of pec.Parts. The first is
// that message itself. It is empty if the part encloses none, or there is no such part.
func Inside(parts []pec.Located, number string) []pec.Located {
	for i := range parts {
		if number != "" && parts[i].Number == number {
			return parts[i+1 : endOf(parts, i)]
		}
	}
	return nil
}

// Choose picks what to show of a message. parts are its parts in the order of pec.Parts, the message itself first. Messages enclosed in it are
// attached, and not opened.
func Choose(parts []pec.Located) *View {
	v := &View{Related: make(map[string]*pec.Located)}
	if len(parts) > 0 {
		c := chooser{parts: parts, related: v.Related}
		chosen := c.part(0)
		v.Sections, v.Attached = chosen.sections, chosen.attached
		if len(v.Sections) > maxSections {
			for _, s := range v.Sections[maxSections:] {
				v.Attached = append(v.Attached, s.forms()...)
			}
			v.Sections = v.Sections[:maxSections]
		}
	}
	return v
}

// forms returns the parts of a section.
func (s Section) forms() (list []*pec.Located) {
	for _, l := range []*pec.Located{s.Plain, s.HTML} {
		if l != nil {
			list = append(list, l)
		}
	}
	return list
}

// endOf returns the index after the last part inside part i.
func endOf(parts []pec.Located, i int) int {
	end := i + 1
	for end < len(parts) && parts[end].Depth > parts[i].Depth {
		end++
	}
	return end
}

// chooser walks the parts of a message. The part table bounds their depth.
type chooser struct {
	parts   []pec.Located
	related map[string]*pec.Located
	texts   int // seen so far
}

// chosen is what was picked from a part.
type chosen struct {
	sections []Section
	attached []*pec.Located
}

func (c *chosen) add(d chosen) {
	c.sections = append(c.sections, d.sections...)
	c.attached = append(c.attached, d.attached...)
}

func (c *chooser) part(i int) (all chosen) {
	l := &c.parts[i]
	end := endOf(c.parts, i)
	switch {
	case l.Part.IsMultipart() && end > i+1:
		alternative := l.Part.Type == "multipart/alternative"
		for k := i + 1; k < end; k = endOf(c.parts, k) {
			one := c.part(k)
			if alternative {
				one.sections = all.alternate(one.sections)
			}
			all.add(one)
		}
	case c.isText(l):
		c.texts++
		if l.Part.Type == "text/html" {
			all.sections = []Section{{HTML: l}}
		} else {
			all.sections = []Section{{Plain: l}}
		}
	default:
		if id := part.MessageID(l.Part.ContentID); id != "" && imageType(l.Part.Type) && c.related[id] == nil {
			c.related[id] = l
		}
		all.attached = []*pec.Located{l}
	}
	return all
}

// alternate joins the first of the sections of another alternative with the section before it, if that lacks this form, and returns those that are
// left. Of several alternatives in HTML the last one should count (RFC 2046 5.1.4); the earlier ones are attached.
func (c *chosen) alternate(sections []Section) []Section {
	if len(c.sections) == 0 || len(sections) == 0 {
		return sections
	}
	last, next := &c.sections[len(c.sections)-1], sections[0]
	if next.HTML != nil {
		if last.HTML != nil {
			c.attached = append(c.attached, last.HTML)
		}
		last.HTML = next.HTML
	}
	if next.Plain != nil {
		if last.Plain == nil {
			last.Plain = next.Plain
		} else {
			c.attached = append(c.attached, next.Plain)
		}
	}
	return sections[1:]
}

// isText reports whether a part is text to be shown and not attached. A multipart that could not be opened is shown as the text that it is.
func (c *chooser) isText(l *pec.Located) bool {
	switch {
	case l.Part.IsMultipart():
		return true
	case l.Part.Type != "text/plain" && l.Part.Type != "text/html", attachedBy(l.Part.Disposition):
		return false
	}
	return c.texts == 0 || l.Part.Name() == ""
}

// attachedBy reports whether a Content-Disposition says that a part is attached. Unknown ones do (RFC 2183 2.8).
func attachedBy(disposition string) bool {
	kind, _ := part.Params(disposition)
	return strings.TrimSpace(disposition) != "" && kind != "inline"
}
