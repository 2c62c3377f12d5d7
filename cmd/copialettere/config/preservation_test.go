package config

import (
	"slices"
	"strings"
	"testing"
)

func TestPreservation(t *testing.T) {
	const agent = "agent = \"VATIT-01234567890,Alpha S.r.l.,Contratto 12/2026\"\n"
	const folders = "drop = \"/srv/drop\"\nreceipts = \"/srv/back\"\n"
	for _, test := range []struct{ name, text, want string }{
		{"without a folder", agent, "there is no folder for packages"},
		{"without who answers", folders, "nobody answers for the packages"},
		{"who answers malformed", folders + "agent = \"Alpha\"\n", "want ID,NAME,DOCUMENT"},
		{"in the data folder", "drop = \"/var/lib/copialettere/drop\"\n" + agent, "it lies in the data folder"},
		{"one folder for both", "drop = \"/srv/drop\"\nreceipts = \"/srv/drop\"\n" + agent, "it is that of the packages"},
		{"another domain", folders + agent + "domains = [\"beta.test\"]\n", "is no domain of this file"},
		{"no mailbox", folders + agent + "mailboxes = [\"mario\"]\n", "preservation.mailboxes"},
		{"too short", folders + agent + "overdue = \"1h\"\n", "out of range"},
	} {
		_, err := Parse("test.toml", []byte(minimal+"[preservation]\n"+test.text+"[[domain]]\nname = \"alpha.test\"\n"))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	c := mustParse(t, minimal+"[preservation]\n"+folders+agent+"domains = [\"Alpha.test\"]\nmailboxes = [\"Anna@beta.test\"]\n[[domain]]\nname = \"alpha.test\"\n")
	if got := c.Preservation; !slices.Equal(got.Domains, []string{"alpha.test"}) || !slices.Equal(got.Mailboxes, []string{"anna@beta.test"}) || got.Drop != "/srv/drop" ||
		got.Receipts != "/srv/back" {
		t.Errorf("%+v", got)
	}
	c = mustParse(t, minimal+"[preservation]\n"+folders+agent+"[[domain]]\nname = \"alpha.test\"\n")
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Error(), "nothing is handed over") {
		t.Errorf("of nobody: %v", c.Warnings)
	}
}
