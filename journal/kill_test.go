package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
	"copialettere/journal/kv/kvtest"
	"copialettere/journal/kv/level"
)

// What makes the test binary do something with the journal in a folder, and kill itself in the middle.
const (
	killedFolder = "COPIALETTERE_TEST_KILLED_FOLDER"
	killedWork   = "COPIALETTERE_TEST_KILLED_WORK" // a name of killedWorks
	killedAt     = "COPIALETTERE_TEST_KILLED_AT"   // before, or behind, which write it kills itself: "3 before"
	killedClock  = "COPIALETTERE_TEST_KILLED_CLOCK"
	killedKeys   = "COPIALETTERE_TEST_KILLED_KEYS" // the file of the keys of mailboxes; empty where there is none
)

// killedWorks are what is done and killed.
var killedWorks = map[string]func(ctx context.Context, j *Journal, now time.Time) error{
	"erase": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.Erase(ctx, mario, EraseOptions{KeepGaps: true})
		return err
	},
	"sweep": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.Sweep(ctx, SweepOptions{})
		return err
	},
	"expire": func(ctx context.Context, j *Journal, now time.Time) error {
		_, err := j.Expire(ctx, ExpireOptions{Mailboxes: halfYear, Now: now, Yes: true})
		return err
	},
	"empty": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.Empty(ctx, inbox, "owner")
		return err
	},
	"undelete": func(ctx context.Context, j *Journal, _ time.Time) error {
		s := inbox.Only()
		s.UIDs = AllUIDs()
		_, err := j.Undelete(ctx, s, "owner")
		return err
	},
	"import": func(ctx context.Context, j *Journal, _ time.Time) error {
		d := j.NewDraft(ctx)
		defer d.Discard()
		if _, err := d.Write(killedImport()); err != nil {
			return err
		}
		_, err := d.Commit(ctx, Envelope{Transaction: "killed"}, []Intent{imported(mario, Archived)}, nil)
		return err
	},
	"adopt": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.Adopt(ctx)
		return err
	},
	"checkpoint": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.Checkpoint(ctx, "archivio.alpha.test", func(n evidence.Note) ([]byte, error) { return []byte(n.Text() + "\n"), nil })
		return err
	},
	"rebuild": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.Rebuild(ctx)
		return err
	},
	"index": func(ctx context.Context, j *Journal, _ time.Time) error {
		keeping, stop := context.WithCancel(ctx)
		var kept sync.WaitGroup
		var failed atomic.Pointer[error]
		kept.Go(func() { j.KeepIndexed(keeping, func(err error) { failed.Store(&err) }) })
		err := j.Index(ctx, 0)
		stop()
		kept.Wait()
		if f := failed.Load(); f != nil {
			err = errors.Join(err, *f)
		}
		return err
	},
	"settle": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.SettleLosses(ctx, "2026-11", killedLosses(), november)
		return err
	},
	"purge": func(ctx context.Context, j *Journal, _ time.Time) error {
		_, err := j.PurgeDeleted(ctx)
		return err
	},
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedFolder); dir != "" {
		if err := workUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func workUntilKilled(dir string) error {
	ctx := context.Background()
	engine, err := level.Open(filepath.Join(dir, "journal"), level.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	now, err := time.Parse(time.RFC3339, os.Getenv(killedClock))
	if err != nil {
		return err
	}
	k := &killer{Engine: engine}
	at, when, _ := strings.Cut(os.Getenv(killedAt), " ")
	if k.at, err = strconv.ParseInt(at, 10, 64); err != nil {
		return err
	}
	k.before = when == "before"
	c := &clock{t: now}
	seen := kvtest.Eager(k)
	if keys := os.Getenv(killedKeys); keys != "" {
		sealed, err := seal(seen, keys, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		seen = killerKeys{sealed, k}
	}
	j, err := Open(seen, Options{Now: c.now})
	if err != nil {
		return err
	}
	if err := killedWorks[os.Getenv(killedWork)](ctx, j, now); err != nil {
		return err
	}
	return errors.Join(j.Close(), engine.Close())
}

// killer kills the process at one of the writes.
type killer struct {
	kv.Engine
	writes atomic.Int64
	at     int64
	before bool
}

func (k *killer) write(next func() error) error {
	n := k.writes.Add(1)
	if n == k.at && k.before {
		k.kill()
	}
	err := next()
	if n == k.at {
		k.kill()
	}
	return err
}

func (k *killer) kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (k *killer) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := k.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return killerStore{s, k}, nil
}

func (k *killer) Settings(ctx context.Context) (kv.Store, error) {
	s, err := k.Engine.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return killerStore{s, k}, nil
}

func (k *killer) Drop(ctx context.Context, m kv.Month) error {
	return k.write(func() error { return k.Engine.Drop(ctx, m) })
}

func (k *killer) Fence(ctx context.Context, m kv.Month) (kv.Fence, error) {
	f, err := k.Engine.Fence(ctx, m)
	return killerFence{f, k}, err
}

// killerKeys kills the process where keys of mailboxes are destroyed, too.
type killerKeys struct {
	*keyed.Engine
	k *killer
}

func (e killerKeys) DestroyKeys(ctx context.Context, mailbox string) error {
	return e.k.write(func() error { return e.Engine.DestroyKeys(ctx, mailbox) })
}

type killerFence struct {
	kv.Fence
	k *killer
}

func (f killerFence) Drop(ctx context.Context) error {
	return f.k.write(func() error { return f.Fence.Drop(ctx) })
}

type killerStore struct {
	kv.Store
	k *killer
}

func (s killerStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	return s.k.write(func() error { return s.Store.Update(ctx, locks, fn) })
}

func (s killerStore) Stage(ctx context.Context, pairs []kv.Pair) (staged kv.Staged, err error) {
	err = s.k.write(func() error { staged, err = s.Store.Stage(ctx, pairs); return err })
	return staged, err
}

// killAtEach has another process do the work again and again, killed at a later write each time, until it gets to the end. Each
// time between is called, on an open journal that is sound.
func (f *fixture) killAtEach(work string, step int, between func()) {
	f.t.Helper()
	f.onFiles()
	for n := 1; ; n += step {
		killed := f.killAt(work, n)
		f.verify()
		if !killed {
			if n == 1 {
				f.t.Error("the work was never killed")
			}
			return
		}
		between()
	}
}

// killAt has another process do the work, killed at its write number n, and opens the journal again. It reports whether the work got that far.
func (f *fixture) killAt(work string, n int) (killed bool) {
	f.t.Helper()
	at := fmt.Sprint(n, " ", [...]string{"before", "behind"}[n%2])
	f.close()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), killedFolder+"="+f.dir, killedWork+"="+work, killedAt+"="+at,
		killedClock+"="+f.clock.now().Format(time.RFC3339), killedKeys+"="+f.keys)
	out, err := child.CombinedOutput()
	f.open()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		f.t.Fatalf("%s killed at %s: %v %s", work, at, err, out)
	}
	return true
}
