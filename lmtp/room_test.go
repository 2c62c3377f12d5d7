package lmtp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
)

// deliver sends a message to the recipients in lines, and returns the codes of its final replies. No RCPT may be refused.
func (c *client) deliver(message string, lines ...string) (codes []string) {
	c.tb.Helper()
	c.data(lines...)
	return c.dot(message, len(lines))
}

// data sends the envelope and DATA, and reads up to the 354.
func (c *client) data(lines ...string) {
	c.tb.Helper()
	text := "MAIL FROM:<ext@ext.test>\n"
	want := []string{"250"}
	for _, l := range lines {
		text += "RCPT TO:" + l + "\n"
		want = append(want, "250")
	}
	c.say(text + "DATA\n")
	c.want(append(want, "354")...)
}

// dot sends the end of a message, and returns the codes of n final replies.
func (c *client) dot(message string, lines int) (codes []string) {
	c.tb.Helper()
	c.say(strings.ReplaceAll(message, "\n.", "\n..") + ".\n")
	for range lines {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.tb.Fatal(err)
		}
		codes = append(codes, line[:3])
	}
	return codes
}

const (
	direct = "<anna@alpha.test> ORCPT=rfc822;anna@alpha.test"
	tagged = "<anna+tag@alpha.test> ORCPT=rfc822;anna+2Btag@alpha.test"
	alias  = "<anna@alpha.test> ORCPT=rfc822;info@alpha.test"
	copied = "<anna@alpha.test> ORCPT=rfc822;anna@alpha.test NOTIFY=NEVER"
	dario  = "<dario@alpha.test> ORCPT=rfc822;dario@alpha.test"
	carla  = "<carla@alpha.test> ORCPT=rfc822;carla@alpha.test" // has no archive
)

// TestOnlyArchivedMailWaits: the archive of anna is full and her mail is to wait, or the journal fails. Only lines for which the message
// would be archived wait. All others are delivered, and their skips are on record.
func TestOnlyArchivedMailWaits(t *testing.T) {
	const ordinary = "Subject: second\n\ntext\n"
	large := "Subject: second\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 3<<20/71) + ".dot\n"
	const certified = "X-Trasporto: posta-certificata\nFrom: bruno@beta.test\nSubject: second\n\ntext\n"
	for name, c := range map[string]struct {
		filter  string
		message string
		lines   []string
		full    []string // codes
		faulty  []string // likewise; if nil, those of full
		records []string // of anna
	}{
		"direct":                {message: ordinary, lines: []string{direct}, full: []string{"452"}},
		"alias":                 {message: ordinary, lines: []string{alias}, full: []string{"250"}, records: []string{"alias"}},
		"copy":                  {message: ordinary, lines: []string{copied}, full: []string{"250"}, records: []string{"copy"}},
		"filtered out":          {filter: "certified", message: ordinary, lines: []string{direct}, full: []string{"250"}, records: []string{"filter"}},
		"wanted by the filter":  {filter: "certified", message: certified, lines: []string{direct}, full: []string{"452"}},
		"large, filtered out":   {filter: "certified", message: large, lines: []string{direct}, full: []string{"250"}, records: []string{"filter"}},
		"archived already":      {message: "Subject: first\n\ntext\n", lines: []string{direct}, full: []string{"250"}},
		"direct and alias":      {message: ordinary, lines: []string{direct, alias}, full: []string{"452", "250"}, records: []string{"alias"}},
		"two that are direct":   {message: ordinary, lines: []string{direct, tagged}, full: []string{"452", "452"}},
		"with others":           {message: ordinary, lines: []string{carla, direct, dario}, full: []string{"250", "452", "250"}, faulty: []string{"250", "451", "451"}},
		"large with others":     {message: large, lines: []string{carla, direct, dario}, full: []string{"250", "452", "250"}, faulty: []string{"250", "451", "451"}},
		"archived, with others": {message: "Subject: first\n\ntext\n", lines: []string{direct, dario, carla}, full: []string{"250", "250", "250"}, faulty: []string{"250", "451", "250"}},
	} {
		for _, faulty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/faulty=%t", name, faulty), func(t *testing.T) {
				r := newRig(t, rigOptions{
					enable: []string{anna[0], "dario@alpha.test"}, config: func(config *Config) {
						config.MaxMessageSize, config.PEC = 10<<20, func() PEC { return PEC{Trust: "headers"} }
					},
					script: nexthoptest.Script{Final: map[string][]string{anna[0]: {"451 later", "250 ok"}}},
				})
				cl := r.client()
				cl.say("LHLO mx.test\n")
				cl.want("250")
				// The first message fills the archive. It comes again below.
				cl.deliver("Subject: first\n\ntext\n", direct)
				settings := []policy.Assignment{{Key: policy.KeyFilter, Value: "all"}}
				if c.filter != "" {
					settings[0].Value = c.filter
				}
				want := slices.Clone(c.full)
				if faulty {
					r.journal.Suspend(kv.ErrUnavailable)
					if c.faulty != nil {
						want = c.faulty
					} else {
						for i := range want {
							want[i] = strings.Replace(want[i], "452", "451", 1)
						}
					}
				} else {
					used, err := r.journal.Usage(t.Context(), anna[0])
					if err != nil {
						t.Fatal(err)
					}
					// One byte of room is missing.
					room := int(used) + len(strings.ReplaceAll(c.message, "\n", "\r\n")) - 1
					settings = append(settings, withQuota(fmt.Sprintf("%dB", room), "defer")...)
				}
				r.set(settings)
				before := len(r.hop.Messages())
				got := cl.deliver(c.message, c.lines...)
				if !slices.Equal(got, want) {
					t.Errorf("codes %q, want %q", got, want)
				}
				var handed []string
				for _, m := range r.hop.Messages()[before:] {
					if body := strings.ReplaceAll(c.message, "\n", "\r\n"); !bytes.Equal(m.Body, []byte(body)) {
						t.Errorf("the next hop got %d bytes, want %d", len(m.Body), len(body))
					}
					handed = append(handed, m.Recipients...)
				}
				var should []string
				for i, l := range c.lines {
					if want[i] == "250" {
						address, _, _ := strings.Cut(l[1:], ">")
						should = append(should, address)
					}
				}
				if !slices.Equal(handed, should) {
					t.Errorf("the next hop got it for %q, want %q", handed, should)
				}
				cl.say("QUIT\n")
				cl.want("221")
				r.stop()
				r.journal.Suspend(nil)
				var records []string
				for rec, err := range r.journal.Records(t.Context(), anna[0]) {
					if err != nil {
						t.Fatal(err)
					}
					if rec.Kind == journal.Skip {
						records = append(records, rec.Reason)
					}
				}
				if !slices.Equal(records, c.records) {
					t.Errorf("on record: %q, want %q", records, c.records)
				}
				r.verify()
			})
		}
	}
}
