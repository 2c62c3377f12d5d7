// Package journal is all that is archived: entries, the chunks that hold their bytes, folders and counters, the records of what was
// skipped and of what is missing, and the verification of it all. It is the logic, written once, over the engine contract of
// package kv; it knows neither mail settings nor any protocol.
//
// A Draft takes the bytes of one message as they stream in; its Commit makes one entry in every mailbox that wants it, durable when
// it returns. What the next hop then answers is told by Delivered, Deferred or Withdraw.
//
// # Layout
//
// All keys of a message live in the volume (kv.Month) of its arrival. Integers are big-endian, a zero byte ends mailbox,
// link and folder, ids are 12 bytes: nanoseconds since 1970 and 4 random bytes of the process, so that chunks are appended in order of time.
//
//	c <chunk id>                    chunk: zstd of its bytes, with zstd's own checksum
//	h <sha256>                      chunk id: where the chunk of that digest is; only for chunks of at least 4 KiB
//	e <mailbox> <folder> <uid>      entry (tag, length, value fields: see encoding.go)
//	o <mailbox> <folder> <uid>      outcome of an entry that is not (yet) known to be delivered: absent once it is
//	d <mailbox> <delivery key>      folder, zero byte, uid: makes a retry find its entry; one more byte 1: it is not there any more
//	p <mailbox> <link> <folder> <uid>  nothing: an entry of that practice
//	q <mailbox>                     bytes of the messages of all its entries (uint64); absent is none
//	x <chunk id>                    an entry that referred to the chunk is gone; time of the mark, bytes stored (uint64 each), as far as the sweep has come
//	s <mailbox> <folder>            next uid, uidvalidity, entries, bytes (uint32, uint32, uint64, uint64); outlives its entries;
//	                                where room was made: one more uint32, the UID from which it is made next (see room.go)
//	l <mailbox> <folder> <uid>      hold on an entry
//	t <mailbox> <folder> <uid>      entry that was deleted, until its grace is over, or that a newer one superseded: see requeue.go
//	a <mailbox> <time> <n>          act: what somebody did with an entry, or why it has another UID
//	g <mailbox> <time> <n>          record of a skip or a gap; an empty mailbox stands for all of them
//	n                               number of the moves, deletions and returns so far (uint64): tells the sweep of them
//	z                               nothing: the volume might be dropped; a byte 1: it is about to be
//
// Some keys are in the settings store of the engine, because they must outlive the volumes:
//
//	u                               end of the values of UIDVALIDITY that are reserved (uint32)
//	g, a                            gaps and acts of volumes that were dropped; the gap of a month that was given up
//	j <time>                        run of the retention
//	y <name>                        lease, where several processes write: 8 random bytes of who holds it, renewals (uint64); see clients.go
//
// A folder of the journal is a folder of one month: its name is stored without the month ("INBOX", "Sent") and shown with it
// ("INBOX/2026-11"). UIDs count from 1 and are never used again; the order of commits is the order of UIDs.
//
// The delivery key is the SHA-256 over mailbox, direction, envelope sender and the digest of the bytes. A retry is looked for in the
// month of its arrival and in those beside it.
//
// The delivery key of an entry that was deleted by hand, or to make room, becomes a tombstone: a retry that comes late does not bring
// the message back, for as long as the volume lasts. One that the retention deletes leaves none, because it is at least a month old,
// and no MTA tries for that long. An erasure leaves none either.
//
// What is held is not deleted, whoever asks. A hold on an entry is an l key; one on a whole mailbox is what Settings.Held tells, and
// the journal stores nothing of it. Every Update that deletes reads both, under the lock of the mailbox, leaves what is held, and goes on.
//
// A quota is over all months: see usages for how it stays exact. What goes, goes in bounded steps that may end anywhere: each entry
// with all that points at it in one update, its chunks later by two runs of the sweep (see sweep.go), after which the
// engine purges them from the disk when that pays (kv.Store.Purge), a whole month by dropping its
// volume (see drop.go). Gaps and acts outlive their volume.
//
// A month that is damaged or absent costs only itself (see MonthError): what goes over the months passes it over and then tells of it. Its
// bytes do not count until they can be read, a repetition that may be in it is journaled once more (FlagUnchecked), and nothing of it is
// deleted; a mailbox that may have something held in it is not erased.
//
// An entry is written in the same update as its last chunks, and after all others, so an entry without its bytes cannot exist.
// Chunks that no entry refers to can (a sender broke off, an entry is gone); Verify counts them, and the sweep deletes them.
package journal
