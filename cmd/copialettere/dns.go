package main

import (
	"context"
	"fmt"

	"copialettere/cmd/copialettere/config"
	"copialettere/policy/setup"
)

const dnsHelp = `Usage: copialettere dns DOMAIN [-config FILE] [-json]

Prints the DNS records by which mail programs find their servers when somebody types an address of DOMAIN: a [[domain]] with [mailbox_servers] for
the live mailboxes, or an archive host for the archives. They are lines of a zone file: the SRV records of RFC 6186 and RFC 8314, and, where [web]
has a public_url, the names at which Thunderbird (autoconfig) and Outlook (autodiscover) ask. It needs no daemon, and changes nothing.

Thunderbird and Outlook ask these names by https on port 443, so the certificate there has to be for autoconfig.DOMAIN and autodiscover.DOMAIN too.

Example: copialettere dns alpha.test >>/etc/bind/db.alpha.test
`

func runDNS(_ context.Context, in *invocation, args []string) error {
	if err := want(args, "DOMAIN"); err != nil {
		return err
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	records, err := setup.NewGuide(c.SetUp()).Records(args[0])
	if err != nil {
		return err
	}
	for _, r := range records {
		if in.json {
			err = in.printJSON(r)
		} else {
			_, err = fmt.Fprintf(in.stdout, "%-100s ; %s\n", r, r.About)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
