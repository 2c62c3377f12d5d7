package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// TestVerifyInBackground has the housekeeping verify an archive that is whole, then one with a fault: log, metrics and the operator's notice tell.
func TestVerifyInBackground(t *testing.T) {
	p := newPlace(t)
	p.configure("[notices]\nrelay = \"smtp:127.0.0.1:9\"\nfrom = \"archive@alpha.test\"\noperator = \"operator@ext.test\"\n[verify]\nrate = \"1GB\"\n")
	p.must("init")
	k, log := keeperOf(t, p)
	refs := addEntries(t, k, anna, 3)
	k.house.Verify(t.Context())
	if strings.Contains(log.String(), "archive verified") {
		t.Errorf("an archive that was just made is verified:\n%s", log)
	}
	k.archive.folder.Made = k.archive.folder.Made.Add(-30 * 24 * time.Hour)
	k.house = newHouse(k)
	k.house.Configure(scheduleOf(k.config.Load(), k.archive.acts(k.config.Load(), nil)))
	k.house.Verify(t.Context())
	logged := func(text string, times int) {
		t.Helper()
		if n := strings.Count(log.String(), text); n != times {
			t.Errorf("%q is %d times in the log, want %d:\n%s", text, n, times, log)
		}
	}
	logged(`msg="archive verified" entries=3`, 1)
	k.house.Verify(t.Context())
	logged("archive verified", 1) // no other one is due
	schedule := scheduleOf(k.config.Load(), k.archive.acts(k.config.Load(), nil))
	schedule.VerifyEvery = 0
	k.house.Configure(schedule)
	k.house.Verify(t.Context())
	logged("archive verified", 1)

	// An outcome of no entry.
	s, err := k.archive.folder.Engine.Volume(t.Context(), refs[0].Month, false)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put([]byte("o"+anna+"\x00INBOX\x00\x00\x00\x00\x63"), []byte{1, 0})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	schedule.VerifyEvery = 1
	k.house.Configure(schedule)
	k.house.Verify(t.Context())
	logged(`msg="fault in the archive" detail="an outcome leads to`, 1)
	logged("level=ERROR msg=\"archive verified\" entries=3", 1)
	metrics := k.metrics(t)
	for _, want := range []string{"copialettere_verify_faults 1\n", "copialettere_verify_months_left 0\n", "copialettere_verify_passed_over_months 0\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	k.archive.notices.Close()
	told := 0
	for pair, err := range k.archive.folder.Settings.Scan(t.Context(), []byte("wq"), []byte("wr")) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(pair.Value), "has found 1 fault:") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the operator was told %d times", told)
	}
}

// metrics returns what the daemon serves on /metrics.
func (d *daemon) metrics(t *testing.T) string {
	t.Helper()
	answer := httptest.NewRecorder()
	d.archive.metrics.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}
