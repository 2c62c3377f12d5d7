package browser

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// mainPage is a page that is checked in all looks, and has its picture taken.
type mainPage struct {
	name string // of the picture
	who  string // who has signed in; nobody if empty
	path string
}

// mainPages returns the main pages.
func (s *site) mainPages(t *testing.T) []mainPage {
	t.Helper()
	box, domain := "/mailbox/"+mario+"/", "/domain/alpha.test/"
	message := func(subject string) string { return s.messagePath(t, subject) }
	return []mainPage{
		{"sign-in", "", "/sign-in"},
		{"not-found", "", "/nothing/there"},
		{"home", mario, box},
		{"list", mario, box + "messages"},
		{"search", mario, box + "messages?q=contratto"},
		{"nothing-found", mario, box + "messages?q=zzz"},
		{"gaps", mario, box + "gaps"},
		{"deleted", mario, box + "deleted"},
		{"practices", mario, box + "practices"},
		{"access", mario, box + "access"},
		{"settings", mario, box + "settings"},
		{"app-passwords", mario, box + "app-passwords"},
		{"second-factor", mario, "/account/second-factor"},
		{"delegates", mario, box + "delegates"},
		{"programs", mario, box + "programs"},
		{"terms", mario, box + "terms"},
		{"log", mario, box + "log"},
		{"disable", mario, box + "archive/disable"},
		{"message", mario, message("CONSEGNA: Contratto di fornitura 2026")},
		{"message-html", mario, message("Le novità di novembre")},
		{"message-anomaly", mario, message("ANOMALIA MESSAGGIO: Listino di dicembre")},
		{"domain", postmaster, domain},
		{"domain-mailbox", postmaster, domain + "mailboxes/" + mario + "/"},
	}
}

// messagePath returns the page of the message of mario with a subject.
func (s *site) messagePath(t *testing.T, subject string) string {
	t.Helper()
	for _, e := range s.hook.List(t, mario) {
		if e.Subject == subject {
			return fmt.Sprintf("/mailbox/%s/messages/%s/%d", mario, url.PathEscape(e.Folder), e.UID)
		}
	}
	t.Fatalf("mario has no message %q", subject)
	return ""
}

// looks are those in which the main pages are checked.
var looks = []look{{}, {dark: true}, {phone: true}, {phone: true, dark: true}}

// looksIn returns the looks in which pages of a language are checked: all in Italian, and in English both schemes and both sizes.
func looksIn(language string) []look {
	list := slices.Clone(looks)
	if language != "it" {
		list = []look{{}, {phone: true, dark: true}}
	}
	for i := range list {
		list[i].language = language
	}
	return list
}

// TestPages looks at the main pages in light and dark, on a desktop and a phone, in both languages: each is light, fits the window, and has nothing that
// axe-core finds.
func TestPages(t *testing.T) {
	s := newSite(t)
	for _, language := range []string{"it", "en"} {
		for _, person := range []string{mario, postmaster} {
			s.hook.Must(t, "mailbox", "set", person, "language="+language)
		}
		t.Run(language, func(t *testing.T) {
			looks := looksIn(language)
			s.tour(t, language, func(x *tab, p mainPage) {
				if heading, err := evaluate[string](x, "document.documentElement.lang + document.querySelectorAll('h1').length"); err != nil || heading != language+"1" {
					x.testing.Errorf("%s: language and headings %s, %v", p.path, heading, err)
				}
				x.light()
				for _, l := range looks {
					x.setLook(l)
					x.fits()
				}
				x.accessible(looks...)
			})
		})
	}
}

// tour opens each main page, as whom it is for.
func (s *site) tour(t *testing.T, language string, visit func(*tab, mainPage)) {
	tabs := make(map[string]*tab)
	for _, p := range s.mainPages(t) {
		x := tabs[p.who]
		if x == nil {
			x = s.newTab(t, look{language: language})
			if p.who != "" {
				x.signIn(p.who)
			}
			tabs[p.who] = x
		}
		x.setLook(look{language: language})
		x.open(p.path)
		x.settle()
		visit(x, p)
	}
}

// TestScreenshots takes pictures of the main pages, with -screenshots.
func TestScreenshots(t *testing.T) {
	folder := *screenshots
	if folder == "" {
		folder = t.TempDir()
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.tour(t, "it", func(x *tab, p mainPage) {
		for _, l := range looks {
			x.setLook(l)
			picture := x.picture()
			config, err := png.DecodeConfig(bytes.NewReader(picture))
			if err != nil || (image.Point{config.Width, config.Height}) != l.size() {
				t.Errorf("%s: %dx%d, %v", p.name, config.Width, config.Height, err)
			}
			if err := os.WriteFile(filepath.Join(folder, p.name+"-"+l.String()+".png"), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}
