package archive

import (
	"fmt"

	"copialettere/policy"
)

// Right is what somebody must be allowed to do for an act or an answer.
type Right string

// The rights. All but RightOperate are about one mailbox.
const (
	RightRead    Right = "read"    // its messages
	RightHandle  Right = "handle"  // move and delete its messages, where its settings let them be
	RightLook    Right = "look"    // what is known of it without reading a message: settings, changes, verdicts, gaps
	RightSet     Right = "set"     // change its settings; policy decides by key
	RightHold    Right = "hold"    // place and lift legal holds
	RightOperate Right = "operate" // what is of all mailboxes, or of the machine
)

// May returns nil where the actor has a right in a mailbox, whose address does not count for RightOperate; an error otherwise that wraps
// policy.ErrForbidden. The operator has every right, an owner those of the own mailbox but RightHold, and a postmaster those of the mailboxes of
// the own domain that need no message to be read. Whoever makes an actor answers for its name.
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
	case RightLook, RightSet, RightHold:
		// Whoever may place a hold is a postmaster of the domain.
		if a.policy.May(who, address, policy.KeyHold) == nil {
			return nil
		}
	}
	return refused
}
