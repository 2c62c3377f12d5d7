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
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// TestRoutes asks every route, in an order in which each has something to answer, and decodes each answer as the type in the table: that has every
// name of the answer.
func TestRoutes(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /api/v1/mailbox/enable?" + anna)
	r.mailbox("POST /api/v1/mailbox/set?" + anna + "&set=write=on")
	r.deliver("anna@alpha.test")
	folder := "INBOX/" + time.Now().UTC().Format("2006-01")
	first := url.Values{"folder": {folder}, "uid": {"1"}}.Encode()
	asked := make(map[string]bool)
	code := "" // of the second factor
	for _, request := range []string{
		"GET /mailboxes?", "GET /mailbox?", "GET /log?", "GET /access?", "POST /app-password/add?name=phone", "GET /app-passwords?", "POST /app-password/revoke?name=phone",
		"POST /token/add?name=panel&domain=alpha.test&scope=read", "GET /tokens?domain=alpha.test", "POST /token/revoke?name=panel",
		"POST /second-factor/begin?", "POST /second-factor/confirm?code=CODE", "GET /second-factor?", "POST /second-factor/end?",
		"POST /delegate/add?person=bruno@beta.test&until=" + time.Now().AddDate(0, 0, 7).Format(time.DateOnly), "GET /delegates?", "POST /delegate/revoke?person=bruno@beta.test", "GET /why?", "GET /gaps?", "GET /list?all=true", "GET /message?" + first,
		"GET /parts?" + first, "GET /part?part=1&" + first, "GET /practice?", "GET /stats?", "GET /route?", "GET /privacy?", "GET /verify?", "GET /version?",
		"GET /labels?", "POST /notice/quota-warning?percent=80",
		"POST /message/hold?reason=case&" + first, "POST /message/release?reason=closed&" + first, "POST /message/delete?" + first,
		"POST /message/undelete?" + first, "POST /message/move?to=Trash&folder=" + url.QueryEscape(folder) + "&uid=2",
		"POST /folder/empty?folder=" + url.QueryEscape(folder), "POST /retention?", "GET /retention?",
		"POST /mailbox/pause?", "POST /mailbox/resume?", "POST /mailboxes/set?domain=alpha.test&set=language=en",
		"POST /mailboxes/enable?domain=alpha.test&dry_run=true", "GET /usage?", "GET /usage/months?",
		"GET /set-up?", "GET /set-up/profile?account=mailbox", "POST /set-up/link?incoming=imap",
		"POST /mailbox/enable?", "POST /mailbox/set?set=language=en", "POST /mailbox/set?set=notify=anna@ext.test",
		"POST /mailbox/confirm?confirmed=true", "POST /mailbox/hold?reason=case", "POST /mailbox/release?",
		"POST /mailbox/disable?confirm=anna@alpha.test", "POST /mailbox/restore?",
		"POST /mailbox/hand-over?confirm=anna@alpha.test", "POST /mailbox/rename?to=carla@alpha.test", "POST /volume/forget?month=2020-01&confirm=2020-01",
	} {
		name, _, _ := strings.Cut(request, "?")
		method, path, _ := strings.Cut(name, " ")
		asked[name] = true
		route := routeOf(t, method, path)
		request = strings.Replace(request, "CODE", code, 1)
		status, lines := r.ask(method + " " + Prefix + strings.TrimPrefix(request, method+" ") + "&" + anna)
		switch {
		case name == "POST /volume/forget":
			if status != http.StatusNotFound && status != http.StatusInternalServerError {
				t.Errorf("%s: a month that never was: status %d: %q", name, status, lines)
			}
			continue
		case status != http.StatusOK:
			t.Errorf("%s: status %d: %q", name, status, lines)
			continue
		case !route.Many && len(lines) == 0, !route.Many && len(lines) > 1 && route.Answer != Content{}:
			t.Errorf("%s: %d lines", name, len(lines))
		}
		for _, line := range lines {
			if route.Answer == (Content{}) {
				break
			}
			if name == "POST /second-factor/begin" {
				code = secondFactorCode(t, line)
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
		if route.Right == "" != (route.Path == "/version" || route.Path == "/labels") || route.About == "" {
			t.Errorf("%s has the right %q and is about %q", route.Path, route.Right, route.About)
		}
		if route.Method == http.MethodPost && route.Right != archive.RightOperate && !route.Record {
			t.Errorf("%s changes a mailbox and names nobody", route.Path)
		}
	}
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
func (r *rig) deliver(mailbox string) {
	r.t.Helper()
	d := r.journal.NewDraft(r.t.Context())
	defer d.Discard()
	fmt.Fprint(d, "Subject: 1\r\n\r\nText\r\n")
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
		r.mailbox("POST /api/v1/mailbox/enable?who=root&mailbox=" + mailbox)
		r.deliver(mailbox)
	}
	before := r.mailbox("GET /api/v1/mailbox?mailbox=bruno@alpha.test")
	mux := http.NewServeMux()
	(&api{r.backend}).route(mux, func(*http.Request) (policy.Actor, error) {
		return policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, nil
	})
	ask := func(route Route, mailbox string) int {
		w := httptest.NewRecorder()
		query := "?month=2020-01&confirm=2020-01&reason=x&set=language=en&part=1&uid=1&to=Trash&folder=INBOX/" + time.Now().UTC().Format("2006-01")
		target := Prefix + route.Path + query + "&who=root&mailbox=" + mailbox
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), route.Method, target, nil))
		return w.Code
	}
	for _, route := range Routes() {
		own := route.Right == "" || route.Right == archive.RightRead || route.Right == archive.RightLook || route.Path == "/app-passwords" || route.Path == "/second-factor" || route.Path == "/delegates" ||
			route.Path == "/second-factor/begin"
		if status := ask(route, "anna@alpha.test"); own != (status == http.StatusOK) && route.Path != "/mailbox/set" || !own && status == http.StatusInternalServerError {
			t.Errorf("%s %s of the own mailbox: status %d", route.Method, route.Path, status)
		}
		if status := ask(route, "bruno@alpha.test"); status != http.StatusForbidden && route.Right != "" {
			t.Errorf("%s %s of another's mailbox: status %d", route.Method, route.Path, status)
		}
	}
	after := r.mailbox("GET /api/v1/mailbox?mailbox=bruno@alpha.test")
	if !reflect.DeepEqual(after, before) {
		t.Errorf("bruno's mailbox was\n%+v\nand is\n%+v", before, after)
	}
}
