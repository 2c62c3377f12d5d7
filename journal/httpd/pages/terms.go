package pages

import (
	"net/http"
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
)

func termsRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/terms", For: OfMailbox, Right: archive.RightLook, serve: (*visit).showTerms},
	}
}

// termsPage says what is archived of a mailbox.
type termsPage struct {
	Mailbox    *archive.Mailbox
	State      string
	Addresses  string
	Filter     string
	Retention  string
	Forever    bool      // no message goes by its age
	Until      time.Time // when the retention gets shorter
	Quota      string
	WhenFull   string
	Postmaster string // the domain whose postmasters administer the mailbox
	Readers    []string
	Gaps       string // path
	ByHand     bool
}

func (v *visit) showTerms() error {
	m, err := v.mailboxNow()
	if err != nil {
		return err
	}
	s, err := v.settingsNow()
	if err != nil {
		return err
	}
	words := func(key string) string { return policy.ValueLabel(key, valueOf(m, key)).In(v.language) }
	p := termsPage{
		Mailbox: m, State: v.stateText(m), Addresses: strings.Join(v.pages.options.Archive.Addresses(v.mailbox), ", "), Filter: words(policy.KeyFilter),
		Retention: words(policy.KeyRetention), Quota: words(policy.KeyQuota), WhenFull: words(policy.KeyWhenFull), Postmaster: v.domain, Gaps: v.about("gaps"),
		ByHand: s.Append, Forever: s.Retention == 0,
	}
	if s.RetentionDelay.Until.After(time.Now()) {
		p.Until = s.RetentionDelay.Until
	}
	for _, d := range m.Delegates {
		if d.WaitsFor == "" {
			p.Readers = append(p.Readers, v.t("%s fino al %s", "%s until %s", d.Person, dayText(v.language, v.zone, d.Until.Add(-time.Second))))
		}
	}
	return v.render(http.StatusOK, "terms.html", p)
}
