package imapd

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/journal/kv"
)

// spoil changes the stored bytes of a chunk of an entry, as a failing disk does.
func (r *rig) spoil(ref journal.Ref, chunk int) {
	r.t.Helper()
	e, err := r.journal.Entry(r.t.Context(), ref)
	check(r.t, err)
	s, err := r.engine.Volume(r.t.Context(), ref.Month, false)
	check(r.t, err)
	key := append([]byte{'c'}, e.Chunks[chunk].ID[:]...)
	check(r.t, s.Update(r.t.Context(), nil, func(tx kv.Tx) error {
		v, err := tx.Get(key)
		if err == nil {
			v = append([]byte(nil), v...)
			v[len(v)/2] ^= 1
			tx.Put(key, v)
		}
		return err
	}))
	r.damaged = true
}

// TestFetchDamaged has a disk spoil a piece of a message. No program gets other bytes than those that were journaled, nor fewer as if they were all: the
// reply says NO, or the connection ends within the literal.
func TestFetchDamaged(t *testing.T) {
	r := newRig(t, nil)
	small := r.add(anna, journal.Received, "Subject: small\r\n\r\nTesto\r\n")
	message := large(1 << 20)
	whole := r.add(anna, journal.Received, string(message))
	after := r.add(anna, journal.Received, "Subject: after\r\n\r\nTesto\r\n")
	e, err := r.journal.Entry(t.Context(), whole)
	check(t, err)
	last := len(e.Chunks) - 1
	if last < 2 {
		t.Fatalf("%d chunks", last+1)
	}
	r.spoil(small, 0)
	r.spoil(whole, last)
	for _, c := range []struct {
		command string
		sound   string // what a literal begins with that breaks off; empty: the reply says NO
	}{
		{fmt.Sprintf("UID FETCH %d BODY.PEEK[]", small.UID), ""},
		{fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[HEADER])", small.UID), ""},
		{fmt.Sprintf("UID FETCH %d BODY.PEEK[]", whole.UID), string(message)},
		{"UID FETCH 1:* (RFC822.SIZE BODY.PEEK[])", ""}, // this one gets past both
		{fmt.Sprintf("UID FETCH %d BODY.PEEK[]<1000.100>", whole.UID), "sound"},
		{"UID SEARCH TEXT nowhere", ""},
	} {
		p := r.open("INBOX/2026-11")
		_, err := fmt.Fprintf(p.nc, "t %s\r\n", c.command)
		check(t, err)
		var answer strings.Builder
		for {
			line, err := p.in.ReadString('\n')
			answer.WriteString(line)
			if err == io.EOF || strings.HasPrefix(line, "t ") {
				break
			}
			check(t, err)
		}
		got := answer.String()
		_, literal, begun := strings.Cut(got, fmt.Sprintf("{%d}\r\n", len(message)))
		switch {
		case c.sound == "sound":
			if want := string(message[1000:1100]) + ")\r\nt OK"; !strings.Contains(got, want) {
				t.Errorf("%s: %.300q", c.command, got)
			}
		case strings.Contains(got, "t OK"):
			t.Errorf("%s: OK", c.command)
		case c.sound == "" && !strings.Contains(got, "t NO [CORRUPTION]"):
			t.Errorf("%s: %.200q", c.command, got)
		case c.sound != "" && begun && (len(literal) >= len(c.sound) || !strings.HasPrefix(c.sound, literal)):
			t.Errorf("%s: %d bytes came of a literal of %d, or others than were journaled", c.command, len(literal), len(c.sound))
		case c.sound != "" && !begun && !strings.Contains(got, "t NO [CORRUPTION]"):
			t.Errorf("%s: %.200q", c.command, got)
		}
	}
	p := r.open("INBOX/2026-11")
	if got := p.dialogue(t, fmt.Sprintf("UID FETCH %d BODY.PEEK[TEXT]", after.UID)); !strings.Contains(got, "Testo") || !strings.Contains(got, "t OK") {
		t.Errorf("what is sound: %q", got)
	}
}
