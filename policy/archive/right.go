package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"copialettere/policy"
)

// Right is what somebody must be allowed to do for an act or an answer.
type Right string

// The rights. All but RightOperate are about one mailbox. Those of the settings have the names of package policy. Mailbox.May lists what somebody
// has.
const (
	RightRead     Right = "read"            // read its messages
	RightMove     Right = "move"            // move its messages, where its settings allow it
	RightImport   Right = "import"          // put messages into it by hand, where its settings allow it
	RightDelete   Right = "delete"          // delete its messages and take that back, where its settings allow it
	RightGiveBack Right = "give-back"       // hand its messages to its live mailbox once more
	RightLook     Right = "look"            // see what is known of it without its messages: settings, changes, verdicts, gaps, ways to sign in to it, its delegates
	RightSet      Right = "set"             // change one of its settings at least; policy decides by key
	RightArchive  Right = policy.KeyArchive // enable, disable and restore its archive
	RightPause    Right = policy.KeyPause   // pause and resume its archive
	RightHold     Right = policy.KeyHold    // place and lift legal holds
	RightAddress  Right = policy.KeyAddress // give it another address, or its address to another person
	RightSignIn   Right = "sign-in"         // make ways to sign in to it: app passwords
	RightDelegate Right = "delegate"        // let somebody else read its messages: its owner alone, a postmaster and an operator together
	RightRevoke   Right = "revoke"          // end ways to sign in to it, what its delegates may do, and profiles by which mail is imported
	RightOperate  Right = "operate"         // act on all mailboxes, or on the machine
)

// Rights returns all rights, in the order of Mailbox.May.
func Rights() []Right {
	return []Right{RightRead, RightMove, RightDelete, RightImport, RightGiveBack, RightLook, RightSet, RightArchive, RightPause, RightHold, RightAddress, RightSignIn, RightDelegate, RightRevoke,
		RightOperate}
}

// May returns nil if the actor has a right in a mailbox; RightOperate ignores the address. Otherwise the error wraps policy.ErrForbidden. The
// operator has every right. An owner may look into, read, move and delete in the own mailbox, make and end ways to sign in to it, let others read, and
// change what policy.Rights names; a postmaster has the rights that open no message, in the mailboxes of the own domain: not RightSignIn, but
// RightRevoke, and half of RightDelegate. A delegate has RightRead, until it ends. A token has RightLook in the mailboxes of its domain, and RightRead
// while the archive is not off; one that may write has the rights of a postmaster and of an owner too, but for RightDelegate: whoever could make
// tokens would then let others read alone. Whoever makes an actor answers for its name. With any other error nothing could be found out.
func (a *Archive) May(ctx context.Context, who policy.Actor, right Right, address policy.Address) error {
	switch who.Role {
	case policy.RoleOperator:
		return nil
	case policy.RoleToken:
		return a.mayToken(ctx, who, right, address)
	}
	refused := fmt.Errorf("%s: %w for %s", right, policy.ErrForbidden, who)
	name, err := policy.ParseAddress(who.Name)
	if err != nil {
		return refused
	}
	changes := func(key string) bool { return a.policy.May(who, address, key) == nil }
	ok := false
	switch right {
	case RightRead:
		if ok = who.Role == policy.RoleOwner && name == address; who.Role == policy.RoleDelegate {
			until, err := a.options.Auth.Delegated(ctx, name, address)
			if err != nil {
				return fmt.Errorf("%s: %w", right, err)
			}
			ok = !until.IsZero()
		}
	case RightMove, RightDelete, RightImport, RightSignIn:
		ok = who.Role == policy.RoleOwner && name == address
	case RightLook, RightGiveBack, RightRevoke, RightDelegate:
		// Only operators and the postmasters of the domain may place a hold.
		ok = who.Role == policy.RoleOwner && name == address || changes(policy.KeyHold)
	case RightSet:
		ok = slices.ContainsFunc(policy.Keys(), changes)
	case RightArchive, RightPause, RightHold, RightAddress:
		if err := a.policy.May(who, address, string(right)); err == nil || errors.Is(err, policy.ErrForbidden) {
			return err // it says whom to ask
		}
	}
	if !ok {
		return refused
	}
	return nil
}

// mayToken is May for a token.
func (a *Archive) mayToken(ctx context.Context, who policy.Actor, right Right, address policy.Address) error {
	refuse := func(why string) error {
		return fmt.Errorf("%s: %w for %s: %s", right, policy.ErrForbidden, who, why)
	}
	token, err := a.options.Auth.Grant(ctx, who.Name)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", right, err)
	case right == RightOperate || right == RightDelegate:
		return refuse("no token has that right")
	case token.Domain == "" || token.Domain != address.Domain:
		return refuse("not a token for " + address.Domain)
	case !token.Write && right != RightLook && right != RightRead:
		return refuse("the token has the scope read")
	}
	switch right {
	case RightRead, RightMove, RightDelete, RightImport, RightGiveBack, RightSignIn:
		m, err := a.policy.Mailbox(ctx, address)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", right, err)
		case address.Closed != "":
			return refuse("the mailbox was handed over")
		case right != RightSignIn && m.Settings.State() == policy.StateOff:
			return refuse("the archive is off")
		}
	}
	return nil
}

// mayIn returns what an actor may do in a mailbox that has these settings: rights, and the keys of policy.Keys that the actor may set.
func (a *Archive) mayIn(ctx context.Context, who policy.Actor, address policy.Address, s policy.Settings) []string {
	list := []string{}
	for _, right := range Rights() {
		if a.May(ctx, who, right, address) == nil && permittedTo(who, s, right) == nil {
			list = append(list, string(right))
		}
	}
	for _, key := range a.policy.Allowed(who, address) {
		if !slices.Contains(list, key) {
			list = append(list, key)
		}
	}
	return list
}

// permitted returns nil if the settings of a mailbox let those who have a right make use of it. Only moving, deleting and importing depend on settings.
func permitted(s policy.Settings, right Right) error {
	switch {
	case right == RightMove && !s.Write:
		return fmt.Errorf("%w: write=on lets messages be moved", ErrReadOnly)
	case right == RightImport && !s.Append:
		return fmt.Errorf("%w: append=on lets messages be put in by hand", ErrReadOnly)
	case right == RightDelete && !s.Write && !s.ManualDelete:
		return fmt.Errorf("%w: write=on or manual_delete=on lets messages be deleted", ErrReadOnly)
	}
	return nil
}

// permittedTo is permitted for an actor: the operator may always import.
func permittedTo(who policy.Actor, s policy.Settings, right Right) error {
	if who.Role == policy.RoleOperator && right == RightImport {
		return nil
	}
	return permitted(s, right)
}
