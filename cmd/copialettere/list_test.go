package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"copialettere/journal/httpd"
)

// TestListSome lists some of the entries, and asks for them in ways that make no sense.
func TestListSome(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.must("mailbox", "set", anna, "write=on")
	for n := range 5 {
		p.deliver(fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", n), anna, anna)
	}
	all := p.entries(anna)
	inbox := all[0].Folder
	month := inbox[len("INBOX/"):]
	trash := "Trash/" + month
	p.must("move", anna, inbox, "2", trash)
	day := all[0].Time.Local().Format(time.DateOnly)
	for _, tt := range []struct{ flags, want string }{
		{"", "0 2 3 4 1"},
		{"-newest 2", "4 3"},
		{"-newest 9", "4 3 2 1 0"},
		{"-newest 1 -folder " + trash, "1"},
		{"-folder INBOX", "0 2 3 4"},
		{"-folder " + month, "0 2 3 4 1"},
		{"-folder Sent", ""},
		{"-folder " + inbox + " -after 3", "3 4"},
		{"-since " + day, "0 2 3 4 1"},
		{"-until " + day, "0 2 3 4 1"},
		{"-since 2100-01-01", ""},
		{"-until 2001-01-01", ""},
		{"-since " + all[2].Time.Format(time.RFC3339) + " -until 2100-01-01T00:00:00Z -newest 1", "4"},
		{"-all -folder INBOX", "0 2 3 4"},
	} {
		var got []string
		if args := append([]string{"list", anna}, strings.Fields(tt.flags)...); tt.want == "" {
			if code, _, _ := p.run(args...); code != 1 {
				t.Errorf("list %s: exit status %d, want 1", tt.flags, code)
			}
		} else {
			for _, e := range lines[httpd.EntryView](p, args...) {
				got = append(got, e.Subject)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("list %s: %q, want %q", tt.flags, got, tt.want)
		}
	}
	for flags, want := range map[string]string{
		"-newest 0":          "want a number from 1",
		"-newest 100001":     "want a number from 1 to 100000",
		"-newest x":          "want a number from 1",
		"-after 1":           "name a folder with its month",
		"-after 1 -folder 2": "name a folder with its month",
		"-since yesterday":   "want a day",
		"-until 2026-13-01":  "want a day",
		"-all -newest 3":     "ask without all",
	} {
		p.fails(2, []string{want}, append([]string{"list", anna}, strings.Fields(flags)...)...)
	}
}
