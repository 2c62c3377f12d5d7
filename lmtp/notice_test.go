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
	const unarchived = "certified  bruno@beta.test Contratto "
	wanted := []policy.Assignment{{Key: policy.KeyNotify, Value: "anna@ext.test"}, {Key: policy.KeyNotifyOn, Value: "certified"}}
	filtered := append(wanted, policy.Assignment{Key: policy.KeyFilter, Value: "other"})
	const forwarded = "MAIL FROM:<ext@ext.test>\nRCPT TO:<" + "anna@alpha.test> ORCPT=rfc822;bruno@beta.test\nDATA\n"
	final := func(replies ...string) nexthoptest.Script {
		return nexthoptest.Script{Final: map[string][]string{anna[0]: replies}}
	}
	for _, c := range []struct {
		name     string
		script   nexthoptest.Script
		settings []policy.Assignment
		pause    bool
		suspend  bool
		to       string // the commands up to DATA; if empty, toAnna
		message  string
		codes    []string // of the message, one for each time that it comes
		want     []string
	}{
		{name: "ordinary", message: message, codes: []string{"250"}},
		{name: "certified", message: certified, codes: []string{"250"}, want: []string{told}},
		{name: "certified again", message: certified, codes: []string{"250", "250"}, want: []string{told, told}},
		{name: "certified, deferred first", script: final("451 later", "250 ok"), message: certified, codes: []string{"451", "250"}, want: []string{told}},
		{name: "certified, filtered", settings: filtered, message: certified, codes: []string{"250"}, want: []string{unarchived + "filter"}},
		{name: "certified, filtered, deferred first", settings: filtered, script: final("451 later", "250 ok"), message: certified,
			codes: []string{"451", "250"}, want: []string{unarchived + "filter"}},
		{name: "certified, filtered, refused", settings: filtered, script: final("550 no"), message: certified, codes: []string{"550"}},
		{name: "certified, paused", settings: wanted, pause: true, message: certified, codes: []string{"250"}, want: []string{unarchived + "paused"}},
		{name: "certified, paused and filtered", settings: filtered, pause: true, message: certified, codes: []string{"250"}, want: []string{unarchived + "paused"}},
		{name: "certified, paused, nobody is told", pause: true, message: certified, codes: []string{"250"}},
		{name: "certified, paused, forwarded", settings: wanted, pause: true, to: forwarded, message: certified, codes: []string{"250"}},
		{name: "certified, paused, journal fault", settings: wanted, pause: true, suspend: true, message: certified, codes: []string{"250"},
			want: []string{unarchived + "paused"}},
		{name: "ordinary, paused", settings: wanted, pause: true, message: message, codes: []string{"250"}},
		{name: "certified, forwarded", to: forwarded, message: certified, codes: []string{"250"}},
		{name: "certified, filtered, forwarded", settings: filtered, to: forwarded, message: certified, codes: []string{"250"}},
		{name: "certified, no room", settings: withQuota("10B", "skip"), message: certified, codes: []string{"250"},
			want: []string{"gap full", unarchived + "full"}},
		{name: "mailbox full", script: final("552 5.2.2 full"), message: message, codes: []string{"552"}, want: []string{"mailbox-full full 100"}},
		{name: "mailbox full for now", script: final("452 4.2.2 full"), message: message, codes: []string{"452"}, want: []string{"mailbox-full full 100"}},
		{name: "mailbox full, no enhanced code", script: final("552 full"), message: message, codes: []string{"552"}, want: []string{"mailbox-full full 100"}},
		{name: "mailbox full, paused", pause: true, script: final("552 5.2.2 full"), message: message, codes: []string{"552"}, want: []string{"mailbox-full full 100"}},
		{name: "too large, or the disk of the mailstore", script: final("552 5.3.4 large", "452 4.3.1 disk"), message: message, codes: []string{"552", "452"}},
		{name: "certified, refused", script: final("550 no"), message: certified, codes: []string{"550"}},
		{name: "acceptance", message: strings.Replace(certified, "X-Trasporto: posta-certificata", "X-Ricevuta: accettazione", 1), codes: []string{"250"}},
		{name: "journal fault", suspend: true, message: message, codes: []string{"250"}, want: []string{"gap journal-fault"}},
		{name: "journal fault, refused", script: final("550 no"), suspend: true, message: message, codes: []string{"550"}, want: []string{"gap journal-fault"}},
		{name: "nearly full", settings: withQuota("24B", "skip"), message: message, codes: []string{"250"}, want: []string{"full 90 90"}},
		{name: "nearly full, room will be made", settings: withQuota("24B", "make-room"), message: message, codes: []string{"250"},
			want: []string{"full 90 90", "before-loss room 90"}},
		{name: "full at once, room will be made", settings: withQuota("22B", "make-room"), message: message, codes: []string{"250"},
			want: []string{"full 100 100", "before-loss room 90"}},
		{name: "three quarters full, room will be made", settings: withQuota("26B", "make-room"), message: message, codes: []string{"250"}, want: []string{"full 75 75"}},
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
			if c.pause {
				r.pause(anna[0])
			}
			if c.to == "" {
				c.to = toAnna
			}
			if c.suspend {
				r.journal.Suspend(kv.ErrUnavailable)
			}
			for _, code := range c.codes {
				cl := r.client()
				cl.say("LHLO mx.test\n" + c.to)
				cl.want("250", "250", "250", "354")
				if code == "452" && c.script.Final == nil {
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

// TestNotifyMailboxFull has the mailstore refuse recipients, some of them because their mailbox is full: only owners of archives are told, and only
// of that.
func TestNotifyMailboxFull(t *testing.T) {
	for _, c := range []struct {
		name, rcpt, reply string
		want              []string
	}{
		{"full", anna[0], "552 5.2.2 full", []string{"mailbox-full full 100"}},
		{"full for now", anna[0], "452 4.2.2 full", []string{"mailbox-full full 100"}},
		{"with an extension", "anna+x@alpha.test", "452 4.2.2 full", []string{"mailbox-full full 100"}},
		{"too many recipients", anna[0], "452 4.5.3 too many", nil},
		{"no such user", anna[0], "550 5.1.1 nobody", nil},
		{"without an archive", "bruno@alpha.test", "552 5.2.2 full", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := make(chan string, 10)
			r := newRig(t, rigOptions{enable: anna, script: nexthoptest.Script{Rcpt: map[string][]string{c.rcpt: {c.reply}}}, config: func(config *Config) {
				config.Notify = func(n notice.Notice) { told <- tellOf(t, n) }
			}})
			cl := r.client()
			cl.say("LHLO mx.test\nMAIL FROM:<ext@ext.test>\nRCPT TO:<" + c.rcpt + ">\nQUIT\n")
			cl.want("250", "250", c.reply[:3], "221")
			r.stop()
			close(told)
			var got []string
			for one := range told {
				got = append(got, one)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("told %q, want %q", got, c.want)
			}
		})
	}
}

// pause pauses the archive of a mailbox.
func (r *rig) pause(mailbox string) {
	r.tb.Helper()
	a, err := policy.ParseAddress(mailbox)
	if err == nil {
		_, err = r.policy.Pause(r.tb.Context(), a, policy.Actor{Role: policy.RoleOperator, Name: "test"})
	}
	if err != nil {
		r.tb.Fatal(err)
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
	who := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	_, err = r.policy.Set(r.tb.Context(), a, who, settings)
	if err == nil {
		if s, _ := r.policy.Settings(r.tb.Context(), a); s.NotifyPending != (policy.Pending{}) {
			err = r.policy.ConfirmNotify(r.tb.Context(), a, who, s.NotifyPending.Address)
		}
	}
	if err != nil {
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
		if n.Reason != "" {
			s += " " + n.Reason
		}
	}
	return s
}
