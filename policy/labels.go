package policy

import "strings"

// Label is what a name means, in the words of people. Both texts begin in lower case where they are part of a sentence or of a list, and in upper
// case where they stand alone.
type Label struct {
	Italian string `json:"it"`
	English string `json:"en"`
}

// In returns the text in a language. Any language but English is Italian.
func (l Label) In(language Language) string {
	if language == English {
		return l.English
	}
	return l.Italian
}

// ASCII returns a text of people for protocols that take nothing else in their replies (RFC 9051 section 9, RFC 5321 section 4.2): accents become
// apostrophes, as Italians write them on keyboards without any.
func ASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.NewReplacer("à", "a'", "è", "e'", "é", "e'", "ì", "i'", "ò", "o'", "ù", "u'", "È", "E'", "À", "A'", "’", "'").Replace(text))
}

// Named is a name that settings, requests and records use, with its label.
type Named struct {
	Name  string `json:"name"`
	Label Label  `json:"label"`
}

// Vocabulary is a list of names with their labels, in the order in which people are shown them. No name and no label is in it twice.
type Vocabulary []Named

// Label returns the label of a name. A name that is not in the vocabulary stands for itself.
func (v Vocabulary) Label(name string) Label {
	for _, named := range v {
		if named.Name == name {
			return named.Label
		}
	}
	return Label{name, name}
}

// Names returns the names in their order.
func (v Vocabulary) Names() []string {
	names := make([]string, len(v))
	for i, named := range v {
		names[i] = named.Name
	}
	return names
}

// join returns the labels of names, with commas.
func (v Vocabulary) join(names []string) Label {
	var italian, english []string
	for _, name := range names {
		l := v.Label(name)
		italian, english = append(italian, l.Italian), append(english, l.English)
	}
	return Label{strings.Join(italian, ", "), strings.Join(english, ", ")}
}

// The names of the vocabularies.
const (
	VocabularySettings   = "setting"   // the keys of Settings.Values
	VocabularySections   = "section"   // what the settings are grouped by: see Section
	VocabularyStates     = "state"     // of an archive
	VocabularySwitches   = "switch"    // the values of a setting that is on or off
	VocabularyDirections = "direction" // of messages, as a filter groups its classes
	VocabularyClasses    = "class"     // the members of a filter
	VocabularyPresets    = "preset"    // filters with a name of their own
	VocabularyLayouts    = "layout"    // of the folders of an archive
	VocabularyWhenFull   = "when_full"
	VocabularyProtocols  = "protocol"
	VocabularyEvents     = "event" // that cause notices
	VocabularyLanguages  = "language"
	VocabularyErasure    = "erasure" // the states of an erasure
	VocabularyVerdicts   = "verdict" // on a message
	VocabularyReasons    = "reason"  // of gaps and of verdicts, the journal's included
)

// Vocabularies returns the names of all vocabularies.
func Vocabularies() []string {
	return []string{
		VocabularySettings, VocabularySections, VocabularyStates, VocabularySwitches, VocabularyDirections, VocabularyClasses, VocabularyPresets,
		VocabularyLayouts, VocabularyWhenFull, VocabularyProtocols, VocabularyEvents, VocabularyLanguages, VocabularyErasure, VocabularyVerdicts, VocabularyReasons,
	}
}

// Labels returns the vocabulary of a name, or nil. All faces, and the notices, take their words from here.
func Labels(vocabulary string) Vocabulary {
	switch vocabulary {
	case VocabularySettings:
		return Vocabulary{
			{KeyArchive, Label{"Archivio di sicurezza", "Security archive"}},
			{KeyFilter, Label{"Messaggi da archiviare", "Messages to archive"}},
			{KeyWrite, Label{"Archivio in scrittura", "Writable archive"}},
			{KeyManualDelete, Label{"Abilita la cancellazione manuale dei messaggi", "Messages may be deleted by hand"}},
			{KeyAppend, Label{"Abilita l'inserimento manuale di messaggi", "Older messages may be put in by hand"}},
			{KeyIMAP, Label{"Accesso all'archivio tramite IMAP", "Access to the archive by IMAP"}},
			{KeyLayout, Label{"Cartelle dell'archivio", "Folders of the archive"}},
			{KeyRetention, Label{"Periodo di conservazione", "Retention period"}},
			{KeyQuota, Label{"Spazio dell'archivio", "Room of the archive"}},
			{KeyWhenFull, Label{"Quando l'archivio è pieno", "When the archive is full"}},
			{KeyProtocols, Label{"Protocolli della casella", "Protocols of the mailbox"}},
			{KeyNotify, Label{"Indirizzo per gli avvisi", "Address for notices"}},
			{KeyNotifyOn, Label{"Avvisi", "Notices"}},
			{KeyLanguage, Label{"Lingua", "Language"}},
			{KeyHold, Label{"Blocco legale", "Legal hold"}},
			{KeyErasure, Label{"Cancellazione dell'archivio", "Erasure of the archive"}},
			{KeyNotifyPending, Label{"Indirizzo per gli avvisi da confermare", "Address for notices to be confirmed"}},
			{KeyRetentionDelay, Label{"Periodo di conservazione fino al termine del preavviso", "Retention period until the owner has had time"}},
		}
	case VocabularySections:
		return Vocabulary{
			{SectionArchive, Label{"Archiviazione", "Archiving"}},
			{SectionAccess, Label{"Accesso", "Access"}},
			{SectionDeletion, Label{"Impostazioni di cancellazione", "Deletion settings"}},
			{SectionNotices, Label{"Avvisi e lingua", "Notices and language"}},
		}
	case VocabularyStates:
		return Vocabulary{
			{string(StateOn), Label{"attivo", "on"}}, {string(StatePaused), Label{"in pausa", "paused"}}, {string(StateOff), Label{"non attivo", "off"}},
			{string(StateClosed), Label{"chiuso", "closed"}},
		}
	case VocabularySwitches:
		return Vocabulary{{"on", Label{"sì", "on"}}, {"off", Label{"no", "off"}}}
	case VocabularyDirections:
		return Vocabulary{{DirectionReceived, Label{"ricevuti", "received"}}, {DirectionSent, Label{"inviati", "sent"}}}
	case VocabularyClasses:
		return Vocabulary{
			{"certified", Label{"certificati", "certified"}},
			{"other", Label{"non certificati", "not certified"}},
			{"acceptance", Label{"ricevute di accettazione", "acceptance receipts"}},
			{"delivery", Label{"ricevute di consegna", "delivery receipts"}},
			{"sent-certified", Label{"ad almeno un destinatario certificato", "to at least one certified recipient"}},
			{"sent-other", Label{"solo a destinatari non certificati", "only to recipients that are not certified"}},
		}
	case VocabularyPresets:
		return Vocabulary{
			{"all", Label{"tutti i messaggi", "all messages"}},
			{"all-certified", Label{"tutta la posta certificata", "all certified mail"}},
			{"receipts", Label{"solo le ricevute", "receipts only"}},
		}
	case VocabularyLayouts:
		return Vocabulary{
			{string(LayoutMonth), Label{"per mese", "by month"}},
			{string(LayoutType), Label{"per anno, mese e tipo", "by year, month and type"}},
		}
	case VocabularyWhenFull:
		return Vocabulary{
			{string(WhenFullSkip), Label{"consegna senza archiviare", "deliver without archiving"}},
			{string(WhenFullDefer), Label{"fa attendere la posta", "let mail wait"}},
			{string(WhenFullMakeRoom), Label{"cancella i messaggi più vecchi", "delete the oldest messages"}},
		}
	case VocabularyProtocols:
		return Vocabulary{{"imap", Label{"IMAP", "IMAP"}}, {"pop3", Label{"POP3", "POP3"}}, {"smtp", Label{"SMTP", "SMTP"}}}
	case VocabularyEvents:
		return Vocabulary{
			{"certified", Label{"messaggi certificati in arrivo", "certified messages"}},
			{"full", Label{"archivio quasi pieno", "archive nearly full"}},
			{"gap", Label{"lacune dell'archivio", "gaps in the archive"}},
			{"retention", Label{"cancellazioni per scadenza", "deletions by retention"}},
			{"mailbox-full", Label{"casella quasi piena", "mailbox nearly full"}},
			{"before-loss", Label{"cancellazioni imminenti", "coming deletions"}},
			{"security", Label{"accesso e sicurezza", "access and security"}},
		}
	case VocabularyLanguages:
		return Vocabulary{{string(Italian), Label{"italiano", "Italian"}}, {string(English), Label{"inglese", "English"}}}
	case VocabularyErasure:
		return Vocabulary{
			{"none", Label{"nessuna", "none"}},
			{string(ErasureDue), Label{"prevista", "due"}},
			{string(ErasureRunning), Label{"in corso", "under way"}},
			{string(ErasureDone), Label{"completata", "done"}},
		}
	case VocabularyVerdicts:
		return Vocabulary{
			{"journaled", Label{"archiviato", "archived"}},
			{"skipped", Label{"non archiviato", "not archived"}},
			{"gap", Label{"mancante", "missing"}},
			{"renamed", Label{"indirizzo cambiato", "address changed"}},
		}
	case VocabularyReasons:
		return reasons()
	}
	return nil
}

// reasons returns the reasons of this package and of the journal, which this package does not import. Each label is a clause: it completes
// "the message was not archived:".
func reasons() Vocabulary {
	return Vocabulary{
		{ReasonAlias, Label{"è arrivato tramite un alias", "it came through an alias"}},
		{ReasonForward, Label{"è stato inoltrato da un'altra casella", "another mailbox forwarded it"}},
		{ReasonRedirect, Label{"è stato reindirizzato dal filtro Sieve di un'altra casella", "the Sieve script of another mailbox redirected it"}},
		{ReasonCopy, Label{"è una copia fatta dal server di posta", "it is a copy that the mail server made"}},
		{ReasonList, Label{"è arrivato tramite una lista", "it came through a list"}},
		{ReasonFilter, Label{"il filtro esclude i messaggi di questo tipo", "the filter leaves out messages of this kind"}},
		{ReasonNotActivated, Label{"l'archivio non era mai stato attivato", "the archive had never been on"}},
		{ReasonDisabled, Label{"l'archivio non era attivo", "the archive was off"}},
		{ReasonPaused, Label{"l'archivio era in pausa", "the archive was paused"}},
		{ReasonRenamed, Label{"l'archivio era passato a un altro indirizzo", "the archive had gone on to another address"}},
		{ReasonHandedOver, Label{"la casella era passata a un'altra persona", "the mailbox had gone to another person"}},
		{ReasonErased, Label{"l'archivio è stato disattivato e cancellato", "the archive was disabled and erased"}},
		{ReasonFull, Label{"l'archivio era pieno", "the archive was full"}},
		{"made-room", Label{"l'archivio era pieno, e i messaggi più vecchi sono stati cancellati",
			"the archive was full, and its oldest messages were deleted"}},
		{"journal-fault", Label{"per un guasto l'archivio non ha potuto prenderlo", "a fault kept the archive from taking it"}},
		{"lost", Label{"un guasto ha distrutto una parte dell'archivio", "a fault destroyed part of the archive"}},
		{"restored", Label{"l'archivio è stato ripristinato da una copia di sicurezza, e la posta arrivata dopo la copia manca",
			"the archive was restored from a backup, and the mail that arrived after the backup is missing"}},
		{"refused", Label{"la casella lo ha rifiutato", "the mailbox refused it"}},
		{"deleted", Label{"era già archiviato ed è stato cancellato", "it was archived earlier and has been deleted since"}},
	}
}

// The sections of the settings.
const (
	SectionArchive  = "archive"  // what is archived
	SectionAccess   = "access"   // who may do what with it
	SectionDeletion = "deletion" // what ends in it
	SectionNotices  = "notices"  // who is told, and how
)

// Section returns the section of a setting; empty for a key that is none.
func Section(key string) string {
	switch key {
	case KeyArchive, KeyFilter, KeyQuota, KeyWhenFull, KeyAppend:
		return SectionArchive
	case KeyIMAP, KeyLayout, KeyWrite, KeyProtocols:
		return SectionAccess
	case KeyManualDelete, KeyRetention, KeyHold, KeyErasure, KeyRetentionDelay:
		return SectionDeletion
	case KeyNotify, KeyNotifyOn, KeyLanguage, KeyNotifyPending:
		return SectionNotices
	}
	return ""
}

// LabelGroup returns what a name is grouped under in its vocabulary: the section of a setting, the direction of a class. It is empty for all others.
func LabelGroup(vocabulary, name string) string {
	switch vocabulary {
	case VocabularySettings:
		return Section(name)
	case VocabularyClasses:
		return FilterDirection(name)
	}
	return ""
}

// ValueLabel returns the value of a setting, in the form of Settings.Values, in words. It leaves out the reason of a hold, and the time of an
// erasure, of an address to be confirmed and of a delayed retention.
// An address stands for itself.
func ValueLabel(key, value string) Label {
	if value == "none" {
		if l := noneLabel(key); l != (Label{}) {
			return l
		}
	}
	switch key {
	case KeyArchive:
		return Labels(VocabularyStates).Label(value)
	case KeyFilter:
		return filterLabel(value)
	case KeyWrite, KeyManualDelete, KeyAppend, KeyIMAP:
		return Labels(VocabularySwitches).Label(value)
	case KeyRetention:
		return Label{value + " mesi", value + " months"}
	case KeyQuota:
		unit := strings.TrimLeft(value, "0123456789")
		words := strings.TrimSpace(strings.TrimSuffix(value, unit) + " " + unit)
		return Label{words, words}
	case KeyLayout:
		return Labels(VocabularyLayouts).Label(value)
	case KeyWhenFull:
		return Labels(VocabularyWhenFull).Label(value)
	case KeyProtocols:
		return Labels(VocabularyProtocols).join(strings.Split(value, ","))
	case KeyNotifyOn:
		return Labels(VocabularyEvents).join(strings.Split(value, ","))
	case KeyLanguage:
		return Labels(VocabularyLanguages).Label(value)
	case KeyHold:
		word, _, _ := strings.Cut(value, ":")
		return Labels(VocabularySwitches).Label(word)
	case KeyErasure:
		word, _, _ := strings.Cut(value, " ")
		return Labels(VocabularyErasure).Label(word)
	case KeyNotifyPending:
		address, _, _ := strings.Cut(value, " until ")
		return Label{address, address}
	case KeyRetentionDelay:
		months, _, _ := strings.Cut(value, " until ")
		if months == "all" {
			months = "none"
		}
		return ValueLabel(KeyRetention, months)
	}
	return Label{value, value}
}

// noneLabel returns what "none" means as the value of a setting; the zero Label where a vocabulary has it, or it is no value.
func noneLabel(key string) Label {
	switch key {
	case KeyRetention, KeyQuota:
		return Label{"senza limite", "no limit"}
	case KeyProtocols:
		return Label{"nessuno, solo webmail", "none, only webmail"}
	case KeyNotify, KeyNotifyOn, KeyNotifyPending, KeyRetentionDelay:
		return Label{"nessuno", "none"}
	}
	return Label{}
}
