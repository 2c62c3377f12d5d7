package archive

import (
	"context"
	"fmt"
	"slices"

	"copialettere/policy"
)

// inForce returns once Dovecot goes by all changes made until now. Every act that may change a switch, a way to sign in or the address of a mailbox
// ends with it. The error wraps dovecot.ErrFiles.
func (a *Archive) inForce(ctx context.Context) error {
	if err := a.options.Dovecot.Sync(ctx); err != nil {
		return fmt.Errorf("the change is made, but Dovecot does not know of it yet: %w", err)
	}
	return nil
}

// turnsSwitch reports whether a change of settings is about a switch that Dovecot obeys, or repeats one: so that it is in force at last.
func turnsSwitch(asked []policy.Assignment, changes []policy.Change) bool {
	return slices.ContainsFunc(asked, func(one policy.Assignment) bool { return one.Key == policy.KeyProtocols }) ||
		slices.ContainsFunc(changes, func(c policy.Change) bool { return c.Key == policy.KeyProtocols })
}

// closed says what the switches that were changed close now.
func (a *Archive) closed(ctx context.Context, address policy.Address, changes []policy.Change) (list []policy.Label, err error) {
	for _, c := range changes {
		if c.Key != policy.KeyIMAP && c.Key != policy.KeyProtocols {
			continue
		}
		s, err := a.policy.Settings(ctx, address)
		if err != nil {
			return nil, err
		}
		closed := s.Closed(c.Key)
		if c.Key == policy.KeyProtocols && a.options.Dovecot == nil {
			closed = policy.Label{
				Italian: "Senza [dovecot] nella configurazione il server di posta non ne sa nulla: vale solo per l'archivio.",
				English: "Without [dovecot] in the configuration the mail server does not know of it: it counts for the archive only.",
			}
		}
		if closed != (policy.Label{}) {
			list = append(list, closed)
		}
		if c.Key == policy.KeyIMAP {
			continue
		}
		more, err := a.noProtocol(ctx, address)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}
