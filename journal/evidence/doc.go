// Package evidence is what proves that an archive was not altered behind its back: Merkle logs, checkpoints over them, their signatures and time
// stamps. It stores nothing and reads no archive. Whoever has a proof can check it with this package alone.
//
// # Logs
//
// Each mailbox has a log in each month, and each act on an entry leaves a Leaf in it. The tree is that of RFC 6962 section 2.1. A log is named by a
// LogID, which is random: heads and checkpoints can leave the machine, and outlive an archive, without an address in them. The first leaf says whose
// log it is.
//
// # Checkpoints
//
// A checkpoint is made every day. It has three layers:
//
//	Head        size and root of one log. A checkpoint has the heads of the logs that have grown, or ended, since the one before.
//	Checkpoint  number, time, and the root of a tree over its heads, in the order of their text.
//	note        size and root of the tree over all checkpoints so far, signed (Ed25519): see Note.
//
// So one note stands for all heads of all days before it, and two notes of one archive must agree: the tree of the later one begins with that of the
// earlier. A time stamp (RFC 3161) over a note says that all of it was there at that time.
package evidence
