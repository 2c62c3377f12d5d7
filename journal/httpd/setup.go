package httpd

import (
	"bytes"
	"errors"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/setup"
)

// choice reads which account a request is about: [account=A][&incoming=P].
func (c *call) choice() setup.Choice {
	return setup.Choice{Account: setup.Account(c.query("account")), Incoming: setup.Protocol(c.query("incoming"))}
}

func (a *api) setUp(c *call) error {
	p, err := a.b.Archive.Parameters(c.Context(), c.who, c.mailbox, c.choice())
	if err != nil {
		return err
	}
	return c.out.write(p)
}

func (a *api) profile(c *call) error {
	profile, err := a.b.Archive.Profile(c.Context(), c.who, c.mailbox, c.choice())
	if err != nil {
		return err
	}
	writeProfile(c.w, profile)
	return nil
}

func (a *api) setUpLink(c *call) error {
	link, err := a.b.Archive.MakeSetUpLink(c.Context(), c.who, c.mailbox, setup.Choice(*c.body.(*SetUpChoice)))
	if err != nil {
		return err
	}
	return c.out.write(link)
}

// writeProfile answers with a configuration profile.
func writeProfile(w http.ResponseWriter, profile []byte) {
	w.Header().Set("Content-Type", setup.ProfileType)
	w.Header().Set("Content-Disposition", `attachment; filename="account.mobileconfig"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(profile)))
	w.Write(profile)
}

// discovery answers programs that set themselves up. They do not sign in: all but the links of set-up goes by the domain alone.
type discovery struct{ b Backend }

func (d *discovery) route(mux *http.ServeMux) {
	mux.HandleFunc("GET /mail/config-v1.1.xml", d.autoconfig)
	mux.HandleFunc("GET /.well-known/autoconfig/mail/config-v1.1.xml", d.autoconfig)
	mux.HandleFunc("POST /autodiscover/autodiscover.xml", d.autodiscover)
	mux.HandleFunc("GET /autodiscover/autodiscover.xml", d.autodiscoverRedirect)
	mux.HandleFunc("GET /autodiscover/autodiscover.json", d.autodiscoverWhere)
	mux.HandleFunc("GET /autodiscover/autodiscover.json/{version}/{address}", d.autodiscoverWhere)
	mux.HandleFunc("GET "+setup.LinkPath+"{token}", d.showLink)
	mux.HandleFunc("POST "+setup.LinkPath+"{token}", d.useLink)
}

// count counts a request, answered or refused.
func (d *discovery) count(kind string, ok bool) {
	outcome := "refused"
	if ok {
		outcome = "answered"
	}
	d.b.Metrics.Counter("copialettere_setup_requests_total", "Requests of programs that set themselves up.", "kind", kind, "outcome", outcome).Inc()
}

// autodiscoverCase makes the paths of autodiscover what they are in lower case: Outlook writes them in several ways.
func autodiscoverCase(next http.Handler) http.Handler {
	const prefix = "/autodiscover/"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix) {
			u := *r.URL
			u.Path, u.RawPath = strings.ToLower(path), ""
			r = r.WithContext(r.Context())
			r.URL = &u
		}
		next.ServeHTTP(w, r)
	})
}

// autoconfig answers Thunderbird, about the domain of emailaddress=ADDR. Without that, the host that was asked says which: autoconfig.DOMAIN or
// DOMAIN.
func (d *discovery) autoconfig(w http.ResponseWriter, r *http.Request) {
	domain, ok := setup.DomainOf(r.FormValue("emailaddress"))
	if !ok {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		domain = strings.TrimPrefix(strings.ToLower(host), "autoconfig.")
	}
	found, ok := d.b.Archive.Guide().Discover(domain)
	d.count("autoconfig", ok)
	if !ok {
		http.Error(w, "nothing is known of this domain", http.StatusNotFound)
		return
	}
	text, err := found.Autoconfig()
	d.writeXML(w, text, err)
}

// autodiscover answers Outlook. What it cannot answer it answers with 200 too: the error is in the XML.
func (d *discovery) autodiscover(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, setup.MaxAutodiscover))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		http.Error(w, "the request is too large", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		return // the client has gone
	}
	text, ok, err := d.b.Archive.Guide().Autodiscover(body, time.Now())
	d.count("autodiscover", ok)
	d.writeXML(w, text, err)
}

// autodiscoverRedirect leads from http://autodiscover.DOMAIN to the public URL. Outlook asks so, for domains for whose name the certificate is not.
func (d *discovery) autodiscoverRedirect(w http.ResponseWriter, r *http.Request) {
	public, err := url.Parse(d.b.Archive.Guide().PublicURL())
	if err != nil || public.Host == "" || strings.EqualFold(public.Host, r.Host) {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "send the request with POST", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Location", public.JoinPath("/autodiscover/autodiscover.xml").String())
	w.WriteHeader(http.StatusFound)
}

// autodiscoverWhere answers where Outlook finds the XML of autodiscover: protocol=AutodiscoverV1.
func (d *discovery) autodiscoverWhere(w http.ResponseWriter, r *http.Request) {
	protocol := ""
	for name, values := range r.URL.Query() {
		if strings.EqualFold(name, "protocol") {
			protocol = values[0]
		}
	}
	text, ok, err := d.b.Archive.Guide().AutodiscoverWhere(protocol)
	if err != nil {
		d.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
	}
	w.Write(text)
}

func (d *discovery) writeXML(w http.ResponseWriter, text []byte, err error) {
	if err != nil {
		d.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.Write(text)
}

// fail answers that something of ours went wrong, and logs what.
func (d *discovery) fail(w http.ResponseWriter, err error) {
	if d.b.Logger != nil {
		d.b.Logger.Error("set-up request failed", "error", err)
	}
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

// showLink shows the page of a set-up link, with the buttons that use it. To look at the page changes nothing, so neither the preview of a messenger
// nor a scanner of links uses it up.
func (d *discovery) showLink(w http.ResponseWriter, r *http.Request) {
	s, err := d.b.Archive.SetUpByLink(r.Context(), r.PathValue("token"))
	if err != nil {
		d.failLink(w, r, err)
		return
	}
	d.writeLinkPage(w, s, linkPage{page: pageSetUp, Apple: s.Outgoing != nil})
}

// useLink uses a set-up link up: show=profile answers with Apple's profile, show=parameters with a page for those who type them.
func (d *discovery) useLink(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
	show := r.PostFormValue("show")
	if show != "profile" && show != "parameters" {
		writePage(w, r, http.StatusBadRequest, LanguageOf(r), pageNotFound)
		return
	}
	s, profile, err := d.b.Archive.UseSetUpLink(r.Context(), r.PathValue("token"))
	d.count("link", err == nil)
	switch {
	case err != nil:
		d.failLink(w, r, err)
	case show == "profile" && profile != nil:
		writeProfile(w, profile)
	default:
		d.writeLinkPage(w, s, linkPage{page: pageParameters, Rows: parameterRows(s)})
	}
}

func (d *discovery) failLink(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, setup.ErrNoLink) {
		writePage(w, r, http.StatusGone, LanguageOf(r), pageNoLink)
		return
	}
	if d.b.Logger != nil {
		d.b.Logger.Error("set-up link failed", "error", err)
	}
	writePage(w, r, http.StatusInternalServerError, LanguageOf(r), pageFault)
}

var (
	pageSetUp = page{
		policy.Label{Italian: "Impostazione dell'account di posta", English: "Setting up the mail account"},
		policy.Label{
			Italian: "Questo collegamento vale una volta sola. Scegliere il proprio dispositivo. La password non è contenuta: sarà chiesta dal dispositivo.",
			English: "This link works only once. Choose your device. It holds no password: the device will ask for it.",
		},
	}
	pageParameters = page{
		policy.Label{Italian: "Parametri dell'account", English: "Parameters of the account"},
		policy.Label{
			Italian: "Copiarli ora nel programma di posta: questa pagina non si può riaprire.",
			English: "Copy them into the mail program now: this page cannot be opened again.",
		},
	}
	pageNoLink = page{
		policy.Label{Italian: "Questo collegamento non vale più", English: "This link is no longer valid"},
		policy.Label{
			Italian: "Vale una volta sola ed entro 15 minuti. Chiederne uno nuovo, o mostrare di nuovo il codice QR.",
			English: "It works only once, and within 15 minutes. Ask for a new one, or show the QR code again.",
		},
	}
	pageFault = page{
		policy.Label{Italian: "Qualcosa non ha funzionato", English: "Something went wrong"},
		policy.Label{Italian: "Riprovare fra qualche minuto.", English: "Try again in a few minutes."},
	}
	appPasswordNote = policy.Label{
		Italian: "Come password serve una password per programmi: quella della casella non viene accettata.",
		English: "As the password, use an app password: that of the mailbox is not accepted.",
	}
	labelApple = policy.Label{Italian: "iPhone, iPad o Mac: scarica il profilo", English: "iPhone, iPad or Mac: download the profile"}
	labelOther = policy.Label{Italian: "Altro dispositivo: mostra i parametri", English: "Another device: show the parameters"}
)

// linkPage is a page of a set-up link: with buttons, or with rows of parameters.
type linkPage struct {
	page
	Apple bool // there is a profile
	Rows  [][2]string
}

// parameterRows returns the parameters as names and values for people.
func parameterRows(s archive.SetUp) [][2]string {
	word := func(italian, english string) string {
		return policy.Label{Italian: italian, English: english}.In(s.Language)
	}
	rows := [][2]string{{word("Indirizzo", "Address"), s.Mailbox}}
	server := func(title string, server *setup.Server) {
		security := "SSL/TLS"
		if server.Security == setup.STARTTLS {
			security = "STARTTLS"
		}
		rows = append(rows,
			[2]string{title, server.Host},
			[2]string{word("Porta", "Port"), strconv.Itoa(int(server.Port)) + ", " + security},
			[2]string{word("Nome utente", "User name"), server.User})
	}
	server(word("Server di posta in arrivo", "Incoming server")+" ("+strings.ToUpper(string(s.Incoming.Protocol))+")", &s.Incoming)
	if s.Outgoing != nil {
		server(word("Server di posta in uscita", "Outgoing server")+" (SMTP)", s.Outgoing)
	}
	return rows
}

var linkTemplate = template.Must(template.New("link").Parse(`<!DOCTYPE html>
<html lang="{{.Language}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{- range .Notes}}
<p>{{.}}</p>
{{- end}}
{{- if .Rows}}
<dl>
{{- range .Rows}}
<dt>{{index . 0}}</dt><dd>{{index . 1}}</dd>
{{- end}}
</dl>
{{- else}}
<form method="post">
{{- if .Apple}}
<p><button name="show" value="profile">{{.AppleLabel}}</button></p>
{{- end}}
<p><button name="show" value="parameters">{{.OtherLabel}}</button></p>
</form>
{{- end}}
</main>
</body>
</html>
`))

func (d *discovery) writeLinkPage(w http.ResponseWriter, s archive.SetUp, p linkPage) {
	l := s.Language
	v := struct {
		Language, Title, Text, AppleLabel, OtherLabel string
		Notes                                         []string
		Apple                                         bool
		Rows                                          [][2]string
	}{Language: string(l), Title: p.Title.In(l), Text: p.Text.In(l), AppleLabel: labelApple.In(l), OtherLabel: labelOther.In(l), Apple: p.Apple, Rows: p.Rows}
	if s.AppPassword {
		v.Notes = append(v.Notes, appPasswordNote.In(l))
	}
	if s.Closed != nil {
		v.Notes = append(v.Notes, s.Closed.In(l))
	}
	var b bytes.Buffer
	if err := linkTemplate.Execute(&b, v); err != nil {
		d.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}
