// Package journal is the archive: entries, the chunks that hold their bytes, folders and counters, records of what was skipped and what
// is missing, and the verification of it all. It is the logic, written once, over the engine contract of package kv. It knows no protocol,
// and of the settings of mailboxes only what it asks through Settings.
//
// A Draft takes the bytes of one message as they stream in. Its Commit makes one entry in every mailbox that wants it; they are durable
// when it returns. Then tell the journal what the next hop answered: Delivered, Deferred or Withdraw.
//
// # Layout
//
// All keys of a message live in the volume (kv.Month) of its arrival. Integers are big-endian. A zero byte ends mailbox,
// link and folder. Ids are 12 bytes, nanoseconds since 1970 and 4 random bytes of the process: chunks are appended in order of time.
//
//	c <chunk id>                    chunk: its bytes in the form of package codec, which has a checksum
//	f <n>, v <n>                    dictionary number n (1 byte, from 1) that chunks and entries are compressed with, twice: its SHA-256, and its bytes (see
//	                                dictionaries.go)
//	h <sha256>                      chunk id: where the chunk of that digest is; only for chunks of at least 4 KiB
//	e <mailbox> <folder> <uid>      entry (tag, length, value fields: see encoding.go), compressed where the month has a dictionary: see packing.go
//	o <mailbox> <folder> <uid>      outcome of an entry that is not (yet) known to be delivered: absent once it is
//	d <mailbox> <delivery key>      folder, zero byte, uid: makes a retry find its entry; one more byte 1: the entry is gone
//	p <mailbox> <link> <folder> <uid>  empty: an entry of that practice
//	m <mailbox> <folder> <n>        block number n (uint32) of the index of a folder, by which entries are found without reading all: see index.go
//	q <mailbox>                     bytes of the messages of all its entries (uint64), then the head of its log: id (16 bytes), leaves (uint64) and the
//	                                hashes of the right edge of the tree (32 bytes each); absent is none of both
//	k <mailbox> <n>                 leaf number n of its log (n is uint64): see package evidence
//	x <chunk id>                    an entry that referred to the chunk is gone; as far as the sweep has come: time of the mark, bytes stored (uint64 each)
//	s <mailbox> <folder>            next uid, uidvalidity, entries, bytes (uint32, uint32, uint64, uint64); outlives its entries;
//	                                where room was made: one more uint32, the UID from which it is made next (see room.go)
//	l <mailbox> <folder> <uid>      hold on an entry
//	t <mailbox> <folder> <uid>      entry that was deleted, until its grace is over, or that a newer one superseded: see requeue.go; compressed as those of e
//	w <mailbox> <uid>               bytes of the message (uint64), and folder, zero byte, uid of an entry that was deleted by hand: its place among the
//	                                deleted (see deleted.go)
//	a <mailbox> <time> <n>          act: what somebody did with entries of one folder, or why an entry has another UID. Of several entries it
//	                                has all UIDs (UIDs.encode), before and afterwards, beside the first place of each
//	g <mailbox> <time> <n>          record of a skip or a gap; an empty mailbox stands for all
//	n                               number of the moves, deletions and returns so far (uint64): tells the sweep of them
//	z                               empty: the volume might be dropped; a byte 1: it is about to be
//
// Some keys must outlive the volumes and stand in the engine's settings store:
//
//	u                               end of the values of UIDVALIDITY that are reserved (uint32)
//	g, a                            gaps and acts of volumes that were dropped; the gap of a month that was given up
//	b                               the last backup that is known, a JSON object: see Backup
//	j <time>                        run of the retention
//	w <mailbox>                     next uid, uidvalidity, and the uid below which all is settled, of what was deleted by hand (uint32 each)
//	v                               the verification in the background, a JSON object: see verifypass.go
//	k                               since when there are logs, how many checkpoints, and the tree over them: a JSON object, see evidenceState
//	ka <month>                      a month from before the logs, and how far it has been taken into them: a JSON object, see adoption
//	kc <n>                          checkpoint number n (uint64), a JSON object, see StoredCheckpoint
//	kh <n> <month> <log id>         the head that checkpoint n has of a log: its text, see evidence.Head
//	kl <log id>                     the last of these, or the head with which the log ended; the number of its checkpoint, -1 for none; and the
//	                                mailbox, unless the log ended: three lines
//	kr <log id>                     a log that a restore from a backup has put back: a JSON object, see putBack
//	km <log id>                     a log that was begun because leaves of the one before were lost: a JSON object, see begunLog
//	ke <log id>                     empty: the log has ended, and no checkpoint says so yet
//	y <name>                        lease, where several processes write: 8 random bytes of its holder, renewals (uint64); see clients.go
//
// Where the journal is encrypted the values of e, t and m keys, and the skips among those of g, are sealed under the key of their mailbox: see OwnerOf and
// package keyed. Everything here sees them as they were before. One that cannot be opened counts as damaged. Erase has the key be destroyed, last of all.
//
// A folder belongs to one month. Its name is stored without the month ("INBOX", "Sent") and shown with it ("INBOX/2026-11"). UIDs count
// from 1 and are never used again; they rise in the order of commits.
//
// # Evidence
//
// Every act on an entry makes a leaf in the log of its mailbox and month, in the same update: see log.go. A checkpoint is a signed word on the heads of
// all logs (Checkpoint). Verify finds what was altered behind the journal's back, and Prove makes a proof for others. A log ends with its month, or with
// the archive of its mailbox: then its head alone stays, without an address.
//
// # Dictionaries
//
// Certified mail repeats itself: the words of the provider, and its certificates. The journal learns what repeats in the mail that is delivered, and chunks
// of the month that are not too long, and entries, are compressed with that (package codec; learn.go, packing.go). Only what occurs in messages of at least five mailboxes comes into
// a dictionary, however often it was sent. A month begins with the newest dictionary of the one before, as its own.
//
// # Repetitions
//
// The delivery key is the SHA-256 over mailbox, direction, envelope sender and the digest of the bytes. A retry is looked for in the
// month of its arrival, the one before and the one after. Of what is imported it is over other things: see Import.Once.
//
// An entry deleted by hand, or to make room, leaves its delivery key as a tombstone for as long as the volume lasts: a late retry does not
// bring the message back. The retention leaves none: what it deletes is at least a month old, and no MTA retries for that long. An erasure
// leaves none either.
//
// # Deleting
//
// Nothing held is deleted, whoever asks. A hold on an entry is an l key. A hold on a whole mailbox is the business of Settings.Held; the
// journal stores nothing of it. Every Update that deletes reads both kinds, under the locks that holds are placed under (deletionLocks),
// skips what is held and goes on.
//
// What is deleted by hand is put aside under a t key. It is not listed, and no quota counts it. For DeletedGrace it can be brought back; then
// PurgeDeleted removes it, unless a hold on its mailbox stands, and only the act and the tombstone tell of it. Until then it shows as one folder of
// the mailbox, over all months (DeletedFolder). An act on many entries goes in
// several updates and has one record: see selection.go.
//
// Deleting goes in bounded steps that may break off anywhere. An entry goes in one update with all that points at it. Its chunks go later: two
// runs of the sweep free them (see sweep.go), and the engine purges them from the disk when that pays, or a week later (kv.Store.Purge); in the
// month that mail is written to, once that is over. A whole month goes by dropping its volume (see drop.go). Gaps and acts outlive their volume.
//
// A quota covers all months; see usages for how it stays exact.
//
// # Damage
//
// A damaged or absent month costs only itself: whatever goes over the months skips it and reports it (MonthError, PassedOver). Its bytes do
// not count until they can be read. A repetition that may be in it is journaled once more (FlagUnchecked). Nothing of it is deleted, and a
// mailbox that may have something held in it is not erased.
//
// When the files of a month were mended, SettleLosses puts on record what the damage took: a message that is lost leaves a leaf in its log, and a gap.
//
// A chunk or an entry that was compressed with a dictionary is lost with it; so the dictionary is there twice, and one copy is made anew from the other whenever the
// dictionaries of the month are read.
//
// An entry is written in the same update as its last chunks, after all others: an entry without its bytes cannot exist. Chunks without an
// entry can, after a sender broke off or an entry went. Verify counts them, and the sweep deletes them.
package journal
