package lmtp

import (
	"bytes"
	"context"

	"copialettere/lmtp/nexthop"
)

// maxKeptReplies is the largest reply buffer, in bytes, that a connection keeps for reuse.
const maxKeptReplies = 16 << 10

// replyQueue holds the replies that the client has not got yet, in the order of its commands. A reply that the next hop still owes makes
// all after it wait. It has no lock: see conn.
type replyQueue struct {
	ready   []byte        // in wire form
	waiting []queuedReply // from the first one that must still be read
}

// queuedReply is a reply in wire form, or the function that reads it from the next hop.
type queuedReply struct {
	text []byte
	read func(context.Context) nexthop.Reply
}

// add queues a reply in wire form, which it copies.
func (q *replyQueue) add(text []byte) {
	if len(q.waiting) == 0 {
		q.ready = append(q.ready, text...)
	} else {
		q.waiting = append(q.waiting, queuedReply{text: bytes.Clone(text)})
	}
}

// addReply queues a known reply.
func (q *replyQueue) addReply(r nexthop.Reply) {
	if len(q.waiting) == 0 {
		q.ready = appendReply(q.ready, r)
	} else {
		q.waiting = append(q.waiting, queuedReply{text: appendReply(nil, r)})
	}
}

// addRead queues a reply that readAll gets by calling read.
func (q *replyQueue) addRead(read func(context.Context) nexthop.Reply) {
	q.waiting = append(q.waiting, queuedReply{read: read})
}

// readAll reads the replies that the next hop still owes. After it, all are ready.
func (q *replyQueue) readAll(ctx context.Context) {
	for i, w := range q.waiting {
		if w.read != nil {
			q.ready = appendReply(q.ready, w.read(ctx))
		} else {
			q.ready = append(q.ready, w.text...)
		}
		q.waiting[i] = queuedReply{}
	}
	q.waiting = q.waiting[:0]
}

// given drops the ready replies, once the client has them.
func (q *replyQueue) given() {
	if q.ready = q.ready[:0]; cap(q.ready) > maxKeptReplies {
		q.ready = nil
	}
}
