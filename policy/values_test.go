package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// values returns the settings as "key=value".
func values(s Settings) []string {
	var list []string
	for key, value := range s.Values() {
		list = append(list, key+"="+value)
	}
	return list
}

func TestValues(t *testing.T) {
	at := time.Date(2026, 11, 24, 18, 0, 0, 500, time.UTC)
	for _, c := range []struct {
		name string
		s    Settings
		want string
	}{
		{"defaults", programDefaults(), "archive=off filter=all write=off manual_delete=off append=off imap=off layout=month retention=none quota=1GB when_full=skip " +
			"protocols=imap,pop3,smtp notify=none notify_on=full,gap,retention language=it hold=off erasure=none"},
		{"everything", Settings{
			Enabled: true, Filter: FilterSentOther | FilterCertified, Write: true, ManualDelete: true, Append: true, IMAP: true, Layout: LayoutType, Retention: 48, Quota: 1536 << 20,
			WhenFull: WhenFullMakeRoom, Protocols: 0, Notify: Address{Local: "a b", Domain: "ext.test"}, NotifyOn: NotifyCertified, Language: English,
			Hold: Hold{Reason: "R.G. 12/2026"}, Erasure: Erasure{ErasureDue, at},
		}, "archive=on filter=certified,sent-other write=on manual_delete=on append=on imap=on layout=type retention=48 quota=1536MiB when_full=make-room " +
			`protocols=none notify="a b"@ext.test notify_on=certified language=en hold=on: R.G. 12/2026 erasure=due 2026-11-24T18:00:00.0000005Z`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(values(c.s), " "); got != c.want {
				t.Errorf("values\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	for range programDefaults().Values() {
		break // a consumer may stop at any value
	}
}

func TestSetValue(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{ // want is the value as it is shown, empty for the one that was given
		{"filter", "all", ""},
		{"filter", "certified,other,acceptance,delivery,sent-certified,sent-other", "all"},
		{"filter", "sent-other, delivery,delivery", "delivery,sent-other"},
		{"filter", "all-certified", "certified,acceptance,delivery,sent-certified"}, {"filter", "receipts", "acceptance,delivery"},
		{"write", "on", ""}, {"write", "off", ""},
		{"manual_delete", "on", ""}, {"manual_delete", "off", ""}, {"append", "on", ""}, {"append", "off", ""}, {"append", "on", ""}, {"append", "off", ""},
		{"imap", "on", ""}, {"imap", "off", ""},
		{"retention", "none", ""}, {"retention", "6", ""}, {"retention", "12", ""}, {"retention", "18", ""}, {"retention", "24", ""},
		{"retention", "30", ""}, {"retention", "36", ""}, {"retention", "42", ""}, {"retention", "48", ""},
		{"quota", "none", ""}, {"quota", "none", ""}, {"quota", "1GB", ""}, {"quota", "1000MB", "1GB"}, {"quota", "1GiB", ""}, {"quota", "7B", ""}, {"quota", "1001B", ""}, {"quota", "2TB", ""},
		{"quota", "1048576B", "1MiB"}, {"quota", "9223372036854775807B", ""}, {"quota", "003kB", "3kB"},
		{"when_full", "skip", ""}, {"when_full", "defer", ""}, {"when_full", "make-room", ""},
		{"protocols", "imap,pop3,smtp", ""}, {"protocols", "smtp,imap", "imap,smtp"}, {"protocols", "none", ""},
		{"notify", "none", ""}, {"notify", "Anna@Ext.test", "anna@ext.test"}, {"notify", "<anna@ext.test>", "anna@ext.test"},
		{"notify_on", "none", ""}, {"notify_on", "certified,full,gap,retention", ""}, {"notify_on", "gap", ""},
		{"language", "it", ""}, {"language", "en", ""},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			if c.want == "" {
				c.want = c.value
			}
			var s Settings
			if err := s.setValue(c.key, c.value); err != nil || s.value(c.key) != c.want {
				t.Fatalf("is %q, %v; want %q", s.value(c.key), err, c.want)
			}
			var again Settings
			if err := again.setValue(c.key, s.value(c.key)); err != nil || again != s {
				t.Errorf("read again: %+v, %v; want %+v", again, err, s)
			}
		})
	}
}

// Each bad value is refused with a message that names the key, the value and the remedy, and changes nothing.
func TestSetBadValue(t *testing.T) {
	filter := "want all, all-certified, receipts, or one or more of certified,other,acceptance,delivery,sent-certified,sent-other, with commas between them"
	protocols := "want none, or one or more of imap,pop3,smtp, with commas between them"
	events := "want none, or one or more of certified,full,gap,retention,mailbox-full,before-loss,security, with commas between them"
	retention := "want none, or 6, 12, 18, 24, 30, 36, 42 or 48 months, as a bare number"
	size := "want none, or a whole number with a unit (TiB, TB, GiB, GB, MiB, MB, KiB, kB, B), as 1GB"
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	before := store.values["manna@alpha.test"]
	for _, c := range []struct{ key, value, remedy string }{
		{"filter", "", filter}, {"filter", "none", filter}, {"filter", "All", filter}, {"filter", "receipts,other", filter}, {"filter", " receipts", filter}, {"filter", "certified,", filter}, {"filter", "all,other", filter},
		{"filter", "certified;other", filter}, {"filter", "sent", filter},
		{"write", "yes", "want on or off"}, {"write", "", "want on or off"}, {"write", "ON", "want on or off"},
		{"manual_delete", "true", "want on or off"}, {"imap", "1", "want on or off"},
		{"retention", "7", retention}, {"retention", "0", retention}, {"retention", "54", retention}, {"retention", "12m", retention},
		{"retention", "06", retention}, {"retention", "-6", retention}, {"retention", "", retention},
		{"quota", "", size}, {"quota", "GB", size}, {"quota", "1.5GB", size}, {"quota", "1gb", size}, {"quota", "-1GB", size}, {"quota", "1 GB", size},
		{"quota", "None", size}, {"quota", "5", "a size needs a unit: write 5GB, or another of TiB, TB, GiB, GB, MiB, MB, KiB, kB, B, or none for no limit"},
		{"quota", "9223372036854775808B", "too large: write a smaller size"}, {"quota", "9223373TB", "too large: write a smaller size"},
		{"quota", "0GB", "a quota of nothing archives nothing: write a size above zero, or none for no limit; \"mailbox pause\" stops archiving"},
		{"when_full", "bounce", "want skip, defer or make-room"}, {"when_full", "", "want skip, defer or make-room"},
		{"protocols", "", protocols}, {"protocols", "all", protocols}, {"protocols", "imap,imaps", protocols}, {"protocols", "none,imap", protocols},
		{"notify", "", "want none, or one address with its domain"}, {"notify", "postmaster", "want none, or one address with its domain"},
		{"notify", "a@ext.test,b@ext.test", "want none, or one address with its domain"},
		{"notify_on", "everything", events}, {"notify_on", "full,none", events}, {"notify_on", "", events},
		{"language", "de", "want it or en"}, {"language", "", "want it or en"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			changes, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), []Assignment{{"imap", "on"}, {c.key, c.value}})
			want := fmt.Sprintf("%s=%q: %s", c.key, c.value, c.remedy)
			if changes != nil || !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), want) {
				t.Errorf("Set = %v, %v\nwant %s", changes, err, want)
			}
			var setting *SettingError
			if !errors.As(err, &setting) || setting.Key != c.key || setting.Value != c.value {
				t.Errorf("error %#v names another key or value", setting)
			}
		})
	}
	if store.values["manna@alpha.test"] != before {
		t.Errorf("written: %s", store.values["manna@alpha.test"])
	}
}

func TestKeys(t *testing.T) {
	want := strings.Fields("filter write manual_delete append imap layout retention quota when_full protocols notify notify_on language")
	if got := Keys(); !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	for _, key := range []string{KeyArchive, KeyHold, KeyErasure, "version", "enabled", "Filter", "filter ", ""} {
		var s Settings
		if err := s.setValue(key, "on"); err == nil || !strings.HasPrefix(err.Error(), "unknown key: the keys are filter, write") || s != (Settings{}) {
			t.Errorf("setValue(%q) = %v, settings %+v", key, err, s)
		}
	}
}

func TestParseAssignment(t *testing.T) {
	for _, c := range []struct {
		text string
		want Assignment
	}{
		{"retention=12", Assignment{"retention", "12"}},
		{" notify = a=b@ext.test ", Assignment{"notify", "a=b@ext.test"}},
		{"filter=", Assignment{"filter", ""}},
		{"=x", Assignment{"", "x"}},
	} {
		if got, err := ParseAssignment(c.text); err != nil || got != c.want {
			t.Errorf("ParseAssignment(%q) = %v, %v", c.text, got, err)
		}
	}
	_, err := ParseAssignment("retention")
	if !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), `"retention": bad setting: want KEY=VALUE; the keys are filter,`) {
		t.Errorf("without a value: %v", err)
	}
}

func TestWants(t *testing.T) {
	groups := []Group{GroupCertified, GroupOther, GroupAcceptance, GroupDelivery}
	for _, c := range []struct{ filter, groups string }{
		{"all", "certified other acceptance delivery"},
		{"certified", "certified"}, {"other", "other"}, {"acceptance", "acceptance"}, {"delivery", "delivery"},
		{"sent-certified,sent-other", ""},
		{"certified,delivery,sent-other", "certified delivery"},
	} {
		var s Settings
		if err := s.setValue("filter", c.filter); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, g := range groups {
			if s.Wants(g) {
				got = append(got, string(g))
			}
		}
		if strings.Join(got, " ") != c.groups {
			t.Errorf("filter %s wants %q, want %q", c.filter, got, c.groups)
		}
		if s.Wants("") != s.Wants(GroupOther) {
			t.Errorf("filter %s: no group is not as other", c.filter)
		}
		if !s.Wants("of-tomorrow") {
			t.Errorf("filter %s leaves an unknown group out", c.filter)
		}
	}
}

func TestWantsSent(t *testing.T) {
	for _, c := range []struct {
		filter       string
		to           SentTo
		wanted, sure bool
	}{
		{"all", SentToUnknown, true, true},
		{"certified", SentToUnknown, false, true},
		{"sent-certified,sent-other", "", true, true},
		{"sent-certified", SentToCertified, true, true},
		{"sent-certified", SentToOther, false, true},
		{"sent-certified", SentToUnknown, true, false},
		{"sent-certified", "", true, false},
		{"sent-other", SentToCertified, false, true},
		{"sent-other", SentToOther, true, true},
		{"sent-other", SentToUnknown, true, false},
	} {
		var s Settings
		if err := s.setValue("filter", c.filter); err != nil {
			t.Fatal(err)
		}
		if wanted, sure := s.WantsSent(c.to); wanted != c.wanted || sure != c.sure {
			t.Errorf("filter %s, sent to %q: %v, %v; want %v, %v", c.filter, c.to, wanted, sure, c.wanted, c.sure)
		}
	}
}
