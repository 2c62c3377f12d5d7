package pages

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"copialettere/journal"
	"copialettere/policy"
)

// TestOwnerPagesAccessible holds the owner's pages about the archive and its settings, in both languages, to what people with other senses and hands
// need: see faults. The browser test runs axe-core besides.
func TestOwnerPagesAccessible(t *testing.T) {
	r := newRigWith(t, rigOptions{owner: allRights(), guide: offered(t), tells: true})
	r.journaled(anna, journal.Received)
	_, err := r.archive.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: anna}, r.address(anna), r.address("bruno@alpha.test"), time.Now().AddDate(0, 1, 0))
	r.must(err)
	b := r.signedIn(anna)
	for _, language := range []string{"it", "en"} {
		r.set("language="+language, "append=on")
		for _, one := range []struct{ method, path, form string }{
			{"GET", home, ""},
			{"GET", home + "settings", ""},
			{"POST", home + "settings/notify", "notify=wrong"},
			{"POST", home + "settings/notify", "notify=anna@elsewhere.test"},
			{"GET", home + "settings?saved=notify-same", ""},
			{"POST", home + "notify/confirm", "code=AAAAA"},
			{"POST", home + "settings/room", "quota=many&when_full=never"},
			{"POST", home + "settings/filter", "filter=choose"},
			{"POST", home + "settings/write", "write=on"},
			{"GET", home + "archive/disable", ""},
			{"POST", home + "archive/disable", "confirm=no"},
			{"GET", home + "app-passwords", ""},
			{"POST", home + "app-passwords", fields("name", "Telefono "+language)},
			{"POST", home + "app-passwords", "name="},
			{"GET", home + "delegates", ""},
			{"POST", home + "delegates", "person=x&until=y"},
			{"GET", home + "pulls", ""},
			{"POST", home + "pulls", fields("name", "x", "host", "imap.ext.test", "user", "anna", "password", "x", "every", "never")},
			{"POST", home + "pulls", fields("name", "conto "+language, "host", "imap.ext.test", "user", "anna", "password", "x", "every", "1d", "delete", "30d")},
			{"GET", home + "pulls?done=pull-added", ""},
			{"GET", home + "programs", ""},
			{"GET", home + "programs?account=archive&incoming=pop3", ""},
			{"POST", home + "programs/link", "account=archive&incoming=imap"},
			{"GET", home + "terms", ""},
			{"GET", home + "log", ""},
			{"GET", secondFactorPath, ""},
			{"POST", secondFactorPath + "/begin", ""},
			{"POST", secondFactorPath + "/confirm", "code=000000"},
		} {
			w := b.ask(one.method, one.path, one.form)
			if w.Code == http.StatusSeeOther {
				continue
			}
			if !strings.Contains(w.Header().Get("Content-Type"), "text/html") || w.Body.Len() > 60_000 {
				t.Errorf("%s %s: %s, %d bytes", one.method, one.path, w.Header().Get("Content-Type"), w.Body.Len())
			}
			document, err := html.Parse(strings.NewReader(w.Body.String()))
			r.must(err)
			if got := attribute(find(document, "html")[0], "lang"); got != language {
				t.Errorf("%s %s: in %q, want %q", one.method, one.path, got, language)
			}
			for _, fault := range faults(r.pages, document) {
				t.Errorf("%s: %s %s: %s", language, one.method, one.path, fault)
			}
		}
	}
}

// find returns the elements of a name, in the order of the document.
func find(n *html.Node, names ...string) (list []*html.Node) {
	for n := range n.Descendants() {
		if n.Type == html.ElementNode && slices.Contains(names, n.Data) {
			list = append(list, n)
		}
	}
	return list
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// textOf returns the text in an element.
func textOf(n *html.Node) string {
	var b strings.Builder
	for n := range n.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// faults returns what is wrong with a page: fields without a label, labels and descriptions that lead nowhere, an id twice, buttons without a name,
// headings out of order, tables without headings, pictures without a text, forms and links that no route takes.
func faults(p *Pages, document *html.Node) (list []string) {
	ids := make(map[string]bool)
	labels := make(map[string]bool)
	for n := range document.Descendants() {
		if id := attribute(n, "id"); id != "" {
			if ids[id] {
				list = append(list, "id "+id+" twice")
			}
			ids[id] = true
		}
	}
	for _, n := range find(document, "label") {
		if labels[attribute(n, "for")] = true; textOf(n) == "" {
			list = append(list, "an empty label for "+attribute(n, "for"))
		}
	}
	for n := range document.Descendants() {
		for _, name := range []string{"aria-describedby", "aria-labelledby", "for"} {
			for _, id := range strings.Fields(attribute(n, name)) {
				if !ids[id] {
					list = append(list, name+" "+id+" leads nowhere")
				}
			}
		}
	}
	for _, n := range find(document, "input", "select", "textarea") {
		if attribute(n, "type") != "hidden" && attribute(n, "aria-label") == "" && !labels[attribute(n, "id")] {
			list = append(list, "no label for "+attribute(n, "name"))
		}
	}
	for _, n := range find(document, "button", "a", "legend", "th") {
		if textOf(n) == "" {
			list = append(list, "an empty "+n.Data)
		}
	}
	for _, n := range find(document, "img") {
		if attribute(n, "alt") == "" && attribute(n.Parent, "class") != "brand" {
			list = append(list, "a picture without a text")
		}
	}
	level := 0
	for _, n := range find(find(document, "main")[0], "h1", "h2", "h3", "h4") {
		next := int(n.Data[1] - '0')
		if next > level+1 || next == 1 && level > 0 {
			list = append(list, n.Data+" "+textOf(n)+" after a heading of level "+string(rune('0'+level)))
		}
		level = next
	}
	if level == 0 {
		list = append(list, "no heading")
	}
	for _, n := range find(document, "form", "a") {
		method, path := http.MethodGet, attribute(n, "href")
		if n.Data == "form" {
			method, path = strings.ToUpper(attribute(n, "method")), attribute(n, "action")
		}
		if path, _, _ = strings.Cut(path, "#"); !strings.HasPrefix(path, "/") {
			continue
		}
		if _, pattern := p.mux.Handler(httptest.NewRequest(method, path, nil)); pattern == "/" || pattern == "" {
			list = append(list, n.Data+" to "+path+", which is no page")
		}
	}
	return list
}
