package archive

import (
	"testing"
	"time"

	"copialettere/journal"
)

// TestTraffic counts each message once, however often it looks, and goes on where it ran out of time.
func TestTraffic(t *testing.T) {
	const anna = "anna@alpha.test"
	a := open(t)
	archives := map[string]bool{anna: true, "dario@alpha.test": true}
	c := NewSurvey().domain("alpha.test")
	total := func() (n uint64) {
		for _, day := range c.days(time.Now()) {
			n += day.Received.Entries + day.Sent.Entries
		}
		return n
	}
	bring := func(now time.Time, missing int, want uint64) {
		t.Helper()
		if err := c.bring(t.Context(), a.journal, archives, now); err != nil || c.missing != missing || total() != want {
			t.Errorf("%d missing, %d counted, %v; want %d and %d", c.missing, total(), err, missing, want)
		}
	}
	file(t, a, anna, journal.Received)
	e := file(t, a, anna, journal.Sent)
	file(t, a, "bruno@alpha.test", journal.Received)
	bring(time.Now().Add(-time.Minute), 2, 0) // it should have ended long ago
	bring(time.Now(), 0, 2)
	bring(time.Now(), 0, 2)
	file(t, a, "dario@alpha.test", journal.Received)
	bring(time.Now(), 0, 3)
	if _, err := a.journal.Delete(t.Context(), e.Ref.Only(), "owner "+anna); err != nil {
		t.Fatal(err)
	}
	bring(time.Now(), 0, 3)
	today := c.days(time.Now())[trafficDays-1]
	if today.Received.Entries != 2 || today.Sent.Entries != 1 || today.Bytes() == 0 {
		t.Errorf("today: %+v", today)
	}
	// What is older than the chart is forgotten.
	bring(time.Now().AddDate(0, 0, trafficDays+2), 0, 0)
}

// TestDaysOfZones sums the hours up by the days of a zone, also where a day has 23 or 25 hours.
func TestDaysOfZones(t *testing.T) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	for name, now := range map[string]time.Time{
		"winter begins": time.Date(2026, 10, 25, 12, 0, 0, 0, rome), "summer begins": time.Date(2026, 3, 29, 12, 0, 0, 0, rome), "any day": time.Date(2026, 6, 3, 0, 30, 0, 0, rome),
	} {
		c := NewSurvey().domain("alpha.test")
		for at := now.AddDate(0, 0, -40); at.Before(now.AddDate(0, 0, 2)); at = at.Add(time.Hour) {
			c.hours[at.Unix()/hour] = &Flow{Received: journal.Size{Entries: 1}}
		}
		for _, day := range c.days(now) {
			want := uint64(midnight(day.Start, 1).Sub(day.Start) / time.Hour)
			if day.Received.Entries != want || day.Start.Hour() != 0 {
				t.Errorf("%s, %s: %d hours, want %d", name, day.Start, day.Received.Entries, want)
			}
		}
	}
}
