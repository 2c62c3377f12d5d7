package nexthoptest

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// talk sends a whole dialogue at once and returns the lines that come back until the connection ends.
func talk(t *testing.T, network, address string, lines ...string) []string {
	t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for s := bufio.NewScanner(nc); s.Scan(); {
		got = append(got, s.Text())
	}
	return got
}

func TestDialogue(t *testing.T) {
	transaction := []string{
		"LHLO me", "MAIL FROM:<ext@ext.test> SIZE=5", "RCPT TO:<anna@alpha.test> ORCPT=rfc822;x", `RCPT TO:<"a>b"@alpha.test>`,
		"RCPT TO:<anna@alpha.test>", "DATA", "..x", "", ".", "QUIT",
	}
	const opening = "220 nexthop.test ready|250-nexthop.test|250-PIPELINING|250-ENHANCEDSTATUSCODES|250 8BITMIME|"
	tests := []struct {
		name   string
		script Script
		say    []string
		want   string
		record Connection
	}{
		{"all accepted", Script{}, transaction,
			opening + `250 2.1.0 ok|250 2.1.5 ok|250 2.1.5 ok|250 2.1.5 ok|354 go ahead|` +
				`250 2.0.0 <anna@alpha.test> stored|250 2.0.0 <"a>b"@alpha.test> stored|250 2.0.0 <anna@alpha.test> stored|221 2.0.0 bye`,
			Connection{Messages: []Message{{From: "ext@ext.test", Recipients: []string{"anna@alpha.test", `"a>b"@alpha.test`, "anna@alpha.test"},
				Body: []byte(".x\r\n\r\n"), Size: 6, Replies: []string{
					"250 2.0.0 <anna@alpha.test> stored", `250 2.0.0 <"a>b"@alpha.test> stored`, "250 2.0.0 <anna@alpha.test> stored"}}}},
		},
		{"replies by address and line", Script{
			Rcpt:  map[string][]string{`"a>b"@alpha.test`: {"550-5.1.1 no\n550 5.1.1 such user"}},
			Final: map[string][]string{"anna@alpha.test": {"250 ok", "552 5.2.2 full"}},
		}, transaction,
			opening + "250 2.1.0 ok|250 2.1.5 ok|550-5.1.1 no|550 5.1.1 such user|250 2.1.5 ok|354 go ahead|250 ok|552 5.2.2 full|221 2.0.0 bye",
			Connection{Messages: []Message{{From: "ext@ext.test", Recipients: []string{"anna@alpha.test", "anna@alpha.test"},
				Body: []byte(".x\r\n\r\n"), Size: 6, Replies: []string{"250 ok", "552 5.2.2 full"}}}},
		},
		{"SMTP, bodies not kept", Script{SMTP: true, Discard: true, Keywords: []string{"SIZE 7"}}, transaction,
			"220 nexthop.test ready|250-nexthop.test|250 SIZE 7|250 2.1.0 ok|250 2.1.5 ok|250 2.1.5 ok|250 2.1.5 ok|354 go ahead|250 2.0.0 <> stored|221 2.0.0 bye",
			Connection{Messages: []Message{{From: "ext@ext.test", Recipients: []string{"anna@alpha.test", `"a>b"@alpha.test`, "anna@alpha.test"},
				Size: 6, Replies: []string{"250 2.0.0 <> stored"}}}},
		},
		{"no recipient", Script{}, []string{"LHLO me", "DATA", "NOOP", "WHAT", "QUIT"},
			opening + "503 5.5.1 no valid recipients|250 2.0.0 ok|500 5.5.2 unknown command|221 2.0.0 bye", Connection{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := Listen(t, "unix", filepath.Join(t.TempDir(), "hop"), tt.script)
			got := talk(t, "unix", server.Addr(), tt.say...)
			if want := strings.Split(tt.want, "|"); !slices.Equal(got, want) {
				t.Errorf("replies\n%q\nwant\n%q", got, want)
			}
			server.Close()
			tt.record.Closed = true
			record := server.Connections()[0]
			for _, line := range record.Commands {
				if !slices.Contains(tt.say, line) {
					t.Errorf("command %q was never sent", line)
				}
			}
			record.Commands = nil
			if len(record.Messages) == 0 {
				record.Messages = nil
			}
			if !reflect.DeepEqual(record, tt.record) {
				t.Errorf("record\n%+v\nwant\n%+v", record, tt.record)
			}
		})
	}
}

// TestDeaths: two connections die inside the message, the third lives.
func TestDeaths(t *testing.T) {
	server := Start(t, Script{Die: Body, BodyBytes: 3, Deaths: 2})
	for i, want := range []int{0, 0, 1} {
		talk(t, "tcp", server.Addr(), "LHLO me", "MAIL FROM:<>", "RCPT TO:<anna@alpha.test>", "DATA", "abc", "def", ".", "QUIT")
		if got := len(server.Messages()); got != want {
			t.Errorf("connection %d: %d messages, want %d", i, got, want)
		}
	}
	server.Close()
	if got := string(server.Connections()[0].Partial); got != "abc\r\n" {
		t.Errorf("the first connection died after %q", got)
	}
}

// TestClose closes a server while one connection waits for its client, and one for the end of a delay.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	server := Start(t, Script{Delay: map[Stage]time.Duration{Hello: time.Hour}})
	for _, say := range []string{"", "LHLO me\r\n"} {
		nc, err := net.Dial("tcp", server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, say); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(nc).ReadString('\n'); line != "220 nexthop.test ready\r\n" {
			t.Fatalf("greeting %q, %v", line, err)
		}
	}
	server.Close()
	server.Close()
	if _, err := net.Dial("tcp", server.Addr()); err == nil {
		t.Error("it still listens")
	}
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// TestSpec is how tests hand a server to the configuration.
func TestSpec(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "hop")
	for want, server := range map[string]*Server{
		"lmtp:127.0.0.1:":     Start(t, Script{}),
		"smtp:127.0.0.1:":     Start(t, Script{SMTP: true}),
		"lmtp:unix:" + socket: Listen(t, "unix", socket, Script{}),
	} {
		if got := server.Spec(); !strings.HasPrefix(got, want) {
			t.Errorf("spec %q, want %q", got, want)
		}
	}
}
