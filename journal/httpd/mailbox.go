package httpd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// MailboxView is a mailbox as it is shown. Others script against its names.
type MailboxView struct {
	Mailbox string     `json:"mailbox"`
	Archive string     `json:"archive"`           // "on" or "off"
	Since   *time.Time `json:"since,omitempty"`   // when the archive was turned on; it stays until the archive is erased
	Erasure string     `json:"erasure,omitempty"` // of a disabled archive: "due" (it can still be restored), "running" or "done"
	EraseAt *time.Time `json:"erase_at,omitempty"`
	Hold    *HoldView  `json:"hold,omitempty"` // the legal hold, where one stands
	Entries uint64     `json:"entries"`
	Bytes   uint64     `json:"bytes"`
	// PassedOver are the months that could not be read, and are not in the counts.
	PassedOver []kv.Month `json:"passed_over,omitempty"`
	// Changed is of what changes a mailbox: whether it was not so before.
	Changed *bool `json:"changed,omitempty"`
	// Settings are all settings, in the order of policy.Settings.Values.
	Settings []SettingView `json:"settings"`
	// HeldMessages are those of a single mailbox that are under a legal hold of their own: as long as there are any, the archive is not erased.
	HeldMessages []HeldMessageView `json:"held_messages,omitempty"`
	// Changes are those of a single mailbox, oldest first: all of them, but of /v1/mailbox/set only those that it made.
	Changes []policy.Change `json:"changes,omitempty"`
}

// SettingView is one setting, as policy.Settings.Values gives it.
type SettingView struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// HoldView is a legal hold.
type HoldView struct {
	Reason string    `json:"reason"`
	Who    string    `json:"who"`
	Since  time.Time `json:"since"`
}

// HeldMessageView is a message under a legal hold.
type HeldMessageView struct {
	Folder string `json:"folder"`
	UID    uint32 `json:"uid"`
	HoldView
}

// ChangeView is one change of the settings of a mailbox, or one act on its messages: then the key is the act, before is where the message
// was, and after where it is now, or the reason. Others script against its names.
type ChangeView struct {
	Mailbox string `json:"mailbox"`
	Number  uint64 `json:"number"` // counts the changes of the mailbox, from 1; 0 for an act
	policy.Change
}

func (a *admin) view(ctx context.Context, address policy.Address, s policy.Settings) (MailboxView, error) {
	v := MailboxView{Mailbox: address.String(), Archive: "off", Erasure: string(s.Erasure.State)}
	if s.Enabled {
		v.Archive = "on"
	}
	if !s.Since.IsZero() {
		v.Since = &s.Since
	}
	if s.Erasure.State == policy.ErasureDue {
		v.EraseAt = &s.Erasure.At
	}
	if s.Held() {
		v.Hold = &HoldView{s.Hold.Reason, s.Hold.Who, s.Hold.Since}
	}
	for key, value := range s.Values() {
		v.Settings = append(v.Settings, SettingView{key, value})
	}
	stats, err := a.b.Journal.Stats(ctx, v.Mailbox)
	var passed journal.PassedOver
	if errors.As(err, &passed) {
		v.PassedOver, err = passed.Months(), nil
	}
	for _, f := range stats {
		v.Entries += f.Entries
		v.Bytes += f.Bytes
	}
	return v, err
}

// viewNow is the view of a mailbox as its settings are in the store now.
func (a *admin) viewNow(ctx context.Context, address policy.Address) (MailboxView, error) {
	s, err := a.b.Policy.Settings(ctx, address)
	if err != nil {
		return MailboxView{}, err
	}
	return a.view(ctx, address, s)
}

// passedOver is the error of a view that months are missing from; nil for none.
func (v *MailboxView) passedOver() error {
	if len(v.PassedOver) == 0 {
		return nil
	}
	return fmt.Errorf("months that can not be read are not counted: %v; \"copialettere verify\" tells why: %w", v.PassedOver, journal.ErrDamaged)
}

func (a *admin) mailboxes(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	var passed error
	for m, err := range a.b.Policy.Mailboxes(r.Context()) {
		var v MailboxView
		if err == nil {
			v, err = a.view(r.Context(), m.Address, m.Settings)
		}
		if err != nil {
			out.fail(a.b.Logger, err)
			return
		}
		out.write(v)
		if err := v.passedOver(); err != nil {
			passed = err
		}
	}
	if passed != nil {
		out.fail(a.b.Logger, passed)
	}
}

func (a *admin) mailbox(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	var v MailboxView
	if err == nil {
		v, err = a.withChanges(r.Context(), address)
	}
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	out.write(v)
	if err := v.passedOver(); err != nil {
		out.fail(a.b.Logger, err)
	}
}

// withChanges is the view of a mailbox with all its changes, and the messages that are held.
func (a *admin) withChanges(ctx context.Context, address policy.Address) (MailboxView, error) {
	v, err := a.viewNow(ctx, address)
	if err != nil {
		return v, err
	}
	for h, err := range a.b.Journal.Holdings(ctx, address.String()) {
		if errors.Is(err, journal.ErrDamaged) {
			continue // the view tells which months are missing
		}
		if err != nil {
			return v, err
		}
		v.HeldMessages = append(v.HeldMessages, HeldMessageView{h.FolderName(), h.UID, HoldView{h.Reason, h.Who, h.Time}})
	}
	for c, err := range a.b.Policy.Changes(ctx, address) {
		if err != nil {
			return v, err
		}
		v.Changes = append(v.Changes, c)
	}
	return v, nil
}

func (a *admin) log(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	list, err := a.logLines(r.Context(), address)
	for _, line := range list {
		if out.write(line) != nil {
			return
		}
	}
	if err != nil {
		out.fail(a.b.Logger, err)
	}
}

func (a *admin) enable(w http.ResponseWriter, r *http.Request)  { a.turn(w, r, a.b.Policy.Enable) }
func (a *admin) restore(w http.ResponseWriter, r *http.Request) { a.turn(w, r, a.b.Policy.Restore) }
func (a *admin) release(w http.ResponseWriter, r *http.Request) { a.turn(w, r, a.b.Policy.Release) }

func (a *admin) hold(w http.ResponseWriter, r *http.Request) {
	a.turn(w, r, func(ctx context.Context, address policy.Address, who policy.Actor) (bool, error) {
		return a.b.Hold(ctx, address, who, r.FormValue("reason"))
	})
}

// Hold places a legal hold on a mailbox, as policy.Hold does. When it returns, no deletion that had not been made before is made any more.
func (b Backend) Hold(ctx context.Context, address policy.Address, who policy.Actor, reason string) (changed bool, err error) {
	if changed, err = b.Policy.Hold(ctx, address, who, reason); err != nil {
		return false, err
	}
	if err := b.Journal.AwaitDeletions(ctx, address.String()); err != nil {
		return changed, fmt.Errorf("%s is held, but what is being deleted just now may still go: hold it again to wait for that: %w", address, err)
	}
	return changed, nil
}

func (a *admin) disable(w http.ResponseWriter, r *http.Request) {
	a.turn(w, r, func(ctx context.Context, address policy.Address, who policy.Actor) (bool, error) {
		grace := a.b.Grace
		if text := r.FormValue("now"); text != "" {
			now, err := strconv.ParseBool(text)
			if err != nil {
				return false, fmt.Errorf("%w: now=%.100q: want true or false", errRequest, text)
			}
			if now {
				grace = 0
			}
		}
		return a.b.Policy.Disable(ctx, address, who, r.FormValue("confirm"), grace)
	})
}

// changed tells of a change after which an archive may have to be erased.
func (a *admin) changed() {
	if a.b.Changed != nil {
		a.b.Changed()
	}
}

// turn makes one change of a mailbox and answers with the mailbox.
func (a *admin) turn(w http.ResponseWriter, r *http.Request, f func(context.Context, policy.Address, policy.Actor) (bool, error)) {
	a.change(w, r, func(ctx context.Context, address policy.Address, who policy.Actor) (MailboxView, error) {
		changed, err := f(ctx, address, who)
		if err != nil {
			return MailboxView{}, err
		}
		// It answers with what the change made of the mailbox, and not with what follows from it.
		defer a.changed()
		v, err := a.withChanges(ctx, address)
		v.Changed = &changed
		return v, err
	})
}

func (a *admin) set(w http.ResponseWriter, r *http.Request) {
	a.change(w, r, func(ctx context.Context, address policy.Address, who policy.Actor) (MailboxView, error) {
		if len(r.Form["set"]) == 0 {
			return MailboxView{}, fmt.Errorf("%w: no set=KEY=VALUE", errRequest)
		}
		var assignments []policy.Assignment
		for _, text := range r.Form["set"] {
			assignment, err := policy.ParseAssignment(text)
			if err != nil {
				// Set refuses it, with all else that is wrong: no key takes an empty value.
				assignment = policy.Assignment{Key: text}
			}
			assignments = append(assignments, assignment)
		}
		changes, err := a.b.Policy.Set(ctx, address, who, assignments)
		if err != nil {
			return MailboxView{}, err
		}
		v, err := a.viewNow(ctx, address)
		changed := len(changes) > 0
		v.Changed, v.Changes = &changed, changes
		return v, err
	})
}

// change runs what changes a mailbox in the name of an operator, and answers with what it returns.
func (a *admin) change(w http.ResponseWriter, r *http.Request, f func(context.Context, policy.Address, policy.Actor) (MailboxView, error)) {
	out := newLines(w)
	address, err := mailboxOf(r)
	who := policy.Actor{Role: policy.RoleOperator, Name: r.FormValue("who")}
	if err == nil && who.Name == "" {
		err = fmt.Errorf("%w: who: name the operator who changes the mailbox", errRequest)
	}
	var v MailboxView
	if err == nil {
		v, err = f(r.Context(), address, who)
	}
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	out.write(v)
}
