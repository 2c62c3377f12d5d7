package pec_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// acceptance is a provider's acceptance of a message to the given recipients, some time after pectest.Start.
func acceptance(identifier, client, subject string, after time.Duration, recipients ...string) *pec.Message {
	c := &pec.Certification{Type: "accettazione", Sender: "Anna <anna@alpha.test>", Subject: subject, Identifier: identifier,
		MessageID: client, Time: pectest.Start.Add(after).UTC()}
	for _, r := range recipients {
		c.Recipients = append(c.Recipients, pec.Recipient{Address: r, Kind: pec.KindCertified})
	}
	return &pec.Message{Data: c}
}

func TestMatchSent(t *testing.T) {
	const anna, bruno, dora = "anna@alpha.test", "bruno@beta.test", "dora@gamma.test"
	sent := func(own, subject string, after time.Duration, recipients ...string) pec.Sent {
		return pec.Sent{Own: pec.ClientLink(own), Sender: anna, Subject: subject, Time: pectest.Start.Add(after), Recipients: recipients}
	}
	rewritten := sent("1@p", "Uno", 0, bruno)
	rewritten.Client = pec.ClientLink("c@a")
	stranger := sent("", "Uno", 0, bruno)
	stranger.Sender = "zoe@alpha.test"
	tests := []struct {
		name     string
		sent     []pec.Sent
		receipts []*pec.Message // each from a practice of its own
		want     []pec.Matched
	}{
		{"by Message-ID", []pec.Sent{sent("c@a", "Uno", 0, bruno)}, []*pec.Message{acceptance("1@p", "<c@a>", "Uno", time.Minute, bruno)},
			[]pec.Matched{{0, pec.MatchMessageID}}},
		{"by the provider's id", []pec.Sent{sent("c@a", "Due", 0, dora), rewritten},
			[]*pec.Message{acceptance("1@p", "<c@a>", "Uno", time.Minute, bruno)}, []pec.Matched{{1, pec.MatchIdentifier}}},
		{"by the former Message-ID", []pec.Sent{rewritten}, []*pec.Message{acceptance("2@p", "<c@a>", "Uno", time.Minute, bruno)},
			[]pec.Matched{{0, pec.MatchMessageID}}},
		{"one Message-ID, two recipients", []pec.Sent{sent("c@a", "Uno", 0, bruno), sent("c@a", "Uno", 0, dora)},
			[]*pec.Message{acceptance("1@p", "<c@a>", "Uno", time.Minute, dora), acceptance("2@p", "<c@a>", "Uno", time.Minute, bruno)},
			[]pec.Matched{{1, pec.MatchRecipients}, {0, pec.MatchRecipients}}},
		{"one Message-ID, one recipient more", []pec.Sent{sent("c@a", "Uno", 0, bruno), sent("c@a", "Uno", 0, bruno, dora)},
			[]*pec.Message{acceptance("1@p", "<c@a>", "Uno", time.Minute, bruno), acceptance("2@p", "<c@a>", "Uno", time.Minute, dora, bruno)},
			[]pec.Matched{{0, pec.MatchRecipients}, {1, pec.MatchRecipients}}},
		{"one Message-ID, two subjects", []pec.Sent{sent("c@a", "Uno", 0, bruno), sent("c@a", "Due", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "<c@a>", " Due ", time.Minute, bruno), acceptance("2@p", "<c@a>", "Uno", time.Minute, bruno)},
			[]pec.Matched{{1, pec.MatchSubject}, {0, pec.MatchSubject}}},
		{"sent twice", []pec.Sent{sent("c@a", "Uno", 0, bruno), sent("c@a", "Uno", time.Hour, bruno)},
			[]*pec.Message{acceptance("1@p", "<c@a>", "Uno", 2*time.Hour, bruno), acceptance("2@p", "<c@a>", "Uno", 2*time.Hour+1, bruno)},
			[]pec.Matched{{0, pec.MatchGuess}, {1, pec.MatchGuess}}},
		{"sent twice, the first one never accepted", []pec.Sent{sent("c@a", "Uno", 0, bruno), sent("c@a", "Uno", time.Hour, bruno)},
			[]*pec.Message{acceptance("2@p", "<c@a>", "Uno", 2*time.Hour, bruno)}, []pec.Matched{{1, pec.MatchGuess}}},
		{"one Message-ID, the other message not archived", []pec.Sent{sent("c@a", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "<c@a>", "Due", time.Minute, dora)}, []pec.Matched{{-1, pec.MatchNone}}},
		{"recipients that the MTA expanded", []pec.Sent{sent("c@a", "Uno", 0, "tutti@alpha.test")},
			[]*pec.Message{acceptance("1@p", "<c@a>", "Uno", time.Minute, bruno)}, []pec.Matched{{0, pec.MatchMessageID}}},
		{"handed on in two transactions", []pec.Sent{sent("c@a", "Uno", 0, bruno, dora)},
			[]*pec.Message{acceptance("1@p", "<c@a>", "Uno", time.Minute, bruno), acceptance("2@p", "<c@a>", "Uno", time.Minute, dora)},
			[]pec.Matched{{0, pec.MatchMessageID}, {0, pec.MatchMessageID}}},
		{"no Message-ID", []pec.Sent{sent("", "Due", 0, bruno), sent("", "Uno", 0, bruno), sent("", "Uno", 0, dora), stranger},
			[]*pec.Message{acceptance("1@p", "", "Uno", time.Minute, bruno)}, []pec.Matched{{1, pec.MatchGuess}}},
		{"no Message-ID, one that the MTA made", []pec.Sent{sent("", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "<mta@a>", "Uno", time.Minute, bruno)}, []pec.Matched{{0, pec.MatchGuess}}},
		{"no Message-ID, twice", []pec.Sent{sent("", "Uno", 0, bruno), sent("", "Uno", time.Minute, bruno)},
			[]*pec.Message{acceptance("1@p", "", "Uno", 2*time.Minute, bruno), acceptance("2@p", "", "Uno", 3*time.Minute, bruno)},
			[]pec.Matched{{0, pec.MatchGuess}, {1, pec.MatchGuess}}},
		{"no Message-ID, handed on in two transactions", []pec.Sent{sent("", "Uno", 0, bruno, dora)},
			[]*pec.Message{acceptance("1@p", "", "Uno", time.Minute, bruno), acceptance("2@p", "", "Uno", time.Minute, dora)},
			[]pec.Matched{{0, pec.MatchGuess}, {0, pec.MatchGuess}}},
		{"receipts name no Message-ID", []pec.Sent{sent("c@a", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "", "Uno", time.Minute, bruno)}, []pec.Matched{{0, pec.MatchGuess}}},
		{"the Message-ID of another sender", []pec.Sent{{Own: pec.ClientLink("c@a"), Sender: "zoe@alpha.test", Subject: "Uno", Time: pectest.Start,
			Recipients: []string{bruno}}}, []*pec.Message{acceptance("1@p", "<c@a>", "Uno", time.Minute, bruno)}, []pec.Matched{{-1, pec.MatchNone}}},
		{"another Message-ID", []pec.Sent{sent("c@a", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "<d@a>", "Uno", time.Minute, bruno)}, []pec.Matched{{-1, pec.MatchNone}}},
		{"no Message-ID, another recipient", []pec.Sent{sent("", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "", "Uno", time.Minute, bruno, dora)}, []pec.Matched{{-1, pec.MatchNone}}},
		{"no Message-ID, two days and a minute", []pec.Sent{sent("", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "", "Uno", 48*time.Hour+time.Minute, bruno)}, []pec.Matched{{-1, pec.MatchNone}}},
		{"no Message-ID, before it was sent", []pec.Sent{sent("", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "", "Uno", -11*time.Minute, bruno)}, []pec.Matched{{-1, pec.MatchNone}}},
		{"no Message-ID, clocks apart", []pec.Sent{sent("", "Uno", 0, bruno)},
			[]*pec.Message{acceptance("1@p", "", "Uno", -9*time.Minute, bruno)}, []pec.Matched{{0, pec.MatchGuess}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			permutations(slices.Clone(test.receipts), func(receipts []*pec.Message) {
				var practices []*pec.Practice
				for _, m := range receipts {
					p := &pec.Practice{Identifier: m.Links().Identifier}
					p.Apply(m)
					practices = append(practices, p)
				}
				got := pec.MatchSent(practices, test.sent)
				for i, m := range test.receipts {
					if k := slices.Index(receipts, m); got[k] != test.want[i] {
						t.Errorf("practice %d: %+v, want %+v", i, got[k], test.want[i])
					}
				}
			})
		})
	}
}

// TestMatchMany has very many messages with one Message-ID, or with none: each practice finds its own, quickly.
func TestMatchMany(t *testing.T) {
	const number = 5_000
	for _, client := range []string{"", "<c@a>"} {
		var practices []*pec.Practice
		var sent []pec.Sent
		for i := range number {
			at := time.Duration(i) * time.Minute
			to := fmt.Sprintf("%d@beta.test", i%7)
			own := ""
			if client != "" {
				own = pec.ClientLink("c@a")
			}
			sent = append(sent, pec.Sent{Own: own, Sender: "anna@alpha.test", Subject: "Avviso", Recipients: []string{to},
				Time: pectest.Start.Add(at)})
			p := &pec.Practice{Identifier: fmt.Sprintf("%d@p", i)}
			p.Apply(acceptance(p.Identifier, client, "Avviso", at+time.Second, to))
			practices = append(practices, p)
		}
		start := time.Now()
		for i, m := range pec.MatchSent(practices, sent) {
			if m != (pec.Matched{Sent: i, By: pec.MatchGuess}) {
				t.Fatalf("client %q, practice %d: %+v", client, i, m)
			}
		}
		t.Logf("%d practices: %s", number, time.Since(start))
	}
}

// TestPracticeIsOrdered applies receipts of one practice in every order.
func TestPracticeIsOrdered(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := o.Send(letter(), "completa")
	var messages []*pec.Message
	for _, b := range [][]byte{c.Acceptance, c.Taken, c.Deliveries[0].Message, c.Deliveries[1].Message} {
		m, _ := read(t, b)
		messages = append(messages, m)
	}
	timeless := *messages[2]
	data := *timeless.Data
	data.Time, data.Subject = time.Time{}, "another"
	timeless.Data = &data
	messages = append(messages, &timeless)
	permutations(messages, func(list []*pec.Message) {
		p := pec.Practice{Identifier: c.Identifier}
		for _, m := range list {
			p.Apply(m)
		}
		if !p.Time().Equal(c.Time) || p.Sender != "mario@alpha.test" || len(p.Listed) != 4 || len(p.States) != 4 || p.Subject != c.Mail.Subject {
			t.Fatalf("%+v", p)
		}
	})
}

// TestClaim has messages of one practice that are not believed, each with other recipients: they lead to the sent message, change no state, and
// add only a few recipients.
func TestClaim(t *testing.T) {
	p := &pec.Practice{Identifier: "1@p"}
	for i := range 21 {
		p.Claim(acceptance("1@p", "<c@a>", "Uno", 0, strings.Repeat("x", 247)+"@beta.test", fmt.Sprintf("%d@beta.test", i), "dora@gamma.test"))
	}
	if len(p.Listed) != 20 || p.States != nil || !p.Time().IsZero() {
		t.Errorf("%d recipients, states %v, time %v", len(p.Listed), p.States, p.Time())
	}
	sent := pec.Sent{Own: pec.ClientLink("c@a"), Sender: "anna@alpha.test", Subject: "Uno", Time: pectest.Start, Recipients: []string{"dora@gamma.test"}}
	if got := pec.MatchSent([]*pec.Practice{p}, []pec.Sent{sent}); got[0] != (pec.Matched{Sent: 0, By: pec.MatchMessageID}) {
		t.Errorf("got %+v", got)
	}
}
