package auth

import (
	"context"
	"encoding/base64"
	"net/netip"
	"sync"
	"time"
	"unicode/utf8"

	"copialettere/policy"
)

// The services of the provider's own mail server, as it names them, that the switches of a mailbox close.
const (
	serviceIMAP       = "imap"
	servicePOP3       = "pop3"
	serviceSMTP       = "smtp"       // by which Postfix asks
	serviceSubmission = "submission" // of Dovecot itself
	serviceSieve      = "sieve"
)

const (
	// answerWithin is how long an answer to the mail server may take: it does not answer anybody meanwhile.
	answerWithin = 200 * time.Millisecond
	// refusedFor is how long it is known that the main password was refused, so that its next use can be told why.
	refusedFor = time.Hour
	maxRefused = 10_000
	// minDigest is the shortest digest of a password that stands for one password, in hexadecimal characters.
	minDigest = 32
)

// ProviderLogin is a login to the provider's own mail server. The names are those of the attributes that it is configured to send, beside its own:
// see contrib/dovecot.
type ProviderLogin struct {
	Login    string `json:"login"`
	Protocol string `json:"protocol"`
	Remote   string `json:"remote"` // the address that really connects
	App      string `json:"app"`    // of a login that succeeded: the ID of the app password, empty for another password
	// Digest is that of name and password, in hexadecimal. It tells nothing of the password but whether it is the same as before.
	Digest   string `json:"pwhash"`
	Success  bool   `json:"success"`       // in a report: the login succeeded
	Rejected bool   `json:"policy_reject"` // in a report: an Allow refused it
}

// Provider answers the provider's own mail server, which asks before and after it looks at a password, and reports how it ended. It never decides: what
// is closed is closed by files (package policy/dovecot), which hold while nobody answers here. It adds the sentence that the person reads, and learns
// when an app password was last used. In doubt it lets the mail server decide. Its methods may be called concurrently.
type Provider struct {
	auth    *Authenticator
	webmail []netip.Prefix

	mu      sync.Mutex
	refused map[refusedPassword]time.Time // until when; guarded by mu
}

// refusedPassword is a main password where an app password is wanted. It may as well be any other wrong one.
type refusedPassword struct {
	login  policy.Address
	digest string
}

// NewProvider returns a Provider. Logins from the addresses of webmail are never answered with a refusal.
func NewProvider(a *Authenticator, webmail []netip.Prefix) *Provider {
	return &Provider{auth: a, webmail: webmail, refused: make(map[refusedPassword]time.Time)}
}

// Allow returns nil if nothing speaks against a login. Otherwise the files refuse it too, and the Refusal says why.
func (p *Provider) Allow(ctx context.Context, l ProviderLogin) *Refusal {
	login, ok := p.concerns(l)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	m, known, err := p.auth.options.Policy.Known(ctx, login)
	if err == nil && !known {
		m, err = p.auth.options.Policy.Mailbox(ctx, login)
	}
	if err != nil {
		return nil
	}
	language := m.Settings.Language
	if sentence, open := serviceOpen(l.Protocol, m.Settings.Protocols); known && !open {
		return &Refusal{ErrClosed, sentence, language}
	}
	if l.App != "" || !p.refusedBefore(login, l.Digest) {
		return nil
	}
	if needs, err := p.needsAppPassword(ctx, login); err != nil || !needs {
		return nil
	}
	return &Refusal{ErrSecondFactor, appPasswordOnly, language}
}

// Report takes in how a login ended.
func (p *Provider) Report(ctx context.Context, l ProviderLogin) {
	login, err := policy.ParseAddress(l.Login)
	if err != nil || login.Domain == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if l.Success {
		if name, ok := appName(l.App); ok {
			p.auth.appUsed(ctx, login, name)
		}
		return
	}
	login, ok := p.concerns(l)
	if !ok || l.Rejected || len(l.Digest) < minDigest {
		return
	}
	if needs, err := p.needsAppPassword(ctx, login); err == nil && needs {
		p.refuse(login, l.Digest)
	}
}

// needsAppPassword reports whether the files ask for an app password. A login that was never set up as a mailbox is in them only if its second factor is
// on, whatever its domain asks for.
func (p *Provider) needsAppPassword(ctx context.Context, login policy.Address) (bool, error) {
	s, err := p.auth.SecondFactor(ctx, login)
	if err != nil || s.On || !s.Required {
		return s.On, err
	}
	_, known, err := p.auth.options.Policy.Known(ctx, login)
	return known, err
}

// concerns returns whose login it is, and whether one to a service that can be closed, from elsewhere than webmail.
func (p *Provider) concerns(l ProviderLogin) (login policy.Address, ok bool) {
	switch l.Protocol {
	case serviceIMAP, servicePOP3, serviceSMTP, serviceSubmission, serviceSieve:
	default:
		return policy.Address{}, false
	}
	remote, err := netip.ParseAddr(l.Remote)
	if err != nil {
		return policy.Address{}, false
	}
	for _, prefix := range p.webmail {
		if prefix.Contains(remote.Unmap().WithZone("")) {
			return policy.Address{}, false
		}
	}
	login, err = policy.ParseAddress(l.Login)
	return login, err == nil && login.Domain != ""
}

// serviceOpen reports whether a service is open to mail programs with these protocols, and what to say if it is not.
func serviceOpen(service string, on policy.Protocols) (sentence policy.Label, open bool) {
	switch {
	case on == 0:
		return allProtocolsOff, false
	case service == serviceIMAP && on&policy.ProtocolIMAP == 0:
		return liveIMAPOff, false
	case service == servicePOP3 && on&policy.ProtocolPOP3 == 0:
		return livePOP3Off, false
	case (service == serviceSMTP || service == serviceSubmission) && on&policy.ProtocolSMTP == 0:
		return liveSMTPOff, false
	case service == serviceSieve && on&(policy.ProtocolIMAP|policy.ProtocolPOP3) == 0:
		return liveSieveOff, false
	}
	return policy.Label{}, true
}

// refuse remembers a password that was refused. Where too many are, one of them is forgotten.
func (p *Provider) refuse(login policy.Address, digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if len(p.refused) >= maxRefused {
		for one, until := range p.refused {
			if delete(p.refused, one); now.Before(until) {
				break
			}
		}
	}
	p.refused[refusedPassword{login, digest}] = now.Add(refusedFor)
}

func (p *Provider) refusedBefore(login policy.Address, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.refused[refusedPassword{login, digest}]
	return ok && time.Now().Before(until)
}

// appUsed notes that an app password was used elsewhere.
func (a *Authenticator) appUsed(ctx context.Context, login policy.Address, name string) {
	c, archive, err := a.credentials(ctx, login)
	if err == nil && c.index(name) >= 0 {
		a.used(ctx, archive, c, name)
	}
}

// appName returns the name of an app password that an ID stands for.
func appName(id string) (name string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(id)
	return string(b), err == nil && len(b) > 0 && utf8.Valid(b)
}
