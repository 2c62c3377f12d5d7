package nexthop_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"copialettere/lmtp/nexthop"
	"copialettere/lmtp/nexthop/nexthoptest"
)

// TestSubmit: a relay gives each kind of answer, and goes away at each step.
func TestSubmit(t *testing.T) {
	const to = "anna@ext.test"
	for _, c := range []struct {
		name    string
		script  nexthoptest.Script
		command string // of the refusal
		code    int
		unknown bool
		refused bool // the connection
	}{
		{name: "taken"},
		{name: "greeting", script: nexthoptest.Script{Greeting: "421 down"}, refused: true},
		{name: "MAIL", script: nexthoptest.Script{Mail: "451 later"}, command: "MAIL", code: 451},
		{name: "RCPT", script: nexthoptest.Script{Rcpt: map[string][]string{to: {"550 nobody"}}}, command: "RCPT", code: 550},
		{name: "DATA", script: nexthoptest.Script{Data: "554 no"}, command: "DATA", code: 554},
		{name: "dot", script: nexthoptest.Script{Final: map[string][]string{"": {"452 full"}}}, command: "the message", code: 452},
		{name: "dies at the dot", script: nexthoptest.Script{Die: nexthoptest.Dot}, unknown: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.script.SMTP = true
			relay := nexthoptest.Start(t, c.script)
			spec, err := nexthop.ParseSpec(relay.Spec())
			if err != nil {
				t.Fatal(err)
			}
			err = nexthop.New(spec, nexthop.Options{}).Submit(t.Context(), "archivio@alpha.test", to, []byte("Subject: 1\r\n\r\nText\r\n"))
			refusal, _ := errors.AsType[*nexthop.RefusedError](err)
			if (refusal != nil) != (c.code != 0) || refusal != nil && (refusal.Command != c.command || refusal.Reply.Code != c.code) {
				t.Errorf("refused with %v, want %d to %s", err, c.code, c.command)
			}
			if errors.Is(err, nexthop.ErrUnknown) != c.unknown {
				t.Errorf("unknown: %v", err)
			}
			if _, ok := errors.AsType[*nexthop.ConnectError](err); ok != c.refused {
				t.Errorf("not reached: %v", err)
			}
			if c.name == "taken" && (err != nil || len(relay.Messages()) != 1 || string(relay.Messages()[0].Body) != "Subject: 1\r\n\r\nText\r\n") {
				t.Errorf("%v, the relay has %+v", err, relay.Messages())
			}
		})
	}
}

// TestDeliver announces what the hop offers, and sends no dot without leave.
func TestDeliver(t *testing.T) {
	const body = "Subject: \xe8\r\n\r\n.Text\r\n"
	errNo := errors.New("no")
	for _, c := range []struct {
		name     string
		keywords []string
		leave    error
		mail     string
		want     error
	}{
		{"all offered", []string{"8BITMIME", "SIZE 1000", "SMTPUTF8"}, nil, "MAIL FROM:<> BODY=8BITMIME SIZE=21 SMTPUTF8", nil},
		{"nothing offered", []string{"PIPELINING"}, nil, "MAIL FROM:<>", nil},
		{"no leave", []string{"SIZE"}, errNo, "MAIL FROM:<> SIZE=21", errNo},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := nexthoptest.Start(t, nexthoptest.Script{Keywords: c.keywords})
			spec, err := nexthop.ParseSpec(store.Spec())
			if err != nil {
				t.Fatal(err)
			}
			reply, err := nexthop.New(spec, nexthop.Options{}).Deliver(t.Context(), nexthop.Message{
				To: "perché@alpha.test", Body: strings.NewReader(body), Size: int64(len(body)), EightBit: true, BeforeDot: func() error { return c.leave },
			})
			store.Close()
			if !errors.Is(err, c.want) || err == nil && !reply.Positive() {
				t.Errorf("%v, %v", reply, err)
			}
			if got := store.Connections()[0].Commands; !slices.Contains(got, c.mail) {
				t.Errorf("the hop got %q, want %q", got, c.mail)
			}
			if got := store.Messages(); (c.want == nil) != (len(got) == 1) || len(got) == 1 && string(got[0].Body) != body {
				t.Errorf("the hop has %+v", got)
			}
		})
	}
}
