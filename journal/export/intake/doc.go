// Package intake finds the messages in files that people bring: .eml, mbox, Maildir, the .emlx of Apple Mail, ZIP, and exports of this program. It goes by
// what files hold, not by their names. It knows no archive: whoever walks (Walk) decides what becomes of each message.
//
// Files are hostile. Memory does not depend on their size, but for the names in one folder, the directory of a ZIP and the manifest of an export, which
// Limits bound. What a ZIP gives is counted as it is read, whatever its directory says. Links are not followed, and nothing but regular files is opened.
//
// # What is a message
//
// The bytes of a message stay as they are. What is no part of it is left out, and the Source says so: a byte order mark, blank lines or a From line before
// it, the separator of an mbox and the blank line before the next one.
//
// An mbox is a file that begins with a From line, maybe after a byte order mark and blank lines. Its rules (see separator) need no blank line before a From
// line, no date on it, and no Content-Length; they believe a Content-Length only where it ends at another From line or at the end of the file.
//
// Whether an mbox has quoted lines with ">" (mboxo, mboxrd) or had such lines before cannot be told from the file. They stay as they are, and
// Piece.Quoting says whether there are any. Only a manifest of this program says that they were quoted; then that is undone.
//
// # Folders
//
// Folders keep the names that their source has: the folders on the disk and in the ZIP, those of Maildir++ (".Lavoro.Fatture"), of Thunderbird
// ("Lavoro.sbd") and of Apple Mail ("Lavoro.mbox"), and the name of an mbox. What a manifest of this program lists has the folders that the manifest says,
// without the month.
//
// The package stores nothing but temporary files without a name (Options.Temp).
package intake
