package lmtp

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
)

// TestNotify checks what the owner is told for each outcome of a message: of gaps by the journal, of all else by the hook.
func TestNotify(t *testing.T) {
	const certified = "X-Trasporto: posta-certificata\nFrom: bruno@beta.test\nSubject: Contratto\n\ntext\n.\n"
	const told = "certified INBOX/1 bruno@beta.test Contratto"
	final := func(replies ...string) nexthoptest.Script {
		return nexthoptest.Script{Final: map[string][]string{anna[0]: replies}}
	}
	for _, c := range []struct {
		name     string
		script   nexthoptest.Script
		settings []policy.Assignment
		suspend  bool
		message  string
		codes    []string // of the message, one for each time that it comes
		want     []string
	}{
		{name: "ordinary", message: message, codes: []string{"250"}},
		{name: "certified", message: certified, codes: []string{"250"}, want: []string{told}},
		{name: "certified again", message: certified, codes: []string{"250", "250"}, want: []string{told, told}},
		{name: "certified, deferred first", script: final("451 later", "250 ok"), message: certified, codes: []string{"451", "250"}, want: []string{told}},
		{name: "certified, refused", script: final("550 no"), message: certified, codes: []string{"550"}},
		{name: "acceptance", message: strings.Replace(certified, "X-Trasporto: posta-certificata", "X-Ricevuta: accettazione", 1), codes: []string{"250"}},
		{name: "journal fault", suspend: true, message: message, codes: []string{"250"}, want: []string{"gap journal-fault"}},
		{name: "journal fault, refused", script: final("550 no"), suspend: true, message: message, codes: []string{"550"}, want: []string{"gap journal-fault"}},
		{name: "nearly full", settings: withQuota("24B", "skip"), message: message, codes: []string{"250"}, want: []string{"full 90 90"}},
		{name: "no room", settings: withQuota("10B", "skip"), message: message, codes: []string{"250", "250"}, want: []string{"gap full", "gap full"}},
		{name: "no room, made", settings: withQuota("10B", "make-room"), message: message, codes: []string{"250"}, want: []string{"gap full"}},
		{name: "waits", settings: withQuota("22B", "defer"), message: message, codes: []string{"250", "452"}, want: []string{"full 100 100", "full 100 100"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			tell := func(n notice.Notice) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, tellOf(t, n))
			}
			r := newRig(t, rigOptions{enable: anna, script: c.script, config: func(config *Config) {
				config.DeliverOnJournalError = true
				config.PEC = func() PEC { return PEC{Trust: pec.TrustHeaders} }
				config.Notify = tell
			}, recorded: func(gaps []journal.Record) {
				for i := range gaps {
					if n, ok := notice.OfGap(&gaps[i], time.Now()); ok {
						tell(n)
					}
				}
			}})
			r.set(c.settings)
			if c.suspend {
				r.journal.Suspend(kv.ErrUnavailable)
			}
			for _, code := range c.codes {
				cl := r.client()
				cl.say("LHLO mx.test\n" + toAnna)
				cl.want("250", "250", "250", "354")
				if code == "452" {
					cl.say(strings.Replace(c.message, "one", "two", 1)) // the same bytes would already be archived
				} else {
					cl.say(c.message)
				}
				cl.want(code)
				cl.say("QUIT\n")
				cl.want("221")
			}
			r.stop()
			if !slices.Equal(got, c.want) {
				t.Errorf("told %q, want %q", got, c.want)
			}
		})
	}
}

func withQuota(limit, whenFull string) []policy.Assignment {
	return []policy.Assignment{{Key: policy.KeyQuota, Value: limit}, {Key: policy.KeyWhenFull, Value: whenFull}}
}

func (r *rig) set(settings []policy.Assignment) {
	r.tb.Helper()
	a, err := policy.ParseAddress(anna[0])
	if err != nil {
		r.tb.Fatal(err)
	}
	if _, err := r.policy.Set(r.tb.Context(), a, policy.Actor{Role: policy.RoleOperator, Name: "test"}, settings); err != nil {
		r.tb.Fatal(err)
	}
}

// tellOf returns a notice on one line, without the month in its ID.
func tellOf(t *testing.T, n notice.Notice) string {
	if n.Mailbox != anna[0] || n.Time.IsZero() {
		t.Errorf("notice %+v", n)
	}
	id := n.ID
	if folder, rest, ok := strings.Cut(id, "/"); ok && folder == journal.FolderOf(journal.Received) {
		_, uid, _ := strings.Cut(rest, "/")
		id = folder + "/" + uid
	}
	s := fmt.Sprint(n.Event, " ", id)
	if n.Percent > 0 {
		s += fmt.Sprint(" ", n.Percent)
	}
	if n.Event == policy.NotifyCertified {
		s += " " + n.Sender + " " + n.Subject
	}
	return s
}
