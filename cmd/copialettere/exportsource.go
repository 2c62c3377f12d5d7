package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
)

// archiveSource is the messages of a mailbox, as the admin interface gives them.
type archiveSource struct {
	in        *invocation
	client    *client
	mailbox   string
	selection export.Selection
}

// Plan implements export.Source.
func (s *archiveSource) Plan(ctx context.Context) iter.Seq2[export.Line, error] {
	return func(yield func(export.Line, error) bool) {
		values := url.Values{"mailbox": {s.mailbox}, "who": {whoami()}}
		set := func(name, value string) {
			if value != "" {
				values.Set(name, value)
			}
		}
		set("folder", s.selection.Folder)
		set("class", s.selection.Class)
		for name, at := range map[string]time.Time{"since": s.selection.Since, "until": s.selection.Until} {
			if !at.IsZero() {
				set(name, at.Format(time.RFC3339))
			}
		}
		_, err := each(s.in, ctx, s.client, http.MethodPost, mailboxPath+"/export", values, func(l export.Line) error {
			var err error
			if l.Unread != "" {
				err = fmt.Errorf("%s: %w", l.Unread, export.ErrUnreadable)
			}
			if !yield(l, err) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(export.Line{}, err)
		}
	}
}

// errStopped ends an answer that nobody reads on.
var errStopped = errors.New("stopped")

// Copy implements export.Source.
func (s *archiveSource) Copy(ctx context.Context, m *export.Message, to io.Writer) error {
	quiet := *s.in
	quiet.stderr = io.Discard
	out := &remembering{Writer: to}
	body, err := quiet.do(ctx, s.client, http.MethodGet, messagePath+"/raw", messageQuery([]string{s.mailbox, m.Folder, strconv.FormatUint(uint64(m.UID), 10)}), nil)
	if err == nil {
		_, err = io.Copy(out, body)
		body.Close()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNothing):
		return export.ErrGone
	case out.err != nil || ctx.Err() != nil:
		return err
	}
	// A message that cannot be read breaks off, and so does everything when the daemon ends.
	answer, alive := quiet.do(ctx, s.client, http.MethodGet, "/version", nil, nil)
	if alive != nil {
		return fmt.Errorf("%w; when the daemon runs again, run the same command again: it goes on where it stopped", err)
	}
	answer.Close()
	return fmt.Errorf("%w: %w", export.ErrUnreadable, err)
}

// CopyMany implements export.ManySource: one request for the messages of a folder.
func (s *archiveSource) CopyMany(ctx context.Context, list []*export.Message, got func(int, io.Reader) error) error {
	for first := 0; first < len(list); {
		end := first + 1
		for end < len(list) && list[end].Folder == list[first].Folder {
			end++
		}
		if err := s.copyFolder(ctx, list[first:end], func(i int, content io.Reader) error { return got(first+i, content) }); err != nil {
			return err
		}
		first = end
	}
	return nil
}

// copyFolder is CopyMany for messages of one folder.
func (s *archiveSource) copyFolder(ctx context.Context, list []*export.Message, got func(int, io.Reader) error) error {
	places := make(map[string]int, len(list)) // by Content-Location
	uids := make([]uint32, len(list))
	for i, m := range list {
		uids[i] = m.UID
		places[strconv.FormatUint(uint64(m.UID), 10)+"/raw"] = i
	}
	quiet := *s.in
	quiet.stderr = io.Discard
	body, err := quiet.do(ctx, s.client, http.MethodGet, mailboxPath+"/messages/{folder}/raw",
		url.Values{"mailbox": {s.mailbox}, "folder": {list[0].Folder}, "uids": {journal.UIDsOf(uids).String()}}, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	parts := newParts(body)
	for {
		header, content, err := parts.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		i, ok := places[header.Get("Content-Location")]
		if !ok {
			return fmt.Errorf("the answer has a message that was not asked for: %.100q", header.Get("Content-Location"))
		}
		if err := got(i, content); err != nil {
			return err
		}
	}
}

// parts reads a multipart answer (RFC 2046 section 5.1) whose parts all have a Content-Length. So it need not look for boundaries in what they hold.
type parts struct {
	in       *bufio.Reader
	boundary string            // the line before each part, once it is known
	content  *io.LimitedReader // of the part under way
}

func newParts(in io.Reader) *parts { return &parts{in: bufio.NewReader(in)} }

// next returns the header of the next part, and what it holds, which is read before the next call. It returns io.EOF behind the last one, and another error
// where the answer breaks off.
func (p *parts) next() (textproto.MIMEHeader, io.Reader, error) {
	if p.content != nil {
		if _, err := io.Copy(io.Discard, p.content); err != nil {
			return nil, nil, brokenOff(err)
		}
		if p.content.N > 0 {
			return nil, nil, io.ErrUnexpectedEOF
		}
	}
	text := textproto.NewReader(p.in)
	line, err := text.ReadLine()
	if err == nil && line == "" { // the line end before a boundary
		line, err = text.ReadLine()
	}
	switch {
	case err != nil:
		return nil, nil, brokenOff(err)
	case p.boundary != "" && line == p.boundary+"--", p.boundary == "" && len(line) > len("----") && strings.HasPrefix(line, "--") && strings.HasSuffix(line, "--"):
		return nil, nil, io.EOF
	case p.boundary != "" && line != p.boundary, !strings.HasPrefix(line, "--"):
		return nil, nil, fmt.Errorf("the answer has %.100q in the place of a boundary", line)
	}
	p.boundary = line
	header, err := text.ReadMIMEHeader()
	if err != nil {
		return nil, nil, brokenOff(err)
	}
	size, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil || size < 0 {
		return nil, nil, fmt.Errorf("the answer has a part without a Content-Length: %q", header)
	}
	p.content = &io.LimitedReader{R: p.in, N: size}
	return header, p.content, nil
}

// brokenOff returns the error of an answer that ends before its last boundary.
func brokenOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// remembering remembers the first error of a writer.
type remembering struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (r *remembering) Write(b []byte) (int, error) {
	n, err := r.Writer.Write(b)
	if r.err == nil {
		r.err = err
	}
	return n, err
}
