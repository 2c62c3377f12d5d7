package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
)

// Switches are what a mail server must know of the settings of a mailbox.
type Switches struct {
	Address   Address // as Mailbox.Address
	Archive   string
	Protocols Protocols
}

// AllSwitches yields those of all mailboxes that were ever set up, as Mailboxes does, at a fraction of its cost: they are read again at each change.
func (p *Policy) AllSwitches(ctx context.Context) iter.Seq2[Switches, error] {
	return func(yield func(Switches, error) bool) {
		for pair, err := range p.store.Scan(ctx, settingsKey(""), []byte("n")) {
			if err != nil {
				yield(Switches{}, fmt.Errorf("list switches: %w", err))
				return
			}
			s, err := decodeSwitches(string(pair.Key[1:]), pair.Value)
			if err != nil {
				err = fmt.Errorf("switches of %s: %w", pair.Key[1:], err)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// decodeSwitches reads of the settings of an archive what Switches needs.
func decodeSwitches(archive string, stored []byte) (Switches, error) {
	var object struct {
		Version   int     `json:"version"`
		Address   string  `json:"address"`
		Protocols *string `json:"protocols"`
	}
	if err := json.Unmarshal(stored, &object); err != nil {
		return Switches{}, fmt.Errorf("decode: %w", err)
	}
	if object.Version < 1 || object.Version > settingsVersion {
		return Switches{}, fmt.Errorf("version %d: %w", object.Version, ErrVersion)
	}
	s := Switches{Archive: archive, Protocols: programDefaults().Protocols}
	if object.Protocols != nil {
		if err := parseSet(*object.Protocols, &s.Protocols, protocolNames, "none"); err != nil {
			return Switches{}, fmt.Errorf("decode %q: %w", KeyProtocols, err)
		}
	}
	var err error
	if object.Address != "" {
		s.Address, err = ParseMailbox(object.Address)
	} else {
		s.Address, err = ParseAddress(archive)
	}
	return s, err
}
