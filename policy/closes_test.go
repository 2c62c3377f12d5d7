package policy

import "testing"

func TestClosed(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       Label
	}{
		{KeyIMAP, "on", Label{}},
		{KeyIMAP, "off", Label{"L'archivio è chiuso ai programmi di posta; le pagine restano aperte.", "The archive is closed to mail programs; pages stay open."}},
		{KeyProtocols, "imap,pop3,smtp", Label{}},
		{KeyProtocols, "pop3,smtp", Label{"IMAP è chiuso, e con esso l'archivio ai programmi di posta.", "IMAP is closed, and with it the archive to mail programs."}},
		{KeyProtocols, "imap,smtp", Label{"POP3 è chiuso.", "POP3 is closed."}},
		{KeyProtocols, "imap", Label{"POP3 è chiuso. I programmi di posta non possono inviare.", "POP3 is closed. Mail programs cannot send."}},
		{KeyProtocols, "smtp", Label{
			"IMAP è chiuso, e con esso l'archivio ai programmi di posta. POP3 è chiuso. Anche le regole (ManageSieve) sono chiuse.",
			"IMAP is closed, and with it the archive to mail programs. POP3 is closed. So are the rules (ManageSieve).",
		}},
		{KeyProtocols, "none", Label{
			"Resta solo la webmail: nessun programma di posta, né per la casella né per l'archivio.",
			"Only webmail is left: no mail program, neither for the mailbox nor for its archive.",
		}},
		{KeyWrite, "off", Label{}},
	} {
		s := programDefaults()
		if err := s.setValue(c.key, c.value); err != nil {
			t.Fatal(err)
		}
		if got := s.Closed(c.key); got != c.want {
			t.Errorf("%s=%s: %+v", c.key, c.value, got)
		}
	}
	for _, key := range Keys() {
		if got, is := Closes(key), key == KeyIMAP || key == KeyProtocols; (got != Label{}) != is {
			t.Errorf("%s closes %+v", key, got)
		}
	}
}
