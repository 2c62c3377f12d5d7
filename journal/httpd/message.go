package httpd

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
)

func (a *api) message(c *call) error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	e, body, err := a.b.Archive.Message(c.Context(), ref)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "message/rfc822")
	c.w.Header().Set("Content-Length", strconv.FormatInt(e.Size, 10))
	if _, err := body.WriteTo(c.w); err != nil {
		// The body ends before its Content-Length, so the client sees that the message is not whole.
		a.b.Logger.Error("message not read whole", "mailbox", e.Mailbox, "folder", e.FolderName(), "uid", e.UID, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (a *api) practice(c *call) error {
	uid := uint64(0)
	if text := c.FormValue("uid"); text != "" {
		var err error
		if uid, err = strconv.ParseUint(text, 10, 32); err != nil || uid == 0 {
			return fmt.Errorf("%w: uid %.100q: want a number from 1", errRequest, text)
		}
	}
	return tell(c, a.b.Archive.Practices(c.Context(), c.mailbox, uint32(uid), time.Now()))
}

// ActView is an act that was carried out on an entry. Others script against its names.
type ActView struct {
	Mailbox string `json:"mailbox"`
	Act     string `json:"act"` // "move", "delete", "undelete", "hold" or "release"
	Folder  string `json:"folder"`
	UID     uint32 `json:"uid"`
	// ToFolder and ToUID are the new place of the entry, if it has one.
	ToFolder string `json:"to_folder,omitempty"`
	ToUID    uint32 `json:"to_uid,omitempty"`
}

func (a *api) move(c *call) error {
	return c.act(journal.ActMove, func(ref journal.Ref) (to journal.Ref, err error) {
		folder, err := targetFolder(ref, c.FormValue("to"))
		if err != nil {
			return to, err
		}
		return a.b.Archive.Move(c.Context(), c.who, ref, folder)
	})
}

func (a *api) delete(c *call) error {
	return c.act(journal.ActDelete, func(ref journal.Ref) (to journal.Ref, err error) {
		return to, a.b.Archive.Delete(c.Context(), c.who, ref)
	})
}

func (a *api) undelete(c *call) error {
	return c.act(journal.ActUndelete, func(ref journal.Ref) (journal.Ref, error) {
		return a.b.Archive.Undelete(c.Context(), c.who, ref)
	})
}

func (a *api) hold(c *call) error {
	return c.act(journal.ActHold, func(ref journal.Ref) (to journal.Ref, err error) {
		return to, a.b.Archive.Hold(c.Context(), c.who, ref, c.FormValue("reason"))
	})
}

func (a *api) release(c *call) error {
	return c.act(journal.ActRelease, func(ref journal.Ref) (to journal.Ref, err error) {
		return to, a.b.Archive.Release(c.Context(), c.who, ref, c.FormValue("reason"))
	})
}

// act carries out an act on one message, and answers with it. do returns the new place of the entry, if it has one.
func (c *call) act(kind string, do func(journal.Ref) (to journal.Ref, err error)) error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	to, err := do(ref)
	if err != nil {
		return err
	}
	v := ActView{Mailbox: ref.Mailbox, Act: kind, Folder: ref.FolderName(), UID: ref.UID}
	if to.UID > 0 {
		v.ToFolder, v.ToUID = to.FolderName(), to.UID
	}
	c.out.write(v)
	return nil
}

// targetFolder reads the folder to move a message to, with or without the month. A message stays in the month of its arrival.
func targetFolder(ref journal.Ref, name string) (string, error) {
	if !strings.Contains(name, "/") {
		return name, nil
	}
	folder, month, err := journal.ParseFolder(name)
	if err == nil && month != ref.Month {
		err = fmt.Errorf("folder %q: a message of %s stays in that month", name, ref.Month)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRequest, err)
	}
	return folder, nil
}
