//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestBenchExportBeside prints by how much the hook answers later while messages are exported, by the command and by the daemon in the background, and
// while the machine is backed up. One connection to smtp-sink, 4 kB, in interleaved rounds. Exports and backups read 10,000 messages of 7 kB and begin
// again when they end.
func TestBenchExportBeside(t *testing.T) {
	rig.RemoveLeftovers()
	program, err := rig.Build(rig.Folder(t))
	check(t, err)
	folder := rig.Folder(t)
	r := newReadable(t, program, folder, startSink(t, folder), 1)
	run := func(ctx context.Context, name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil && ctx.Err() == nil {
			t.Errorf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	byCommand := func(form string) func(context.Context) {
		to := filepath.Join(folder, form)
		return func(ctx context.Context) {
			run(ctx, program, "export", mailbox, "-to", to, "-format", form, "-config", r.hook.Config)
			check(t, os.RemoveAll(to))
			check(t, os.RemoveAll(to+".part"))
		}
	}
	ask := func(ctx context.Context, method, path string) string {
		return run(ctx, "curl", "-sS", "--unix-socket", filepath.Join(r.hook.Data, "admin.sock"), "-X", method, "-H", "Content-Type: application/json", "-d", "{}",
			"http://admin/api/v1/mailboxes/"+mailbox+"/exports"+path+"?who=root")
	}
	inBackground := func(ctx context.Context) {
		_, rest, _ := strings.Cut(ask(ctx, "POST", ""), `"id":"`)
		id, _, ok := strings.Cut(rest, `"`)
		if !ok {
			t.Error("no export begins")
			return
		}
		<-ctx.Done()
		ask(context.WithoutCancel(ctx), "DELETE", "/"+id)
	}
	backUp := func(ctx context.Context) {
		to := filepath.Join(folder, "backup")
		check(t, os.MkdirAll(to, 0o700))
		run(ctx, program, "backup", to, "-begin", "-config", r.hook.Config)
		check(t, os.RemoveAll(to))
	}
	fmt.Println("\n| the hook beside an export or a backup | time of a message / without one | goal |\n|---|---|---|")
	const count = 400
	for _, c := range []struct {
		name string
		work func(context.Context)
	}{{"zip, by the daemon", inBackground}, {"eml, by the command", byCommand("eml")}, {"mbox, by the command", byCommand("mbox")}, {"backup", backUp}} {
		source(t, true, r.lmtp, 4_000, 1, 100)
		var ratios []float64
		for round := range readRounds {
			var took [2]float64
			for side := range 2 {
				beside := (side + round) % 2
				ctx, stop := context.WithCancel(t.Context())
				var working sync.WaitGroup
				if beside == 1 {
					working.Go(func() {
						for ctx.Err() == nil {
							c.work(ctx)
						}
					})
				}
				took[beside] = source(t, true, r.lmtp, 4_000, 1, count).Seconds()
				stop()
				working.Wait()
			}
			ratios = append(ratios, took[1]/took[0])
		}
		slices.Sort(ratios)
		fmt.Printf("| %s | %.2f (%.2f to %.2f) | below 1.2 |\n", c.name, ratios[readRounds/2], ratios[0], ratios[readRounds-1])
	}
}
