package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"copialettere/journal/httpd"
	"copialettere/policy"
)

const partsHelp = `Usage: copialettere parts ADDR FOLDER UID [-config FILE] [-json]

Lists the parts of a message, those inside enclosed messages such as postacert.eml included: the number of each, its type, its size as it
stands in the message, and its name. "copialettere part" writes the content of a number. A multipart that is a whole message has no number.

Example: copialettere parts mario@alpha.test INBOX/2026-11 17
`

func runParts(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER", "UID"); err != nil {
		return err
	}
	return show(in, ctx, "/api/v1/parts", messageQuery(args), func(p httpd.PartView) {
		text := p.Type
		for _, more := range []string{p.Name, p.Odd, p.Closed} {
			if more != "" {
				text += "  " + printable(more)
			}
		}
		fmt.Fprintf(in.stdout, "%-12s %9s  %s%s\n", p.Part, policy.English.Size(uint64(p.Size)), strings.Repeat("  ", p.Depth), printable(text))
	})
}

// messageQuery is the query for one message.
func messageQuery(args []string) url.Values {
	return url.Values{"mailbox": {args[0]}, "folder": {args[1]}, "uid": {args[2]}}
}

const partHelp = `Usage: copialettere part ADDR FOLDER UID N [-config FILE]

Writes the content of one part of a message to standard output, with its transfer encoding undone. N is its number in "copialettere parts".
That of a part with a message in it, such as postacert.eml, is the message. On a terminal, controls and marks that turn the direction of
text are shown as question marks.

Example: copialettere part mario@alpha.test INBOX/2026-11 17 1.2 > daticert.xml
`

func runPart(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER", "UID", "N"); err != nil {
		return err
	}
	query := messageQuery(args)
	query.Set("part", args[3])
	return in.writeContent(ctx, "/api/v1/part", query)
}

// writeContent writes the body of an answer that is no JSON.
func (in *invocation) writeContent(ctx context.Context, path string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	body, err := in.do(ctx, c, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(in.content(), body)
	return err
}
