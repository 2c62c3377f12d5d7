// Package export takes messages out of an archive, in forms that outlive this program. Every message comes out as the bytes that were journaled; what a
// form changes of them is in the manifest. It reads an archive through a Source and knows no protocol.
//
// # Layout
//
// Names are ASCII. FOLDER is the folder of the journal, such as INBOX or Imported/Lavoro, and MONTH the month of its volume.
//
//	FormEML      PATH/FOLDER/MONTH/20261129-101112_bruno_Subject_7.eml   date (UTC), sender or recipient, subject, UID; the time of the file is the date
//	FormMbox     PATH/FOLDER/MONTH.mbox                                  mboxrd with LF: see mbox.go
//	FormMaildir  PATH/FOLDER/MONTH/cur/1795960272.U7P1a2b...             each MONTH a Maildir; all messages are seen (":2,S"), as the archive shows them;
//	                                                                     the time of the file is the date, which Dovecot takes for INTERNALDATE
//	FormZIP      PATH, one file                                          the files of FormEML, and those below, in one ZIP
//
// Beside the messages there are:
//
//	export.json     what is exported: mailbox, form, selection
//	manifest.csv    a line for each message, in the order of month, folder and UID: see manifestFields
//	gaps.csv        what the archive lacks of that time, and why
//	PIndex.xml      only where asked for: the index of SInCRO (UNI 11386), not signed, which names all files but itself and SHA256SUMS
//	INCOMPLETE.txt  only where something could not be read: what
//	SHA256SUMS      the SHA-256 of all other files, as "sha256sum -c" reads it
//
// The tables are UTF-8 with a byte order mark and CRLF, as spreadsheets want it.
//
// # Durability
//
// A file is written under another name, synced, and renamed; then its folder is synced; then it is read from the disk and compared, by xxHash. Files go so
// in batches, for which the file system is synced at once (syncfs): see batch. An mbox or a ZIP is read back piece by piece as it grows: see grown.
// PATH/.part (of a ZIP: PATH.part) holds what is being written, a lock, and the plan, which is the list of all messages; it goes when all is done. The
// manifest and SHA256SUMS come last, so where they are, all that they name was read back.
//
// # Resuming
//
// The same Run again first verifies what is there, by size and SHA-256 read back, and writes only what is missing or differs. In a ZIP or an mbox that is
// what follows the first message that is not as it must be. The tables are made anew from the plan, so they are as of a run that was not interrupted.
// Nothing that belongs to another export is touched: the error is then ErrOther.
package export
