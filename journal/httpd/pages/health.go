package pages

import (
	"net/http"

	"copialettere/policy"
	"copialettere/policy/archive"
)

func healthRoutes() []Route {
	return []Route{
		{Pattern: "GET /domain/{domain}/health", For: OfDomain, serve: (*visit).showHealth},
	}
}

// healthPage is what the page about how well the archives of a domain run shows.
type healthPage struct {
	archive.DomainHealth
	Domain  string
	States  []healthState
	Bars    []dayBar // newest first
	Reasons []reasonRow
	Sum     archive.Flow
}

// healthState is one thing that is well or not.
type healthState struct {
	Name, Text string
	Class      string // "good", "warn" or "bad"
}

// dayBar is one day of the chart.
type dayBar struct {
	archive.Day
	Percent float64 // of the messages of the day with the most
}

// reasonRow is a reason in words.
type reasonRow struct {
	archive.Reason
	Words string
}

// showHealth shows what came in by day, what was not archived and why, and what stands in the way.
func (v *visit) showHealth() error {
	h, err := v.pages.options.Archive.DomainHealth(v.Context(), v.who, v.domain, v.zone)
	if err != nil {
		return err
	}
	p := healthPage{DomainHealth: h, Domain: v.domain, States: v.healthStates(&h)}
	var most uint64
	for _, day := range h.Days {
		most = max(most, day.Received.Entries+day.Sent.Entries)
		p.Sum.Received.Add(day.Received)
		p.Sum.Sent.Add(day.Sent)
	}
	for i := len(h.Days) - 1; i >= 0; i-- {
		day := h.Days[i]
		p.Bars = append(p.Bars, dayBar{day, 100 * float64(day.Received.Entries+day.Sent.Entries) / float64(max(most, 1))})
	}
	for _, r := range h.Reasons {
		p.Reasons = append(p.Reasons, reasonRow{r, policy.Labels(policy.VocabularyReasons).Label(r.Reason).In(v.language)})
	}
	return v.render(http.StatusOK, "health.html", p)
}

// healthStates returns what is well and what is not, in words.
func (v *visit) healthStates(h *archive.DomainHealth) []healthState {
	state := func(ok bool, bad, name, good, otherwise string) healthState {
		if ok {
			return healthState{name, good, "good"}
		}
		return healthState{name, otherwise, bad}
	}
	list := []healthState{state(!h.Suspended && h.Disk != archive.DiskFull, "bad", v.t("Archiviazione", "Archiving"), v.t("in funzione", "at work"),
		v.t("ferma: la posta attende. Il gestore del server è avvisato", "stopped: mail waits. The operator of the server is told"))}
	if h.Disk != archive.DiskUnknown {
		list = append(list, state(h.Disk == archive.DiskEnough, "warn", v.t("Spazio su disco", "Room on the disk"), v.t("sufficiente", "enough"),
			v.t("scarso: lo sistema il gestore del server", "low: the operator of the server puts that right")))
	}
	if h.Checked {
		list = append(list, state(len(h.Unrouted) == 0, "bad", v.t("Percorso della posta", "Way of the mail"), v.t("passa per l'archivio", "passes through the archive"),
			v.t("non passa per l'archivio in alcune caselle", "does not pass through the archive for some mailboxes")))
	}
	verified := healthState{v.t("Verifica dell'archivio", "Verification of the archive"), v.t("mai completata finora", "not completed yet"), ""}
	if h.Faults || !h.Verified.IsZero() {
		verified = state(!h.Faults, "bad", verified.Name, v.t("senza errori, l'ultima il %s", "without faults, the last on %s", dayText(v.language, v.zone, h.Verified)),
			v.t("ha trovato errori: il gestore del server li ha nel registro", "has found faults: the operator of the server has them in the log"))
	}
	list = append(list, verified)
	retention := v.t("mai eseguita finora", "never run so far")
	if !h.Retention.IsZero() {
		retention = v.t("l'ultima il %s", "the last on %s", dayText(v.language, v.zone, h.Retention))
	}
	return append(list, healthState{v.t("Cancellazione per scadenza", "Deletion by retention"), retention, ""})
}
