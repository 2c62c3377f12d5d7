package archive

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

// Token is the key of a program of the provider to the mailboxes of one domain. Others script against its names.
type Token struct {
	auth.Token
	// Secret, in the answer to the act that made it, is what the program sends as "Authorization: Bearer SECRET". Nothing else ever has it.
	Secret  string `json:"token,omitempty"`
	Revoked bool   `json:"revoked,omitempty"` // in the answer to the act that ended it
}

// Tokens returns the tokens of a domain, by name, or with "" those of all domains. Whoever has RightLook in a mailbox may see those of its domain.
func (a *Archive) Tokens(ctx context.Context, domain string) ([]Token, error) {
	list, err := a.options.Auth.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	if domain != "" {
		if domain, err = policy.CanonicalDomain(domain); err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(t auth.Token) bool { return t.Domain != domain })
	}
	views := make([]Token, len(list))
	for i, one := range list {
		views[i] = Token{Token: one}
	}
	return views, nil
}

// AddToken makes a token with a name, a domain, a scope and perhaps an end. It needs RightOperate. The error wraps auth.ErrToken if there cannot be such
// a token.
func (a *Archive) AddToken(ctx context.Context, who policy.Actor, t auth.Token) (Token, error) {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return Token{}, err
	}
	made, secret, err := a.options.Auth.AddToken(ctx, who, t)
	if err != nil {
		return Token{}, err
	}
	return Token{Token: made, Secret: secret}, nil
}

// RevokeToken ends a token at once. It needs RightOperate. The error wraps auth.ErrNoToken if there is none of that name.
func (a *Archive) RevokeToken(ctx context.Context, who policy.Actor, name string) (Token, error) {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return Token{}, err
	}
	if err := a.options.Auth.RevokeToken(ctx, who, name); err != nil {
		return Token{}, err
	}
	return Token{Token: auth.Token{Name: name}, Revoked: true}, nil
}

// ByToken returns as whom a program acts that sends the secret of a token. The error is one of auth.Authenticator.Token.
func (a *Archive) ByToken(ctx context.Context, secret string) (policy.Actor, error) {
	return a.options.Auth.Token(ctx, secret)
}

// Reads is to be called before somebody reads messages of a mailbox, with the right to do so, who does not sign in to it. It puts on record that a
// token does, or a delegate on the pages, so that the owner sees it. Remote is the address of the client; the zero Addr if it is unknown.
func (a *Archive) Reads(ctx context.Context, who policy.Actor, address policy.Address, remote netip.Addr) error {
	if who.Role != policy.RoleToken && who.Role != policy.RoleDelegate {
		return nil
	}
	return a.options.Auth.Reads(ctx, who, address, remote)
}

// SignInLink is a link that signs an owner in to the pages. Others script against its names.
type SignInLink struct {
	Mailbox string    `json:"mailbox"`
	URL     string    `json:"url"` // works once, until Until. Where a second factor is on, the page asks for a code
	Until   time.Time `json:"until"`
}

// MakeSignInLink makes a link that signs the owner of a mailbox in once, within a minute, and opens nothing but that mailbox. It needs RightSignIn. That
// it is used goes on record with who made it. The error wraps setup.ErrNotOffered where no public URL is configured.
func (a *Archive) MakeSignInLink(ctx context.Context, who policy.Actor, address policy.Address) (SignInLink, error) {
	if err := a.May(ctx, who, RightSignIn, address); err != nil {
		return SignInLink{}, err
	}
	public := a.options.Guide.PublicURL()
	if public == "" {
		return SignInLink{}, fmt.Errorf("sign-in link: %w: set [web] public_url", setup.ErrNotOffered)
	}
	secret, until, err := a.options.Auth.MakeSignIn(ctx, who, address)
	if err != nil {
		return SignInLink{}, err
	}
	return SignInLink{address.String(), public + auth.SignInPath + secret, until}, nil
}

// TokenDomain returns the domain in whose mailboxes a token acts. The error wraps policy.ErrForbidden if there is none of that name any more.
func (a *Archive) TokenDomain(ctx context.Context, who policy.Actor) (string, error) {
	token, err := a.options.Auth.Grant(ctx, who.Name)
	if err == nil && token.Domain == "" {
		err = fmt.Errorf("%w for %s", policy.ErrForbidden, who)
	}
	return token.Domain, err
}
