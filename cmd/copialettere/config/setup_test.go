package config

import (
	"testing"

	"copialettere/policy/setup"
)

// TestSetUp tells of servers as the file has them.
func TestSetUp(t *testing.T) {
	const base = minimal + "[auth]\nsource = \"file:/p\"\n[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n[[domain]]\nname = \"alpha.test\"\n[[domain]]\nname = \"xn--citt-3na.test\"\n"
	const imap, smtp = "[imap]\nname = \"archivio.alpha.test\"\nlisten = ", "[submission]\nlisten = "
	const provider = "[mailbox_servers]\nimap = \"IMAP.alpha.test:143\"\nsmtp = \"smtp.alpha.test:587\"\n"
	end := func(host string, port uint16, s setup.Security) setup.Endpoint {
		return setup.Endpoint{Host: host, Port: port, Security: s}
	}
	providers := setup.Servers{IMAP: end("imap.alpha.test", 143, setup.STARTTLS), SMTP: end("smtp.alpha.test", 587, setup.STARTTLS)}
	for _, c := range []struct {
		name, text, domain string
		want               setup.Domain
	}{
		{"nothing", "", "alpha.test", setup.Domain{}},
		{"live mailboxes", provider, "alpha.test", setup.Domain{Mailbox: providers}},
		{"live mailboxes of a domain beyond ASCII", provider, "città.test", setup.Domain{Mailbox: providers}},
		{"archives", imap + `["tls:0.0.0.0:993", "tcp:0.0.0.0:143"]` + "\n", "alpha.test", setup.Domain{Archive: setup.Servers{IMAP: end("archivio.alpha.test", 993, setup.TLS)}}},
		{"both, without an outgoing server of ours", provider + imap + `["tls:0.0.0.0:993"]` + "\n", "alpha.test",
			setup.Domain{Mailbox: providers, Archive: setup.Servers{IMAP: end("archivio.alpha.test", 993, setup.TLS), SMTP: providers.SMTP}}},
		{"both, with an outgoing server of ours", provider + imap + `["tls:0.0.0.0:993"]` + "\n" + smtp + `["tls:0.0.0.0:465"]` + "\n", "alpha.test",
			setup.Domain{Mailbox: providers, Archive: setup.Servers{IMAP: end("archivio.alpha.test", 993, setup.TLS), SMTP: end("archivio.alpha.test", 465, setup.TLS)}}},
		{"STARTTLS that others reach, TLS that nobody does", imap + `["tls:127.0.0.1:9993", "tcp:[::]:143"]` + "\n", "alpha.test",
			setup.Domain{Archive: setup.Servers{IMAP: end("archivio.alpha.test", 143, setup.STARTTLS)}}},
		{"behind a proxy", imap + `["tcp:127.0.0.1:9143", "tls:127.0.0.1:9993"]` + "\n", "alpha.test",
			setup.Domain{Archive: setup.Servers{IMAP: end("archivio.alpha.test", 9993, setup.TLS)}}},
		{"behind a proxy whose port is told", imap + `["tls:127.0.0.1:9993"]` + "\npublic_port = 993\n" + smtp + `["tls:127.0.0.1:9465"]` + "\npublic_port = 587\n", "alpha.test",
			setup.Domain{Archive: setup.Servers{IMAP: end("archivio.alpha.test", 993, setup.TLS), SMTP: end("archivio.alpha.test", 587, setup.STARTTLS)}}},
		{"sockets of systemd", imap + `["systemd:imap", "tls:systemd:imaps", "tcp:127.0.0.1:9143"]` + "\n", "alpha.test",
			setup.Domain{Archive: setup.Servers{IMAP: end("archivio.alpha.test", 993, setup.TLS)}}},
		{"a socket of systemd with STARTTLS", imap + `["systemd:imap"]` + "\n", "alpha.test",
			setup.Domain{Archive: setup.Servers{IMAP: end("archivio.alpha.test", 143, setup.STARTTLS)}}},
		{"an archive host", imap + `["tls:0.0.0.0:993"]` + "\n" + smtp + `["tls:0.0.0.0:465"]` + "\n" +
			"[[archive_host]]\nname = \"a.beta.test\"\nimap = \"i.beta.test\"\nsubmission = \"s.beta.test\"\ndomains = [\"alpha.test\"]\n", "alpha.test",
			setup.Domain{ArchiveHost: "a.beta.test", Archive: setup.Servers{IMAP: end("i.beta.test", 993, setup.TLS), SMTP: end("s.beta.test", 465, setup.TLS)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mustParse(t, base+c.text).SetUp()
			if got.Domains[c.domain] != c.want {
				t.Errorf("%+v\nwant\n%+v", got.Domains[c.domain], c.want)
			}
			if got.Signer != (setup.Signer{Certificate: "/c", Key: "/k"}) {
				t.Errorf("%+v", got.Signer)
			}
		})
	}
	own := mustParse(t, base+provider+"[profile]\ncertificate = \"/p\"\nkey = \"/q\"\n[web]\nlisten = [\"tls:0.0.0.0:443\"]\npublic_url = \"https://archivio.alpha.test/\"\n"+
		"[[domain]]\nname = \"beta.test\"\n[domain.mailbox_servers]\npop3 = \"pop.beta.test:995\"\n").SetUp()
	if own.PublicURL != "https://archivio.alpha.test" || own.Signer != (setup.Signer{Certificate: "/p", Key: "/q"}) {
		t.Errorf("%+v", own)
	}
	if got, want := own.Domains["beta.test"].Mailbox, (setup.Servers{POP3: end("pop.beta.test", 995, setup.TLS)}); got != want {
		t.Errorf("servers of a domain of its own: %+v", got)
	}
}
