package pages

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
)

// settingSection is a group of settings under a heading.
type settingSection struct {
	Name, Label string
	Forms       []settingForm
	Shown       []settingField // that the reader may not change
}

// settingForm is one form: settings that are saved together.
type settingForm struct {
	Name, Action string
	Saved        bool // it has just been saved
	Fields       []settingField
}

// settingField is one setting in a form.
type settingField struct {
	Key, Label string
	Kind       string // "switch", "radio", "select", "checks", "filter", "text" or "email"
	Value      string // in the form of policy.Settings.Values, or what was typed
	Words      string // the value in words
	Options    []settingOption
	Groups     []settingGroup // of the classes of a filter
	Hint       string
	Closed     string // what is closed by the value that a switch has
	Trouble    string // what is wrong with what was typed
}

// On reports whether a switch is on.
func (f settingField) On() bool { return f.Value == "on" }

// settingGroup are options under a heading.
type settingGroup struct {
	Label   string
	Options []settingOption
}

type settingOption struct {
	Name, Label string
	Chosen      bool
}

// typed is what was typed into a form and is wrong.
type typed struct {
	form   string
	values url.Values
	err    error
}

// formsOf returns the names of the forms of a section, in their order. Most are named as the one setting in them.
func formsOf(section string) []string {
	switch section {
	case policy.SectionArchive:
		return []string{policy.KeyFilter, "room", policy.KeyAppend}
	case policy.SectionAccess:
		return []string{policy.KeyProtocols, policy.KeyIMAP, policy.KeyLayout, policy.KeyWrite}
	case policy.SectionDeletion:
		return []string{policy.KeyManualDelete, policy.KeyRetention}
	case policy.SectionNotices:
		return []string{policy.KeyNotify, policy.KeyNotifyOn, policy.KeyLanguage}
	}
	return nil
}

// formKeys returns the settings in a form; none for a form that there is not.
func formKeys(form string) []string {
	if form == "room" {
		return []string{policy.KeyQuota, policy.KeyWhenFull}
	}
	for _, section := range policy.Labels(policy.VocabularySections) {
		if slices.Contains(formsOf(section.Name), form) {
			return []string{form}
		}
	}
	return nil
}

// kindOf returns how a setting is put in.
func kindOf(key string) string {
	switch key {
	case policy.KeyWrite, policy.KeyManualDelete, policy.KeyAppend, policy.KeyIMAP:
		return "switch"
	case policy.KeyFilter:
		return "filter"
	case policy.KeyProtocols, policy.KeyNotifyOn:
		return "checks"
	case policy.KeyRetention:
		return "select"
	case policy.KeyNotify:
		return "email"
	case policy.KeyQuota:
		return "text"
	}
	return "radio"
}

// ownFilter is the choice of a filter by its classes.
const ownFilter = "choose"

// readForm returns what a form sets. A browser does not send what is not ticked.
func readForm(form string, values url.Values, filter policy.Filter) []policy.Assignment {
	var list []policy.Assignment
	for _, key := range formKeys(form) {
		value := strings.TrimSpace(values.Get(key))
		switch kindOf(key) {
		case "switch":
			value = "off"
			if values.Get(key) == "on" {
				value = "on"
			}
		case "checks":
			if value = strings.Join(values[key], ","); value == "" {
				value = "none"
			}
		case "filter":
			value = filterValue(value, values["class"], filter)
		case "email":
			if value == "" {
				value = "none"
			}
		default:
			if !values.Has(key) {
				continue
			}
		}
		if key == policy.KeyQuota {
			value = quotaValue(value)
		}
		list = append(list, policy.Assignment{Key: key, Value: value})
	}
	return list
}

// filterValue returns a filter by the preset that is chosen, or by the classes that are ticked. Whoever has left the preset as it was, and has ticked
// other classes than those in force, means the classes.
func filterValue(chosen string, classes []string, now policy.Filter) string {
	if chosen == now.Preset() && len(classes) > 0 {
		for _, class := range policy.Labels(policy.VocabularyClasses).Names() {
			if now.Has(class) != slices.Contains(classes, class) {
				chosen = ownFilter
			}
		}
	}
	if chosen == ownFilter {
		return strings.Join(classes, ",")
	}
	return chosen
}

// quotaValue returns a size as people type it in the form of settings.
func quotaValue(value string) string {
	for _, l := range []policy.Language{policy.Italian, policy.English} {
		if strings.EqualFold(value, policy.ValueLabel(policy.KeyQuota, "none").In(l)) {
			return "none"
		}
	}
	return strings.ReplaceAll(value, " ", "")
}

// valueOf returns the value of a setting; "none" for one that is not there.
func valueOf(m *archive.Mailbox, key string) string {
	for _, s := range m.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return "none"
}

// mayChange reports whether the reader may change a setting.
func mayChange(m *archive.Mailbox, key string) bool { return slices.Contains(m.May, key) }

// settingSections returns all settings that have a form, as far as the reader may change them; the others in words.
func (v *visit) settingSections(m *archive.Mailbox, s policy.Settings, wrong typed) (list []settingSection) {
	saved := v.URL.Query().Get("saved")
	for _, section := range policy.Labels(policy.VocabularySections) {
		one := settingSection{Name: section.Name, Label: section.Label.In(v.language)}
		for _, name := range formsOf(section.Name) {
			form := settingForm{Name: name, Action: v.about("settings", name), Saved: saved == name}
			for _, key := range formKeys(name) {
				field := v.settingField(s, key, valueOf(m, key))
				if !mayChange(m, key) {
					one.Shown = append(one.Shown, field)
					continue
				}
				if wrong.form == name {
					field.Trouble = v.settingTrouble(key, wrong.err)
					field.retype(wrong.values)
				}
				form.Fields = append(form.Fields, field)
			}
			if len(form.Fields) > 0 {
				one.Forms = append(one.Forms, form)
			}
		}
		list = append(list, one)
	}
	return list
}

// settingField returns a setting with its choices.
func (v *visit) settingField(s policy.Settings, key, value string) settingField {
	f := settingField{
		Key: key, Label: policy.Labels(policy.VocabularySettings).Label(key).In(v.language), Kind: kindOf(key), Value: value,
		Words: policy.ValueLabel(key, value).In(v.language), Hint: v.settingHint(key), Closed: s.Closed(key).In(v.language),
	}
	vocabulary := func(name string, chosen func(string) bool) {
		for _, one := range policy.Labels(name) {
			f.Options = append(f.Options, settingOption{one.Name, one.Label.In(v.language), chosen(one.Name)})
		}
	}
	is := func(name string) bool { return name == value }
	among := func(name string) bool { return slices.Contains(strings.Split(value, ","), name) }
	switch key {
	case policy.KeyFilter:
		v.filterOptions(&f, s.Filter)
	case policy.KeyWhenFull:
		vocabulary(policy.VocabularyWhenFull, is)
	case policy.KeyLayout:
		vocabulary(policy.VocabularyLayouts, is)
	case policy.KeyLanguage:
		vocabulary(policy.VocabularyLanguages, is)
	case policy.KeyProtocols:
		vocabulary(policy.VocabularyProtocols, among)
	case policy.KeyNotifyOn:
		vocabulary(policy.VocabularyEvents, among)
	case policy.KeyRetention:
		for _, value := range policy.Retentions() {
			f.Options = append(f.Options, settingOption{value, policy.ValueLabel(key, value).In(v.language), is(value)})
		}
	case policy.KeyQuota:
		f.Value = f.Words
	case policy.KeyNotify:
		if value == "none" {
			f.Value = ""
		}
	}
	return f
}

// filterOptions adds the presets of a filter, and its classes by direction.
func (v *visit) filterOptions(f *settingField, filter policy.Filter) {
	preset := filter.Preset()
	for _, one := range policy.Labels(policy.VocabularyPresets) {
		f.Options = append(f.Options, settingOption{one.Name, one.Label.In(v.language), one.Name == preset})
	}
	f.Options = append(f.Options, settingOption{ownFilter, v.t("solo i messaggi scelti qui sotto", "only the messages chosen below"), preset == ""})
	for _, direction := range policy.Labels(policy.VocabularyDirections) {
		group := settingGroup{Label: upperFirst(direction.Label.In(v.language))}
		for _, class := range policy.Labels(policy.VocabularyClasses) {
			if policy.FilterDirection(class.Name) == direction.Name {
				group.Options = append(group.Options, settingOption{class.Name, class.Label.In(v.language), filter.Has(class.Name)})
			}
		}
		f.Groups = append(f.Groups, group)
	}
}

// retype puts what was typed in place of the value in force.
func (f *settingField) retype(values url.Values) {
	if f.Kind == "text" || f.Kind == "email" {
		f.Value = values.Get(f.Key)
	}
	for i := range f.Options {
		f.Options[i].Chosen = slices.Contains(values[f.Key], f.Options[i].Name)
	}
	for _, group := range f.Groups {
		for i := range group.Options {
			group.Options[i].Chosen = slices.Contains(values["class"], group.Options[i].Name)
		}
	}
}

// settingHint says what must be known before a setting is changed.
func (v *visit) settingHint(key string) string {
	switch key {
	case policy.KeyFilter:
		return v.t("Vale dal prossimo messaggio. Quello che non viene archiviato non si può aggiungere dopo.", "In force from the next message. What is not archived cannot be added later.")
	case policy.KeyManualDelete:
		return v.t("Vale subito: il titolare può cancellare messaggi dell'archivio. Ogni cancellazione resta nel registro.",
			"In force at once: the owner may delete messages of the archive. Each deletion stays in the log.")
	case policy.KeyWrite:
		return v.t("Se attivo, i messaggi si possono spostare e cancellare, anche da un programma di posta; le cartelle mai.",
			"On, messages can be moved and deleted, also by a mail program; folders never.")
	case policy.KeyAppend:
		return v.t("Se attivo, si possono mettere nell'archivio messaggi precedenti; restano distinti da quelli archiviati alla consegna.",
			"On, older messages can be put into the archive; they stay told apart from those archived at delivery.")
	case policy.KeyRetention:
		return v.t("Si conta dall'arrivo di ogni messaggio; alla scadenza il messaggio viene cancellato.", "Counted from the arrival of each message; when it is over, the message is deleted.")
	case policy.KeyQuota:
		return v.t("Per esempio 5 GB, oppure senza limite.", "For example 5 GB, or no limit.")
	case policy.KeyLayout, policy.KeyLanguage:
		return v.t("I programmi di posta vedranno le cartelle con altri nomi, e le scaricheranno di nuovo.", "Mail programs will see the folders under other names, and fetch them anew.")
	case policy.KeyNotify:
		return v.t("Un indirizzo fuori da questo archivio, che si legge anche quando la casella non funziona. Vuoto: nessun avviso. Un indirizzo nuovo va confermato con un codice.",
			"An address outside this archive, which can be read even when the mailbox does not work. Empty: no notices. A new address must be confirmed by a code.")
	}
	return policy.Closes(key).In(v.language)
}

// settingTrouble says what is wrong with what was typed for a setting; nothing if that is not wrong.
func (v *visit) settingTrouble(key string, err error) string {
	if errors.Is(err, policy.ErrLimit) {
		return v.limitTrouble(key)
	}
	if !wrongSetting(err, key) {
		return ""
	}
	switch key {
	case policy.KeyFilter:
		return v.t("Scegliere almeno un tipo di messaggio. Per non archiviare nulla c'è la pausa.", "Choose one kind of message at least. To archive nothing, pause the archive.")
	case policy.KeyQuota:
		return v.t("Scrivere un numero intero maggiore di zero con l'unità, come 5 GB, oppure senza limite.", "Type a whole number above zero with its unit, such as 5 GB, or no limit.")
	case policy.KeyNotify:
		return v.t("Scrivere un solo indirizzo, per intero: non questa casella, né un'altra con un archivio qui.",
			"Type one address, in full: neither this mailbox nor another with an archive here.")
	}
	return v.t("Scegliere uno dei valori proposti.", "Choose one of the values that are offered.")
}

// limitTrouble says how much the operator lets the domain have of a setting.
func (v *visit) limitTrouble(key string) string {
	l := v.pages.options.Archive.Limits(v.domain)
	switch {
	case key == policy.KeyRetention:
		return v.t("Il gestore concede a questo dominio al massimo %d mesi.", "The operator lets this domain have %d months at most.", l.Retention)
	case key == policy.KeyQuota && l.Quota > 0 && l.QuotaTotal > 0:
		return v.t("Il gestore concede al massimo %s per casella, e %s a tutto il dominio.", "The operator lets a mailbox have %s at most, and the whole domain %s.",
			sizeText(v.language, l.Quota), sizeText(v.language, l.QuotaTotal))
	case key == policy.KeyQuota && l.Quota > 0:
		return v.t("Il gestore concede al massimo %s per casella.", "The operator lets a mailbox have %s at most.", sizeText(v.language, l.Quota))
	case key == policy.KeyQuota:
		return v.t("Il gestore concede %s a tutto il dominio, e così sarebbero superati.", "The operator lets the whole domain have %s, which this would exceed.",
			sizeText(v.language, l.QuotaTotal))
	}
	return ""
}

// wrongSetting reports whether an error is about a setting. Errors of several settings come joined.
func wrongSetting(err error, key string) bool {
	if one := (*policy.SettingError)(nil); errors.As(err, &one) && one.Key == key {
		return true
	}
	switch list := err.(type) {
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(list.Unwrap(), func(err error) bool { return wrongSetting(err, key) })
	case interface{ Unwrap() error }:
		return wrongSetting(list.Unwrap(), key)
	}
	return false
}
