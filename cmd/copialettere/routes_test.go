package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/httpd"
)

// commandRoutes has an example of every form of a sub-command, with the route that it asks; "" where it asks none.
var commandRoutes = map[string]string{
	// These are about files and processes of the machine, or need no daemon.
	"init":                  "",
	"serve":                 "",
	"check":                 "",
	"demo":                  "",
	"version":               "",
	"encryption-key":        "",
	"verify-bundle out.zip": "",

	"password anna@alpha.test": "",
	"dns alpha.test":           "",
	"restore-backup /mnt/disk": "",
	"rebuild":                  "",
	"doctor":                   "",
	"doctor -mend":             "",

	"backup /mnt/disk": "POST /snapshot",

	"import anna@alpha.test -from ../../testdata/messages/plain.eml":                     "POST /mailboxes/{mailbox}/import",
	"import anna@alpha.test -from imaps://anna@mail.test -password-file ../../README.md": "POST /mailboxes/{mailbox}/pull",
	"pull list anna@alpha.test": "GET /mailboxes/{mailbox}/pulls",
	"pull add anna@alpha.test old -from imaps://anna@mail.test -password-file ../../README.md": "POST /mailboxes/{mailbox}/pulls",
	"pull test anna@alpha.test old":                           "POST /mailboxes/{mailbox}/pulls/{name}/test",
	"pull run anna@alpha.test old":                            "POST /mailboxes/{mailbox}/pulls/{name}/run",
	"pull remove anna@alpha.test old":                         "DELETE /mailboxes/{mailbox}/pulls/{name}",
	"give-back anna@alpha.test INBOX/2026-11 5":               "POST /mailboxes/{mailbox}/messages/{folder}/give-back",
	"check anna@alpha.test":                                   "GET /mailboxes/{mailbox}/route",
	"mailbox list":                                            "GET /mailboxes",
	"mailbox show anna@alpha.test":                            "GET /mailboxes/{mailbox}",
	"mailbox log anna@alpha.test":                             "GET /mailboxes/{mailbox}/log",
	"mailbox set anna@alpha.test quota=1GB":                   "PATCH /mailboxes/{mailbox}/settings",
	"mailbox enable anna@alpha.test":                          "POST /mailboxes/{mailbox}/enable",
	"mailbox set -domain alpha.test quota=1GB":                "POST /mailboxes/set",
	"mailbox enable -from ../../README.md -dry-run quota=1GB": "POST /mailboxes/enable",
	"usage":                                                          "GET /usage",
	"usage -domain alpha.test":                                       "GET /usage",
	"usage anna@alpha.test":                                          "GET /mailboxes/{mailbox}/usage",
	"mailbox confirm anna@alpha.test CODE":                           "POST /mailboxes/{mailbox}/confirm",
	"mailbox confirm anna@alpha.test -confirmed":                     "POST /mailboxes/{mailbox}/confirm",
	"mailbox pause anna@alpha.test":                                  "POST /mailboxes/{mailbox}/pause",
	"mailbox resume anna@alpha.test":                                 "POST /mailboxes/{mailbox}/resume",
	"mailbox disable anna@alpha.test -confirm anna":                  "POST /mailboxes/{mailbox}/disable",
	"mailbox restore anna@alpha.test":                                "POST /mailboxes/{mailbox}/restore",
	"mailbox rename anna@alpha.test carla@alpha.test":                "POST /mailboxes/{mailbox}/rename",
	"mailbox hand-over anna@alpha.test -confirm anna@alpha.test":     "POST /mailboxes/{mailbox}/hand-over",
	"mailbox hold anna@alpha.test -reason case":                      "POST /mailboxes/{mailbox}/hold",
	"mailbox release anna@alpha.test":                                "POST /mailboxes/{mailbox}/release",
	"app-password list anna@alpha.test":                              "GET /mailboxes/{mailbox}/app-passwords",
	"app-password add anna@alpha.test phone":                         "POST /mailboxes/{mailbox}/app-passwords",
	"app-password revoke anna@alpha.test phone":                      "DELETE /mailboxes/{mailbox}/app-passwords/{name}",
	"delegate list anna@alpha.test":                                  "GET /mailboxes/{mailbox}/delegates",
	"delegate add anna@alpha.test bruno@beta.test -until 2027-01-31": "POST /mailboxes/{mailbox}/delegates",
	"delegate revoke anna@alpha.test bruno@beta.test":                "DELETE /mailboxes/{mailbox}/delegates/{person}",
	"token list":                    "GET /tokens",
	"token list -domain alpha.test": "GET /tokens",
	"token add panel -domain alpha.test -scope read -until 2027-01-31": "POST /tokens",
	"token revoke panel":                      "DELETE /tokens/{name}",
	"second-factor show anna@alpha.test":      "GET /mailboxes/{mailbox}/second-factor",
	"second-factor on anna@alpha.test":        "POST /mailboxes/{mailbox}/second-factor/begin",
	"second-factor on anna@alpha.test 123456": "POST /mailboxes/{mailbox}/second-factor/confirm",
	"second-factor off anna@alpha.test":       "POST /mailboxes/{mailbox}/second-factor/end",
	"access anna@alpha.test":                  "GET /mailboxes/{mailbox}/access",
	"list anna@alpha.test":                    "GET /mailboxes/{mailbox}/entries",
	"list anna@alpha.test -newest 20 -folder INBOX -since 2026-11-01 -until 2026-11-30": "GET /mailboxes/{mailbox}/entries",
	"list anna@alpha.test -folder INBOX/2026-11 -after 17":                              "GET /mailboxes/{mailbox}/entries",
	"cat anna@alpha.test INBOX/2026-11 1":                                               "GET /mailboxes/{mailbox}/messages/{folder}/{uid}/raw",
	"bundle anna@alpha.test INBOX/2026-11 1 -to out.zip":                                "POST /mailboxes/{mailbox}/messages/{folder}/{uid}/bundle",
	"bundle anna@alpha.test INBOX/2026-11 1 -practice -to out.zip":                      "POST /mailboxes/{mailbox}/messages/{folder}/{uid}/bundle",
	"export anna@alpha.test -to out -since 2026-11-01":                                  "POST /mailboxes/{mailbox}/export",
	"parts anna@alpha.test INBOX/2026-11 1":                                             "GET /mailboxes/{mailbox}/messages/{folder}/{uid}/parts",
	"part anna@alpha.test INBOX/2026-11 1 1":                                            "GET /mailboxes/{mailbox}/messages/{folder}/{uid}/parts/{part}",
	"why anna@alpha.test":                                                               "GET /mailboxes/{mailbox}/why",
	"gaps anna@alpha.test":                                                              "GET /mailboxes/{mailbox}/gaps",
	"delete anna@alpha.test INBOX/2026-11 1":                                            "POST /mailboxes/{mailbox}/messages/{folder}/delete",
	"delete anna@alpha.test INBOX/2026-11 1 -undo":                                      "POST /mailboxes/{mailbox}/messages/{folder}/undelete",
	"delete anna@alpha.test INBOX/2026-11 1 5-7,9":                                      "POST /mailboxes/{mailbox}/messages/{folder}/delete",
	"empty anna@alpha.test INBOX/2026-11":                                               "POST /mailboxes/{mailbox}/messages/{folder}/empty",
	"move anna@alpha.test INBOX/2026-11 1 Trash/2026-11":                                "POST /mailboxes/{mailbox}/messages/{folder}/move",
	"hold anna@alpha.test INBOX/2026-11 1 -reason case":                                 "POST /mailboxes/{mailbox}/messages/{folder}/{uid}/hold",
	"hold anna@alpha.test INBOX/2026-11 1 -reason case -release":                        "POST /mailboxes/{mailbox}/messages/{folder}/{uid}/release",
	"practice anna@alpha.test":                                                          "GET /mailboxes/{mailbox}/practices",
	"practice anna@alpha.test 17":                                                       "GET /mailboxes/{mailbox}/practices",
	"practice anna@alpha.test -message-id 1@ext.test":                                   "GET /mailboxes/{mailbox}/practices",
	"retention":                              "POST /retention",
	"retention -log":                         "GET /retention",
	"verify":                                 "GET /verify",
	"checkpoint":                             "POST /checkpoints",
	"preservation":                           "GET /preservation",
	"preservation anna@alpha.test":           "GET /mailboxes/{mailbox}/preservation",
	"checkpoint -list":                       "GET /checkpoints",
	"checkpoint -new-key":                    "POST /checkpoints/key",
	"privacy anna@alpha.test":                "GET /mailboxes/{mailbox}/privacy",
	"privacy anna@alpha.test -others":        "GET /mailboxes/{mailbox}/privacy",
	"stats":                                  "GET /stats",
	"stats anna@alpha.test":                  "GET /mailboxes/{mailbox}/folders",
	"quota-warning anna@alpha.test 80":       "POST /mailboxes/{mailbox}/quota-warning",
	"volume forget 2026-01 -confirm 2026-01": "POST /volumes/{month}/forget",
	"profile anna@alpha.test":                "GET /mailboxes/{mailbox}/set-up/profile",
	"profile anna@alpha.test -json":          "GET /mailboxes/{mailbox}/set-up",
	"profile anna@alpha.test -qr":            "POST /mailboxes/{mailbox}/set-up/link",
	"profile anna@alpha.test -png -account mailbox -incoming pop3": "POST /mailboxes/{mailbox}/set-up/link",
}

// routesWithoutCommand are for other programs.
var routesWithoutCommand = []string{
	"GET /version", "GET /openapi.json", "GET /mailboxes/{mailbox}/messages", "GET /mailboxes/{mailbox}/deleted", "GET /labels", "GET /mailboxes/{mailbox}/settings", "GET /mailboxes/{mailbox}/retention", "GET /mailboxes/{mailbox}/messages/{folder}/{uid}",
	"POST /mailboxes/{mailbox}/sign-in", "POST /backups",
	"GET /mailboxes/{mailbox}/messages/{folder}/raw", // of what "copialettere export" has listed
	// "copialettere export" writes to a folder of its own.
	"GET /mailboxes/{mailbox}/exports", "POST /mailboxes/{mailbox}/exports", "GET /mailboxes/{mailbox}/exports/{export}", "DELETE /mailboxes/{mailbox}/exports/{export}",
	"GET /mailboxes/{mailbox}/exports/{export}/zip",
}

// askedBefore is what a command asks before the route of the table: whether there is an archive at all.
var askedBefore = map[string]string{"export": "GET /mailboxes/{mailbox}"}

// TestCommandRoutes runs every form of every sub-command against a daemon that only notes requests. Each asks the one route of the table above, with
// parameters that the route takes, and each route has a command.
func TestCommandRoutes(t *testing.T) {
	asked := make(map[string]bool)
	routes := make(map[string]httpd.Route)
	served := http.NewServeMux() // tells which route a request is for
	for _, r := range httpd.Routes() {
		routes[r.Method+" "+r.Path] = r
		served.Handle(r.Method+" "+httpd.Prefix+r.Path, http.NotFoundHandler())
	}
	p := newPlace(t)
	noted := noteRequests(t, filepath.Join(p.dir, "data"))
	commandsSeen := make(map[string]bool)
	acts := make(map[string]bool)
	for line, route := range commandRoutes {
		args := strings.Fields(line)
		commandsSeen[args[0]] = true
		if args[0] == "mailbox" {
			acts[args[1]] = true
		}
		if route == "" {
			continue
		}
		asked[route] = true
		if before, ok := askedBefore[args[0]]; ok {
			route = before
		}
		for i, arg := range args {
			if arg == "out" || arg == "out.zip" {
				args[i] = filepath.Join(p.dir, arg) // some commands write there before they ask
			}
		}
		code, _, stderr := p.run(args...)
		var got []*http.Request
		for len(noted) > 0 {
			got = append(got, <-noted)
		}
		if code != 1 || !strings.Contains(stderr, "noted") || len(got) != 1 {
			t.Errorf("%s: exit status %d, %d requests: %s", line, code, len(got), stderr)
			continue
		}
		method, path, _ := strings.Cut(route, " ")
		if _, pattern := served.Handler(got[0]); pattern != method+" "+httpd.Prefix+path {
			t.Errorf("%s asks %s %s, want %s", line, got[0].Method, got[0].URL.Path, route)
		}
		r := routes[route]
		query := got[0].URL.Query()
		if r.Record && query.Get("who") == "" {
			t.Errorf("%s does not say who asks", line)
		}
		query.Del("who")
		for _, p := range r.Parameters() {
			query.Del(p.Name)
		}
		for name := range query {
			t.Errorf("%s sends %s, which %s does not take", line, name, route)
		}
	}
	if want := slices.Sorted(maps.Keys(commands())); !slices.Equal(slices.Sorted(maps.Keys(commandsSeen)), want) {
		t.Errorf("the table has %q, want %q", slices.Sorted(maps.Keys(commandsSeen)), want)
	}
	if want := slices.Sorted(maps.Keys(mailboxActs())); !slices.Equal(slices.Sorted(maps.Keys(acts)), want) {
		t.Errorf("the table has of mailbox %q, want %q", slices.Sorted(maps.Keys(acts)), want)
	}
	for _, route := range routesWithoutCommand {
		asked[route] = true
	}
	if want := slices.Sorted(maps.Keys(routes)); !slices.Equal(slices.Sorted(maps.Keys(asked)), want) {
		t.Errorf("commands ask %q, want all of %q", slices.Sorted(maps.Keys(asked)), want)
	}
}

// noteRequests listens on the admin socket in place of a daemon, notes every request and refuses it.
func noteRequests(t *testing.T, folder string) <-chan *http.Request {
	t.Helper()
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(folder, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	noted := make(chan *http.Request, 16)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noted <- r
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, `{"detail":"noted"}`)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-served })
	return noted
}

// TestDeleteFromEachDoor deletes one message over the admin socket, and one with the data folder open in the command itself. Both are refused for the
// same reasons in the same words, and leave the same on record.
func TestDeleteFromEachDoor(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	for n := range 2 {
		p.deliver(fmt.Sprintf("X-Number: %d\r\n%s", n, message), anna, anna)
	}
	folder := p.entries(anna)[0].Folder
	p.must("hold", anna, folder, "1", "-reason", "case 1")
	p.must("hold", anna, folder, "2", "-reason", "case 1")
	walk := func(uid string) string {
		var said strings.Builder
		for _, before := range [][]string{
			{"mailbox", "set", anna, "write=off", "manual_delete=off"}, {"mailbox", "set", anna, "manual_delete=on"},
			{"mailbox", "hold", anna, "-reason", "case 2"}, {"mailbox", "release", anna},
			{"hold", anna, folder, uid, "-reason", "closed", "-release"}, {"mailbox", "show", anna},
		} {
			p.must(before...)
			code, stdout, stderr := p.run("delete", anna, folder, uid)
			stdout, _, _ = strings.Cut(stdout, " back until ")
			fmt.Fprintf(&said, "%d %s%s", code, stdout, stderr)
		}
		for line := range strings.Lines(p.must("mailbox", "log", anna)) {
			if _, act, ok := strings.Cut(line, "  delete "+folder+" "+uid+","); ok {
				said.WriteString("on record" + act)
			}
		}
		return strings.ReplaceAll(said.String(), folder+" "+uid, folder+" N")
	}
	overSocket := walk("1")
	stop()
	if offline := walk("2"); offline != overSocket {
		t.Errorf("over the socket\n%soffline\n%s", overSocket, offline)
	}
	for _, want := range []string{"read-only", "N: held", "legal hold", "0 delete: ", "no such entry", "on record by operator "} {
		if !strings.Contains(overSocket, want) {
			t.Errorf("%q was not said:\n%s", want, overSocket)
		}
	}
	p.must("verify")
}
