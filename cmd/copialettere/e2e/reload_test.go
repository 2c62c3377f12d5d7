package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestHangup sends SIGHUP to the daemon in the middle of a message, with a good file and with a bad one. The message must go on, and so must
// the daemon.
func TestHangup(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store := record(listener)
	t.Cleanup(store.stop)
	lmtp := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	hook := rig.NewDaemon(t, program, rig.Folder(t)+"/hook", fmt.Sprintf("[received]\nlisten = [\"tcp:%s\"]\nnext_hop = \"lmtp:%s\"\n"+
		"[[domain]]\nname = \"alpha.test\"\n", lmtp, listener.Addr()))
	hook.Enable(t, anna)
	pid := hook.PID()

	session, err := rig.Dial("tcp", lmtp, "LHLO")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	say := func(code int, format string, arguments ...any) {
		t.Helper()
		if reply, err := session.Command(format, arguments...); err != nil || reply.Code != code {
			t.Fatalf("%s: %v, %v", format, reply, err)
		}
	}
	hangup := func(logged string) {
		t.Helper()
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		rig.Wait(t, 20*time.Second, "the daemon to log "+logged, func() bool { return len(hook.Logged(t, logged)) > 0 })
	}
	say(250, "MAIL FROM:<ester@ext.test>")
	say(250, "RCPT TO:<anna@alpha.test> ORCPT=rfc822;anna@alpha.test")
	say(354, "DATA")
	whole := string(message("hangup"))
	if _, err := session.Write([]byte(whole[:100])); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(hook.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, logged string }{
		{string(text) + "[[domain]]\nname = \"beta.test\"\n", `taken="domain \"beta.test\""`},
		{string(text) + "nonsense\n", "the one before stays in force"},
	} {
		if err := os.WriteFile(hook.Config, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		hangup(c.logged)
	}
	if err := os.WriteFile(hook.Config, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Write([]byte(whole[100:])); err != nil {
		t.Fatal(err)
	}
	say(250, ".")
	if entries := hook.Find(t, anna, "hangup@ext.test"); len(entries) != 1 || entries[0].State != "delivered" {
		t.Errorf("entries: %+v", entries)
	}
	if got := store.find("hangup"); len(got) != 1 || strings.ReplaceAll(string(got[0].message), "\r\n", "\n") != strings.ReplaceAll(whole, "\r\n", "\n") {
		t.Errorf("the mailstore has %d messages", len(got))
	}
	if hook.PID() != pid {
		t.Error("the daemon is another one")
	}
}
