package archive

import (
	"context"
	"fmt"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/notice"
)

// SecondFactor is the second factor of whoever signs in by the address of a mailbox. Others script against its names.
type SecondFactor struct {
	Mailbox string `json:"mailbox"`
	auth.SecondFactor
	// New, in the answer to the act that made it, is a secret that a code must confirm. Nothing else ever has it.
	New *auth.Secret `json:"new,omitempty"`
	// Codes, in the answer to the act that turned it on, are the recovery codes. Nothing else ever has them.
	Codes []string `json:"codes,omitempty"`
	// Notes, in the answer to an act, say what its owner must know now.
	Notes []policy.Label `json:"notes,omitempty"`
}

// SecondFactor returns the second factor of a login.
func (a *Archive) SecondFactor(ctx context.Context, address policy.Address) (SecondFactor, error) {
	s, err := a.options.Auth.SecondFactor(ctx, address)
	return SecondFactor{Mailbox: address.String(), SecondFactor: s}, err
}

// BeginSecondFactor makes a new secret, which is in force once ConfirmSecondFactor has had a code of it. It needs RightSignIn. Where one is on
// already, an owner must give a code of that one; the error then wraps auth.ErrCode.
func (a *Archive) BeginSecondFactor(ctx context.Context, who policy.Actor, address policy.Address, code string) (SecondFactor, error) {
	if err := a.May(ctx, who, RightSignIn, address); err != nil {
		return SecondFactor{}, err
	}
	secret, err := a.options.Auth.BeginSecondFactor(ctx, who, address, code)
	if err != nil {
		return SecondFactor{}, err
	}
	v, err := a.SecondFactor(ctx, address)
	v.New = &secret
	return v, err
}

// ConfirmSecondFactor puts a new secret in force by a code of it. It needs RightSignIn. From then on mail programs need app passwords.
func (a *Archive) ConfirmSecondFactor(ctx context.Context, who policy.Actor, address policy.Address, code string) (SecondFactor, error) {
	if err := a.May(ctx, who, RightSignIn, address); err != nil {
		return SecondFactor{}, err
	}
	codes, err := a.options.Auth.ConfirmSecondFactor(ctx, who, address, code)
	if err != nil {
		return SecondFactor{}, err
	}
	if err := a.inForce(ctx); err != nil {
		return SecondFactor{}, fmt.Errorf("second factor of %s: turn it on again to see its recovery codes: %w", address, err)
	}
	v, err := a.SecondFactor(ctx, address)
	if v.Codes = codes; err != nil {
		return v, err
	}
	v.Notes = []policy.Label{appPasswordsFromNow()}
	more, err := a.noProtocol(ctx, address)
	v.Notes = append(v.Notes, more...)
	return v, err
}

// EndSecondFactor turns the second factor of a login off, and tells its owner. It needs RightRevoke: whoever has lost the phone asks a postmaster.
// An owner must give a code, or a recovery code; the error then wraps auth.ErrCode. It wraps auth.ErrNoSecondFactor where it is off.
func (a *Archive) EndSecondFactor(ctx context.Context, who policy.Actor, address policy.Address, code string) (SecondFactor, error) {
	if err := a.May(ctx, who, RightRevoke, address); err != nil {
		return SecondFactor{}, err
	}
	if err := a.options.Auth.EndSecondFactor(ctx, who, address, code); err != nil {
		return SecondFactor{}, err
	}
	m, err := a.policy.Mailbox(ctx, address)
	if err == nil {
		err = a.options.Notices.Queue(ctx, notice.OfSecurity(m.Archive, notice.SecuritySecondFactorOff, who.Name, time.Now()))
	}
	if err != nil {
		return SecondFactor{}, fmt.Errorf("the second factor of %s is off, but its owner is not told: tell him: %w", address, err)
	}
	if err := a.inForce(ctx); err != nil {
		return SecondFactor{}, err
	}
	return a.SecondFactor(ctx, address)
}

func appPasswordsFromNow() policy.Label {
	return policy.Label{
		Italian: "Da ora i programmi di posta devono usare una password per programmi, una per ciascuno: copialettere app-password add",
		English: "From now on mail programs must use app passwords, one each: copialettere app-password add",
	}
}

// noProtocol says that no mail program works, where they need app passwords and all protocols are off.
func (a *Archive) noProtocol(ctx context.Context, address policy.Address) ([]policy.Label, error) {
	s, err := a.policy.Settings(ctx, address)
	if err != nil || s.Protocols != 0 {
		return nil, err
	}
	if needs, err := a.options.Auth.NeedsAppPassword(ctx, address); err != nil || !needs {
		return nil, err
	}
	return []policy.Label{{
		Italian: "Tutti i protocolli sono disattivati: nessun programma di posta funziona, nemmeno con una password per programmi. " +
			"Perché uno funzioni, almeno un protocollo deve essere attivo.",
		English: "All protocols are off: no mail program works, not even with an app password. For one to work, at least one protocol must be on.",
	}}, nil
}
