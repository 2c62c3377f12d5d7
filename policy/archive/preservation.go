package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec"
	"copialettere/policy/preservation"
)

// preserver is under whose name packages are handed over.
var preserver = policy.Actor{Role: policy.RoleProgram, Name: "preservation"}

// ExportedPreserved begins what the log of a mailbox has under KeyExport of a package for legal preservation: the name of its file follows.
const ExportedPreserved = "preservation:"

// Preserved is a package for legal preservation, with how far it is. Others script against its names.
type Preserved struct {
	Mailbox string `json:"mailbox"`
	preservation.Package
	State preservation.State `json:"state"`
}

// PreservedIn is in which package a message was handed over. Others script against its names.
type PreservedIn struct {
	Package string                 `json:"package"` // the name of its file
	Made    time.Time              `json:"made"`
	State   preservation.State     `json:"state"`
	Receipt *preservation.Receipt  `json:"receipt,omitempty"` // the first one
	More    []preservation.Receipt `json:"more,omitempty"`    // the others
}

// Preservable reports whether a message goes into the packages for legal preservation: what was received of a class of
// certified mail (PEC or REM), receipts included, or sent to a certified recipient. Imported messages do not.
func Preservable(e *journal.Entry) bool {
	if e.Imported != nil {
		return false
	}
	if e.Direction == journal.Sent {
		return e.SentTo == string(policy.SentToCertified)
	}
	return e.Class != "" && pec.Class(e.Class) != pec.Ordinary
}

// ArrivedIn yields the entries of a mailbox that were journaled from since until before until, by month, folder and UID; what was imported is not among
// them. For what cannot be read it yields an error that wraps journal.ErrDamaged, and goes on with the rest.
func (a *Archive) ArrivedIn(ctx context.Context, address policy.Address, since, until time.Time) iter.Seq2[*journal.Entry, error] {
	return of(ctx, a, address, func(archive string) iter.Seq2[*journal.Entry, error] {
		a.journal.FlushOutcomes(ctx)
		return func(yield func(*journal.Entry, error) bool) {
			for m := kv.MonthOf(since); m.Start().Before(until); m = m.Next() {
				folders, err := a.journal.StatsIn(ctx, archive, m)
				if err != nil && !yield(nil, err) {
					return
				}
				for _, f := range folders {
					for e, err := range a.journal.Filed(ctx, archive, m, f.Folder, 1, math.MaxUint32) {
						if err == nil {
							if e.Imported != nil || e.Time.Before(since) || !e.Time.Before(until) {
								continue
							}
							e.Mailbox = address.String()
						}
						if !yield(e, err) {
							return
						}
					}
				}
			}
		}
	})
}

// Preserving yields the mailboxes that the settings select and that have an archive, also one that waits for its erasure.
func (a *Archive) Preserving(ctx context.Context, s preservation.Settings) iter.Seq2[policy.Mailbox, error] {
	return func(yield func(policy.Mailbox, error) bool) {
		for m, err := range a.policy.Mailboxes(ctx) {
			if err == nil && (!s.Selects(m.Address) || !preserves(m)) {
				continue
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// preserves reports whether the archive of a mailbox is there, and not being erased.
func preserves(m policy.Mailbox) bool {
	return m.Settings.Erasure.State == policy.ErasureDue || m.Settings.Erasure.State == policy.ErasureNone && m.Settings.State() != policy.StateOff
}

// AddPackage puts a package of an archive, given by its name, on record, and in the log of its mailbox as an export. It is on record once: where the day
// has a package already, that is returned. The error is preservation.ErrForgotten if the archive is being erased.
func (a *Archive) AddPackage(ctx context.Context, archive string, p preservation.Package) (was *preservation.Package, err error) {
	ledger := a.options.Preservation
	err = ledger.Writing(func() error {
		m, err := a.preserved(ctx, archive)
		if err != nil {
			return err
		}
		if was, err = ledger.Get(ctx, archive, p.Day); err != nil || was != nil {
			return err
		}
		return a.policy.Note(ctx, m.Address, preserver, KeyExport, func(tx kv.Tx, name string, _ time.Time) (before, after string, err error) {
			if name != archive {
				return "", "", fmt.Errorf("%s leads to another archive", m.Address)
			}
			return "", ExportedPreserved + p.Name, ledger.Add(tx, archive, p)
		})
	})
	return was, err
}

// PackagesDone notes that a day of an archive, given by its name, is dealt with, and when its package was placed; zero where nothing was. The error is as
// of AddPackage.
func (a *Archive) PackagesDone(ctx context.Context, archive, day string, placed time.Time) error {
	ledger := a.options.Preservation
	return ledger.Writing(func() error {
		if _, err := a.preserved(ctx, archive); err != nil {
			return err
		}
		return ledger.Done(ctx, archive, day, func(p *preservation.Package) {
			if p.Placed == nil && !placed.IsZero() {
				p.Placed = &placed
			}
		})
	})
}

// preserved returns the mailbox of an archive that is not being erased.
func (a *Archive) preserved(ctx context.Context, archive string) (policy.Mailbox, error) {
	m, err := a.policy.MailboxOf(ctx, archive)
	if err == nil && !preserves(m) {
		err = preservation.ErrForgotten
	}
	return m, err
}

// Packages yields the packages for legal preservation of a mailbox, oldest first, or with nil those of all mailboxes. It needs RightRead, or without a
// mailbox RightOperate.
func (a *Archive) Packages(ctx context.Context, who policy.Actor, address *policy.Address, now time.Time) iter.Seq2[Preserved, error] {
	return func(yield func(Preserved, error) bool) {
		if a.options.Preservation == nil {
			return
		}
		mailboxes := a.policy.Mailboxes(ctx)
		right, of := RightOperate, policy.Address{}
		if address != nil {
			right, of = RightRead, *address
			m, err := a.there(ctx, of)
			mailboxes = func(yield func(policy.Mailbox, error) bool) { yield(m, err) }
		}
		if err := a.May(ctx, who, right, of); err != nil {
			yield(Preserved{}, err)
			return
		}
		for m, err := range mailboxes {
			if err != nil {
				yield(Preserved{}, err)
				return
			}
			for p, err := range a.options.Preservation.Of(ctx, m.Archive) {
				if err != nil {
					yield(Preserved{}, err)
					return
				}
				if !yield(Preserved{m.Address.String(), *p, p.State(now, a.options.Overdue)}, nil) {
					return
				}
			}
		}
	}
}

// PreservedIn returns in which package an entry of a mailbox was handed over; nil for none. Whoever calls it has checked the right to read the entry.
func (a *Archive) PreservedIn(ctx context.Context, address policy.Address, e *journal.Entry, now time.Time) (*PreservedIn, error) {
	if a.options.Preservation == nil || !Preservable(e) {
		return nil, nil
	}
	m, err := a.there(ctx, address)
	if err != nil {
		return nil, err
	}
	p, err := a.options.Preservation.Get(ctx, m.Archive, e.Time.UTC().Format(time.DateOnly))
	if err != nil || p == nil {
		return nil, err
	}
	in := &PreservedIn{Package: p.Name, Made: p.Made, State: p.State(now, a.options.Overdue)}
	if len(p.Receipts) > 0 {
		in.Receipt, in.More = &p.Receipts[0], p.Receipts[1:]
	}
	return in, nil
}

// ForgetPackages removes what is known of the packages of an archive, by its name, that is being erased. The packages themselves are with the service.
func (a *Archive) ForgetPackages(ctx context.Context, archive string) error {
	if a.options.Preservation == nil {
		return nil
	}
	return a.options.Preservation.Forget(ctx, archive)
}

// PackageChanged changes a package where it still is. It is no error where it is not.
func (a *Archive) PackageChanged(ctx context.Context, at preservation.Place, change func(*preservation.Package)) error {
	ledger := a.options.Preservation
	err := ledger.Writing(func() error {
		if _, err := a.preserved(ctx, at.Archive); err != nil {
			return err
		}
		return ledger.Change(ctx, at, change)
	})
	if errors.Is(err, preservation.ErrForgotten) {
		return nil
	}
	return err
}
