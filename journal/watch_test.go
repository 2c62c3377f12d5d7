package journal

import (
	"testing"

	"copialettere/journal/kv"
)

// TestWatch watches a mailbox while entries come, move and go, in it and in others.
func TestWatch(t *testing.T) {
	f := openFixture(t)
	const mailbox = "anna@alpha.test"
	news, stop := f.Watch(mailbox)
	other, stopOther := f.Watch("anna@alpha.test2")
	defer stopOther()
	told := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	one := Selection{Mailbox: mailbox, Month: kv.MonthOf(november), Folder: "INBOX", UIDs: UIDs{{1, 1}}}
	var r Ref
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"nothing", func() error { return nil }, false},
		{"another mailbox", func() error { f.put("bruno@alpha.test", []byte("x\r\n")); return nil }, false},
		{"arrivals", func() error {
			f.put(mailbox, []byte("Subject: 1\r\n\r\n"))
			f.put(mailbox, []byte("Subject: 2\r\n\r\n"))
			return nil
		}, true},
		{"move", func() error { _, err := f.Move(f.ctx(), one, Trash, "test"); return err }, true},
		{"delete", func() error {
			one.Folder = Trash
			_, err := f.Delete(f.ctx(), one, "test")
			return err
		}, true},
		{"undelete", func() error { _, err := f.Undelete(f.ctx(), one, "test"); return err }, true},
		{"withdrawn", func() error {
			r = f.deliver(mailbox, []byte("Subject: 3\r\n\r\n"), "T3").Ref
			told(news)
			_, err := f.Withdraw(f.ctx(), r, "T3", Record{Kind: Skip, Mailbox: mailbox, Time: november, Reason: ReasonRefused})
			return err
		}, true},
		{"stopped", func() error {
			stop()
			stop()
			f.put(mailbox, []byte("Subject: 4\r\n\r\n"))
			return nil
		}, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := told(news); got != step.want || told(news) {
			t.Errorf("%s: told %v, want %v", step.name, got, step.want)
		}
		if told(other) {
			t.Errorf("%s: another mailbox was told", step.name)
		}
	}
	if n := f.watches.n.Load(); n != 1 || len(f.watches.of) != 1 {
		t.Errorf("%d watches of %d mailboxes are left", n, len(f.watches.of))
	}
}
