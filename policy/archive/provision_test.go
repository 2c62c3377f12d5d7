package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

var root = policy.Actor{Role: policy.RoleOperator, Name: "root"}

// settingsOf returns the settings store's mailboxes as text: name, state, quota, retention, number of changes.
func settingsOf(t *testing.T, a *Archive) string {
	t.Helper()
	var b strings.Builder
	for m, err := range a.policy.Mailboxes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		changes := 0
		for _, err := range a.policy.Changes(t.Context(), m.Address) {
			if err != nil {
				t.Fatal(err)
			}
			changes++
		}
		values := make(map[string]string)
		for key, value := range m.Settings.Values() {
			values[key] = value
		}
		fmt.Fprintf(&b, "%s %s %s %s %d\n", m.Address, m.Settings.State(), values["quota"], values["retention"], changes)
	}
	return b.String()
}

// provisioned collects what a Provision yields: the mailboxes that changed, and the error.
func provisioned(t *testing.T, all iter.Seq2[Provisioned, error]) (changed string, err error) {
	t.Helper()
	for v, err := range all {
		if err != nil {
			return changed, err
		}
		if !v.Changed {
			if len(v.Changes) > 0 {
				t.Errorf("%s is unchanged, with changes", v.Mailbox)
			}
			continue
		}
		changed += v.Mailbox + " " + v.Archive
		for _, c := range v.Changes {
			changed += " " + c.Key + "=" + c.After
		}
		changed += "\n"
	}
	return changed, nil
}

// TestProvision enables and sets many mailboxes. Each case runs dry first, which changes nothing and says what then happens, and once more
// afterwards, which changes nothing either.
func TestProvision(t *testing.T) {
	assign := func(texts ...string) (list []policy.Assignment) {
		for _, text := range texts {
			a, err := policy.ParseAssignment(text)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, a)
		}
		return list
	}
	const before = "b@alpha.test off 2GB none 1\nc@alpha.test on 1GB none 1\nd@alpha.test off 1GB none 3\nz@beta.test off 1GB 12 1\n"
	for _, c := range []struct {
		name  string
		lines string
		p     Provision
		want  string // what changed
		err   string // a line for each error; %s is the name
	}{
		{"addresses", "# our people\n\n a@alpha.test \r\nC@Alpha.test\n\"#x\"@alpha.test\n", Provision{Enable: true},
			"a@alpha.test on archive=on\n#x@alpha.test on archive=on\n", ""},
		{"addresses in quotes", "\"a@alpha.test\"\n\"\"\"a b\"\"@alpha.test\"\n", Provision{Enable: true},
			"a@alpha.test on archive=on\n\"a b\"@alpha.test on archive=on\n", ""},
		{"CSV", "mailbox,quota,retention\na@alpha.test,5GB,24\nb@alpha.test,,\nc@alpha.test,1GB,\n", Provision{Enable: true},
			"a@alpha.test on archive=on retention=24 quota=5GB\nb@alpha.test on archive=on\n", ""},
		{"CSV from a spreadsheet in Italy", "\ufeff# il nostro elenco\r\nMailbox;filter;quota\r\na@alpha.test;certified,acceptance;\"3GB\"\r\n\r\n",
			Provision{}, "a@alpha.test off filter=certified,acceptance quota=3GB\n", ""},
		{"quoted fields", "\"mailbox\",\"filter\"\n\"\"\"a b\"\"@alpha.test\",\"certified,delivery\"\n", Provision{Enable: true},
			"\"a b\"@alpha.test on archive=on filter=certified,delivery\n", ""},
		{"settings for all", "a@alpha.test\nb@alpha.test\n", Provision{Assignments: assign("retention=6", "language=en")},
			"a@alpha.test off retention=6 language=en\nb@alpha.test off retention=6 language=en\n", ""},
		{"enabled with settings for all", "mailbox,quota\na@alpha.test,4GB\n", Provision{Enable: true, Assignments: assign("retention=6")},
			"a@alpha.test on archive=on retention=6 quota=4GB\n", ""},
		{"a closing archive by name", "d@alpha.test\n", Provision{Enable: true}, "d@alpha.test on archive=on erasure=none\n", ""},
		{"a domain", "", Provision{Enable: true, Domain: "Alpha.test"}, "b@alpha.test on archive=on\n", ""},
		{"settings of a domain", "", Provision{Domain: "alpha.test", Assignments: assign("quota=2GB")},
			"c@alpha.test on quota=2GB\nd@alpha.test off quota=2GB\n", ""},
		{"a domain without mailboxes to enable", "", Provision{Enable: true, Domain: "beta.test", Assignments: assign("retention=12")}, "z@beta.test on archive=on\n", ""},
		{"lines within a domain", "a@alpha.test\n", Provision{Enable: true, Domain: "alpha.test"}, "a@alpha.test on archive=on\n", ""},

		{"everything that is wrong", "mailbox,quota,retention\na@alpha.test,5,24\nnobody,,\n@,,\na@gamma.test,,\nb@alpha.test,1GB\nb@alpha.test,1GB,7\n" +
			"f@alpha.test,,\nF@alpha.test,,\n", Provision{Enable: true}, "", `
			%s:2: enable a@alpha.test: quota="5": a size needs a unit
			%s:3: "nobody": not a mailbox address: no domain
			%s:4: "@": not a mailbox address
			%s:5: enable a@gamma.test: domain not configured
			%s:6: bad request: 2 fields, and the first line names 3
			%s:7: enable b@alpha.test: retention="7": want none
			%s:9: bad request: f@alpha.test is there already, in line 8`},
		{"outside the domain", "a@alpha.test\nz@beta.test\n", Provision{Enable: true, Domain: "alpha.test"}, "", "%s:2: bad request: z@beta.test does not lie in alpha.test"},
		{"an unknown setting", "mailbox,color,quota,quota\n", Provision{}, "", "%s:1: bad request: unknown setting \"color\": the settings are\n%s:1: bad request: quota is named twice"},
		{"a setting twice", "mailbox,quota\na@alpha.test,1GB\n", Provision{Assignments: assign("quota=2GB")}, "", "%s:1: bad request: quota is also given for all mailboxes"},
		{"settings without their names", "a@alpha.test,5GB\n", Provision{}, "", `%s:1: "a@alpha.test,5GB": not a mailbox address: bad domain; settings need a first line that names them, as mailbox,quota`},
		{"a quote within a field", "mailbox,quota\n\"a b\"@alpha.test,1GB\n", Provision{}, "", "%s:2: bad request: column 5: extraneous or missing"},
		{"no mailbox", "# nothing\n", Provision{Enable: true}, "", "%s: there is no mailbox in it"},
		{"nothing to set", "a@alpha.test\n", Provision{}, "", "no setting is given"},
		{"no mailboxes named", "", Provision{Enable: true}, "", "name the mailboxes"},
		{"a domain that is not configured", "", Provision{Enable: true, Domain: "gamma.test"}, "", "domain not configured: gamma.test"},
		{"settings of a domain that is not configured", "", Provision{Domain: "gamma.test", Assignments: assign("quota=2GB")}, "", "domain not configured: gamma.test"},
		{"a bad domain", "", Provision{Enable: true, Domain: "a b"}, "", `domain "a b"`},
		{"a bad assignment", "a@alpha.test\n", Provision{Assignments: []policy.Assignment{{Key: "quota"}}}, "", `%s:1: set a@alpha.test: quota=""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t)
			for _, act := range []struct {
				mailbox string
				set     string
				enable  bool
			}{{"b@alpha.test", "quota=2GB", false}, {"c@alpha.test", "", true}, {"d@alpha.test", "", true}, {"z@beta.test", "retention=12", false}} {
				address, _ := policy.ParseAddress(act.mailbox)
				var err error
				if act.enable {
					_, err = a.Enable(t.Context(), root, address)
				} else {
					_, err = a.Set(t.Context(), root, address, assign(act.set))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			d, _ := policy.ParseAddress("d@alpha.test")
			if _, err := a.Disable(t.Context(), root, d, "d@alpha.test", false); err != nil {
				t.Fatal(err)
			}
			if got := settingsOf(t, a); got != before {
				t.Fatalf("settings\n%s", got)
			}
			run := func(dry bool) (string, error) {
				p := c.p
				p.Name, p.DryRun = "boxes.csv", dry
				if c.lines != "" {
					p.Lines = strings.NewReader(c.lines)
				}
				return provisioned(t, a.Provision(t.Context(), root, p))
			}
			for _, dry := range []bool{true, false} {
				got, err := run(dry)
				if c.err != "" {
					at := 0
					for want := range strings.Lines(c.err) {
						if err != nil {
							found := strings.Index(err.Error(), strings.ReplaceAll(strings.TrimSpace(want), "%s", "boxes.csv"))
							if found < at {
								t.Errorf("dry %v: error\n%v\nis out of order", dry, err)
							}
							at = found
						}
						if want = strings.ReplaceAll(strings.TrimSpace(want), "%s", "boxes.csv"); err == nil || !strings.Contains(err.Error(), want) {
							t.Errorf("dry %v: error\n%v\nlacks\n%s", dry, err, want)
						}
					}
					if err != nil && strings.Count(err.Error(), "boxes.csv:") > strings.Count(c.err, "%s:") {
						t.Errorf("more errors than %q: %v", c.err, err)
					}
				} else if err != nil || got != c.want {
					t.Errorf("dry %v: changed\n%s%v\nwant\n%s", dry, got, err, c.want)
				}
				if now := settingsOf(t, a); (dry || c.err != "") && now != before {
					t.Errorf("dry %v: settings\n%s", dry, now)
				}
			}
			after := settingsOf(t, a)
			if got, err := run(false); c.err == "" && (got != "" || err != nil) {
				t.Errorf("once more: changed\n%s%v", got, err)
			}
			if now := settingsOf(t, a); now != after {
				t.Errorf("once more: settings\n%s, were\n%s", now, after)
			}
		})
	}
}

// TestProvisionRights provisions mailboxes of two domains: everybody may change what they may change one by one.
func TestProvisionRights(t *testing.T) {
	for _, c := range []struct {
		who     policy.Actor
		lines   string
		refused []string // the lines; nil if none
	}{
		{root, "a@alpha.test\nz@beta.test\n", nil},
		{policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}, "a@alpha.test\n", nil},
		{policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}, "a@alpha.test\nz@beta.test\n", []string{"boxes:2"}},
		{policy.Actor{Role: policy.RoleOwner, Name: "a@alpha.test"}, "a@alpha.test\nb@alpha.test\n", []string{"boxes:1", "boxes:2"}},
		{policy.Actor{Role: policy.RoleProgram, Name: "x"}, "a@alpha.test\n", []string{"boxes:1"}},
	} {
		a := open(t)
		_, err := provisioned(t, a.Provision(t.Context(), c.who, Provision{Lines: strings.NewReader(c.lines), Name: "boxes", Enable: true}))
		if (err == nil) != (c.refused == nil) || err != nil && !errors.Is(err, policy.ErrForbidden) {
			t.Errorf("%s, %q: %v", c.who, c.lines, err)
			continue
		}
		for _, place := range c.refused {
			if !strings.Contains(err.Error(), place+": ") {
				t.Errorf("%s, %q: %v lacks %s", c.who, c.lines, err, place)
			}
		}
		if now := settingsOf(t, a); err != nil && now != "" {
			t.Errorf("%s, %q was refused, and there is\n%s", c.who, c.lines, now)
		}
	}
	if _, err := provisioned(t, open(t).Provision(t.Context(), policy.Actor{}, Provision{Lines: strings.NewReader("a@alpha.test"), Enable: true})); err == nil {
		t.Error("nobody may enable a mailbox")
	}
}

// TestProvisionLimits checks the limits of a domain over all lines before the first is changed.
func TestProvisionLimits(t *testing.T) {
	a := open(t)
	err := a.policy.Reconfigure(policy.Config{Domains: []policy.Domain{
		{Name: "alpha.test", Limits: policy.Limits{Archives: 3, QuotaTotal: 9_000_000_000, Quota: 5_000_000_000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = provisioned(t, a.Provision(t.Context(), root, Provision{Enable: true, Name: "boxes", Lines: strings.NewReader(
		"mailbox,quota\na@alpha.test,4GB\nb@alpha.test,none\nc@alpha.test,6GB\nd@alpha.test,4GB\ne@alpha.test,4GB\nf@alpha.test,1GB\ng@alpha.test,1GB\n")}))
	for _, want := range []string{
		"boxes:3: enable b@alpha.test: quota=none: over a limit", "boxes:4: enable c@alpha.test: quota=6GB: over a limit",
		"boxes:6: enable e@alpha.test: over a limit of the domain: the quotas of alpha.test would be 12000000000 B",
		"boxes:8: enable g@alpha.test: over a limit of the domain: alpha.test has 3 archives",
	} {
		if !errors.Is(err, policy.ErrLimit) || !strings.Contains(err.Error(), want) {
			t.Errorf("error\n%v\nlacks %s", err, want)
		}
	}
	if now := settingsOf(t, a); now != "" || strings.Count(err.Error(), "boxes:") != 4 {
		t.Errorf("refused: %v\nand there is\n%s", err, now)
	}
}

// breaking is a settings store whose Update number after and later ones fail, some of them after they were made.
type breaking struct {
	kv.Store
	after, updates int
	made           bool
}

func (s *breaking) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if s.updates++; s.updates < s.after {
		return s.Store.Update(ctx, locks, fn)
	}
	if s.made && s.updates == s.after {
		if err := s.Store.Update(ctx, locks, fn); err != nil {
			return err
		}
		return fmt.Errorf("the disk is slow: %w: %w", kv.ErrUnavailable, kv.ErrUnknown)
	}
	return fmt.Errorf("no disk: %w", kv.ErrUnavailable)
}

// TestProvisionBreaksOff lets every Update fail in turn. What was yielded is changed, no mailbox is changed in part, and the same again completes
// it, with each change on record once.
func TestProvisionBreaksOff(t *testing.T) {
	const mailboxes = 250
	var lines strings.Builder
	lines.WriteString("mailbox,quota\n")
	for i := range mailboxes {
		fmt.Fprintf(&lines, "m%03d@alpha.test,%dGB\n", i, i+2)
	}
	for after := 1; ; after++ {
		for _, made := range []bool{false, true} {
			a, settings := openOn(t)
			broken := &breaking{Store: settings, after: after, made: made}
			p, err := policy.Open(t.Context(), broken, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
			if err != nil {
				t.Fatal(err)
			}
			a.policy = p
			provision := func() (string, error) {
				return provisioned(t, a.Provision(t.Context(), root, Provision{Lines: strings.NewReader(lines.String()), Name: "boxes", Enable: true}))
			}
			yielded, err := provision()
			if err == nil {
				if after < 4 {
					t.Errorf("only %d updates", after)
				}
				return
			}
			if !errors.Is(err, kv.ErrUnavailable) {
				t.Fatalf("failing at %d: %v", after, err)
			}
			broken.after = 1 << 30
			now := settingsOf(t, a)
			for line := range strings.Lines(yielded) {
				name, _, _ := strings.Cut(line, " ")
				if !strings.Contains(now, name+" on ") {
					t.Fatalf("failing at %d: %s was yielded, and is not enabled", after, name)
				}
			}
			rest, err := provision()
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(yielded+rest, "\n"); !made && n != mailboxes || n > mailboxes {
				t.Errorf("failing at %d: %d mailboxes changed, want %d", after, n, mailboxes)
			}
			i := 0
			for line := range strings.Lines(settingsOf(t, a)) {
				if want := fmt.Sprintf("m%03d@alpha.test on %dGB none 2\n", i, i+2); line != want {
					t.Errorf("failing at %d: %s, want %s", after, line, want)
				}
				i++
			}
			if i != mailboxes {
				t.Errorf("failing at %d: %d mailboxes", after, i)
			}
		}
	}
}

// TestUsages counts mailboxes with and without mail, in two domains and two months.
func TestUsages(t *testing.T) {
	a := open(t)
	put := func(mailbox string, direction journal.Direction, size int) journal.Ref {
		d := a.journal.NewDraft(t.Context())
		defer d.Discard()
		head := fmt.Sprintf("Subject: %p\r\n\r\n", d)
		fmt.Fprint(d, head+strings.Repeat("x", size-len(head)-2)+"\r\n")
		placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: mailbox, Direction: direction}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.journal.Delivered(placed[0].Ref, "T")
		return placed[0].Ref
	}
	lines := "mailbox,quota,write\na@alpha.test,10kB,on\nb@alpha.test,none,\nz@beta.test,1GB,\n"
	if _, err := provisioned(t, a.Provision(t.Context(), root, Provision{Lines: strings.NewReader(lines), Name: "boxes", Enable: true})); err != nil {
		t.Fatal(err)
	}
	put("a@alpha.test", journal.Received, 1000)
	moved := put("a@alpha.test", journal.Received, 200)
	put("a@alpha.test", journal.Sent, 999)
	put("b@alpha.test", journal.Received, 300)
	if _, err := a.Move(t.Context(), root, moved.Only(), journal.Trash); err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string][]string{
		"":           {"a@alpha.test alpha.test on 3 2199 10000 21.9", "b@alpha.test alpha.test on 1 300 0 none", "z@beta.test beta.test on 0 0 1000000000 0.0"},
		"ALPHA.test": {"a@alpha.test alpha.test on 3 2199 10000 21.9", "b@alpha.test alpha.test on 1 300 0 none"},
		"gamma.test": nil,
	} {
		var got []string
		for u, err := range a.Usages(t.Context(), domain) {
			if err != nil {
				t.Fatal(err)
			}
			percent := "none"
			if u.Percent != nil {
				percent = fmt.Sprintf("%.1f", *u.Percent)
			}
			if u.Since == nil || u.Since.IsZero() {
				t.Errorf("%s: no since", u.Mailbox)
			}
			got = append(got, fmt.Sprintf("%s %s %s %d %d %d %s", u.Mailbox, u.Domain, u.Archive, u.Entries, u.Bytes, u.Quota, percent))
		}
		if !slices.Equal(got, want) {
			t.Errorf("usages of %q\n%q, want\n%q", domain, got, want)
		}
	}
	address, _ := policy.ParseAddress("a@alpha.test")
	var months []MonthUsage
	for u, err := range a.MonthUsages(t.Context(), address) {
		if err != nil {
			t.Fatal(err)
		}
		months = append(months, u)
	}
	want := MonthUsage{"a@alpha.test", moved.Month, journal.Size{Entries: 3, Bytes: 2199}, journal.Size{Entries: 1, Bytes: 1000},
		journal.Size{Entries: 1, Bytes: 999}, journal.Size{Entries: 1, Bytes: 200}, journal.Size{}, journal.Size{}}
	if len(months) != 1 || months[0] != want {
		t.Errorf("by month %+v, want %+v", months, want)
	}
}

// TestMonthUsageIsWhole counts messages in every folder that there is: the parts make the whole.
func TestMonthUsageIsWhole(t *testing.T) {
	var u MonthUsage
	for i, folder := range []string{journal.FolderOf(journal.Received), journal.FolderOf(journal.Sent), journal.Trash, journal.Archived, journal.Imported, journal.Imported + "/Lavoro"} {
		u.count(journal.FolderStats{Folder: folder, Entries: 1 << i, Bytes: 100 << i})
	}
	var parts journal.Size
	for _, part := range []journal.Size{u.Received, u.Sent, u.Trash, u.Archived, u.Imports} {
		parts.Add(part)
	}
	if want := (journal.Size{Entries: 63, Bytes: 6300}); parts != want || u.Size != want {
		t.Errorf("parts %+v and the whole %+v, want %+v", parts, u.Size, want)
	}
}
