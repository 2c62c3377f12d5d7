package body

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// partsOf returns the parts of a message, which is given with LF.
func partsOf(t testing.TB, message string) []pec.Located {
	t.Helper()
	b := []byte(strings.ReplaceAll(message, "\n", "\r\n"))
	s := part.NewScanner(part.DefaultLimits())
	s.Write(b)
	var list []pec.Located
	for l, err := range pec.Parts(bytes.NewReader(b), s.Close()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

// htmlPart returns the part of a message that is this HTML.
func htmlPart(t testing.TB, html string) *pec.Located {
	return &partsOf(t, "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"+html)[0]
}

// multi returns a multipart of parts that are whole, header included.
func multi(kind string, parts ...string) string {
	boundary := strings.ReplaceAll(kind, "/", "-") + fmt.Sprint(len(parts))
	var b strings.Builder
	fmt.Fprintf(&b, "Content-Type: multipart/%s; boundary=%q\n\n", kind, boundary)
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\n%s\n", boundary, p)
	}
	fmt.Fprintf(&b, "--%s--\n", boundary)
	return b.String()
}

const (
	plain   = "Content-Type: text/plain\n\nplain"
	web     = "Content-Type: text/html\n\n<p>html"
	picture = "Content-Type: image/png\nContent-ID: <logo@alpha.test>\n\npng"
	pdf     = "Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment\n\npdf"
)

func TestChoose(t *testing.T) {
	inner := "Content-Type: message/rfc822; name=postacert.eml\n\nSubject: inner\n" + plain
	for _, c := range []struct{ name, message, want string }{
		{"text alone", plain, "plain 1"},
		{"no header", "\nwords", "plain 1"},
		{"HTML alone", web, "html 1"},
		{"two forms", multi("alternative", plain, web), "plain 1 html 2"},
		{"two forms, HTML first", multi("alternative", web, plain), "plain 2 html 1"},
		{"HTML with its images", multi("alternative", plain, multi("related", web, picture)), "plain 1 html 2.1; attached 2.2; cid logo@alpha.test"},
		{"images around both forms", multi("related", multi("alternative", plain, web), picture), "plain 1.1 html 1.2; attached 2; cid logo@alpha.test"},
		{"attached", multi("mixed", multi("alternative", plain, web), pdf), "plain 1.1 html 1.2; attached 2"},
		{"attached to one form", multi("alternative", plain, multi("mixed", web, pdf, web)), "plain 1 html 2.1; html 2.3; attached 2.2"},
		{"the last HTML of three forms counts", multi("alternative", plain, web, web), "plain 1 html 3; attached 2"},
		{"two plain forms", multi("alternative", plain, plain), "plain 1; attached 2"},
		{"a form of no kind", multi("alternative", plain, "Content-Type: text/calendar\n\nx"), "plain 1; attached 2"},
		{"a footer", multi("mixed", plain, plain), "plain 1; plain 2"},
		{"a named text after the first", multi("mixed", plain, "Content-Type: text/plain; name=a.txt\nContent-Disposition: inline\n\nx"), "plain 1; attached 2"},
		{"a named text first", multi("mixed", "Content-Type: text/plain; name=a.txt\n\nx", plain), "plain 1; plain 2"},
		{"a text that is attached", multi("mixed", "Content-Type: text/plain\nContent-Disposition: ATTACHMENT\n\nx"), "attached 1"},
		{"a text of an unknown disposition", multi("mixed", "Content-Type: text/plain\nContent-Disposition: other\n\nx"), "attached 1"},
		{"signed", multi("signed", plain, "Content-Type: application/pkcs7-signature; name=smime.p7s\n\nx"), "plain 1; attached 2"},
		{"an enclosed message stays closed", multi("mixed", plain, inner), "plain 1; attached 2"},
		{"a message alone", inner, "attached 1"},
		{"a multipart without parts", "Content-Type: multipart/mixed; boundary=x\n\nwords", "plain 1"},
		{"more texts than are shown", multi("mixed", slices.Repeat([]string{plain}, 22)...),
			strings.Repeat("plain; ", 20) + "attached 21 22"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts := partsOf(t, c.message)
			v := Choose(parts)
			got := describe(v)
			if len(v.Sections) == maxSections {
				for i := range v.Sections {
					got = strings.Replace(got, fmt.Sprintf("plain %d;", i+1), "plain;", 1)
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func describe(v *View) string {
	var list []string
	for _, s := range v.Sections {
		var forms []string
		if s.Plain != nil {
			forms = append(forms, "plain "+s.Plain.Number)
		}
		if s.HTML != nil {
			forms = append(forms, "html "+s.HTML.Number)
		}
		list = append(list, strings.Join(forms, " "))
	}
	if len(v.Attached) > 0 {
		attached := "attached"
		for _, l := range v.Attached {
			attached += " " + l.Number
		}
		list = append(list, attached)
	}
	for id := range v.Related {
		list = append(list, "cid "+id)
	}
	return strings.Join(list, "; ")
}

// TestInside chooses from the message inside another one.
func TestInside(t *testing.T) {
	enclosing := func(inner string) string {
		return multi("mixed", plain, "Content-Type: message/rfc822; name=postacert.eml\n\nSubject: inner\n"+inner, pdf)
	}
	for _, c := range []struct{ name, message, number, want string }{
		{"a text", enclosing(plain), "2", "plain 2.1"},
		{"two forms", enclosing(multi("alternative", plain, web)), "2", "plain 2.1 html 2.2"},
		{"no message", enclosing(plain), "1", ""},
		{"no such part", enclosing(plain), "7", ""},
		{"no number", enclosing(plain), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := describe(Choose(Inside(partsOf(t, c.message), c.number))); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzChoose checks that every part that is no container is shown or attached once.
func FuzzChoose(f *testing.F) {
	f.Add(multi("alternative", plain, multi("related", web, picture)))
	f.Add(multi("mixed", multi("alternative", plain, web, web), pdf, "Content-Type: message/rfc822\n\n"+multi("mixed", web, plain)))
	f.Fuzz(func(t *testing.T, message string) {
		parts := partsOf(t, message)
		var want, got []string
		for i := 0; i < len(parts); i++ {
			if l := &parts[i]; !l.Part.IsMultipart() || endOf(parts, i) == i+1 {
				want = append(want, l.Number)
				i = endOf(parts, i) - 1
			}
		}
		v := Choose(parts)
		for _, s := range v.Sections {
			for _, l := range s.forms() {
				got = append(got, l.Number)
			}
		}
		for _, l := range v.Attached {
			got = append(got, l.Number)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
