package nexthop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"syscall"
	"time"

	"copialettere/journal/metrics"
)

// maildirRecipient is one accepted RCPT line.
type maildirRecipient struct{ address, mailbox string }

// maildirConn is a Conn without a server: it answers itself. Commands take effect when they are queued.
type maildirConn struct {
	store      *maildirStore
	files      maildirFiles
	answerTime *metrics.Histogram

	mu         sync.Mutex // guards all below: Abort may come from another goroutine
	err        error      // the first failure, or that of Abort, wrapped in ErrBroken
	stage      stage
	replies    []Reply
	recipients []maildirRecipient
	temporary  string      // the file in tmp; "" if there is none
	file       maildirFile // open while the message is written
	buffer     *bufio.Writer
	line       lineState
	fault      error // the first one in writing the message; it decides the replies after the dot
}

// Announced implements Conn.
func (c *maildirConn) Announced() Announced {
	return parseAnnounced(Reply{Code: 250, Lines: []string{
		"maildir", "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 0",
	}})
}

// LMTP implements Conn.
func (c *maildirConn) LMTP() bool { return true }

// XForward implements Conn. It does nothing, because no attribute is announced.
func (c *maildirConn) XForward([]string) {}

// Mail implements Conn.
func (c *maildirConn) Mail(string, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.command() {
		c.recipients = nil
		c.answer(250, "2.1.0", "sender ok")
	}
}

// Rcpt implements Conn. It creates the Maildir.
func (c *maildirConn) Rcpt(to string, _ []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.command() {
		return
	}
	mailbox, ok := maildirOf(to, c.store.options.HelloName)
	if !ok {
		c.answer(550, "5.1.3", "this address cannot have a Maildir")
		return
	}
	if err := c.store.prepare(c.files, mailbox); err != nil {
		c.refuse("making a Maildir", err)
		return
	}
	c.recipients = append(c.recipients, maildirRecipient{to, mailbox})
	c.answer(250, "2.1.5", "recipient ok")
}

// Data implements Conn. It creates the file.
func (c *maildirConn) Data() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.command() {
		return
	}
	if len(c.recipients) == 0 {
		c.answer(503, "5.5.1", "no valid recipient")
		return
	}
	mailbox := c.recipients[0].mailbox
	name := path.Join(mailbox, "tmp", c.store.fileName())
	file, err := c.files.create(name)
	if err != nil {
		c.store.forget(mailbox)
		c.refuse("creating a file in tmp", err)
		return
	}
	c.file, c.temporary, c.fault, c.line = file, name, nil, lineStart
	c.buffer = bufio.NewWriterSize(file, bufferSize)
	c.stage = inMessage
	c.replies = append(c.replies, Reply{Code: 354, Lines: []string{"go ahead"}})
}

// Reset implements Conn.
func (c *maildirConn) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.command() {
		c.recipients = nil
		c.answer(250, "2.0.0", "reset")
	}
}

// command reports whether a command is allowed now, and breaks the connection if not.
func (c *maildirConn) command() bool {
	if c.err != nil {
		return false
	}
	if c.stage == inMessage {
		c.fail(fmt.Errorf("a command inside the message: %w", ErrSequence))
		return false
	}
	c.stage = inCommands
	return true
}

func (c *maildirConn) answer(code int, enhanced, text string) {
	c.replies = append(c.replies, Reply{Code: code, Enhanced: enhanced, Lines: []string{enhanced + " " + text}})
}

// refuse answers a fault of ours: temporary, and without the cause, which only the log gets.
func (c *maildirConn) refuse(doing string, err error) {
	c.store.options.Logger.Error("Maildir delivery failed", "doing", doing, "error", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		c.answer(452, "4.3.1", "the mail store is full, try again later")
		return
	}
	c.answer(451, "4.3.0", "the mail store has a fault, try again later")
}

// Pending implements Conn.
func (c *maildirConn) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.replies)
}

// Reply implements Conn. It never waits.
func (c *maildirConn) Reply(ctx context.Context) (Reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return Reply{}, c.err
	}
	if len(c.replies) == 0 {
		return Reply{}, ErrNotPending
	}
	if ctx.Err() != nil {
		return Reply{}, c.fail(context.Cause(ctx))
	}
	reply := c.replies[0]
	c.replies = c.replies[1:]
	return reply, nil
}

// Write implements Conn. A fault of the disk shows in the replies after the dot, as with any other hop.
func (c *maildirConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.message(); err != nil {
		return 0, err
	}
	c.line = c.line.after(p)
	if c.fault == nil {
		_, c.fault = c.buffer.Write(p)
	}
	return len(p), nil
}

// Flush implements Conn.
func (c *maildirConn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.message(); err != nil {
		return err
	}
	if c.fault == nil {
		c.fault = c.buffer.Flush()
	}
	return nil
}

func (c *maildirConn) message() error {
	if c.err != nil {
		return c.err
	}
	if c.stage != inMessage {
		return fmt.Errorf("%w: no DATA was answered by 354", ErrSequence)
	}
	return nil
}

// End implements Conn. It makes the file durable and delivers it to each RCPT line.
func (c *maildirConn) End(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.message(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return c.fail(context.Cause(ctx))
	}
	start := time.Now()
	if c.line != lineStart && c.fault == nil {
		_, c.fault = io.WriteString(c.buffer, "\r\n")
	}
	c.finishFile()
	for _, r := range c.recipients {
		if c.fault != nil {
			c.refuse("writing the message", c.fault)
			continue
		}
		if err := c.deliver(r); err != nil {
			c.store.forget(r.mailbox)
			c.refuse("delivering the message", err)
			continue
		}
		c.answer(250, "2.0.0", "<"+r.address+"> stored")
	}
	c.removeTemporary()
	c.recipients, c.stage = nil, inFinal
	c.answerTime.Observe(time.Since(start))
	return nil
}

// finishFile makes the bytes of the file durable and closes it.
func (c *maildirConn) finishFile() {
	if c.fault == nil {
		c.fault = c.buffer.Flush()
	}
	if c.fault == nil {
		c.fault = c.file.Sync()
	}
	if err := c.file.Close(); c.fault == nil {
		c.fault = err
	}
	c.file = nil
}

// deliver links the finished file into the new of one Maildir and makes the link durable. If it cannot, it removes the link, because the
// sender is told to try again.
func (c *maildirConn) deliver(r maildirRecipient) error {
	name := path.Join(r.mailbox, "new", c.store.fileName())
	if err := c.files.link(c.temporary, name); err != nil {
		return err
	}
	if err := c.files.syncDir(path.Dir(name)); err != nil {
		return errors.Join(err, c.files.remove(name))
	}
	return nil
}

func (c *maildirConn) removeTemporary() {
	if c.temporary == "" {
		return
	}
	if err := c.files.remove(c.temporary); err != nil {
		c.store.options.Logger.Warn("a file stays in the tmp of a Maildir", "name", c.temporary, "error", err)
	}
	c.temporary = ""
}

// Watch implements Conn. No call waits for anybody.
func (c *maildirConn) Watch(context.Context) {}

// Alive implements Conn.
func (c *maildirConn) Alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && c.stage != inMessage && len(c.replies) == 0
}

// Broken implements Conn.
func (c *maildirConn) Broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// Quit implements Conn.
func (c *maildirConn) Quit() { c.Abort() }

// Abort implements Conn. It removes an undelivered message.
func (c *maildirConn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.fail(errors.New("it was aborted"))
	}
}

// fail breaks the connection, and leaves no file behind.
func (c *maildirConn) fail(err error) error {
	err = fmt.Errorf("next hop %s: %w", c.store.path, err)
	c.err = fmt.Errorf("%w: %w", ErrBroken, err)
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
	c.removeTemporary()
	c.files.Close()
	return err
}
