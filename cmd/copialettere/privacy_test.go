package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/setup"
)

// TestPrivacy asks what is held of the owner of a mailbox, of somebody who only wrote to one, and of nobody.
func TestPrivacy(t *testing.T) {
	const bruno, carla, stranger = "bruno@alpha.test", "carla@ext.test", "nobody@ext.test"
	p := newPlace(t)
	p.configure("postmasters = [\"postmaster@alpha.test\"]\n[logs]\nkeep = \"12 months\"\n[notices]\nrelay = \"smtp:127.0.0.1:9\"\nfrom = \"archive@alpha.test\"\n")
	p.must("init")
	k, _ := keeperOf(t, p)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	for _, m := range []struct {
		mailbox, key, value string
		who                 policy.Actor
	}{
		{anna, policy.KeyRetention, "24", root}, {bruno, policy.KeyNotify, carla, policy.Actor{Role: policy.RoleOperator, Name: anna}},
	} {
		a, err := policy.ParseAddress(m.mailbox)
		if err == nil {
			_, err = k.archive.policy.Enable(t.Context(), a, root)
		}
		if err == nil {
			_, err = k.archive.policy.Set(t.Context(), a, m.who, []policy.Assignment{{Key: m.key, Value: m.value}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Anna has three messages, of which one is deleted; bruno has one of carla, and one that was skipped.
	refs := addEntries(t, k, anna, 3)
	j := k.archive.journal
	if _, err := j.Delete(t.Context(), refs[0].Only(), anna); err != nil {
		t.Fatal(err)
	}
	d := j.NewDraft(t.Context())
	d.Write([]byte("From: Carla <" + carla + ">\r\nSubject: x\r\n\r\nText\r\n"))
	intents := []journal.Intent{{Mailbox: bruno, Direction: journal.Received, RcptTo: bruno}}
	if _, err := d.Commit(t.Context(), journal.Envelope{MailFrom: "Carla+x@ext.test", Transaction: "T"}, intents, nil); err != nil {
		t.Fatal(err)
	}
	d.Discard()
	skip := journal.Record{Kind: journal.Skip, Mailbox: bruno, Time: time.Now(), Reason: "alias", MailFrom: carla, RcptTo: bruno}
	gap := journal.Record{Kind: journal.Gap, Mailbox: anna, Time: time.Now(), Reason: "full", MailFrom: carla, RcptTo: anna}
	if err := j.Record(t.Context(), skip, gap); err != nil {
		t.Fatal(err)
	}
	if err := k.archive.policy.Learn(t.Context(), time.Now(), []policy.Recipient{{Address: carla, Certified: true}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := setup.NewLinks(k.archive.folder.Settings).Make(t.Context(), anna, setup.Choice{Account: setup.AccountArchive, Incoming: setup.IMAP}, time.Now()); err != nil {
		t.Fatal(err)
	}
	address, err := policy.ParseMailbox(anna)
	if err == nil {
		_, err = k.archive.exports.Start(t.Context(), root, address, export.Selection{}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := k.archive.close(); err != nil {
		t.Fatal(err)
	}

	kinds := func(args ...string) string {
		t.Helper()
		var list []string
		for _, h := range lines[archive.Holding](p, append([]string{"privacy"}, args...)...) {
			one := h.Kind
			if !h.Searched {
				one += "?"
			} else {
				one += "=" + strings.Repeat("|", int(h.Count))
			}
			if h.Until == "" || h.What == "" || h.Searched && (h.Why == "" || h.Basis == "") {
				t.Errorf("%v: %+v does not say all", args, h)
			}
			list = append(list, one)
		}
		return strings.Join(list, " ")
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{anna}, "mailbox=| changes=||| entries=|| deleted=| exports=| acts=| gaps=| links=| logged=| others? elsewhere?"},
		{[]string{anna, "-others"}, "mailbox=| changes=||| entries=|| deleted=| exports=| acts=| gaps=| links=| logged=| elsewhere?"},
		{[]string{bruno}, "mailbox=| changes=|| entries=| skips=| notices=| others? elsewhere?"},
		{[]string{carla}, "recipient=| notified=| logged=| others? elsewhere?"},
		{[]string{carla, "-others"}, "recipient=| notified=| logged=| others=||| elsewhere?"},
		{[]string{stranger}, "others? elsewhere?"},
		{[]string{stranger, "-others"}, "elsewhere?"},
		{[]string{"postmaster@alpha.test"}, "postmaster=| others? elsewhere?"},
	} {
		if got := kinds(c.args...); got != c.want {
			t.Errorf("%v: %s, want %s", c.args, got, c.want)
		}
	}
	text := p.must("privacy", anna)
	for _, want := range []string{
		"mailbox: the settings of the mailbox: 1, from ", "entries: messages in its archive, received and sent: 2, ", "until   24 months after the arrival of each: from ",
		"until   12 months after each ([logs] keep); those that turn", "until   72 hours after the deletion of each", "others: messages, skips and gaps of other mailboxes", ": not searched\n",
		"retention=24", "  in      " + bruno + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if in := lines[archive.Holding](p, "privacy", carla, "-others"); !slices.ContainsFunc(in, func(h archive.Holding) bool {
		return h.Kind == archive.PrivacyOthers && slices.Equal(h.Mailboxes, []string{anna, bruno}) && h.Count == 3
	}) {
		t.Errorf("%+v", in)
	}
	p.fails(2, []string{"not a mailbox address"}, "privacy", "nobody")
	p.fails(2, []string{"want 1 arguments"}, "privacy")
}
