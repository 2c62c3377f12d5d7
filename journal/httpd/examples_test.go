package httpd

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"copialettere/policy/auth"
)

// words splits a line of a shell into words, as far as the examples need it.
var words = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)

// TestExamples runs the curl lines of contrib/operating.md in order, against a mailbox with a message. Each answers with success and, but for
// messages, JSON.
func TestExamples(t *testing.T) {
	text, err := os.ReadFile("../../contrib/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?who=root&mailbox=mario@alpha.test")
	r.deliver("mario@alpha.test")
	web := Web(r.backend)
	expand := strings.NewReplacer("$TOKEN", r.token("panel", auth.ScopeWrite), "$API", "https://archivio.alpha.test/api/v1", "2026-11", time.Now().UTC().Format("2006-01"))
	run := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		run++
		handler, method, target, body, authorization := web, http.MethodGet, "", "", ""
		list := words.FindAllString(expand.Replace(line), -1)[1:]
		for i := 0; i < len(list); i++ {
			word := strings.Trim(list[i], `'"`)
			if !strings.HasPrefix(word, "-") {
				target = word
				continue
			}
			i++
			value := strings.Trim(list[i], `'"`)
			switch word {
			case "-X":
				method = value
			case "-d":
				body = value
			case "--data-binary": // of a message
				method, body = http.MethodPost, "Subject: Vecchia\r\n\r\nTesto\r\n"
			case "-H":
				if strings.HasPrefix(value, "Authorization: ") {
					authorization = strings.TrimPrefix(value, "Authorization: ")
				}
			case "--unix-socket":
				handler = r.handler
			case "-o":
			default:
				t.Fatalf("%s: %s is not known here", line, word)
			}
		}
		request := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
		if body != "" {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl does
		}
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		if w.Code != http.StatusOK || kind != messageType && kind != messagesType && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", line, w.Code, w.Body)
		}
	}
	if run < 10 {
		t.Errorf("%d lines were run", run)
	}
}
