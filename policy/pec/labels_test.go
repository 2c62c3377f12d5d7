package pec

import (
	"testing"

	"copialettere/policy"
)

// TestLabels holds every name to a label in both languages, and no two of a kind to the same.
func TestLabels(t *testing.T) {
	named := func(kind string, labels map[string]policy.Label) {
		seen := make(map[policy.Label]string)
		for name, l := range labels {
			if l.Italian == "" || l.English == "" || l.Italian == l.English || l.Italian == name {
				t.Errorf("%s %q is called %+v", kind, name, l)
			}
			if other, twice := seen[l]; twice {
				t.Errorf("%s: %q and %q have one label", kind, name, other)
			}
			seen[l] = name
		}
	}
	labels := make(map[string]policy.Label)
	for _, c := range []Class{PostaCertificata, Anomalia, Accettazione, NonAccettazione, PresaInCarico, AvvenutaConsegna, ErroreConsegna,
		PreavvisoErroreConsegna, RilevazioneVirus, REM, Ordinary} {
		labels[string(c)] = c.Label()
	}
	named("class", labels)
	labels = make(map[string]policy.Label)
	for _, r := range []Result{"", ResultVerified, ResultWeak, ResultInvalid, ResultIncomplete, ResultUntrusted, ResultUnsigned} {
		labels[string(r)] = r.Label()
	}
	named("result", labels)
	labels = make(map[string]policy.Label)
	for _, s := range []Status{StatusUnknown, StatusAccepted, StatusRefused, StatusDelivered, StatusFailed, StatusLate12, StatusLate24,
		StatusUnnamedDelivered, StatusUnnamedFailed, StatusUnnamedLate} {
		labels[string(s)] = s.Label()
	}
	named("status", labels)
	labels = make(map[string]policy.Label)
	for _, w := range []Waiting{WaitingUnder, WaitingPast, WaitingLong} {
		labels[string(w)] = w.Label()
	}
	named("waiting", labels)
	labels = make(map[string]policy.Label)
	for _, r := range []HashResult{HashMatch, HashMismatch, HashNoOriginal, HashNotCovered, HashOtherName} {
		labels[string(r)] = r.Label()
	}
	named("hash result", labels)
	labels = make(map[string]policy.Label)
	for _, kind := range []string{ReceiptComplete, ReceiptBrief, ReceiptShort} {
		labels[kind] = ReceiptKindLabel(kind)
	}
	named("kind of receipt", labels)
	if MatchNone.Label() != (policy.Label{}) || MatchGuess.Label() == MatchIdentifier.Label() || NotWaiting.Label() != (policy.Label{}) {
		t.Error("a match or a waiting has a wrong label")
	}
	if l := Status("new").Label(); l.Italian != "new" {
		t.Errorf("an unknown status is called %+v", l)
	}
}
