package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestLabels: each name has a text in both languages, and none is twice in its vocabulary.
func TestLabels(t *testing.T) {
	for _, vocabulary := range Vocabularies() {
		names, italian, english := make(map[string]bool), make(map[string]bool), make(map[string]bool)
		for _, n := range Labels(vocabulary) {
			for _, one := range []struct {
				text string
				seen map[string]bool
			}{{n.Name, names}, {n.Label.Italian, italian}, {n.Label.English, english}} {
				if one.text == "" || one.text != strings.TrimSpace(one.text) || one.seen[one.text] {
					t.Errorf("%s %s: %q is empty, or in the vocabulary twice", vocabulary, n.Name, one.text)
				}
				one.seen[one.text] = true
			}
			if n.Label.In(Italian) != n.Label.Italian || n.Label.In(English) != n.Label.English || n.Label.In("xx") != n.Label.Italian {
				t.Errorf("%s %s: %q in Italian, %q in English", vocabulary, n.Name, n.Label.In(Italian), n.Label.In(English))
			}
		}
		if len(names) < 2 {
			t.Errorf("%s has %d names", vocabulary, len(names))
		}
	}
	if Labels("colours") != nil {
		t.Error("there is a vocabulary of colours")
	}
	if got, want := Labels(VocabularyClasses).Label("flood"), (Label{"flood", "flood"}); got != want {
		t.Errorf("an unknown name has the label %v", got)
	}
}

// TestLabelsAreComplete compares the vocabularies with the names that the program uses.
func TestLabelsAreComplete(t *testing.T) {
	texts := func(values ...string) []string {
		slices.Sort(values)
		return values
	}
	var presets []string
	for _, p := range filterPresets() {
		presets = append(presets, p.name)
	}
	for vocabulary, want := range map[string][]string{
		VocabularySettings:   texts(strings.Split(valueKeys, ",")...),
		VocabularyStates:     texts(string(StateOn), string(StatePaused), string(StateOff), string(StateClosed)),
		VocabularyClasses:    texts(strings.Split(filterNames, ",")...),
		VocabularyPresets:    texts(presets...),
		VocabularyLayouts:    texts(string(LayoutMonth), string(LayoutType)),
		VocabularyWhenFull:   texts(string(WhenFullSkip), string(WhenFullDefer), string(WhenFullMakeRoom)),
		VocabularyProtocols:  texts(strings.Split(protocolNames, ",")...),
		VocabularyEvents:     texts(strings.Split(eventNames, ",")...),
		VocabularyLanguages:  texts(string(Italian), string(English)),
		VocabularyErasure:    texts(Erasure{}.String(), string(ErasureDue), string(ErasureRunning), string(ErasureDone)),
		VocabularyDirections: texts(DirectionReceived, DirectionSent),
		VocabularyReasons:    reasonConstants(t),
	} {
		if got := texts(Labels(vocabulary).Names()...); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", vocabulary, got, want)
		}
	}
	sections := make(map[string]bool)
	for key := range strings.SplitSeq(valueKeys, ",") {
		sections[Section(key)] = true
	}
	if got, want := slices.Sorted(maps.Keys(sections)), texts(Labels(VocabularySections).Names()...); !slices.Equal(got, want) {
		t.Errorf("the settings lie in the sections %q, want %q", got, want)
	}
	for class, want := range map[string]string{"certified": "received", "delivery": "received", "sent-certified": "sent", "sent-other": "sent"} {
		if got := LabelGroup(VocabularyClasses, class); got != want {
			t.Errorf("%s is grouped under %q, want %q", class, got, want)
		}
	}
	if got := LabelGroup(VocabularySettings, KeyRetention) + LabelGroup(VocabularyReasons, ReasonFull); got != SectionDeletion {
		t.Errorf("grouped under %q", got)
	}
	if got := Section("colour"); got != "" {
		t.Errorf("the section of no setting is %q", got)
	}
}

// reasonConstants reads the values of the constants Reason... from the source of this package and of the journal.
func reasonConstants(t *testing.T) []string {
	t.Helper()
	reasons := make(map[string]bool)
	for _, pattern := range []string{"*.go", "../journal/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				for i := 0; ok && i < min(len(spec.Names), len(spec.Values)); i++ {
					text, isText := spec.Values[i].(*ast.BasicLit)
					if !isText || text.Kind != token.STRING || !strings.HasPrefix(spec.Names[i].Name, "Reason") {
						continue
					}
					reason, err := strconv.Unquote(text.Value)
					if err != nil {
						t.Fatal(err)
					}
					reasons[reason] = true
				}
				return true
			})
		}
	}
	return slices.Sorted(maps.Keys(reasons))
}

// TestOwnersWords: the settings have the names under which owners look for them.
func TestOwnersWords(t *testing.T) {
	settings := Labels(VocabularySettings)
	for want, got := range map[string]Label{
		"Archivio in scrittura":                         settings.Label(KeyWrite),
		"Accesso all'archivio tramite IMAP":             settings.Label(KeyIMAP),
		"Abilita la cancellazione manuale dei messaggi": settings.Label(KeyManualDelete),
		"Impostazioni di cancellazione":                 Labels(VocabularySections).Label(Section(KeyRetention)),
		"tutta la posta certificata":                    Labels(VocabularyPresets).Label("all-certified"),
	} {
		if got.Italian != want {
			t.Errorf("%q, want %q", got.Italian, want)
		}
	}
}

func TestValueLabel(t *testing.T) {
	for _, c := range []struct{ key, value, italian, english string }{
		{KeyArchive, "on", "attivo", "on"},
		{KeyArchive, "paused", "in pausa", "paused"},
		{KeyFilter, "all", "tutti i messaggi", "all messages"},
		{KeyFilter, "certified,acceptance,delivery,sent-certified", "tutta la posta certificata", "all certified mail"},
		{KeyFilter, "acceptance,delivery", "solo le ricevute", "receipts only"},
		{KeyFilter, "certified", "ricevuti: certificati", "received: certified"},
		{KeyFilter, "certified,other,sent-other", "ricevuti: certificati, non certificati; inviati: solo a destinatari non certificati",
			"received: certified, not certified; sent: only to recipients that are not certified"},
		{KeyFilter, "sent-certified,sent-other", "inviati: ad almeno un destinatario certificato, solo a destinatari non certificati",
			"sent: to at least one certified recipient, only to recipients that are not certified"},
		{KeyFilter, "flood", "flood", "flood"},
		{KeyWrite, "on", "sì", "on"}, {KeyManualDelete, "off", "no", "off"}, {KeyIMAP, "on", "sì", "on"},
		{KeyRetention, "none", "senza limite", "no limit"}, {KeyRetention, "24", "24 mesi", "24 months"},
		{KeyQuota, "none", "senza limite", "no limit"}, {KeyQuota, "5GB", "5 GB", "5 GB"},
		{KeyWhenFull, "skip", "consegna senza archiviare", "deliver without archiving"},
		{KeyProtocols, "imap,smtp", "IMAP, SMTP", "IMAP, SMTP"}, {KeyProtocols, "none", "nessuno, solo webmail", "none, only webmail"},
		{KeyNotify, "none", "nessuno", "none"}, {KeyNotify, "anna@ext.test", "anna@ext.test", "anna@ext.test"},
		{KeyNotifyOn, "none", "nessuno", "none"},
		{KeyNotifyOn, "full,gap", "archivio quasi pieno, lacune dell'archivio", "archive nearly full, gaps in the archive"},
		{KeyLanguage, "it", "italiano", "Italian"},
		{KeyLayout, "month", "per mese", "by month"},
		{KeyLayout, "type", "per anno, mese e tipo", "by year, month and type"},
		{KeyHold, "off", "no", "off"}, {KeyHold, "on: R.G. 12/2026", "sì", "on"},
		{KeyErasure, "none", "nessuna", "none"}, {KeyErasure, "due 2026-11-24T18:00:00Z", "prevista", "due"}, {KeyErasure, "done", "completata", "done"},
		{KeyNotifyPending, "none", "nessuno", "none"},
		{KeyNotifyPending, "anna@ext.test until 2026-12-06T10:13:46.833106913Z", "anna@ext.test", "anna@ext.test"},
		{KeyRetentionDelay, "none", "nessuno", "none"}, {KeyRetentionDelay, "all until 2026-12-02T10:17:51Z", "senza limite", "no limit"},
		{KeyRetentionDelay, "24 until 2026-12-02T10:17:51Z", "24 mesi", "24 months"},
		{"colour", "red", "red", "red"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			if got, want := ValueLabel(c.key, c.value), (Label{c.italian, c.english}); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	// Every default reads as words.
	for key, value := range programDefaults().Values() {
		if l := ValueLabel(key, value); l.Italian == "" || l.English == "" || key != KeyQuota && l == (Label{value, value}) {
			t.Errorf("%s=%s has the label %q", key, value, l)
		}
	}
}

func TestASCII(t *testing.T) {
	for text, want := range map[string]string{
		"Già perché più così, però è l'È": "Gia' perche' piu' cosi', pero' e' l'E'", "plain": "plain", "’": "'", "a\r\nb\x00": "a??b?", "€": "?", "": "",
	} {
		if got := ASCII(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
