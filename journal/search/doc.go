// Package search lists the messages of an archive, and finds them by what is known of them without reading them: their senders, recipients, subjects,
// names of files, classes, times and sizes. Of certified mail that is also what the message inside has, and what the provider's data say of it. What a
// message inside has that comes with a transfer encoding was noted when it arrived (pec.Inner): an entry from before that was so is not found by its files.
//
// A Query says what is wanted; ParseQuery reads one as people type it. Index.Find answers it for an archive.Reader, who must have the right to read,
// page by page: a page begins after the last message of the one before, whatever has come or was moved in between.
//
// # How it finds
//
// Nothing is stored. For each folder and month that somebody asks for the Index keeps a catalogue in memory: when, how large and of what class each
// message is, and, once a text is looked for, the folded text of it. It reads the entries of the folder once, and then only those that have come. The
// counters of the folder tell whether any have come or gone, so every answer is exact: see journal.Journal.Folder. Beyond the memory that it may take
// it forgets what was not asked for longest, what nobody has asked for in an hour, and at once what is erased (Index.Forget).
//
// A catalogue takes about 30 bytes a message, and with texts about 220 more: 24 MiB for the mailbox of 100,000 messages, 6 of 10 of them certified, of
// TestBenchSearch. On a busy machine with two processors its first list takes 0.5 s, its first search 4 to 7 s; then 95 of 100 lists take under 20 ms and
// searches under 80 ms, a twentieth or less of what reading the entries once does.
//
// It goes from the newest month to older ones and stops when the page is full, so the first page of a list needs only the last months. A month that
// cannot be read is passed over, and the Page says so.
package search
