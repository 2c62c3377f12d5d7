package notice

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

var update = flag.Bool("update", false, "write what came into testdata/texts.txt")

// everyNotice returns one notice of every text, with a name.
func everyNotice() (names []string, list []waiting) {
	add := func(name string, w waiting) {
		w.Mailbox, w.Time = anna, start()
		if w.Cause != "" {
			w.Mailbox = ""
		}
		names, list = append(names, name), append(list, w)
	}
	due := start().Add(72 * time.Hour).UTC()
	certified := Notice{Event: policy.NotifyCertified, Sender: "bruno@beta.test", Subject: "Perché no?"}
	add("certified", waiting{Notice: certified})
	for _, reason := range []string{policy.ReasonFilter, policy.ReasonPaused, policy.ReasonFull, journal.ReasonJournalFault} {
		left := certified
		left.Reason = reason
		add("certified, not archived: "+reason, waiting{Notice: left})
	}
	for _, percent := range []int{75, 100} {
		add(fmt.Sprint("full, ", percent), waiting{Notice: full(percent)})
	}
	for _, reason := range []string{journal.ReasonFull, journal.ReasonJournalFault, journal.ReasonRoom, journal.ReasonLost, "flood"} {
		add("gap: "+reason, waiting{Notice: Notice{Event: policy.NotifyGap, Reason: reason}})
	}
	restored, _ := OfGap(&journal.Record{Kind: journal.Gap, Mailbox: anna, Time: start().AddDate(0, 0, -1), Until: start(), Reason: journal.ReasonRestored}, start())
	add("gap: "+journal.ReasonRestored, waiting{Notice: restored})
	for _, cause := range []PullCause{PullLogin, PullCertificate, PullBusy, PullFull, PullPassword, PullServer, PullUnreachable, PullAddress, PullFolder, PullNotOn, PullForbidden,
		PullStopped, PullHere} {
		add("gap, pull-failing: "+string(cause), waiting{Notice: OfPull(anna, PullFailing, "aruba, imaps://anna@pec.test", cause, start().AddDate(0, 0, -1), start())})
	}
	add("gap, pull-again", waiting{Notice: OfPull(anna, PullAgain, "aruba, imaps://anna@pec.test", "", start().AddDate(0, 0, -1), start())})
	add("retention", waiting{Notice: Notice{Event: policy.NotifyRetention, Entries: 12, Bytes: 3_450_000}})
	for _, percent := range []int{80, 100} {
		add(fmt.Sprint("mailbox-full, ", percent), waiting{Notice: MailboxFull(anna, percent, start())})
	}
	lost := waiting{Counted: true, Oldest: start().AddDate(-3, 0, 0)}
	for _, kind := range []Kind{LossDisable, LossRetention, LossRun, LossRoom} {
		lost.Notice = Notice{Event: policy.NotifyBeforeLoss, Kind: kind, Due: due, Months: 12, Percent: 90, Entries: 812, Bytes: 3_450_000}
		add("before-loss: "+string(kind), lost)
	}
	lost.Counted, lost.Oldest = false, time.Time{}
	add("before-loss, not counted", lost)
	for _, kind := range []Kind{SecurityAppPassword, SecurityDelegate, SecuritySecondFactorOff, SecurityRecoveryCode, SecurityExport, SecurityAddress} {
		add("security: "+string(kind), waiting{Notice: OfSecurity(anna, kind, "a detail", start())})
	}
	add("security, no detail", waiting{Notice: OfSecurity(anna, SecurityAddress, "", start())})
	add("code", waiting{Notice: Notice{Kind: kindCode, Due: due}, code: "ABCDEFGHJK"})
	archived := certified
	archived.Time = start()
	second := full(90)
	second.Mailbox, second.Time = anna, start()
	archived.Mailbox = anna
	add("digest", waiting{Digest: true, Listed: 2, More: 3, list: []Notice{archived, second}})
	for _, cause := range []Cause{CauseRetention, CauseRoutes, CauseFaults, CausePreservation} {
		add("operator: "+string(cause), waiting{Notice: OfOperator(cause, "What happened.\n- and more", start())})
	}
	add("operator, digest", waiting{Notice: Notice{Cause: CauseFaults}, Digest: true, list: []Notice{OfOperator(CauseFaults, "What happened.\nMore", start())}})
	return names, list
}

// TestTexts compares every notice, in both languages, with testdata/texts.txt, and checks its form.
func TestTexts(t *testing.T) {
	const path = "testdata/texts.txt"
	var all strings.Builder
	names, list := everyNotice()
	for i := range list {
		for _, l := range []policy.Language{policy.Italian, policy.English} {
			if list[i].Cause != "" && l == policy.Italian {
				continue
			}
			message := testQueue().compose(&list[i], "<1@alpha.test>", sender, outside, l)
			checkForm(t, message)
			subject, body := decoded(t, message)
			fmt.Fprintf(&all, "=== %s (%s)\nSubject: %s\n\n%s\n", names[i], l, subject, body)
			if strings.ContainsAny(subject+body, "{}") {
				t.Errorf("%s (%s): a placeholder is left:\n%s\n%s", names[i], l, subject, body)
			}
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := all.String(); got != string(want) {
		t.Errorf("the texts are not those of %s; write them with -update, and read what has changed", path)
	}
}

// TestEveryTextIsThere looks for the text of every event and kind that there is.
func TestEveryTextIsThere(t *testing.T) {
	events := make(map[policy.Events]bool)
	kinds := make(map[Kind]bool)
	_, list := everyNotice()
	for _, w := range list {
		events[w.Event], kinds[w.Kind] = true, true
	}
	for i, name := range policy.Labels(policy.VocabularyEvents).Names() {
		if !events[1<<i] {
			t.Errorf("testdata/texts.txt has no notice of %s", name)
		}
	}
	for _, texts := range []map[Kind]text{kindTextsItalian(), kindTextsEnglish()} {
		for kind := range texts {
			if !kinds[kind] {
				t.Errorf("testdata/texts.txt has no notice of the kind %s", kind)
			}
		}
		if others := len(kinds) - len([]Kind{"", PullFailing, PullAgain}); len(texts) != others {
			t.Errorf("%d texts for %d kinds", len(texts), others)
		}
	}
}

// TestTextsOfSenders shows what a sender wrote as it is, and nothing where there is nothing. An unknown language is Italian.
func TestTextsOfSenders(t *testing.T) {
	for _, c := range []struct {
		language        policy.Language
		sender, subject string
		want            string
		body            string
	}{
		{policy.Italian, "", "", "Messaggio certificato per anna@alpha.test: (nessuno)", "Mittente: (nessuno)\n"},
		{policy.English, "", "", "Certified message for anna@alpha.test: (none)", "Sender:  (none)\n"},
		{policy.English, "{mailbox}", "{more}", "Certified message for anna@alpha.test: {more}", "Sender:  {mailbox}\n"},
		{"xx", "x", "y", "Messaggio certificato per anna@alpha.test: y", "Mittente: x\n"},
	} {
		w := &waiting{Notice: Notice{Mailbox: anna, Time: start(), Event: policy.NotifyCertified, Sender: c.sender, Subject: c.subject}}
		subject, body := decoded(t, testQueue().compose(w, "<1@alpha.test>", sender, outside, c.language))
		if subject != c.want || !strings.Contains(body, c.body) {
			t.Errorf("%s, %q, %q:\n%s\n%s", c.language, c.sender, c.subject, subject, body)
		}
	}
}

// TestArrived tells when the message of a gap came, if that was not when the gap went on record.
func TestArrived(t *testing.T) {
	w := &waiting{Notice: Notice{
		Mailbox: anna, Time: start(), Event: policy.NotifyGap, Reason: journal.ReasonJournalFault, Arrived: start().AddDate(0, 0, -1),
	}}
	if _, body := decoded(t, testQueue().compose(w, "<1@alpha.test>", sender, outside, policy.English)); !strings.Contains(body, "On 20 November 2026, 10:30 (+0100) a message of") {
		t.Errorf("the body is\n%s", body)
	}
}
