package lmtp

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"copialettere/lmtp/nexthop/nexthoptest"
)

// TestHopInLog: the next hop fails at each step. The log names it, once.
func TestHopInLog(t *testing.T) {
	for _, c := range []struct {
		name    string
		script  nexthoptest.Script
		codes   []string // of toAnna
		message string   // code of the message; empty if it does not come to that
		want    string
	}{
		{name: "refuses to be greeted", script: nexthoptest.Script{Greeting: "421 down"}, codes: []string{"451", "503", "503"}, want: "answered to greeting"},
		{name: "gone at MAIL", script: nexthoptest.Script{Die: nexthoptest.Mail}, codes: []string{"451", "503", "503"}, want: "waiting for the reply to MAIL"},
		{name: "gone at RCPT", script: nexthoptest.Script{Die: nexthoptest.Rcpt}, codes: []string{"250", "451", "503"}, want: "waiting for the reply to RCPT"},
		{name: "gone at DATA", script: nexthoptest.Script{Die: nexthoptest.Data}, codes: []string{"250", "250", "451"}, want: "waiting for the reply to DATA"},
		{name: "gone at the dot", script: nexthoptest.Script{Die: nexthoptest.Dot}, codes: []string{"250", "250", "354"}, message: "451", want: "message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			r := newRig(t, rigOptions{enable: anna, script: c.script, config: func(config *Config) {
				config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			}})
			cl := r.client()
			cl.say("LHLO mx.test\n")
			cl.want("250")
			// Without pipelining the hop fails exactly where the case says.
			for i, line := range slices.Collect(strings.Lines(toAnna)) {
				cl.say(line)
				cl.want(c.codes[i])
			}
			if c.message != "" {
				cl.say(message)
				cl.want(c.message)
			}
			cl.say("QUIT\n")
			cl.want("221")
			r.stop()
			failures := 0
			for line := range strings.Lines(log.String()) {
				if _, cause, ok := strings.Cut(line, " error="); ok {
					failures++
					if strings.Count(cause, "next hop "+r.hop.Spec()+":") != 1 || !strings.Contains(cause, c.want) {
						t.Errorf("log: %s", line)
					}
				}
			}
			if failures == 0 {
				t.Errorf("nothing was logged:\n%s", &log)
			}
			r.verify()
		})
	}
}
