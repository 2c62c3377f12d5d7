package httpd

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
)

func (a *api) entry(c *call) error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	e, err := a.b.Archive.Entry(c.Context(), ref)
	if err != nil {
		return err
	}
	v, err := a.view(c.Context(), c.mailbox, e)
	return c.answer(v, err)
}

func (a *api) message(c *call) error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	e, body, err := a.b.Archive.Message(c.Context(), ref)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", messageType)
	c.w.Header().Set("Content-Length", strconv.FormatInt(e.Size, 10))
	n, err := body.WriteTo(a.pace.Writer(c.Context(), c.w)) // who asks for one may ask for all, as an export does
	if err != nil && n == 0 {
		c.w.Header().Del("Content-Length")
		return err
	}
	if err != nil {
		// The body ends before its Content-Length, so the client sees that the message is not whole.
		a.b.Logger.Error("message not read whole", "mailbox", e.Mailbox, "folder", e.FolderName(), "uid", e.UID, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// mostRaw is how many messages one answer has at most.
const mostRaw = 1000

// rawBuffer is how many bytes of messages wait to be sent together: small ones take few writes so.
const rawBuffer = 128 << 10

func (a *api) messagesRaw(c *call) error {
	folder, err := c.folder()
	if err != nil {
		return err
	}
	uids, err := journal.ParseUIDs(c.query("uids"))
	if err != nil {
		return fmt.Errorf("%w: uids: %w", errRequest, err)
	}
	if n := uids.Count(); n > mostRaw {
		return fmt.Errorf("%w: uids: these are %d; ask for at most %d at a time", errRequest, n, mostRaw)
	}
	open, err := a.b.Archive.Messages(c.Context(), folder)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(a.pace.Writer(c.Context(), c.w), rawBuffer)
	parts := multipart.NewWriter(buffered)
	c.w.Header().Set("Content-Type", messagesType+"; boundary="+parts.Boundary())
	for uid := range uids.Each() {
		e, body, err := open(uid)
		begun := false
		if err == nil {
			begun, err = writePart(parts, e, body)
		}
		switch {
		case err == nil || errors.Is(err, journal.ErrNotFound):
		case !begun && c.Context().Err() == nil:
			a.b.Logger.Error("left out of an answer with many messages", "mailbox", folder.Mailbox, "folder", folder.FolderName(), "uid", uid, "error", err)
		default:
			if c.Context().Err() == nil {
				a.b.Logger.Error("message not read whole", "mailbox", folder.Mailbox, "folder", folder.FolderName(), "uid", uid, "error", err)
			}
			panic(http.ErrAbortHandler) // the answer lacks its last boundary, so the client sees that it is not whole
		}
	}
	if err := errors.Join(parts.Close(), buffered.Flush()); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// writePart writes a message as a part of an answer, and reports whether it has begun to: it has not where the message cannot be read from its beginning.
func writePart(parts *multipart.Writer, e *journal.Entry, body *journal.Body) (begun bool, err error) {
	if e.Size > 0 {
		if _, err := body.ReadAt(make([]byte, 1), 0); err != nil {
			return false, err
		}
	}
	part, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Type": {messageType}, "Content-Length": {strconv.FormatInt(e.Size, 10)}, "Content-Location": {strconv.FormatUint(uint64(e.UID), 10) + "/raw"},
	})
	if err == nil {
		_, err = body.WriteTo(part)
	}
	return true, err
}

func (a *api) practice(c *call) error {
	uid, err := c.number("uid", math.MaxUint32)
	if err != nil {
		return err
	}
	id := c.query("message_id")
	if uid > 0 && id != "" {
		return fmt.Errorf("%w: name a uid or a message_id, not both", errRequest)
	}
	return tell(c, a.b.Archive.Practices(c.Context(), c.mailbox, uid, id, time.Now()))
}

// ActView is an act that was carried out on messages of one folder. Others script against its names.
type ActView struct {
	Mailbox string       `json:"mailbox"`
	Act     string       `json:"act"` // "move", "delete", "empty", "undelete", "hold" or "release"
	Folder  string       `json:"folder"`
	UID     uint32       `json:"uid,omitempty"` // of the message; of the first one of several; absent where an empty folder was emptied
	UIDs    journal.UIDs `json:"uids,omitempty"`
	Count   uint64       `json:"count"` // messages that the act took
	// ToFolder and ToUID are the new place of the message, if it has one; ToUIDs are the new UIDs of all, in the order of UIDs.
	ToFolder string       `json:"to_folder,omitempty"`
	ToUID    uint32       `json:"to_uid,omitempty"`
	ToUIDs   journal.UIDs `json:"to_uids,omitempty"`
	// Held, Gone and Damaged are messages that were meant and that the act left: they are under a legal hold; they were deleted and their grace
	// is over; they cannot be read.
	Held    journal.UIDs `json:"held,omitempty"`
	Gone    journal.UIDs `json:"gone,omitempty"`
	Damaged journal.UIDs `json:"damaged,omitempty"`
	// Until is the end of the grace, of a deletion.
	Until *time.Time `json:"until,omitempty"`
}

func (a *api) move(c *call) error {
	return c.actOn(c.body.(*Move).UIDs, func(s journal.Selection) (*journal.Done, error) {
		folder, err := targetFolder(s.Month, c.body.(*Move).To)
		if err != nil {
			return nil, err
		}
		return a.b.Archive.Move(c.Context(), c.who, s, folder)
	})
}

func (a *api) delete(c *call) error {
	return c.actOn(c.body.(*Messages).UIDs, func(s journal.Selection) (*journal.Done, error) { return a.b.Archive.Delete(c.Context(), c.who, s) })
}

func (a *api) undelete(c *call) error {
	return c.actOn(c.body.(*Messages).UIDs, func(s journal.Selection) (*journal.Done, error) { return a.b.Archive.Undelete(c.Context(), c.who, s) })
}

func (a *api) empty(c *call) error {
	folder, err := c.folder()
	if err != nil {
		return err
	}
	return c.done(a.b.Archive.Empty(c.Context(), c.who, folder))
}

func (a *api) giveBack(c *call) error {
	b := c.body.(*GiveBack)
	s, err := c.selection(b.UIDs)
	if err != nil {
		return err
	}
	for g, err := range a.b.Archive.GiveBack(c.Context(), c.who, s, b.Again) {
		if g.State != "" {
			c.out.write(g)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// actOn carries out an act on messages of the folder in the path, and answers with it.
func (c *call) actOn(uids journal.UIDs, do func(journal.Selection) (*journal.Done, error)) error {
	s, err := c.selection(uids)
	if err != nil {
		return err
	}
	return c.done(do(s))
}

// selection returns messages of the folder in the path.
func (c *call) selection(uids journal.UIDs) (journal.Selection, error) {
	folder, err := c.folder()
	if err != nil {
		return journal.Selection{}, err
	}
	if uids == nil {
		return journal.Selection{}, fmt.Errorf("%w: uids: name the messages, such as \"5,7-20\"", errRequest)
	}
	s := folder.Only()
	s.UIDs = uids
	return s, nil
}

// done answers with an act on several messages.
func (c *call) done(d *journal.Done, err error) error {
	if err != nil {
		return err
	}
	v := ActView{
		Mailbox: d.Mailbox, Act: d.Kind, Folder: d.From.FolderName(), UID: d.From.UID, UIDs: d.UIDs, Count: d.UIDs.Count(),
		ToUID: d.To.UID, ToUIDs: d.ToUIDs, Held: d.Held, Gone: d.Gone, Damaged: d.Damaged,
	}
	if d.To.UID > 0 {
		v.ToFolder = d.To.FolderName()
	}
	if v.Count > 0 && (d.Kind == journal.ActDelete || d.Kind == journal.ActEmpty) {
		until := d.Time.Add(journal.DeletedGrace)
		v.Until = &until
	}
	c.out.write(v)
	return nil
}

func (a *api) hold(c *call) error {
	return c.act(journal.ActHold, func(ref journal.Ref) error {
		return a.b.Archive.Hold(c.Context(), c.who, ref, c.body.(*Reason).Reason)
	})
}

func (a *api) release(c *call) error {
	return c.act(journal.ActRelease, func(ref journal.Ref) error {
		return a.b.Archive.Release(c.Context(), c.who, ref, c.body.(*Reason).Reason)
	})
}

// act carries out an act on one message, and answers with it.
func (c *call) act(kind string, do func(journal.Ref) error) error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	if err := do(ref); err != nil {
		return err
	}
	c.out.write(ActView{Mailbox: ref.Mailbox, Act: kind, Folder: ref.FolderName(), UID: ref.UID, UIDs: ref.Only().UIDs, Count: 1})
	return nil
}

// targetFolder reads the folder to move a message to, with or without the month. A message stays in the month of its arrival.
func targetFolder(of kv.Month, name string) (string, error) {
	if !strings.Contains(name, "/") {
		return name, nil
	}
	folder, month, err := journal.ParseFolder(name)
	if err == nil && month != of {
		err = fmt.Errorf("folder %q: a message of %s stays in that month", name, of)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRequest, err)
	}
	return folder, nil
}
