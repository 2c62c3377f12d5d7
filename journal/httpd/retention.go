package httpd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"copialettere/journal"
	"copialettere/journal/kv"
)

// ExpireRequest says how the retention is to run.
type ExpireRequest struct {
	DryRun bool // only count
	Yes    bool // go on although the run is abnormal
	// Progress is called now and then; may be nil.
	Progress func(kv.Month, journal.Removed)
}

// Expire runs the retention with the settings that all mailboxes have now. An error of reading them stops it before anything is deleted.
func (b Backend) Expire(ctx context.Context, r ExpireRequest) (*journal.ExpireReport, error) {
	type retention struct {
		months int
		held   bool
	}
	settings := make(map[string]retention)
	for m, err := range b.Policy.Mailboxes(ctx) {
		if err != nil {
			return nil, fmt.Errorf("settings for the retention: %w", err)
		}
		settings[m.Address.String()] = retention{m.Settings.Retention, m.Settings.Held()}
	}
	report, err := b.Journal.Expire(ctx, journal.ExpireOptions{
		Mailboxes: func(mailbox string) (int, bool) { return settings[mailbox].months, settings[mailbox].held },
		DryRun:    r.DryRun, Yes: r.Yes, MaxShare: b.MaxShare, Progress: r.Progress,
	})
	ran := report != nil && !r.DryRun && !errors.Is(err, journal.ErrAbnormal)
	if ran && len(report.Expired) > 0 && b.Expired != nil {
		b.Expired(report)
	}
	return report, err
}

// ExpireLine is one line of /v1/retention: progress, and then the report.
type ExpireLine struct {
	Progress *ExpireProgress       `json:"progress,omitempty"`
	Report   *journal.ExpireReport `json:"report,omitempty"`
	Refused  bool                  `json:"refused,omitempty"` // the run is abnormal, and nothing was deleted
}

// ExpireProgress is how far a run has come.
type ExpireProgress struct {
	Month   kv.Month        `json:"month"`
	Removed journal.Removed `json:"removed"`
}

// runs tells of the runs so far, oldest first.
func (a *admin) runs(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	for run, err := range a.b.Journal.Runs(r.Context()) {
		if err != nil {
			out.fail(a.b.Logger, err)
			return
		}
		if out.write(run) != nil {
			return
		}
	}
}

func (a *admin) retention(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	request := ExpireRequest{Progress: func(m kv.Month, removed journal.Removed) {
		out.write(ExpireLine{Progress: &ExpireProgress{m, removed}})
		out.flush()
	}}
	var err error
	for name, value := range map[string]*bool{"dry_run": &request.DryRun, "yes": &request.Yes} {
		if text := r.FormValue(name); text != "" && err == nil {
			if *value, err = strconv.ParseBool(text); err != nil {
				err = fmt.Errorf("%w: %s=%.100q: want true or false", errRequest, name, text)
			}
		}
	}
	var report *journal.ExpireReport
	if err == nil {
		report, err = a.b.Expire(r.Context(), request)
	}
	refused := errors.Is(err, journal.ErrAbnormal)
	if err != nil && !refused && !errors.Is(err, journal.ErrDamaged) {
		out.fail(a.b.Logger, err)
		return
	}
	out.write(ExpireLine{Report: report, Refused: refused})
	if err != nil && !refused {
		out.fail(a.b.Logger, err) // months were passed over
	}
}
