package httpd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
)

// tell writes what a source yields, as it comes. What is damaged is counted, and told of behind the rest.
func tell[T any](a *admin, out *lines, source iter.Seq2[T, error]) {
	var damaged damages
	for v, err := range source {
		if damaged.count(err) {
			continue
		}
		if err != nil {
			out.fail(a.b.Logger, err)
			return
		}
		if out.write(v) != nil {
			return // nobody reads any more
		}
	}
	if err := damaged.err(); err != nil {
		out.fail(a.b.Logger, err)
	}
}

// views yields what view makes of each element that it takes.
func views[T, V any](source iter.Seq2[T, error], view func(T) (v V, ok bool)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		for t, err := range source {
			var v V
			ok := true
			if err == nil {
				v, ok = view(t)
			}
			if ok && !yield(v, err) {
				return
			}
		}
	}
}

// listed yields the elements of a list.
func listed[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (a *admin) why(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	tell(a, out, a.verdicts(r.Context(), address, r.FormValue("message_id")))
}

// verdicts yields what is known of a mailbox: its entries, skips and gaps, and when its archive was off, in the order of time. Of a message
// that is looked for, the times when it was off are told where nothing else is known. A mailbox without an archive has one verdict that
// says so.
func (a *admin) verdicts(ctx context.Context, address policy.Address, messageID string) iter.Seq2[VerdictView, error] {
	return func(yield func(VerdictView, error) bool) {
		wanted := part.MessageID(messageID)
		if messageID != "" && wanted == "" {
			yield(VerdictView{}, fmt.Errorf("%w: message_id %.100q holds no id", errRequest, messageID))
			return
		}
		var closed, open []VerdictView // the times when the archive was off, and since when it is
		for pause, err := range a.b.Policy.Pauses(ctx, address) {
			if err != nil {
				yield(VerdictView{}, err)
				return
			}
			switch v, ok := verdictOfPause(address, pause); {
			case ok && v.Until != nil:
				closed = append(closed, v)
			case ok:
				open = append(open, v)
			}
		}
		a.b.Journal.Settle(ctx)
		at := func(v VerdictView) time.Time { return v.Time }
		entries := views(a.b.Journal.ListByTime(ctx, address.String()), func(e *journal.Entry) (VerdictView, bool) {
			return verdictOfEntry(e), messageID == "" || part.MessageID(e.MessageID) == wanted
		})
		records := views(a.b.Journal.Records(ctx, address.String()), func(r *journal.Record) (VerdictView, bool) {
			// A gap of many messages may be why this one is missing.
			return verdictOfRecord(address, r), messageID == "" || part.MessageID(r.MessageID) == wanted || r.Kind == journal.Gap && r.MessageID == ""
		})
		if messageID == "" {
			for v, err := range journal.MergeByTime(at, entries, records, listed(append(closed, open...))) {
				if !yield(v, err) {
					return
				}
			}
			return
		}
		found := false
		for v, err := range journal.MergeByTime(at, entries, records) {
			found = found || err == nil
			if err == nil && len(open) > 0 && open[0].Time.Before(v.Time) {
				if !yield(open[0], nil) {
					return
				}
				open = open[1:]
			}
			if !yield(v, err) || err != nil && !errors.Is(err, journal.ErrDamaged) {
				return
			}
		}
		if !found {
			open = append(closed, open...)
		}
		for _, v := range open {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (a *admin) gaps(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	tell(a, out, a.gapsOf(r.Context(), address))
}

// gapsOf yields the pauses of a mailbox and the gaps that the journal has on record, in the order of time.
func (a *admin) gapsOf(ctx context.Context, address policy.Address) iter.Seq2[GapView, error] {
	return func(yield func(GapView, error) bool) {
		var pauses []GapView
		for pause, err := range a.b.Policy.Pauses(ctx, address) {
			if err != nil {
				yield(GapView{}, err)
				return
			}
			pauses = append(pauses, GapView{
				Mailbox: address.String(), Kind: GapPause, From: known(pause.From), Until: known(pause.Until), Reason: pause.Reason,
			})
		}
		at := func(v GapView) time.Time {
			if v.From == nil {
				return time.Time{}
			}
			return *v.From
		}
		// Skips are passed over behind the merge: a pause from before one need not wait for the next gap.
		records := views(a.b.Journal.Records(ctx, address.String()), func(r *journal.Record) (GapView, bool) {
			v := viewGap(address, r)
			if r.Kind != journal.Gap {
				v.Kind = ""
			}
			return v, true
		})
		for v, err := range journal.MergeByTime(at, listed(pauses), records) {
			if err == nil && v.Kind == "" {
				continue
			}
			if !yield(v, err) {
				return
			}
		}
	}
}
