package policy

import "testing"

// TestAllSwitches compares what is read of the switches alone with the mailboxes as they are read whole.
func TestAllSwitches(t *testing.T) {
	p, _ := openTest(t, testConfig(), "anna@alpha.test", "bruno@alpha.test", "carla@alpha.test")
	ctx := t.Context()
	for i, value := range []string{"none", "imap", "pop3,smtp"} {
		a := mustAddress(t, []string{"anna@alpha.test", "bruno@alpha.test", "dario@alpha.test"}[i])
		if _, err := p.Set(ctx, a, operator(), []Assignment{{KeyProtocols, value}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Rename(ctx, mustAddress(t, "anna@alpha.test"), mustAddress(t, "anna.rossi@alpha.test"), operator()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.HandOver(ctx, mustAddress(t, "bruno@alpha.test"), operator(), "bruno@alpha.test"); err != nil {
		t.Fatal(err)
	}
	var want []Switches
	for m, err := range p.Mailboxes(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, Switches{m.Address, m.Archive, m.Settings.Protocols})
	}
	i := 0
	for s, err := range p.AllSwitches(ctx) {
		if err != nil || i >= len(want) || s != want[i] {
			t.Fatalf("%d: %+v, %v, want %+v", i, s, err, want)
		}
		i++
	}
	if i != len(want) || i < 5 {
		t.Errorf("%d, want %d", i, len(want))
	}
	for _, stored := range []string{"", "{}", `{"version":2}`, `{"version":1,"protocols":"fax"}`, `{"version":1,"address":"?"}`} {
		if s, err := decodeSwitches("anna@alpha.test", []byte(stored)); err == nil {
			t.Errorf("%s is read as %+v", stored, s)
		}
	}
	if s, err := decodeSwitches("anna@alpha.test", []byte(`{"version":1}`)); err != nil || s.Protocols != programDefaults().Protocols {
		t.Errorf("without protocols: %+v, %v", s, err)
	}
}
