package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/kv"
)

// assignments reads "key=value key=value".
func assignments(t testing.TB, text string) []Assignment {
	t.Helper()
	var list []Assignment
	for _, field := range strings.Fields(text) {
		a, err := ParseAssignment(field)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

// describeChanges returns changes as "role who: key before -> after".
func describeChanges(changes []Change) []string {
	var list []string
	for _, c := range changes {
		cause := ""
		if c.Cause != "" {
			cause = " (" + c.Cause + ")"
		}
		list = append(list, fmt.Sprintf("%s %s%s: %s %s -> %s", c.Role, c.Who, cause, c.Key, c.Before, c.After))
	}
	return list
}

func TestSet(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	for _, c := range []struct{ name, set, want string }{
		{"nothing", "", ""},
		{"the same", "filter=all retention=none quota=1000MB", ""},
		{"one", "retention=12", "operator op: retention none -> 12"},
		{"several, in the order of the keys", "language=en filter=certified,other retention=12 write=on",
			"operator op: filter all -> certified,other; operator op: write off -> on; operator op: language it -> en"},
		{"a preset is stored as its classes", "filter=all-certified",
			"operator op: filter certified,other -> certified,acceptance,delivery,sent-certified"},
		{"a preset that is there already", "filter=delivery,acceptance,certified,sent-certified", ""},
		{"not the preset", "filter=certified,other", "operator op: filter certified,acceptance,delivery,sent-certified -> certified,other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := changes(t, p, anna)
			got, err := p.Set(t.Context(), anna, operator(), assignments(t, c.set))
			if err != nil || strings.Join(describeChanges(got), "; ") != c.want {
				t.Fatalf("Set = %q, %v; want %q", describeChanges(got), err, c.want)
			}
			if log := changes(t, p, anna); !slices.Equal(log, append(before, got...)) {
				t.Errorf("log %v, was %v", log, before)
			}
		})
	}
	s, err := p.Settings(t.Context(), anna)
	if err != nil || s.Filter != FilterCertified|FilterOther || s.Retention != 12 || !s.Write || s.Language != English || !s.Enabled {
		t.Errorf("settings %v, %v", values(s), err)
	}
	want := `"filter":"certified,other"`
	if got := store.values["manna@alpha.test"]; !strings.Contains(got, want) {
		t.Errorf("stored %s, want %s in it", got, want)
	}
}

func TestSetTellsAllErrors(t *testing.T) {
	p, _ := openTest(t, testConfig(), "anna@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	_, err := p.Set(t.Context(), anna, Actor{RoleOwner, "anna@alpha.test"},
		assignments(t, "language=de colour=red retention=12 notify=x language=it language=en quota=1"))
	if !errors.Is(err, ErrSetting) || !errors.Is(err, ErrForbidden) {
		t.Errorf("error %v wraps not both", err)
	}
	for _, want := range []string{
		"set anna@alpha.test: ", `language="de": want it or en`, `"colour"="red": unknown key: the keys are filter,`, `notify="x": want none, or one address`,
		`language="en": given twice: give each key once`, `quota="1": a size needs a unit`,
		"retention: not allowed for owner anna@alpha.test: ask a postmaster of alpha.test", "quota: not allowed for owner",
	} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if got := changes(t, p, anna); len(got) != 1 {
		t.Errorf("changes %v", describeChanges(got))
	}
}

func TestSetNotifyInsideTheArchive(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test", "bruno@alpha.test", "elena@beta.test")
	for _, c := range []struct{ name, notify, want string }{
		{"itself", "anna@alpha.test", "that is the mailbox itself: give an address outside the archive"},
		{"itself, typed otherwise", "<Anna@ALPHA.test>", "that is the mailbox itself"},
		{"itself with an extension", "anna+notices@alpha.test", "that is the mailbox itself"},
		{"an enabled mailbox", "bruno@alpha.test", "bruno@alpha.test has an archive of its own here: give an address outside the archive"},
		{"an enabled mailbox with an extension", "elena-x@beta.test", "elena@beta.test has an archive of its own here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), []Assignment{{"notify", c.notify}, {"imap", "on"}})
			if got != nil || !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Set = %v, %v; want %s", got, err, c.want)
			}
		})
	}
	// An address whose archive was turned on later stays until it is changed.
	if _, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), assignments(t, "notify=carla@alpha.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.confirm(t.Context(), mustAddress(t, "anna@alpha.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.enable(t.Context(), mustAddress(t, "carla@alpha.test")); err != nil {
		t.Fatal(err)
	}
	got, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), assignments(t, "notify=carla@alpha.test imap=on"))
	if err != nil || len(got) != 1 {
		t.Errorf("Set of the same address = %v, %v", describeChanges(got), err)
	}
	store.put("mbruno@alpha.test", "{")
	if _, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), assignments(t, "notify=bruno@alpha.test")); err == nil {
		t.Error("settings of the address cannot be read, and it is taken all the same")
	}
}

// The defaults of a domain are copied and logged when a mailbox is set up. Later changes of the configuration do not affect it.
func TestDomainDefaults(t *testing.T) {
	c := testConfig()
	c.Domains[0].Defaults = []Assignment{{"retention", "12"}, {"filter", "certified"}, {"quota", "1GB"}}
	p, store := openTest(t, c, "anna@alpha.test")
	anna, bruno, elena := mustAddress(t, "anna@alpha.test"), mustAddress(t, "bruno@alpha.test"), mustAddress(t, "elena@beta.test")
	copied := []string{"operator op (domain-default): filter all -> certified", "operator op (domain-default): retention none -> 12"}
	if got, want := describeChanges(changes(t, p, anna)), append(slices.Clone(copied), "operator op: archive off -> on"); !slices.Equal(got, want) {
		t.Errorf("changes of anna %q, want %q", got, want)
	}
	got, err := p.Set(t.Context(), bruno, operator(), assignments(t, "filter=all retention=12"))
	if want := append(slices.Clone(copied), "operator op: filter certified -> all"); err != nil || !slices.Equal(describeChanges(got), want) {
		t.Errorf("changes of bruno %q, %v; want %q", describeChanges(got), err, want)
	}
	for _, m := range []struct {
		mailbox   Address
		retention int
	}{{anna, 12}, {bruno, 12}, {mustAddress(t, "never@alpha.test"), 12}, {elena, 0}} {
		if s, err := p.Settings(t.Context(), m.mailbox); err != nil || s.Retention != m.retention {
			t.Errorf("retention of %s is %d, %v; want %d", m.mailbox, s.Retention, err, m.retention)
		}
	}
	c.Domains[0].Defaults = []Assignment{{"retention", "6"}, {"filter", "receipts"}}
	if p, err = Open(t.Context(), store, c); err != nil {
		t.Fatal(err)
	}
	if s, err := p.Settings(t.Context(), anna); err != nil || s.Retention != 12 || s.Filter != FilterCertified {
		t.Errorf("after a change of the configuration: %v, %v", values(s), err)
	}
	if s, err := p.Settings(t.Context(), mustAddress(t, "never@alpha.test")); err != nil || s.Retention != 6 || s.Filter != FilterAcceptance|FilterDelivery {
		t.Errorf("of a mailbox that is not set up: %v, %v", values(s), err)
	}
}

func TestSetRefuses(t *testing.T) {
	for _, c := range []struct {
		name, mailbox string
		who           Actor
		want          error // nil for any
		text          string
	}{
		{"unknown domain", "anna@ext.test", operator(), ErrUnknownDomain, "set anna@ext.test"},
		{"extension", "anna+x@alpha.test", operator(), ErrAddress, "it is anna@alpha.test with an extension; enable it first"},
		{"nobody", "anna@alpha.test", Actor{}, nil, "without an author"},
		{"no name", "anna@alpha.test", Actor{Role: RoleOperator}, nil, "without an author"},
		{"no such role", "anna@alpha.test", Actor{"root", "root"}, nil, "without an author"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, store := openTest(t, testConfig())
			got, err := p.Set(t.Context(), mustAddress(t, c.mailbox), c.who, assignments(t, "retention=12"))
			if got != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("Set = %v, %v; want %v, %s", got, err, c.want, c.text)
			}
			if keys := store.keys(); len(keys) != 0 {
				t.Errorf("written all the same: %q", keys)
			}
		})
	}
	// A mailbox of its own may have an extension in its name.
	p, store := openTest(t, testConfig(), "anna+own@alpha.test")
	if got, err := p.Set(t.Context(), mustAddress(t, "anna+own@alpha.test"), operator(), assignments(t, "retention=12")); err != nil || len(got) != 1 {
		t.Errorf("Set = %v, %v", got, err)
	}
	store.fail = kv.ErrUnavailable
	_, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), assignments(t, "retention=6"))
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Set on a failed store: %v", err)
	}
}

func TestRights(t *testing.T) {
	config := testConfig()
	config.Domains[1].Postmasters = []string{"Chief@Ext.test"}
	owner, postmaster := Actor{RoleOwner, "anna@alpha.test"}, Actor{RolePostmaster, "postmaster@alpha.test"}
	everything := Keys()
	all := append(OwnerKeys(), KeyHold)
	for _, c := range []struct {
		name   string
		rights Rights
		who    Actor
		may    []string
		why    string
	}{
		{"operator", Rights{}, operator(), all, ""},
		{"postmaster", Rights{}, postmaster, all, ""},
		{"postmaster, typed otherwise", Rights{}, Actor{RolePostmaster, "Postmaster@Alpha.Test"}, all, ""},
		{"postmaster of another domain", Rights{}, Actor{RolePostmaster, "chief@ext.test"}, nil, "not a postmaster of alpha.test"},
		{"postmaster in name only", Rights{}, Actor{RolePostmaster, "anna@alpha.test"}, nil, "not a postmaster of alpha.test"},
		{"postmaster without a domain", Rights{}, Actor{RolePostmaster, "postmaster"}, nil, "not a postmaster of alpha.test"},
		{"owner", Rights{}, owner, []string{KeyNotify, KeyNotifyOn, KeyLanguage, KeyLayout, KeyProtocols}, "ask a postmaster of alpha.test"},
		{"owner with a table", Rights{Owner: []string{"retention", "archive"}}, owner, []string{KeyRetention, KeyArchive}, "ask a postmaster of alpha.test"},
		{"owner with an empty table", Rights{Owner: []string{}}, owner, nil, "ask a postmaster of alpha.test"},
		{"owner with all keys", Rights{Owner: everything}, owner, everything, "ask a postmaster of alpha.test"},
		{"owner who may pause", Rights{Owner: []string{"pause"}}, owner, []string{KeyPause}, "ask a postmaster of alpha.test"},
		{"owner of another mailbox", Rights{Owner: everything}, Actor{RoleOwner, "bruno@alpha.test"}, nil, "not the owner of anna@alpha.test"},
		{"owner by an extension", Rights{Owner: everything}, Actor{RoleOwner, "anna+x@alpha.test"}, nil, "not the owner of anna@alpha.test"},
		{"owner without an address", Rights{}, Actor{RoleOwner, "anna"}, nil, "the name is not an address"},
		{"program", Rights{}, Actor{RoleProgram, "erasure"}, nil, "the program changes no setting by itself"},
		{"token that reads", Rights{Owner: everything}, Actor{RoleToken, "reads"}, nil, "the token has the scope read"},
		{"token that writes", Rights{Owner: []string{}}, Actor{RoleToken, "writes"}, all, ""},
		{"token of another domain", Rights{}, Actor{RoleToken, "elsewhere"}, nil, "not a token for alpha.test"},
		{"token that there is not", Rights{}, Actor{RoleToken, "anna@alpha.test"}, nil, "not a token for alpha.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config.Rights = c.rights
			p, _ := openTest(t, config, "anna@alpha.test")
			p.KnowTokens(func(name string) (Token, error) {
				return map[string]Token{"reads": {"alpha.test", false}, "writes": {"alpha.test", true}, "elsewhere": {"beta.test", true}}[name], nil
			})
			anna := mustAddress(t, "anna@alpha.test")
			for _, key := range all {
				err := p.May(c.who, anna, key)
				want := fmt.Sprintf("%s: not allowed for %s %s: %s", key, c.who.Role, c.who.Name, c.why)
				if may := slices.Contains(c.may, key); may && err != nil || !may && (!errors.Is(err, ErrForbidden) || err.Error() != want) {
					t.Errorf("May(%s) = %v, want %v", key, err, may)
				}
			}
			if got, want := slices.Sorted(slices.Values(p.Allowed(c.who, anna))), slices.Sorted(slices.Values(c.may)); !slices.Equal(got, want) {
				t.Errorf("allowed is %q, want %q", got, want)
			}
			for act, do := range map[string]func() error{
				KeyArchive: func() error {
					_, err := p.Disable(t.Context(), anna, c.who, "anna@alpha.test", DefaultGrace)
					return err
				},
				KeyHold: func() error { _, err := p.Hold(t.Context(), anna, c.who, "case"); return err },
			} {
				if err := do(); errors.Is(err, ErrForbidden) == slices.Contains(c.may, act) {
					t.Errorf("%s: %v", act, err)
				}
				if _, err := p.Release(t.Context(), anna, operator()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestAllowedToLook: what an operator may do does not depend on a name, which only an act needs.
func TestAllowedToLook(t *testing.T) {
	p, _ := openTest(t, testConfig())
	anna := mustAddress(t, "anna@alpha.test")
	if got, want := p.Allowed(Actor{Role: RoleOperator}, anna), append(OwnerKeys(), KeyHold); !slices.Equal(got, want) {
		t.Errorf("allowed is %q, want %q", got, want)
	}
	if got := p.Allowed(Actor{Role: RoleOwner}, anna); len(got) > 0 {
		t.Errorf("an owner without a name may %q", got)
	}
}

// TestRightsOfDomains: the rights of a domain take the place of the others, whatever they are. A reload takes them.
func TestRightsOfDomains(t *testing.T) {
	config := testConfig()
	p, _ := openTest(t, config)
	for _, c := range []struct {
		name             string
		all, alpha, beta []string // nil for none
		ofAlpha, ofBeta  string
	}{
		{"none", nil, nil, nil, "notify notify_on language layout protocols", "notify notify_on language layout protocols"},
		{"of all", []string{"quota"}, nil, nil, "quota", "quota"},
		{"of one", nil, []string{"pause", "filter"}, nil, "pause filter", "notify notify_on language layout protocols"},
		{"of one, and of all others", []string{"quota"}, []string{"retention"}, nil, "retention", "quota"},
		{"none in one", []string{"quota"}, []string{}, []string{"archive"}, "", "archive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config.Rights = Rights{Owner: c.all}
			for i := range config.Domains {
				config.Domains[i].Rights = Rights{}
			}
			config.Domains[0].Rights.Owner, config.Domains[1].Rights.Owner = c.alpha, c.beta
			if err := p.Reconfigure(config); err != nil {
				t.Fatal(err)
			}
			for mailbox, want := range map[string]string{"anna@alpha.test": c.ofAlpha, "elena@beta.test": c.ofBeta} {
				got := p.Allowed(Actor{RoleOwner, mailbox}, mustAddress(t, mailbox))
				if want := strings.Fields(want); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
					t.Errorf("the owner of %s may %q, want %q", mailbox, got, want)
				}
			}
		})
	}
}
