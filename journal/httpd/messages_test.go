package httpd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/pec/pectest"
)

// story puts certified and ordinary mail of an office into the archive of anna@alpha.test by hand, and returns how many messages that were.
func (r *rig) story() int {
	r.t.Helper()
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=append=on&set=language=en")
	owner := r.backend.Archive.WebReader(policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, r.address("anna@alpha.test"))
	steps := pectest.Story("anna@alpha.test", time.Now())
	for _, step := range steps {
		folder := "INBOX"
		if step.Sent {
			folder = "Sent"
		}
		if _, err := owner.Append(r.t.Context(), folder, time.Time{}, bytes.NewReader(step.Message), int64(len(step.Message))); err != nil {
			r.t.Fatalf("%s: %v", step.Name, err)
		}
	}
	return len(steps)
}

// messagesPage is a page of messages as one document.
type messagesPage struct {
	Items   []EntryView
	Next    string
	Problem *Problem
}

// TestMessages goes through a list page by page: every message is there once, newest first, whatever the length of the pages.
func TestMessages(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	number := r.story()
	ask := func(values url.Values) (messagesPage, *httptest.ResponseRecorder) {
		t.Helper()
		route := routeOf(t, "GET", "/mailboxes/{mailbox}/messages")
		values.Set("mailbox", "anna@alpha.test")
		request := newRequest(t, &route, values)
		request.Header.Del("Accept")
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, request)
		var page messagesPage
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		return page, w
	}
	for _, limit := range []int{1, 4, number, 500} {
		var seen []string
		last, after := time.Now().AddDate(1, 0, 0), ""
		for {
			page, _ := ask(url.Values{"limit": {fmt.Sprint(limit)}, "after": {after}})
			if len(page.Items) > limit || page.Problem != nil {
				t.Fatalf("limit %d: %d messages, %+v", limit, len(page.Items), page.Problem)
			}
			for _, e := range page.Items {
				at := e.Time
				if e.Imported != nil {
					at = e.Imported.Date
				}
				if at.After(last) || e.Mailbox != "anna@alpha.test" {
					t.Errorf("limit %d: %s %s %d is newer than the one before", limit, e.Mailbox, e.Folder, e.UID)
				}
				last = at
				seen = append(seen, fmt.Sprintf("%s %d", e.Folder, e.UID))
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if slices.Sort(seen); len(slices.Compact(seen)) != number {
			t.Errorf("limit %d: %d messages, want %d: %q", limit, len(seen), number, seen)
		}
	}
	for _, c := range []struct {
		name   string
		values url.Values
		want   string // the subjects that are there contain this; empty for none
	}{
		{"a word", url.Values{"q": {"subject:sollecito"}}, "Sollecito"},
		{"a folder", url.Values{"q": {"disdetta"}, "folder": {"Sent"}}, "Disdetta"},
		{"nothing", url.Values{"q": {"subject:nothing-of-this"}}, ""},
	} {
		page, w := ask(c.values)
		if (len(page.Items) > 0) != (c.want != "") {
			t.Errorf("%s: %s", c.name, w.Body)
		}
		for _, e := range page.Items {
			if !strings.Contains(e.Subject+e.InnerSubject, c.want) || c.values.Has("folder") && !strings.HasPrefix(e.Folder, "Sent/") {
				t.Errorf("%s: %s %q", c.name, e.Folder, e.Subject)
			}
		}
	}
	for _, values := range []url.Values{{"limit": {"0"}}, {"limit": {"501"}}, {"limit": {"x"}}, {"after": {"x"}}} {
		if _, w := ask(values); w.Code != http.StatusBadRequest {
			t.Errorf("%v: %d %s", values, w.Code, w.Body)
		}
	}
	r.mailbox("POST /mailboxes/{mailbox}/disable?" + anna + "&confirm=anna@alpha.test")
	if _, w := ask(url.Values{}); w.Code != http.StatusConflict {
		t.Errorf("of an archive that is off: %d %s", w.Code, w.Body)
	}
}

// TestDeleted goes through what was deleted page by page, brings one back by its place in the list, and the rest stays.
func TestDeleted(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=write=on")
	for _, words := range []string{"one", "two", "three"} {
		r.secret("anna@alpha.test", words)
	}
	folder := url.QueryEscape("INBOX/" + time.Now().UTC().Format("2006-01"))
	for _, uid := range []string{"2", "1", "3"} {
		get[ActView](r, "POST /mailboxes/{mailbox}/messages/{folder}/delete?"+anna+"&folder="+folder+"&uids="+uid)
	}
	list := func() (uids []uint32) {
		t.Helper()
		for after := ""; ; {
			_, lines := r.ask("GET /mailboxes/{mailbox}/deleted?mailbox=anna@alpha.test&limit=2&after=" + after)
			after = ""
			for _, line := range lines {
				var v struct {
					DeletedView
					Next string
				}
				if err := json.Unmarshal([]byte(line), &v); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				if after = v.Next; after != "" {
					break
				}
				if v.Mailbox != "anna@alpha.test" || v.DeletedBy != "operator root" || v.Until.Sub(v.DeletedAt) != 72*time.Hour || !strings.HasPrefix(v.Folder, "INBOX/") {
					t.Errorf("%s", line)
				}
				uids = append(uids, v.UID)
			}
			if after == "" {
				return uids
			}
		}
	}
	if got := list(); !slices.Equal(got, []uint32{3, 1, 2}) {
		t.Errorf("deleted are %v", got)
	}
	get[ActView](r, "POST /mailboxes/{mailbox}/messages/{folder}/undelete?"+anna+"&folder="+folder+"&uids=1")
	if got := list(); !slices.Equal(got, []uint32{3, 2}) {
		t.Errorf("after one was brought back: %v", got)
	}
	r.fails("GET /mailboxes/{mailbox}/deleted?mailbox=anna@alpha.test&after=x", http.StatusBadRequest, "after")
}

// TestDamagedMessage asks for the bytes of a message that the disk has spoiled: programs learn that they cannot be read, the operator also why.
func TestDamagedMessage(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.deliver("anna@alpha.test")
	ref := journal.Ref{Mailbox: "anna@alpha.test", Month: kv.MonthOf(time.Now()), Folder: "INBOX", UID: 1}
	e, err := r.journal.Entry(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	store, err := r.engine.Volume(t.Context(), ref.Month, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put(append([]byte{'c'}, e.Chunks[0].ID[:]...), []byte("spoilt"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	token := r.token("reads", auth.ScopeRead)
	for _, of := range []string{"raw", "parts/1"} {
		w := r.program("GET", "/api/v1/mailboxes/anna@alpha.test/messages/"+url.PathEscape(ref.FolderName())+"/1/"+of, "", "Authorization", "Bearer "+token)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusInternalServerError || p.Status != w.Code ||
			!strings.Contains(p.Detail, "cannot be read") || w.Header().Get("Content-Length") != "" || w.Header().Get("Content-Type") != problemType {
			t.Errorf("%s: %d %v %s", of, w.Code, w.Header(), w.Body)
		}
	}
	r.fails("GET /mailboxes/{mailbox}/messages/{folder}/{uid}/raw?"+anna+"&uid=1&folder="+url.QueryEscape(ref.FolderName()), http.StatusInternalServerError, "decompress chunk", ref.FolderName())
	r.deliverText("anna@alpha.test", "Subject: 2\r\n\r\nText\r\n")
	if got := r.many(ref.FolderName(), "1,2,9"); len(got) != 1 || got["2/raw"] != "Subject: 2\r\n\r\nText\r\n" {
		t.Errorf("many, of which one is damaged: %q", got)
	}
}

// many asks for the bytes of many messages, and returns them by their Content-Location.
func (r *rig) many(folder, uids string) map[string]string {
	r.t.Helper()
	w := r.program("GET", "/api/v1/mailboxes/anna@alpha.test/messages/"+url.PathEscape(folder)+"/raw?uids="+uids, "", "Authorization", "Bearer "+r.token("many"+uids, auth.ScopeRead))
	kind, values, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if w.Code != http.StatusOK || err != nil || kind != messagesType {
		r.t.Fatalf("%d %v: %s", w.Code, w.Header(), w.Body)
	}
	got := make(map[string]string)
	for parts := multipart.NewReader(w.Body, values["boundary"]); ; {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return got
		}
		if err != nil {
			r.t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if err != nil || part.Header.Get("Content-Length") != strconv.Itoa(len(b)) || part.Header.Get("Content-Type") != messageType {
			r.t.Errorf("%d bytes with %v: %v", len(b), part.Header, err)
		}
		got[part.Header.Get("Content-Location")] = string(b)
	}
}

// TestManyMessages asks for the bytes of many messages of a folder.
func TestManyMessages(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	for i := range 3 {
		r.deliverText("anna@alpha.test", fmt.Sprintf("Subject: %d\r\n\r\nText\r\n", i))
	}
	folder := "INBOX/" + time.Now().UTC().Format("2006-01")
	for uids, want := range map[string]string{"1-3": "1/raw 2/raw 3/raw", "3,1": "1/raw 3/raw", "2-900": "2/raw 3/raw", "7": ""} {
		if got := slices.Sorted(maps.Keys(r.many(folder, uids))); strings.Join(got, " ") != want {
			t.Errorf("%s: %q", uids, got)
		}
	}
	for _, bad := range []string{"", "uids=x", "uids=1-1001", "uids=1&all=true"} {
		if status, lines := r.ask("GET /mailboxes/{mailbox}/messages/{folder}/raw?" + anna + "&folder=" + url.QueryEscape(folder) + "&" + bad); status != http.StatusBadRequest {
			t.Errorf("%s: %d %q", bad, status, lines)
		}
	}
}
