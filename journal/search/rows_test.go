package search

import (
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy/archive"
)

// TestRows puts gaps into lists. A list is written as one line: messages by their day, gaps by their name.
func TestRows(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 10, n, 12, 0, 0, 0, time.UTC) } // of October; 32 is 1 November
	at := func(n int) *time.Time {
		d := day(n)
		return &d
	}
	entry := func(n int) *journal.Entry {
		return &journal.Entry{Ref: journal.Ref{Month: "2026-10", Folder: "INBOX", UID: uint32(n)}, Time: day(n), Subject: day(n).Format("2/1")}
	}
	gaps := []archive.Gap{
		{Detail: "first", Kind: archive.GapPause, Until: at(2)},
		{Detail: "pause", Kind: archive.GapPause, From: at(5), Until: at(8)},
		{Detail: "lasts", Kind: archive.GapPause, From: at(40)},
		{Detail: "one", Kind: archive.GapMissing, From: at(10)},
		{Detail: "sent", Kind: archive.GapMissing, From: at(10), Direction: "sent"},
		{Detail: "renamed", Kind: archive.GapRename, From: at(20)},
		{Detail: "long", Kind: archive.GapMissing, From: at(25), Until: at(35)},
	}
	var list []*journal.Entry // newest first
	for _, n := range []int{36, 31, 20, 15, 10, 9, 4} {
		list = append(list, entry(n))
	}
	page := func(from, to int) (Page, Position) {
		p := Page{Entries: list[from:to]}
		if to < len(list) {
			p.Next = Position{key{list[to-1].Time.UnixNano(), list[to-1].Ref}}
		}
		var after Position
		if from > 0 {
			after = Position{key{list[from-1].Time.UnixNano(), list[from-1].Ref}}
		}
		return p, after
	}
	october := slices.DeleteFunc(slices.Clone(list), func(e *journal.Entry) bool { return e.Time.Month() != time.October })
	for _, c := range []struct {
		name     string
		query    Query
		from, to int
		want     string
	}{
		{"all", Query{}, 0, 7, "lasts 5/11 long 31/10 renamed 20/10 15/10 one sent 10/10 9/10 pause 4/10 first"},
		{"first page", Query{}, 0, 2, "lasts 5/11 long 31/10"},
		{"second page", Query{}, 2, 5, "renamed 20/10 15/10 one sent 10/10"},
		{"last page", Query{}, 5, 7, "9/10 pause 4/10 first"},
		{"received", Query{Folder: "INBOX"}, 0, 7, "lasts 5/11 long 31/10 renamed 20/10 15/10 one 10/10 9/10 pause 4/10 first"},
		{"sent", Query{Direction: journal.Sent}, 0, 7, "lasts 5/11 long 31/10 renamed 20/10 15/10 one sent 10/10 9/10 pause 4/10 first"},
		{"a word", Query{Text: []string{"x"}}, 0, 7, "5/11 31/10 20/10 15/10 10/10 9/10 4/10"},
		{"a class", Query{Classes: []string{"other"}}, 0, 7, "5/11 31/10 20/10 15/10 10/10 9/10 4/10"},
	} {
		p, after := page(c.from, c.to)
		if got := lineOf(p.Rows(c.query, after, gaps)); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
	for folder, want := range map[string]string{
		"INBOX/2026-10": "long 31/10 renamed 20/10 15/10 one 10/10 9/10 pause 4/10 first",
		"2026-10":       "long 31/10 renamed 20/10 15/10 one sent 10/10 9/10 pause 4/10 first",
	} {
		if got := lineOf((Page{Entries: october}).Rows(Query{Folder: folder}, Position{}, gaps)); got != want {
			t.Errorf("%s:\n%s, want\n%s", folder, got, want)
		}
	}
	if got := lineOf((Page{}).Rows(Query{}, Position{}, gaps[:1])); got != "first" {
		t.Errorf("an empty archive: %s", got)
	}
}

func lineOf(rows []Row) string {
	var words []string
	for _, r := range rows {
		if r.Gap != nil {
			words = append(words, r.Gap.Detail)
		} else {
			words = append(words, r.Entry.Subject)
		}
	}
	return strings.Join(words, " ")
}
