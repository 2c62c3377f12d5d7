//go:build !race

package level

import (
	"testing"

	"copialettere/journal/kv/kvtest"
)

// TestFaultsWithSmallBuffers makes LevelDB rotate its logs and write tables all the time while the disk fails. The race detector would report
// LevelDB itself: a writer that waits for a table (compTriggerWait) leaves when the table fails, and closes the channel that cAuto.ack sends
// on; ack recovers from that, and nothing else is shared. TestFaults runs under the race detector.
func TestFaultsWithSmallBuffers(t *testing.T) {
	kvtest.RunFaults(t, func(t testing.TB) kvtest.Faulty {
		f := newBadDisk(t)
		f.opts = Options{WriteBuffer: 16 << 10, TableSize: 16 << 10}
		return f
	})
}
