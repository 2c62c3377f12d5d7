package archive

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// TestToldBeforeARun runs the retention where it would delete all of a mailbox: the owner who wants to be told is told first, once, and nothing is
// deleted until the grace is over.
func TestToldBeforeARun(t *testing.T) {
	const grace = time.Hour
	who := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	for _, c := range []struct {
		name     string
		settings []string // one act each, after the address is confirmed
		silent   bool     // nobody tells owners
		broken   bool     // telling fails
		request  ExpireRequest
		err      error
		told     int    // delays put into the settings until the first run is over
		want     string // entries deleted by the first run, by the next one, and by one after the grace
	}{
		{name: "told", settings: []string{"retention=6", "notify_on=before-loss"}, request: ExpireRequest{Yes: true}, told: 1, want: "0 0 150"},
		{name: "not wanted", settings: []string{"retention=6", "notify_on=gap"}, request: ExpireRequest{Yes: true}, want: "150 0 0"},
		{name: "nobody tells", settings: []string{"retention=6", "notify_on=before-loss"}, silent: true, request: ExpireRequest{Yes: true}, want: "150 0 0"},
		{name: "told when the retention was shortened", settings: []string{"notify_on=before-loss", "retention=6"}, request: ExpireRequest{Yes: true}, told: 1,
			want: "0 0 150"},
		{name: "refused", settings: []string{"retention=6", "notify_on=before-loss"}, err: journal.ErrAbnormal, want: "0 0 0"},
		{name: "dry run", settings: []string{"retention=6", "notify_on=before-loss"}, request: ExpireRequest{DryRun: true}, want: "150 150 150"},
		{name: "telling fails", settings: []string{"retention=6", "notify_on=before-loss"}, broken: true, request: ExpireRequest{Yes: true}, err: kv.ErrUnavailable,
			want: "0 0 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, engine := old(t)
			p := o.Policy
			if err := p.Reconfigure(policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}, Grace: grace}); err != nil {
				t.Fatal(err)
			}
			anna, _ := policy.ParseAddress("anna@alpha.test")
			outside, _ := policy.ParseAddress("anna@ext.test")
			if _, err := p.Enable(t.Context(), anna, who); err != nil {
				t.Fatal(err)
			}
			set := func(text string) {
				t.Helper()
				assignment, err := policy.ParseAssignment(text)
				if err == nil {
					_, err = p.Set(t.Context(), anna, who, []policy.Assignment{assignment})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			set("notify=anna@ext.test")
			if err := p.ConfirmNotify(t.Context(), anna, who, outside); err != nil {
				t.Fatal(err)
			}
			told := 0
			if !c.silent {
				p.OnRevision(func(_ kv.Tx, r policy.Revision) error {
					if r.After.RetentionDelay == r.Before.RetentionDelay {
						return nil
					}
					if c.broken {
						return kv.ErrUnavailable
					}
					told++
					return nil
				})
			}
			for _, text := range c.settings {
				set(text)
			}
			a := New(o)
			var deleted []string
			run := func() {
				t.Helper()
				report, err := a.Expire(t.Context(), c.request)
				if !errors.Is(err, c.err) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				switch {
				case report == nil || errors.Is(err, journal.ErrAbnormal):
					deleted = append(deleted, "0")
				default:
					deleted = append(deleted, fmt.Sprint(report.Removed.Entries))
				}
			}
			run()
			if told != c.told {
				t.Errorf("told %d times, want %d", told, c.told)
			}
			run()
			delayPassed(t, engine, "anna@alpha.test", 2*grace)
			run()
			if got := fmt.Sprint(deleted); got != "["+c.want+"]" || told != c.told {
				t.Errorf("deleted %s, want %s; told %d times", got, c.want, told)
			}
			if report, err := o.Journal.Verify(t.Context(), journal.EvidenceOptions{}, nil); err != nil || report.Faults > 0 {
				t.Errorf("verify: %+v, %v", report, err)
			}
		})
	}
}

// delayPassed moves the end of the retention delay of a mailbox back, as if that time had passed. Without a delay it changes nothing.
func delayPassed(t *testing.T, engine kv.Engine, archive string, by time.Duration) {
	t.Helper()
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(`("retention_delay":"[^"]* until )([^"]*)`)
	err = settings.Update(t.Context(), []string{policy.SettingsLock(archive)}, func(tx kv.Tx) error {
		key := []byte(policy.SettingsLock(archive))
		b, err := tx.Get(key)
		if err != nil {
			return err
		}
		if found := pattern.FindSubmatch(b); found != nil {
			at, err := time.Parse(time.RFC3339Nano, string(found[2]))
			if err != nil {
				return err
			}
			tx.Put(key, pattern.ReplaceAll(b, []byte("${1}"+at.Add(-by).Format(time.RFC3339Nano))))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
