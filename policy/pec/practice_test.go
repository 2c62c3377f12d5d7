package pec_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// apply returns the states after applying messages in order.
func apply(messages []*pec.Message) pec.States {
	s := pec.States{}
	for _, m := range messages {
		s.Apply(m)
	}
	return s
}

// permutations calls f with every order of a list.
func permutations[T any](list []T, f func([]T)) {
	var walk func(k int)
	walk = func(k int) {
		if k == len(list) {
			f(list)
			return
		}
		for i := k; i < len(list); i++ {
			list[k], list[i] = list[i], list[k]
			walk(k + 1)
			list[k], list[i] = list[i], list[k]
		}
	}
	walk(0)
}

func TestPractice(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := o.Send(letter(), "completa")
	other := o.Send(letter(), "completa")
	const anna, bruno, carla, dario = "anna@beta.test", "bruno@gamma.test", "carla@ext.test", "dario@beta.test"
	late := func(after time.Duration, detail string) []byte {
		return c.Notice(pectest.Notice{Class: pec.PreavvisoErroreConsegna, Recipient: anna, After: after, Detail: detail})
	}
	failure := c.Notice(pectest.Notice{Class: pec.ErroreConsegna, Recipient: anna, After: time.Minute, Detail: "5.1.1 - indirizzo non valido"})
	refusal := c.Notice(pectest.Notice{Class: pec.NonAccettazione, Virus: true})
	tests := []struct {
		name     string
		messages [][]byte
		want     map[string]pec.Status // of the recipients that are not accepted, or not as in the first line
	}{
		{"accepted", [][]byte{c.Acceptance}, map[string]pec.Status{anna: "accepted", bruno: "accepted", carla: "accepted", dario: "accepted"}},
		{"refused", [][]byte{refusal}, map[string]pec.Status{anna: "not-accepted", bruno: "not-accepted", carla: "not-accepted",
			dario: "not-accepted"}},
		{"all delivered", [][]byte{c.Acceptance, c.Taken, c.Deliveries[0].Message, c.Deliveries[1].Message, c.Deliveries[2].Message},
			map[string]pec.Status{anna: "delivered", bruno: "delivered", carla: "accepted", dario: "delivered"}},
		{"delivery alone", [][]byte{c.Deliveries[0].Message}, map[string]pec.Status{anna: "delivered"}},
		{"failed", [][]byte{c.Acceptance, failure}, map[string]pec.Status{anna: "failed", bruno: "accepted", carla: "accepted",
			dario: "accepted"}},
		{"12 hours", [][]byte{late(12*time.Hour, ""), c.Acceptance}, map[string]pec.Status{anna: "late-12h", bruno: "accepted",
			carla: "accepted", dario: "accepted"}},
		{"12 hours, then delivered", [][]byte{late(12*time.Hour, "4.4.1 - attesa"), c.Deliveries[0].Message},
			map[string]pec.Status{anna: "delivered"}},
		{"12 and 24 hours, by time", [][]byte{late(12*time.Hour, ""), late(24*time.Hour, "")}, map[string]pec.Status{anna: "late-24h"}},
		{"24 hours, since the acceptance", [][]byte{c.Acceptance, late(23*time.Hour, "")},
			map[string]pec.Status{anna: "late-24h", bruno: "accepted", carla: "accepted", dario: "accepted"}},
		{"24 hours, by its code", [][]byte{late(24*time.Hour, "5.4.1 - scaduto")}, map[string]pec.Status{anna: "late-24h"}},
		{"24 hours, then delivered", [][]byte{late(24*time.Hour, "5.4.1 - scaduto"), c.Deliveries[0].Message},
			map[string]pec.Status{anna: "delivered"}},
		{"late, then failed", [][]byte{late(12*time.Hour, ""), failure}, map[string]pec.Status{anna: "failed"}},
		{"taken", [][]byte{c.Taken}, map[string]pec.Status{anna: "accepted", dario: "accepted"}},
		{"messages that say nothing", [][]byte{c.Envelope, c.Original, c.Notice(pectest.Notice{Class: pec.RilevazioneVirus,
			Recipient: anna})}, map[string]pec.Status{}},
		{"another practice", [][]byte{c.Deliveries[0].Message, other.Acceptance}, map[string]pec.Status{anna: "delivered"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var messages []*pec.Message
			for _, b := range test.messages {
				m, _ := read(t, b)
				messages = append(messages, m)
			}
			want := apply(messages)
			got := map[string]pec.Status{}
			for key, outcome := range want {
				if key.Identifier == c.Identifier {
					got[key.Recipient] = outcome.Status()
				}
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			// Every order, and every message repeated, must give the same result.
			count := 0
			permutations(messages, func(list []*pec.Message) {
				count++
				if s := apply(append(slices.Clone(list), list...)); !reflect.DeepEqual(s, want) {
					t.Fatalf("in another order\n%+v\nwant\n%+v", s, want)
				}
				if s := apply(list); !reflect.DeepEqual(s, want) {
					t.Fatalf("in another order\n%+v\nwant\n%+v", s, want)
				}
			})
			for i, n := 1, 1; i <= len(messages); i++ {
				if n *= i; i == len(messages) && n != count {
					t.Errorf("%d orders of %d messages", count, len(messages))
				}
			}
		})
	}
}

func TestOutcome(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	c := o.Send(letter(), "breve")
	failure := c.Notice(pectest.Notice{Class: pec.ErroreConsegna, Recipient: "Bruno@gamma.test", After: time.Hour, Error: "no-dest",
		Detail: "5.1.1 - GAMMA"})
	var messages []*pec.Message
	for _, b := range [][]byte{c.Acceptance, c.Deliveries[0].Message, failure} {
		m, _ := read(t, b)
		messages = append(messages, m)
	}
	s := apply(messages)
	key := func(address string) pec.Key { return pec.Key{Identifier: c.Identifier, Recipient: address} }
	anna, bruno, carla, dario := s[key("anna@beta.test")], s[key("bruno@gamma.test")], s[key("carla@ext.test")], s[key("dario@beta.test")]
	if f := (pec.Fact{Known: true, Time: c.Time.Add(time.Minute).UTC(), Code: "nessuno",
		Detail: "breve"}); anna.Delivered != f || anna.Kind() != pec.KindCertified {
		t.Errorf("delivered: %+v", anna)
	}
	if f := (pec.Fact{Known: true, Time: c.Time.Add(time.Hour).UTC(), Code: "no-dest", Detail: "5.1.1 - GAMMA"}); bruno.Failed != f {
		t.Errorf("failed: %+v", bruno)
	}
	if carla.Kind() != pec.KindExternal {
		t.Errorf("without PEC: %+v", carla)
	}
	if anna.Awaited() || bruno.Awaited() || carla.Awaited() || !dario.Awaited() {
		t.Errorf("awaited: %v %v %v %v", anna.Awaited(), bruno.Awaited(), carla.Awaited(), dario.Awaited())
	}
}

func TestLinks(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	mail := letter()
	mail.MessageID = ""
	silent := o.Send(mail, "")
	c := o.Send(letter(), "")
	client := c.Mail.MessageID[1 : len(c.Mail.MessageID)-1]
	bare := func(string) string { return "" }
	tests := []struct {
		name    string
		message []byte
		want    pec.Links
	}{
		{"sent, as submitted", c.Original, pec.Links{Own: client}},
		{"sent, as the access point changed it", c.Rewritten, pec.Links{Own: c.Identifier, Client: client}},
		{"envelope", c.Envelope, pec.Links{Identifier: c.Identifier, Client: client, Own: c.Identifier}},
		{"envelope without daticert.xml", c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Certificate: bare}}),
			pec.Links{Identifier: c.Identifier, Client: client, Own: c.Identifier}},
		{"no Message-ID by the client", silent.Envelope, pec.Links{Identifier: silent.Identifier, Own: silent.Identifier}},
		{"answer", []byte("Message-ID: <\r\n 7@beta.test >\r\nIn-Reply-To: <" +
			c.Identifier + ">\r\nReferences: <1@beta.test> <2@beta.test>,<" + c.Identifier + ">, junk\r\n\r\n"),
			pec.Links{Own: "7@beta.test", References: []string{c.Identifier, "1@beta.test", "2@beta.test", c.Identifier}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, _ := read(t, test.message)
			if got := m.Links(); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
		})
	}
	m, _ := read(t, c.Acceptance)
	if l := m.Links(); l.Identifier != c.Identifier || l.Client != client || l.Own == "" || l.Own == c.Identifier {
		t.Errorf("acceptance: %+v", l)
	}
}

// TestMergeIsOrdered merges events that differ in one respect, in every order: the first in time wins, and events without a time come last.
func TestMergeIsOrdered(t *testing.T) {
	at := pectest.Start.UTC()
	for _, kind := range []pec.EventKind{pec.EventAccepted, pec.EventRefused, pec.EventTaken, pec.EventDelivered, pec.EventFailed,
		pec.EventLate} {
		events := []pec.Event{
			{Kind: kind, Time: at, RecipientKind: pec.KindCertified, Code: "altro", Detail: "b"},
			{Kind: kind, Time: at, RecipientKind: pec.KindExternal, Code: "altro", Detail: "c"},
			{Kind: kind, RecipientKind: pec.KindCertified, Code: "altro", Detail: "a"},
			{Kind: kind, Time: at.Add(time.Second), Code: "altro", Detail: "a"},
		}
		want := pec.Fact{Known: true, Time: at, Code: "altro", Detail: "b"}
		permutations(events, func(list []pec.Event) {
			var o pec.Outcome
			for _, e := range list {
				o = o.Merge(e)
			}
			first := map[pec.EventKind]pec.Fact{pec.EventAccepted: o.Accepted, pec.EventRefused: o.Refused, pec.EventTaken: o.Taken,
				pec.EventDelivered: o.Delivered,
				pec.EventFailed:    o.Failed, pec.EventLate: o.Late}[kind]
			if first != want || o.Listed != pec.KindExternal {
				t.Fatalf("%s in the order %+v: %+v", kind, list, o)
			}
			if last := (pec.Fact{Known: true, Time: at.Add(time.Second), Code: "altro",
				Detail: "a"}); kind == pec.EventLate && o.LateLast != last {
				t.Fatalf("last notice in the order %+v: %+v", list, o.LateLast)
			}
		})
	}
}

// TestEventsWithoutRecipient reads receipts without consegna.
func TestEventsWithoutRecipient(t *testing.T) {
	m := &pec.Message{Data: &pec.Certification{Type: "avvenuta-consegna", Identifier: "1@alpha.test",
		Recipients: []pec.Recipient{{Address: "<Anna@Beta.test>"}}}}
	events := m.Events()
	if len(events) != 1 || events[0].Key != (pec.Key{Identifier: "1@alpha.test", Recipient: "anna@beta.test"}) {
		t.Errorf("one recipient: %+v", events)
	}
	m.Data.Recipients = append(m.Data.Recipients, pec.Recipient{Address: "bruno@beta.test"})
	if events := m.Events(); len(events) != 2 || !events[0].Unnamed || !events[1].Unnamed {
		t.Errorf("two recipients: %+v", events)
	}
	m.Data.Delivery, m.Data.Identifier = "anna@beta.test", " "
	if events := m.Events(); events != nil {
		t.Errorf("no practice: %+v", events)
	}
}

// TestLinkNames has ids around the greatest length that a link holds unchanged. Longer ids are found too, under another name.
func TestLinkNames(t *testing.T) {
	id := func(n int) string { return strings.Repeat("x", n-len("@a.test")) + "@a.test" }
	for _, c := range []struct {
		name string
		id   string
		want string
	}{
		{"none", "", ""},
		{"short", "1@a.test", "m:1@a.test"},
		{"longest as it is", id(253), "m:" + id(253)},
		{"one more", id(254), "m#" + fmt.Sprintf("%x", sha256.Sum256([]byte(id(254))))},
		{"longest line", id(998), "m#" + fmt.Sprintf("%x", sha256.Sum256([]byte(id(998))))},
	} {
		got := pec.ClientLink(c.id)
		if got != c.want || len(got) > pec.MaxLinkName {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	m, _ := read(t, []byte("X-Trasporto: posta-certificata\r\nMessage-ID: <"+id(254)+">\r\nX-Riferimento-Message-ID: <"+id(300)+">\r\n\r\n"))
	want := []string{pec.IdentifierLink(id(254)), pec.ClientLink(id(300)), pec.ClientLink(id(254))}
	if got := m.Links().Names(); !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}

func TestNormalAddress(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"as it is", "anna@beta.test", "anna@beta.test"},
		{"case, brackets and blanks", " <Anna@Beta.TEST> ", "anna@beta.test"},
		{"domain in Unicode", "Anna@Città.test", "anna@città.test"},
		{"domain in ASCII", "anna@xn--citt-3na.test", "anna@città.test"},
		{"domain that only looks encoded", "anna@xn--citt-3n.test", "anna@xn--citt-3n.test"},
		{"two at signs", `"a@b"@xn--citt-3na.test`, `"a@b"@città.test`},
		{"display name", "Anna Rossi <Anna@Beta.test>", "anna@beta.test"},
		{"quoted display name", `"Rossi, Anna" <anna@beta.test>`, "anna@beta.test"},
		{"comment", "anna@beta.test (Anna Rossi)", "anna@beta.test"},
		{"display name and domain in ASCII", "Anna <anna@xn--citt-3na.test>", "anna@città.test"},
		{"URI", "mailto:anna@beta.test", "anna@beta.test"},
		{"URI with capitals", "MAILTO:Anna@beta.test", "anna@beta.test"},
		{"two addresses", "a@b.test, c@d.test", "a@b.test, c@d.test"},
		{"no domain", "Postmaster", "postmaster"},
		{"no address", "a b", "a b"},
		{"empty", "", ""},
	} {
		if got := pec.NormalAddress(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
