package notice

import "copialettere/policy"

// kindText returns the text of a notice with a kind.
func kindText(n *Notice, l policy.Language) text {
	if l == policy.English {
		return kindTextsEnglish()[n.Kind]
	}
	return kindTextsItalian()[n.Kind]
}

func kindTextsEnglish() map[Kind]text {
	const lost = "\nMessages: {entries}\nSize:     {size}\n\n"
	const export = "To keep messages, have them exported before. Whoever runs the archive lists them by \"copialettere list {mailbox}\", and writes each of them\n" +
		"into a file by \"copialettere cat\".\n"
	const unknown = "If you know nothing of this, tell whoever runs the archive.\n"
	return map[Kind]text{
		LossDisable: {"The archive of {mailbox} will be erased",
			"On {time} the archive of {mailbox} was disabled. It will be erased with all its messages, on {due} at the earliest. Until then this can be taken back.\n" +
				lost + export},
		LossRetention: {"Messages will be deleted from the archive of {mailbox}",
			"On {time} the retention period of the archive of {mailbox} was shortened to {months} months. Older messages will be deleted,\n" +
				"on {due} at the earliest. Then these will be past it:\n" + lost + export},
		LossRun: {"Many messages will be deleted from the archive of {mailbox}",
			"An unusually large part of the archive of {mailbox} is past the retention period of {months} months. It will be deleted,\n" +
				"on {due} at the earliest.\n" + lost + export},
		LossRoom: {"The archive of {mailbox} will soon delete its oldest messages",
			"On {time} the archive of {mailbox} reached {percent}% of its quota. When it is full, its oldest messages are deleted to make room for new ones,\n" +
				"beginning with those of {oldest}. What it holds now:\n" + lost + export},
		SecurityAppPassword: {"New app password for the archive of {mailbox}",
			"On {time} a password for a program was made, which opens the archive of {mailbox}: {detail}.\n\n" + unknown},
		SecurityDelegate: {"Somebody else may read the archive of {mailbox}",
			"On {time} somebody else was allowed to read the archive of {mailbox}. Who, and until which day: {detail}.\n\n" + unknown},
		SecuritySecondFactorOff: {"Second factor turned off for the archive of {mailbox}",
			"On {time} the second factor for access to the archive of {mailbox} was turned off. By whom: {detail}.\n\n" + unknown},
		SecurityRecoveryCode: {"Recovery code used for the archive of {mailbox}",
			"On {time} somebody signed in to the archive of {mailbox} with a recovery code of the second factor. Codes left: {detail}.\n\n" + unknown},
		SecurityExport: {"Messages exported from the archive of {mailbox}",
			"On {time} messages were exported from the archive of {mailbox}: {detail}.\n\n" + unknown},
		SecurityAddress: {"Notices about the archive of {mailbox} no longer come here",
			"On {time} the address for notices about the archive of {mailbox} was changed. The new one: {detail}.\n\n" + unknown},
		kindCode: {"Confirm this address for notices about the archive of {mailbox}",
			"On {time} this address was given for notices about the archive of {mailbox}. It gets them once this code is confirmed:\n\n    {code}\n\n" +
				"Give the code to whoever runs the archive: copialettere mailbox confirm {mailbox} {code}\nThe code is good until {due}.\n" +
				"If you know nothing of this, do nothing: without the code nothing more is sent here.\n"},
	}
}

func kindTextsItalian() map[Kind]text {
	const lost = "\nMessaggi:   {entries}\nDimensione: {size}\n\n"
	const export = "Chi vuole tenere dei messaggi li faccia esportare prima. Chi gestisce l'archivio li elenca con \"copialettere list {mailbox}\", e scrive ciascuno\n" +
		"in un file con \"copialettere cat\".\n"
	const unknown = "Chi non ne sa nulla avverta chi gestisce l'archivio.\n"
	return map[Kind]text{
		LossDisable: {"L'archivio di {mailbox} sarà cancellato",
			"Il {time} l'archivio di {mailbox} è stato disattivato. Sarà cancellato con tutti i suoi messaggi, non prima del {due}. Fino ad allora si può tornare indietro.\n" +
				lost + export},
		LossRetention: {"Dall'archivio di {mailbox} saranno cancellati dei messaggi",
			"Il {time} il periodo di conservazione dell'archivio di {mailbox} è stato ridotto a {months} mesi. I messaggi più vecchi saranno cancellati,\n" +
				"non prima del {due}. A quella data saranno scaduti:\n" + lost + export},
		LossRun: {"Dall'archivio di {mailbox} saranno cancellati molti messaggi",
			"Per una parte insolitamente grande dell'archivio di {mailbox} è passato il periodo di conservazione di {months} mesi. Sarà cancellata,\n" +
				"non prima del {due}.\n" + lost + export},
		LossRoom: {"L'archivio di {mailbox} cancellerà presto i messaggi più vecchi",
			"Il {time} l'archivio di {mailbox} ha raggiunto il {percent}% dello spazio a disposizione. Quando è pieno, i messaggi più vecchi vengono cancellati per\n" +
				"fare posto ai nuovi, a partire da quelli del {oldest}. Ora contiene:\n" + lost + export},
		SecurityAppPassword: {"Nuova password per programmi per l'archivio di {mailbox}",
			"Il {time} è stata creata una password per un programma, che apre l'archivio di {mailbox}: {detail}.\n\n" + unknown},
		SecurityDelegate: {"Un'altra persona può leggere l'archivio di {mailbox}",
			"Il {time} un'altra persona è stata autorizzata a leggere l'archivio di {mailbox}. Chi, e fino a quale giorno: {detail}.\n\n" + unknown},
		SecuritySecondFactorOff: {"Secondo fattore disattivato per l'archivio di {mailbox}",
			"Il {time} è stato disattivato il secondo fattore per l'accesso all'archivio di {mailbox}. Da chi: {detail}.\n\n" + unknown},
		SecurityRecoveryCode: {"Codice di recupero usato per l'archivio di {mailbox}",
			"Il {time} qualcuno è entrato nell'archivio di {mailbox} con un codice di recupero del secondo fattore. Codici rimasti: {detail}.\n\n" + unknown},
		SecurityExport: {"Messaggi esportati dall'archivio di {mailbox}",
			"Il {time} sono stati esportati dei messaggi dall'archivio di {mailbox}: {detail}.\n\n" + unknown},
		SecurityAddress: {"Gli avvisi sull'archivio di {mailbox} non arrivano più qui",
			"Il {time} è cambiato l'indirizzo per gli avvisi sull'archivio di {mailbox}. Quello nuovo: {detail}.\n\n" + unknown},
		kindCode: {"Confermare questo indirizzo per gli avvisi sull'archivio di {mailbox}",
			"Il {time} questo indirizzo è stato indicato per gli avvisi sull'archivio di {mailbox}. Li riceve quando è confermato questo codice:\n\n    {code}\n\n" +
				"Comunicare il codice a chi gestisce l'archivio: copialettere mailbox confirm {mailbox} {code}\nIl codice vale fino al {due}.\n" +
				"Chi non ne sa nulla non faccia nulla: senza il codice qui non arriva altro.\n"},
	}
}
