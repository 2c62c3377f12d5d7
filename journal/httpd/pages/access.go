package pages

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

func accessRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/access", For: OfMailbox, Right: archive.RightLook, serve: (*visit).showAccess},
		{Pattern: "POST /mailbox/{mailbox}/access/end", For: OfMailbox, Right: archive.RightRevoke, serve: (*visit).endSessions},
	}
}

// accessPage is what the page of the sign-ins to a mailbox shows.
type accessPage struct {
	Base      string
	Sessions  []sessionRow
	Others    bool // there are sessions beside the one in which the page is shown
	Delegates []delegation
	Tokens    []archive.Token
	Rows      []accessRow
	Newest    bool
	Older     string // the path of the next page; empty at the end
}

// sessionRow is an open session in words.
type sessionRow struct {
	ID, Device, Address string
	Opened, Seen        time.Time
	By                  string // who has signed the owner in; empty for the owner
	Here                bool   // the page is shown in it
}

// delegation is somebody who may read until a day.
type delegation struct {
	Person string
	Last   time.Time
	Asked  bool // and who is only asked for
}

// accessRow is one line of the access log in words.
type accessRow struct {
	Time, Until            time.Time
	Count                  uint64
	Login, Way, Result, By string
	Address                string
	Failed                 bool
}

const accessRows = 50

// showAccess shows who is in now, who may come in, and who was. The parameter skip counts the lines from the newest.
func (v *visit) showAccess() error {
	p := accessPage{Base: v.base()}
	if err := v.openSessions(&p); err != nil {
		return err
	}
	delegates, err := v.pages.options.Archive.Delegates(v.Context(), v.mailbox)
	if err != nil {
		return err
	}
	for _, d := range delegates {
		p.Delegates = append(p.Delegates, delegation{d.Person, d.Until.Add(-time.Second), d.WaitsFor != ""})
	}
	if p.Tokens, err = v.pages.options.Archive.Tokens(v.Context(), v.mailbox.Domain); err != nil {
		return err
	}
	if err := v.accessLog(&p); err != nil {
		return err
	}
	return v.render(http.StatusOK, "access.html", p)
}

func (v *visit) openSessions(p *accessPage) error {
	sessions, err := v.pages.options.Archive.Sessions(v.Context(), v.mailbox)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		row := sessionRow{ID: s.ID, Device: v.device(s.Agent), Opened: s.Opened, Seen: s.Seen, Here: s.ID == v.session.ID}
		if s.Remote.IsValid() {
			row.Address = s.Remote.String()
		}
		if s.Confined() {
			row.By = v.byText(s.By)
		}
		p.Others = p.Others || !row.Here
		p.Sessions = append(p.Sessions, row)
	}
	return nil
}

func (v *visit) accessLog(p *accessPage) error {
	skip := 0
	if text := v.URL.Query().Get("skip"); text != "" {
		var err error
		if skip, err = strconv.Atoi(text); err != nil || skip < 0 {
			return errNoPage
		}
	}
	var list []auth.Access
	for one, err := range v.pages.options.Archive.Accesses(v.Context(), v.mailbox) {
		if err != nil {
			return err
		}
		list = append(list, one)
	}
	slices.Reverse(list)
	p.Newest = skip == 0
	list = list[min(skip, len(list)):]
	if len(list) > accessRows {
		list, p.Older = list[:accessRows], v.about("access")+"?skip="+strconv.Itoa(skip+accessRows)
	}
	for _, one := range list {
		row := accessRow{
			Time: one.Time, Until: one.Until, Count: one.Count, Login: one.Login, Address: one.Address, Way: v.wayText(one), Result: v.resultText(one.Result),
			Failed: one.Result != auth.ResultOK,
		}
		if one.By != "" {
			row.By = v.byText(one.By)
		}
		p.Rows = append(p.Rows, row)
	}
	return nil
}

// endSessions ends one session, or all but the one in which it is asked for. Whoever ends the own one has signed out.
func (v *visit) endSessions() error {
	id := v.PostFormValue("session")
	if _, err := v.pages.options.Archive.EndSessions(v.Context(), v.who, v.mailbox, id, v.session.ID); err != nil {
		return err
	}
	switch id {
	case "":
		v.redirect(v.about("access"), "signed-out-everywhere")
	case v.session.ID:
		v.setSession("")
		v.redirect("/sign-in", "signed-out")
	default:
		v.redirect(v.about("access"), "session-ended")
	}
	return nil
}

// device returns in short what a browser says that it is: "Firefox, Windows".
func (v *visit) device(agent string) string {
	find := func(names ...[2]string) string {
		for _, one := range names {
			if strings.Contains(agent, one[0]) {
				return one[1]
			}
		}
		return ""
	}
	// The order matters: most say that they are others too.
	browser := find([2]string{"Edg", "Edge"}, [2]string{"OPR/", "Opera"}, [2]string{"Firefox/", "Firefox"}, [2]string{"Chrome/", "Chrome"}, [2]string{"Safari/", "Safari"})
	system := find([2]string{"Android", "Android"}, [2]string{"iPhone", "iPhone"}, [2]string{"iPad", "iPad"}, [2]string{"Windows", "Windows"},
		[2]string{"Mac OS", "macOS"}, [2]string{"Linux", "Linux"})
	switch {
	case browser != "" && system != "":
		return browser + ", " + system
	case browser+system != "":
		return browser + system
	}
	return v.t("Dispositivo sconosciuto", "Unknown device")
}

// byText returns who has signed an owner in.
func (v *visit) byText(by string) string {
	if by == auth.ByMaster {
		return v.t("server di posta del gestore", "the mail server of the provider")
	}
	if name, ok := strings.CutPrefix(by, string(policy.RoleToken)+" "); ok {
		return v.t("programma del gestore «%s»", "the program “%s” of the provider", name)
	}
	return by
}

// wayText returns by what, and in what role, somebody signed in.
func (v *visit) wayText(a auth.Access) string {
	text := map[auth.Protocol]string{
		auth.ProtocolIMAP: v.t("programma di posta", "mail program"), auth.ProtocolSubmission: v.t("invio da un programma di posta", "sending from a mail program"),
		auth.ProtocolWeb: v.t("pagine", "pages"), auth.ProtocolAPI: v.t("programma del gestore, in lettura", "program of the provider, reading"),
	}[a.Protocol]
	if text == "" {
		text = string(a.Protocol)
	}
	switch a.Role {
	case policy.RoleDelegate:
		text += v.t(", come delegato", ", as a delegate")
	case policy.RolePostmaster:
		text += v.t(", come postmaster", ", as a postmaster")
	case policy.RoleOperator:
		text += v.t(", come gestore", ", as the operator")
	}
	if a.AppPassword != "" {
		text += v.t(", password per programmi «%s»", ", app password “%s”", a.AppPassword)
	}
	switch a.SecondFactor {
	case auth.FactorCode:
		text += v.t(", con codice", ", with a code")
	case auth.FactorRecovery:
		text += v.t(", con codice di recupero", ", with a recovery code")
	}
	return text
}

func (v *visit) resultText(r auth.Result) string {
	switch r {
	case auth.ResultOK:
		return v.t("riuscito", "succeeded")
	case auth.ResultDenied:
		return v.t("nome o password sbagliati", "wrong name or password")
	case auth.ResultClosed:
		return v.t("rifiutato: accesso chiuso dalle impostazioni", "refused: closed by the settings")
	case auth.ResultSecondFactor:
		return v.t("rifiutato: manca il secondo fattore", "refused: the second factor is missing")
	case auth.ResultThrottled:
		return v.t("rifiutato: troppi tentativi", "refused: too many tries")
	}
	return string(r)
}
