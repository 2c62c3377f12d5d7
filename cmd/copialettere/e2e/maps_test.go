package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestMaps enables mailboxes by the command alone: the daemon writes the maps, the units of systemd have postmap run, and the next message is
// archived. Then the ways break, and the checks find it.
func TestMaps(t *testing.T) {
	t.Parallel()
	s := variant{ownMaps: true}.start(t)
	stop := s.postfix.WatchMaps(t)
	// Postfix has its maps open before anybody is enabled.
	before := s.receive(t, bruno)
	beforeSent := s.submit(t, anna, anna, []string{dario})
	s.hook.Enable(t, anna, bruno)
	s.awaitRoute(t, anna, true)
	s.awaitRoute(t, bruno, true)
	rig.Wait(t, 20*time.Second, "Postfix to see that the map has changed", func() bool {
		return s.postfix.Logged(t, "trivial-rewrite") && s.postfix.Logged(t, "copialettere_transport") && s.postfix.Resolve(t, anna) == "copialettere-received"
	})
	received, sent := s.receive(t, anna), s.submit(t, anna, anna, []string{dario})
	s.expect(t, bruno, before)
	s.expect(t, anna, beforeSent)
	s.expect(t, anna, received, "received")
	s.expect(t, anna, sent, "sent")
	if status := s.mapsOf(t); !strings.Contains(status, anna) || !strings.Contains(status, bruno) || strings.Contains(status, carla) {
		t.Errorf("the map is\n%s", status)
	}

	t.Run("disabled and restored", func(t *testing.T) { testDisabledMaps(t, s) })
	t.Run("renamed", func(t *testing.T) { testRenamedMaps(t, s) })
	t.Run("the folder is not writable", func(t *testing.T) { testFolderFault(t, s) })
	t.Run("nobody runs postmap", func(t *testing.T) {
		stop()
		testUnrouted(t, s)
	})
	s.postfix.Drain(t)
	s.hook.Verify(t)
}

// testDisabledMaps takes a mailbox out of the maps and back by the commands.
func testDisabledMaps(t *testing.T, s *system) {
	s.hook.Must(t, "mailbox", "disable", bruno, "-confirm", bruno)
	rig.Wait(t, 5*time.Second, "the map to forget the mailbox", func() bool { return !strings.Contains(s.mapsOf(t), bruno) })
	s.awaitRoute(t, bruno, false)
	s.hook.Must(t, "mailbox", "restore", bruno)
	s.awaitRoute(t, bruno, true)
}

// testRenamedMaps gives a mailbox another address and back by the command alone.
func testRenamedMaps(t *testing.T, s *system) {
	moved := func(from, to string) {
		s.hook.Must(t, "mailbox", "rename", from, to)
		s.awaitRoute(t, to, true)
		s.awaitRoute(t, from, false)
		rig.Wait(t, 20*time.Second, "Postfix to see that the map has changed", func() bool {
			return s.postfix.Resolve(t, to) == "copialettere-received" && s.postfix.Resolve(t, from) != "copialettere-received"
		})
	}
	before := s.receive(t, bruno)
	moved(bruno, elena)
	past, received, sent := s.receive(t, bruno), s.receive(t, elena), s.submit(t, elena, elena, []string{dario})
	s.expect(t, elena, before, "received")
	s.expect(t, elena, past)
	s.expect(t, elena, received, "received")
	s.expect(t, elena, sent, "sent")
	s.expectCopies(t, bruno, past, 1)
	moved(elena, bruno)
	again := s.receive(t, bruno)
	s.expect(t, bruno, received, "received")
	s.expect(t, bruno, again, "received")
}

// testFolderFault has the daemon lose the right to its folder: mail goes on, and the maps come when the right is back.
func testFolderFault(t *testing.T, s *system) {
	if err := os.Chown(s.postfix.Maps, 0, 0); err != nil {
		t.Fatal(err)
	}
	s.hook.Enable(t, carla)
	rig.Wait(t, 5*time.Second, "the metric of the fault", func() bool { return s.metric(t, "copialettere_postfix_maps_failing") == "1" })
	if len(s.hook.Logged(t, "the maps for Postfix cannot be written")) == 0 {
		t.Error("the log does not tell")
	}
	s.expect(t, anna, s.receive(t, anna), "received")
	if err := os.Chown(s.postfix.Maps, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	rig.Wait(t, 20*time.Second, "the fault to be over", func() bool { return s.metric(t, "copialettere_postfix_maps_failing") == "0" })
	s.awaitRoute(t, carla, true)
}

// testUnrouted takes mailboxes out of the maps that Postfix reads.
func testUnrouted(t *testing.T, s *system) {
	s.postfix.DeleteKey(t, "copialettere_transport", anna)
	s.postfix.DeleteKey(t, "copialettere_senders", carla)
	s.hook.Enable(t, elena) // whose line nobody has postmap read
	checked, status := s.route(t, anna)
	if status != 1 || checked.state("received") != "not-routed" || checked.state("sent") != "routed" {
		t.Errorf("check %s: status %d, %+v", anna, status, checked)
	}
	text, _, _ := s.hook.Command(t, "check", anna)
	for _, want := range []string{"ok    archive: on", "FAIL  received: transport_maps", "copialettere-postmap.path", "ok    sent: through the hook"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("check %s does not say %q:\n%s", anna, want, text)
		}
	}
	rig.Wait(t, 60*time.Second, "the standing check to find them", func() bool {
		return s.metric(t, `copialettere_unrouted_mailboxes{direction="received"}`) == "2" && s.metric(t, `copialettere_unrouted_mailboxes{direction="sent"}`) == "2"
	})
	shown := string(s.hook.Must(t, "mailbox", "show", anna))
	if !strings.Contains(shown, "received mail: not archived, because Postfix does not route it") || !strings.Contains(shown, "sent mail: goes through the hook") {
		t.Errorf("mailbox show %s:\n%s", anna, shown)
	}
	if !strings.Contains(string(s.hook.Must(t, "mailbox", "show", anna, "-json")), `"route":[{"direction":"received","state":"not-routed"},{"direction":"sent","state":"routed"}]`) {
		t.Error("mailbox show -json does not have the route")
	}
	told := strings.Join(s.hook.Logged(t, "does not route mail of archived mailboxes"), "\n")
	if !strings.Contains(told, "direction=received") || !strings.Contains(told, "direction=sent") || !strings.Contains(told, elena) {
		t.Errorf("the log has only:\n%s", told)
	}
}

// awaitRoute waits until the mail of a mailbox goes, or does not go, through the hook in both directions.
func (s *system) awaitRoute(t *testing.T, mailbox string, through bool) {
	t.Helper()
	want := map[bool]string{true: "routed", false: "not-routed"}[through]
	rig.Wait(t, 15*time.Second, mailbox+" to be "+want, func() bool {
		checked, _ := s.route(t, mailbox)
		return checked.state("received") == want && checked.state("sent") == want
	})
}

// routeCheck is a line of "check ADDR -json".
type routeCheck struct {
	Archive string `json:"archive"`
	Asked   bool   `json:"asked"`
	Routes  []struct {
		Direction string `json:"direction"`
		State     string `json:"state"`
		Detail    string `json:"detail"`
		Remedy    string `json:"remedy"`
	} `json:"routes"`
}

func (c routeCheck) state(direction string) string {
	for _, r := range c.Routes {
		if r.Direction == direction {
			return r.State
		}
	}
	return ""
}

// route runs "check ADDR".
func (s *system) route(t *testing.T, mailbox string) (checked routeCheck, status int) {
	t.Helper()
	stdout, stderr, status := s.hook.Command(t, "check", mailbox, "-json")
	if err := json.Unmarshal(stdout, &checked); err != nil {
		t.Fatalf("check %s: %v\n%s%s", mailbox, err, stdout, stderr)
	}
	return checked, status
}

// mapsOf returns the map of received mail.
func (s *system) mapsOf(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.postfix.Maps, "copialettere_transport"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask asks the daemon over its admin socket.
func (s *system) ask(t *testing.T, method, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.hook.Data, "admin.sock"))
	}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://admin"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", path, answer.Status, err, text)
	}
	return string(text)
}

// metric returns the value of a series, "" where there is none.
func (s *system) metric(t *testing.T, series string) string {
	t.Helper()
	for line := range strings.Lines(s.ask(t, http.MethodGet, "/metrics")) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// enable enables a mailbox over the admin socket, which is faster than a command.
func (s *system) enable(t *testing.T, mailbox string) {
	t.Helper()
	s.ask(t, http.MethodPost, "/api/v1/mailboxes/"+url.PathEscape(mailbox)+"/enable?who=test")
}

// TestRoutes compares what "check ADDR" says with what Postfix does, for addresses that are odd.
func TestRoutes(t *testing.T) {
	s := variant{ownMaps: true, further: "[[domain]]\nname = \"xn--citt-3na.test\"\n"}.start(t)
	s.postfix.WatchMaps(t)
	const hook = "copialettere-received"
	odd := []struct {
		mailbox string
		plain   []string // what Postfix is asked for, without quotes
		through bool
	}{
		{"anna@alpha.test", []string{"anna@alpha.test", "ANNA@Alpha.test", "anna+spese@alpha.test"}, true},
		{`"john smith"@alpha.test`, []string{"john smith@alpha.test"}, true},
		{`"a\"b"@alpha.test`, []string{`a"b@alpha.test`}, true},
		{`"a\\b"@alpha.test`, []string{`a\b@alpha.test`}, true},
		{`"a,b"@alpha.test`, []string{"a,b@alpha.test"}, true},
		{`"a@b"@alpha.test`, []string{"a@b@alpha.test"}, true},
		{`".anna"@alpha.test`, []string{".anna@alpha.test"}, true},
		{`"a..b"@alpha.test`, []string{"a..b@alpha.test"}, true},
		{`"a #b"@alpha.test`, []string{"a #b@alpha.test"}, true},
		{"$a{b}|*@alpha.test", []string{"$a{b}|*@alpha.test"}, true},
		{"jörg@alpha.test", []string{"jörg@alpha.test", "JÖRG@alpha.test"}, true},
		{"\"a\u00a0b\"@alpha.test", []string{"a\u00a0b@alpha.test"}, true},
		{"anna@città.test", []string{"anna@xn--citt-3na.test", "anna@città.test"}, true},
		{"#anna@alpha.test", []string{"#anna@alpha.test"}, false},
	}
	for _, one := range odd {
		s.enable(t, one.mailbox)
	}
	for _, one := range odd {
		s.awaitRoute(t, one.mailbox, one.through)
		for _, plain := range one.plain {
			// Its trivial-rewrite looks every 10 s only whether a map has changed.
			rig.Wait(t, 30*time.Second, fmt.Sprintf("Postfix to know whether %s goes through the hook", plain), func() bool {
				return (s.postfix.Resolve(t, plain) == hook) == one.through
			})
		}
	}
	if got := s.metric(t, "copialettere_postfix_maps_left_out"); got != "1" {
		t.Errorf("left out: %s", got)
	}
	if checked, _ := s.route(t, "#anna@alpha.test"); !strings.Contains(fmt.Sprint(checked), "begins with #") {
		t.Errorf("check says %+v", checked)
	}
	for _, alias := range []string{"info@alpha.test", "staff@alpha.test"} {
		s.enable(t, alias)
		checked, status := s.route(t, alias)
		if status != 1 || !strings.Contains(fmt.Sprint(checked), "enable the mailbox that the mail is delivered to") {
			t.Errorf("check of the alias %s: status %d, %+v", alias, status, checked)
		}
	}
}

// TestManyRoutes enables 2,000 mailboxes at once, and measures what the maps and the standing check cost.
func TestManyRoutes(t *testing.T) {
	t.Parallel()
	s := variant{ownMaps: true, further: "[log]\nlevel = \"debug\"\n"}.start(t)
	s.postfix.WatchMaps(t)
	const many = 2000
	begun := time.Now()
	for i := range many {
		s.enable(t, fmt.Sprintf("u%04d@alpha.test", i))
	}
	enabled := time.Since(begun)
	s.awaitRoute(t, fmt.Sprintf("u%04d@alpha.test", many-1), true)
	t.Logf("%d mailboxes enabled in %v, the last one routed %v later", many, enabled.Round(time.Millisecond), (time.Since(begun) - enabled).Round(time.Millisecond))
	const mark = "asked Postfix whether it routes mail through the hook"
	rig.Wait(t, 60*time.Second, "the standing check", func() bool { return len(s.looks(t, mark, many)) > 0 })
	t.Log(s.looks(t, mark, many)[0])
	for _, direction := range []string{"received", "sent"} {
		for _, name := range []string{"copialettere_unrouted_mailboxes", "copialettere_route_unknown_mailboxes"} {
			if got := s.metric(t, name+`{direction="`+direction+`"}`); got != "0" {
				t.Errorf("%s of %s mail is %s", name, direction, got)
			}
		}
	}
}

// looks returns the lines of the log about looks at so many mailboxes.
func (s *system) looks(t *testing.T, mark string, mailboxes int) []string {
	var lines []string
	for _, line := range s.hook.Logged(t, mark) {
		if strings.Contains(line, fmt.Sprintf("mailboxes=%d ", mailboxes)) {
			lines = append(lines, line)
		}
	}
	return lines
}
