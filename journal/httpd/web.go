package httpd

import (
	"bytes"
	"html/template"
	"net/http"
	"strings"

	"golang.org/x/text/language"

	"copialettere/policy"
)

// Web is the door for everybody on the Internet. What it answers without a sign-in tells nothing of any mailbox, not even whether it exists.
func Web(b Backend) http.Handler {
	mux := http.NewServeMux()
	(&discovery{b}).route(mux)
	mux.Handle(Prefix+"/", newAPI(b, newBearers(b).door()))
	if b.Pages != nil {
		mux.Handle("/", b.Pages)
	} else {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			writePage(w, r, http.StatusNotFound, LanguageOf(r), pageNotFound)
		})
	}
	for _, logo := range b.Logos {
		mux.Handle("GET "+logo.Path, logo)
	}
	sameSite, public := http.NewCrossOriginProtection(), ""
	if b.Archive != nil && b.Archive.Guide().PublicURL() != "" {
		public = b.Archive.Guide().PublicURL()
		// A proxy may ask with another Host than the browser did. The configuration has checked the URL, so there is no error.
		sameSite.AddTrustedOrigin(public)
	}
	sameSite.SetDenyHandler(http.HandlerFunc(refuseElsewhere))
	return forwarded(b.TrustedProxies, public, hardened(sameSite.Handler(autodiscoverCase(mux))))
}

// hardened gives every answer the headers that keep a browser from doing more with it than show it: no script, no frame around it, nothing from
// other hosts, no copy in a cache, no word to other hosts of where the reader comes from. A handler may set others in their place.
func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// languages are those of the pages; the first one is for readers of any other.
var languages = language.NewMatcher([]language.Tag{language.Italian, language.English})

// LanguageOf returns the language of a page for a browser that has not signed in: what it asks for (RFC 9110 section 12.5.4).
func LanguageOf(r *http.Request) policy.Language {
	if _, i := language.MatchStrings(languages, r.Header.Get("Accept-Language")); i == 1 {
		return policy.English
	}
	return policy.Italian
}

// page is the text of a page.
type page struct{ Title, Text policy.Label }

var pageNotFound = page{
	policy.Label{Italian: "Pagina non trovata", English: "Page not found"},
	policy.Label{
		Italian: "A questo indirizzo non c'è nulla. Controllare che sia scritto per intero.",
		English: "There is nothing at this address. Check that it is complete.",
	},
}

var pageElsewhere = page{
	policy.Label{Italian: "Richiesta da un altro sito", English: "Asked from another site"},
	policy.Label{
		Italian: "Un altro sito ha chiesto di cambiare qualcosa qui, e non è stato cambiato nulla. Se è stato voluto, aprire l'archivio e farlo da lì.",
		English: "Another site asked to change something here, and nothing was changed. If you meant it, open the archive and do it there.",
	},
}

// refuseElsewhere answers to a request that a page of another site has made.
func refuseElsewhere(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, Prefix+"/") {
		newAnswer(w, r, false).problem(Problem{
			Status: http.StatusForbidden, Type: typeOf("cross-origin"), Title: "No page of another site may ask this", Detail: "A token does not belong into a browser.",
		})
		return
	}
	writePage(w, r, http.StatusForbidden, LanguageOf(r), pageElsewhere)
}

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="{{.Language}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
</main>
</body>
</html>
`))

// writePage answers with a page.
func writePage(w http.ResponseWriter, r *http.Request, status int, l policy.Language, p page) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, map[string]string{"Language": string(l), "Title": p.Title.In(l), "Text": p.Text.In(l)}); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
