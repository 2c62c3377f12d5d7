package notice

import (
	"time"

	"copialettere/policy"
)

// The kinds of NotifyGap that are about a profile by which mail is imported from another server.
const (
	PullFailing Kind = "pull-failing" // several runs in a row did not go through
	PullAgain   Kind = "pull-again"   // it works again, after a PullFailing
)

// PullCause says why runs of a profile do not go through. Its values are stored.
type PullCause string

// The causes.
const (
	PullLogin       PullCause = "login"       // the server refuses user or password
	PullCertificate PullCause = "certificate" // the certificate of the server is not believed
	PullBusy        PullCause = "busy"        // the server asks to be left alone
	PullFull        PullCause = "full"        // the archive has no room
	PullPassword    PullCause = "password"    // the password that is kept here cannot be read
	PullServer      PullCause = "server"      // the server does not answer as it must
	PullUnreachable PullCause = "unreachable" // the server cannot be connected to
	PullAddress     PullCause = "address"     // the server may not be connected to: its address is none of the Internet, or its port none of IMAP
	PullFolder      PullCause = "folder"      // the account has no folder of a name that the profile has
	PullNotOn       PullCause = "not-on"      // the archive is paused or off, or its settings allow no import
	PullForbidden   PullCause = "forbidden"   // who made the profile may import no more
	PullStopped     PullCause = "stopped"     // the daemon was stopped, or whoever asked has gone
	PullHere        PullCause = "here"        // a fault on this side
)

// OfPull returns the notice that a profile fails, or that it works again. account is what people know it by, and since is when the first of the runs ended
// that did not go through: of these runs each of the two is told once.
func OfPull(mailbox string, kind Kind, account string, cause PullCause, since, now time.Time) Notice {
	n := Notice{Mailbox: mailbox, Event: policy.NotifyGap, Kind: kind, Time: now, ID: account + " " + since.UTC().Format(time.RFC3339), Sender: account, Arrived: since.In(now.Location())}
	if kind == PullFailing {
		n.Reason = string(cause)
	}
	return n
}

// In returns a cause in words.
func (c PullCause) In(l policy.Language) string {
	switch c {
	case PullLogin:
		return policy.Label{Italian: "il server non accetta il nome utente o la password", English: "the server does not accept the user name or the password"}.In(l)
	case PullCertificate:
		return policy.Label{Italian: "il certificato del server non è valido", English: "the certificate of the server is not valid"}.In(l)
	case PullBusy:
		return policy.Label{Italian: "il server chiede ogni volta di riprovare più tardi", English: "each time the server asks to try again later"}.In(l)
	case PullFull:
		return policy.Label{Italian: "l'archivio è pieno", English: "the archive is full"}.In(l)
	case PullPassword:
		return policy.Label{Italian: "la password conservata qui non si può leggere, e va scritta di nuovo", English: "the password that is kept here cannot be read, and has to be typed again"}.In(l)
	case PullUnreachable:
		return policy.Label{Italian: "il server non è raggiungibile", English: "the server cannot be reached"}.In(l)
	case PullAddress:
		return policy.Label{Italian: "l'indirizzo o la porta del server non è ammesso", English: "the address or the port of the server is not allowed"}.In(l)
	case PullFolder:
		return policy.Label{Italian: "l'account non ha una delle cartelle indicate", English: "the account does not have one of the folders that are named"}.In(l)
	case PullNotOn:
		return policy.Label{Italian: "l'archivio non prende messaggi importati", English: "the archive takes no messages that are imported"}.In(l)
	case PullForbidden:
		return policy.Label{Italian: "chi ha aggiunto l'account non può più importare", English: "who added the account may import no more"}.In(l)
	case PullStopped:
		return policy.Label{Italian: "è stata interrotta ogni volta", English: "it was interrupted each time"}.In(l)
	case PullServer:
		return policy.Label{Italian: "il server non risponde come dovrebbe", English: "the server does not answer as it should"}.In(l)
	}
	return policy.Label{Italian: "c'è un guasto da questa parte", English: "there is a fault on this side"}.In(l)
}

// pullText returns the text for a profile that fails, or works again.
func pullText(kind Kind, l policy.Language) text {
	switch {
	case kind == PullAgain && l == policy.English:
		return text{"Mail is imported again into the archive of {mailbox}",
			"Since {time} mail is imported again from another server into the archive of {mailbox}, which had not gone through since {arrived}.\n" +
				"What had come there meanwhile comes too, as far as it is still there.\n\nAccount: {sender}\n"}
	case kind == PullAgain:
		return text{"Nell'archivio di {mailbox} viene di nuovo importata posta",
			"Dal {time} viene di nuovo importata posta da un altro server nell'archivio di {mailbox}: non riusciva più dal {arrived}.\n" +
				"Arriva anche ciò che là è giunto nel frattempo, se c'è ancora.\n\nAccount: {sender}\n"}
	case l == policy.English:
		return text{"Mail is no longer imported into the archive of {mailbox}",
			"Since {arrived} no mail could be imported from another server into the archive of {mailbox}: {reason}.\n\nAccount: {sender}\n\n" +
				"It is tried again and again, and a notice comes when it works. The page \"Import from another server\" of the archive says what happened;\n" +
				"who adds the account there once more, with the same name, changes its password.\n"}
	}
	return text{"Nell'archivio di {mailbox} non viene più importata posta",
		"Dal {arrived} non si riesce a importare posta da un altro server nell'archivio di {mailbox}: {reason}.\n\nAccount: {sender}\n\n" +
			"Si continua a riprovare, e quando riesce arriva un avviso. La pagina «Importare da un altro server» dell'archivio dice che cosa è successo;\n" +
			"chi vi aggiunge l'account un'altra volta, con lo stesso nome, ne cambia la password.\n"}
}
