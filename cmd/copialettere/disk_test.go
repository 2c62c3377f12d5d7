package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

func TestDiskWatch(t *testing.T) {
	var log bytes.Buffer
	var free int64
	var suspended error
	var failure error
	d := &diskWatch{
		config: config.Disk{Warn: config.Watermark{Percent: 10}, Stop: config.Watermark{Percent: 3}},
		log:    slog.New(slog.NewTextHandler(&log, nil)), free: new(metrics.Gauge),
		statfs:  func() (int64, int64, error) { return free, 1000, failure },
		suspend: func(cause error) { suspended = cause },
	}
	for _, step := range []struct {
		name    string
		free    int64
		stopped bool
		logged  string // what the step adds to the log; nothing where empty
	}{
		{"plenty", 500, false, ""},
		{"at the first watermark", 100, false, ""},
		{"below it", 99, false, "fills up"},
		{"still below it", 98, false, ""},
		{"at the second", 30, false, ""},
		{"below that", 29, true, "nearly full"},
		{"still", 1, true, ""},
		{"room again", 31, false, "again"},
		{"full again", 0, true, "nearly full"},
		{"all free", 1000, false, "again"},
		{"fills up once more", 50, false, "fills up"},
	} {
		log.Reset()
		free = step.free
		d.look()
		if (suspended != nil) != step.stopped || suspended != nil && !errors.Is(suspended, kv.ErrUnavailable) {
			t.Errorf("%s: suspended for %v, want %v", step.name, suspended, step.stopped)
		}
		if got := log.String(); (got != "") != (step.logged != "") || !strings.Contains(got, step.logged) {
			t.Errorf("%s: logged %q, want %q", step.name, got, step.logged)
		}
		if d.free.Value() != step.free {
			t.Errorf("%s: metric says %d", step.name, d.free.Value())
		}
	}
	failure = errors.New("no such disk")
	log.Reset()
	if d.look(); !strings.Contains(log.String(), "no such disk") {
		t.Errorf("a failed look was logged as %q", log.String())
	}
}

// TestFullDisk has a daemon whose watermark is far above what is free: mail to an enabled mailbox is deferred, other mail flows.
func TestFullDisk(t *testing.T) {
	p := newPlace(t)
	p.configure("[disk]\nwarn = \"2000000GB\"\nstop = \"1000000GB\"\n")
	p.must("init")
	defer p.daemon()()
	p.must("mailbox", "enable", "anna@alpha.test")
	p.deliver(message, "bruno@alpha.test", "bruno@alpha.test")
	if reply := p.try(message, "anna@alpha.test", "anna@alpha.test"); reply.Code != 451 {
		t.Errorf("got %v, want 451", reply)
	}
	if code, _, _ := p.run("list", "anna@alpha.test"); code != 1 {
		t.Errorf("list: exit status %d; want nothing there", code)
	}
}
