package policy

import "strings"

// Closes says what a switch closes when it is off, to stand beside it; the zero Label for settings that close nothing.
func Closes(key string) Label {
	switch key {
	case KeyIMAP:
		return Label{
			Italian: "Se disattivato, l'archivio è chiuso ai programmi di posta; le pagine restano aperte.",
			English: "Off, it closes the archive to mail programs; pages stay open.",
		}
	case KeyProtocols:
		return Label{
			Italian: "Senza imap è chiuso anche l'archivio ai programmi di posta; senza imap e pop3 anche le regole (ManageSieve); senza smtp nessun programma " +
				"di posta può inviare; senza tutti e tre resta solo la webmail.",
			English: "Without imap the archive is closed to mail programs too; without imap and pop3 also the rules (ManageSieve); without smtp no mail " +
				"program can send; without all three only webmail is left.",
		}
	}
	return Label{}
}

// Closed says what is closed by the value that a switch has; the zero Label for nothing.
func (s Settings) Closed(key string) Label {
	var list []Label
	switch {
	case key == KeyIMAP && !s.IMAP:
		list = append(list, Label{
			Italian: "L'archivio è chiuso ai programmi di posta; le pagine restano aperte.",
			English: "The archive is closed to mail programs; pages stay open.",
		})
	case key == KeyProtocols && s.Protocols == 0:
		list = append(list, Label{
			Italian: "Resta solo la webmail: nessun programma di posta, né per la casella né per l'archivio.",
			English: "Only webmail is left: no mail program, neither for the mailbox nor for its archive.",
		})
	case key == KeyProtocols:
		list = s.closedProtocols()
	}
	var italian, english []string
	for _, l := range list {
		italian, english = append(italian, l.Italian), append(english, l.English)
	}
	return Label{strings.Join(italian, " "), strings.Join(english, " ")}
}

// closedProtocols says what is closed where one protocol at least is on.
func (s Settings) closedProtocols() (list []Label) {
	if s.Protocols&ProtocolIMAP == 0 {
		list = append(list, Label{
			Italian: "IMAP è chiuso, e con esso l'archivio ai programmi di posta.",
			English: "IMAP is closed, and with it the archive to mail programs.",
		})
	}
	if s.Protocols&ProtocolPOP3 == 0 {
		list = append(list, Label{Italian: "POP3 è chiuso.", English: "POP3 is closed."})
	}
	if s.Protocols&(ProtocolIMAP|ProtocolPOP3) == 0 {
		list = append(list, Label{
			Italian: "Anche le regole (ManageSieve) sono chiuse.",
			English: "So are the rules (ManageSieve).",
		})
	}
	if s.Protocols&ProtocolSMTP == 0 {
		list = append(list, Label{
			Italian: "I programmi di posta non possono inviare.",
			English: "Mail programs cannot send.",
		})
	}
	return list
}
