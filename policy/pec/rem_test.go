package pec_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"copialettere/journal/part"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

func remChain() *pectest.Chain {
	return pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba")).Send(letter(), "")
}

// TestEvidence reads every fact of an evidence.
func TestEvidence(t *testing.T) {
	c := remChain()
	m, _ := read(t, c.REMReceipt(pectest.Evidence{Event: "SubmissionAcceptance", Reason: "MessageAccepted", Code: "RA01",
		Text: "Message accepted", Untrusted: []int{3}}))
	if m.Class != pec.REM || len(m.Evidence) != 1 || m.DataError != "" {
		t.Fatalf("%s, %+v, %s", m.Class, m.Evidence, m.DataError)
	}
	want := pec.Evidence{Part: m.Evidence[0].Part, Name: "SubmissionAcceptance.xml",
		Event: "http://uri.etsi.org/19522/Event/SubmissionAcceptance", Time: "2026-11-03T09:11:12Z", At: pectest.Start.UTC(),
		Submitted: "2026-11-03T09:11:12Z", Identifier: "evidence-1." + c.Identifier, MessageIdentifier: c.Identifier,
		ClientIdentifier: c.Mail.MessageID, Issuer: "ALPHA PEC S.p.A.", Sender: "mario@alpha.test", Subject: c.Mail.Subject,
		Reasons: []pec.Reason{{Code: "http://uri.etsi.org/19522/EventReason/MessageAccepted", Details: []string{"RA01", "Message accepted"}}},
		Recipients: []pec.Recipient{{Address: "anna@beta.test", Kind: "certificato"}, {Address: "Bruno@gamma.test", Kind: "certificato"},
			{Address: "carla@ext.test", Kind: "esterno"}, {Address: "dario@beta.test", Kind: "certificato"}}}
	if !reflect.DeepEqual(m.Evidence[0], want) {
		t.Errorf("got  %+v\nwant %+v", m.Evidence[0], want)
	}
	if l := m.Links(); l.Identifier != c.Identifier || "<"+l.Client+">" != c.Mail.MessageID {
		t.Errorf("links %+v", l)
	}
	if e := m.Evidence[0]; e.Equivalent() != pec.Accettazione || e.EventName() != "SubmissionAcceptance" {
		t.Errorf("%s is %s", e.EventName(), e.Equivalent())
	}
}

// TestREMStates checks the states that evidences lead to.
func TestREMStates(t *testing.T) {
	c := remChain()
	accepted := pectest.Evidence{Event: "SubmissionAcceptance", Reason: "MessageAccepted", Code: "RA01", Untrusted: []int{3}}
	const anna, bruno, carla, dario = "anna@beta.test", "bruno@gamma.test", "carla@ext.test", "dario@beta.test"
	all := func(s pec.Status) map[string]pec.Status {
		return map[string]pec.Status{anna: s, bruno: s, carla: s, dario: s}
	}
	with := func(s pec.Status, changed map[string]pec.Status) map[string]pec.Status {
		states := all(s)
		for address, one := range changed {
			states[address] = one
		}
		return states
	}
	tests := []struct {
		name      string
		evidences []pectest.Evidence
		want      map[string]pec.Status
	}{
		{"accepted", []pectest.Evidence{accepted}, all("accepted")},
		{"refused", []pectest.Evidence{{Event: "SubmissionRejection", Reason: "MalwareFound", Code: "RA03"}}, all("not-accepted")},
		{"taken", []pectest.Evidence{{Event: "RelayAcceptance", RelayedTo: []int{1, 4}}}, map[string]pec.Status{anna: "accepted", dario: "accepted"}},
		{"delivered", []pectest.Evidence{accepted, {Event: "ContentConsignment", RefersTo: []int{2}}},
			with("accepted", map[string]pec.Status{bruno: "delivered"})},
		{"failed", []pectest.Evidence{accepted, {Event: "ContentConsignmentFailure", Reason: "MessageNotConsignedForQuota", RefersTo: []int{1}}},
			with("accepted", map[string]pec.Status{anna: "failed"})},
		{"not relayed", []pectest.Evidence{accepted, {Event: "RelayFailure", Reason: "R_ERDS_Unreachable", RelayedTo: []int{1, 4}}},
			with("accepted", map[string]pec.Status{anna: "failed", dario: "failed"})},
		{"no word of the relay", []pectest.Evidence{{Event: "RelayFailure", Reason: "S_ERDSP_ReceivedNoRelayAcceptanceInfoFromR_ERDSP",
			RelayedTo: []int{1}}}, map[string]pec.Status{anna: "late-24h"}},
		{"no word of the consignment", []pectest.Evidence{{Event: "ContentConsignmentFailure", Reason: "S_ERDSP_ReceivedNoDeliveryInfoFromR_ERDSP",
			RefersTo: []int{1}}}, map[string]pec.Status{anna: "late-24h"}},
		{"no word, then delivered", []pectest.Evidence{{Event: "ContentConsignmentFailure", Reason: "S_ERDSP_ReceivedNoDeliveryInfoFromR_ERDSP",
			RefersTo: []int{1}}, {Event: "ContentConsignment", RefersTo: []int{1}}}, map[string]pec.Status{anna: "delivered"}},
		{"handed on without REM", []pectest.Evidence{{Event: "RelayToNonERDS", RelayedTo: []int{3}}}, map[string]pec.Status{carla: "accepted"}},
		{"not handed on without REM", []pectest.Evidence{{Event: "RelayToNonERDSFailure", RelayedTo: []int{3}}},
			map[string]pec.Status{carla: "failed"}},
		{"failure that names nobody", []pectest.Evidence{accepted, {Event: "ContentConsignmentFailure"}}, all("failed-unnamed")},
		{"recipient that is not there", []pectest.Evidence{accepted, {Event: "ContentConsignment", RefersTo: []int{5}}}, all("delivered-unnamed")},
		{"events that change nothing", []pectest.Evidence{{Event: "ReceivedFromNonERDS"}, {Event: "ConsignmentNotification", RefersTo: []int{1}}},
			map[string]pec.Status{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, _ := read(t, c.REMReceipt(test.evidences...))
			states := apply([]*pec.Message{m})
			got := map[string]pec.Status{}
			for key, o := range states {
				if key.Identifier != c.Identifier {
					t.Errorf("of %q", key.Identifier)
				}
				got[key.Recipient] = o.Status()
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if carla := states[pec.Key{Identifier: c.Identifier, Recipient: carla}]; carla.Accepted.Known && carla.Kind() != pec.KindExternal {
				t.Errorf("the recipient without REM is %q", carla.Kind())
			}
		})
	}
	// The message that brings the original says nothing about a message that its recipients sent.
	m, _ := read(t, c.REMDispatch(accepted))
	if events := m.Events(); len(events) != 0 || m.Links().Identifier != c.Identifier || m.Postacert < 0 {
		t.Errorf("dispatch: %+v, %+v", events, m.Links())
	}
}

// TestEquivalence pairs each PEC event that changes a state with its REM counterpart: both give the same state.
func TestEquivalence(t *testing.T) {
	c := remChain()
	for class, evidence := range map[pec.Class]pectest.Evidence{
		pec.Accettazione:            {Event: "SubmissionAcceptance"},
		pec.NonAccettazione:         {Event: "SubmissionRejection"},
		pec.PresaInCarico:           {Event: "RelayAcceptance", RelayedTo: []int{1, 4}},
		pec.AvvenutaConsegna:        {Event: "ContentConsignment", RefersTo: []int{1}},
		pec.ErroreConsegna:          {Event: "ContentConsignmentFailure", RefersTo: []int{1}},
		pec.PreavvisoErroreConsegna: {Event: "RelayFailure", Reason: "S_ERDSP_ReceivedNoRelayAcceptanceInfoFromR_ERDSP", RelayedTo: []int{1}},
	} {
		of, _ := read(t, c.Notice(pectest.Notice{Class: class, Recipient: "anna@beta.test", Detail: "5.4.1"}))
		as, _ := read(t, c.REMReceipt(evidence))
		want := apply([]*pec.Message{of})
		got := apply([]*pec.Message{as})
		if as.Evidence[0].Equivalent() != class || len(got) != len(want) {
			t.Errorf("%s: %s, %d recipients, want %d", class, as.Evidence[0].Equivalent(), len(got), len(want))
		}
		for key, o := range want {
			if got[key].Status() != o.Status() {
				t.Errorf("%s: %s is %q, want %q", class, key.Recipient, got[key].Status(), o.Status())
			}
		}
	}
}

// TestEvidenceForms has odd evidences: everything readable must be there.
func TestEvidenceForms(t *testing.T) {
	c := remChain()
	with := func(change func(string) string) pectest.Evidence {
		return pectest.Evidence{Event: "ContentConsignment", Reason: "r", Code: "RD01", RefersTo: []int{1}, Change: change}
	}
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("no %s in the evidence", old)
			}
			return strings.ReplaceAll(s, old, new)
		}
	}
	for _, test := range []struct {
		name   string
		change func(string) string
		events int
		time   string // "" for the message's
		err    bool
	}{
		{"time with a fraction", replace("09:11:12Z", "09:11:12.345Z"), 1, "", false},
		{"time with a zone", replace("09:11:12Z", "10:11:12+01:00"), 1, "", false},
		{"time without a zone", replace("09:11:12Z", "09:11:12"), 1, "-", false},
		{"no time", replace("EventTime", "OtherTime"), 1, "-", false},
		{"scheme in the address", replace(`<Identifier IdentifierSchemeName="mailto">`, "<Identifier>mailto:"), 1, "", false},
		{"recipients by another name", replace(`"mailto"`, `"telephone"`), 0, "", false},
		{"cut short in the signature", func(s string) string { return s[:strings.Index(s, "SignatureValue")] }, 1, "", true},
		{"cut short before the recipients", func(s string) string { return s[:strings.Index(s, "<tns:RecipientDetails")] }, 0, "", true},
		{"stray end tags", replace("</tns:SenderDetails>", "</x></tns:SenderDetails></y>"), 1, "", false},
		{"no MessageIdentifier", replace("tns:MessageIdentifier", "tns:OtherIdentifier"), 0, "", false},
		{"entity that is not resolved", replace("<EventTime>", "<x>&evil;</x><EventTime>"), 1, "", false},
		{"markup in the subject", replace("<ext:Subject>", "<ext:Subject>a < b <c> & d"), 1, "", false},
		{"forbidden character", replace("<Details>RD01", "<Details>RD01\x01"), 1, "", false},
		{"no end tag", replace("</EventTime>", ""), 1, "", false},
		{"index that is none", replace("<EvidenceRefersToRecipient>1", "<EvidenceRefersToRecipient>-1"), 4, "", false},
	} {
		m, _ := read(t, c.REMReceipt(with(test.change)))
		if len(m.Evidence) != 1 || (m.DataError != "") != test.err || (m.Evidence[0].Error != "") != test.err {
			t.Errorf("%s: %+v, %q", test.name, m.Evidence, m.DataError)
			continue
		}
		events := m.Events()
		if len(events) != test.events {
			t.Errorf("%s: %d events, want %d", test.name, len(events), test.events)
		}
		at := m.Evidence[0].At
		if want := pectest.Start.UTC(); test.time == "" && !at.Equal(want) || test.time == "-" && !at.IsZero() {
			t.Errorf("%s: at %s", test.name, at)
		}
	}
	m, _ := read(t, c.REMReceipt(with(replace("<ext:Subject>", "<ext:Subject>a < b <c> & d "))))
	if got, want := m.Evidence[0].Subject, "a < b <c> & d "+c.Mail.Subject; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	m, _ = read(t, c.REMReceipt(with(func(s string) string { return "<Other/>" })))
	if len(m.Evidence) != 0 || m.DataError != "" || m.Class != pec.REM {
		t.Errorf("another document: %+v, %q", m.Evidence, m.DataError)
	}
}

// TestEvidenceIsBounded has more of everything than is kept: the kept part is right, and the record fits into an entry.
func TestEvidenceIsBounded(t *testing.T) {
	const entryRoom = 1 << 20 // what the journal keeps of a message's certification
	c := remChain()
	many := func(n int, element string) func(string) string {
		return func(s string) string {
			return strings.Replace(s, "<SubmissionTime>", strings.Repeat(element, n)+"<SubmissionTime>", 1)
		}
	}
	sized := func(size int) func(string) string {
		return func(s string) string { return many(1, "<!--"+strings.Repeat(" ", size-len(s)-len("<!---->"))+"-->")(s) }
	}
	recipient := `<tns:RecipientDetails><Identifier>` + strings.Repeat("x", 40) + `@beta.test</Identifier></tns:RecipientDetails>`
	for _, test := range []struct {
		name       string
		change     func(string) string
		recipients int // at least
		err        bool
	}{
		{"2,000 recipients", many(2000, recipient), 2004, false},
		{"more recipients than are kept", many(4000, recipient), 3800, true},
		{"tiny recipients", many(40_000, `<tns:RecipientDetails><Identifier>@</Identifier></tns:RecipientDetails>`), 10_000, true},
		{"numbers", many(40_000, `<EvidenceRefersToRecipient>1</EvidenceRefersToRecipient>`), 4, true},
		{"reasons", many(40_000, `<tns:EventReasons><tns:EventReason><Code>x</Code></tns:EventReason></tns:EventReasons>`), 4, false},
		{"depth", many(65, "<x>"), 4, false},
		{"4 MiB", sized(4 << 20), 4, false},
		{"over 4 MiB", sized(4<<20 + 1), 4, true},
	} {
		m, _ := read(t, c.REMReceipt(pectest.Evidence{Event: "ContentConsignment", Change: test.change}))
		if len(m.Evidence) != 1 || len(m.Evidence[0].Recipients) < test.recipients || (m.DataError != "") != test.err {
			t.Errorf("%s: %d evidences, %q", test.name, len(m.Evidence), m.DataError)
			continue
		}
		r := pec.Record{Message: *m}
		b, err := r.AppendBinary(nil)
		if err != nil || len(b) > entryRoom {
			t.Errorf("%s: %d bytes, %v", test.name, len(b), err)
		}
		var again pec.Record
		if err := again.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s: stored and read differ: %v", test.name, err)
		}
	}
	// All evidences of a message share the room.
	var evidences []pectest.Evidence
	for range 16 {
		evidences = append(evidences, pectest.Evidence{Event: "ContentConsignment", Change: many(4000, recipient)})
	}
	m, _ := read(t, c.REMReceipt(evidences...))
	r := pec.Record{Message: *m}
	if b, err := r.AppendBinary(nil); err != nil || len(b) > entryRoom || m.DataError == "" || len(m.Evidence) == 0 {
		t.Errorf("16 evidences: %d kept, %d bytes, %v, %q", len(m.Evidence), len(b), err, m.DataError)
	}
}

func FuzzEvidence(f *testing.F) {
	c := remChain()
	xml := ""
	c.REMReceipt(pectest.Evidence{Event: "ContentConsignment", Reason: "r", Code: "RD01", Text: "x", RefersTo: []int{1}, RelayedTo: []int{2},
		Untrusted: []int{3}, Change: func(s string) string { xml = s; return s }})
	f.Add([]byte(xml))
	for _, s := range []string{"<Evidence><EventTime>x", "<Evidence><ERDSEventId>x</ERDSEventId></x>", "<a/>", "<Evidence xmlns:x='y'/>",
		"<!DOCTYPE a [<!ENTITY b 'c'>]><Evidence><ERDSEventId>&b;</ERDSEventId></Evidence>", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		message := fmt.Appendf(nil, "REM-MessageType: receipt\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"+
			"Content-Type: application/xml; name=x.xml\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s\r\n--b--\r\n", document)
		s := part.NewScanner(part.DefaultLimits())
		s.Write(message)
		table := s.Close()
		m := pec.Read(bytes.NewReader(message), table, s.Header())
		for _, e := range m.Evidence {
			if e.Event == "" || e.At.Nanosecond() != 0 || e.At.Location() != time.UTC {
				t.Errorf("%+v", e)
			}
			if len(e.Recipients)+len(e.RefersTo) > 256<<10/16+1 {
				t.Errorf("%d recipients, %d numbers", len(e.Recipients), len(e.RefersTo))
			}
		}
		for _, e := range m.Events() {
			if e.Identifier == "" || e.Kind == "" {
				t.Errorf("%+v", e)
			}
		}
		r := pec.Record{Message: *m}
		b, err := r.AppendBinary(nil)
		var again pec.Record
		if err != nil || again.UnmarshalBinary(b) != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("stored and read: %+v\nwant\n%+v", again, r)
		}
	})
}
