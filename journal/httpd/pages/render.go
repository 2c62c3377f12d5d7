package pages

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"time"

	"copialettere/policy"
)

// load reads the style sheet, the script and the templates.
func (p *Pages) load() error {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return err
	}
	script, err := files.ReadFile("script.js")
	if err != nil {
		return err
	}
	p.style, p.script = newStylesheet(style), template.JS(script)
	sum := sha256.Sum256(script)
	p.policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
		"script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	// Whatever is wrong with a template shows now.
	for _, l := range []policy.Language{policy.Italian, policy.English} {
		if p.pristine[l], err = parse(l); err != nil {
			return err
		}
	}
	return nil
}

// parse returns the templates of all pages in a language, by their file names. Files whose names begin with _ are parts of all of them.
func parse(l policy.Language) (map[string]*template.Template, error) {
	names, err := fs.Glob(files, "templates/[^_]*.html")
	if err != nil {
		return nil, err
	}
	list := make(map[string]*template.Template)
	for _, name := range names {
		t, err := template.New("_layout.html").Funcs(functions(l, time.UTC)).ParseFS(files, "templates/_*.html", name)
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
		list[path.Base(name)] = t
	}
	return list, nil
}

// variant is a page in a language and a time zone.
type variant struct {
	language   policy.Language
	zone, name string
}

// maxVariants is how many templates are kept ready.
const maxVariants = 500

// template returns the template of a page for a reader; nil if there is none of that name.
func (p *Pages) template(l policy.Language, zone *time.Location, name string) (*template.Template, error) {
	pristine := p.pristine[l][name]
	if pristine == nil {
		return nil, fmt.Errorf("no template %s", name)
	}
	key := variant{l, zone.String(), name}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.ready[key]; t != nil {
		return t, nil
	}
	t, err := pristine.Clone()
	if err != nil {
		return nil, err
	}
	if len(p.ready) >= maxVariants {
		clear(p.ready)
	}
	p.ready[key] = t.Funcs(functions(l, zone))
	return t, nil
}

// functions are what templates can call, for readers in a language and a time zone.
func functions(l policy.Language, zone *time.Location) template.FuncMap {
	return template.FuncMap{
		"t":        func(italian, english string, args ...any) string { return text(l, italian, english, args...) },
		"label":    func(label policy.Label) string { return label.In(l) },
		"size":     func(n any) string { return sizeText(l, n) },
		"number":   func(n any) string { return numberText(l, n) },
		"folder":   func(name string) string { return folderText(l, name) },
		"month":    func(month any) string { return monthText(l, fmt.Sprint(month)) },
		"messages": func(n any) string { return messagesText(l, n) },
		"percent":  func(n any) string { return percentText(l, n) },
		"escape":   url.PathEscape,
		"query":    url.QueryEscape,
		"icon": func(name string) template.HTML {
			return template.HTML(`<svg class="icon" aria-hidden="true"><use href="#` + template.HTMLEscapeString(name) + `"/></svg>`)
		},
		"join": func(lines []string) string { return strings.Join(lines, "\n") },
		"list": func(values ...any) []any { return values },
		"time": func(t time.Time) template.HTML { return timeElement(t, timeText(l, zone, t)) },
		"day":  func(t time.Time) template.HTML { return timeElement(t, dayText(l, zone, t)) },
	}
}

// frame is what the layout of a page shows, around Data.
type frame struct {
	Language policy.Language
	Brand    Brand
	Style    string
	Script   template.JS
	Path     string // of the page, with its query, for forms that come back here
	Done     string // what has just been done, in words
	Login    string // of the reader; empty before signing in
	Warning  string // what the reader must know about the own sign-in
	Mailbox  string // that the page is about
	Domain   string // that the page is about
	Manage   bool   // the page is for a postmaster
	Places   []place
	Tabs     []place // of the mailbox, or of the domain
	Data     any
}

// place is one mailbox or domain that the reader may go to.
type place struct {
	Path, Name, Kind string
	Here             bool
}

// render answers with a page: templates/NAME, which defines "title" and "main".
func (v *visit) render(status int, name string, data any) error {
	return v.renderAs(status, name, "_layout.html", v.pages.policy, data)
}

// renderAs answers with a page of its own layout, a template of templates/NAME, under a Content-Security-Policy.
func (v *visit) renderAs(status int, name, layout, contentPolicy string, data any) error {
	t, err := v.pages.template(v.language, v.zone, name)
	if err != nil {
		return err
	}
	f := frame{
		Language: v.language, Brand: v.pages.options.Brand(v.domain), Style: v.pages.style.path, Script: v.pages.script, Path: v.URL.RequestURI(),
		Done: v.doneText(), Domain: v.domain, Manage: v.PathValue("domain") != "", Data: data,
	}
	if v.mailbox != (policy.Address{}) {
		f.Mailbox = v.mailbox.String()
	}
	if v.session != nil {
		if !v.session.SetUpSecondFactor {
			if f.Places, err = v.places(); err != nil {
				return err
			}
		}
		if f.Mailbox != "" || f.Domain != "" {
			if f.Tabs, err = v.tabs(); err != nil {
				return err
			}
		}
		f.Login, f.Warning = v.session.Login.String(), v.session.Warning().In(v.language)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, layout, f); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	h := v.w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	v.w.WriteHeader(status)
	v.w.Write(b.Bytes())
	return nil
}

// places returns where the reader may go: the own mailbox, those of which he is a delegate, the domains of which he is a postmaster.
func (v *visit) places() ([]place, error) {
	standings, err := v.pages.options.Auth.Standings(v.Context(), v.session.Login)
	if err != nil {
		return nil, err
	}
	manage := v.PathValue("domain") != ""
	var list []place
	for _, s := range standings {
		if v.session.Confined() && s.Role != policy.RoleOwner {
			continue
		}
		switch s.Role {
		case policy.RoleOwner, policy.RoleDelegate:
			kind := v.t("il mio archivio", "my archive")
			if s.Role == policy.RoleDelegate {
				kind = v.t("in lettura fino al %s", "to read until %s", dayText(v.language, v.zone, s.Until.Add(-time.Second)))
			}
			list = append(list, place{mailboxPath(s.Mailbox.String()), s.Mailbox.String(), kind, !manage && s.Mailbox == v.mailbox})
		case policy.RolePostmaster:
			list = append(list, place{domainPath(s.Domain), s.Domain, v.t("gestione del dominio", "administration of the domain"), manage && s.Domain == v.domain})
		}
	}
	return list, nil
}

// home returns the path of the first place of a login.
func (v *visit) home() (string, error) {
	standings, err := v.pages.options.Auth.Standings(v.Context(), v.session.Login)
	if err != nil {
		return "", err
	}
	if _, known, err := v.pages.options.Archive.Known(v.Context(), v.session.Login); err != nil {
		return "", err
	} else if !known && !v.session.Confined() {
		// A postmaster need not have an archive.
		for _, s := range standings {
			if s.Role == policy.RolePostmaster {
				return domainPath(s.Domain), nil
			}
		}
	}
	return mailboxPath(v.session.Login.String()), nil
}
