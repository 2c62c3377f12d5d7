package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// Errors of delegates. They are wrapped with what was being done.
var (
	// ErrDelegate means that somebody cannot become a delegate, or not until then. The error that wraps it says why.
	ErrDelegate = errors.New("cannot be a delegate")
	// ErrNoDelegate means that a mailbox has no such delegate, and nobody has asked for one.
	ErrNoDelegate = errors.New("no such delegate")
)

// KeyDelegate is the key under which the log of a mailbox tells of its delegates: before and after have the person and the end, as "PERSON until TIME",
// and of a request also ", waits for the ROLE".
const KeyDelegate = "delegate"

const (
	maxDelegates = 20
	// maxDelegation is the longest time for which somebody becomes a delegate. A year that was mistyped must not be for ever.
	maxDelegation = 5 * 366 * 24 * time.Hour
	// requestFor is how long the request of one waits for the other.
	requestFor = 7 * 24 * time.Hour
)

// Delegate is somebody who may read the archive of a mailbox until a time, or who is asked for. Others script against its names.
type Delegate struct {
	Person string    `json:"person"`         // the address that he signs in by
	Until  time.Time `json:"until,omitzero"` // UTC
	Since  time.Time `json:"since,omitzero"` // when it was granted, or asked for; UTC
	// Who granted it, or asked for it: the owner, or a postmaster and an operator.
	Who []string `json:"who,omitempty"`
	// WaitsFor is the role that has yet to agree, and Expires is until when it can, UTC; absent of a delegate who may read.
	WaitsFor policy.Role `json:"waits_for,omitempty"`
	Expires  time.Time   `json:"expires,omitzero"`
}

// storedDelegates is the stored object of the delegates of an archive.
type storedDelegates struct {
	Delegates []storedDelegate `json:"delegates"`
}

// storedDelegate has the name of the archive that the person's address leads to. Whoever gets that address later is somebody else, and a person
// whose address changes stays the same. Opened is when the archive that he reads was turned on: if it was erased and turned on again, what is in it is
// none of his business.
type storedDelegate struct {
	Delegate
	Archive string    `json:"archive"`
	Opened  time.Time `json:"opened"`
}

// ended reports whether a delegate of a mailbox with these settings may no longer read, or a request no longer be agreed to.
func (d *storedDelegate) ended(s policy.Settings, now time.Time) bool {
	return !now.Before(d.Until) || d.WaitsFor != "" && !now.Before(d.Expires) || !d.Opened.Equal(s.Since)
}

// text returns the value for the log.
func (d *storedDelegate) text() string {
	text := d.Person + " until " + d.Until.Format(time.RFC3339)
	if d.WaitsFor != "" {
		text += ", waits for the " + string(d.WaitsFor)
	}
	return text
}

func delegatesKey(archive string) []byte { return []byte("id" + archive) }

func decodeDelegates(b []byte, err error) (s storedDelegates, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

func (s storedDelegates) put(tx kv.Tx, archive string) error {
	if len(s.Delegates) == 0 {
		tx.Delete(delegatesKey(archive))
		return nil
	}
	value, err := json.Marshal(s)
	if err == nil {
		tx.Put(delegatesKey(archive), value)
	}
	return err
}

// find returns the place of a person, -1 if it has none.
func (s storedDelegates) find(archive string, waiting bool) int {
	return slices.IndexFunc(s.Delegates, func(d storedDelegate) bool { return d.Archive == archive && (d.WaitsFor != "") == waiting })
}

// AddDelegate lets a person read the archive of a mailbox until a time. By its owner that is granted at once; what a postmaster or an operator asks for
// waits a week until one of the other role asks for the same person, and then ends at the earlier of the two times: the answer has WaitsFor. Both go on
// record. A delegate who is added again has the new time. Whoever calls it answers for the right to do so. The error wraps ErrDelegate.
func (a *Authenticator) AddDelegate(ctx context.Context, who policy.Actor, mailbox, person policy.Address, until time.Time) (Delegate, error) {
	failed := func(err error) (Delegate, error) {
		return Delegate{}, fmt.Errorf("let %s read the archive of %s: %w", person, mailbox, err)
	}
	until = until.UTC().Truncate(time.Second)
	there, err := a.options.Policy.Mailbox(ctx, mailbox)
	if err != nil {
		return failed(err)
	}
	theirs, err := a.options.Policy.Mailbox(ctx, person)
	now := a.now()
	switch {
	case err != nil:
		return failed(err)
	case person.Domain == "" || person.Closed != "" || a.options.Policy.IsArchiveHost(person.Domain):
		return failed(fmt.Errorf("%w: want the plain address by which the person signs in", ErrDelegate))
	case theirs.Archive == there.Archive:
		return failed(fmt.Errorf("%w of the own mailbox", ErrDelegate))
	case there.Settings.State() == policy.StateOff:
		return failed(policy.ErrNotOn)
	case !now.Before(until):
		return failed(fmt.Errorf("%w until a time that is past", ErrDelegate))
	case until.Sub(now) > maxDelegation:
		return failed(fmt.Errorf("%w for more than five years", ErrDelegate))
	}
	var one storedDelegate
	err = a.note(ctx, who, mailbox, KeyDelegate, func(tx kv.Tx, archive string, _ time.Time) (before, after string, err error) {
		s, err := decodeDelegates(tx.Get(delegatesKey(archive)))
		if err != nil {
			return "", "", err
		}
		one = storedDelegate{
			Delegate{Person: person.String(), Until: until, Since: a.now().UTC().Truncate(time.Second), Who: []string{who.String()}}, theirs.Archive, there.Settings.Since,
		}
		if before, err = s.add(&one, who.Role, there.Settings); err != nil {
			return "", "", err
		}
		return before, one.text(), s.put(tx, archive)
	})
	if err != nil {
		return failed(err)
	}
	return one.Delegate, nil
}

// add adds a delegate, or a request for one if the role does not suffice, which it completes. It returns the value for the log of what that replaces.
func (s *storedDelegates) add(one *storedDelegate, role policy.Role, now policy.Settings) (before string, err error) {
	s.Delegates = slices.DeleteFunc(s.Delegates, func(d storedDelegate) bool { return d.ended(now, one.Since) })
	take := func(i int) storedDelegate {
		d := s.Delegates[i]
		before = d.text()
		s.Delegates = slices.Delete(s.Delegates, i, i+1)
		return d
	}
	granted := role == policy.RoleOwner
	if i := s.find(one.Archive, true); i >= 0 {
		asked := take(i)
		if asked.WaitsFor == role {
			granted, one.Who = true, append(asked.Who, one.Who...)
			if asked.Until.Before(one.Until) {
				one.Until = asked.Until
			}
		}
	}
	if i := s.find(one.Archive, false); i >= 0 && granted {
		take(i)
	}
	if !granted {
		one.WaitsFor, one.Expires = policy.RoleOperator, one.Since.Add(requestFor)
		if role == policy.RoleOperator {
			one.WaitsFor = policy.RolePostmaster
		}
	}
	if len(s.Delegates) >= maxDelegates {
		return "", fmt.Errorf("%w: there are %d already: revoke one", ErrDelegate, maxDelegates)
	}
	s.Delegates = append(s.Delegates, *one)
	return before, nil
}

// RevokeDelegate ends what a delegate may do, or a request for one, at once, and puts that on record. Whoever calls it answers for the right to do so.
// The error wraps ErrNoDelegate.
func (a *Authenticator) RevokeDelegate(ctx context.Context, who policy.Actor, mailbox, person policy.Address) error {
	theirs, err := a.options.Policy.Mailbox(ctx, person)
	if err == nil {
		err = a.note(ctx, who, mailbox, KeyDelegate, func(tx kv.Tx, archive string, _ time.Time) (before, after string, err error) {
			s, err := decodeDelegates(tx.Get(delegatesKey(archive)))
			if err != nil {
				return "", "", err
			}
			var left []storedDelegate
			for _, d := range s.Delegates {
				switch {
				case d.Archive != theirs.Archive && d.Person != person.String():
					left = append(left, d)
				case before == "" || d.WaitsFor == "":
					before = d.text()
				}
			}
			if len(left) == len(s.Delegates) {
				return "", "", ErrNoDelegate
			}
			s.Delegates = left
			return before, "", s.put(tx, archive)
		})
	}
	if err != nil {
		return fmt.Errorf("revoke delegate %s of %s: %w", person, mailbox, err)
	}
	return nil
}

// ForgetDelegates removes the delegates of an archive, by its name, that is being erased. What they were is in its log.
func (a *Authenticator) ForgetDelegates(ctx context.Context, archive string) error {
	if a == nil {
		return nil
	}
	// Most archives have none, which needs no write.
	s, err := decodeDelegates(a.options.Settings.Get(ctx, delegatesKey(archive)))
	if err == nil && len(s.Delegates) > 0 {
		err = a.options.Settings.Update(ctx, []string{policy.SettingsLock(archive)}, func(tx kv.Tx) error { return storedDelegates{}.put(tx, archive) })
	}
	if err != nil {
		return fmt.Errorf("remove the delegates of %s: %w", archive, err)
	}
	return nil
}

// Delegates returns who may read the archive of a mailbox now, beside its owner, and who is asked for, oldest first.
func (a *Authenticator) Delegates(ctx context.Context, mailbox policy.Address) ([]Delegate, error) {
	if a == nil {
		return nil, nil
	}
	m, err := a.options.Policy.Mailbox(ctx, mailbox)
	if err != nil {
		return nil, err
	}
	s, err := decodeDelegates(a.options.Settings.Get(ctx, delegatesKey(m.Archive)))
	if err != nil {
		return nil, fmt.Errorf("delegates of %s: %w", mailbox, err)
	}
	var list []Delegate
	for _, d := range s.Delegates {
		if d.ended(m.Settings, a.now()) {
			continue
		}
		// The address of the person may have changed.
		if now, err := a.options.Policy.MailboxOf(ctx, d.Archive); err == nil && now.Address.Closed == "" {
			d.Person = now.Address.String()
		}
		list = append(list, d.Delegate)
	}
	return list, nil
}

// Delegated returns until when a person may read the archive of a mailbox as its delegate; the zero Time if that is not so.
func (a *Authenticator) Delegated(ctx context.Context, person, mailbox policy.Address) (until time.Time, err error) {
	if a == nil {
		return time.Time{}, nil
	}
	theirs, err := a.options.Policy.Mailbox(ctx, person)
	if err != nil {
		return time.Time{}, err
	}
	m, err := a.options.Policy.Mailbox(ctx, mailbox)
	if err != nil {
		return time.Time{}, err
	}
	s, err := decodeDelegates(a.options.Settings.Get(ctx, delegatesKey(m.Archive)))
	if err != nil {
		return time.Time{}, fmt.Errorf("delegates of %s: %w", mailbox, err)
	}
	if i := s.find(theirs.Archive, false); i >= 0 && !s.Delegates[i].ended(m.Settings, a.now()) {
		until = s.Delegates[i].Until
	}
	return until, nil
}

// delegations yields the mailboxes whose archives a person may read as a delegate, by the names of their archives.
func (a *Authenticator) delegations(ctx context.Context, person policy.Address) iter.Seq2[Standing, error] {
	return func(yield func(Standing, error) bool) {
		theirs, err := a.options.Policy.Mailbox(ctx, person)
		if err != nil {
			yield(Standing{}, err)
			return
		}
		for pair, err := range a.options.Settings.Scan(ctx, delegatesKey(""), []byte("ie")) {
			s, err := decodeDelegates(pair.Value, err)
			if err != nil {
				yield(Standing{}, fmt.Errorf("delegates: %w", err))
				return
			}
			i := s.find(theirs.Archive, false)
			if i < 0 {
				continue
			}
			m, err := a.options.Policy.MailboxOf(ctx, string(pair.Key[len(delegatesKey("")):]))
			if err == nil && s.Delegates[i].ended(m.Settings, a.now()) {
				continue
			}
			if !yield(Standing{Role: policy.RoleDelegate, Mailbox: m.Address, Until: s.Delegates[i].Until}, err) || err != nil {
				return
			}
		}
	}
}
