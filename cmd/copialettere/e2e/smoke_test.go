package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// testSmoke runs contrib/swaks/smoke.sh against the hook, over TCP and over a unix socket.
func testSmoke(t *testing.T, s *system) {
	script := filepath.Join(rig.ModuleFolder(), "contrib", "swaks", "smoke.sh")
	for _, run := range []struct{ name, hook, megabytes string }{{"tcp", s.lmtp, "20"}, {"unix", s.postfix.Socket, "1"}} {
		t.Run(run.name, func(t *testing.T) {
			command := exec.Command("/bin/sh", script)
			command.Env = append(os.Environ(), "HOOK="+run.hook, "MEGABYTES="+run.megabytes, "PROGRAM="+program, "CONFIG="+s.hook.Config)
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
