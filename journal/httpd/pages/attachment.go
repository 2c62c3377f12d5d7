package pages

import (
	"io"
	"strings"

	"copialettere/journal/httpd/body"
	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// attachments returns the files of a message, with what is dangerous about them.
func (w *letterWriter) attachments(parts []*pec.Located) (list []attachment, more int, err error) {
	for i, l := range parts {
		if len(list) == shownFiles {
			return list, len(parts) - i, nil
		}
		one := attachment{Path: w.page.Path + "/parts/" + l.Number, Name: fileName(l), Type: l.Part.Type, Size: decodedSize(&l.Part)}
		content := io.Reader(strings.NewReader(""))
		if w.examine > 0 {
			content = l.Content()
		}
		counted := &countedReader{from: content}
		var whole bool
		// What the name says counts whatever follows it: a signature hides neither name nor content.
		if one.Danger, whole, err = body.Examine(l.Part.Name(), counted); err != nil {
			return nil, 0, err
		}
		one.Partly = !whole || w.examine <= 0
		w.examine -= counted.n
		one.Image = strings.HasPrefix(body.ServedType(one.Name), "image/")
		list = append(list, one)
	}
	return list, 0, nil
}

// countedReader counts what is read.
type countedReader struct {
	from io.Reader
	n    int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

// fileName returns the name under which a part is downloaded.
func fileName(l *pec.Located) string {
	extension := ""
	switch {
	case l.Part.IsMessage():
		extension = ".eml"
	case l.Part.Type == "text/plain":
		extension = ".txt"
	case l.Part.Type == "text/html":
		extension = ".html"
	}
	return body.FileName(l.Part.Name(), "part-"+l.Number+extension)
}

// decodedSize returns about how many bytes a part has without its transfer encoding.
func decodedSize(p *part.Part) int64 {
	size := p.End - p.Body
	if p.Encoding() == "base64" {
		size = max(0, size-2*p.Lines) * 3 / 4
	}
	return size
}
