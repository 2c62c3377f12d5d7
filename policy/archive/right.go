package archive

import (
	"fmt"

	"copialettere/policy"
)

// Right is what somebody must be allowed to do for an act or an answer.
type Right string

// The rights. All but RightOperate are about one mailbox.
const (
	RightRead   Right = "read"   // read its messages
	RightHandle Right = "handle" // move and delete its messages, where its settings allow it
	RightLook   Right = "look"   // see what is known of it without its messages: settings, changes, verdicts, gaps
	RightSet    Right = "set"    // change its settings; policy decides by key
	RightHold   Right = "hold"   // place and lift legal holds
	// RightReaddress is to give it another address, or its address to another person.
	RightReaddress Right = "readdress"
	RightOperate   Right = "operate" // act on all mailboxes, or on the machine
)

// May returns nil if the actor has a right in a mailbox; RightOperate ignores the address. Otherwise the error wraps policy.ErrForbidden. The
// operator has every right. An owner has those in the own mailbox except RightHold and RightReaddress. A postmaster has those that open no message, in the
// mailboxes of the own domain. Whoever makes an actor answers for its name.
func (a *Archive) May(who policy.Actor, right Right, address policy.Address) error {
	if who.Role == policy.RoleOperator {
		return nil
	}
	refused := fmt.Errorf("%s: %w for %s", right, policy.ErrForbidden, who)
	name, err := policy.ParseAddress(who.Name)
	if err != nil {
		return refused
	}
	switch right {
	case RightRead, RightHandle, RightLook, RightSet:
		if who.Role == policy.RoleOwner && name == address {
			return nil
		}
	}
	switch right {
	case RightLook, RightSet, RightHold, RightReaddress:
		// Only operators and the postmasters of the domain may place a hold.
		if a.policy.May(who, address, policy.KeyHold) == nil {
			return nil
		}
	}
	return refused
}
