package submission

import "copialettere/policy"

// The sentences that people read in their mail programs. They are ASCII: replies of SMTP are (RFC 5321 section 2.4).
var (
	sentenceNoSending = policy.Label{
		Italian: "Questo account serve solo per consultare l'archivio e non invia posta: scegliere per l'invio il server in uscita della casella",
		English: "This account only opens the archive and sends no mail: choose the outgoing server of the mailbox for sending",
	}
	sentenceDenied      = policy.Label{Italian: "Nome utente o password errati", English: "Wrong user name or password"}
	sentenceUnavailable = policy.Label{
		Italian: "Al momento non si riesce ad accedere, riprovare fra qualche minuto", English: "Signing in is not possible at the moment, try again in some minutes",
	}
	sentenceRelayDown = policy.Label{
		Italian: "Il server di invio del fornitore non risponde, riprovare fra qualche minuto",
		English: "The provider's sending server does not answer, try again in some minutes",
	}
)

// inBoth joins both languages, for whoever is not known yet.
func inBoth(l policy.Label) string { return policy.ASCII(l.Italian + " / " + l.English) }
