//go:build bench

package bench

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

var (
	sizes       = []int{4_000, 100_000}
	connections = []int{1, 8, 32}
)

// variant is a hook to measure. An empty program stands for the path without one.
type variant struct{ program, more string } // more goes at the end of the configuration

// contest is what is measured in turns. This build takes part twice: the ratio of the two is the control, and tells how far to trust the others.
type contest struct {
	reference *variant // the least that such a hook can be; nil for none
	before    *variant // an earlier build; nil for none
	now       variant
	rounds    int
}

// hookPath is a way that mail takes, with a hook in it or without.
type hookPath struct {
	name  string
	goal  string // of the speed, as a ratio to the reference
	count map[int]int
	start func(t *testing.T, folder string, variants []variant) []side
}

// side is one variant on a path.
type side struct {
	hook *rig.Daemon // nil for none
	send func(t *testing.T, size, connections, count int)
}

// run is what one round cost a side.
type run struct{ took, processor time.Duration }

func (s side) run(t *testing.T, size, connections, count int) (r run) {
	t.Helper()
	if s.hook != nil {
		r.processor = -processorTime(t, s.hook.PID())
	}
	start := time.Now()
	s.send(t, size, connections, count)
	r.took = time.Since(start)
	if s.hook != nil {
		r.processor += processorTime(t, s.hook.PID())
	}
	return r
}

// The columns of a contest.
const (
	without = iota
	reference
	before
	now
	again
	columns
)

// paths are the rows of TestBench.
var paths = []hookPath{
	{"smtp-sink", "", map[int]int{4_000: 1500, 100_000: 500}, startSinkPath(false)},
	{"smtp-sink, client that pipelines", "", map[int]int{4_000: 1500, 100_000: 500}, startSinkPath(true)},
	{"Dovecot", "0.95", map[int]int{4_000: 600, 100_000: 300}, startDovecotPath},
	{"Postfix, Dovecot", "0.95", map[int]int{4_000: 400, 100_000: 200}, startPostfixPath},
}

const pathHead = "| | size | connections | hook / none | reference / none | hook / reference | goal | hook / before | processor: hook / before | reference / before | ms a message | control |\n" +
	"|---|---|---|---|---|---|---|---|---|---|---|---|"

// measure measures a path for all sizes and numbers of connections, and prints its lines: medians over rounds of random order.
func (p hookPath) measure(t *testing.T, c contest) {
	folder := rig.Folder(t)
	var variants []variant
	var of []int // the column of each variant
	for column, v := range []*variant{{}, c.reference, c.before, &c.now, &c.now} {
		if v != nil {
			variants, of = append(variants, *v), append(of, column)
		}
	}
	sides := p.start(t, folder, variants)
	for _, size := range sizes {
		for _, n := range connections {
			t.Run(fmt.Sprintf("%dkB/%d", size/1000, n), func(t *testing.T) {
				for _, s := range sides {
					s.send(t, size, n, max(n, 100))
				}
				runs := make([][columns]run, c.rounds)
				for round := range runs {
					for _, i := range rand.Perm(len(sides)) {
						runs[round][of[i]] = sides[i].run(t, size, n, p.count[size])
					}
				}
				fmt.Println(p.line(size, n, runs))
			})
		}
	}
	for i, column := range of {
		if column >= now {
			sides[i].hook.Verify(t)
		}
	}
}

// line returns a line of the table.
func (p hookPath) line(size, connections int, runs [][columns]run) string {
	both := func(r [columns]run) run {
		return run{(r[now].took + r[again].took) / 2, (r[now].processor + r[again].processor) / 2}
	}
	ratio := func(of func(r [columns]run) (above, below time.Duration)) string {
		var values []float64
		for _, r := range runs {
			above, below := of(r)
			if below == 0 || above == 0 {
				return ""
			}
			values = append(values, above.Seconds()/below.Seconds())
		}
		return fmt.Sprintf("%.3f", median(values))
	}
	count := p.count[size]
	return fmt.Sprintf("| %s | %d kB | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s %s |", p.name, size/1000, connections,
		ratio(func(r [columns]run) (_, _ time.Duration) { return r[without].took, both(r).took }),
		ratio(func(r [columns]run) (_, _ time.Duration) { return r[without].took, r[reference].took }),
		ratio(func(r [columns]run) (_, _ time.Duration) { return r[reference].took, both(r).took }), p.goal,
		ratio(func(r [columns]run) (_, _ time.Duration) { return r[before].took, both(r).took }),
		ratio(func(r [columns]run) (_, _ time.Duration) { return both(r).processor, r[before].processor }),
		ratio(func(r [columns]run) (_, _ time.Duration) { return r[reference].processor, r[before].processor }),
		ratio(func(r [columns]run) (_, _ time.Duration) {
			return both(r).processor * 1000 / time.Duration(count), time.Second
		}),
		ratio(func(r [columns]run) (_, _ time.Duration) { return r[now].took, r[again].took }),
		ratio(func(r [columns]run) (_, _ time.Duration) { return r[again].processor, r[now].processor }))
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// newContest returns the contest of this build with the reference, and with the earlier build that COPIALETTERE_BEFORE names, if any.
func newContest(t *testing.T, folder, program string) contest {
	t.Helper()
	c := contest{now: variant{program: program}, rounds: 9}
	if n, err := strconv.Atoi(os.Getenv("COPIALETTERE_ROUNDS")); err == nil {
		c.rounds = n
	}
	c.reference = &variant{program: filepath.Join(folder, "reference")}
	command := exec.Command("go", "build", "-o", c.reference.program, "./cmd/copialettere/e2e/bench/reference")
	command.Dir = rig.ModuleFolder()
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if earlier := os.Getenv("COPIALETTERE_BEFORE"); earlier != "" {
		// The daemon's user need not be able to read it where it is.
		c.before = &variant{program: filepath.Join(folder, "before")}
		check(t, os.WriteFile(c.before.program, []byte(read(t, earlier)), 0o755))
	}
	return c
}

// TestBenchEncrypted measures a hook whose journal is encrypted against the same one without a key: the columns "before" are of that.
func TestBenchEncrypted(t *testing.T) {
	rig.RemoveLeftovers()
	folder := rig.Folder(t)
	program, err := rig.Build(folder)
	check(t, err)
	key, err := exec.Command(program, "encryption-key").Output()
	check(t, err)
	c := newContest(t, folder, program)
	c.before = &variant{program: program}
	c.now.more = fmt.Sprintf("\n[encryption]\nkey_command = [\"/bin/echo\", %q]\n", strings.TrimSpace(string(key)))
	fmt.Printf("\n%d rounds, %s; a journal in the clear is what was before.\n\n%s\n", c.rounds, machine(t), pathHead)
	paths[0].measure(t, c)
}

// startSinkPath has smtp-sink, which does nothing with a message, as the next hop of every side.
func startSinkPath(pipelined bool) func(*testing.T, string, []variant) []side {
	send := func(t *testing.T, address string, size, connections, count int) {
		if pipelined {
			sendPipelined(t, address, size, connections, count)
		} else {
			source(t, true, address, size, connections, count)
		}
	}
	return func(t *testing.T, folder string, variants []variant) []side {
		sink := startSink(t, folder)
		return startHooks(t, folder, sink, variants, send)
	}
}

// startDovecotPath has Dovecot's LMTP as the next hop of every side.
func startDovecotPath(t *testing.T, folder string, variants []variant) []side {
	dovecot := rig.StartDovecot(t, filepath.Join(folder, "dovecot"), []rig.Account{{Address: mailbox}})
	return startHooks(t, folder, dovecot.DirectTCP, variants, func(t *testing.T, address string, size, connections, count int) {
		source(t, true, address, size, connections, count)
	})
}

// startHooks starts a side of each variant before an LMTP server.
func startHooks(t *testing.T, folder, server string, variants []variant, send func(t *testing.T, address string, size, connections, count int)) []side {
	sides := make([]side, len(variants))
	for i, v := range variants {
		address := server
		if v.program != "" {
			sides[i].hook, address = startVariant(t, v, filepath.Join(folder, strconv.Itoa(i)), server)
		}
		sides[i].send = func(t *testing.T, size, connections, count int) { send(t, address, size, connections, count) }
	}
	return sides
}

// startPostfixPath has a Postfix of its own for each side, and one Dovecot behind all. A message is delivered when the queue is empty.
func startPostfixPath(t *testing.T, folder string, variants []variant) []side {
	dovecot := rig.StartDovecot(t, filepath.Join(folder, "dovecot"), []rig.Account{{Address: mailbox}})
	sides := make([]side, len(variants))
	for i, v := range variants {
		settings := rig.PostfixConfig{Dovecot: dovecot, VirtualMailboxes: mailbox + " x\n"}
		place := filepath.Join(folder, strconv.Itoa(i))
		check(t, os.Mkdir(place, 0o755))
		if v.program != "" {
			settings.HookTCP = rig.FreePort(t) // nothing is sent here, so nobody listens there
			settings.Transport = mailbox + " copialettere-received:unix:private/copialettere\n"
		}
		postfix := rig.StartPostfix(t, filepath.Join(place, "postfix"), settings)
		if v.program != "" {
			socket := rig.ListenUnix(t, postfix.Socket)
			t.Cleanup(func() { socket.Close() })
			sides[i].hook, _ = startVariant(t, v, place, "unix:"+dovecot.Direct, rig.Activated{Name: "received", File: rig.Descriptor(t, socket)})
		}
		sides[i].send = func(t *testing.T, size, connections, count int) {
			source(t, false, postfix.SMTP, size, connections, count)
			postfix.Drain(t)
		}
	}
	return sides
}

// startVariant starts a hook before a next hop, with the mailbox enabled, and returns the address of its own listener.
func startVariant(t *testing.T, v variant, folder, nextHop string, listeners ...rig.Activated) (*rig.Daemon, string) {
	t.Helper()
	check(t, os.MkdirAll(folder, 0o755))
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(rig.FreePort(t)))
	var further strings.Builder
	for _, listener := range listeners {
		fmt.Fprintf(&further, ", %q", "systemd:"+listener.Name)
	}
	hook := rig.NewDaemon(t, v.program, filepath.Join(folder, "hook"), fmt.Sprintf(hookConfig, address, further.String(), nextHop)+v.more, listeners...)
	hook.Enable(t, mailbox)
	hook.Must(t, "mailbox", "set", mailbox, "quota=1000GB") // a message that is skipped because of the quota would cost less
	return hook, address
}
