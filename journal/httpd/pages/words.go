package pages

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"copialettere/policy"
)

// doneTexts are what pages say at the top after something was done, by the key in the parameter done.
var doneTexts = map[string]policy.Label{
	"session-ended":         {Italian: "La sessione è chiusa: da quel dispositivo si deve entrare di nuovo.", English: "The session is closed: that device has to sign in again."},
	"signed-out-everywhere": {Italian: "Tutte le altre sessioni sono chiuse.", English: "All other sessions are closed."},
	"changed":               {Italian: "Le caselle sono cambiate.", English: "The mailboxes are changed."},
	"held":                  {Italian: "Il blocco legale è in vigore: non si cancella più nulla.", English: "The legal hold stands: nothing more is deleted."},
	"released":              {Italian: "Il blocco legale è tolto.", English: "The legal hold is lifted."},
	"factor-ended":          {Italian: "Il secondo fattore è disattivato.", English: "The second factor is off."},
	"renamed":               {Italian: "La casella ha il nuovo indirizzo.", English: "The mailbox has the new address."},
	"handed-over":           {Italian: "L'indirizzo è passato a un'altra persona, con un archivio nuovo.", English: "The address has gone to another person, with a new archive."},
	"saved":                 {Italian: "Le impostazioni sono salvate.", English: "The settings are saved."},
	"enabled":               {Italian: "L'archivio è attivo.", English: "The archive is on."},
	"restored":              {Italian: "L'archivio è ripristinato.", English: "The archive is restored."},
	"paused":                {Italian: "L'archivio è in pausa.", English: "The archive is paused."},
	"resumed":               {Italian: "L'archivio riprende da ora.", English: "The archive goes on from now."},
	"disabled":              {Italian: "L'archivio è disattivato.", English: "The archive is switched off."},
	"revoked":               {Italian: "Fatto: non vale più.", English: "Done: it is no longer valid."},
	"delegated":             {Italian: "La delega è registrata.", English: "The delegate is on record."},
	"pull-added":            {Italian: "L'account è aggiunto. Conviene provarlo.", English: "The account is added. It is well to test it."},
	"pull-replaced":         {Italian: "L'account è cambiato. Conviene provarlo.", English: "The account is changed. It is well to test it."},
	"pull-started":          {Italian: "L'importazione comincia appena c'è posto. Questa pagina dice poi com'è andata.", English: "The import begins as soon as there is room. This page then says how it went."},
	"pull-removed":          {Italian: "L'account è tolto. Ciò che è stato importato resta.", English: "The account is removed. What was imported stays."},
	"second-factor-off":     {Italian: "Il secondo fattore è disattivato.", English: "The second factor is off."},
	"export-begun":          {Italian: "L'esportazione è cominciata.", English: "The export has begun."},
	"export-removed":        {Italian: "L'esportazione è eliminata.", English: "The export is removed."},
	"signed-out":            {Italian: "La sessione è chiusa.", English: "You have signed out."},
}

// amountDoneTexts are doneTexts about messages: the parameter n says how many, and left how many stay as they were.
var amountDoneTexts = map[string]policy.Label{
	"deleted":  {Italian: "Eliminati: %s. Si possono recuperare per 72 ore dalla pagina Eliminati.", English: "Deleted: %s. They can be brought back for 72 hours on the page Deleted."},
	"moved":    {Italian: "Spostati: %s.", English: "Moved: %s."},
	"restored": {Italian: "Recuperati: %s.", English: "Brought back: %s."},
}

// doneText returns what has just been done. A key that nobody has defined says nothing.
func (v *visit) doneText() string {
	values := v.URL.Query()
	done := values.Get("done")
	label, ok := amountDoneTexts[done]
	n, err := strconv.ParseUint(values.Get("n"), 10, 32)
	if !ok || err != nil {
		return doneTexts[done].In(v.language)
	}
	said := fmt.Sprintf(label.In(v.language), v.amount(n))
	if left, err := strconv.ParseUint(values.Get("left"), 10, 32); err == nil && left > 0 {
		said += " " + v.t("Restano come erano, per un blocco legale o perché non si possono leggere o recuperare: %s.",
			"Left as they were, because of a legal hold, or because they cannot be read or brought back: %s.", v.amount(left))
	}
	return said
}

// amount returns a number of messages in words.
func (v *visit) amount(n uint64) string {
	if n == 1 {
		return v.t("un messaggio", "one message")
	}
	return v.t("%s messaggi", "%s messages", numberText(v.language, n))
}

var monthNames = [...]policy.Label{
	{Italian: "gennaio", English: "January"}, {Italian: "febbraio", English: "February"}, {Italian: "marzo", English: "March"},
	{Italian: "aprile", English: "April"}, {Italian: "maggio", English: "May"}, {Italian: "giugno", English: "June"},
	{Italian: "luglio", English: "July"}, {Italian: "agosto", English: "August"}, {Italian: "settembre", English: "September"},
	{Italian: "ottobre", English: "October"}, {Italian: "novembre", English: "November"}, {Italian: "dicembre", English: "December"},
}

// monthText returns a month as people name it: "novembre 2026" for "2026-11". What is no month stays as it is.
func monthText(l policy.Language, month string) string {
	t, err := time.Parse("2006-01", month)
	if err != nil {
		return month
	}
	return monthNames[t.Month()-1].In(l) + " " + strconv.Itoa(t.Year())
}

// dayText returns a day in the reader's zone: "29 novembre 2026".
func dayText(l policy.Language, zone *time.Location, t time.Time) string {
	t = t.In(zone)
	return fmt.Sprintf("%d %s %d", t.Day(), monthNames[t.Month()-1].In(l), t.Year())
}

// timeText returns a time in the reader's zone, with the offset: "29/11/2026 10:11:12 +01:00".
func timeText(l policy.Language, zone *time.Location, t time.Time) string {
	layout := "02/01/2006 15:04:05 -07:00"
	if l == policy.English {
		layout = "2 Jan 2006 15:04:05 -07:00"
	}
	return t.In(zone).Format(layout)
}

// uidText returns a UID as paths have it.
func uidText(uid uint32) string { return strconv.FormatUint(uint64(uid), 10) }

// timeElement returns a time for people, with that for programs. The zero time is a dash.
func timeElement(t time.Time, text string) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + template.HTMLEscapeString(text) + `</time>`)
}

// sizeText returns a number of bytes as people read it.
func sizeText(l policy.Language, n any) string {
	size, err := strconv.ParseUint(fmt.Sprint(n), 10, 64)
	if err != nil {
		return fmt.Sprint(n)
	}
	return l.Size(size)
}

// numberText returns a number with separators of thousands.
func numberText(l policy.Language, n any) string {
	digits := fmt.Sprint(n)
	separator := "."
	if l == policy.English {
		separator = ","
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), separator)
}

// percentText returns a share as people read it: "12,5".
func percentText(l policy.Language, percent any) string {
	value, ok := percent.(float64)
	if !ok {
		return fmt.Sprint(percent)
	}
	text := strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0")
	if l != policy.English {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// messagesText returns a number of messages: "1 messaggio", "2 messaggi".
func messagesText(l policy.Language, n any) string {
	if fmt.Sprint(n) == "1" {
		return text(l, "1 messaggio", "1 message")
	}
	return text(l, "%s messaggi", "%s messages", numberText(l, n))
}
