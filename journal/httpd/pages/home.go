package pages

import (
	"errors"
	"net/http"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/postfix"
)

func homeRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/{$}", For: OfMailbox, Right: archive.RightRead, serve: (*visit).showHome},
	}
}

// homePage is what the first page of a mailbox shows.
type homePage struct {
	Mailbox  *archive.Mailbox
	State    string
	Until    time.Time // for a delegate: the last day
	Warnings []warning
	Space    *space
	Months   []monthBar // newest first
	Years    []monthBar
	Latest   archive.Latest
	Gaps     int
	More     bool // there are more gaps than that
	Waiting  int  // practices for which receipts are awaited, as countWaiting has it
	Filter   string
	Look     bool // the reader may look at more than the messages
	Off      bool // there is nothing to read
}

// warning is something that the owner should know or do.
type warning struct {
	Text, Path, Link string
}

// space is what the gauge shows.
type space struct {
	Used, Quota, Left uint64 // bytes; no quota is 0
	Percent           float64
	Entries           uint64
}

// monthBar is one row of the chart by month, or by year.
type monthBar struct {
	Month   string
	Entries uint64
	Bytes   uint64
	Percent float64 // of the largest
}

const (
	shownMonths = 12  // of the chart; older ones are summed up by year
	countedGaps = 999 // more are not counted
	nearlyFull  = 75  // percent, as of the first notice
)

func (v *visit) showHome() error {
	m, err := v.mailboxNow()
	if err != nil {
		return err
	}
	p := &homePage{Mailbox: m, State: v.stateText(m), Look: may(m, archive.RightLook), Off: m.Archive == string(policy.StateOff)}
	if v.who.Role == policy.RoleDelegate {
		until, err := v.pages.options.Auth.Delegated(v.Context(), v.session.Login, v.mailbox)
		if err != nil {
			return err
		}
		p.Until = until.Add(-time.Second) // the last day, where it ends at midnight
	}
	if !p.Off {
		if err := v.addContent(p); err != nil {
			return err
		}
	}
	if p.Look {
		if err := v.addWarnings(p); err != nil {
			return err
		}
		p.Filter = policy.ValueLabel(policy.KeyFilter, valueOf(m, policy.KeyFilter)).In(v.language)
	}
	return v.render(http.StatusOK, "home.html", p)
}

// addContent adds what the archive holds.
func (v *visit) addContent(p *homePage) error {
	s, err := v.settingsNow()
	if err != nil {
		return err
	}
	p.Space = spaceOf(p.Mailbox, s.Quota)
	months, err := v.monthUsages()
	if err != nil {
		return err
	}
	p.Months, p.Years = monthBars(months)
	p.Latest, err = v.pages.options.Archive.Latest(v.Context(), v.mailbox)
	if err != nil && !errors.As(err, new(journal.PassedOver)) {
		return err
	}
	if p.Gaps, p.More, err = v.countGaps(); err != nil {
		return err
	}
	p.Waiting, err = v.countWaiting()
	return err
}

// monthUsages returns what the mailbox holds by month, oldest first. Months that cannot be read are missing, which Mailbox.PassedOver tells.
func (v *visit) monthUsages() (list []archive.MonthUsage, err error) {
	for month, err := range v.pages.options.Archive.MonthUsages(v.Context(), v.mailbox) {
		if errors.As(err, new(journal.PassedOver)) {
			break
		}
		if err != nil {
			return nil, err
		}
		list = append(list, month)
	}
	return list, nil
}

func spaceOf(m *archive.Mailbox, quota int64) *space {
	s := &space{Used: m.Bytes, Quota: uint64(quota), Entries: m.Entries}
	if quota <= 0 {
		s.Quota = 0
		return s
	}
	s.Left = max(s.Quota, s.Used) - s.Used
	s.Percent = float64(int64(float64(s.Used)/float64(s.Quota)*1000)) / 10
	return s
}

// monthBars returns the chart of the newest months, newest first, and that of the years before.
func monthBars(months []archive.MonthUsage) (newest, years []monthBar) {
	for i := len(months) - 1; i >= 0; i-- {
		one := monthBar{Month: string(months[i].Month), Entries: months[i].Entries, Bytes: months[i].Bytes}
		if len(newest) < shownMonths {
			newest = append(newest, one)
			continue
		}
		year := one.Month[:4]
		if len(years) == 0 || years[len(years)-1].Month != year {
			years = append(years, monthBar{Month: year})
		}
		last := &years[len(years)-1]
		last.Entries += one.Entries
		last.Bytes += one.Bytes
	}
	scale(newest)
	scale(years)
	return newest, years
}

// scale gives each bar its length.
func scale(bars []monthBar) {
	var largest uint64
	for _, one := range bars {
		largest = max(largest, one.Bytes)
	}
	for i := range bars {
		bars[i].Percent = float64(bars[i].Bytes) / float64(max(largest, 1)) * 100
	}
}

// countGaps counts the gaps that the page of gaps shows.
func (v *visit) countGaps() (n int, more bool, err error) {
	for gap, err := range v.pages.options.Archive.Gaps(v.Context(), v.mailbox) {
		switch {
		case errors.Is(err, journal.ErrDamaged):
			continue
		case err != nil:
			return n, false, err
		case !isGap(&gap):
			continue
		case n == countedGaps:
			return n, true, nil
		}
		n++
	}
	return n, false, nil
}

// addWarnings adds what the owner should know or do.
func (v *visit) addWarnings(p *homePage) error {
	add := func(path, link, text string) { p.Warnings = append(p.Warnings, warning{text, path, link}) }
	m := p.Mailbox
	s, err := v.settingsNow()
	if err != nil {
		return err
	}
	if s := p.Space; s != nil && s.Quota > 0 && s.Percent >= nearlyFull {
		add("", "", v.fullText(s, valueOf(m, policy.KeyWhenFull)))
	}
	if d := s.RetentionDelay; d.Until.After(time.Now()) {
		add(v.path("messages"), v.t("Guarda i messaggi", "See the messages"),
			v.t("Dal %s il periodo di conservazione sarà più breve (%s), e i messaggi più vecchi saranno cancellati. Chi ne ha bisogno li scarichi prima.",
				"From %s on the retention period will be shorter (%s), and older messages will be deleted. Download before then what you need.",
				timeText(v.language, v.zone, d.Until), policy.ValueLabel(policy.KeyRetention, valueOf(m, policy.KeyRetention)).In(v.language)))
	}
	if m.Hold != nil {
		add("", "", v.t("C'è un blocco legale dal %s: fino a quando dura, dall'archivio non si cancella nulla.",
			"A legal hold stands since %s: as long as it does, nothing of the archive is deleted.", dayText(v.language, v.zone, m.Hold.Since)))
	}
	if s.NotifyPending.Address != (policy.Address{}) {
		add(v.path("settings")+"#form-notify", v.t("Conferma l'indirizzo", "Confirm the address"),
			v.t("Il nuovo indirizzo per gli avvisi non è ancora confermato.", "The new address for notices is not confirmed yet."))
	} else if s.Notify == (policy.Address{}) && !p.Off && mayChange(m, policy.KeyNotify) {
		add(v.path("settings")+"#form-notify", v.t("Scegli un indirizzo", "Choose an address"),
			v.t("Nessuno riceve gli avvisi di questo archivio: se fosse pieno o avesse una lacuna, lo si vedrebbe solo qui.",
				"Nobody gets the notices of this archive: if it were full, or had a gap, that would show here only."))
	}
	if f := m.SecondFactor; f != nil && f.On && f.RecoveryCodes <= fewCodes {
		add(secondFactorPath, v.t("Crea nuovi codici", "Make new codes"), v.t("Codici di recupero rimasti: %d.", "Recovery codes left: %d.", f.RecoveryCodes))
	}
	for _, route := range m.Route {
		if route.State == postfix.NotRouted {
			add("", "", v.t("La posta di questa casella (%s) adesso non passa dall'archivio, e non viene archiviata. Avvisare il postmaster.",
				"Mail of this mailbox (%s) does not pass through the archive at the moment, and is not archived. Tell the postmaster.",
				policy.Labels(policy.VocabularyDirections).Label(route.Direction).In(v.language)))
		}
	}
	if len(m.PassedOver) > 0 {
		add("", "", v.t("Una parte dell'archivio al momento non si può leggere, e non è contata qui. Il gestore è avvisato.",
			"A part of the archive cannot be read at the moment, and is not counted here. The operator is told."))
	}
	return nil
}

// fewCodes is how few recovery codes are too few.
const fewCodes = 3

// fullText warns of an archive that is nearly full, or is.
func (v *visit) fullText(s *space, whenFull string) string {
	now := v.t("L'archivio è quasi pieno: %s%%.", "The archive is nearly full: %s%%.", percentText(v.language, s.Percent))
	if s.Left == 0 {
		now = v.t("L'archivio è pieno.", "The archive is full.")
	}
	switch policy.WhenFull(whenFull) {
	case policy.WhenFullDefer:
		return now + " " + v.t("Quando è pieno, la posta nuova aspetta e dopo qualche giorno torna al mittente.", "When it is full, new mail waits, and returns to its sender after some days.")
	case policy.WhenFullMakeRoom:
		return now + " " + v.t("Quando è pieno, i messaggi più vecchi vengono cancellati per fare posto ai nuovi.", "When it is full, the oldest messages are deleted to make room for new ones.")
	}
	return now + " " + v.t("Quando è pieno, la posta nuova arriva nella casella ma non viene archiviata.", "When it is full, new mail reaches the mailbox but is not archived.")
}
