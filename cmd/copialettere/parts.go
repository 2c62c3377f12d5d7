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

Lists the parts of a message, and those of enclosed messages such as postacert.eml: number, type, encoded size and name of each.
"copialettere part" writes the content of a part by its number. A multipart that is a whole message has no number.

Example: copialettere parts mario@alpha.test INBOX/2026-11 17
`

func runParts(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER", "UID"); err != nil {
		return err
	}
	return show(in, ctx, messagePath+"/parts", messageQuery(args), func(p httpd.PartView) {
		text := p.Type
		for _, more := range []string{p.Name, p.Odd, p.Closed} {
			if more != "" {
				text += "  " + printable(more)
			}
		}
		fmt.Fprintf(in.stdout, "%-12s %9s  %s%s\n", p.Part, policy.English.Size(uint64(p.Size)), strings.Repeat("  ", p.Depth), printable(text))
	})
}

// messageQuery returns the query of the arguments ADDR FOLDER UID.
func messageQuery(args []string) url.Values {
	return url.Values{"mailbox": {args[0]}, "folder": {args[1]}, "uid": {args[2]}}
}

const partHelp = `Usage: copialettere part ADDR FOLDER UID N [-config FILE]

Writes the content of one part of a message to standard output, with its transfer encoding undone. "copialettere parts" shows the number N.
The content of an enclosed message, such as postacert.eml, is that message. A terminal shows question marks in place of control characters and
of marks that change the direction of text.

Example: copialettere part mario@alpha.test INBOX/2026-11 17 1.2 > daticert.xml
`

func runPart(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER", "UID", "N"); err != nil {
		return err
	}
	if args[3] == "" {
		return fmt.Errorf("%w: N: want a number as in the list of parts, such as 1.2", errUsage)
	}
	query := messageQuery(args)
	query.Set("part", args[3])
	return in.writeContent(ctx, messagePath+"/parts/{part}", query)
}

// writeContent asks the route at path and writes the answer, which is no JSON, to standard output.
func (in *invocation) writeContent(ctx context.Context, path string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	body, err := in.do(ctx, c, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(in.content(), body)
	return err
}
