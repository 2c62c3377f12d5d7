package httpd

import (
	"io"
	"net/http"
	"strconv"

	"copialettere/policy/pec"
)

// PartView is one part of a message, or of a message enclosed in it. Others script against its names.
type PartView struct {
	// Part is the number for /part, as in IMAP: "1.3.2". It is empty for a message that is a multipart: its content is that of the part around
	// it, or the message itself.
	Part        string `json:"part"`
	Depth       int    `json:"depth"` // how many parts stand around it
	Type        string `json:"type"`  // media type, in lower case
	Name        string `json:"name,omitempty"`
	Charset     string `json:"charset,omitempty"`
	Encoding    string `json:"encoding"` // transfer encoding, "7bit" where none is named
	Disposition string `json:"disposition,omitempty"`
	ContentID   string `json:"content_id,omitempty"`
	Size        int64  `json:"size"`             // bytes in the message, with their transfer encoding
	Odd         string `json:"odd,omitempty"`    // what the MIME scanner found odd about the part
	Closed      string `json:"closed,omitempty"` // why the message inside it could not be opened
}

func viewPart(l *pec.Located) PartView {
	p := &l.Part
	return PartView{
		Part: l.Number, Depth: l.Depth, Type: p.Type, Name: p.Name(), Charset: p.Charset(), Encoding: p.Encoding(), Disposition: p.Disposition,
		ContentID: p.ContentID, Size: p.End - p.Body, Odd: p.Odd.String(), Closed: l.Closed,
	}
}

func (a *api) parts(c *call) error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	for l, err := range a.b.Archive.Parts(c.Context(), ref) {
		if err != nil {
			return err
		}
		if c.out.write(viewPart(&l)) != nil {
			return nil
		}
	}
	return nil
}

func (a *api) part(c *call) error {
	ref, err := c.ref()
	number := c.PathValue("part")
	if err != nil {
		return err
	}
	l, err := a.b.Archive.Part(c.Context(), ref, number)
	if err != nil {
		return err
	}
	if err := SetLength(c.w, c.Request, l.Content()); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", partType)
	n, err := io.Copy(c.w, l.Content())
	if err != nil && n == 0 {
		return err
	}
	if err != nil {
		if c.Context().Err() == nil {
			a.b.Logger.Error("part not read whole", "mailbox", ref.Mailbox, "folder", ref.FolderName(), "uid", ref.UID, "part", number, "error", err)
		}
		// An answer that is cut off shows the client that the part is not whole.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// SetLength reads content to its end and tells its length, where an answer must have it: in HTTP/1.0, which proxies speak that are not told otherwise,
// the answer would seem whole wherever it breaks off.
func SetLength(w http.ResponseWriter, r *http.Request, content io.Reader) error {
	if r.ProtoAtLeast(1, 1) {
		return nil
	}
	n, err := io.Copy(io.Discard, content)
	if err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	return err
}
