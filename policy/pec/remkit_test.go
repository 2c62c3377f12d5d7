package pec_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/policy/pec"
)

// TestREMKit reads the messages of AgID's test kit for REM-Policy-IT, which is not part of the project: set REM_KIT to the folder where it was
// unpacked. File names say what messages contain: REM_<event><recipients, from 1>.<reason>.<any>.eml.
func TestREMKit(t *testing.T) {
	dir := os.Getenv("REM_KIT")
	if dir == "" {
		t.Skip("set REM_KIT to the unpacked test kit of REM-Policy-IT")
	}
	files, err := filepath.Glob(filepath.Join(dir, "REM_*.eml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages in %s: %v", dir, err)
	}
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, _ := read(t, message)
		name, reason, _ := strings.Cut(strings.TrimPrefix(filepath.Base(file), "REM_"), ".")
		reason, _, _ = strings.Cut(reason, ".")
		event := strings.TrimRight(name, "0123456789_")
		if m.Class != pec.REM || len(m.Evidence) != 1 || m.DataError != "" {
			t.Errorf("%s: %s, %d evidences, %s", file, m.Class, len(m.Evidence), m.DataError)
			continue
		}
		e := m.Evidence[0]
		if e.At.IsZero() || e.MessageIdentifier == "" || e.ClientIdentifier == "" || e.Issuer == "" || e.Subject == "" ||
			len(e.Recipients) == 0 || len(e.Reasons) != 1 || len(e.Reasons[0].Details) == 0 || e.Reasons[0].Details[0] != reason {
			t.Errorf("%s: %+v", file, e)
		}
		dispatch := strings.HasPrefix(event, "Dispatch") || event == "EXTERNAL"
		events := m.Events()
		if dispatch != (len(events) == 0) || !dispatch && !strings.HasSuffix(e.Event, "/"+strings.TrimSuffix(event, "Ext")) {
			t.Errorf("%s: %s, %d events", file, e.Event, len(events))
		}
		for _, one := range events {
			if one.Unnamed || one.Identifier != e.MessageIdentifier || !one.Time.Equal(e.At) {
				t.Errorf("%s: %+v", file, one)
			}
		}
	}
}
