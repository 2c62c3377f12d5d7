package kv

import "context"

// Sealed is the first byte of a value that is sealed under a key of its mailbox and cannot be opened, because the key is not there. Values that callers
// write for a mailbox do not begin with it.
const Sealed = 0xfe

// Keyed is an Engine that seals values which belong to a mailbox under keys of that mailbox, so that they can be made unreadable wherever copies of them
// are left.
type Keyed interface {
	// RetireKeys has values of a mailbox not be sealed any more by the keys that it has now: an Update that begins later makes another key where it needs
	// one. Values that are sealed can still be read.
	RetireKeys(mailbox string)
	// DestroyKeys destroys the retired keys of a mailbox. When it returns nil, no value that was sealed by them can be opened any more. It is called when
	// no such value counts, and no Update is under way that seals by them. After an error it is to be called again.
	DestroyKeys(ctx context.Context, mailbox string) error
}
