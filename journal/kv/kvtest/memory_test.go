package kvtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// weakness is the environment variable that names the Weakness of the engine under test.
const weakness = "KVTEST_WEAKNESS"

func newTestMemory() *Memory { return NewMemory(Weakness(os.Getenv(weakness))) }

func TestContract(t *testing.T) {
	Run(t, func(testing.TB) Fixture { return newTestMemory() })
}

func TestReplicated(t *testing.T) {
	RunReplicated(t, func(testing.TB) Replicated { return newTestMemory() })
}

// TestWeaknesses checks that the tests of the contract notice each Weakness.
func TestWeaknesses(t *testing.T) {
	if os.Getenv(weakness) != "" {
		t.Skip("a weakness is under test already")
	}
	for weak, name := range map[Weakness]string{
		ReadNotDurable:   "TestReplicated/what_an_update_read_is_durable",
		LocksOfVolume:    "TestContract/a_lock_is_one_in_all_stores",
		LocksInOrder:     "TestContract/locks_have_no_order_and_no_number",
		OneClient:        "TestReplicated/nobody_is_alone",
		StagedForgotten:  "TestReplicated/what_was_staged_is_not_lost_unnoticed",
		StaleReads:       "TestReplicated/reading_is_fresh_between_clients",
		DropOwnHandles:   "TestReplicated/a_volume_that_another_client_dropped_answers_closed",
		UnknownIsNotDone: "TestReplicated/an_unknown_outcome_is_told",
	} {
		t.Run(string(weak), func(t *testing.T) {
			t.Parallel()
			child := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(name, "/", "$/^")+"$", "-test.timeout=60s", "-test.v")
			child.Env = append(os.Environ(), weakness+"="+string(weak))
			out, err := child.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: "+name) {
				t.Errorf("%s does not notice it (%v):\n%s", name, err, out)
			}
		})
	}
}
