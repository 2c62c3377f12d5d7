package archive

import (
	"fmt"
	"time"

	"copialettere/policy"
	"copialettere/policy/setup"
)

// logins returns what is held of logins to the archive of the address.
func (r *privacy) logins() ([]Holding, error) {
	if r.a.options.Auth == nil {
		return nil, nil
	}
	logins := newTally(PrivacyLogins, "logins to its archive, and failures, with the address of the client", "to show its owner who opened it, and to find abuse",
		basisRecords, fmt.Sprintf("%d months after each ([logs] keep), and no longer than for the newest that are kept", r.a.options.KeepLogs))
	for one, err := range r.a.Accesses(r.ctx, r.address) {
		if err != nil {
			return nil, err
		}
		logins.add(one.Time, 0)
	}
	sessions := newTally(PrivacySessions, "browsers that are signed in by the address: when, from which address, and what each says that it is",
		"to let the person go on, and end one", basisRecords, "until it is ended, 30 minutes without use or 12 hours in all; removed within the hour")
	open, err := r.a.options.Auth.Sessions(r.ctx, r.address)
	for _, one := range open {
		sessions.add(one.Opened, 0)
	}
	if err != nil {
		return nil, err
	}
	programs := newTally(PrivacyPrograms, "names of app passwords, with the day of their last use", "to sign in, and to take a lost program away", basisRecords,
		"until each is revoked")
	list, err := r.a.options.Auth.AppPasswords(r.ctx, r.address)
	for _, one := range list {
		programs.add(one.Created, 0)
	}
	if err != nil {
		return nil, err
	}
	factor := newTally(PrivacyFactor, "the secret of its second factor, and how many recovery codes are left", "to sign in", basisRecords, "until it is turned off")
	if s, err := r.a.SecondFactor(r.ctx, r.address); err != nil {
		return nil, err
	} else if s.On {
		factor.add(*s.Since, 0)
	}
	delegates := newTally(PrivacyDelegates, "who may read it beside its owner, or is asked for", "to let them read, and nobody else", basisRecords,
		"until the day that was set, or the revocation")
	people, err := r.a.options.Auth.Delegates(r.ctx, r.address)
	if err != nil {
		return nil, err
	}
	for _, one := range people {
		delegates.add(one.Since, 0)
	}
	reads := newTally(PrivacyReads, "archives of others that the person may read as a delegate", "to let the person read them", basisRecords,
		"until the day that was set, or the revocation")
	standings, err := r.a.options.Auth.Standings(r.ctx, r.address)
	if err != nil {
		return nil, err
	}
	for _, one := range standings {
		if one.Role == policy.RoleDelegate {
			reads.add(time.Time{}, 0)
			reads.in([]policy.Address{one.Mailbox})
		}
	}
	return []Holding{logins.Holding, sessions.Holding, programs.Holding, factor.Holding, delegates.Holding, reads.Holding}, nil
}

// links returns what is held of set-up links.
func (r *privacy) links() ([]Holding, error) {
	if r.a.options.Links == nil {
		return nil, nil
	}
	m, err := r.a.policy.Mailbox(r.ctx, r.address)
	if err != nil {
		return nil, err
	}
	waiting, err := r.a.options.Links.Waiting(r.ctx, m.Archive)
	if err != nil {
		return nil, err
	}
	links := newTally(PrivacyLinks, "links by which a telephone sets itself up for it, without the token", "to set up one telephone", basisRecords,
		"used, or 15 minutes old; removed within the hour")
	for _, until := range waiting {
		links.add(until.Add(-setup.LinkLife), 0)
	}
	return []Holding{links.Holding}, nil
}
