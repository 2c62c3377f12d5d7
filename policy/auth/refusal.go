package auth

import (
	"fmt"
	"time"

	"copialettere/policy"
)

// Refusal is an error that tells the person why, and what to do.
type Refusal struct {
	Reason   error // ErrClosed, ErrSecondFactor or ErrThrottled
	Sentence policy.Label
	Language policy.Language // of the mailbox
}

// Error returns the reason and the sentence in English, for a log.
func (r *Refusal) Error() string { return r.Reason.Error() + ": " + r.Sentence.English }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Reason }

// String returns the sentence in the language of the mailbox, for the person.
func (r *Refusal) String() string { return r.Sentence.In(r.Language) }

// The sentences of refusals.
var (
	noArchive = policy.Label{
		Italian: "Questa casella non ha un archivio.",
		English: "This mailbox has no archive.",
	}
	archiveClosing = policy.Label{
		Italian: "L'archivio di questa casella è disattivato e sarà cancellato. Fino ad allora si può ripristinare: dalle impostazioni, o dal postmaster del dominio.",
		English: "The archive of this mailbox is switched off and will be erased. Until then it can be restored: in the settings, or by the postmaster of the domain.",
	}
	imapAccessOff = policy.Label{
		Italian: "L'accesso all'archivio con un programma di posta è disattivato. Può attivarlo il postmaster del dominio.",
		English: "Access to the archive with a mail program is switched off. The postmaster of the domain can switch it on.",
	}
	imapProtocolOff = policy.Label{
		Italian: "Il protocollo IMAP di questa casella è disattivato, e con esso l'accesso all'archivio da un programma di posta. " +
			"Si riattiva nelle impostazioni della casella.",
		English: "IMAP is switched off for this mailbox, and with it the access to its archive by mail program. " +
			"The settings of the mailbox switch it on again.",
	}
	appPasswordRevoked = policy.Label{
		Italian: "La password di questo programma è stata revocata.",
		English: "The app password of this program was revoked.",
	}
	// These are about the live mailbox, in its own mail server.
	liveIMAPOff = policy.Label{
		Italian: "Il protocollo IMAP di questa casella è disattivato. Si riattiva nelle impostazioni della casella.",
		English: "IMAP is switched off for this mailbox. The settings of the mailbox switch it on again.",
	}
	livePOP3Off = policy.Label{
		Italian: "Il protocollo POP3 di questa casella è disattivato. Si riattiva nelle impostazioni della casella.",
		English: "POP3 is switched off for this mailbox. The settings of the mailbox switch it on again.",
	}
	liveSMTPOff = policy.Label{
		Italian: "L'invio con un programma di posta (SMTP) è disattivato per questa casella. Si riattiva nelle impostazioni della casella.",
		English: "Sending with a mail program (SMTP) is switched off for this mailbox. The settings of the mailbox switch it on again.",
	}
	liveSieveOff = policy.Label{
		Italian: "IMAP e POP3 sono disattivati per questa casella, e con essi le regole (ManageSieve). Si riattivano nelle impostazioni della casella.",
		English: "IMAP and POP3 are switched off for this mailbox, and with them its rules (ManageSieve). The settings of the mailbox switch them on again.",
	}
	allProtocolsOff = policy.Label{
		Italian: "Per questa casella è attiva solo la webmail. I programmi di posta si riattivano nelle impostazioni della casella.",
		English: "Only webmail is open for this mailbox. The settings of the mailbox switch mail programs on again.",
	}
	appPasswordOnly = policy.Label{
		Italian: "Con l'autenticazione a due fattori i programmi di posta non accettano la password della casella: serve una password per programmi, " +
			"che si crea nelle impostazioni della casella.",
		English: "With two-factor authentication, mail programs cannot use the password of the mailbox: they need an app password, " +
			"which the settings of the mailbox make.",
	}
)

// tooManyFailures says how long to wait, in whole minutes.
func tooManyFailures(wait time.Duration) policy.Label {
	minutes := int((wait + time.Minute - 1) / time.Minute)
	if minutes == 1 {
		return policy.Label{Italian: "Troppi tentativi falliti. Riprovare fra un minuto.", English: "Too many failures. Try again in a minute."}
	}
	return policy.Label{
		Italian: fmt.Sprintf("Troppi tentativi falliti. Riprovare fra %d minuti.", minutes),
		English: fmt.Sprintf("Too many failures. Try again in %d minutes.", minutes),
	}
}

// sharedName says by which address to sign in, where an archive account name is that of several mailboxes.
func sharedName(address string) policy.Label {
	return policy.Label{
		Italian: "Questo nome è di più caselle. Come nome utente scrivere l'indirizzo: " + address,
		English: "Several mailboxes have this name. Sign in with the address as user name: " + address,
	}
}
