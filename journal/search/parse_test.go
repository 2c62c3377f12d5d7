package search

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
)

func rome(t testing.TB) *time.Location {
	zone, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// TestParseQuery reads searches as people type them.
func TestParseQuery(t *testing.T) {
	zone := rome(t)
	day := func(y, m, d int) time.Time { return time.Date(y, time.Month(m), d, 0, 0, 0, 0, zone) }
	november := Query{Since: day(2026, 11, 1), Until: day(2026, 12, 1)}
	for text, want := range map[string]Query{
		"":                                    {},
		" \t ":                                {},
		"fattura":                             {Text: []string{"fattura"}},
		"Rossi & Figli":                       {Text: []string{"Rossi", "Figli"}},
		"&":                                   {Text: []string{"&"}},
		"& da:anna":                           {From: []string{"anna"}},
		`"avviso di  scadenza" 2026`:          {Text: []string{"avviso di scadenza", "2026"}},
		`"non chiuso`:                         {Text: []string{"non", "chiuso"}},
		`5" tubo`:                             {Text: []string{"5", "tubo"}},
		`from:anna TO:"Bruno Bianchi"`:        {From: []string{"anna"}, To: []string{"Bruno Bianchi"}},
		`da:anna a:bruno oggetto:x file:.pdf`: {From: []string{"anna"}, To: []string{"bruno"}, Subject: []string{"x"}, File: []string{".pdf"}},
		`Re: preventivo`:                      {Text: []string{"Re:", "preventivo"}},
		`from: anna`:                          {Text: []string{"from:", "anna"}},
		`"from:anna"`:                         {Text: []string{"from:anna"}},
		`https://x.test/?a=1`:                 {Text: []string{"https://x.test/?a=1"}},
		`class:Certified tipo:ricevute`:       {Classes: []string{"certified", "acceptance", "delivery"}},
		`class:avvenuta-consegna`:             {Classes: []string{"avvenuta-consegna"}},
		`class:quale`:                         {Text: []string{"class:quale"}},
		`direction:sent`:                      {Direction: journal.Sent},
		`direzione:ricevuti`:                  {Direction: journal.Received},
		`direction:up`:                        {Text: []string{"direction:up"}},
		`date:2026-11`:                        november,
		`data:11/2026`:                        november,
		`date:2026-11-01..2026-11-30`:         november,
		`dal:1/11/2026 al:30.11.2026`:         november,
		`since:2026-11 before:2026-12`:        november,
		`date:28/11/2026`:                     {Since: day(2026, 11, 28), Until: day(2026, 11, 29)},
		`date:2026`:                           {Since: day(2026, 1, 1), Until: day(2027, 1, 1)},
		`date:2025..`:                         {Since: day(2025, 1, 1)},
		`date:..2025`:                         {Until: day(2026, 1, 1)},
		`date:2026-02-30`:                     {Text: []string{"date:2026-02-30"}},
		`date:2027..2026`:                     {Text: []string{"date:2027..2026"}},
		`date:..`:                             {Text: []string{"date:.."}},
		`since:2026-11-28T10:00:00Z`:          {Since: time.Date(2026, 11, 28, 11, 0, 0, 0, zone)},
		`size:>1MB`:                           {MinSize: 1_000_000},
		`size:<=20kB`:                         {MaxSize: 20_000},
		`dimensione:1,5mb..2GB`:               {MinSize: 1_500_000, MaxSize: 2_000_000_000},
		`size:big`:                            {Text: []string{"size:big"}},
		`size:9999999999999999999GB..`:        {Text: []string{"size:9999999999999999999GB.."}},
		`size:2MB..1MB`:                       {Text: []string{"size:2MB..1MB"}},
		`has:attachment`:                      {Attachment: true},
		`con:allegati`:                        {Attachment: true},
		`con:formaggio`:                       {Text: []string{"con:formaggio"}},
		`in:INBOX/2026-11`:                    {Folder: "INBOX/2026-11"},
		`cartella:"Imported/Vecchia posta"`:   {Folder: "Imported/Vecchia posta"},
		"a\x00b\xff":                          {Text: []string{"a", "b\ufffd"}},
	} {
		got, err := ParseQueryIn(text, zone)
		if err != nil || !sameQuery(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		again, err := ParseQueryIn(got.String(), zone)
		if err != nil || !sameQuery(again, got) {
			t.Errorf("%q: %q: %+v, %v, want %+v", text, got.String(), again, err, got)
		}
	}
	for name, text := range map[string]string{"long": strings.Repeat("x", maxQuery+1), "many words": strings.Repeat("x ", maxTexts+1)} {
		if _, err := ParseQuery(text); !errors.Is(err, ErrQuery) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sameQuery reports whether two queries want the same.
func sameQuery(a, b Query) bool {
	if !a.Since.Equal(b.Since) || !a.Until.Equal(b.Until) {
		return false
	}
	a.Since, a.Until, b.Since, b.Until = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

// FuzzParseQuery checks that whatever is typed is a search, or too long for one, and that String writes it.
func FuzzParseQuery(f *testing.F) {
	for _, text := range []string{`da:"Anna Rossi" fattura "n. 5" con:allegati`, `date:2026-11..28/11/2026 size:>1,5MB in:INBOX class:rem`, `since:2026-11-28T10:00:00+05:00`,
		`from:" a:b "" size:..`, "a:\"\u00ad\" &", `before:1970-01-01T00:00:00.000000001Z`} {
		f.Add(text)
	}
	zone := rome(f)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseQueryIn(text, zone)
		words := strings.FieldsFunc(text, func(r rune) bool { return isBlank(r) || r == '"' })
		if errors.Is(err, ErrQuery) && (len(text) > maxQuery || len(words) > maxTexts/2) {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		again, err := ParseQueryIn(q.String(), zone)
		if err != nil && len(q.String()) <= maxQuery || err == nil && !sameQuery(q, again) {
			t.Errorf("%q: %+v, as %q %+v, %v", text, q, q.String(), again, err)
		}
	})
}
