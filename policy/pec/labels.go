package pec

import "copialettere/policy"

// Label returns what the class is called, as it stands alone.
func (c Class) Label() policy.Label {
	switch c {
	case PostaCertificata:
		return policy.Label{Italian: "Messaggio certificato", English: "Certified message"}
	case Anomalia:
		return policy.Label{Italian: "Busta di anomalia", English: "Anomaly envelope"}
	case Accettazione:
		return policy.Label{Italian: "Ricevuta di accettazione", English: "Acceptance receipt"}
	case NonAccettazione:
		return policy.Label{Italian: "Avviso di non accettazione", English: "Notice of refusal"}
	case PresaInCarico:
		return policy.Label{Italian: "Ricevuta di presa in carico", English: "Receipt between providers"}
	case AvvenutaConsegna:
		return policy.Label{Italian: "Ricevuta di avvenuta consegna", English: "Delivery receipt"}
	case ErroreConsegna:
		return policy.Label{Italian: "Avviso di mancata consegna", English: "Notice of failed delivery"}
	case PreavvisoErroreConsegna:
		return policy.Label{Italian: "Avviso di mancata consegna nei tempi", English: "Notice of late delivery"}
	case RilevazioneVirus:
		return policy.Label{Italian: "Avviso di rilevazione virus", English: "Virus notice between providers"}
	case REM:
		return policy.Label{Italian: "Messaggio REM", English: "REM message"}
	case Ordinary, "":
		return policy.Label{Italian: "Messaggio ordinario", English: "Ordinary message"}
	}
	return policy.Label{Italian: string(c), English: string(c)}
}

// Label returns the verdict on a signature as a sentence.
func (r Result) Label() policy.Label {
	switch r {
	case ResultVerified:
		return policy.Label{Italian: "La firma del gestore è valida: il messaggio è com'era quando il gestore lo ha firmato.",
			English: "The provider's signature is valid: the message is as the provider signed it."}
	case ResultWeak:
		return policy.Label{Italian: "La firma del gestore è valida, ma la catena dei certificati usa SHA-1, oggi considerato debole.",
			English: "The provider's signature is valid, but its chain of certificates uses SHA-1, which is weak by now."}
	case ResultInvalid:
		return policy.Label{Italian: "La firma non è valida: il messaggio è stato modificato, oppure la firma non si può leggere.",
			English: "The signature is not valid: the message was changed, or the signature cannot be read."}
	case ResultIncomplete:
		return policy.Label{Italian: "La firma copre il messaggio, ma il certificato di chi ha firmato manca: non si sa di chi è.",
			English: "The signature covers the message, but its certificate is missing: whose it is cannot be said."}
	case ResultUntrusted:
		return policy.Label{Italian: "La firma copre il messaggio, ma non è di un gestore riconosciuto, o non di quello che risulta mittente.",
			English: "The signature covers the message, but is not that of a trusted provider, or not of the one it comes from."}
	case ResultUnsigned:
		return policy.Label{Italian: "Il messaggio non è firmato da un gestore.", English: "No provider has signed the message."}
	}
	return policy.Label{Italian: "La firma non è stata esaminata.", English: "The signature was not examined."}
}

// ReceiptKindLabel returns what a kind of delivery receipt is called, and what it holds.
func ReceiptKindLabel(kind string) policy.Label {
	switch kind {
	case ReceiptComplete:
		return policy.Label{Italian: "completa: contiene l'intero messaggio", English: "complete: it holds the whole message"}
	case ReceiptBrief:
		return policy.Label{Italian: "breve: contiene il messaggio con le impronte degli allegati", English: "brief: it holds the message with digests of its attachments"}
	case ReceiptShort:
		return policy.Label{Italian: "sintetica: non contiene il messaggio", English: "short: it does not hold the message"}
	}
	return policy.Label{Italian: kind, English: kind}
}

// Label returns what became of the message for one recipient.
func (s Status) Label() policy.Label {
	switch s {
	case StatusUnknown:
		return policy.Label{Italian: "nessuna ricevuta", English: "no receipt"}
	case StatusAccepted:
		return policy.Label{Italian: "accettato", English: "accepted"}
	case StatusRefused:
		return policy.Label{Italian: "non accettato", English: "refused"}
	case StatusDelivered:
		return policy.Label{Italian: "consegnato", English: "delivered"}
	case StatusFailed:
		return policy.Label{Italian: "non consegnato", English: "not delivered"}
	case StatusLate12:
		return policy.Label{Italian: "in ritardo: nessuna consegna in 12 ore", English: "late: no delivery within 12 hours"}
	case StatusLate24:
		return policy.Label{Italian: "non consegnato in 24 ore", English: "not delivered within 24 hours"}
	case StatusUnnamedDelivered:
		return policy.Label{Italian: "forse consegnato: la ricevuta non dice a quale destinatario", English: "perhaps delivered: the receipt does not say to which recipient"}
	case StatusUnnamedFailed:
		return policy.Label{Italian: "forse non consegnato: l'avviso non dice a quale destinatario", English: "perhaps not delivered: the notice does not say to which recipient"}
	case StatusUnnamedLate:
		return policy.Label{Italian: "forse in ritardo: l'avviso non dice per quale destinatario", English: "perhaps late: the notice does not say for which recipient"}
	}
	return policy.Label{Italian: string(s), English: string(s)}
}

// Label returns how long a delivery receipt has been due; empty for NotWaiting.
func (w Waiting) Label() policy.Label {
	switch w {
	case WaitingUnder:
		return policy.Label{Italian: "in attesa della consegna", English: "waiting for the delivery"}
	case WaitingPast:
		return policy.Label{Italian: "in attesa della consegna da più di 12 ore", English: "waiting for the delivery for more than 12 hours"}
	case WaitingLong:
		return policy.Label{Italian: "in attesa della consegna da più di 24 ore", English: "waiting for the delivery for more than 24 hours"}
	}
	return policy.Label{}
}

// Label returns how a part of a brief receipt, or the whole, compares with the archived message.
func (r HashResult) Label() policy.Label {
	switch r {
	case HashMatch:
		return policy.Label{Italian: "corrisponde al messaggio inviato", English: "agrees with the message that was sent"}
	case HashMismatch:
		return policy.Label{Italian: "non corrisponde al messaggio inviato", English: "does not agree with the message that was sent"}
	case HashNoOriginal:
		return policy.Label{Italian: "non confrontabile: il messaggio inviato non è in archivio", English: "cannot be compared: the message that was sent is not in the archive"}
	case HashNotCovered:
		return policy.Label{Italian: "la ricevuta non comprende questa parte", English: "the receipt does not cover this part"}
	case HashOtherName:
		return policy.Label{Italian: "il contenuto corrisponde, il nome del file no", English: "the content agrees, the name of the file does not"}
	}
	return policy.Label{Italian: string(r), English: string(r)}
}

// Label returns what linked a practice to its sent message; empty if nothing did.
func (m Match) Label() policy.Label {
	switch m {
	case MatchNone:
		return policy.Label{}
	case MatchContent:
		return policy.Label{Italian: "collegato perché la ricevuta completa ne contiene il testo", English: "linked because a complete receipt holds its text"}
	case MatchGuess:
		return policy.Label{Italian: "collegato per mittente, destinatari, oggetto e ora: nessun identificativo lo conferma", English: "linked by sender, recipients, subject and time: no identifier confirms it"}
	}
	return policy.Label{Italian: "collegato dagli identificativi", English: "linked by identifiers"}
}
