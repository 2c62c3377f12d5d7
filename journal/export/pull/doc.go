// Package pull imports mail of accounts on IMAP servers into archives: all of an account or some of its folders, each time what has come since. It has
// the client, the run over an account, and the Service that keeps profiles and runs them when they are due. The messages go to an archive.Importing;
// how far each folder was read is in a source.Store.
//
// # What counts
//
// Servers answer OK to what they have not done, and sizes and UIDs prove less than one thinks. So:
//
//   - A message counts when as many bytes came as the literal, RFC822.SIZE and the list of the folder say, and a NOOP behind the FETCH shows that it
//     was still there: see bodiesOf. Nothing is kept of it before. A message of more than a MiB streams, and its last byte waits for that (stream).
//   - One FETCH is under way at a time. If it ends the connection, its batch is halved until the message that does so is alone, and named.
//   - What the folder lists is compared with what is known of each UID, by size and INTERNALDATE. Where UIDVALIDITY changed or UIDNEXT went back, nothing
//     is known any more. Whatever then comes again is recognised by its bytes, by archive.Importing.
//   - Each folder that is listed and does not open is named. Folders of other users and shared ones are left out unless they are asked for.
//   - A server that asks to be left alone (RFC 5530, a connection closed without a word) is, for some seconds and then longer: see busy. Then the run ends,
//     and the next one goes on.
//
// Nothing is changed at the source: folders are opened by EXAMINE and bodies fetched by BODY.PEEK. With Options.DeleteAfter what was imported is deleted
// there: see remove. Neither EXPUNGE nor CLOSE is ever sent; both would delete what others have marked.
//
// # Why no library
//
// Importing is what this program is for, and the exactness above is a matter of single responses. go-imap's client (v2.0.0-beta.8) reads a connection that
// is lost inside a literal as the end of the message, loses bodies that come after another response with their UID, and keeps the text of a BYE to itself;
// each can be checked for, and the checks together are longer than the few commands that are needed. Its server is what the tests use.
package pull
