package notice

import (
	"copialettere/journal"
	"copialettere/policy"
)

// texts returns the text for each event except a gap.
func texts(l policy.Language) map[policy.Events]text {
	if l == policy.English {
		return map[policy.Events]text{
			policy.NotifyCertified: {"Certified message for {mailbox}: {subject}",
				"A certified message has arrived for {mailbox} and was archived.\n\nSender:  {sender}\nSubject: {subject}\nArrival: {time}\n"},
			policy.NotifyFull: {"The archive of {mailbox} is {percent}% full",
				"On {time} the archive of {mailbox} reached {percent}% of its quota.\n" +
					"The settings of the archive decide what happens to new messages when it is full.\n"},
			policy.NotifyRetention: {"Messages deleted from the archive of {mailbox}",
				"On {time} messages older than the retention period of {mailbox} were deleted from its archive.\n\n" +
					"Messages: {entries}\nSize:     {size}\n"},
		}
	}
	return map[policy.Events]text{
		policy.NotifyCertified: {"Messaggio certificato per {mailbox}: {subject}",
			"Un messaggio certificato è arrivato per {mailbox} ed è stato archiviato.\n\nMittente: {sender}\nOggetto:  {subject}\nArrivo:   {time}\n"},
		policy.NotifyFull: {"L'archivio di {mailbox} è pieno al {percent}%",
			"Il {time} l'archivio di {mailbox} ha raggiunto il {percent}% dello spazio a disposizione.\n" +
				"Le impostazioni dell'archivio decidono che cosa succede ai nuovi messaggi quando è pieno.\n"},
		policy.NotifyRetention: {"Messaggi cancellati dall'archivio di {mailbox}",
			"Il {time} sono stati cancellati dall'archivio di {mailbox} i messaggi più vecchi del periodo di conservazione.\n\n" +
				"Messaggi:   {entries}\nDimensione: {size}\n"},
	}
}

// leftOutText returns the text for a certified message that is not in the archive.
func leftOutText(l policy.Language) text {
	if l == policy.English {
		return text{"Certified message for {mailbox}: {subject}",
			"A certified message has arrived for {mailbox}, and was not archived: {reason}.\n\nSender:  {sender}\nSubject: {subject}\nArrival: {time}\n"}
	}
	return text{"Messaggio certificato per {mailbox}: {subject}",
		"Un messaggio certificato è arrivato per {mailbox}, e non è stato archiviato: {reason}.\n\nMittente: {sender}\nOggetto:  {subject}\nArrivo:   {time}\n"}
}

// digestText returns the text of a digest: for the operator, or for the owner of a mailbox.
func digestText(n *Notice, l policy.Language) text {
	t := text{"Altri avvisi sull'archivio di {mailbox}",
		"Fino al {time} ci sono stati più avvisi di quanti se ne mandano in un giorno. Questi non sono stati mandati uno per uno:\n\n{list}"}
	if n.Cause != "" || l == policy.English {
		t = text{"Further notices about the archive of {mailbox}",
			"Until {time} there were more notices than are sent in one day. These were not sent one by one:\n\n{list}"}
	}
	if n.Cause != "" {
		t.subject = "copialettere on {host}: further notices"
	}
	return t
}

// moreText counts the notices that a digest does not list.
func moreText(l policy.Language) string {
	if l == policy.English {
		return "Further notices that are not listed, because there were too many in one day: {more}.\n"
	}
	return "Altri avvisi che non sono elencati, perché erano troppi in un giorno: {more}.\n"
}

// footer ends a notice. What goes to an address other than that of the settings, or is told always, cannot be turned off.
func footer(n *Notice, l policy.Language) string {
	switch {
	case n.Cause != "":
		return operatorFooter
	case n.Kind == kindCode || n.Kind == SecurityAddress || n.always():
		if l == policy.English {
			return "This mail was sent by a program.\n"
		}
		return "Questo messaggio è stato inviato da un programma.\n"
	case l == policy.English:
		return "This notice was sent by a program. It can be turned off in the settings of the archive.\n"
	}
	return "Questo avviso è stato inviato da un programma. Si può disattivare nelle impostazioni dell'archivio.\n"
}

// gapText returns the text for a gap.
func gapText(reason string, l policy.Language) text {
	list := gapTexts(l)
	t, ok := list[reason]
	if !ok {
		t = list[""]
	}
	return t
}

// gapTexts returns the texts for gaps that are not about one message, by reason. The empty reason stands for all others, {reason} for its label.
func gapTexts(l policy.Language) map[string]text {
	if l == policy.English {
		const missing, message = "Mail for {mailbox} was not archived", "On {arrived} a message of {mailbox} was not archived: "
		const once = "There is at most one such notice a day. All gaps are on record in the archive.\n"
		return map[string]text{
			journal.ReasonRoom: {"Old messages deleted from the archive of {mailbox}",
				"On {time} the archive of {mailbox} was full. Its oldest messages are being deleted to make room for new ones.\n" + once},
			journal.ReasonLost: {"Messages may be missing from the archive of {mailbox}",
				"On {time} it was found that a fault had destroyed part of the archive. Messages of {mailbox} may be missing.\n" + once},
			journal.ReasonRestored: {"The archive of {mailbox} was restored from a backup",
				"On {time} the archive of {mailbox} was restored from a backup of {arrived}. Messages that arrived between the two are missing from the archive. " +
					"What is in the mailbox itself is as it was.\n" + once},
			"": {missing, message + "{reason}.\n" + once},
		}
	}
	const missing, message = "Posta di {mailbox} non archiviata", "Un messaggio di {mailbox}, del {arrived}, non è stato archiviato: "
	const once = "Questo avviso arriva al massimo una volta al giorno. Tutte le lacune sono registrate nell'archivio.\n"
	return map[string]text{
		journal.ReasonRoom: {"Messaggi vecchi cancellati dall'archivio di {mailbox}",
			"Il {time} l'archivio di {mailbox} era pieno. I messaggi più vecchi vengono cancellati per fare posto ai nuovi.\n" + once},
		journal.ReasonLost: {"Nell'archivio di {mailbox} possono mancare messaggi",
			"Il {time} è risultato che per un guasto si è persa una parte di quanto era archiviato. Possono mancare messaggi di {mailbox}.\n" + once},
		journal.ReasonRestored: {"Archivio di {mailbox} ripristinato da una copia di sicurezza",
			"Il {time} l'archivio di {mailbox} è stato ripristinato da una copia di sicurezza del {arrived}. I messaggi arrivati tra le due date mancano dall'archivio. " +
				"Quanto è nella casella di posta non è cambiato.\n" + once},
		"": {missing, message + "{reason}.\n" + once},
	}
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
