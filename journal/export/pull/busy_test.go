package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// waiting has a rig wait for nothing, and note how long it would have.
func (r *rig) waiting() *[]time.Duration {
	waits := new([]time.Duration)
	r.options.Wait = func(_ context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return nil
	}
	return waits
}

// TestBusyServer has servers that ask to be left alone: the run waits, longer each time, and goes on. Nothing is taken for refused.
func TestBusyServer(t *testing.T) {
	for _, test := range []struct {
		name string
		at   string // the command that is refused
		said string
		bye  bool
	}{
		{"too many connections", "LOGIN", "NO [LIMIT] too many", false},
		{"the store is down", "EXAMINE", "NO [UNAVAILABLE] later", false},
		{"a folder in use", "EXAMINE", "NO [INUSE] later", false},
		{"the list is throttled", "UID FETCH 1:*", "NO [THROTTLED] later", false},
		{"bodies are throttled", "UID FETCH 1:3", "NO [LIMIT] rate", false},
		{"thrown out", "UID FETCH 1:3", "* BYE [UNAVAILABLE] later", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, one(1), one(2), one(3))
			waits := r.waiting()
			left := 2
			r.refuse = map[string]string{test.at: test.said}
			r.cut = test.bye
			r.refused = func() {
				if left--; left == 0 {
					r.refuse, r.cut = nil, false
				}
			}
			told, err := r.run()
			if err != nil || !slices.Equal(*waits, busyWaits[:2]) {
				t.Errorf("%v, waited %v", err, *waits)
			}
			if want := "waiting 0, waiting 0, imported 1, imported 2, imported 3"; told != want {
				t.Errorf("told %q", told)
			}
			r.want("again", "")
		})
	}
}

// TestBusyForLong has a server that stays busy: the run ends, nothing of it is on record as refused, and the next one takes all.
func TestBusyForLong(t *testing.T) {
	for _, test := range []struct{ name, at, said, told string }{
		{"signing in", "LOGIN", "NO [UNAVAILABLE] later", ""},
		{"a folder", "EXAMINE", "NO [LIMIT] later", ", not-opened 0"},
		{"bodies", "UID FETCH 1:", "NO [LIMIT] later", ", not-opened 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, one(1), one(2), one(3), one(4))
			waits := r.waiting()
			r.refuse = map[string]string{test.at: test.said}
			told, err := r.run()
			if !errors.Is(err, ErrBusy) || !errors.Is(err, ErrAccount) || errors.Is(err, ErrLogin) {
				t.Errorf("error %v", err)
			}
			if !slices.Equal(*waits, busyWaits[:]) || told != "waiting 0, waiting 0, waiting 0"+test.told {
				t.Errorf("told %q, waited %v", told, *waits)
			}
			r.refuse = nil
			r.want("later", "imported 1, imported 2, imported 3, imported 4")
		})
	}
	t.Run("one folder in use", func(t *testing.T) {
		r := newRig(t, one(1))
		r.waiting()
		r.folders = []string{`() "/" used`, `() "/" INBOX`}
		r.refuse = map[string]string{`EXAMINE "used"`: "NO [INUSE] later"}
		if told, err := r.run(); err != nil || told != "waiting 0, waiting 0, waiting 0, not-opened 0, imported 1" {
			t.Errorf("%q, %v", told, err)
		}
	})
	t.Run("in all", func(t *testing.T) {
		p := &puller{o: Options{Wait: func(context.Context, time.Duration) error { return nil }}, waited: mostWait - 1}
		said := &statusError{"LOGIN", "NO", "[LIMIT] x"}
		if err := p.wait(t.Context(), said); err != nil {
			t.Error(err)
		}
		p.came()
		var end endError
		if err := p.wait(t.Context(), said); !errors.Is(err, ErrBusy) || !errors.As(err, &end) {
			t.Error(err)
		}
	})
}

// TestBusyMessage has a server that calls itself busy each time it is asked for one message: that one is named, and the others come.
func TestBusyMessage(t *testing.T) {
	for _, size := range []int{10, alone + 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newRig(t, one(1), one(2), mail{uid: 3, text: strings.Repeat("x", size)}, one(4), one(5))
			r.waiting()
			r.fetch = func(w io.Writer, uids []uint32) (bool, error) {
				if contains(uids, 3) {
					return false, errNo
				}
				return false, nil
			}
			r.want("with one that is not given", "waiting 0, waiting 0, waiting 0, imported 1, imported 2, not-given 3, imported 4, imported 5")
			r.fetch = nil
			r.want("given", "imported 3")
		})
	}
}

// TestSilentServer has a server that closes connections at once, as Courier does where too many are open.
func TestSilentServer(t *testing.T) {
	r := newRig(t, one(1))
	waits := r.waiting()
	r.silent = 2
	r.want("silent", "waiting 0, waiting 0, imported 1")
	if !slices.Equal(*waits, busyWaits[:2]) {
		t.Errorf("waited %v", *waits)
	}
	r.silent = 10
	if _, err := r.run(); !errors.Is(err, ErrBusy) || !errors.Is(err, errSilent) {
		t.Error(err)
	}
	r.silent, *waits = 1, nil
	r.script.mu.Unlock()
	_, err := test(t.Context(), r.account, "x", r.options.Reach, nil)
	r.script.mu.Lock()
	if !errors.Is(err, ErrBusy) || *waits != nil {
		t.Errorf("a test waits: %v, %v", *waits, err)
	}
}

// TestSleep ends with its context.
func TestSleep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}

// TestRests keeps profiles of a server that is busy from running by themselves for a while, and no others.
func TestRests(t *testing.T) {
	s := NewService(nil, nil)
	s.rest("busy.test")
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, test := range []struct {
		name, account string
		at            time.Time
		want          bool
	}{
		{"just now", "imaps://anna@busy.test", now, true},
		{"another user", "imap+starttls://bruno@busy.test:143", now.Add(restFor - time.Minute), true},
		{"later", "imaps://anna@busy.test", now.Add(restFor + time.Minute), false},
		{"another server", "imaps://anna@ext.test", now, false},
	} {
		if got := s.rests(test.account, test.at); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
