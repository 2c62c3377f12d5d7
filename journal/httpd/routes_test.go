package httpd

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export/jobs"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// TestRoutes asks every route, in an order in which each has something to answer, and decodes each answer as the type in the table: that has every
// name of the answer.
func TestRoutes(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=write=on")
	r.deliver("anna@alpha.test")
	r.story()
	folder := "INBOX/" + time.Now().UTC().Format("2006-01")
	first, these := url.Values{"folder": {folder}, "uid": {"1"}}.Encode(), url.Values{"folder": {folder}, "uids": {"1"}}.Encode()
	var described object
	if err := json.Unmarshal(openAPI, &described); err != nil {
		t.Fatal(err)
	}
	asked := make(map[string]bool)
	account := mailAccount(t, "Subject: one\r\n\r\none\r\n")
	code, export := "", "" // of the second factor; the name of an export
	for _, request := range []string{
		"POST /mailboxes/{mailbox}/pull?" + account, "POST /mailboxes/{mailbox}/pulls?name=old&every=1d&" + account, "GET /mailboxes/{mailbox}/pulls?", "POST /mailboxes/{mailbox}/pulls/{name}/test?name=old",
		"POST /mailboxes/{mailbox}/pulls/{name}/run?name=old", "DELETE /mailboxes/{mailbox}/pulls/{name}?name=old",
		"GET /mailboxes?", "GET /mailboxes/{mailbox}?", "GET /mailboxes/{mailbox}/log?", "GET /mailboxes/{mailbox}/settings?", "GET /mailboxes/{mailbox}/folders?", "GET /mailboxes/{mailbox}/retention?retention=12",
		"GET /mailboxes/{mailbox}/access?", "POST /mailboxes/{mailbox}/app-passwords?name=phone", "GET /mailboxes/{mailbox}/app-passwords?", "DELETE /mailboxes/{mailbox}/app-passwords/{name}?name=phone",
		"POST /mailboxes/{mailbox}/second-factor/begin?", "POST /mailboxes/{mailbox}/second-factor/confirm?code=CODE", "GET /mailboxes/{mailbox}/second-factor?", "POST /mailboxes/{mailbox}/second-factor/end?",
		"POST /mailboxes/{mailbox}/sign-in?", "POST /tokens?name=panel&domain=alpha.test&scope=read", "GET /tokens?domain=alpha.test", "DELETE /tokens/{name}?name=panel",
		"POST /mailboxes/{mailbox}/delegates?person=bruno@beta.test&until=" + time.Now().AddDate(0, 0, 7).Format(time.DateOnly), "GET /mailboxes/{mailbox}/delegates?", "DELETE /mailboxes/{mailbox}/delegates/{person}?person=bruno@beta.test", "GET /mailboxes/{mailbox}/why?", "GET /mailboxes/{mailbox}/gaps?", "GET /mailboxes/{mailbox}/entries?all=true", "GET /mailboxes/{mailbox}/messages?q=certified", "GET /mailboxes/{mailbox}/messages/{folder}/{uid}?" + first, "GET /mailboxes/{mailbox}/messages/{folder}/{uid}/raw?" + first,
		"GET /mailboxes/{mailbox}/messages/{folder}/raw?" + these,
		"GET /mailboxes/{mailbox}/messages/{folder}/{uid}/parts?" + first, "GET /mailboxes/{mailbox}/messages/{folder}/{uid}/parts/{part}?part=1&" + first, "POST /mailboxes/{mailbox}/export?since=2020-01-01T00:00:00Z", "POST /mailboxes/{mailbox}/exports?since=2020-01-01T00:00:00Z", "GET /mailboxes/{mailbox}/exports?",
		"GET /mailboxes/{mailbox}/exports/{export}?export=EXPORT", "GET /mailboxes/{mailbox}/exports/{export}/zip?export=EXPORT", "DELETE /mailboxes/{mailbox}/exports/{export}?export=EXPORT", "POST /mailboxes/{mailbox}/messages/{folder}/{uid}/bundle?" + first, "GET /mailboxes/{mailbox}/practices?", "GET /stats?", "GET /mailboxes/{mailbox}/route?", "GET /mailboxes/{mailbox}/privacy?", "GET /verify?", "GET /version?",
		"POST /mailboxes/{mailbox}/import?folder=Lavoro&date=2019-05-06T07:08:09Z&source=a.mbox+at+4711&quoting=none", "GET /labels?", "GET /openapi.json?", "POST /mailboxes/{mailbox}/quota-warning?percent=80",
		"POST /mailboxes/{mailbox}/messages/{folder}/{uid}/hold?reason=case&" + first, "POST /mailboxes/{mailbox}/messages/{folder}/{uid}/release?reason=closed&" + first, "POST /mailboxes/{mailbox}/messages/{folder}/delete?" + these,
		"POST /mailboxes/{mailbox}/messages/{folder}/give-back?folder=" + url.QueryEscape(folder) + "&uids=2", "GET /mailboxes/{mailbox}/deleted?", "POST /mailboxes/{mailbox}/messages/{folder}/undelete?" + these, "POST /mailboxes/{mailbox}/messages/{folder}/move?to=Trash&folder=" + url.QueryEscape(folder) + "&uids=2",
		"POST /mailboxes/{mailbox}/messages/{folder}/empty?folder=" + url.QueryEscape(folder), "POST /retention?", "GET /retention?", "POST /checkpoints?", "GET /checkpoints?", "GET /preservation?", "GET /mailboxes/{mailbox}/preservation?", "POST /checkpoints/key?",
		"POST /mailboxes/{mailbox}/pause?", "POST /mailboxes/{mailbox}/resume?", "POST /mailboxes/set?domain=alpha.test&set=language=en",
		"POST /mailboxes/enable?domain=alpha.test&dry_run=true", "GET /usage?", "GET /mailboxes/{mailbox}/usage?",
		"GET /mailboxes/{mailbox}/set-up?", "GET /mailboxes/{mailbox}/set-up/profile?account=mailbox", "POST /mailboxes/{mailbox}/set-up/link?incoming=imap",
		"POST /mailboxes/{mailbox}/enable?", "PATCH /mailboxes/{mailbox}/settings?set=language=en", "PATCH /mailboxes/{mailbox}/settings?set=notify=anna@ext.test",
		"POST /mailboxes/{mailbox}/confirm?confirmed=true", "POST /mailboxes/{mailbox}/hold?reason=case", "POST /mailboxes/{mailbox}/release?",
		"POST /mailboxes/{mailbox}/disable?confirm=anna@alpha.test", "POST /mailboxes/{mailbox}/restore?",
		"POST /mailboxes/{mailbox}/hand-over?confirm=anna@alpha.test", "POST /mailboxes/{mailbox}/rename?to=carla@alpha.test", "POST /volumes/{month}/forget?month=2020-01&confirm=2020-01",
		"POST /snapshot?", "POST /backups?taken=2020-11-30T02:00:00Z&bytes=5&place=/mnt/backup",
	} {
		name, query, _ := strings.Cut(request, "?")
		method, path, _ := strings.Cut(name, " ")
		asked[name] = true
		route := routeOf(t, method, path)
		values, err := url.ParseQuery(strings.NewReplacer("CODE", code, "EXPORT", export).Replace(query) + "&" + anna)
		if err != nil {
			t.Fatal(err)
		}
		status, lines := r.send(newRequest(t, &route, values))
		switch {
		case name == "POST /volumes/{month}/forget":
			if status != http.StatusNotFound && status != http.StatusInternalServerError {
				t.Errorf("%s: a month that never was: status %d: %q", name, status, lines)
			}
			continue
		case status != http.StatusOK:
			t.Errorf("%s: status %d: %q", name, status, lines)
			continue
		case !route.Many && len(lines) == 0, !route.Many && len(lines) > 1 && !route.streams():
			t.Errorf("%s: %d lines", name, len(lines))
		}
		if route.streams() {
			continue
		}
		if route.Method == http.MethodGet {
			r.validateDocument(described, &route, values)
		}
		for _, line := range lines {
			kind := documentType
			if route.Many {
				kind = linesType
			}
			validateText(t, described, answerSchema(t, described, &route, kind), []byte(line))
			if name == "POST /mailboxes/{mailbox}/second-factor/begin" {
				code = secondFactorCode(t, line)
			}
			if name == "POST /mailboxes/{mailbox}/exports" {
				export = r.exported(line)
			}
			decoder := json.NewDecoder(strings.NewReader(line))
			decoder.DisallowUnknownFields()
			v := reflect.New(reflect.TypeOf(route.Answer))
			if err := decoder.Decode(v.Interface()); err != nil {
				t.Errorf("%s: %v: %s", name, err, line)
			}
			var again bytes.Buffer
			if err := json.NewEncoder(&again).Encode(v.Elem().Interface()); err != nil || strings.TrimSpace(again.String()) != line {
				t.Errorf("%s answers\n%s\nand a %T is\n%s", name, line, route.Answer, again.String())
			}
		}
	}
	for _, route := range Routes() {
		if name := route.Method + " " + route.Path; !asked[name] {
			t.Errorf("%s was not asked", name)
		}
		if route.Right == "" != (route.Path == "/version" || route.Path == "/labels" || route.Path == "/openapi.json") || route.About == "" {
			t.Errorf("%s has the right %q and is about %q", route.Path, route.Right, route.About)
		}
		if route.Method != http.MethodGet && route.Right != archive.RightOperate && !route.Record {
			t.Errorf("%s changes a mailbox and names nobody", route.Path)
		}
	}
}

// exported returns the name of an export that was begun, and writes its ZIP.
func (r *rig) exported(answer string) string {
	r.t.Helper()
	var v jobs.Job
	if err := json.Unmarshal([]byte(answer), &v); err != nil || v.State != jobs.StateWaiting {
		r.t.Fatalf("%v: %s", err, answer)
	}
	r.backend.Exports.Work(r.t.Context())
	return v.ID
}

// validateDocument asks a route for one document, and compares it with the description.
func (r *rig) validateDocument(described object, route *Route, values url.Values) {
	r.t.Helper()
	request := newRequest(r.t, route, values)
	request.Header.Del("Accept")
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, request)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != documentType {
		r.t.Errorf("%s %s as a document: %d %s", route.Method, route.Path, w.Code, w.Body)
		return
	}
	validateText(r.t, described, answerSchema(r.t, described, route, documentType), w.Body.Bytes())
}

// secondFactorCode returns the code of now (RFC 6238) of the secret in an answer.
func secondFactorCode(t *testing.T, answer string) string {
	t.Helper()
	var v archive.SecondFactor
	if err := json.Unmarshal([]byte(answer), &v); err != nil || v.New == nil {
		t.Fatalf("%v: %s", err, answer)
	}
	secret, err := base32.StdEncoding.DecodeString(v.New.Text)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}

func routeOf(t *testing.T, method, path string) Route {
	t.Helper()
	for _, route := range Routes() {
		if route.Method == method && route.Path == path {
			return route
		}
	}
	t.Fatalf("no route %s %s", method, path)
	return Route{}
}

// deliver archives a message.
func (r *rig) deliver(mailbox string) { r.deliverText(mailbox, "Subject: 1\r\n\r\nText\r\n") }

func (r *rig) deliverText(mailbox, text string) {
	r.t.Helper()
	d := r.journal.NewDraft(r.t.Context())
	defer d.Discard()
	fmt.Fprint(d, text)
	placed, err := d.Commit(r.t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: mailbox, Direction: journal.Received}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.journal.Delivered(placed[0].Ref, "T")
}

// TestDoors puts the table behind a door for owners. Every route that the owner has no right to is refused with 403 and does nothing, and so is
// every route about another's mailbox.
func TestDoors(t *testing.T) {
	r := newRig(t)
	for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test"} {
		r.mailbox("POST /mailboxes/{mailbox}/enable?who=root&mailbox=" + mailbox)
		r.deliver(mailbox)
	}
	before := r.mailbox("GET /mailboxes/{mailbox}?mailbox=bruno@alpha.test")
	owner := behindDoor(r, policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"})
	ask := func(route Route, mailbox string) int {
		return owner.ask(route.Method, route.Path, url.Values{"mailbox": {mailbox}, "who": {"root"}, "set": {"language=en"}})
	}
	for _, route := range Routes() {
		own := route.Right == "" || !route.ofDomain() && slices.Contains(
			[]archive.Right{archive.RightRead, archive.RightLook, archive.RightSet, archive.RightSignIn, archive.RightRevoke, archive.RightDelegate, archive.RightGiveBack}, route.Right)
		if status := ask(route, "anna@alpha.test"); own != (status != http.StatusForbidden) || status == http.StatusInternalServerError {
			t.Errorf("%s %s of the own mailbox: status %d", route.Method, route.Path, status)
		}
		if status := ask(route, "bruno@alpha.test"); status != http.StatusForbidden && route.Right != "" {
			t.Errorf("%s %s of another's mailbox: status %d", route.Method, route.Path, status)
		}
	}
	after := r.mailbox("GET /mailboxes/{mailbox}?mailbox=bruno@alpha.test")
	if !reflect.DeepEqual(after, before) {
		t.Errorf("bruno's mailbox was\n%+v\nand is\n%+v", before, after)
	}
}

// TestParameters reads what the table of routes says of queries.
func TestParameters(t *testing.T) {
	for takes, want := range map[string][]Parameter{
		"":                                   nil,
		"[all=true]":                         {{"all", "true", false}},
		"[q=QUERY][&folder=F][&limit=N]":     {{"q", "QUERY", false}, {"folder", "F", false}, {"limit", "N", false}},
		"month=M[&account=archive|mailbox]":  {{"month", "M", true}, {"account", "archive|mailbox", false}},
		"month=M&person=ADDR[&dry_run=true]": {{"month", "M", true}, {"person", "ADDR", true}, {"dry_run", "true", false}},
	} {
		route := Route{Takes: takes}
		if got := route.Parameters(); !slices.Equal(got, want) {
			t.Errorf("%q: %+v, want %+v", takes, got, want)
		}
	}
}
