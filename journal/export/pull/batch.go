package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// What goes into one FETCH. A batch is in memory, twice at a time: while one is kept the next is fetched.
const (
	batchMessages = 200
	batchBytes    = 4 << 20
	alone         = 1 << 20 // a message of more bytes is fetched alone, and streams
)

// batches cuts a list of messages into batches. One that is to be alone is a batch of its own.
func batches(list []listed) [][]listed {
	var all [][]listed
	start, bytes := 0, int64(0)
	cut := func(end int) {
		if end > start {
			all = append(all, list[start:end])
		}
		start, bytes = end, 0
	}
	for i, m := range list {
		if m.size > alone {
			cut(i)
			cut(i + 1)
			continue
		}
		if i-start == batchMessages || bytes+m.size > batchBytes {
			cut(i)
		}
		bytes += m.size
	}
	cut(len(list))
	return all
}

// whole is a message that came whole.
type whole struct {
	listed
	bytes []byte
}

// outcome is what one FETCH of a batch has brought.
type outcome struct {
	whole []whole
	gone  []listed          // deleted there meanwhile
	bad   map[uint32]string // by UID: why what came does not count
}

// limitFor returns how long a FETCH of so many bytes may take.
func limitFor(bytes int64) time.Duration {
	return 10*time.Minute + time.Duration(bytes/8192)*time.Second
}

func uidsOf(list []listed) []uint32 {
	uids := make([]uint32, len(list))
	for i, m := range list {
		uids[i] = m.uid
	}
	return uids
}

// bodiesOf fetches the bodies of messages, by one FETCH with nothing beside it. A body counts when as many bytes came as the literal, RFC822.SIZE and the
// list say, and the message was still there afterwards: Courier gives an invented message for one that another session expunged, which only the NOOP
// behind it shows.
func (c *client) bodiesOf(list []listed) (outcome, error) {
	var bytes, largest int64
	want := make(map[uint32]listed, len(list))
	for _, m := range list {
		want[m.uid] = m
		bytes += m.size
		largest = max(largest, m.size)
	}
	came := make(map[uint32]*fetched, len(list))
	out := outcome{bad: make(map[uint32]string)}
	c.bodies = bodies{keep: largest}
	c.fetchInto = func(f *fetched) error {
		m, ok := want[f.uid]
		if !ok || !f.hasBody && f.size < 0 {
			return nil // a change of flags, or a message that nobody asked for
		}
		if came[f.uid] != nil {
			out.bad[f.uid] = "it came twice"
			return nil
		}
		if f.hasBody && f.read != m.size {
			f.body = nil // never kept
		}
		came[f.uid] = f
		return nil
	}
	there, err := c.fetchBodies(uidsOf(list), bytes)
	if err != nil {
		return out, err
	}
	for _, m := range list {
		switch f := came[m.uid]; {
		case !there(m.uid):
			out.gone = append(out.gone, m)
			delete(out.bad, m.uid)
		case out.bad[m.uid] != "":
		default:
			if why := f.wrong(m); why != "" {
				out.bad[m.uid] = why
				continue
			}
			out.whole = append(out.whole, whole{m, f.body})
		}
	}
	return out, nil
}

// wrong says why what came is not the message that was listed; empty where it is.
func (f *fetched) wrong(m listed) string {
	switch {
	case f == nil:
		return "the server lists it, and does not send it"
	case !f.hasBody:
		return "the server lists it, and sends nothing in its place (NIL)"
	case f.size != m.size:
		return fmt.Sprintf("the server lists it with %d bytes, and sends it with a size of %d", m.size, f.size)
	case f.read != f.size:
		return fmt.Sprintf("the server says that it has %d bytes, and sends %d", f.size, f.read)
	case f.read == 0:
		return "the server sends it empty"
	}
	return ""
}

// fetchBodies sends the FETCH and the NOOP behind it, and returns which messages were still there then.
func (c *client) fetchBodies(uids []uint32, bytes int64) (there func(uint32) bool, err error) {
	err = c.command(limitFor(bytes), "UID FETCH", setOf(uids)+" (UID RFC822.SIZE BODY.PEEK[])")
	c.fetchInto, c.bodies = nil, bodies{}
	if err != nil {
		return nil, err
	}
	if err := c.command(time.Minute, "NOOP", ""); err != nil {
		return nil, err
	}
	// Since the folder was opened, and not only now: what was expunged after it was listed may have been told with an earlier batch.
	if c.expunged == 0 {
		return func(uint32) bool { return true }, nil
	}
	left, err := c.present(uids)
	return func(uid uint32) bool { return slices.Contains(left, uid) }, err
}

// present returns which messages the folder has, by a list that no expunge has made old.
func (c *client) present(uids []uint32) ([]uint32, error) {
	for range 10 {
		var left []uint32
		before := c.expunged
		c.fetchInto = func(f *fetched) error {
			left = append(left, f.uid)
			return nil
		}
		err := c.command(10*time.Minute, "UID FETCH", setOf(uids)+" (UID)")
		c.fetchInto = nil
		if err == nil {
			err = c.command(time.Minute, "NOOP", "")
		}
		if err != nil {
			return nil, err
		}
		if c.expunged == before {
			return left, nil
		}
	}
	return nil, &statusError{"UID FETCH", "NO", "messages are being deleted all the time"}
}

// fetch fetches a batch, and gives take what came. What ends the whole batch, as a damaged mail does on Dovecot each time anew, is isolated by halving,
// and told with the reason. The error is that of take, of a connection that cannot be made again, or of tell.
func (p *puller) fetch(ctx context.Context, list []listed, take func(outcome) error) error {
	out, err := p.c.bodiesOf(list)
	if err == nil {
		p.came()
		return take(out)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if busy(err) {
		switch waited := p.waitAgain(ctx, err); {
		case waited == nil:
			return p.fetch(ctx, list, take)
		case !stillBusy(waited) || p.balked:
			return waited
		}
		// A server may say so because of one message, each time anew: it is isolated as any other.
		if !p.seeking {
			p.seeking = true
			defer func() { p.seeking = false }()
		}
		p.balked = len(list) == 1
	}
	var refused *statusError
	if !errors.As(err, &refused) {
		if again := p.again(ctx); again != nil {
			return again
		}
	}
	if len(list) > 1 {
		middle := len(list) / 2
		if err := p.fetch(ctx, list[:middle], take); err != nil {
			return err
		}
		return p.fetch(ctx, list[middle:], take)
	}
	// Whatever befell the line meanwhile: alone it has a second chance.
	if out, second := p.c.bodiesOf(list); second == nil {
		p.came()
		return take(out)
	} else if ctx.Err() != nil {
		return ctx.Err()
	} else if err = second; !errors.As(err, &refused) {
		if again := p.again(ctx); again != nil {
			return again
		}
	}
	return take(outcome{bad: map[uint32]string{list[0].uid: err.Error()}})
}

// errNotWhole is what a reader of a message gets in place of its last byte.
var errNotWhole = errors.New("the message did not come whole")

// stream fetches one message, which use reads. use gets its last byte only when all has come and the message is still there. why says why what came does
// not count, or gone is set; what use returns counts only otherwise, and is then the error, an ownError.
func (p *puller) stream(ctx context.Context, m listed, use func(io.Reader) error) (why string, gone bool, err error) {
	for tries := 2; tries > 0; tries-- {
		var lost error
		why, gone, lost, err = p.streamOnce(m, use)
		if lost == nil || ctx.Err() != nil {
			if p.came(); err != nil || ctx.Err() != nil {
				err = ownError{errors.Join(err, ctx.Err())}
			}
			return why, gone, err
		}
		if busy(lost) {
			switch waited := p.waitAgain(ctx, lost); {
			case waited == nil:
				tries++
				continue
			case !stillBusy(waited) || p.balked:
				return "", false, waited
			}
			p.balked, tries = true, 1
		}
		var refused *statusError
		if why = lost.Error(); !errors.As(lost, &refused) {
			if again := p.again(ctx); again != nil {
				return "", false, again
			}
		}
	}
	return why, false, nil
}

func (p *puller) streamOnce(m listed, use func(io.Reader) error) (why string, gone bool, lost, err error) {
	r, w := io.Pipe()
	used := make(chan error, 1)
	go func() {
		err := use(r)
		r.CloseWithError(errNotWhole) // whatever it has left is read over
		used <- err
	}()
	held := &holdBack{to: w}
	var came *fetched
	twice := false
	p.c.bodies = bodies{to: held}
	p.c.fetchInto = func(f *fetched) error {
		if f.hasBody && (f.uid != m.uid || came != nil && came.hasBody) {
			twice = true
		}
		if f.uid == m.uid && (f.hasBody || f.size >= 0) {
			came = f
		}
		return nil
	}
	there, lost := p.c.fetchBodies([]uint32{m.uid}, m.size)
	switch {
	case lost != nil:
	case !there(m.uid):
		gone = true
	case twice:
		why = "it came twice"
	default:
		why = came.wrong(m)
	}
	if lost != nil || gone || why != "" {
		w.CloseWithError(errNotWhole)
		<-used
		return why, gone, lost, nil
	}
	held.end()
	w.Close()
	return "", false, nil, <-used
}

// holdBack writes all but the last byte. Its Write never fails: whoever reads may have had enough, and the rest has to be read from the connection all
// the same.
type holdBack struct {
	to     io.Writer
	last   []byte // none or one
	failed bool
}

// Write implements io.Writer.
func (h *holdBack) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	h.pass(h.last)
	h.pass(b[:len(b)-1])
	h.last = []byte{b[len(b)-1]}
	return len(b), nil
}

func (h *holdBack) pass(b []byte) {
	if len(b) > 0 && !h.failed {
		_, err := h.to.Write(b)
		h.failed = err != nil
	}
}

// end writes the last byte.
func (h *holdBack) end() { h.pass(h.last) }
