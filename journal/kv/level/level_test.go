package level

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
)

// onFiles is an engine on real files.
type onFiles struct {
	dir  string
	opts Options
}

func (f *onFiles) Open(t testing.TB) kv.Engine {
	opts := f.opts
	opts.Logger = testLogger(t)
	e, err := Open(f.dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TakeAway implements kvtest.Absent.
func (f *onFiles) TakeAway(t testing.TB, m kv.Month) (putBack func()) { return takeAway(t, f.dir, m) }

// takeAway moves the folder of a store out of the folder of an engine. An empty month means the settings.
func takeAway(t testing.TB, dir string, m kv.Month) (putBack func()) {
	t.Helper()
	name := cmp.Or(string(m), settingsName)
	folder, away := filepath.Join(dir, name), filepath.Join(t.TempDir(), name)
	if err := os.Rename(folder, away); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(away, folder); err != nil {
			t.Fatal(err)
		}
	}
}

// testLogger logs to the output of the test.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func TestContractOnFiles(t *testing.T) {
	kvtest.Run(t, func(t testing.TB) kvtest.Fixture { return &onFiles{dir: t.TempDir()} })
}

func TestAbsent(t *testing.T) {
	kvtest.RunAbsent(t, func(t testing.TB) kvtest.Absent { return &onFiles{dir: t.TempDir()} })
}

// TestContractWithSmallBuffers makes LevelDB rotate its logs, write tables and compact them all the time.
func TestContractWithSmallBuffers(t *testing.T) {
	kvtest.Run(t, func(t testing.TB) kvtest.Fixture {
		return &onFiles{dir: t.TempDir(), opts: Options{WriteBuffer: 64 << 10, TableSize: 64 << 10}}
	})
}

func TestFaults(t *testing.T) {
	kvtest.RunFaults(t, func(t testing.TB) kvtest.Faulty { return newBadDisk(t) })
}
