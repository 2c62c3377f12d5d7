package pages

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// TestSearchForm asks by fields of the form, and by words; both are the same query.
func TestSearchForm(t *testing.T) {
	r := newRig(t)
	r.plainMail("Fattura di novembre")
	r.plainMail("Preventivo")
	r.classified(journal.Intent{Direction: journal.Sent, Recipients: []string{"carla@beta.test"}}, "anna@alpha.test", "From: anna@alpha.test\r\nTo: carla@beta.test\r\nSubject: Fattura mia\r\n\r\n"+strings.Repeat("x\r\n", 1000))
	r.classified(journal.Intent{}, "dario@ext.test", "From: Dario <dario@ext.test>\r\nSubject: Contratto\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: application/pdf; name=\"piano casa.pdf\"\r\nContent-Disposition: attachment; filename=\"piano casa.pdf\"\r\n\r\nx\r\n--b--\r\n")
	today := time.Now().In(mustZone(t, defaultZone)).Format(dayLayout)
	b := r.signedIn("anna@alpha.test")
	for _, c := range []struct {
		name, form, q string
		want          []string
	}{
		{"words", "q=fattura", "fattura", []string{"Fattura mia", "Fattura di novembre"}},
		{"sender", "from=dario", "from:dario", []string{"Contratto"}},
		{"two words of one field", "from=bianchi+bruno&subject=fattura", "from:bianchi from:bruno subject:fattura", []string{"Fattura di novembre"}},
		{"phrase", "file=%22piano+casa%22", `file:"piano casa"`, []string{"Contratto"}},
		{"recipient", "to=carla", "to:carla", []string{"Fattura mia"}},
		{"direction", "direction=sent", "direction:sent", []string{"Fattura mia"}},
		{"class", "class=sent-other&class=acceptance", "class:sent-other class:acceptance", []string{"Fattura mia"}},
		{"size", "min=0%2C002", "size:>2000B", []string{"Fattura mia"}},
		{"largest size", "max=0.002&q=fattura", "fattura size:<2000B", []string{"Fattura di novembre"}},
		{"attachment", "attachment=1", "has:attachment", []string{"Contratto"}},
		{"folder", "folder=Sent", "in:Sent", []string{"Fattura mia"}},
		{"days", "since=" + today + "&until=" + today + "&q=preventivo", "preventivo date:" + today, []string{"Preventivo"}},
		{"an earlier day", "until=2001-02-03", "until:2001-02-03", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := b.page(ofAnna + "messages?" + c.form)
			if got := d.subjects(); !slices.Equal(got, c.want) {
				t.Errorf("by the form: %q, want %q", got, c.want)
			}
			again := b.page(ofAnna + "messages?q=" + url.QueryEscape(c.q))
			if got := again.subjects(); !slices.Equal(got, c.want) {
				t.Errorf("by q: %q, want %q", got, c.want)
			}
			// The form of either page asks for the same once more.
			for _, page := range []listed{d, again} {
				if got := b.page(ofAnna + "messages?" + page.search().Encode()).subjects(); !slices.Equal(got, c.want) {
					t.Errorf("once more, with %v: %q, want %q", page.search(), got, c.want)
				}
			}
		})
	}
	none := b.page(ofAnna + "messages?q=introvabile&folder=INBOX")
	none.has("Nessun messaggio trovato.", "Cercato: contiene «introvabile»", "le lacune dell'archivio", "che cosa contiene l'archivio", "non il testo dei messaggi")
	if none.link("cercare in tutte") != "messages?q=introvabile" || none.link("le lacune dell'archivio") != "gaps" || none.link("che cosa contiene l'archivio") != "terms" {
		t.Errorf("a dead end: %s", none.text)
	}
	for form, want := range map[string]string{
		"since=2026-11-20&until=2026-11-19": "Il primo giorno viene dopo l'ultimo.",
		"since=ieri":                        "Un giorno va scritto come",
		"min=tanto":                         "Una dimensione va scritta in megabyte",
		"min=5&max=1":                       "La dimensione più grande è minore",
		"class=nonsense":                    "Uno dei tipi di messaggio non esiste.",
		"q=" + strings.Repeat("a", 5000):    "troppo lunga",
	} {
		w := b.get(ofAnna + "messages?" + form)
		if w.Code != http.StatusBadRequest || !strings.Contains(parseListText(t, w.Body.String()), want) {
			t.Errorf("%.40s: %d, want %q: %s", form, w.Code, want, w.Body)
		}
	}
	r.set("language=en")
	r.signedIn("anna@alpha.test").page(ofAnna+"messages?q=nowhere&attachment=1").has("No message was found.", "Searched for: contains “nowhere”; with attachments")
}

// TestLabels holds every field of the forms on lists to a label.
func TestLabels(t *testing.T) {
	r := newRig(t)
	ref := r.plainMail("Uno")
	r.set("write=on")
	b := r.signedIn("anna@alpha.test")
	pages := []listed{b.page(ofAnna + "messages"), b.page(ofAnna + "gaps"), b.sends(ofAnna+"messages/move", url.Values{"m": {placeValue(ref)}})}
	for _, d := range pages {
		labels := make(map[string]bool)
		for _, l := range d.all("label") {
			labels[attribute(l, "for")] = true
		}
		ids := make(map[string]bool)
		for n := range d.root.Descendants() {
			if id := attribute(n, "id"); id != "" && ids[id] {
				t.Errorf("two elements have the id %s", id)
			} else if id != "" {
				ids[id] = true
			}
			if n.Data != "input" && n.Data != "select" || attribute(n, "type") == "hidden" {
				continue
			}
			if !labels[attribute(n, "id")] && attribute(n, "aria-label") == "" && n.Parent.Data != "label" {
				t.Errorf("no label for %v", n.Attr)
			}
		}
		if n := len(d.all("h1")); n != 1 {
			t.Errorf("%d headings of the first level", n)
		}
	}
}

// search returns what the search form asks for.
func (d listed) search() url.Values {
	values := url.Values{}
	for _, form := range d.all("form") {
		if attribute(form, "role") != "search" {
			continue
		}
		for n := range form.Descendants() {
			switch {
			case n.Data == "input" && attribute(n, "type") == "checkbox" && !hasAttr(n.Attr, "checked"):
			case n.Data == "input":
				values.Add(attribute(n, "name"), attribute(n, "value"))
			case n.Data == "option" && hasAttr(n.Attr, "selected"):
				values.Add(attribute(n.Parent, "name"), attribute(n, "value"))
			}
		}
	}
	return values
}

func parseListText(t *testing.T, text string) string { return wordsIn(parseList(t, text).root) }

func hasAttr(list []html.Attribute, name string) bool {
	return slices.ContainsFunc(list, func(a html.Attribute) bool { return a.Key == name })
}

func month(t *testing.T, text string) kv.Month {
	t.Helper()
	m, err := kv.ParseMonth(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// TestFolderTree shows the months of the newest year and of the one that is shown.
func TestFolderTree(t *testing.T) {
	var stats []journal.FolderStats
	for _, m := range []string{"2024-12", "2025-01", "2025-12", "2026-01", "2026-11"} {
		stats = append(stats, journal.FolderStats{Folder: "INBOX", Month: month(t, m), Entries: 2})
	}
	stats = append(stats, journal.FolderStats{Folder: "Imported/x", Month: month(t, "2026-11"), Entries: 1}, journal.FolderStats{Folder: "Sent", Month: month(t, "2026-11")})
	kinds, more := folderTree(policy.English, stats, nil, "INBOX/2025-01")
	var got []string
	for _, k := range kinds {
		got = append(got, k.Text)
		for _, y := range k.Years {
			got = append(got, y.Text)
			for _, m := range y.Months {
				got = append(got, m.Text)
			}
		}
	}
	want := []string{"Received", "2026", "November 2026", "January 2026", "2025", "December 2025", "January 2025", "2024", "Sent", "Imported/x", "2026", "November 2026"}
	if !slices.Equal(got, want) || more != 0 || kinds[0].Entries != 10 || kinds[0].Years[2].Name != "INBOX/2024-12" {
		t.Errorf("%q, %d more", got, more)
	}
	kinds, _ = folderTree(policy.Italian, nil, []kv.Month{month(t, "2026-10")}, "")
	if !kinds[0].Years[0].Months[0].Damaged {
		t.Errorf("a damaged month: %+v", kinds[0])
	}
}
