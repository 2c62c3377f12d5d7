package httpd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/policy"
)

// errReadOnly says that the settings of a mailbox do not allow an act.
var errReadOnly = errors.New("the archive is read-only")

// ActView is what was done with an entry. Others script against its names.
type ActView struct {
	Mailbox string `json:"mailbox"`
	Act     string `json:"act"` // "move", "delete", "undelete", "hold" or "release"
	Folder  string `json:"folder"`
	UID     uint32 `json:"uid"`
	// ToFolder and ToUID are where the entry is afterwards, when it has another place.
	ToFolder string `json:"to_folder,omitempty"`
	ToUID    uint32 `json:"to_uid,omitempty"`
}

// act does something with one entry in the name of an operator. The settings of the mailbox decide whether it may be moved or deleted.
func (a *admin) act(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out := newLines(w)
		ref, err := refOf(r)
		who := r.FormValue("who")
		if err == nil && who == "" {
			err = fmt.Errorf("%w: who: name the operator who does it", errRequest)
		}
		if err == nil {
			err = a.allowed(r.Context(), ref.Mailbox, kind)
		}
		v := ActView{Mailbox: ref.Mailbox, Act: kind, Folder: ref.FolderName(), UID: ref.UID}
		if err == nil {
			var to journal.Ref
			if to, err = a.do(r, kind, ref, "operator "+who); to.UID > 0 {
				v.ToFolder, v.ToUID = to.FolderName(), to.UID
			}
		}
		if errors.Is(err, journal.ErrNotFound) {
			err = fmt.Errorf("%s %s %d: %w", ref.Mailbox, ref.FolderName(), ref.UID, err)
		}
		if err != nil {
			out.fail(a.b.Logger, err)
			return
		}
		a.changed()
		out.write(v)
	}
}

func (a *admin) do(r *http.Request, kind string, ref journal.Ref, who string) (to journal.Ref, err error) {
	ctx, j := r.Context(), a.b.Journal
	switch kind {
	case journal.ActMove:
		folder, err := targetFolder(ref, r.FormValue("to"))
		if err != nil {
			return to, err
		}
		return j.Move(ctx, ref, folder, who)
	case journal.ActUndelete:
		return j.Undelete(ctx, ref, who)
	case journal.ActDelete:
		return to, j.Delete(ctx, ref, who)
	case journal.ActHold:
		return to, j.Hold(ctx, ref, who, r.FormValue("reason"))
	default:
		return to, j.Release(ctx, ref, who, r.FormValue("reason"))
	}
}

// targetFolder reads the folder to which a message is moved, with or without its month: a message stays in the month of its arrival.
func targetFolder(ref journal.Ref, name string) (string, error) {
	if !strings.Contains(name, "/") {
		return name, nil
	}
	folder, month, err := journal.ParseFolder(name)
	if err == nil && month != ref.Month {
		err = fmt.Errorf("folder %q: a message of %s stays in that month", name, ref.Month)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRequest, err)
	}
	return folder, nil
}

// allowed says whether the settings of a mailbox allow an act. Holds are the operator's and need no setting.
func (a *admin) allowed(ctx context.Context, mailbox, kind string) error {
	if kind == journal.ActHold || kind == journal.ActRelease {
		return nil
	}
	address, err := policy.ParseAddress(mailbox)
	if err != nil {
		return err
	}
	s, err := a.b.Policy.Settings(ctx, address)
	switch {
	case err != nil:
		return err
	case kind == journal.ActDelete && s.Held():
		return fmt.Errorf("%s: %w", mailbox, policy.ErrHeld)
	case s.Write, kind != journal.ActMove && s.ManualDelete:
		return nil
	case kind == journal.ActMove:
		return fmt.Errorf("%s: %w: write=on lets messages be moved", mailbox, errReadOnly)
	}
	return fmt.Errorf("%s: %w: write=on or manual_delete=on lets messages be deleted", mailbox, errReadOnly)
}

// logLines returns the changes of the settings of a mailbox and the acts on its entries, in the order of time. Where
// something is damaged, the error is of that, and the rest is there.
func (a *admin) logLines(ctx context.Context, address policy.Address) ([]ChangeView, error) {
	var list []ChangeView
	for c, err := range a.b.Policy.Changes(ctx, address) {
		if err != nil {
			return nil, err
		}
		list = append(list, ChangeView{address.String(), c.Number, c})
	}
	var damaged damages
	for act, err := range a.b.Journal.Acts(ctx, address.String()) {
		if damaged.count(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := policy.Change{Time: act.Time, Who: act.Who, Key: act.Kind, Before: placeText(act.From), After: act.Detail}
		if act.To.UID > 0 {
			c.After = placeText(act.To)
		}
		list = append(list, ChangeView{Mailbox: address.String(), Change: c})
	}
	slices.SortStableFunc(list, func(a, b ChangeView) int { return a.Time.Compare(b.Time) })
	return list, damaged.err()
}

func placeText(r journal.Ref) string { return fmt.Sprintf("%s %d", r.FolderName(), r.UID) }
