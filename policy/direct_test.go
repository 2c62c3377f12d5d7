package policy

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/kv"
)

// These headers have the forms of Postfix 3.7 and Pigeonhole 0.5.19.
const (
	received = "Received: from mail.ext.test (mail.ext.test [192.0.2.7])\n\tby mx.lab.test (Postfix) with ESMTP id E93A39843B3\n" +
		"\tfor <x@alpha.test>; Sat, 21 Nov 2026 17:59:52 +0000 (UTC)\n"
	sentOn    = "Received: by mx.lab.test (Postfix)\n\tid 013599841A4; Sat, 21 Nov 2026 17:59:53 +0000 (UTC)\n"
	pickup    = "Received: by mx.lab.test (Postfix, from userid 1000)\n\tid 85A74984036; Sat, 21 Nov 2026 18:00:59 +0000 (UTC)\n"
	requeued  = "Received: by mx.lab.test (Postfix, from userid 102)\n\tid 3EA8898404D; Sat, 21 Nov 2026 18:06:03 +0000 (UTC)\n"
	fromSieve = "Received: from imap.lab.test (localhost [127.0.0.1])\n\tby mx.lab.test (Postfix) with ESMTP id EC1A6984014\n" +
		"\tfor <anna@alpha.test>; Sat, 21 Nov 2026 18:00:00 +0000 (UTC)\n"
	sieve = "X-Sieve: Pigeonhole Sieve 0.5.19\nX-Sieve-Redirected-From: elena@beta.test\nDelivered-To: elena@beta.test\n" +
		"Received: from mx.lab.test\n\tby imap.lab.test with LMTP\n\tid abc; Sat, 21 Nov 2026 18:00:00 +0000\n"
	fromStore = "Received: from mx.lab.test\n\tby imap.lab.test with LMTP\n\tid abc; Sat, 21 Nov 2026 18:00:00 +0000\n\t(envelope-from <e@x.test>)\n"
	games     = "Delivered-To: games@local.test\n"
	list      = "Delivered-To: mlist@local.test\n"
	tag       = "X-Reinjected: k3y\n"
	subject   = "From: ext@ext.test\nSubject: a\n\n"

	queueID = "E93A39843B3" // of received
)

// judgeCase is a transaction with the verdict of each line in the form of describe.
type judgeCase struct {
	name   string
	origin Origin
	lines  []Line
	want   []string
}

func one(rcpt, orcpt string) []Line { return []Line{{RcptTo: rcpt, ORCPT: orcpt}} }
func header(h ...string) Origin     { return Origin{Header: []byte(strings.Join(h, "") + subject)} }
func originalTo(a string) Origin    { return Origin{OriginalTo: a, Header: []byte(received + subject)} }
func want(v ...string) []string     { return v }

func (o Origin) from(addr string) Origin     { o.ClientAddr = addr; return o }
func (o Origin) queued(id string) Origin     { o.QueueID = id; return o }
func (o Origin) original(addr string) Origin { o.OriginalTo = addr; return o }

func describe(v Verdict) string {
	words := []string{v.Mailbox}
	if v.Journal {
		words = append(words, "journal")
	}
	if v.Reason != "" {
		words = append(words, v.Reason)
	}
	return strings.Join(append(words, v.Flags...), " ")
}

func runJudge(t *testing.T, c Config, cases []judgeCase) {
	t.Helper()
	p, _ := openTest(t, c, "anna@alpha.test", "bruno@alpha.test", "elena@beta.test", `"an na"@alpha.test`, "ünna@alpha.test", "anna+own@alpha.test")
	if _, err := p.Enable(t.Context(), mustAddress(t, "anna+off@alpha.test"), operator()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.disable(t.Context(), mustAddress(t, "anna+off@alpha.test")); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, lineEnd := range []string{"\n", "\r\n"} {
				o := c.origin
				o.Header = []byte(strings.ReplaceAll(string(o.Header), "\n", lineEnd))
				verdicts, err := p.Judge(t.Context(), o, c.lines)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for i, v := range verdicts {
					got = append(got, describe(v))
					early, err := p.Wanted(t.Context(), c.lines[i].RcptTo)
					if err != nil || early.Mailbox != v.Mailbox || early.Enabled != v.Enabled || v.Enabled == (v.Reason == ReasonDisabled) {
						t.Errorf("line %d: Wanted = %+v, %v; verdict %+v", i, early, err, v)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("line end %q:\n got %q\nwant %q", lineEnd, got, c.want)
				}
			}
		})
	}
}

// Each row is what a real Postfix sent in a lab; the letters name the rows.
func TestJudgeRows(t *testing.T) {
	mail := header(received).queued(queueID)
	runJudge(t, testConfig(), []judgeCase{
		{"a direct", mail, one("anna@alpha.test", "rfc822;anna@alpha.test"), want("anna@alpha.test journal")},
		{"b alias", mail, one("anna@alpha.test", "rfc822;info@alpha.test"), want("anna@alpha.test alias")},
		{"b alias of an alias", mail, one("anna@alpha.test", "rfc822;boss@alpha.test"), want("anna@alpha.test alias")},
		{"b alias of another domain", mail, one("anna@alpha.test", "rfc822;sales@beta.test"), want("anna@alpha.test alias")},
		{"c one address to three", mail, []Line{{"anna@alpha.test", "rfc822;staff@alpha.test", ""},
			{"bruno@alpha.test", "rfc822;staff@alpha.test", ""}, {"dario@alpha.test", "rfc822;staff@alpha.test", ""}},
			want("anna@alpha.test alias", "bruno@alpha.test alias", "dario@alpha.test disabled")},
		{"c2 mailbox with a copy elsewhere", mail, []Line{{"anna@alpha.test", "rfc822;bruno@alpha.test", ""},
			{"bruno@alpha.test", "rfc822;bruno@alpha.test", ""}}, want("anna@alpha.test forward", "bruno@alpha.test journal")},
		{"c2 the same, the other line went elsewhere", mail, one("anna@alpha.test", "rfc822;bruno@alpha.test"),
			want("anna@alpha.test forward")},
		{"c2 the same, the other mailbox has no archive", mail, []Line{{"anna@alpha.test", "rfc822;dario@alpha.test", ""},
			{"dario@alpha.test", "rfc822;dario@alpha.test", ""}}, want("anna@alpha.test forward", "dario@alpha.test disabled")},
		{"c3 direct and alias", mail,
			[]Line{{"anna@alpha.test", "rfc822;anna@alpha.test", ""}, {"anna@alpha.test", "rfc822;info@alpha.test", ""}},
			want("anna@alpha.test journal", "anna@alpha.test duplicate")},
		{"c3 alias and direct", mail,
			[]Line{{"anna@alpha.test", "rfc822;info@alpha.test", ""}, {"anna@alpha.test", "rfc822;anna@alpha.test", ""}},
			want("anna@alpha.test duplicate", "anna@alpha.test journal")},
		{"d extension", mail, one("anna+tag@alpha.test", "rfc822;anna+2Btag@alpha.test"), want("anna@alpha.test journal")},
		{"d2 alias with an extension", mail, one("anna+tag@alpha.test", "rfc822;info+2Btag@alpha.test"), want("anna@alpha.test alias")},
		{"e recipient_canonical", mail, one("anna@alpha.test", "rfc822;canon@alpha.test"), want("anna@alpha.test alias")},
		{"f catch-all", mail, one("elena@beta.test", "rfc822;whatever@gamma.test"), want("elena@beta.test alias")},
		{"g .forward", header(sentOn, games, received).queued(queueID), one("anna@alpha.test", "rfc822;games@local.test"),
			want("anna@alpha.test forward")},
		{"g virtual, local, .forward", header(sentOn, games, received).queued(queueID), one("anna@alpha.test", "rfc822;tolocal@alpha.test"),
			want("anna@alpha.test forward")},
		{"g2 aliases(5)", header(sentOn, "Delivered-To: team@local.test\n", received).queued(queueID), []Line{
			{"anna@alpha.test", "rfc822;team@local.test", ""}, {"dario@alpha.test", "rfc822;team@local.test", ""}},
			want("anna@alpha.test forward", "dario@alpha.test disabled")},
		{"j list with an owner", header(sentOn, list, received).queued(queueID), one("anna@alpha.test", "rfc822;anna@alpha.test"),
			want("anna@alpha.test list")},
		{"j the same without XFORWARD", header(sentOn, list, received), one("anna@alpha.test", "rfc822;anna@alpha.test"),
			want("anna@alpha.test list")},
		{"i BCC", mail, one("anna@alpha.test", "rfc822;anna@alpha.test"), want("anna@alpha.test journal")},
		{"k bcc maps", mail,
			[]Line{{"anna@alpha.test", "rfc822;anna@alpha.test", "NEVER"}, {"elena@beta.test", "rfc822;elena@beta.test", ""}},
			want("anna@alpha.test copy", "elena@beta.test journal")},
		{"k bcc maps, and direct", mail,
			[]Line{{"anna@alpha.test", "rfc822;anna@alpha.test", "NEVER"}, {"anna@alpha.test", "rfc822;anna@alpha.test", ""},
				{"elena@beta.test", "rfc822;elena@beta.test", ""}},
			want("anna@alpha.test duplicate", "anna@alpha.test journal", "elena@beta.test journal")},
		{"l case", mail, one("ANNA@Alpha.TEST", "rfc822;ANNA@Alpha.TEST"), want("anna@alpha.test journal")},
		{"l alias in another case", mail, one("anna@alpha.test", "rfc822;INFO@Alpha.TEST"), want("anna@alpha.test alias")},
		{"m domain alias", mail, one("anna@alpha.test", "rfc822;anna@old.test"), want("anna@alpha.test alias")},
		{"quoted", mail, one("anna@alpha.test", `rfc822;"anna"@alpha.test`), want("anna@alpha.test journal")},
		{"quoted extension", mail, one("anna+x@alpha.test", `rfc822;"anna+2Bx"@alpha.test`), want("anna@alpha.test journal")},
		{"quoted of need", mail, one(`"an na"@alpha.test`, `rfc822;"an+20na"@alpha.test`), want(`"an na"@alpha.test journal`)},
		{"SMTPUTF8", mail, one("ünna@alpha.test", "rfc822;+C3+BCnna@alpha.test"), want("ünna@alpha.test journal")},
		{"pickup", header(pickup), one("anna@alpha.test", "rfc822;anna@alpha.test"), want("anna@alpha.test journal")},
		{"requeue", header(requeued, received).queued(queueID), one("anna+q@alpha.test", "rfc822;anna+2Bq@alpha.test"),
			want("anna@alpha.test journal")},
		{"requeue of an alias", header(requeued, received).queued(queueID), one("anna@alpha.test", "rfc822;info@alpha.test"),
			want("anna@alpha.test alias")},
		{"requeue of what a list sent on", header(requeued, requeued, sentOn, list, received).queued(queueID),
			one("anna@alpha.test", "rfc822;anna@alpha.test"), want("anna@alpha.test list")},
		{"bounce that was sent on", header(sentOn, games, sentOn), one("anna@alpha.test", "rfc822;games@local.test"),
			want("anna@alpha.test forward")},
		{"not enabled", mail, one("dario@alpha.test", "rfc822;dario@alpha.test"), want("dario@alpha.test disabled")},
		{"no address", mail, one("", "rfc822;anna@alpha.test"), want(" disabled")},
		{"postmaster without a domain", mail, one("postmaster", ""), want("postmaster disabled")},
	})
}

// The original recipient comes as the sender typed it in RCPT. No form that Postfix delivers to the mailbox may exclude the message.
func TestJudgeOddOriginals(t *testing.T) {
	mail := header(received)
	for _, c := range []struct{ name, orcpt, want string }{
		{"none", "", "journal origin-unknown"},
		{"other type", "x400;abc", "journal origin-unknown"},
		{"line feed in xtext", "rfc822;a+0Ab", "journal origin-unknown"},
		{"bad xtext", "rfc822;anna+2", "journal origin-unknown"},
		{"cut UTF-8", "rfc822;+C3@alpha.test", "journal origin-unknown"},
		{"null", "rfc822;", "journal origin-unknown"},
		{"trailing dot", "rfc822;anna@alpha.test.", "journal"},
		{"source route", "rfc822;@r.test:anna@alpha.test", "journal"},
		{"source route of an alias", "rfc822;@r.test:info@alpha.test", "alias"},
		{"backslash in quotes", `rfc822;"an\na"@alpha.test`, "journal"},
		{"backslash without quotes", `rfc822;an\na@alpha.test`, "journal origin-unknown"},
		{"no domain", "rfc822;anna", "journal origin-unknown"},
		{"no domain, with an extension", "rfc822;anna+2Bx", "journal origin-unknown"},
		{"no domain, an alias", "rfc822;info", "alias"},
		{"no domain, postmaster", "rfc822;postmaster", "alias"},
		{"half a domain", "rfc822;anna@alpha", "journal origin-unknown"},
		{"half a domain, an alias", "rfc822;info@alpha", "alias"},
		{"half of another domain", "rfc822;anna@beta", "alias"},
		{"comment", "rfc822;anna(comment)@alpha.test", "journal origin-unknown"},
		{"space before", "rfc822;+20anna@alpha.test", "journal origin-unknown"},
		{"spaces inside", "rfc822;anna+20@+20alpha.test", "journal origin-unknown"},
		{"percent", "rfc822;anna%alpha.test", "journal origin-unknown"},
		{"percent and domain", "rfc822;anna%alpha.test@local.test", "journal origin-unknown"},
		{"bang", "rfc822;alpha.test!anna", "journal origin-unknown"},
		{"bang and percent", "rfc822;local.test!anna%alpha.test", "journal origin-unknown"},
		{"all in quotes", `rfc822;"anna@alpha.test"`, "journal origin-unknown"},
		{"all in quotes, and a domain", `rfc822;"anna@alpha.test"@local.test`, "journal origin-unknown"},
		{"empty extension", "rfc822;anna+2B@alpha.test", "journal"},
		{"two delimiters", "rfc822;anna+2B+2Bx@alpha.test", "journal"},
		{"extension that is a mailbox", "rfc822;anna+2Bown@alpha.test", "forward"},
		{"extension that is a mailbox without archive", "rfc822;anna+2Boff@alpha.test", "alias"},
	} {
		t.Run(c.name, func(t *testing.T) {
			runJudge(t, testConfig(), []judgeCase{{"", mail, one("anna@alpha.test", c.orcpt), want("anna@alpha.test " + c.want)}})
		})
	}
}

// Fields below the topmost Received of a client, and fields that are not evidence for another reason, never exclude.
func TestJudgeForgedHeaders(t *testing.T) {
	c := testConfig()
	c.RedirectHeader = "X-Reinjected: k3y"
	c.RedirectFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8::/32")}
	lines := one("anna@alpha.test", "rfc822;anna@alpha.test")
	journal, redirect, listed := want("anna@alpha.test journal"), want("anna@alpha.test redirect"), want("anna@alpha.test list")
	ipv6 := strings.ReplaceAll(fromSieve, "[127.0.0.1]", "[IPv6:2001:db8::7]")
	runJudge(t, c, []judgeCase{
		{"Delivered-To below", header(received, list), lines, journal},
		{"local Received and Delivered-To below", header(received, sentOn, list, received), lines, journal},
		{"the same below pickup", header(pickup, sentOn, list, received), lines, journal},
		{"redirect mark below", header(received, sieve), lines, journal},
		{"tag below", header(received, tag), lines, journal},
		{"X-Original-To below", header(received, "X-Original-To: x@gmail.test\n"), lines, journal},
		{"X-Original-To that is not asked for", header(received).original("x@gmail.test"), lines, journal},
		{"Delivered-To of the mailbox itself", header("Delivered-To: ANNA+x@alpha.test\n", received), lines, journal},
		{"Delivered-To that is no address", header(sentOn, "Delivered-To: mlist\n", received), lines, journal},
		{"Delivered-To of an exported file", header("Return-Path: <ext@ext.test>\nDelivered-To: bruno@alpha.test\n", received), lines, journal},
		{"the same, from a mailstore", header("Delivered-To: bruno@alpha.test\n", fromStore, received), lines, journal},
		{"the same, of a message that a list sent on", header(list, fromStore, sentOn, list, received), lines, journal},
		{"the same, of a bounce", header(list, sentOn), lines, journal},
		{"the same, from a provider whose Received names no client", header("Delivered-To: anna@gmail.test\n",
			"Received: by 2002:a05:6512:3d17:b0:553 with SMTP id d23csp1234567;\n        Sat, 21 Nov 2026 10:00:01 -0800 (PST)\n",
			"Delivered-To: bruno@gmail.test\n",
			"Received: by 2002:a05:6000:18ab:b0:38a with SMTP id b11csp7654321; Sat, 21 Nov 2026 10:00:00 -0800 (PST)\n", received), lines, journal},
		{"the same, of a bounce that was sent on", header(list, sentOn, subject), lines, journal},
		{"pickup, and another id", header(pickup, sentOn, list, received).queued("208CB9843B7"), lines, journal},
		{"Received in another form", header("Received: (qmail 1234 invoked by uid 89); 21 Nov 2026 18:00:00 -0000\n", list, received), lines,
			journal},
		{"no Received at all", header(list, tag), lines, journal},
		{"Delivered-To behind the last Received", header(sentOn, list), lines, journal},
		{"MTA that strips its Received", header(sentOn, list, received).queued("208CB9843B7"), lines, journal},
		{"MTA that strips its Received, and no client", header(sentOn, list, sentOn).queued("208CB9843B7"), lines, journal},
		{"line that is no field", header("oops\n", sentOn, list, received), lines, journal},
		{"header cut inside of the mark", Origin{Header: []byte(fromSieve + "X-Sieve-Redirected-From: el")}, lines, journal},
		{"header cut inside of the first Received", Origin{Header: []byte(list + "Received: by mx.lab.test")}, lines, journal},

		{"tag of the port", header(tag, fromSieve, sieve), lines, redirect},
		{"tag in another case of its name", header("x-reinjected:k3y\n", received), lines, redirect},
		{"tag with another value", header("X-Reinjected: k4y\n", received), lines, journal},
		{"tag, then sent on", header(sentOn, tag, received), lines, redirect},
		{"mark and Received of the host", header(fromSieve, sieve), lines, redirect},
		{"mark and XFORWARD of the host", header(received, sieve).from("127.0.0.1"), lines, redirect},
		{"mark and XFORWARD of the host, mapped", header(received, sieve).from("::ffff:127.0.0.1"), lines, redirect},
		{"mark and XFORWARD of the host by IPv6", header(received, sieve).from("IPv6:2001:db8::7"), lines, redirect},
		{"mark and Received of the host by IPv6", header(ipv6, sieve), lines, redirect},
		{"mark, XFORWARD does not know", header(fromSieve, sieve).from("[UNAVAILABLE]").queued("[UNAVAILABLE]"), lines, redirect},
		{"mark, Received of the host, XFORWARD of another", header(fromSieve, sieve).from("192.0.2.7"), lines, journal},
		{"mark, another queue id", header(fromSieve, sieve).queued("208CB9843B7"), lines, journal},
		{"host without the mark", header(fromSieve), lines, journal},
		{"host, mark below the next Received", header(fromSieve, received, sieve), lines, journal},
		{"helo name with the host's address", header("Received: from [127.0.0.1] (unknown [192.0.2.9])\n\tby mx.lab.test id A\n", sieve), lines,
			journal},
		{"redirect to an alias", header(tag, fromSieve, sieve), one("anna@alpha.test", "rfc822;info@alpha.test"), redirect},
		{"redirect, and direct in another transaction", header(received), lines, journal},
		{"redirect of the null sender to a list", header(sentOn, list, tag, fromSieve, sieve), lines, redirect},
		{"list of unknown origin", header(sentOn, list, received), one("anna@alpha.test", ""), listed},
		{"direct of unknown origin", header(received, sieve, list), one("anna@alpha.test", ""),
			want("anna@alpha.test journal origin-unknown")},
	})
}

// If Postfix discards DSN from its clients, a forged ORCPT or NOTIFY never reaches the hook: Postfix sends its own.
func TestJudgeForgedEnvelope(t *testing.T) {
	runJudge(t, testConfig(), []judgeCase{
		{"RCPT info ORCPT=anna, discarded", header(received), one("anna@alpha.test", "rfc822;info@alpha.test"),
			want("anna@alpha.test alias")},
		{"RCPT anna ORCPT=x@gmail, discarded", header(received), one("anna@alpha.test", "rfc822;anna@alpha.test"),
			want("anna@alpha.test journal")},
		{"other values of NOTIFY", header(received), []Line{{"anna@alpha.test", "rfc822;anna@alpha.test", "SUCCESS,FAILURE"},
			{"bruno@alpha.test", "rfc822;bruno@alpha.test", "NEVER,DELAY"}, {"elena@beta.test", "rfc822;elena@beta.test", "never"}},
			want("anna@alpha.test journal", "bruno@alpha.test journal", "elena@beta.test copy")},
	})
	c := testConfig()
	c.Origin = OriginXOriginalTo
	forged := func(orcpt string) []Line { return []Line{{"anna@alpha.test", orcpt, "NEVER"}} }
	runJudge(t, c, []judgeCase{
		{"RCPT info ORCPT=anna", originalTo("info@alpha.test"), one("anna@alpha.test", "rfc822;anna@alpha.test"),
			want("anna@alpha.test alias")},
		{"RCPT anna ORCPT=x@gmail NOTIFY=NEVER", originalTo("anna@alpha.test"), forged("rfc822;x@gmail.test"),
			want("anna@alpha.test journal")},
		{"extension, case", originalTo("Anna+tag@ALPHA.test"), forged(""), want("anna@alpha.test journal")},
		{"another mailbox", originalTo("bruno@alpha.test"), forged(""), want("anna@alpha.test forward")},
		{"no field", originalTo(""), forged("rfc822;info@alpha.test"), want("anna@alpha.test journal origin-unknown")},
		{"field that is no address", originalTo("an na@alpha.test"), forged(""), want("anna@alpha.test journal origin-unknown")},
		{"field below", header(received, "X-Original-To: x@gmail.test\n").original("anna@alpha.test"), forged(""),
			want("anna@alpha.test journal")},
		{"list", header(sentOn, list, received).original("anna@alpha.test"), forged(""), want("anna@alpha.test list")},
		{"two lines, one field", originalTo("anna@alpha.test"), []Line{{"anna@alpha.test", "", ""}, {"bruno@alpha.test", "", ""}},
			want("anna@alpha.test journal origin-unknown", "bruno@alpha.test journal origin-unknown")},
	})
	c.Origin = OriginNone
	c.RedirectHeader = "X-Reinjected: k3y"
	runJudge(t, c, []judgeCase{
		{"nothing excludes", header(sentOn, list, tag, received).original("x@gmail.test"),
			[]Line{{"anna@alpha.test", "rfc822;info@alpha.test", "NEVER"},
				{"bruno@alpha.test", "", ""}, {"dario@alpha.test", "", ""}, {"anna@alpha.test", "rfc822;anna@alpha.test", ""}},
			want("anna@alpha.test journal origin-unknown", "bruno@alpha.test journal origin-unknown", "dario@alpha.test disabled", "anna@alpha.test duplicate")},
	})
}

func TestJudgeTogether(t *testing.T) {
	mail := header(received)
	runJudge(t, testConfig(), []judgeCase{
		{"no lines", mail, nil, nil},
		{"known before unknown", mail,
			[]Line{{"anna@alpha.test", "", ""}, {"anna@alpha.test", "rfc822;info@alpha.test", ""}, {"anna+x@alpha.test", "rfc822;anna+2Bx@alpha.test", ""}},
			want("anna@alpha.test duplicate", "anna@alpha.test duplicate", "anna@alpha.test journal")},
		{"first of two direct", mail,
			[]Line{{"anna@alpha.test", "rfc822;anna@alpha.test", ""}, {"anna+x@alpha.test", "rfc822;anna+2Bx@alpha.test", ""}},
			want("anna@alpha.test journal", "anna@alpha.test duplicate")},
		{"none direct", mail,
			[]Line{{"anna@alpha.test", "rfc822;info@alpha.test", ""}, {"anna@alpha.test", "rfc822;anna@alpha.test", "NEVER"}},
			want("anna@alpha.test alias", "anna@alpha.test copy")},
		{"two that are no address", mail, []Line{{"", "", ""}, {"(", "", ""}}, want(" disabled", " disabled")},
		{"extension that is a mailbox of its own", mail,
			[]Line{{"anna@alpha.test", "rfc822;anna@alpha.test", ""}, {"anna+own@alpha.test", "rfc822;anna+2Bown@alpha.test", ""}},
			want("anna@alpha.test journal", "anna+own@alpha.test journal")},
		{"extension that is a mailbox with the archive off", mail, one("anna+off@alpha.test", "rfc822;anna+2Boff@alpha.test"),
			want("anna+off@alpha.test disabled")},
		{"alias to an extension that is a mailbox", mail, one("anna+own@alpha.test", "rfc822;anna@alpha.test"),
			want("anna+own@alpha.test forward")},
		{"delimiters of the domain", mail, one("elena-x@beta.test", "rfc822;elena-x@beta.test"), want("elena@beta.test journal")},
		{"delimiter of another domain", mail, one("anna-x@alpha.test", "rfc822;anna-x@alpha.test"), want("anna-x@alpha.test disabled")},
		{"domain without extensions", mail, one("anna+x@plain.test", "rfc822;anna+2Bx@plain.test"), want("anna+x@plain.test disabled")},
	})
}

func TestJudgeSent(t *testing.T) {
	c := testConfig()
	c.LoginDomain = "alpha.test"
	p, _ := openTest(t, c, "anna@alpha.test")
	for _, c := range []struct{ name, sender, want string }{
		{"login", "anna@alpha.test", "anna@alpha.test journal"},
		{"path", "<Anna@Alpha.test>", "anna@alpha.test journal"},
		{"extension", "anna+x@alpha.test", "anna@alpha.test journal"},
		{"login without a domain", "ANNA", "anna@alpha.test journal"},
		{"not enabled", "bruno@alpha.test", "bruno@alpha.test disabled"},
		{"alias", "info@alpha.test", "info@alpha.test disabled"},
		{"no login", "", " disabled"},
		{"null sender", "<>", " disabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := p.JudgeSent(t.Context(), Origin{}, c.sender)
			if got := describe(v); err != nil || got != c.want || v.Enabled != v.Journal {
				t.Errorf("JudgeSent(%q) = %q, %v; want %q", c.sender, got, err, c.want)
			}
		})
	}
	p, _ = openTest(t, testConfig(), "anna@alpha.test")
	if v, err := p.JudgeSent(t.Context(), Origin{}, "anna"); err != nil || describe(v) != " disabled" {
		t.Errorf("login without a domain, and none configured: %q, %v", describe(v), err)
	}
}

// The filter leaves out direct mail; mail that is not direct keeps its own reason.
func TestJudgeFilter(t *testing.T) {
	p, _ := openTest(t, testConfig(), "anna@alpha.test", "bruno@alpha.test")
	if _, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), assignments(t, "filter=certified,delivery,sent-certified")); err != nil {
		t.Fatal(err)
	}
	lines := []Line{{"anna@alpha.test", "rfc822;anna@alpha.test", ""}, {"anna+x@alpha.test", "rfc822;anna+2Bx@alpha.test", ""},
		{"anna@alpha.test", "rfc822;info@alpha.test", ""}, {"bruno@alpha.test", "rfc822;bruno@alpha.test", ""}}
	in := "anna@alpha.test journal, anna@alpha.test duplicate, anna@alpha.test duplicate, bruno@alpha.test journal"
	out := "anna@alpha.test filter, anna@alpha.test filter, anna@alpha.test alias, bruno@alpha.test journal"
	for _, c := range []struct {
		group Group
		want  string
	}{{GroupCertified, in}, {GroupDelivery, in}, {GroupOther, out}, {"", out}, {GroupAcceptance, out}, {"of-tomorrow", in}} {
		o := header(received)
		o.Group = c.group
		verdicts, err := p.Judge(t.Context(), o, lines)
		var got []string
		for _, v := range verdicts {
			got = append(got, describe(v))
		}
		if s := strings.Join(got, ", "); err != nil || s != c.want {
			t.Errorf("group %q: %s, %v; want %s", c.group, s, err, c.want)
		}
	}
	for _, c := range []struct {
		sender string
		to     SentTo
		want   string
	}{
		{"anna@alpha.test", SentToCertified, "anna@alpha.test journal"},
		{"anna@alpha.test", SentToOther, "anna@alpha.test filter"},
		{"anna@alpha.test", SentToUnknown, "anna@alpha.test journal sent-to-unknown"},
		{"anna@alpha.test", "", "anna@alpha.test journal sent-to-unknown"},
		{"bruno@alpha.test", SentToUnknown, "bruno@alpha.test journal"},
		{"carla@alpha.test", SentToCertified, "carla@alpha.test disabled"},
	} {
		v, err := p.JudgeSent(t.Context(), Origin{SentTo: c.to}, c.sender)
		got := describe(v)
		if err != nil || got != c.want {
			t.Errorf("sent by %s to %q: %s, %v; want %s", c.sender, c.to, got, err, c.want)
		}
	}
}

// If a mailbox changes while a transaction is judged, all lines see it in one state.
func TestJudgeReadsOnce(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	store.gets = 0
	lines := slices.Repeat(one("anna@alpha.test", "rfc822;anna@alpha.test"), 50)
	if _, err := p.Judge(t.Context(), header(sentOn, list, received), lines); err != nil {
		t.Fatal(err)
	}
	if want := 3; store.gets != want { // anna, and mlist, which is no mailbox
		t.Errorf("%d reads, want %d", store.gets, want)
	}
	p.store = &ending{Store: store}
	if _, err := p.Judge(t.Context(), Origin{}, lines); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// ending is a store whose caller gives up.
type ending struct{ kv.Store }

func (ending) Get(context.Context, []byte) ([]byte, error) { return nil, context.Canceled }

// Nothing below the first Received that names a client changes a verdict, and no input makes Judge panic or fail.
func FuzzJudge(f *testing.F) {
	f.Add("anna@alpha.test", "rfc822;anna@alpha.test", "", "192.0.2.7", queueID, sentOn+list, received, sieve+list+tag+subject)
	f.Add("anna+x@alpha.test", "rfc822;info@alpha.test", "NEVER", "", "", tag, pickup, sentOn+games+received)
	f.Add("\"an na\"@alpha.test", `rfc822;"an+20na"@alpha.test`, "", "127.0.0.1", "", "", fromSieve, sieve)
	f.Add("<@r.test:anna@alpha.test>", "x400;abc", "DELAY", "[UNAVAILABLE]", "", sentOn+sentOn, "Received: \r\n\r\n", "\x00: \xff\n\n")
	c := testConfig()
	c.RedirectHeader = "X-Reinjected: k3y"
	c.RedirectFrom = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	p, _ := openTest(f, c, "anna@alpha.test", "bruno@alpha.test")
	f.Fuzz(func(t *testing.T, rcpt, orcpt, notify, client, id, top, hop, tail string) {
		judge := func(header string) []string {
			verdicts, err := p.Judge(t.Context(), Origin{ClientAddr: client, QueueID: id, Header: []byte(header)},
				[]Line{{rcpt, orcpt, notify}, {"bruno@alpha.test", orcpt, notify}, {"anna@alpha.test", "rfc822;anna@alpha.test", ""}})
			if err != nil || len(verdicts) != 3 {
				t.Fatalf("%d verdicts, %v", len(verdicts), err)
			}
			got := make([]string, len(verdicts))
			for i, v := range verdicts {
				got[i] = describe(v)
				if v.Journal && (!v.Enabled || v.Reason != "") || !v.Journal && v.Reason == "" && !slices.Contains(v.Flags, FlagDuplicate) {
					t.Fatalf("verdict of line %d contradicts itself: %+v", i, v)
				}
			}
			return got
		}
		judge(top + hop + tail) // any header
		hosts := p.rules().redirectFrom
		if a := parseClient(client); a.IsValid() && hosts[0].Contains(a) || strings.Contains(top+hop, "198.51.100.") {
			return // the mark of a redirect counts below that hop, and the hop is trusted
		}
		// Whatever the MTA wrote at the top, its Received of a client follows it.
		if !strings.HasSuffix(top, "\n") && top != "" {
			top += "\n"
		}
		if without, with := judge(top+received), judge(top+received+tail); !strings.HasPrefix(tail, " ") && !strings.HasPrefix(tail, "\t") &&
			!slices.Equal(without, with) {
			t.Fatalf("top %q: without the tail %q, with %q", top, without, with)
		}
	})
}
