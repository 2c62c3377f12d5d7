// Package imapd shows archives to mail programs: IMAP4rev1 (RFC 3501) with the extensions that programs use. They are read-only, unless the settings of
// a mailbox let messages be moved and deleted, or put in by hand.
//
// go-imap is the protocol engine, unmodified: it reads commands and writes replies. It stands between two layers of ours:
//
//	network - TLS - conn - go-imap - session - policy/archive
//
// conn gives go-imap one whole command at a time and answers by itself what go-imap does not know (see conn). session answers what is asked of
// the archive. It holds no logic: names of folders, rights, and what lies in a folder are the business of package archive.
//
// What a program sees never changes under a UID: the bytes of a message are those that were journaled, and UIDs and UIDVALIDITY are the
// journal's. Every message is \Seen, and no flag is ever stored: \Deleted is a mark of one connection (see write.go). Structure (BODYSTRUCTURE,
// BODY[1.2]) comes from the part table of the entry; messages are not parsed again.
//
// Delivery goes before reading: FETCH, SEARCH, APPEND and COPY work in turns (see turn.go). The replies that programs ask for by the ten thousand are
// written without go-imap where all in them is plain (see line.go).
//
// The package stores nothing.
package imapd
