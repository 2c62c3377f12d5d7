package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// freePorts returns ports that were free a moment ago.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// TestDemo runs the demonstration to its end, and signs in with what it prints.
func TestDemo(t *testing.T) {
	p := newPlace(t) // its configuration is overwritten
	n := freePorts(t, 6)
	var out safeBuffer
	d := &demo{
		invocation: &invocation{stdout: &out, stderr: t.Output()}, dir: p.dir,
		ports: demoPorts{LMTP: n[0], Sent: n[1], Outbox: n[2], Admin: n[3], IMAP: n[4], Web: n[5]},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.run(ctx, filepath.Join("..", "..", "testdata", "messages")) }()
	ended := false
	defer func() {
		cancel()
		if !ended {
			if err := <-done; err != nil {
				t.Errorf("demo: %v", err)
			}
		}
	}()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(out.String(), "Ctrl-C stops it."); {
		select {
		case err := <-done:
			ended = true
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			t.Fatalf("the demo has ended: %v\n%s\n%s", err, out.String(), log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the demo has come no further than\n%s", out.String())
		}
	}
	t.Run("practices", func(t *testing.T) { demoPractices(t, p) })
	t.Run("anomaly and gap", func(t *testing.T) {
		var classes []string
		for _, e := range p.entries(demoOwner) {
			classes = append(classes, e.Class)
		}
		for _, want := range []string{"anomalia", "posta-certificata", "accettazione", "avvenuta-consegna", "errore-consegna", "ordinary"} {
			if !slices.Contains(classes, want) {
				t.Errorf("no %s in %v", want, classes)
			}
		}
		if gaps := p.must("gaps", demoOwner); !strings.Contains(gaps, "paused") {
			t.Errorf("gaps:\n%s", gaps)
		}
	})
	t.Run("sign in", func(t *testing.T) { demoSignIns(t, out.String()) })
	t.Run("rights", func(t *testing.T) {
		var m struct{ May []string }
		if err := json.Unmarshal([]byte(p.must("mailbox", "show", demoOwner, "-json")), &m); err != nil || !slices.Contains(m.May, "delete") {
			t.Errorf("may %v, %v", m.May, err)
		}
	})
}

// demoPractices expects a complete, a waiting, a failed, and a half complete practice.
func demoPractices(t *testing.T, p *place) {
	got := make(map[string][]string)
	for line := range strings.Lines(p.must("practice", demoOwner, "-json")) {
		var one struct {
			Subject    string
			Recipients []struct{ Status string }
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		for _, r := range one.Recipients {
			got[one.Subject] = append(got[one.Subject], r.Status)
		}
	}
	want := map[string][]string{
		"Contratto di fornitura 2026": {"delivered"}, "Sollecito di pagamento fattura 118": {"accepted"}, "Disdetta contratto di locazione": {"failed"},
		"Convocazione assemblea": {"delivered", "accepted"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("practices %v, want %v", got, want)
	}
}

// demoSignIns signs in as each person that the demo names.
func demoSignIns(t *testing.T, printed string) {
	page := regexp.MustCompile(`in a browser: +(\S+)/\n`).FindStringSubmatch(printed)
	people := regexp.MustCompile(`: +(\S+@\S+) +password (\S+)\n`).FindAllStringSubmatch(printed, -1)
	if page == nil || len(people) != 2 {
		t.Fatalf("the demo ends with\n%s", printed)
	}
	for _, person := range people {
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.PostForm(page[1]+"/sign-in", url.Values{"login": {person[1]}, "password": {person[2]}})
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) == 0 {
			t.Errorf("%s: %s\n%s", person[1], answer.Status, body)
		}
	}
}
