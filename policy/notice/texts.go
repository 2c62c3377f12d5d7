package notice

import (
	"copialettere/journal"
	"copialettere/policy"
)

// texts returns what there is to say of each event.
func texts(l policy.Language) map[policy.Events]text {
	if l == policy.English {
		return map[policy.Events]text{
			policy.NotifyCertified: {"Certified message for {mailbox}: {subject}",
				"A certified message has arrived for {mailbox} and was archived.\n\nSender:  {sender}\nSubject: {subject}\nArrival: {time}\n"},
			policy.NotifyFull: {"The archive of {mailbox} is {percent}% full",
				"On {time} the archive of {mailbox} reached {percent}% of the room that it has.\n" +
					"What becomes of new messages when it is full is decided by the settings of the archive.\n"},
			policy.NotifyGap: {"Mail for {mailbox} was not archived",
				"On {time} a message for {mailbox} was delivered without being archived: {reason}.\n" +
					"There is one notice a day of this. The gap is on record in the archive.\n"},
			policy.NotifyRetention: {"Messages deleted from the archive of {mailbox}",
				"On {time} messages that are older than the retention of {mailbox} were deleted from its archive.\n\n" +
					"Messages: {entries}\nSize:     {size}\n"},
		}
	}
	return map[policy.Events]text{
		policy.NotifyCertified: {"Messaggio certificato per {mailbox}: {subject}",
			"Un messaggio certificato è arrivato per {mailbox} ed è stato archiviato.\n\nMittente: {sender}\nOggetto:  {subject}\nArrivo:   {time}\n"},
		policy.NotifyFull: {"L'archivio di {mailbox} è pieno al {percent}%",
			"Il {time} l'archivio di {mailbox} ha raggiunto il {percent}% dello spazio a disposizione.\n" +
				"Le impostazioni dell'archivio decidono che cosa succede dei nuovi messaggi quando è pieno.\n"},
		policy.NotifyGap: {"Posta di {mailbox} non archiviata",
			"Il {time} un messaggio di {mailbox} è stato consegnato senza essere archiviato: {reason}.\n" +
				"Questo avviso arriva una volta al giorno. La lacuna è registrata nell'archivio.\n"},
		policy.NotifyRetention: {"Messaggi cancellati dall'archivio di {mailbox}",
			"Il {time} sono stati cancellati dall'archivio di {mailbox} i messaggi più vecchi del tempo di conservazione.\n\n" +
				"Messaggi:   {entries}\nDimensione: {size}\n"},
	}
}

// moreText tells of the notices that were not sent for the cap.
func moreText(l policy.Language) string {
	if l == policy.English {
		return "More notices that were not sent, because there were too many in one day: {more}.\n"
	}
	return "Altri avvisi non inviati, perché erano troppi in un giorno: {more}.\n"
}

func footer(l policy.Language) string {
	if l == policy.English {
		return "This notice was sent by a program. It can be turned off in the settings of the archive.\n"
	}
	return "Questo avviso è stato inviato da un programma. Si può disattivare nelle impostazioni dell'archivio.\n"
}

// reasonText tells the reason of a gap. One that is not known here is told as it is.
func reasonText(reason string, l policy.Language) string {
	english := l == policy.English
	switch {
	case reason == journal.ReasonFull && english:
		return "the archive is full"
	case reason == journal.ReasonFull:
		return "l'archivio è pieno"
	case reason == journal.ReasonJournalFault && english:
		return "the archive could not take it"
	case reason == journal.ReasonJournalFault:
		return "un guasto dell'archivio"
	}
	return orNone(reason, l)
}

func orNone(s string, l policy.Language) string {
	switch {
	case s != "":
		return s
	case l == policy.English:
		return "(none)"
	}
	return "(nessuno)"
}
