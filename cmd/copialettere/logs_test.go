package main

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// TestLogsExpire has the daily run remove old changes of settings. Where the run is refused, because the clock may have jumped, it removes none.
func TestLogsExpire(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	k, log := keeperOf(t, p)
	a, err := policy.ParseAddress(anna)
	if err != nil {
		t.Fatal(err)
	}
	who := policy.Actor{Role: policy.RoleOperator, Name: "carla"}
	if _, err := k.archive.policy.Enable(t.Context(), a, who); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"12", "24"} {
		if _, err := k.archive.policy.Set(t.Context(), a, who, []policy.Assignment{{Key: policy.KeyRetention, Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	k.archive.auth.Login(t.Context(), auth.Attempt{Login: anna, Password: "wrong", Protocol: auth.ProtocolIMAP})
	logins := func(want int) {
		t.Helper()
		n := 0
		for _, err := range k.archive.auth.Accesses(t.Context(), a) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want {
			t.Errorf("%d logins are on record, want %d", n, want)
		}
	}
	// putRun puts a run of the retention on record.
	putRun := func(at time.Time) {
		t.Helper()
		value, err := json.Marshal(journal.Run{Time: at.UTC()})
		if err != nil {
			t.Fatal(err)
		}
		err = k.archive.folder.Settings.Update(t.Context(), nil, func(tx kv.Tx) error {
			tx.Put(binary.BigEndian.AppendUint64([]byte{'j'}, uint64(at.UnixNano())), value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	changes := func(want int) {
		t.Helper()
		n := 0
		for _, err := range k.archive.policy.Changes(t.Context(), a) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want {
			t.Errorf("%d changes are on record, want %d\n%s", n, want, log)
		}
	}
	run := func(months int, now time.Time) {
		t.Helper()
		k.house = newHouse(k)
		s := scheduleOf(k.config.Load(), k.archive.acts(k.config.Load(), nil))
		s.KeepLogs = months
		k.house.Configure(s)
		k.house.Keep(t.Context(), now)
	}
	now := time.Now()
	putRun(now.AddDate(0, 0, -60)) // so long ago that the clock is doubted
	run(0, now)
	if !strings.Contains(log.String(), "retention refused") {
		t.Errorf("the run was not refused: %s", log)
	}
	changes(3)
	putRun(now.AddDate(0, 0, -2))
	run(30, now)
	changes(3)
	logins(1)
	run(0, now.Add(25*time.Hour))
	changes(1)
	logins(0)
	if metrics := k.metrics(t); !strings.Contains(metrics, `copialettere_logs_removed_total{of="settings"} 2`+"\n") {
		t.Errorf("the metrics do not count what was removed:\n%s", metrics)
	}
	if !strings.Contains(log.String(), `msg="old logs removed"`) || !strings.Contains(log.String(), "changes=2 names=1 acts=0 recipients=0 logins=1") {
		t.Errorf("logged %s", log)
	}
	verified(t, k)
	if err := k.archive.close(); err != nil {
		t.Fatal(err)
	}
	got := p.must("mailbox", "log", anna)
	for _, want := range []string{"archive from off to on, by operator\n", "older changes removed: 2; those of the archive itself stay, without names, by logs.keep\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "carla") {
		t.Errorf("the log names somebody:\n%s", got)
	}
	p.must("mailbox", "set", anna, "quota=2GB")
	if got := p.must("mailbox", "log", anna); !strings.Contains(got, "quota from 1GB to 2GB") {
		t.Errorf("the log lacks the next change:\n%s", got)
	}
}
