package bundle

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy/pec"
	"copialettere/policy/pec/practice"
)

//go:embed sheet.html
var sheetText string

// sheetPage is what the sheet shows. Everything that others have written is escaped by package template.
type sheetPage struct {
	Manifest  *Manifest
	Main      *shown
	Messages  []shown
	Practices []*practice.Practice
	More      int // recipients that the sheet does not show
}

// Limits of what the sheet shows: a person reads no more, and the tables have all of it.
const (
	maxSheetMessages   = 200
	maxSheetRecipients = 500
)

// sheetTimeLayout is that of times in the sheet.
const sheetTimeLayout = "02/01/2006 15:04:05 (-0700)"

// sheetTemplate returns the template, with times in a zone.
func sheetTemplate(zone *time.Location) (*template.Template, error) {
	return template.New("sheet").Funcs(template.FuncMap{
		"time": func(t any) string {
			switch t := t.(type) {
			case time.Time:
				if t.IsZero() {
					return ""
				}
				return t.In(zone).Format(sheetTimeLayout)
			case *time.Time:
				if t == nil {
					return ""
				}
				return t.In(zone).Format(sheetTimeLayout)
			}
			return ""
		},
		"class":     func(name string) string { return pec.Class(name).Label().Italian },
		"status":    func(s pec.Status) string { return s.Label().Italian },
		"waiting":   func(s string) string { return pec.Waiting(s).Label().Italian },
		"kind":      func(s string) string { return pec.ReceiptKindLabel(s).Italian },
		"brief":     func(s string) string { return pec.HashResult(s).Label().Italian },
		"match":     func(m pec.Match) string { return m.Label().Italian },
		"state":     stateText,
		"direction": directionText,
		"join":      func(list []string) string { return strings.Join(list, ", ") },
		"bytes":     func(n int64) string { return fmt.Sprintf("%d byte", n) },
	}).Parse(sheetText)
}

func directionText(direction string) string {
	if direction == journal.Sent.String() {
		return "inviato"
	}
	return "ricevuto"
}

// stateText returns what is known of the delivery, in words.
func stateText(state string) string {
	switch state {
	case journal.Delivered.String():
		return "consegnato al server di posta"
	case journal.Deferred.String():
		return "in attesa: il server di posta lo ha rinviato"
	case journal.Refused.String():
		return "rifiutato dal server di posta"
	case journal.Unknown.String():
		return "esito della consegna non noto"
	}
	return state
}

// sheet returns the sheet for people.
func (w *writer) sheet() ([]byte, error) {
	t, err := sheetTemplate(w.Zone)
	if err != nil {
		return nil, fmt.Errorf("sheet: %w", err)
	}
	page := sheetPage{Manifest: &w.manifest, Messages: w.shown[:min(len(w.shown), maxSheetMessages)]}
	if len(w.shown) > 0 {
		page.Main = &w.shown[0]
	}
	left := maxSheetRecipients
	for _, p := range w.practices {
		one := *p
		if len(one.Recipients) > left {
			page.More += len(one.Recipients) - left
			one.Recipients = one.Recipients[:left]
		}
		left -= len(one.Recipients)
		page.Practices = append(page.Practices, &one)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, page); err != nil {
		return nil, fmt.Errorf("sheet: %w", err)
	}
	return b.Bytes(), nil
}
