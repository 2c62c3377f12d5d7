package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestKillImport kills imports, and the daemon under them, with SIGKILL at random moments, and runs the same command again. In the end every message is
// there once.
func TestKillImport(t *testing.T) {
	t.Parallel()
	folder := rig.Folder(t)
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(killConfig, fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), filepath.Join(folder, "hook", "mail")))
	hook.Enable(t, anna)
	const count = 400
	var mbox strings.Builder
	var want []string
	for i := range count {
		text := fmt.Sprintf("Subject: Vecchia %d\r\n\r\n%s\r\n", i, strings.Repeat("x", i%50*100))
		fmt.Fprintf(&mbox, "From - Mon May  6 07:08:09 2019\r\n%s\r\n", text)
		want = append(want, digestOf([]byte(text)))
	}
	slices.Sort(want)
	from := filepath.Join(folder, "Vecchia posta.mbox")
	if err := os.WriteFile(from, []byte(mbox.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for try := range 6 {
		p := exec.Command(program, "import", anna, "-from", from, "-config", hook.Config)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
		if try%2 == 1 {
			hook.Kill()
		} else {
			p.Process.Kill()
		}
		p.Wait()
		if try%2 == 1 {
			hook.Start(t)
		}
	}
	if out := hook.Must(t, "import", anna, "-from", from); !strings.Contains(string(out), " were there already") {
		t.Errorf("import: %s", out)
	}
	var got []string
	for _, e := range hook.List(t, anna) {
		got = append(got, e.SHA256)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d messages, %d of them different; want %d", len(got), len(slices.Compact(slices.Clone(got))), count)
	}
	hook.Verify(t)
}
