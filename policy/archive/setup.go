package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

// KeySetUpLink is the key under which the log of a mailbox tells of set-up links that were made: after has the account and the protocol.
const KeySetUpLink = "set-up-link"

// SetUpLink is a link by which a telephone sets itself up. Others script against its names.
type SetUpLink struct {
	Mailbox string        `json:"mailbox"`
	Account setup.Account `json:"account"`
	// Link works once, until Until, without a sign-in. It leads to a profile that holds no password.
	Link  string    `json:"link"`
	Until time.Time `json:"until"` // UTC
	PNG   []byte    `json:"png"`   // its QR code, base64 in JSON
	// Closed says why the account cannot be opened as long as the settings of the mailbox stay as they are; nil if it can.
	Closed *policy.Label `json:"closed,omitempty"`
}

// SetUp is what a person needs to set a program up, in the person's language.
type SetUp struct {
	setup.Parameters
	Language policy.Language
}

// Guide returns what is told to everybody about setting up programs.
func (a *Archive) Guide() *setup.Guide { return a.options.Guide }

// Parameters returns with what an account of a mailbox is set up. It needs RightLook; the error wraps setup.ErrNotOffered or setup.ErrChoice.
func (a *Archive) Parameters(ctx context.Context, who policy.Actor, address policy.Address, c setup.Choice) (setup.Parameters, error) {
	p, _, err := a.setUp(ctx, who, address, c)
	return p, err
}

// Profile returns Apple's configuration profile for an account of a mailbox, as Parameters does.
func (a *Archive) Profile(ctx context.Context, who policy.Actor, address policy.Address, c setup.Choice) ([]byte, error) {
	p, m, err := a.setUp(ctx, who, address, c)
	if err != nil {
		return nil, err
	}
	return a.options.Guide.Profile(p, m.Archive, m.Settings.Language)
}

// MakeSetUpLink makes a link to the profile of an account, as Profile returns it, for a telephone that cannot sign in. Whoever made one before for
// this account is left with a link that no longer works. That it was made goes on record.
func (a *Archive) MakeSetUpLink(ctx context.Context, who policy.Actor, address policy.Address, c setup.Choice) (SetUpLink, error) {
	p, m, err := a.setUp(ctx, who, address, c)
	if err != nil {
		return SetUpLink{}, err
	}
	base := a.options.Guide.PublicURL()
	if base == "" {
		return SetUpLink{}, fmt.Errorf("set-up link of %s: %w: the configuration has no public_url in [web]", address, setup.ErrNotOffered)
	}
	err = a.policy.Note(ctx, address, who, KeySetUpLink, func(kv.Tx, string, time.Time) (before, after string, err error) {
		return "", string(p.Account) + " " + string(p.Incoming.Protocol), nil
	})
	if err != nil {
		return SetUpLink{}, fmt.Errorf("set-up link of %s: %w", address, err)
	}
	token, until, err := a.options.Links.Make(ctx, m.Archive, setup.Choice{Account: p.Account, Incoming: p.Incoming.Protocol}, time.Now())
	if err != nil {
		return SetUpLink{}, err
	}
	link := SetUpLink{Mailbox: p.Mailbox, Account: p.Account, Link: base + setup.LinkPath + token, Until: until, Closed: p.Closed}
	link.PNG, err = setup.QRImage(link.Link)
	return link, err
}

// SetUpByLink returns what a set-up link is for, without using it up. It needs no right but the link. The error wraps setup.ErrNoLink.
func (a *Archive) SetUpByLink(ctx context.Context, token string) (SetUp, error) {
	link, err := a.options.Links.Look(ctx, token, time.Now())
	if err != nil {
		return SetUp{}, err
	}
	p, m, err := a.linked(ctx, link)
	return SetUp{p, m.Settings.Language}, err
}

// UseSetUpLink uses a set-up link up, and returns what it is for, with the profile. Where Apple takes no profile for the account, that is nil. After
// an error of ours the link still works.
func (a *Archive) UseSetUpLink(ctx context.Context, token string) (s SetUp, profile []byte, err error) {
	link, err := a.options.Links.Look(ctx, token, time.Now())
	if err != nil {
		return SetUp{}, nil, err
	}
	p, m, err := a.linked(ctx, link)
	if err == nil {
		profile, err = a.options.Guide.Profile(p, m.Archive, m.Settings.Language)
	}
	if errors.Is(err, setup.ErrNotOffered) && !errors.Is(err, setup.ErrNoLink) {
		err = nil
	}
	if err == nil {
		_, err = a.options.Links.Use(ctx, token, time.Now())
	}
	if err != nil {
		return SetUp{}, nil, err
	}
	return SetUp{p, m.Settings.Language}, profile, nil
}

// linked returns the mailbox of a link. If its address has come to another archive since, or the account is no longer offered, there is no link.
func (a *Archive) linked(ctx context.Context, link setup.Link) (setup.Parameters, policy.Mailbox, error) {
	m, err := a.policy.MailboxOf(ctx, link.Archive)
	if err != nil {
		return setup.Parameters{}, m, err
	}
	if m.Address.Closed != "" {
		return setup.Parameters{}, m, setup.ErrNoLink
	}
	p, err := a.parameters(ctx, m, link.Choice)
	if errors.Is(err, setup.ErrNotOffered) {
		err = fmt.Errorf("%w: %w", setup.ErrNoLink, err)
	}
	return p, m, err
}

// setUp checks the right of an actor, and returns the parameters with the mailbox.
func (a *Archive) setUp(ctx context.Context, who policy.Actor, address policy.Address, c setup.Choice) (setup.Parameters, policy.Mailbox, error) {
	if err := a.May(ctx, who, RightLook, address); err != nil {
		return setup.Parameters{}, policy.Mailbox{}, err
	}
	if !a.policy.HasDomain(address.Domain) {
		return setup.Parameters{}, policy.Mailbox{}, fmt.Errorf("set up %s: %w", address, policy.ErrUnknownDomain)
	}
	m, err := a.policy.Mailbox(ctx, address)
	if err == nil && address.Closed != "" {
		err = fmt.Errorf("set up %s: %w: nobody can sign in to an archive that was handed over", address, setup.ErrNotOffered)
	}
	if err != nil {
		return setup.Parameters{}, m, err
	}
	p, err := a.parameters(ctx, m, c)
	return p, m, err
}

func (a *Archive) parameters(ctx context.Context, m policy.Mailbox, c setup.Choice) (setup.Parameters, error) {
	if c.Account == "" {
		c.Account = setup.AccountArchive
	}
	name, err := a.accountName(ctx, m.Address)
	if err != nil {
		return setup.Parameters{}, err
	}
	p, err := a.options.Guide.Parameters(m.Address, name, c)
	if err != nil {
		return p, err
	}
	p.Closed = closed(m.Settings, p)
	p.AppPassword, err = a.options.Auth.NeedsAppPassword(ctx, m.Address)
	return p, err
}

// accountName returns the name by which the archive of a mailbox signs in as an account of its own: that at its archive host, if it means this
// mailbox alone, else the address.
func (a *Archive) accountName(ctx context.Context, address policy.Address) (string, error) {
	name, ok := a.policy.ArchiveAccount(address)
	if !ok {
		return address.String(), nil
	}
	meant, err := a.policy.AccountMailboxes(ctx, name)
	if err != nil {
		return "", err
	}
	if !slices.Equal(meant, []policy.Address{address}) {
		return address.String(), nil
	}
	return name.String(), nil
}

// closed returns why the settings of a mailbox keep an account closed; nil where they do not.
func closed(s policy.Settings, p setup.Parameters) *policy.Label {
	if p.Account == setup.AccountArchive {
		var refusal *auth.Refusal
		if errors.As(auth.Open(s), &refusal) {
			return &refusal.Sentence
		}
		return nil
	}
	for _, server := range []*setup.Server{&p.Incoming, p.Outgoing} {
		if server == nil || slices.Contains(strings.Split(s.Protocols.String(), ","), string(server.Protocol)) {
			continue
		}
		name := policy.Labels(policy.VocabularyProtocols).Label(string(server.Protocol))
		return &policy.Label{
			Italian: "Il protocollo " + name.Italian + " di questa casella è disattivato. Si riattiva nelle impostazioni della casella.",
			English: name.English + " is switched off for this mailbox. The settings of the mailbox switch it on again.",
		}
	}
	return nil
}
