package main

import (
	"testing"
)

// TestFullDisk runs a daemon with a watermark far above the free space. Mail to an enabled mailbox is deferred, other mail flows.
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
