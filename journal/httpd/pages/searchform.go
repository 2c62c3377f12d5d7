package pages

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// The search form and the parameter q say the same. What the form has no field for stays in its field of words.

// searchForm is the search form, filled in.
type searchForm struct {
	Words, From, To, Subject, File string
	Since, Until                   string // days, as forms have them
	Min, Max                       string // megabytes
	Direction                      string // "received", "sent" or nothing
	Attachment                     bool
	Folder                         string
	Groups                         []classGroup
	Open                           bool   // more fields than that of words are filled in
	Trouble                        string // what is wrong with it
}

// classGroup is a group of checkboxes for classes.
type classGroup struct {
	Name    string
	Classes []classChoice
}

// classChoice is a checkbox for a class.
type classChoice struct {
	Name, Text string
	Checked    bool
}

const (
	dayLayout = time.DateOnly // of the value of a date field
	megabyte  = 1_000_000
)

// query returns what the search form, or q, asks for. What is wrong with it is said in words, and then the query is not to be asked.
func (v *visit) query(values url.Values) (q search.Query, trouble string) {
	const tooLong = 2000
	q, err := search.ParseQueryIn(values.Get("q"), v.zone)
	if err != nil {
		return search.Query{}, v.t("La ricerca è troppo lunga o non ha senso: scrivere meno parole.", "The search is too long, or makes no sense: write fewer words.")
	}
	for _, field := range []struct {
		name string
		to   *[]string
	}{{"from", &q.From}, {"to", &q.To}, {"subject", &q.Subject}, {"file", &q.File}} {
		if text := strings.TrimSpace(values.Get(field.name)); len(text) > tooLong {
			trouble = v.t("Una parola da cercare è troppo lunga.", "One of the words is too long.")
		} else if text != "" {
			*field.to = append(*field.to, textsOf(text)...)
		}
	}
	for _, class := range values["class"] {
		if !slices.Contains(q.Classes, class) {
			q.Classes = append(q.Classes, class)
		}
	}
	switch values.Get("direction") {
	case journal.Received.String():
		q.Direction = journal.Received
	case journal.Sent.String():
		q.Direction = journal.Sent
	}
	if folder := values.Get("folder"); folder != "" {
		q.Folder = folder
	}
	q.Attachment = q.Attachment || values.Get("attachment") != ""
	for _, check := range []func(url.Values, *search.Query) string{v.days, v.sizes} {
		if text := check(values, &q); text != "" {
			trouble = text
		}
	}
	if trouble == "" && slices.ContainsFunc(q.Classes, func(c string) bool { return !slices.Contains(search.Classes(), c) }) {
		trouble = v.t("Uno dei tipi di messaggio non esiste.", "One of the kinds of messages does not exist.")
	}
	return q, trouble
}

// textsOf returns the texts that are typed into one field: words, or what is in quotes.
func textsOf(text string) []string {
	q, err := search.ParseQuery(text)
	if only := (search.Query{Text: q.Text}); err != nil || len(q.Text) == 0 || q.String() != only.String() {
		return []string{text}
	}
	return q.Text
}

// days reads the days of the form.
func (v *visit) days(values url.Values, q *search.Query) (trouble string) {
	for _, field := range []struct {
		name string
		to   *time.Time
		days int // to be added
	}{{"since", &q.Since, 0}, {"until", &q.Until, 1}} {
		text := values.Get(field.name)
		if text == "" {
			continue
		}
		day, err := time.ParseInLocation(dayLayout, text, v.zone)
		if err != nil || day.Year() < 1970 || day.Year() > 2200 {
			return v.t("Un giorno va scritto come 2026-11-29.", "Write a day as 2026-11-29.")
		}
		*field.to = day.AddDate(0, 0, field.days)
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return v.t("Il primo giorno viene dopo l'ultimo.", "The first day is after the last one.")
	}
	return ""
}

// sizes reads the sizes of the form, in megabytes.
func (v *visit) sizes(values url.Values, q *search.Query) (trouble string) {
	for _, field := range []struct {
		name string
		to   *int64
	}{{"min", &q.MinSize}, {"max", &q.MaxSize}} {
		text := strings.TrimSpace(values.Get(field.name))
		if text == "" {
			continue
		}
		n, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64)
		if err != nil || !(n >= 0 && n < 1e6) {
			return v.t("Una dimensione va scritta in megabyte, come 2 o 0,5.", "Write a size in megabytes, such as 2 or 0.5.")
		}
		*field.to = int64(math.Round(n * megabyte))
	}
	if q.MaxSize > 0 && q.MinSize > q.MaxSize {
		return v.t("La dimensione più grande è minore della più piccola.", "The largest size is less than the smallest.")
	}
	return ""
}

// searchForm returns the form for a query, in such a way that it asks for the same.
func (v *visit) searchForm(q search.Query) searchForm {
	form := searchForm{Folder: q.Folder, Attachment: q.Attachment, Groups: v.classGroups(q)}
	words := search.Query{Text: q.Text}
	texts := func(list []string) string { return search.Query{Text: list}.String() }
	form.From, form.To, form.Subject, form.File = texts(q.From), texts(q.To), texts(q.Subject), texts(q.File)
	if q.Direction != 0 {
		form.Direction = q.Direction.String()
	}
	if day := q.Since.In(v.zone); !q.Since.IsZero() && day.Format(time.TimeOnly) == "00:00:00" {
		form.Since = day.Format(dayLayout)
	} else {
		words.Since = q.Since
	}
	if day := q.Until.In(v.zone); !q.Until.IsZero() && day.Format(time.TimeOnly) == "00:00:00" {
		form.Until = day.AddDate(0, 0, -1).Format(dayLayout)
	} else {
		words.Until = q.Until
	}
	form.Min, form.Max = v.megabytes(q.MinSize), v.megabytes(q.MaxSize)
	form.Words = words.String()
	form.Open = form.From+form.To+form.Subject+form.File+form.Since+form.Until+form.Min+form.Max+form.Direction != "" || q.Attachment || len(q.Classes) > 0
	return form
}

func (v *visit) megabytes(n int64) string {
	if n <= 0 {
		return ""
	}
	text := strconv.FormatFloat(float64(n)/megabyte, 'f', -1, 64)
	if v.language == policy.Italian {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// classGroups returns the checkboxes of the classes: as a filter groups them, and the single ones of certified mail.
func (v *visit) classGroups(q search.Query) []classGroup {
	groups := []classGroup{{Name: v.t("Ricevuti", "Received")}, {Name: v.t("Inviati", "Sent")}, {Name: v.t("Tipi di posta certificata", "Kinds of certified mail")}}
	for _, class := range policy.Labels(policy.VocabularyClasses) {
		at := 0
		if policy.FilterDirection(class.Name) == policy.DirectionSent {
			at = 1
		}
		groups[at].Classes = append(groups[at].Classes, classChoice{class.Name, class.Label.In(v.language), slices.Contains(q.Classes, class.Name)})
	}
	for _, class := range singleClasses {
		groups[2].Classes = append(groups[2].Classes,
			classChoice{string(class), class.Label().In(v.language), slices.Contains(q.Classes, string(class))})
	}
	return groups
}

// singleClasses are the classes of certified mail that people look for, beside the groups of filters.
var singleClasses = [...]pec.Class{pec.AvvenutaConsegna, pec.ErroreConsegna, pec.PreavvisoErroreConsegna, pec.NonAccettazione, pec.Anomalia, pec.RilevazioneVirus, pec.REM}

// queryValues returns the parameters that ask for a query.
func queryValues(q search.Query) url.Values {
	values := url.Values{}
	if q.Folder != "" {
		values.Set("folder", q.Folder)
	}
	q.Folder = ""
	if text := q.String(); text != "" {
		values.Set("q", text)
	}
	return values
}

// queryText returns the parameters that ask for a query as a path has them, with more of them, each a name and a value. Those without a value are left out.
func queryText(q search.Query, more ...string) string {
	values := queryValues(q)
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] != "" {
			values.Set(more[i], more[i+1])
		}
	}
	if len(values) == 0 {
		return ""
	}
	return "?" + values.Encode()
}

// queryWords says what a query asks for, without its folder.
func (v *visit) queryWords(q search.Query) []string {
	var list []string
	add := func(italian, english string, args ...any) { list = append(list, v.t(italian, english, args...)) }
	each := func(texts []string, italian, english string) {
		for _, text := range texts {
			add(italian, english, calm(text))
		}
	}
	each(q.Text, "contiene «%s»", "contains “%s”")
	each(q.From, "mittente con «%s»", "sender has “%s”")
	each(q.To, "destinatario con «%s»", "recipient has “%s”")
	each(q.Subject, "oggetto con «%s»", "subject has “%s”")
	each(q.File, "file con «%s» nel nome", "name of a file has “%s”")
	var classes []string
	for _, group := range v.classGroups(q) {
		for _, class := range group.Classes {
			if class.Checked {
				classes = append(classes, class.Text)
			}
		}
	}
	for _, class := range q.Classes {
		if !slices.Contains(policy.Labels(policy.VocabularyClasses).Names(), class) && !slices.Contains(singleClasses[:], pec.Class(class)) {
			classes = append(classes, pec.Class(class).Label().In(v.language))
		}
	}
	if len(classes) > 0 {
		list = append(list, strings.Join(classes, v.t(" o ", " or ")))
	}
	if q.Direction != 0 {
		list = append(list, policy.Labels(policy.VocabularyDirections).Label(q.Direction.String()).In(v.language))
	}
	if !q.Since.IsZero() {
		add("dal %s", "from %s", v.momentText(q.Since))
	}
	if !q.Until.IsZero() {
		last := q.Until.In(v.zone)
		if last.Format(time.TimeOnly) == "00:00:00" {
			last = last.AddDate(0, 0, -1)
		}
		add("fino al %s", "until %s", v.momentText(last))
	}
	if q.MinSize > 0 {
		add("almeno %s", "at least %s", v.language.Size(uint64(q.MinSize)))
	}
	if q.MaxSize > 0 {
		add("al massimo %s", "at most %s", v.language.Size(uint64(q.MaxSize)))
	}
	if q.Attachment {
		add("con allegati", "with attachments")
	}
	return list
}

// momentText returns a time as a day if it is the beginning of one.
func (v *visit) momentText(t time.Time) string {
	if t.In(v.zone).Format(time.TimeOnly) == "00:00:00" {
		return dayText(v.language, v.zone, t)
	}
	return timeText(v.language, v.zone, t)
}
