package config

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestReloadKnowsAllKeys compares the table of keys with contrib/copialettere.toml, which has every key of the program.
func TestReloadKnowsAllKeys(t *testing.T) {
	raw, err := os.ReadFile("../../../contrib/copialettere.toml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	section := ""
	head, key := regexp.MustCompile(`^\[+([a-z._]+)\]+$`), regexp.MustCompile(`^#?([a-z0-9_]+) *= `)
	for line := range strings.Lines(string(raw)) {
		if m := head.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			section = m[1] + "."
		}
		if m := key.FindStringSubmatch(line); m != nil && !strings.HasPrefix(section, "domain.") && section != "archive_host." {
			want = append(want, section+m[1])
		}
	}
	var got []string
	for _, k := range keys() {
		got = append(got, k.name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("keys\n%q, want\n%q", got, want)
	}
}

func TestReloaded(t *testing.T) {
	const running = minimal + "[sent]\nlisten = [\"tcp:127.0.0.1:2525\"]\nnext_hop = \"smtp:127.0.0.1:10026\"\n" +
		"[[domain]]\nname = \"alpha.test\"\npostmasters = [\"a@alpha.test\"]\n[[domain]]\nname = \"beta.test\"\nnext_hop = \"lmtp:127.0.0.1:24\"\n"
	c := mustParse(t, running)
	for _, step := range []struct {
		name, file string
		want       []string // the keys, those that need a restart with a ! before them
		check      func(*Config) bool
	}{
		{"the same", running, nil, func(*Config) bool { return true }},
		{"log level", running + "[log]\nlevel = \"debug\"\nformat = \"json\"\n", []string{"log.level", "!log.format"},
			func(n *Config) bool { return n.Log.Level == slog.LevelDebug && n.Log.Format == LogText }},
		{"limits of a hook", strings.Replace(running, "[sent]", "keep_skips = \"2d\"\nmax_recipients = 200\non_journal_error = \"deliver\"\n[sent]", 1),
			[]string{"!received.max_recipients", "received.on_journal_error", "received.keep_skips"},
			func(n *Config) bool {
				return n.Received.KeepSkips == 48*time.Hour && n.Received.MaxRecipients == 1000 && n.Received.OnJournalError == JournalErrorDeliver &&
					c.Received.OnJournalError == JournalErrorDefer
			}},
		{"a section that went", strings.Replace(running, "[sent]\nlisten = [\"tcp:127.0.0.1:2525\"]\nnext_hop = \"smtp:127.0.0.1:10026\"\n", "", 1),
			[]string{"!sent"}, func(n *Config) bool { return n.Sent != nil }},
		{"a section that came", running + "[notices]\nrelay = \"smtp:127.0.0.1:25\"\nfrom = \"a@alpha.test\"\n", []string{"!notices"},
			func(n *Config) bool { return n.Notices == nil }},
		{"domains", minimal + "[sent]\nlisten = [\"tcp:127.0.0.1:2525\"]\nnext_hop = \"smtp:127.0.0.1:10026\"\n" +
			"[[domain]]\nname = \"gamma.test\"\n[[domain]]\nname = \"delta.test\"\nnext_hop = \"lmtp:127.0.0.2:24\"\n" +
			"[[domain]]\nname = \"alpha.test\"\nrecipient_delimiter = \"-\"\nnext_hop = \"lmtp:127.0.0.1:26\"\n[domain.rights]\nowner = [\"pause\"]\n",
			[]string{`domain "gamma.test"`, `!domain "delta.test"`, `domain "alpha.test".recipient_delimiter`, `domain "alpha.test".postmasters`,
				`!domain "alpha.test".next_hop`, `domain "alpha.test".rights`, `!domain "beta.test"`},
			func(n *Config) bool {
				var names []string
				for _, d := range n.Domains {
					names = append(names, d.Name+d.RecipientDelimiter+d.NextHop.String())
				}
				return fmt.Sprint(names) == fmt.Sprint([]string{"gamma.test+" + Domain{}.NextHop.String(), "alpha.test-" + Domain{}.NextHop.String(),
					"beta.test+lmtp:127.0.0.1:24"})
			}},
		{"archive hosts", running + "[[archive_host]]\nname = \"archivio.test\"\ndomains = [\"alpha.test\"]\n[auth]\nsource = \"file:/p\"\n",
			[]string{"!auth", "!archive_host"}, func(n *Config) bool { return n.Auth == nil && n.ArchiveHosts == nil }},
		{"a secret", strings.Replace(running, "[sent]", "redirect_header = \"X-Sieve-Tag: very-secret-word\"\n[sent]", 1), []string{"received.redirect_header"},
			func(n *Config) bool { return n.Received.RedirectHeader == "X-Sieve-Tag: very-secret-word" }},
		{"disk, retention, erasure, rights, pec", running + "[disk]\nwarn = \"20%\"\nstop = \"9%\"\n[retention]\nat = \"04:00\"\nmax_share = \"30%\"\n" +
			"[erase]\ngrace = \"1h\"\n[logs]\nkeep = \"6 months\"\n[verify]\nevery = \"off\"\nrate = \"1MB\"\n[exports]\nkeep = \"2d\"\nmax_size = \"1GB\"\n[rights]\nowner = []\n[pec]\ntrust = \"signature\"\ntrust_bundle = \"/etc/b.pem\"\n",
			[]string{"rights.owner", "pec.trust", "pec.trust_bundle", "disk.warn", "disk.stop", "retention.at", "retention.max_share", "erase.grace",
				"logs.keep", "verify.every", "verify.rate", "exports.keep", "exports.max_size"},
			func(n *Config) bool {
				return n.Disk.Stop.Percent == 9 && n.Retention.Hour == 4 && n.Erase.Grace == time.Hour && n.Logs.Keep == 6 && n.Verify == (Verify{0, 1e6}) && len(n.Rights.Owner) == 0 && n.PEC.TrustBundle == "/etc/b.pem"
			}},
	} {
		t.Run(step.name, func(t *testing.T) {
			next, changes := c.Reloaded(mustParse(t, step.file))
			var got []string
			for _, ch := range changes {
				mark := ""
				if ch.Restart {
					mark = "!"
				}
				got = append(got, mark+ch.Key)
			}
			if !slices.Equal(got, step.want) {
				t.Errorf("changes %q, want %q", got, step.want)
			}
			if !step.check(next) {
				t.Errorf("taken: %+v", next)
			}
			// A second reload finds only the changes that need a restart.
			_, again := next.Reloaded(mustParse(t, step.file))
			for _, ch := range again {
				if !ch.Restart {
					t.Errorf("%s is still to be taken", ch.Key)
				}
			}
		})
	}
}
