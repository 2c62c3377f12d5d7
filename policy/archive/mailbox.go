package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/postfix"
)

// Mailbox is a mailbox as faces show it. Others script against its names.
type Mailbox struct {
	Mailbox  string     `json:"mailbox"`
	Archive  string     `json:"archive"`           // "on", "off", "paused", or "closed" after the mailbox was handed over
	Since    *time.Time `json:"since,omitempty"`   // when the archive was turned on; it stays until the archive is erased
	Paused   *time.Time `json:"paused,omitempty"`  // when it was paused, if it is
	Erasure  string     `json:"erasure,omitempty"` // of a disabled archive: "due" (it can still be restored), "running" or "done"
	EraseAt  *time.Time `json:"erase_at,omitempty"`
	Hold     *Held      `json:"hold,omitempty"` // the legal hold, where one stands
	Entries  uint64     `json:"entries"`
	Imported uint64     `json:"imported,omitempty"` // of the entries: brought in later, and not journaled
	Bytes    uint64     `json:"bytes"`
	// Name is the name of the archive in the journal, in the log lines of the daemon and in the report of verify, where it is not the address.
	Name string `json:"name,omitempty"`
	// Former, for a single mailbox, are the earlier addresses of its archive, oldest first.
	Former []string `json:"former,omitempty"`
	// Moved, for a single mailbox that is none any more, is the address by which its archive goes now.
	Moved string `json:"moved,omitempty"`
	// Closed, in the answer to a hand-over, is the name under which the archive of the former person goes on.
	Closed string `json:"closed,omitempty"`
	// Route, for an archive that is not off, tells by direction whether the mail passes through the hook, as the last standing check found it. It is
	// absent if the configuration has no [postfix].
	Route []postfix.Route `json:"route,omitempty"`
	// PassedOver are the months that could not be read and are not in the counts.
	PassedOver []kv.Month `json:"passed_over,omitempty"`
	// Changed, in the answer to a change of the mailbox, says whether the change made a difference.
	Changed *bool `json:"changed,omitempty"`
	// May, for a single mailbox, is what whoever asks may do there now: the names of the rights (Right), and the keys of the settings to be changed.
	// What it lacks is refused, so faces do not show it.
	May []string `json:"may,omitempty"`
	// Settings are all settings, in the order of policy.Settings.Values.
	Settings []Setting `json:"settings"`
	// SecondFactor and Delegates, for a single mailbox, are there where the second factor is on or required, and where somebody else may read it.
	SecondFactor *auth.SecondFactor `json:"second_factor,omitempty"`
	Delegates    []auth.Delegate    `json:"delegates,omitempty"`
	// HeldMessages, for a single mailbox, are the messages under a legal hold of their own. As long as there are any, the archive is not erased.
	HeldMessages []HeldMessage `json:"held_messages,omitempty"`
	// Changes, for a single mailbox, are all changes of its settings, oldest first; after Set, only those that it made.
	Changes []policy.Change `json:"changes,omitempty"`
	// Notes, in the answer to an act after which mail is archived, say what its owner must know then.
	Notes []policy.Label `json:"notes,omitempty"`
}

// Setting is one setting, as policy.Settings.Values gives it. The rest is there for a single mailbox.
type Setting struct {
	Key        string        `json:"key"`
	Value      string        `json:"value"`
	Section    string        `json:"section,omitempty"`     // a name of policy.VocabularySections
	Label      *policy.Label `json:"label,omitempty"`       // what the setting is called
	ValueLabel *policy.Label `json:"value_label,omitempty"` // what its value means
	Closes     *policy.Label `json:"closes,omitempty"`      // of a switch: what it closes when it is off
}

// Held is a legal hold.
type Held struct {
	Reason string    `json:"reason"`
	Who    string    `json:"who"`
	Since  time.Time `json:"since"`
}

// HeldMessage is a message under a legal hold.
type HeldMessage struct {
	Folder string `json:"folder"`
	UID    uint32 `json:"uid"`
	Held
}

func (a *Archive) view(ctx context.Context, m policy.Mailbox) (Mailbox, error) {
	s := m.Settings
	v := Mailbox{Mailbox: m.Address.String(), Archive: string(m.State()), Erasure: string(s.Erasure.State)}
	if m.Archive != v.Mailbox {
		v.Name = m.Archive
	}
	if !s.Since.IsZero() {
		v.Since = &s.Since
	}
	if s.State() == policy.StatePaused {
		v.Paused = &s.Paused
	}
	if s.Erasure.State == policy.ErasureDue {
		v.EraseAt = &s.Erasure.At
	}
	if s.Held() {
		v.Hold = &Held{s.Hold.Reason, s.Hold.Who, s.Hold.Since}
	}
	if s.State() != policy.StateOff {
		v.Route = a.options.Postfix.Routes(m.Address)
	}
	for key, value := range s.Values() {
		v.Settings = append(v.Settings, Setting{Key: key, Value: value})
	}
	stats, err := a.journal.Stats(ctx, m.Archive)
	var passed journal.PassedOver
	if errors.As(err, &passed) {
		v.PassedOver, err = passed.Months(), nil
	}
	for _, f := range stats {
		v.Entries += f.Entries
		v.Imported += f.Imported
		v.Bytes += f.Bytes
	}
	return v, err
}

// viewNow returns the view of a mailbox with its settings as they are in the store now, and with what an actor may do there.
func (a *Archive) viewNow(ctx context.Context, who policy.Actor, address policy.Address) (Mailbox, error) {
	m, err := a.policy.Mailbox(ctx, address)
	if err != nil {
		return Mailbox{}, err
	}
	return a.named(ctx, who, m)
}

// named returns the view of a mailbox with the words for people, and with what an actor may do there.
func (a *Archive) named(ctx context.Context, who policy.Actor, m policy.Mailbox) (Mailbox, error) {
	v, err := a.view(ctx, m)
	for i := range v.Settings {
		v.Settings[i].name()
	}
	v.May = a.mayIn(ctx, who, m.Address, m.Settings)
	return v, err
}

// name adds the words for people.
func (s *Setting) name() {
	label, value := policy.Labels(policy.VocabularySettings).Label(s.Key), policy.ValueLabel(s.Key, s.Value)
	s.Section, s.Label, s.ValueLabel = policy.Section(s.Key), &label, &value
	if closes := policy.Closes(s.Key); closes != (policy.Label{}) {
		s.Closes = &closes
	}
}

// Missing returns an error that names the months missing from the counts; nil if none are.
func (v *Mailbox) Missing() error {
	if len(v.PassedOver) == 0 {
		return nil
	}
	return fmt.Errorf("months that cannot be read are not counted: %v; \"copialettere verify\" tells why: %w", v.PassedOver, journal.ErrDamaged)
}

// Mailboxes yields all mailboxes that were ever set up; with a domain only those of the domain. Missing months are not an error: see
// Mailbox.PassedOver.
func (a *Archive) Mailboxes(ctx context.Context, domain string) iter.Seq2[Mailbox, error] {
	return func(yield func(Mailbox, error) bool) {
		if domain != "" {
			var err error
			if domain, err = policy.CanonicalDomain(domain); err != nil {
				yield(Mailbox{}, err)
				return
			}
		}
		for m, err := range a.policy.Mailboxes(ctx) {
			if err == nil && domain != "" && m.Address.Domain != domain {
				continue
			}
			var v Mailbox
			if err == nil {
				v, err = a.view(ctx, m)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Mailbox returns a mailbox with all its changes and its held messages, for an actor who may look at it.
func (a *Archive) Mailbox(ctx context.Context, who policy.Actor, address policy.Address) (Mailbox, error) {
	m, err := a.policy.Mailbox(ctx, address)
	if err != nil {
		return Mailbox{}, err
	}
	v, err := a.named(ctx, who, m)
	if err != nil {
		return v, err
	}
	if _, to, gone, err := a.policy.Gone(ctx, address); err != nil {
		return v, err
	} else if gone {
		v.Moved = to.String()
	}
	if err := a.signIns(ctx, address, &v); err != nil {
		return v, err
	}
	for h, err := range a.journal.Holdings(ctx, m.Archive) {
		if errors.Is(err, journal.ErrDamaged) {
			continue // the view tells which months are missing
		}
		if err != nil {
			return v, err
		}
		v.HeldMessages = append(v.HeldMessages, HeldMessage{h.FolderName(), h.UID, Held{h.Reason, h.Who, h.Time}})
	}
	for c, err := range a.policy.Changes(ctx, address) {
		if err != nil {
			return v, err
		}
		v.Changes = append(v.Changes, c)
		if c.Key == policy.KeyAddress {
			v.Former = append(v.Former, c.Before)
		}
	}
	return v, nil
}

// signIns adds who may read a mailbox, and how, where that is out of the ordinary.
func (a *Archive) signIns(ctx context.Context, address policy.Address, v *Mailbox) error {
	if s, err := a.options.Auth.SecondFactor(ctx, address); err != nil {
		return err
	} else if s.On || s.Required {
		v.SecondFactor = &s
	}
	list, err := a.options.Auth.Delegates(ctx, address)
	v.Delegates = list
	return err
}

// Enable turns the archive of a mailbox on. Like every method that changes a mailbox, it returns the mailbox as it is after the change, and like
// Resume with what its owner must know now.
func (a *Archive) Enable(ctx context.Context, who policy.Actor, address policy.Address) (Mailbox, error) {
	return a.noted(ctx, who, address, func() (bool, error) { return a.policy.Enable(ctx, address, who) })
}

// Pause stops archiving until Resume. What is archived stays and can be read, and the time between is a gap on record.
func (a *Archive) Pause(ctx context.Context, who policy.Actor, address policy.Address) (Mailbox, error) {
	return a.turned(ctx, who, address, func() (bool, error) { return a.policy.Pause(ctx, address, who) })
}

// Resume ends a pause.
func (a *Archive) Resume(ctx context.Context, who policy.Actor, address policy.Address) (Mailbox, error) {
	return a.noted(ctx, who, address, func() (bool, error) { return a.policy.Resume(ctx, address, who) })
}

// Disable closes the archive of a mailbox; confirm repeats its address. Restore takes it back until the grace is over; with now there is none.
func (a *Archive) Disable(ctx context.Context, who policy.Actor, address policy.Address, confirm string, now bool) (Mailbox, error) {
	grace := a.options.Grace
	if now {
		grace = 0
	}
	return a.turned(ctx, who, address, func() (bool, error) { return a.policy.Disable(ctx, address, who, confirm, grace) })
}

// Restore takes a Disable back.
func (a *Archive) Restore(ctx context.Context, who policy.Actor, address policy.Address) (Mailbox, error) {
	return a.turned(ctx, who, address, func() (bool, error) { return a.policy.Restore(ctx, address, who) })
}

// HoldMailbox places a legal hold on a mailbox. Once it has returned without an error, nothing more of the mailbox is deleted.
func (a *Archive) HoldMailbox(ctx context.Context, who policy.Actor, address policy.Address, reason string) (Mailbox, error) {
	return a.turned(ctx, who, address, func() (bool, error) {
		changed, err := a.policy.Hold(ctx, address, who, reason)
		if err != nil {
			return false, err
		}
		m, err := a.policy.Mailbox(ctx, address)
		if err == nil {
			err = a.journal.AwaitDeletions(ctx, m.Archive)
		}
		if err != nil {
			return changed, fmt.Errorf("%s is held, but deletions under way may still be made: hold it again to wait for them: %w", address, err)
		}
		return changed, nil
	})
}

// ReleaseMailbox lifts the legal hold on a mailbox.
func (a *Archive) ReleaseMailbox(ctx context.Context, who policy.Actor, address policy.Address) (Mailbox, error) {
	return a.turned(ctx, who, address, func() (bool, error) { return a.policy.Release(ctx, address, who) })
}

// Rename gives a mailbox another address and returns the mailbox under that address. Like HandOver, it needs RightAddress.
func (a *Archive) Rename(ctx context.Context, who policy.Actor, address, to policy.Address) (Mailbox, error) {
	if err := a.May(ctx, who, RightAddress, address); err != nil {
		return Mailbox{}, err
	}
	return a.noted(ctx, who, to, func() (bool, error) { return a.policy.Rename(ctx, address, to, who) })
}

// HandOver gives the address of a mailbox to another person; confirm repeats it. It returns the mailbox of that person, which names the closed one.
func (a *Archive) HandOver(ctx context.Context, who policy.Actor, address policy.Address, confirm string) (Mailbox, error) {
	if err := a.May(ctx, who, RightAddress, address); err != nil {
		return Mailbox{}, err
	}
	var closed policy.Address
	v, err := a.noted(ctx, who, address, func() (changed bool, err error) {
		closed, err = a.policy.HandOver(ctx, address, who, confirm)
		return err == nil, err
	})
	if closed != (policy.Address{}) {
		v.Closed = closed.String()
	}
	return v, err
}

// turned makes one change of a mailbox and returns the mailbox.
func (a *Archive) turned(ctx context.Context, who policy.Actor, address policy.Address, change func() (bool, error)) (Mailbox, error) {
	changed, err := change()
	if err != nil {
		return Mailbox{}, err
	}
	// The answer must show what the change made of the mailbox, not what follows from it.
	defer a.changed()
	v, err := a.Mailbox(ctx, who, address)
	v.Changed = &changed
	return v, err
}

// Set changes settings of a mailbox, all or none.
func (a *Archive) Set(ctx context.Context, who policy.Actor, address policy.Address, assignments []policy.Assignment) (Mailbox, error) {
	changes, err := a.policy.Set(ctx, address, who, assignments)
	if err == nil && turnsSwitch(assignments, changes) {
		err = a.inForce(ctx)
	}
	if err != nil {
		return Mailbox{}, err
	}
	v, err := a.viewNow(ctx, who, address)
	changed := len(changes) > 0
	v.Changed, v.Changes, v.Notes = &changed, changes, a.waits(v.Mailbox, changes)
	if err == nil {
		var more []policy.Label
		more, err = a.closed(ctx, address, changes)
		v.Notes = append(append(v.Notes, more...), renamedFolders(v, changes)...)
	}
	return v, err
}
