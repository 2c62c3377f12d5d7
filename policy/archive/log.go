package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// Change is one change of the settings of a mailbox, or one act on its messages. For an act, the key is the act, before is where the messages
// were, and after is where they are now, or the reason. Others script against its names.
type Change struct {
	Mailbox  string `json:"mailbox"`
	Number   uint64 `json:"number"`             // counts the changes of the mailbox, from 1; 0 for an act
	Messages uint64 `json:"messages,omitempty"` // of an act: how many messages it took
	// UIDs and ToUIDs are all the UIDs of an act; before and after shorten a long list.
	UIDs   journal.UIDs `json:"uids,omitempty"`
	ToUIDs journal.UIDs `json:"to_uids,omitempty"`
	policy.Change
}

// KeyLog is the Key of the line that tells what was removed of a log. Its time is that before which changes were removed.
const KeyLog = "log"

// Log yields the changes of the settings of a mailbox and the acts on its entries, ordered by time. If older changes were removed, one line more
// tells of them (KeyLog). Errors about damage, which wrap
// journal.ErrDamaged, come first.
func (a *Archive) Log(ctx context.Context, address policy.Address) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		var list []Change
		start, err := a.policy.LogStart(ctx, address)
		if err != nil {
			yield(Change{}, err)
			return
		}
		if !start.Before.IsZero() {
			list = append(list, Change{Mailbox: address.String(), Change: policy.Change{
				Time: start.Before, Role: policy.RoleProgram, Who: "logs.keep", Key: KeyLog,
				After: fmt.Sprintf("older changes removed: %d; those of the archive itself stay, without names", start.Removed),
			}})
		}
		for c, err := range a.policy.Changes(ctx, address) {
			if err != nil {
				yield(Change{}, err)
				return
			}
			list = append(list, Change{Mailbox: address.String(), Number: c.Number, Change: c})
		}
		m, err := a.policy.Mailbox(ctx, address)
		if err != nil {
			yield(Change{}, err)
			return
		}
		for act, err := range a.journal.Acts(ctx, m.Archive) {
			if err != nil {
				if !yield(Change{}, err) || !errors.Is(err, journal.ErrDamaged) {
					return
				}
				continue
			}
			list = append(list, viewAct(address.String(), act))
		}
		slices.SortStableFunc(list, func(a, b Change) int { return a.Time.Compare(b.Time) })
		for _, c := range list {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// viewAct returns an act on messages of a mailbox as a line of its log.
func viewAct(mailbox string, act *journal.Act) Change {
	c := policy.Change{Time: act.Time, Who: act.Who, Key: act.Kind, Before: placeText(act.From, act.UIDs), After: act.Detail}
	if act.To.UID > 0 {
		c.After = placeText(act.To, act.ToUIDs)
	}
	return Change{Mailbox: mailbox, Messages: act.UIDs.Count(), UIDs: act.UIDs, ToUIDs: act.ToUIDs, Change: c}
}

func placeText(r journal.Ref, uids journal.UIDs) string {
	return fmt.Sprintf("%s %s", r.FolderName(), uids)
}

// Accesses yields who signed in to a mailbox, and who failed to, oldest first.
func (a *Archive) Accesses(ctx context.Context, address policy.Address) iter.Seq2[auth.Access, error] {
	return a.options.Auth.Accesses(ctx, address)
}

// ForgetEnded removes what was made to sign in for a time that is over, and returns how much that was: see auth.Authenticator.ForgetEnded.
func (a *Archive) ForgetEnded(ctx context.Context) (removed int, err error) {
	return a.options.Auth.ForgetEnded(ctx)
}

// ForgetAccesses removes what is known of logins from before a time, for all mailboxes, and returns how many records that were.
func (a *Archive) ForgetAccesses(ctx context.Context, before time.Time) (removed int, err error) {
	return a.options.Auth.ForgetAccesses(ctx, before)
}
