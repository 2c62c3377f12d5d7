package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/notice"
)

// AppPassword is an app password of a mailbox. Others script against its names.
type AppPassword struct {
	Mailbox string `json:"mailbox"`
	auth.AppPassword
	// Password, in the answer to the act that made it, is the password itself. Nothing else ever has it.
	Password string `json:"password,omitempty"`
	Revoked  bool   `json:"revoked,omitempty"` // in the answer to the act that ended it
	// Closed, in the answer to the act that made it, says why it opens no archive as long as the settings of the mailbox stay as they are; nil if it does.
	Closed *policy.Label `json:"closed,omitempty"`
}

// AppPasswords returns the app passwords of a mailbox, oldest first.
func (a *Archive) AppPasswords(ctx context.Context, address policy.Address) ([]AppPassword, error) {
	list, err := a.options.Auth.AppPasswords(ctx, address)
	views := make([]AppPassword, len(list))
	for i, one := range list {
		views[i] = AppPassword{Mailbox: address.String(), AppPassword: one}
	}
	return views, err
}

// AddAppPassword makes a password by which one program can sign in to a mailbox. Its owner is told. It needs RightSignIn; the error wraps
// auth.ErrName if the name does not do.
func (a *Archive) AddAppPassword(ctx context.Context, who policy.Actor, address policy.Address, name string) (AppPassword, error) {
	if err := a.May(ctx, who, RightSignIn, address); err != nil {
		return AppPassword{}, err
	}
	password, err := a.options.Auth.AddAppPassword(ctx, who, address, name)
	if err != nil {
		return AppPassword{}, err
	}
	m, err := a.policy.Mailbox(ctx, address)
	if err == nil {
		err = a.options.Notices.Queue(ctx, notice.OfSecurity(m.Archive, notice.SecurityAppPassword, name, time.Now()))
	}
	if err == nil {
		if err := a.inForce(ctx); err != nil {
			return AppPassword{}, fmt.Errorf("app password %q of %s: revoke it and make another: %w", name, address, err)
		}
	}
	if err != nil {
		return AppPassword{}, fmt.Errorf("app password %q of %s is made, but its owner is not told: revoke it and make another: %w", name, address, err)
	}
	view := AppPassword{Mailbox: address.String(), Password: password}
	view.Name, view.Created, view.Who = name, time.Now().UTC().Round(0), who.String()
	if refusal := new(auth.Refusal); errors.As(auth.Open(m.Settings), &refusal) {
		view.Closed = &refusal.Sentence
	}
	return view, nil
}

// RevokeAppPassword ends an app password at once. It needs RightRevoke; the error wraps auth.ErrNoAppPassword if there is none of that name.
func (a *Archive) RevokeAppPassword(ctx context.Context, who policy.Actor, address policy.Address, name string) (AppPassword, error) {
	if err := a.May(ctx, who, RightRevoke, address); err != nil {
		return AppPassword{}, err
	}
	if err := a.options.Auth.RevokeAppPassword(ctx, who, address, name); err != nil {
		return AppPassword{}, err
	}
	if err := a.inForce(ctx); err != nil {
		return AppPassword{}, err
	}
	return AppPassword{Mailbox: address.String(), AppPassword: auth.AppPassword{Name: name}, Revoked: true}, nil
}
