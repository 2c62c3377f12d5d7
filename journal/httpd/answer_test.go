package httpd

import (
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// serveFor serves a route whose function is serve, and returns the answer to a request that accepts a media type.
func serveFor(t *testing.T, public, many bool, accept string, serve func(*api, *call) error) *httptest.ResponseRecorder {
	t.Helper()
	a := newAPI(Backend{}, door{who: operator, public: public})
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	a.serve(&Route{Method: "GET", Path: "/test", Many: many, Answer: VersionView{}, serve: serve}, w, r)
	return w
}

// TestAnswerForms: many objects are one document, or one a line, and an error in the middle is there in either.
func TestAnswerForms(t *testing.T) {
	yields := func(n int, next string, err error) func(*api, *call) error {
		return func(_ *api, c *call) error {
			c.out.next = next
			return tell(c, iter.Seq2[VersionView, error](func(yield func(VersionView, error) bool) {
				for range n {
					if !yield(VersionView{"1"}, nil) {
						return
					}
				}
				if err != nil {
					yield(VersionView{}, err)
				}
			}))
		}
	}
	const one = `{"version":"1"}`
	const conflict = `{"type":"urn:copialettere:held","title":"A legal hold forbids it","status":409,"detail":"` // the rest is the error's
	held := policy.ErrHeld.Error()
	for _, c := range []struct {
		name   string
		many   bool
		lines  bool
		serve  func(*api, *call) error
		status int
		want   string
	}{
		{"one", false, false, func(_ *api, c *call) error { return c.out.write(VersionView{"1"}) }, 200, one},
		{"one as a line", false, true, func(_ *api, c *call) error { return c.out.write(VersionView{"1"}) }, 200, one},
		{"none of many", true, false, yields(0, "", nil), 200, `{"items":[]}`},
		{"none of many as lines", true, true, yields(0, "", nil), 200, ""},
		{"many", true, false, yields(3, "", nil), 200, `{"items":[` + one + "," + one + "," + one + `]}`},
		{"many as lines", true, true, yields(2, "", nil), 200, one + one},
		{"a page", true, false, yields(1, "p2", nil), 200, `{"items":[` + one + `],"next":"p2"}`},
		{"a page as lines", true, true, yields(1, "p2", nil), 200, one + `{"next":"p2"}`},
		{"an error at once", true, false, yields(0, "", policy.ErrHeld), 409, conflict + held + `"}`},
		{"an error at once as lines", true, true, yields(0, "", policy.ErrHeld), 409, conflict + held + `"}`},
		{"an error midway", true, false, yields(2, "", policy.ErrHeld), 200, `{"items":[` + one + "," + one + `],"problem":` + conflict + held + `"}}`},
		{"an error midway as lines", true, true, yields(1, "", policy.ErrHeld), 200, one + `{"problem":` + conflict + held + `"}}`},
		{"an error after one", false, true, func(_ *api, c *call) error { c.out.write(VersionView{"1"}); return policy.ErrHeld }, 200,
			one + `{"problem":` + conflict + held + `"}}`},
		{"an error after one, which tells it", false, false, func(_ *api, c *call) error { c.out.write(VersionView{"1"}); return policy.ErrHeld }, 200, one},
	} {
		t.Run(c.name, func(t *testing.T) {
			accept, kind := "*/*", documentType
			if c.lines {
				accept, kind = linesType, linesType
			}
			if c.status != 200 {
				kind = problemType
			}
			w := serveFor(t, true, c.many, accept, c.serve)
			got := strings.ReplaceAll(w.Body.String(), "\n", "")
			if w.Code != c.status || got != c.want || w.Header().Get("Content-Type") != kind {
				t.Errorf("%d %s %s\nwant %d %s %s", w.Code, w.Header().Get("Content-Type"), got, c.status, kind, c.want)
			}
			if !c.lines && !json.Valid(w.Body.Bytes()) {
				t.Errorf("no JSON: %s", w.Body)
			}
		})
	}
}

// TestFaults: behind a public door nobody learns of a fault more than its name in the log.
func TestFaults(t *testing.T) {
	secret := errors.New("open /var/lib/secret: permission denied")
	for _, c := range []struct {
		name   string
		public bool
		err    error
		want   string // in the detail
	}{
		{"for the operator", false, secret, "/var/lib/secret"},
		{"for others", true, secret, "Nothing more is told here"},
		{"of the archive", true, errors.Join(secret, journal.ErrDamaged), "A part of the archive cannot be read"},
		{"of a month", true, journal.PassedOver{{Month: "2026-11", Err: secret}}, "A part of the archive cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, after := range []int{0, 1} {
				w := serveFor(t, c.public, true, "", func(_ *api, call *call) error {
					for range after {
						call.out.write(VersionView{"1"})
					}
					return c.err
				})
				var p Problem
				var midway struct {
					Items   []VersionView
					Problem *Problem
				}
				if after == 0 && (json.Unmarshal(w.Body.Bytes(), &p) != nil || w.Code != 500) {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				if after == 1 {
					if json.Unmarshal(w.Body.Bytes(), &midway) != nil || len(midway.Items) != 1 || midway.Problem == nil {
						t.Fatalf("%s", w.Body)
					}
					p = *midway.Problem
				}
				if p.Status != 500 || p.Type != "urn:copialettere:fault" || !strings.Contains(p.Detail, c.want) || p.Request == "" {
					t.Errorf("%+v", p)
				}
				if c.public && strings.Contains(w.Body.String(), "secret") {
					t.Errorf("internal text: %s", w.Body)
				}
			}
		})
	}
}

// TestProblems: the first kind of an error decides, and no two kinds share a name.
func TestProblems(t *testing.T) {
	seen := make(map[string]bool)
	for _, k := range problems {
		if seen[k.name] || k.title == "" || k.status < 400 || len(k.errors) == 0 {
			t.Errorf("%+v", k)
		}
		seen[k.name] = true
		for _, err := range k.errors {
			if p := problemOf(err); p.Status != k.status || p.Type != typeOf(k.name) {
				t.Errorf("%v: %+v, want %s", err, p, k.name)
			}
		}
	}
	for err, status := range map[error]int{
		archive.ErrReadOnly: 403, journal.ErrHeld: 409, auth.ErrThrottled: 429, auth.ErrUnavailable: 503, errTooMany: 429, io.ErrUnexpectedEOF: 500, errUnknown: 401,
	} {
		if p := problemOf(err); p.Status != status {
			t.Errorf("%v: %+v, want %d", err, p, status)
		}
	}
}

// TestBadRequests sends what no client of ours would: each answer names what is wrong, and changes nothing.
func TestBadRequests(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	const of = "/api/v1/mailboxes/anna@alpha.test"
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		want                       string
	}{
		{"no such route", "GET", "/api/v1/nothing", "", 404, "openapi.json"},
		{"no such route of a mailbox", "GET", of + "/nothing", "", 404, "openapi.json"},
		{"a GET that changes", "GET", of + "/enable?who=root", "", 405, "takes POST"},
		{"another method", "PUT", of + "/settings?who=root", "{}", 405, "takes GET, PATCH"},
		{"an unknown parameter", "GET", of + "/why?messageid=1", "", 400, `unknown parameter "messageid": this route takes "message_id"`},
		{"a query that is not escaped", "GET", of + "/messages?q=100%&limit=5", "", 400, "escape it, % as %25"},
		{"a query with semicolons", "GET", of + "/messages?folder=INBOX;q=x", "", 400, "; as %3B"},
		{"a parameter twice", "GET", of + "/messages?q=x&q=y", "", 400, `"q" is there 2 times`},
		{"an index for nobody", "POST", of + "/exports?who=root", `{"sincro":{"id":"01234567890","name":"Alpha","document":"x"}}`, 400, "sincro: \"01234567890\" is no identifier"},
		{"an index without a name", "POST", of + "/exports?who=root", `{"sincro":{"id":"VATIT-01234567890","document":"x"}}`, 400, "sincro: the name is empty"},
		{"no JSON", "PATCH", of + "/settings?who=root", "retention=12", 400, "no JSON"},
		{"an array", "PATCH", of + "/settings?who=root", `["retention"]`, 400, "want an object"},
		{"a number for a text", "PATCH", of + "/settings?who=root", `{"retention": 12}`, 400, "retention: want its value as a text"},
		{"the same setting twice", "PATCH", of + "/settings?who=root", `{"write":"on","write":"off"}`, 400, "twice"},
		{"two objects", "PATCH", of + "/settings?who=root", `{"write":"on"} {}`, 400, "one JSON object"},
		{"a truncated object", "PATCH", of + "/settings?who=root", `{"write":"on"`, 400, "no JSON"},
		{"no object", "PATCH", of + "/settings?who=root", ``, 400, "no setting: the keys are filter"},
		{"an unknown member", "POST", of + "/disable?who=root", `{"confirm":"anna@alpha.test","force":true}`, 400, `unknown field "force"`},
		{"a text for a truth value", "POST", of + "/disable?who=root", `{"confirm":"anna@alpha.test","now":"yes"}`, 400, "now: want true or false"},
		{"a list for an object", "POST", of + "/disable?who=root", `[1]`, 400, "want one JSON object"},
		{"a text for a number", "POST", of + "/quota-warning?who=root", `{"percent":"80"}`, 400, "percent: want a whole number"},
		{"no messages", "POST", of + "/messages/INBOX%2F2026-11/delete?who=root", `{}`, 400, "uids: name the messages"},
		{"no UIDs", "POST", of + "/messages/INBOX%2F2026-11/delete?who=root", `{"uids":"a-b"}`, 400, "malformed UIDs"},
		{"a folder without a month", "GET", of + "/messages/INBOX/1/raw", "", 400, "INBOX/2026-11"},
		{"no UID", "GET", of + "/messages/INBOX%2F2026-11/x/raw", "", 400, "uid"},
		{"a body without end", "POST", of + "/hold?who=root", `{"reason":"` + strings.Repeat("x", maxBody) + `"}`, 400, "more than"},
		{"a retention that there is not", "GET", of + "/retention?retention=7", "", 400, "retention"},
		{"nobody", "POST", of + "/pause", "", 400, "who: name the operator"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, c.target, strings.NewReader(c.body)))
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != c.status || p.Status != c.status || w.Header().Get("Content-Type") != problemType {
				t.Fatalf("%d %s %v", w.Code, w.Body, err)
			}
			if !strings.Contains(p.Detail, c.want) {
				t.Errorf("the problem does not say %q: %s", c.want, p.Detail)
			}
			if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
				t.Error("no Allow")
			}
		})
	}
	if v := r.mailbox("GET /mailboxes/{mailbox}?" + anna); v.Archive != "on" || len(v.Changes) != 1 {
		t.Errorf("changed all the same: %+v", v)
	}
}

// impatient is a connection that has deadlines.
type impatient struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (i *impatient) SetWriteDeadline(t time.Time) error {
	i.deadlines = append(i.deadlines, t)
	return nil
}

// TestPatience: a long answer behind a public door has time for each of its parts, and behind the admin socket no deadline at all: somebody may look at it
// page by page.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, public := range []bool{true, false} {
			a := newAPI(Backend{}, door{who: operator, public: public})
			w := &impatient{ResponseRecorder: httptest.NewRecorder()}
			const items = 5
			a.serve(&Route{Method: "GET", Path: "/test", Many: true, serve: func(_ *api, c *call) error {
				for range items {
					time.Sleep(patience / 2)
					if err := c.out.write(VersionView{"1"}); err != nil {
						return err
					}
					if last := len(w.deadlines) - 1; public && time.Until(w.deadlines[last]) != patience {
						t.Errorf("the client has %s", time.Until(w.deadlines[last]))
					}
				}
				return nil
			}}, w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
			if !public && len(w.deadlines) > 0 || public && len(w.deadlines) < items {
				t.Errorf("public %t: %d deadlines", public, len(w.deadlines))
			}
			if got := strings.Count(w.Body.String(), "version"); got != items {
				t.Errorf("public %t: %s", public, w.Body)
			}
		}
	})
}

// TestEntitledOn: a long answer behind a public door breaks off, so that it shows, when whoever asked may not have it any more.
func TestEntitledOn(t *testing.T) {
	backend := newRig(t).backend
	for _, c := range []struct {
		name   string
		method string
		right  archive.Right
		asked  int // how often whoever asks is known
		whole  bool
	}{
		{"the token lasts", "GET", "", 1000, true},
		{"the token ends after the first question", "GET", "", 1, false},
		{"the token ends later", "GET", "", 3, false},
		{"the token ends while messages are read", "POST", archive.RightRead, 2, false},
		{"an act that is done", "POST", "", 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			who := func(*http.Request) (policy.Actor, error) {
				if asked++; asked > c.asked {
					return policy.Actor{}, errUnknown
				}
				return policy.Actor{Role: policy.RoleOperator, Name: "panel"}, nil
			}
			a := newAPI(backend, door{who: who, public: true})
			w := httptest.NewRecorder()
			const items, size = 10, 1 << 20
			aborted := func() (aborted bool) {
				defer func() { aborted = recover() == http.ErrAbortHandler }()
				a.serve(&Route{Method: c.method, Path: "/test", Many: true, Right: c.right, serve: func(_ *api, c *call) error {
					return tell(c, func(yield func(VersionView, error) bool) {
						for range items {
							if !yield(VersionView{strings.Repeat("1", size)}, nil) {
								return
							}
						}
					})
				}}, w, httptest.NewRequestWithContext(t.Context(), c.method, "/", nil))
				return false
			}()
			if got := strings.Count(w.Body.String(), "version"); aborted == c.whole || (got == items) != c.whole || !c.whole && got > c.asked+1 {
				t.Errorf("aborted %t after %d items, asked %d times", aborted, got, asked)
			}
		})
	}
}

// TestOldVersion asks by HTTP/1.0, in which only the length of an answer, or its form, shows that it is whole.
func TestOldVersion(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.deliver("anna@alpha.test")
	message := "/api/v1/mailboxes/anna@alpha.test/messages/INBOX%2F" + time.Now().UTC().Format("2006-01") + "/1"
	for _, c := range []struct {
		name, target, accept string
		status               int
		length               bool // is told before
	}{
		{"a message", message + "/raw", "", 200, true},
		{"a part", message + "/parts/1", "", 200, true},
		{"a list", "/api/v1/mailboxes", documentType, 200, false},
		{"a list in lines", "/api/v1/mailboxes", linesType, 505, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := httptest.NewRequestWithContext(t.Context(), "GET", c.target, nil)
			q.Proto, q.ProtoMajor, q.ProtoMinor = "HTTP/1.0", 1, 0
			q.Header.Set("Accept", c.accept)
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, q)
			want := ""
			if c.length {
				want = strconv.Itoa(w.Body.Len())
			}
			if got := w.Header().Get("Content-Length"); w.Code != c.status || got != want || w.Body.Len() == 0 {
				t.Errorf("%d, %q bytes of %d: %s", w.Code, got, w.Body.Len(), w.Body)
			}
		})
	}
}
