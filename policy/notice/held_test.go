package notice

import (
	"testing"
	"time"

	"copialettere/policy"
)

// TestHeld counts the notices of one mailbox: those that wait, and those that the daily limit of three kept back.
func TestHeld(t *testing.T) {
	r := newRig(t)
	n := NewPump(r.queue, nil, nil)
	held := func(archive string, want Held) {
		t.Helper()
		got, err := n.Held(t.Context(), archive)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", archive, got, err, want)
		}
	}
	held(anna, Held{})
	const bruno = "bruno@alpha.test"
	at := func(mailbox string, after time.Duration) Notice {
		return Notice{Mailbox: mailbox, Event: policy.NotifyCertified, Time: start().Add(after), Sender: "a@ext.test"}
	}
	r.restart(3)
	for i := range 5 {
		r.add(at(anna, time.Duration(i)*time.Minute))
	}
	r.add(at(bruno, time.Hour)) // whose owner named no address
	n = NewPump(r.queue, nil, nil)
	h, err := n.Held(t.Context(), anna)
	if err != nil || h.Waiting < 5 || !h.Told || !h.Oldest.Equal(start()) || !h.Newest.After(h.Oldest) {
		t.Errorf("%+v, %v", h, err)
	}
	held(bruno, Held{})
	var none *Pump
	if h, err := none.Held(t.Context(), anna); err != nil || h != (Held{}) {
		t.Errorf("without notices: %+v, %v", h, err)
	}
}
