package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec/files"
	"copialettere/policy/pec/pectest"
)

// fails runs a command that must fail with that exit status, and print all of want on standard error.
func (p *place) fails(status int, want []string, args ...string) {
	p.t.Helper()
	code, stdout, stderr := p.run(args...)
	if code != status || stdout != "" {
		p.t.Errorf("copialettere %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), code, status, stdout, stderr)
	}
	for _, s := range want {
		if !strings.Contains(stderr, s) {
			p.t.Errorf("copialettere %s does not say %q:\n%s", strings.Join(args, " "), s, stderr)
		}
	}
}

// lines decodes the output of a command with -json.
func lines[T any](p *place, args ...string) []T {
	p.t.Helper()
	var all []T
	for line := range strings.Lines(p.must(append(args, "-json")...)) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// TestMailbox goes through the life of an archive, against the daemon and on the data folder.
func TestMailbox(t *testing.T) {
	for _, mode := range []string{"daemon", "folder"} {
		t.Run(mode, func(t *testing.T) {
			p := newPlace(t)
			p.configure("[domain.defaults]\nretention = \"24\"\n[erase]\ngrace = \"2h\"\n")
			p.must("init")
			if mode == "daemon" {
				defer p.daemon()()
			}
			testSettings(p)
			testLife(p, mode == "folder")
			testLog(p)
		})
	}
}

func testSettings(p *place) {
	p.t.Helper()
	const anna = "anna@alpha.test"
	p.fails(1, nil, "mailbox", "list")
	p.fails(1, nil, "mailbox", "log", anna)
	set := lines[archive.Mailbox](p, "mailbox", "set", "Anna@alpha.test", "quota=5GB", "retention=24", "filter=acceptance, certified")
	if v := set[0]; v.Mailbox != anna || v.Archive != "off" || v.Changed == nil || !*v.Changed || len(v.Changes) != 3 {
		p.t.Errorf("set: %+v", v)
	}
	if got := p.must("mailbox", "set", anna, "quota=5GB"); !strings.Contains(got, "nothing changed") || strings.Contains(got, "from") {
		p.t.Errorf("set again: %s", got)
	}
	if got := p.must("mailbox", "set", anna, "quota=6GB"); !strings.Contains(got, "quota from 5GB to 6GB, by operator "+whoami()) {
		p.t.Errorf("set: %s", got)
	}
	p.fails(2, []string{`retention="25": want none`, `"archive"="off": unknown key`, `write="": want on or off`, `notify="x": want none`},
		"mailbox", "set", anna, "retention=25", "archive=off", "write", "notify=x", "quota=7GB")
	p.fails(2, []string{"domain not configured"}, "mailbox", "set", "anna@ext.test", "quota=7GB")
	p.fails(2, []string{"itself"}, "mailbox", "set", anna, "notify="+anna)
	got := p.must("mailbox", "show", anna)
	for _, want := range []string{
		"archive off", "  quota          6GB                           Room of the archive\n",
		"  retention      24                            Retention period: 24 months\n", "  hold           off                           Legal hold\n",
		"  filter         certified,acceptance          Messages to archive: received: certified, acceptance receipts\n",
	} {
		if !strings.Contains(got, want) {
			p.t.Errorf("show does not say %q:\n%s", want, got)
		}
	}
	shown := lines[archive.Mailbox](p, "mailbox", "show", anna)[0]
	var keys []string
	for _, s := range shown.Settings {
		keys = append(keys, s.Key)
	}
	want := slices.Concat([]string{policy.KeyArchive}, policy.Keys(), []string{policy.KeyHold, policy.KeyErasure})
	if !slices.Equal(keys, want) {
		p.t.Errorf("settings %v, want %v", keys, want)
	}
}

// testLife closes the archive with a grace or, when no daemon would erase it at once, without one.
func testLife(p *place, now bool) {
	p.t.Helper()
	const anna = "anna@alpha.test"
	state := func() archive.Mailbox { return lines[archive.Mailbox](p, "mailbox", "show", anna)[0] }
	confirmed := []string{"mailbox", "disable", anna, "-confirm", anna}
	p.fails(1, []string{"not closing"}, "mailbox", "restore", anna)
	p.must("mailbox", "enable", anna)
	since := *state().Since

	p.fails(2, []string{"copialettere mailbox disable anna@alpha.test -confirm anna@alpha.test"}, "mailbox", "disable", "Anna@alpha.test")
	p.fails(2, []string{"-confirm anna@alpha.test -now"}, "mailbox", "disable", anna, "-now")
	p.fails(2, []string{"not confirmed"}, "mailbox", "disable", anna, "-confirm", "bruno@alpha.test")
	p.fails(2, []string{"not confirmed"}, "mailbox", "disable", anna, "-confirm", "Anna@alpha.test")
	p.must("mailbox", "hold", anna, "-reason", "case 12/2026")
	p.fails(1, []string{"under a legal hold", "case 12/2026"}, confirmed...)
	if got := p.must("mailbox", "show", anna); !strings.Contains(got, "on: case 12/2026") || !strings.Contains(got, "held by operator "+whoami()) {
		p.t.Errorf("show: %s", got)
	}
	p.must("mailbox", "release", anna)
	if v := state(); v.Archive != "on" || v.Hold != nil {
		p.t.Errorf("after all that: %+v", v)
	}

	if got := p.must(confirmed...); !strings.Contains(got, "archive off, closed") || !strings.Contains(got, "can be restored until") {
		p.t.Errorf("disable: %s", got)
	}
	v := state()
	if left := time.Until(*v.EraseAt); v.Erasure != "due" || left > 2*time.Hour || left < time.Hour || !v.Since.Equal(since) {
		p.t.Errorf("closing: %+v", v)
	}
	p.must("mailbox", "restore", anna)
	if v := state(); v.Archive != "on" || v.Erasure != "" || !v.Since.Equal(since) {
		p.t.Errorf("restored: %+v", v)
	}
	closed := "archive off, closed, can be restored until"
	if now {
		confirmed, closed = append(confirmed, "-now"), "archive off, closed, the grace is over"
	}
	p.must(confirmed...)
	if v := state(); v.Erasure != "due" || v.EraseAt.After(time.Now()) == now {
		p.t.Errorf("closed: %+v", v)
	}
	if got := p.must("mailbox", "show", anna); !strings.Contains(got, closed) {
		p.t.Errorf("show: %s", got)
	}

	var spans []string
	for _, g := range lines[archive.Gap](p, "gaps", anna) {
		span := g.Kind + " " + g.Reason
		if g.From == nil {
			span += " from the beginning"
		}
		if g.Until == nil {
			span += " to now"
		}
		spans = append(spans, span)
	}
	if got := strings.Join(spans, ", "); got != "pause not-activated from the beginning, pause disabled, pause disabled to now" {
		p.t.Errorf("gaps: %s", got)
	}
	got := p.must("gaps", anna)
	if !strings.HasPrefix(got, "the beginning to ") || !strings.HasSuffix(got, "disabled\n") || strings.Count(got, " to now") != 1 {
		p.t.Errorf("gaps: %s", got)
	}
}

func testLog(p *place) {
	p.t.Helper()
	log := lines[archive.Change](p, "mailbox", "log", "anna@alpha.test")
	var acts []string
	for i, c := range log {
		if c.Number != uint64(i)+1 || c.Mailbox != "anna@alpha.test" || c.Role != policy.RoleOperator || c.Who != whoami() || c.Time.IsZero() {
			p.t.Errorf("change %d: %+v", i, c)
		}
		acts = append(acts, strings.TrimSpace(c.Key+" "+c.Cause))
	}
	want := "retention domain-default, filter, quota, quota, archive, hold, hold, archive, erasure, archive, erasure, archive, erasure"
	if got := strings.Join(acts, ", "); got != want {
		p.t.Errorf("log: %s\nwant %s", got, want)
	}
	got := p.must("mailbox", "log", "anna@alpha.test")
	if !strings.Contains(got, "retention from none to 24, by operator "+whoami()+" (default of the domain)") {
		p.t.Errorf("log: %s", got)
	}
}

// TestPECFiles reads the files of [pec] in check and in serve, and asks the policy about recipients.
func TestPECFiles(t *testing.T) {
	p := newPlace(t)
	write := func(name, text string) string {
		path := filepath.Join(p.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	bad := write("bad", "no domain\n")
	p.configure(fmt.Sprintf("[pec]\ntrust = \"signature\"\ndomains_file = %q\nprovider_index = %q\ntrust_bundle = %q\n",
		write("domains", "# by hand\nlist.test\n!beta.test\n"), write("igpec.ldif", string(pectest.IndexLDIF(office.Providers()...))),
		write("bundle.pem", string(pectest.NewAuthority().PEM()))))
	p.must("init")
	got := p.must("check")
	for _, want := range []string{"domains, 2 domains, 1 of them certified\n", "igpec.ldif, 3 providers, 6 domains\n", "bundle.pem, 1 certificates\n", " clock: "} {
		if !strings.Contains(got, want) {
			t.Errorf("check does not say %q:\n%s", want, got)
		}
	}

	c := p.config()
	a, err := openArchive(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	watch, err := files.Open(sourcesOf(c.PEC), a.metrics, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for recipients, want := range map[string]policy.SentTo{
		"a@list.test":                policy.SentToCertified,
		"a@gamma.test":               policy.SentToCertified, // by the index
		"a@beta.test":                policy.SentToOther,     // the list counts before the index
		"a@unknown.test":             policy.SentToUnknown,
		"a@unknown.test,b@list.test": policy.SentToCertified,
	} {
		if got, err := a.policy.SentTo(t.Context(), strings.Split(recipients, ","), watch.InForce().Certified); err != nil || got != want {
			t.Errorf("mail to %s goes to %s, %v, want %s", recipients, got, err, want)
		}
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}

	for name, spoil := range map[string]func(*config.PEC){
		"domains":           func(c *config.PEC) { c.DomainsFile = bad },
		"index":             func(c *config.PEC) { c.ProviderIndex = bad },
		"bundle":            func(c *config.PEC) { c.TrustBundle = bad },
		"no such domains":   func(c *config.PEC) { c.DomainsFile += ".none" },
		"no such index":     func(c *config.PEC) { c.ProviderIndex += ".none" },
		"no such bundle":    func(c *config.PEC) { c.TrustBundle += ".none" },
		"a folder as index": func(c *config.PEC) { c.ProviderIndex = p.dir },
	} {
		t.Run(name, func(t *testing.T) {
			c := c.PEC
			spoil(&c)
			if _, err := files.Open(sourcesOf(c), new(metrics.Registry), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), p.dir) {
				t.Errorf("error %v", err)
			}
		})
	}
	write("domains", "no domain\n")
	p.fails(2, []string{`domains:1: "no domain" is not a domain`}, "serve")
	if code, stdout, _ := p.run("check"); code != 1 || !strings.Contains(stdout, "FAIL  list of domains: ") {
		t.Errorf("check: exit status %d\n%s", code, stdout)
	}
	p.must("mailbox", "enable", "anna@alpha.test")
}

// TestRights: the policy has the rights of the file, those of the domain first.
func TestRights(t *testing.T) {
	for name, test := range map[string]struct {
		lines string // after those of the domain alpha.test
		want  []string
	}{
		"of all":        {"[rights]\nowner = [\"archive\", \"quota\"]\n", []string{"archive", "quota"}},
		"of the domain": {"[domain.rights]\nowner = [\"pause\", \"append\"]\n[rights]\nowner = [\"quota\"]\n", []string{"pause", "append"}},
		"none":          {"[domain.rights]\nowner = []\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.configure(test.lines)
			p.must("init")
			a, err := openArchive(t.Context(), p.config(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer a.close()
			owner, err := policy.ParseAddress(anna)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.policy.Allowed(policy.Actor{Role: policy.RoleOwner, Name: anna}, owner); !slices.Equal(got, test.want) {
				t.Errorf("an owner may change %q, want %q", got, test.want)
			}
		})
	}
}
