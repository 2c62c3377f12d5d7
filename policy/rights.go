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
	RoleDelegate   Role = "delegate"   // may read a mailbox of somebody else until a day; the name is the address of the own one
	RoleToken      Role = "token"      // a program of the provider, in the mailboxes of one domain; the name is that of its token
	RoleProgram    Role = "program"    // this program itself, carrying out an earlier act of a person
)

// Token is what the program that has a token may do.
type Token struct {
	Domain string // in whose mailboxes it acts: a canonical name; empty where there is no such token
	Write  bool   // it may change them, and not only look and read
}

// KnowTokens has May ask f what the token of a name may do now. Without it there are no tokens. An error means that nothing could be found out.
func (p *Policy) KnowTokens(f func(name string) (Token, error)) { p.tokens.Store(&f) }

// Actor is who changes settings. Whoever makes an Actor answers for its name: policy checks what an actor may do, not who it is.
type Actor struct {
	Role Role
	Name string
}

// String returns the role and the name.
func (a Actor) String() string { return string(a.Role) + " " + a.Name }

func (a Actor) valid() bool {
	switch a.Role {
	case RoleOwner, RolePostmaster, RoleOperator, RoleDelegate, RoleToken, RoleProgram:
		return a.Name != ""
	}
	return false
}

// Rights says what the owner of a mailbox may change. The operator may change all settings of every mailbox, and a postmaster all settings of the
// mailboxes in the own domain, as may whoever has a token for that with which one may change something.
type Rights struct {
	// Owner holds names of OwnerKeys. An empty list means none. Nil means the rights of the Config where it belongs to a Domain, and those of
	// DefaultRights where it belongs to the Config.
	Owner []string
}

// OwnerKeys returns the names that Rights.Owner may have: the keys that Set takes, KeyArchive for Enable, Disable and Restore, and KeyPause for Pause
// and Resume. KeyHold and KeyAddress are none of them: an owner may never place or lift a hold,
// nor change the address.
func OwnerKeys() []string { return append([]string{KeyArchive, KeyPause}, Keys()...) }

// DefaultRights returns the rights of an owner where the operator names no others. They leave out all that decides on the content of the archive: an
// employer or a law may want it kept.
func DefaultRights() Rights {
	return Rights{Owner: []string{KeyNotify, KeyNotifyOn, KeyLanguage, KeyLayout, KeyProtocols}}
}

// validate returns all errors of the table.
func (r Rights) validate() []error {
	var errs []error
	for _, key := range r.Owner {
		if !slices.Contains(OwnerKeys(), key) {
			errs = append(errs, fmt.Errorf("rights of the owner: unknown key %q: the keys are %s", key, strings.Join(OwnerKeys(), ", ")))
		}
	}
	return errs
}

// Allowed returns what an actor may change in a mailbox: the keys of which May returns nil, in the order of OwnerKeys, then KeyHold. Of an operator
// without a name it returns what one with a name may: who only looks need not give it.
func (p *Policy) Allowed(who Actor, a Address) []string {
	if who.Role == RoleOperator && who.Name == "" {
		who.Name = "operator"
	}
	var keys []string
	for _, key := range append(OwnerKeys(), KeyHold) {
		if p.May(who, a, key) == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// ownerKeys returns what the owner of a mailbox of a canonical domain may change.
func (r *rules) ownerKeys(domain string) []string {
	if keys, ok := r.domainOwnerKeys[domain]; ok {
		return keys
	}
	return r.allOwnerKeys
}

// May returns nil if the actor may change that setting of that mailbox. Otherwise the error names the key and the role and wraps
// ErrForbidden, says that the actor has no name, or, of a token, that nothing could be found out.
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
	case who.Role == RoleDelegate:
		return refuse("a delegate only reads")
	case who.Role == RoleToken:
		token, err := p.token(who.Name)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", key, err)
		case token.Domain == "" || token.Domain != a.Domain:
			return refuse("not a token for " + a.Domain)
		case !token.Write:
			return refuse("the token has the scope read")
		}
		return nil
	case err != nil:
		return refuse("the name is not an address")
	case who.Role == RolePostmaster:
		if !slices.Contains(p.rules().postmasters[a.Domain], name) {
			return refuse("not a postmaster of " + a.Domain)
		}
		return nil
	case name != a:
		return refuse("not the owner of " + a.String())
	case !slices.Contains(p.rules().ownerKeys(a.Domain), key):
		return refuse("ask a postmaster of " + a.Domain)
	}
	return nil
}

// token returns what the token of a name may do now.
func (p *Policy) token(name string) (Token, error) {
	f := p.tokens.Load()
	if f == nil {
		return Token{}, nil
	}
	return (*f)(name)
}

// RequiresSecondFactor reports whether the configuration wants whoever signs in by an address to have a second factor.
func (p *Policy) RequiresSecondFactor(login Address) bool {
	return p.rules().secondFactor[login.Domain]
}

// AnyRequiresSecondFactor reports whether the configuration wants that of any domain.
func (p *Policy) AnyRequiresSecondFactor() bool { return len(p.rules().secondFactor) > 0 }

// IsOperator reports whether the configuration names a login as an operator.
func (p *Policy) IsOperator(login Address) bool { return slices.Contains(p.rules().operators, login) }

// PostmasterOf returns the domains of which the configuration names a login as a postmaster, in the order of their names.
func (p *Policy) PostmasterOf(login Address) []string {
	var domains []string
	for domain, postmasters := range p.rules().postmasters {
		if slices.Contains(postmasters, login) {
			domains = append(domains, domain)
		}
	}
	slices.Sort(domains)
	return domains
}

// NoticesFrom returns the sender address of the notices to the owners of a domain; empty for that of all.
func (p *Policy) NoticesFrom(domain string) string { return p.rules().noticesFrom[domain] }
