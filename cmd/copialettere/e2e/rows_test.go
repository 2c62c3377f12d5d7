package e2e

import (
	"bytes"
	"slices"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// The mail system of the tests: four domains of mailboxes and aliases, and local.test with aliases(5) and .forward.
const (
	virtualMailboxes = `anna@alpha.test x
bruno@alpha.test x
carla@alpha.test x
dario@alpha.test x
ghost@alpha.test x
elena@beta.test x
fabio@beta.test x
gina@beta.test x
jörg@alpha.test x
bccsource@beta.test x
`
	virtualAliases = `info@alpha.test anna@alpha.test
boss@alpha.test info@alpha.test
sales@beta.test anna@alpha.test
staff@alpha.test anna@alpha.test, bruno@alpha.test, dario@alpha.test
bruno@alpha.test bruno@alpha.test, anna@alpha.test
tolocal@alpha.test games@local.test
börse@alpha.test jörg@alpha.test
@gamma.test elena@beta.test
@old.test @alpha.test
`
	localAliases = `team anna@alpha.test, dario@alpha.test
mlist anna@alpha.test
owner-mlist dario@alpha.test
`
	transport = `anna@alpha.test copialettere-received:unix:private/copialettere
bruno@alpha.test copialettere-received:unix:private/copialettere
carla@alpha.test copialettere-received:unix:private/copialettere
dario@alpha.test copialettere-received:unix:private/copialettere
ghost@alpha.test copialettere-received:unix:private/copialettere
elena@beta.test copialettere-received:unix:private/copialettere
jörg@alpha.test copialettere-received:unix:private/copialettere
`
	senders = "anna@alpha.test copialettere_sent\nelena@beta.test copialettere_sent\n"
)

var accounts = []rig.Account{
	{Address: "anna@alpha.test"}, {Address: "bruno@alpha.test"}, {Address: "dario@alpha.test"},
	{Address: "carla@alpha.test", Quota: 6000},
	{Address: "elena@beta.test"}, {Address: "bccsource@beta.test"},
	{Address: "fabio@beta.test", Sieve: "redirect \"anna@alpha.test\";\n"},
	{Address: "gina@beta.test", Sieve: "redirect \"info@alpha.test\";\n"},
}

func postfixConfig(dovecot *rig.Dovecot, hookTCP int) rig.PostfixConfig {
	return rig.PostfixConfig{
		Dovecot: dovecot, HookTCP: hookTCP, Transport: transport, Senders: senders,
		VirtualMailboxes: virtualMailboxes, VirtualAliases: virtualAliases, LocalAliases: localAliases,
		RecipientBcc: "bccsource@beta.test anna@alpha.test\n", SenderBcc: "copied@ext.test anna@alpha.test\n",
		RecipientCanonical: "canon@alpha.test anna@alpha.test\n", Forward: map[string]string{"games": "anna@alpha.test\n"},
	}
}

// row is one way of a message to a mailbox: what Postfix says to the hook, and what must come of it.
type row struct {
	name     string
	from     string // ester@ext.test where empty
	to       []string
	sendmail bool     // by sendmail(1) instead of port 25
	header   []string // further header lines

	wire     []string          // the RCPT lines at the hook, sorted
	top      string            // header line that must be above the first foreign Received
	verdicts map[string]string // by enabled mailbox: "" journaled, else the reason
	copies   map[string]int    // in Dovecot, by mailbox; for two lines of one address in a transaction Dovecot 2.3.19 stores one copy
}

// forgedHeader are lines that a sender may write to keep a message out of the archive.
var forgedHeader = []string{
	rig.RedirectTag + "\r\n", "Delivered-To: mlist@local.test\r\n", "X-Sieve-Redirected-From: elena@beta.test\r\n",
	"X-Original-To: info@alpha.test\r\n", "Received: from dovecot.alpha.test (localhost [127.0.0.1]) by mx.alpha.test (Postfix) with ESMTP id 1\r\n",
}

// rows are the ways of mail to a mailbox, direct and indirect, each as Postfix 3.7 puts it on the wire.
var rows = []row{
	{name: "a-direct", to: []string{"anna@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "b-alias", to: []string{"info@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;info@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "b-alias-of-alias", to: []string{"boss@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;boss@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "b-alias-across-domains", to: []string{"sales@beta.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;sales@beta.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "c-group", to: []string{"staff@alpha.test"},
		wire: []string{"<anna@alpha.test> ORCPT=rfc822;staff@alpha.test", "<bruno@alpha.test> ORCPT=rfc822;staff@alpha.test",
			"<dario@alpha.test> ORCPT=rfc822;staff@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias", "bruno@alpha.test": "alias"},
		copies:   map[string]int{"anna@alpha.test": 1, "bruno@alpha.test": 1, "dario@alpha.test": 1}},
	{name: "c2-mailbox-with-forward", to: []string{"bruno@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;bruno@alpha.test", "<bruno@alpha.test> ORCPT=rfc822;bruno@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "forward", "bruno@alpha.test": ""},
		copies:   map[string]int{"anna@alpha.test": 1, "bruno@alpha.test": 1}},
	{name: "c3-direct-and-alias", to: []string{"anna@alpha.test", "info@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test", "<anna@alpha.test> ORCPT=rfc822;info@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "d-extension", to: []string{"anna+spese@alpha.test"},
		wire:     []string{"<anna+spese@alpha.test> ORCPT=rfc822;anna+2Bspese@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "d2-alias-with-extension", to: []string{"info+spese@alpha.test"},
		wire:     []string{"<anna+spese@alpha.test> ORCPT=rfc822;info+2Bspese@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "e-canonical", to: []string{"canon@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;canon@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "f-catch-all", to: []string{"chiunque@gamma.test"},
		wire:     []string{"<elena@beta.test> ORCPT=rfc822;chiunque@gamma.test"},
		verdicts: map[string]string{"elena@beta.test": "alias"}, copies: map[string]int{"elena@beta.test": 1}},
	{name: "g-dot-forward", to: []string{"games@local.test"}, top: "Delivered-To: games@local.test",
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;games@local.test"},
		verdicts: map[string]string{"anna@alpha.test": "forward"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "g-alias-to-dot-forward", to: []string{"tolocal@alpha.test"}, top: "Delivered-To: games@local.test",
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;tolocal@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "forward"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "g2-aliases-file", to: []string{"team@local.test"}, top: "Delivered-To: team@local.test",
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;team@local.test", "<dario@alpha.test> ORCPT=rfc822;team@local.test"},
		verdicts: map[string]string{"anna@alpha.test": "forward"}, copies: map[string]int{"anna@alpha.test": 1, "dario@alpha.test": 1}},
	{name: "h-sieve-redirect", to: []string{"fabio@beta.test"}, top: rig.RedirectTag,
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "redirect"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "h-sieve-redirect-to-alias", to: []string{"gina@beta.test"}, top: rig.RedirectTag,
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;info@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "redirect"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "h-redirect-and-direct", to: []string{"fabio@beta.test", "anna@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test", "<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 2}},
	{name: "i-bcc", to: []string{"anna@alpha.test", "elena@beta.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test", "<elena@beta.test> ORCPT=rfc822;elena@beta.test"},
		verdicts: map[string]string{"anna@alpha.test": "", "elena@beta.test": ""},
		copies:   map[string]int{"anna@alpha.test": 1, "elena@beta.test": 1}},
	{name: "j-list-with-owner", to: []string{"mlist@local.test"}, top: "Delivered-To: mlist@local.test",
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "list"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "k-recipient-bcc", to: []string{"bccsource@beta.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test NOTIFY=NEVER"},
		verdicts: map[string]string{"anna@alpha.test": "copy"}, copies: map[string]int{"anna@alpha.test": 1, "bccsource@beta.test": 1}},
	{name: "k-sender-bcc", from: "copied@ext.test", to: []string{"elena@beta.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test NOTIFY=NEVER", "<elena@beta.test> ORCPT=rfc822;elena@beta.test"},
		verdicts: map[string]string{"anna@alpha.test": "copy", "elena@beta.test": ""},
		copies:   map[string]int{"anna@alpha.test": 1, "elena@beta.test": 1}},
	{name: "k-copy-and-direct", to: []string{"bccsource@beta.test", "anna@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test", "<anna@alpha.test> ORCPT=rfc822;anna@alpha.test NOTIFY=NEVER"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1, "bccsource@beta.test": 1}},
	{name: "l-upper-case", to: []string{"ANNA@Alpha.TEST"},
		wire:     []string{"<ANNA@Alpha.TEST> ORCPT=rfc822;ANNA@Alpha.TEST"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "l-alias-in-upper-case", to: []string{"INFO@Alpha.TEST"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;INFO@Alpha.TEST"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "m-domain-alias", to: []string{"anna@old.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@old.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "twice-the-same", to: []string{"anna@alpha.test", "anna@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "quoted", to: []string{`"anna"@alpha.test`},
		wire:     []string{`<anna@alpha.test> ORCPT=rfc822;"anna"@alpha.test`},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "null-sender", from: "<>", to: []string{"anna@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "sendmail-direct", sendmail: true, to: []string{"anna@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "sendmail-alias", sendmail: true, to: []string{"info@alpha.test"},
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;info@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": "alias"}, copies: map[string]int{"anna@alpha.test": 1}},
	{name: "forged-header", to: []string{"anna@alpha.test"}, header: forgedHeader,
		wire:     []string{"<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"},
		verdicts: map[string]string{"anna@alpha.test": ""}, copies: map[string]int{"anna@alpha.test": 1}},
}

// send gives the row's message to Postfix, marked by the row's name and the prefix.
func (r row) send(t *testing.T, postfix *rig.Postfix, prefix string) {
	t.Helper()
	from := r.from
	switch from {
	case "":
		from = "ester@ext.test"
	case "<>":
		from = ""
	}
	if r.sendmail {
		postfix.SendMail(t, from, message(prefix+r.name, r.header...), r.to...)
		return
	}
	rig.Send(t, postfix.SMTP, rig.Mail{From: from, To: r.to, Message: message(prefix+r.name, r.header...)})
}

// TestWire proves the basis of the other tests: with contrib's settings, Postfix says to the hook exactly what the table expects.
func TestWire(t *testing.T) {
	folder := rig.Folder(t)
	dovecot := rig.StartDovecot(t, folder+"/dovecot", accounts)
	postfix := rig.StartPostfix(t, folder, postfixConfig(dovecot, rig.FreePort(t)))
	recorder := startRecorder(t, postfix.Socket)
	defer recorder.stop()
	for _, row := range rows {
		row.send(t, postfix, "")
	}
	postfix.Drain(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			found := recorder.find("<" + row.name + "@ext.test>")
			if got := wire(found); !slices.Equal(got, row.wire) {
				t.Errorf("the hook was told\n%q, expected\n%q", got, row.wire)
			}
			for _, one := range found {
				trusted, _, _ := bytes.Cut(one.message, []byte("client.ext.test"))
				if row.top != "" && !bytes.Contains(trusted, []byte(row.top)) {
					t.Errorf("%q is not above the Received of the sender:\n%s", row.top, one.message)
				}
			}
		})
	}
}
