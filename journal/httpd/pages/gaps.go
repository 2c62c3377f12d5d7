package pages

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
)

func gapRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/gaps", For: OfMailbox, Right: archive.RightRead, serve: (*visit).showGaps},
		// A postmaster learns what is missing, and why, as on the page of a single message: no more than envelopes.
		{Pattern: "GET /domain/{domain}/mailboxes/{mailbox}/gaps", For: OfDomain, Right: archive.RightLook, serve: (*visit).showGaps},
	}
}

// gapRow is a gap in words.
type gapRow struct {
	When   string // the span, or the time of a single message
	Lasts  bool   // it has not ended
	Reason string
	More   []string // what else is known
}

// gapsPage is the page of all gaps of an archive.
type gapsPage struct {
	Rows    []gapRow // newest first
	Total   int      // of those that isGap
	Others  bool     // there are rows that are none
	Damaged bool     // not all could be read
	Older   string
	First   bool // the page is not the first one
}

// gapsPerPage is how many gaps are on one page.
const gapsPerPage = 100

// gaps returns all gaps of the mailbox, oldest first, and whether some could not be read.
func (v *visit) gaps() (list []archive.Gap, damaged bool, err error) {
	for g, err := range v.pages.options.Archive.Gaps(v.Context(), v.mailbox) {
		switch {
		case errors.Is(err, journal.ErrDamaged):
			damaged = true
		case err != nil:
			return nil, false, err
		default:
			list = append(list, g)
		}
	}
	return list, damaged, v.Context().Err()
}

// isGap reports whether something is counted as a gap: not the time before the archive was first turned on, or before its address changed, which is only
// shown with them.
func isGap(g *archive.Gap) bool {
	return g.Kind != archive.GapRename && g.Reason != policy.ReasonNotActivated
}

// showGaps shows all gaps. A page begins at a number counted from the oldest gap, so it stays the same when further ones come.
func (v *visit) showGaps() error {
	list, damaged, err := v.gaps()
	if err != nil {
		return err
	}
	page := gapsPage{Damaged: damaged}
	for i := range list {
		if isGap(&list[i]) {
			page.Total++
		}
	}
	page.Others = page.Total < len(list)
	end := len(list)
	if n, err := strconv.Atoi(v.URL.Query().Get("before")); err == nil && n >= 0 && n < end {
		end, page.First = n, true
	}
	start := max(0, end-gapsPerPage)
	for _, g := range slices.Backward(list[start:end]) {
		page.Rows = append(page.Rows, v.gapRow(&g))
	}
	if start > 0 {
		page.Older = "gaps?before=" + strconv.Itoa(start)
	}
	return v.render(http.StatusOK, "gaps.html", page)
}

// gapRow returns a gap in words.
func (v *visit) gapRow(g *archive.Gap) gapRow {
	row := gapRow{When: v.spanText(g), Reason: policy.Labels(policy.VocabularyReasons).Label(g.Reason).In(v.language)}
	row.Lasts = g.Kind == archive.GapPause && g.Until == nil
	if g.Kind == archive.GapRename {
		row.Reason = v.t("la casella ha cambiato indirizzo: fino ad allora l'archivio ha la posta dell'indirizzo di prima",
			"the mailbox got another address: until then the archive has the mail to the address of before")
		return row
	}
	if g.Entries > 0 {
		row.More = append(row.More, v.t("%s messaggi, %s", "%s messages, %s", numberText(v.language, g.Entries), sizeText(v.language, g.Bytes)))
	}
	switch g.Direction {
	case journal.Received.String():
		row.More = append(row.More, v.t("un messaggio ricevuto da %s", "a message received from %s", senderOrNone(v, g.MailFrom)))
	case journal.Sent.String():
		row.More = append(row.More, v.t("un messaggio inviato", "a message that was sent"))
	}
	if g.MessageID != "" {
		row.More = append(row.More, "Message-ID "+cut(calm(g.MessageID), 200))
	}
	if g.Spooled {
		row.More = append(row.More, v.t("annotato in un registro di riserva", "noted in a record kept in reserve"))
	}
	return row
}

func senderOrNone(v *visit, address string) string {
	if address == "" {
		return v.t("un sistema di posta", "a mail system")
	}
	return cut(calm(address), 200)
}

// spanText returns the time of a gap.
func (v *visit) spanText(g *archive.Gap) string {
	at := func(t *archive.Gap) string { return timeText(v.language, v.zone, *t.From) }
	switch {
	case g.Until != nil && g.From != nil:
		return v.t("dal %s al %s", "from %s until %s", at(g), timeText(v.language, v.zone, *g.Until))
	case g.Until != nil:
		return v.t("fino al %s", "until %s", timeText(v.language, v.zone, *g.Until))
	case g.From != nil && g.Kind == archive.GapPause:
		return v.t("dal %s a oggi", "from %s until today", at(g))
	case g.From != nil:
		return at(g)
	}
	return v.t("da sempre", "always")
}
