package archive

import (
	"context"
	"slices"
	"strings"

	"copialettere/policy"
)

// noted makes an act, and if mail is archived after it, adds to its answer what the owner must know.
func (a *Archive) noted(ctx context.Context, who policy.Actor, address policy.Address, change func() (bool, error)) (Mailbox, error) {
	v, err := a.turned(ctx, who, address, func() (bool, error) {
		changed, err := change()
		if err == nil {
			err = a.inForce(ctx) // the mailbox may be new, or have another address
		}
		return changed, err
	})
	if err == nil && v.Archive == string(policy.StateOn) {
		var account string
		if account, err = a.accountName(ctx, address); err != nil {
			return v, err
		}
		v.Notes = notes(v.Mailbox, account, a.policy.Addresses(address), on(v, policy.KeyAppend) && on(v, policy.KeyIMAP))
	}
	return v, err
}

// on reports whether a setting of a mailbox is on.
func on(v Mailbox, key string) bool {
	return slices.ContainsFunc(v.Settings, func(s Setting) bool { return s.Key == key && s.Value == "on" })
}

// notes says what is archived of a mailbox and what is not, and under which name: account is its own one at an archive host, or the mailbox. addresses
// are those whose mail is archived. byHand: mail programs can put messages in.
func notes(mailbox, account string, addresses []string, byHand bool) []policy.Label {
	r := strings.NewReplacer("{mailbox}", mailbox, "{account}", account, "{addresses}", strings.Join(addresses, ", "))
	accounts := policy.Label{Italian: "{mailbox}", English: "{mailbox}"}
	if account != mailbox {
		accounts = policy.Label{Italian: "{mailbox} oppure {account}", English: "{mailbox} or {account}"}
	}
	list := []policy.Label{
		{Italian: "Account dell'archivio: " + accounts.Italian + ". Indirizzi archiviati: {addresses}.",
			English: "Account of the archive: " + accounts.English + ". Archived addresses: {addresses}."},
		{Italian: "Si archivia solo la posta che arriva o parte da ora in poi.",
			English: "Only mail that arrives or is sent from now on is archived."},
		{Italian: "I messaggi precedenti li porta in archivio chi gestisce il server, con «copialettere import». Senza: farli recapitare di nuovo a {mailbox}; conta la data del nuovo recapito.",
			English: "The operator brings earlier messages in with \"copialettere import\". Without it: have them delivered to {mailbox} once more; they count as of that delivery."},
		{Italian: "La posta che arriva tramite alias, liste o inoltri non viene archiviata.",
			English: "Mail that comes by way of an alias, a list or a forward is not archived."},
	}
	if byHand {
		list[2] = policy.Label{
			Italian: "Per aggiungere a mano un messaggio precedente, copiarlo con un programma di posta in una cartella dell'archivio: conta la data di quel giorno.",
			English: "To add an earlier message by hand, copy it into a folder of the archive with a mail program: it counts as of that day."}
	}
	for i, t := range list {
		list[i] = policy.Label{Italian: r.Replace(t.Italian), English: r.Replace(t.English)}
	}
	return list
}

// renamedFolders says what becomes of the folders that mail programs know, where changes give them other names.
func renamedFolders(v Mailbox, changes []policy.Change) []policy.Label {
	if v.Archive == string(policy.StateOff) || !on(v, policy.KeyIMAP) ||
		!slices.ContainsFunc(changes, func(c policy.Change) bool { return c.Key == policy.KeyLayout || c.Key == policy.KeyLanguage }) {
		return nil
	}
	return []policy.Label{{
		Italian: "I nomi delle cartelle dell'archivio cambiano: i programmi di posta le scaricano di nuovo.",
		English: "The folders of the archive have other names from now on: mail programs fetch them anew.",
	}}
}
