package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestDoctorKilled kills "doctor -mend" with SIGKILL, later each time, until it comes to its end. Then the archive is sound, and each message is there or
// told as lost, once.
func TestDoctorKilled(t *testing.T) {
	t.Parallel()
	const count = 40
	now := time.Now()
	folder := rig.Folder(t)
	config := fmt.Sprintf(killConfig, fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), filepath.Join(folder, "hook", "mail"))
	hook := rig.Install(t, program, filepath.Join(folder, "hook"), config)
	var mails []pastMail
	for n := range count {
		for _, mailbox := range []string{anna, bruno} {
			mails = append(mails, pastMail{mailbox, 1, letter(fmt.Sprint(mailbox, n), 400)})
		}
	}
	archivePast(t, hook, now, mails)
	hook.Verify(t) // from now on all is in tables
	damageTables(t, filepath.Join(hook.Data, "journal", string(monthBefore(now, 1))))

	kills := 0
	for after := 10 * time.Millisecond; ; after += after / 3 {
		command := hook.Prepared("doctor", "-mend")
		var out strings.Builder
		command.Stdout, command.Stderr = &out, os.Stderr
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		killing := time.AfterFunc(after, func() { command.Process.Kill() })
		err := command.Wait()
		killing.Stop()
		if err == nil {
			break
		}
		if command.ProcessState.ExitCode() >= 0 {
			t.Fatalf("doctor -mend: %v\n%s", err, out.String())
		}
		if kills++; after > time.Minute {
			t.Fatal("it does not come to its end")
		}
	}
	t.Logf("killed %d times", kills)
	if kills < 3 {
		t.Errorf("killed %d times only", kills)
	}
	hook.Verify(t)
	var report struct {
		Faults, Lost, Entries int64
		LogsLost              int64 `json:"logs_lost"`
	}
	if err := json.Unmarshal(hook.Must(t, "verify", "-json"), &report); err != nil {
		t.Fatal(err)
	}
	gaps := 0
	for _, mailbox := range []string{anna, bruno} {
		gaps += strings.Count(string(hook.Must(t, "gaps", mailbox)), "  lost")
	}
	if missing := 2*count - report.Entries; missing != report.Lost && report.LogsLost == 0 || (missing > 0) != (gaps > 0) {
		t.Errorf("%d messages are missing, %d are lost as the logs say, in %d logs begun anew, with %d gaps", missing, report.Lost, report.LogsLost, gaps)
	}
	if stdout, stderr, status := hook.Command(t, "doctor"); status != 0 {
		t.Errorf("doctor: exit status %d\n%s%s", status, stdout, stderr)
	}
}

// damageTables flips a bit at two places of the largest table of a month.
func damageTables(t *testing.T, folder string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(folder, "*.ldb"))
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var content []byte
	for _, table := range tables {
		if b, err := os.ReadFile(table); err == nil && len(b) > len(content) {
			largest, content = table, b
		}
	}
	if largest == "" {
		t.Fatal("there is no table")
	}
	for _, at := range []int{len(content) / 10, len(content) / 2} {
		content[at] ^= 1
	}
	if err := os.WriteFile(largest, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
