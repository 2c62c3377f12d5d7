package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// Mailstore hands a message to the live mailbox of an address, not past the hook, so it is not journaled again. It calls commit when the mailstore has
// all bytes and only the final dot is missing; after an error of commit the mailstore gets none. It returns the mailstore's last reply, in its own
// words. After an error that wraps none of these the mailstore has nothing, and no other message can be given back now.
//
//	ErrMailstoreRefused  it refused this message; the reply says why
//	ErrMailstoreUnknown  it may have taken the message
type Mailstore func(ctx context.Context, to policy.Address, size int64, message io.WriterTo, commit func() error) (reply string, err error)

// What a Mailstore and GiveBack say.
var (
	ErrMailstoreRefused = errors.New("the mailstore refused the message")
	ErrMailstoreUnknown = errors.New("the mailstore may have taken the message, or not")
	ErrMailstore        = errors.New("the mailstore does not answer")
	// ErrGivenBack says that a message was given back before.
	ErrGivenBack = errors.New("given back before")
)

// The states of a GivenBack.
const (
	GivenBackDone    = "given-back"
	GivenBackRefused = "refused"
	GivenBackUnknown = "unknown" // the mailstore did not answer after the last byte: look into the mailbox before it is given back again
	GivenBackDamaged = "damaged" // it cannot be read whole; the mailstore has nothing of it
	GivenBackAbsent  = "absent"  // it is not there any more
)

// GivenBack is what became of one message that was to be given back. Others script against its names.
type GivenBack struct {
	Mailbox string `json:"mailbox"`
	Folder  string `json:"folder"`
	UID     uint32 `json:"uid"`
	State   string `json:"state"` // "given-back", "refused", "unknown", "damaged" or "absent"
	// Reply is what the mailstore said, in its own words; absent where it said nothing.
	Reply string `json:"reply,omitempty"`
}

// GiveBack hands messages of one folder to the live mailbox to which they belong, with their original bytes, and yields what became of each. They
// are not journaled again. The envelope sender is empty, so no automatic answer goes to those who wrote them.
//
// Each is on record as an act before the mailstore has it. If one of them was given back before and again is false, nothing is done, and the error
// wraps ErrGivenBack and names them. After an error the rest was not done.
func (a *Archive) GiveBack(ctx context.Context, who policy.Actor, s journal.Selection, again bool) iter.Seq2[GivenBack, error] {
	return func(yield func(GivenBack, error) bool) {
		m, err := a.mayGiveBack(ctx, who, s, again)
		if err != nil {
			yield(GivenBack{}, err)
			return
		}
		there := s
		there.Mailbox = m.Archive
		refs, err := a.refsIn(ctx, there)
		if err != nil {
			yield(GivenBack{}, err)
			return
		}
		for _, ref := range refs {
			g, err := a.giveBack(ctx, who, m, ref)
			if !yield(g, err) || err != nil {
				return
			}
		}
	}
}

// mayGiveBack checks what is to be checked before anything is done, and returns the mailbox.
func (a *Archive) mayGiveBack(ctx context.Context, who policy.Actor, s journal.Selection, again bool) (policy.Mailbox, error) {
	there, m, err := a.inArchive(ctx, journal.Ref{Mailbox: s.Mailbox})
	if err == nil {
		err = a.May(ctx, who, RightGiveBack, m.Address)
	}
	switch {
	case err != nil:
		return m, err
	case m.Address.Closed != "":
		return m, fmt.Errorf("%w: %s was handed over, and no live mailbox belongs to it", ErrRequest, m.Address)
	case a.options.Mailstore == nil:
		return m, fmt.Errorf("%w: no next hop for received mail is configured", ErrMailstore)
	case again:
		return m, nil
	}
	s.Mailbox = there.Mailbox
	before, err := a.givenBefore(ctx, s)
	if err != nil || len(before) == 0 {
		return m, err
	}
	const most = 5
	var list []string
	for _, g := range before[:min(most, len(before))] {
		list = append(list, fmt.Sprintf("%s %d on %s by %s", s.FolderName(), g.UID, g.Time.UTC().Format(time.RFC3339), g.Who))
	}
	if more := len(before) - most; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return m, fmt.Errorf("%w: %s", ErrGivenBack, strings.Join(list, "; "))
}

// GivenBefore says when a message was last given back, and by whom.
type GivenBefore struct {
	UID  uint32
	Time time.Time
	Who  string
}

// GivenBefore returns which messages of a selection were given back before, by UID.
func (a *Archive) GivenBefore(ctx context.Context, who policy.Actor, s journal.Selection) ([]GivenBefore, error) {
	there, m, err := a.inArchive(ctx, journal.Ref{Mailbox: s.Mailbox})
	if err == nil {
		err = a.May(ctx, who, RightGiveBack, m.Address)
	}
	if err != nil {
		return nil, err
	}
	s.Mailbox = there.Mailbox
	return a.givenBefore(ctx, s)
}

func (a *Archive) givenBefore(ctx context.Context, s journal.Selection) ([]GivenBefore, error) {
	acts, err := a.journal.GivenBack(ctx, s)
	if err != nil {
		return nil, err
	}
	var list []GivenBefore
	for uid, act := range acts {
		list = append(list, GivenBefore{uid, act.Time, act.Who})
	}
	slices.SortFunc(list, func(a, b GivenBefore) int { return cmp.Compare(a.UID, b.UID) })
	return list, nil
}

// refsIn returns the messages of a selection that are there. The error is ErrNotFound if none is.
func (a *Archive) refsIn(ctx context.Context, s journal.Selection) ([]journal.Ref, error) {
	var refs []journal.Ref
	for _, r := range s.UIDs {
		for o, err := range a.journal.Outlines(ctx, s.Mailbox, s.Month, s.Folder, r.First, r.Last) {
			if o.UID == 0 {
				return nil, err
			}
			ref := journal.Ref{Mailbox: s.Mailbox, Month: s.Month, Folder: s.Folder, UID: o.UID}
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("%s: %w", s, journal.ErrNotFound)
	}
	return refs, nil
}

// giveBack gives one message back. The error says that no other can be, either.
func (a *Archive) giveBack(ctx context.Context, who policy.Actor, m policy.Mailbox, ref journal.Ref) (GivenBack, error) {
	g := GivenBack{Mailbox: m.Address.String(), Folder: ref.FolderName(), UID: ref.UID}
	e, err := a.journal.Entry(ctx, ref)
	var body *journal.Body
	if err == nil {
		body, err = a.journal.Body(ctx, e)
	}
	recorded := false
	if err == nil {
		g.Reply, err = a.options.Mailstore(ctx, m.Address, e.Size, body, func() error {
			err := a.journal.RecordGiveBack(ctx, ref, who.String())
			recorded = err == nil
			return err
		})
	}
	switch {
	case err == nil:
		g.State = GivenBackDone
	case errors.Is(err, ErrMailstoreUnknown):
		g.State = GivenBackUnknown
	case errors.Is(err, ErrMailstoreRefused):
		g.State = GivenBackRefused
	case errors.Is(err, journal.ErrDamaged):
		g.State = GivenBackDamaged
	case errors.Is(err, journal.ErrNotFound):
		g.State = GivenBackAbsent
	}
	if recorded && err != nil && g.State != GivenBackUnknown {
		why := g.Reply
		if why == "" {
			why = ErrMailstore.Error()
		}
		// The mailstore has said what it said, whether or not the caller still waits.
		if err := a.journal.RecordNotGivenBack(context.WithoutCancel(ctx), ref, who.String(), why); err != nil {
			return g, fmt.Errorf("put on record that a message was not given back: %w", err)
		}
	}
	if g.State == "" {
		return g, err
	}
	return g, nil
}
