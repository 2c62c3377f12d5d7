package httpd

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/journal/export/bundle"
	"copialettere/journal/export/jobs"
	"copialettere/journal/export/pull"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
	"copialettere/policy/setup"
	"copialettere/policy/source"
)

// Problem is the answer to a request that failed, or the end of one that broke off (RFC 9457).
type Problem struct {
	Type   string `json:"type"` // names the kind of problem: "urn:copialettere:held"
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Request, of a fault, is the name under which the log has it.
	Request string `json:"request,omitempty"`
}

// errUnknown says that a request does not say whose it is, and errTooMany that too many of the same client did not.
var (
	errUnknown = errors.New("send a token that is in force: Authorization: Bearer TOKEN")
	errTooMany = errors.New("too many requests without a valid token came from this address: try again in a minute")
	// errVersion says that lines are asked for by HTTP/1.0, in which a list that breaks off looks whole.
	errVersion = errors.New("lines show that they are whole only by HTTP/1.1 or HTTP/2: accept application/json, or have the proxy between speak HTTP/1.1 (proxy_http_version 1.1 of nginx)")
	// errBusy says that too many requests of one program are under way.
	errBusy = errors.New("too many requests by this token are under way: wait for their answers, then try again")
)

// kind is one kind of problem, and the errors that are of it.
type kind struct {
	status int
	name   string
	title  string
	errors []error
}

// problems are the kinds of problems. An error is of the first kind that has one it wraps.
var problems = []kind{
	{http.StatusUnauthorized, "unauthenticated", "A valid token is wanted", []error{errUnknown}},
	{http.StatusBadRequest, "bad-request", "The request cannot be understood", []error{
		errRequest, policy.ErrAddress, policy.ErrUnknownDomain, policy.ErrSetting, policy.ErrConfirmation, journal.ErrFolder, auth.ErrName, auth.ErrDelegate, auth.ErrToken, search.ErrQuery, export.ErrSelection,
		setup.ErrChoice, pull.ErrSource, pull.ErrNoFolder, source.ErrProfile,
	}},
	{http.StatusForbidden, "read-only", "The settings of the mailbox do not allow it", []error{archive.ErrReadOnly}},
	{http.StatusForbidden, "forbidden", "The right to do this is lacking", []error{policy.ErrForbidden, auth.ErrDenied, auth.ErrSecondFactor}},
	{http.StatusConflict, "held", "A legal hold forbids it", []error{policy.ErrHeld, journal.ErrHeld}},
	{http.StatusTooManyRequests, "too-many", "There were too many attempts", []error{auth.ErrThrottled, errTooMany, errBusy}},
	{http.StatusConflict, "conflict", "The state of the mailbox forbids it", []error{
		policy.ErrErasing, policy.ErrNotClosing, policy.ErrNotPending, notice.ErrCode, auth.ErrCode, policy.ErrTaken, policy.ErrClosed, policy.ErrLimit,
		auth.ErrClosed, archive.ErrGivenBack, archive.ErrNotOn, pull.ErrRunning, pull.ErrFull, jobs.ErrMany, jobs.ErrUnfinished,
	}},
	{http.StatusNotFound, "not-found", "There is no such thing", []error{
		journal.ErrNotFound, journal.ErrGone, pec.ErrNoPart, auth.ErrNoAppPassword, auth.ErrNoSecondFactor, auth.ErrNoDelegate, auth.ErrNoToken,
		policy.ErrNoArchive, setup.ErrNotOffered, source.ErrNoProfile, jobs.ErrNone, bundle.ErrNoPractice,
	}},
	{http.StatusHTTPVersionNotSupported, "version", "HTTP/1.1 is wanted", []error{errVersion}},
	{http.StatusBadGateway, "source", "The account that is imported cannot be read", []error{pull.ErrAccount}},
	{http.StatusServiceUnavailable, "unavailable", "Something that is needed does not answer now", []error{auth.ErrUnavailable, archive.ErrMailstore, errNoJobs}},
}

// typeOf returns the type of the problems of a kind.
func typeOf(kind string) string { return "urn:copialettere:" + kind }

// problemOf returns what to answer to an error. What is of no kind is a fault of ours.
func problemOf(err error) Problem {
	text := strings.TrimPrefix(err.Error(), errRequest.Error()+": ")
	if refusal, ok := errors.AsType[*auth.Refusal](err); ok {
		text = refusal.Sentence.English
	}
	for _, k := range problems {
		if slices.ContainsFunc(k.errors, func(target error) bool { return errors.Is(err, target) }) {
			return Problem{Type: typeOf(k.name), Title: k.title, Status: k.status, Detail: text}
		}
	}
	return Problem{Type: typeOf("fault"), Title: "Something failed at the server", Status: http.StatusInternalServerError, Detail: err.Error()}
}

// fault logs what is our own fault, and keeps it from those who are not the operator.
func (a *api) fault(route *Route, p *Problem, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	p.Request = rand.Text()[:13]
	a.b.Logger.Error("request failed", "request", p.Request, "route", route.Method+" "+route.Path, "error", err)
	if !a.door.public {
		return
	}
	p.Detail = "Nothing more is told here. The log of the server has more under the name of this request."
	if errors.Is(err, journal.ErrDamaged) {
		p.Detail = "A part of the archive cannot be read now and is left out. The log of the server has more under the name of this request."
	}
}
