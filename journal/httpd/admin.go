// Package httpd is the journal and its settings over HTTP. Admin is the operator's interface, which the sub-commands use over the
// admin socket: whoever can open that socket may do all of it. What Metrics serves holds no mail and may be seen by a monitoring system.
//
// Admin answers with JSON, one object a line where there are many. An error is {"error": "..."} with a status of 400 (bad request), 403 (not
// allowed), 404 (nothing there), 409 (the state of the mailbox is against it) or 500; one that comes in the middle of a list is its last line.
//
//	GET  /v1/mailboxes                              all mailboxes that were ever set up
//	GET  /v1/mailbox?mailbox=ADDR                   one mailbox, with its changes
//	GET  /v1/log?mailbox=ADDR                       the changes of a mailbox, oldest first
//	GET  /v1/list?mailbox=ADDR                      entries
//	GET  /v1/message?mailbox=ADDR&folder=F&uid=N    the bytes of a message
//	POST /v1/message/ACT?mailbox=ADDR&folder=F&uid=N&who=WHO  move (to=FOLDER), delete, undelete, hold or release (reason=TEXT) a message
//	GET  /v1/why?mailbox=ADDR[&message_id=ID]       what was decided, and why
//	GET  /v1/gaps?mailbox=ADDR                      of what the archive holds nothing, and why
//	POST /v1/retention[?dry_run=true][&yes=true]   run the retention, or preview it: {"progress": ...} lines, then the report
//	GET  /v1/practice?mailbox=ADDR[&uid=N]         what the receipts of sent certified messages say
//	GET  /v1/verify                                 check the whole journal: {"progress": ...} lines, then the report
//	GET  /v1/stats[?mailbox=ADDR]                   entries and bytes by folder
//	GET  /v1/version                                the version of the program
//	GET  /metrics, GET /healthz                     as Metrics
//
// These change a mailbox and answer with it. Each takes mailbox=ADDR, and who=WHO, the operator who stands in the log.
//
//	POST /v1/mailbox/enable                         turn the archive on
//	POST /v1/mailbox/set?set=KEY=VALUE[&set=...]    change settings, all or none; the error tells of all that is wrong
//	POST /v1/mailbox/disable?confirm=ADDR[&now=1]   close the archive; it can be restored in its grace, for which now leaves no time
//	POST /v1/mailbox/restore                        take that back
//	POST /v1/mailbox/hold?reason=TEXT               place a legal hold
//	POST /v1/mailbox/release                        lift it
package httpd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/metrics"
	"copialettere/policy"
)

// Backend is what Admin stands on.
type Backend struct {
	Journal *journal.Journal
	Policy  *policy.Policy
	Metrics *metrics.Registry
	Version string
	Logger  *slog.Logger
	// Grace is for how long a disable can be taken back; zero means policy.DefaultGrace.
	Grace time.Duration
	// MaxShare is the part of all entries, up to 1, that a run of the retention deletes without being told to; zero means
	// journal.DefaultMaxShare.
	MaxShare float64
	// Expired is called with the report of every run of the retention that deleted anything, before Expire returns, also of one that broke off
	// and told what it had done until then. May be nil.
	Expired func(*journal.ExpireReport)
}

// Admin returns the operator's interface.
func Admin(b Backend) http.Handler {
	if b.Grace == 0 {
		b.Grace = policy.DefaultGrace
	}
	a := &admin{b}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/mailboxes", a.mailboxes)
	mux.HandleFunc("GET /v1/mailbox", a.mailbox)
	mux.HandleFunc("POST /v1/mailbox/enable", a.enable)
	mux.HandleFunc("POST /v1/mailbox/set", a.set)
	mux.HandleFunc("POST /v1/mailbox/disable", a.disable)
	mux.HandleFunc("POST /v1/mailbox/restore", a.restore)
	mux.HandleFunc("POST /v1/mailbox/hold", a.hold)
	mux.HandleFunc("POST /v1/mailbox/release", a.release)
	mux.HandleFunc("GET /v1/log", a.log)
	mux.HandleFunc("GET /v1/gaps", a.gaps)
	mux.HandleFunc("GET /v1/list", a.list)
	mux.HandleFunc("GET /v1/message", a.message)
	for _, kind := range []string{journal.ActMove, journal.ActDelete, journal.ActUndelete, journal.ActHold, journal.ActRelease} {
		mux.HandleFunc("POST /v1/message/"+kind, a.act(kind))
	}
	mux.HandleFunc("GET /v1/why", a.why)
	mux.HandleFunc("GET /v1/practice", a.practice)
	mux.HandleFunc("GET /v1/retention", a.runs)
	mux.HandleFunc("POST /v1/retention", a.retention)
	mux.HandleFunc("GET /v1/verify", a.verify)
	mux.HandleFunc("GET /v1/stats", a.stats)
	mux.HandleFunc("GET /v1/version", func(w http.ResponseWriter, _ *http.Request) {
		newLines(w).write(map[string]string{"version": b.Version})
	})
	mux.Handle("/", Metrics(b.Metrics))
	return mux
}

// Metrics returns what a monitoring system may see: /metrics in the Prometheus text format, and /healthz.
func Metrics(r *metrics.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	return mux
}

type admin struct{ b Backend }

// lines writes JSON objects, one a line, as they come.
type lines struct {
	w       http.ResponseWriter
	enc     *json.Encoder
	started bool
}

func newLines(w http.ResponseWriter) *lines { return &lines{w: w, enc: json.NewEncoder(w)} }

func (l *lines) write(v any) error {
	if !l.started {
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.started = true
	}
	return l.enc.Encode(v)
}

// flush sends what was written so far.
func (l *lines) flush() { http.NewResponseController(l.w).Flush() }

// Problem is the answer to a request that failed.
type Problem struct {
	Error string `json:"error"`
}

func (l *lines) fail(log *slog.Logger, err error) {
	status := http.StatusInternalServerError
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
	switch {
	case is(errRequest, policy.ErrAddress, policy.ErrUnknownDomain, policy.ErrSetting, policy.ErrConfirmation, journal.ErrFolder):
		status = http.StatusBadRequest
	case is(policy.ErrForbidden, errReadOnly):
		status = http.StatusForbidden
	case is(policy.ErrHeld, journal.ErrHeld, policy.ErrErasing, policy.ErrNotClosing):
		status = http.StatusConflict
	case is(journal.ErrNotFound):
		status = http.StatusNotFound
	case is(context.Canceled):
	default:
		if log != nil {
			log.Error("admin request failed", "error", err)
		}
	}
	if !l.started {
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.WriteHeader(status)
		l.started = true
	}
	l.enc.Encode(Problem{err.Error()})
}

var errRequest = errors.New("bad request")

func mailboxOf(r *http.Request) (policy.Address, error) {
	s := r.FormValue("mailbox")
	a, err := policy.ParseAddress(s)
	if err == nil && a.Domain == "" {
		err = fmt.Errorf("%q: %w: want an address with its domain", s, policy.ErrAddress)
	}
	return a, err
}

func (a *admin) message(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	e, err := a.entry(r)
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	body, err := a.b.Journal.Body(r.Context(), e)
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Content-Length", strconv.FormatInt(e.Size, 10))
	if _, err := body.WriteTo(w); err != nil {
		// The length that was promised is not reached, so the client sees that the message is not whole.
		a.b.Logger.Error("message not read whole", "mailbox", e.Mailbox, "folder", e.FolderName(), "uid", e.UID, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// refOf reads which message a request is about.
func refOf(r *http.Request) (journal.Ref, error) {
	address, err := mailboxOf(r)
	if err != nil {
		return journal.Ref{}, err
	}
	folder, month, err := journal.ParseFolder(r.FormValue("folder"))
	if err != nil {
		return journal.Ref{}, fmt.Errorf("%w: %w", errRequest, err)
	}
	uid, err := strconv.ParseUint(r.FormValue("uid"), 10, 32)
	if err != nil || uid == 0 {
		return journal.Ref{}, fmt.Errorf("%w: uid %.100q: want a number from 1", errRequest, r.FormValue("uid"))
	}
	return journal.Ref{Mailbox: address.String(), Month: month, Folder: folder, UID: uint32(uid)}, nil
}

func (a *admin) entry(r *http.Request) (*journal.Entry, error) {
	ref, err := refOf(r)
	if err != nil {
		return nil, err
	}
	e, err := a.b.Journal.Entry(r.Context(), ref)
	if err != nil {
		return nil, fmt.Errorf("%s %s %d: %w", ref.Mailbox, ref.FolderName(), ref.UID, err)
	}
	return e, nil
}

// Progress is a line of /v1/verify before the report.
type Progress struct {
	Month   kv.Month `json:"month"`
	Entries int64    `json:"entries"` // checked so far
}

// VerifyLine is one line of /v1/verify.
type VerifyLine struct {
	Progress *Progress       `json:"progress,omitempty"`
	Report   *journal.Report `json:"report,omitempty"`
	Error    string          `json:"error,omitempty"`
}

func (a *admin) verify(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	report, err := a.b.Journal.Verify(r.Context(), func(m kv.Month, n int64) {
		out.write(VerifyLine{Progress: &Progress{m, n}})
		out.flush()
	})
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	out.write(VerifyLine{Report: report})
}

func (a *admin) stats(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	mailbox := ""
	if r.FormValue("mailbox") != "" {
		address, err := mailboxOf(r)
		if err != nil {
			out.fail(a.b.Logger, err)
			return
		}
		mailbox = address.String()
	}
	list, err := a.b.Journal.Stats(r.Context(), mailbox)
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	for _, f := range list {
		out.write(f)
	}
}

func sameMessageID(a, b string) bool {
	trim := func(s string) string { return strings.Trim(strings.TrimSpace(s), "<>") }
	return trim(a) == trim(b)
}
