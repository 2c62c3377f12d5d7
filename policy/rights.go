package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Role is the capacity in which somebody acts.
type Role string

// The roles.
const (
	RoleOwner      Role = "owner"      // the person of the mailbox; the name is its address
	RolePostmaster Role = "postmaster" // of a domain; the name is one of Domain.Postmasters
	RoleOperator   Role = "operator"   // of the machine; any name that tells operators apart
	RoleProgram    Role = "program"    // this program itself, carrying out an earlier act of a person
)

// Actor is who changes settings. Whoever makes an Actor answers for its name: policy checks what an actor may do, not who it is.
type Actor struct {
	Role Role
	Name string
}

// String returns the role and the name.
func (a Actor) String() string { return string(a.Role) + " " + a.Name }

func (a Actor) valid() bool {
	switch a.Role {
	case RoleOwner, RolePostmaster, RoleOperator, RoleProgram:
		return a.Name != ""
	}
	return false
}

// Rights says who may change which settings. The operator may change all settings of every mailbox, a postmaster all settings of the
// mailboxes in the own domain, and an owner the following settings of the own mailbox.
type Rights struct {
	// Owner holds keys that Set takes, "archive" if an owner may enable, disable and restore, and "pause" if an owner may pause and resume. Nil means "notify", "notify_on",
	// "language" and "protocols"; an empty list means none. An owner may never place or release a hold.
	Owner []string
}

// validate returns all errors of the table.
func (r Rights) validate() []error {
	var errs []error
	for _, key := range r.Owner {
		if key != KeyArchive && key != KeyPause && !settable(key) {
			errs = append(errs, fmt.Errorf("rights of the owner: unknown key %q: the keys are %s, %s, %s", key, KeyArchive, KeyPause,
				strings.Join(Keys(), ", ")))
		}
	}
	return errs
}

// ownerKeys returns the keys that an owner may change.
func (r Rights) ownerKeys() []string {
	if r.Owner == nil {
		return []string{KeyNotify, KeyNotifyOn, KeyLanguage, KeyProtocols}
	}
	return slices.Clone(r.Owner)
}

// May returns nil if the actor may change that setting of that mailbox. Otherwise the error names the key and the role and wraps
// ErrForbidden, or says that the actor has no name.
func (p *Policy) May(who Actor, a Address, key string) error {
	if !who.valid() {
		return errNoAuthor
	}
	refuse := func(why string) error {
		return fmt.Errorf("%s: %w for %s %s: %s", key, ErrForbidden, who.Role, who.Name, why)
	}
	name, err := ParseAddress(who.Name)
	switch {
	case who.Role == RoleOperator:
		return nil
	case who.Role == RoleProgram:
		return refuse("the program changes no setting by itself")
	case err != nil:
		return refuse("the name is not an address")
	case who.Role == RolePostmaster:
		if !slices.Contains(p.rules().postmasters[a.Domain], name) {
			return refuse("not a postmaster of " + a.Domain)
		}
		return nil
	case name != a:
		return refuse("not the owner of " + a.String())
	case !slices.Contains(p.rules().ownerKeys, key):
		return refuse("ask a postmaster of " + a.Domain)
	}
	return nil
}
