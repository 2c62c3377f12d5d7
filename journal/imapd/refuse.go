package imapd

import (
	"context"
	"errors"
	"fmt"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// Sentences that people read when something is refused.
var (
	sentenceDenied      = policy.Label{Italian: "Nome utente o password errati", English: "Wrong user name or password"}
	sentenceUnavailable = policy.Label{
		Italian: "Servizio al momento non disponibile: riprovare tra qualche minuto", English: "Not available at the moment: try again in some minutes"}
	sentenceCrowded = policy.Label{
		Italian: "Troppe connessioni aperte a questo archivio: chiudere un programma di posta", English: "Too many connections to this archive: close a mail program"}
	sentenceForbidden = policy.Label{
		Italian: "L'accesso a questo archivio non è consentito", English: "This archive may not be opened"}
	sentenceNoFolder = policy.Label{Italian: "Questa cartella non esiste nell'archivio", English: "The archive has no such folder"}
	sentenceReadOnly = policy.Label{
		Italian: "L'archivio si può solo consultare: i messaggi non si modificano, non si spostano e non si cancellano",
		English: "The archive is read-only: messages cannot be changed, moved or deleted"}
	sentenceHeld = policy.Label{
		Italian: "Nessun messaggio è stato cancellato, perché alcuni sono sotto blocco legale",
		English: "No message was deleted, because some are under a legal hold"}
	sentenceTarget = policy.Label{
		Italian: "I messaggi si spostano soltanto in un'altra cartella dello stesso mese, nel cestino e di ritorno dal cestino nel loro mese",
		English: "Messages can be moved to another folder of their month, to the trash, and from there back into their month"}
	sentenceType = policy.Label{
		Italian: "Ogni messaggio sta nella cartella del suo tipo, che non si sceglie; a mano si copia in INBOX, Posta inviata o Archiviati a mano",
		English: "Each message lies in the folder of its type, which nobody chooses; by hand, copy it to INBOX, Sent or Archived by hand"}
	sentenceOnlyDelete = policy.Label{
		Italian: "In questo archivio i messaggi si possono cancellare e riprendere dal cestino, ma non spostare",
		English: "In this archive messages can be deleted and taken back from the trash, and not moved"}
	sentenceWaits = policy.Label{
		Italian: "I messaggi nel cestino si cancellano da soli dopo 72 ore, e fino ad allora si possono riprendere",
		English: "Messages in the trash go by themselves after 72 hours; until then they can be taken back"}
	sentenceOtherMonth = policy.Label{
		Italian: "I messaggi inseriti a mano stanno nel mese corrente: copiarli in INBOX, Posta inviata o Archiviati a mano",
		English: "Messages that are put in by hand lie in the month of today: copy them to INBOX, Sent or Archived by hand"}
	sentenceEmpty = policy.Label{
		Italian: "Il messaggio è vuoto", English: "The message is empty"}
	sentenceNotOn = policy.Label{
		Italian: "L'archivio è sospeso e non accetta messaggi", English: "The archive is paused and takes no messages"}
	sentenceTooLarge = policy.Label{
		Italian: "Il messaggio supera la dimensione massima", English: "The message is larger than the archive takes"}
	sentenceFull = policy.Label{
		Italian: "L'archivio è pieno (conta anche il cestino): il messaggio non è stato inserito",
		English: "The archive is full (its trash counts too): the message was not put in"}
	sentenceFlags = policy.Label{
		Italian: "I messaggi dell'archivio non si contrassegnano", English: "Messages of the archive cannot be marked"}
	sentenceFolders = policy.Label{
		Italian: "Le cartelle dell'archivio sono fisse: non si creano, non si cancellano e non si rinominano",
		English: "The folders of the archive are fixed: they cannot be made, deleted or renamed"}
	sentenceAppend = policy.Label{
		Italian: "In questo archivio non si possono inserire messaggi a mano", English: "Messages cannot be put into this archive by hand"}
	sentenceRights = policy.Label{
		Italian: "I permessi dell'archivio si gestiscono dal provider", English: "Rights of the archive are managed by the provider"}
	sentenceGone = policy.Label{
		Italian: "Alcuni messaggi non sono più nell'archivio", English: "Some messages are no longer in the archive"}
	sentenceDamaged = policy.Label{
		Italian: "Alcuni messaggi non si possono leggere: avvisare il gestore del servizio", English: "Some messages cannot be read: tell the provider"}
	sentenceMonth = policy.Label{
		Italian: "Questo mese dell'archivio al momento non si può leggere: avvisare il gestore del servizio",
		English: "This month of the archive cannot be read at the moment: tell the provider"}
	sentenceSearch = policy.Label{
		Italian: "Ricerca troppo estesa: restringerla per data, mittente, oggetto o cartella",
		English: "The search is too wide: narrow it by date, sender, subject or folder"}
)

// say returns a sentence in the language of the mailbox, or in English before anybody has signed in.
func (s *session) say(l policy.Label) string { return policy.ASCII(l.In(s.language)) }

// refuse returns the NO that go-imap writes, with a code of RFC 3501 or RFC 5530.
func (s *session) refuse(code imap.ResponseCode, l policy.Label) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: s.say(l)}
}

// noPermission is what changes are answered with.
func (s *session) noPermission(l policy.Label) error { return s.refuse(imap.ResponseCodeNoPerm, l) }

// Codes that go-imap has no name for.
const (
	codeAlert         = imap.ResponseCode("ALERT")
	codeCorruption    = imap.ResponseCode("CORRUPTION")
	codeExpungeIssued = imap.ResponseCode("EXPUNGEISSUED")
)

// reply turns an error of the archive into the reply to a command. What went wrong inside goes to the log, never to the program.
func (s *session) reply(err error) error {
	var closed *auth.Refusal
	var known *imap.Error
	if refusal := s.actReply(err); refusal != nil {
		return refusal
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &closed):
		s.close(closed.Sentence)
		return s.refuse(codeAlert, closed.Sentence)
	case errors.Is(err, policy.ErrForbidden):
		s.close(sentenceForbidden)
		return s.refuse(imap.ResponseCodeNoPerm, sentenceForbidden)
	case errors.Is(err, archive.ErrNoFolder):
		return s.refuse(imap.ResponseCodeNonExistent, sentenceNoFolder)
	case errors.Is(err, journal.ErrDamaged):
		s.conn.log.Error("an archive cannot be read", "mailbox", s.reader.Mailbox().String(), "error", err)
		return s.refuse(imap.ResponseCodeUnavailable, sentenceMonth)
	}
	if !errors.Is(err, context.Canceled) {
		s.conn.log.Error("an archive cannot be read", "error", err)
	}
	return s.refuse(imap.ResponseCodeUnavailable, sentenceUnavailable)
}

// status returns the reply to a command of conn's own that failed with err.
func (s *session) status(err error) string {
	var e *imap.Error
	if errors.As(s.reply(err), &e) && e.Code != "" {
		return fmt.Sprintf("%s [%s] %s", e.Type, e.Code, e.Text)
	}
	return "NO " + s.say(sentenceUnavailable)
}
