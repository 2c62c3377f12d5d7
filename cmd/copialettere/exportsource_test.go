package main

import (
	"errors"
	"io"
	"mime/multipart"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
)

// partsOf writes contents as an answer with many messages has them.
func partsOf(contents ...string) string {
	var out strings.Builder
	w := multipart.NewWriter(&out)
	for i, content := range contents {
		part, _ := w.CreatePart(textproto.MIMEHeader{"Content-Length": {strconv.Itoa(len(content))}, "Content-Location": {strconv.Itoa(i) + "/raw"}}) // a Builder takes everything
		io.WriteString(part, content)
	}
	w.Close()
	return out.String()
}

// readParts returns what an answer holds, and what it ends with.
func readParts(answer string) (contents []string, err error) {
	for p := newParts(strings.NewReader(answer)); ; {
		_, content, err := p.next()
		if err != nil {
			return contents, err
		}
		b, err := io.ReadAll(content)
		if err != nil {
			return contents, err
		}
		contents = append(contents, string(b))
	}
}

// TestAnswerParts reads answers with many messages, and finds out those that break off.
func TestAnswerParts(t *testing.T) {
	for name, contents := range map[string][]string{
		"none": nil, "one": {"Subject: x\r\n\r\nx"}, "an empty one": {"", "Subject: x\r\n"},
		"with boundaries inside": {"--x\r\n\r\n--x--\r\n", "\r\n--\r\n", strings.Repeat("--", 5000)},
	} {
		answer := partsOf(contents...)
		got, err := readParts(answer)
		if err != io.EOF || strings.Join(got, "|") != strings.Join(contents, "|") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for end := range strings.LastIndex(answer, "--\r\n") {
			if got, err := readParts(answer[:end]); err == io.EOF && len(got) < len(contents) {
				t.Errorf("%s: after %d bytes of %d it is over: %q", name, end, len(answer), got)
			}
		}
	}
	for name, answer := range map[string]string{
		"no boundary": "Subject: x\r\n", "no length": "--x\r\nA: b\r\n\r\nx\r\n--x--\r\n", "a negative length": "--x\r\nContent-Length: -1\r\n\r\nx\r\n--x--\r\n",
		"another boundary": "--x\r\nContent-Length: 0\r\n\r\n\r\n--y--\r\n", "more than its length": "--x\r\nContent-Length: 1\r\n\r\nxy\r\n--x--\r\n",
	} {
		if _, err := readParts(answer); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAnswerParts(f *testing.F) {
	f.Add(partsOf("Subject: x\r\n\r\nx", ""))
	f.Add(partsOf())
	f.Fuzz(func(t *testing.T, answer string) {
		contents, err := readParts(answer)
		if err != io.EOF {
			return
		}
		size := 0
		for _, content := range contents {
			size += len(content)
		}
		if size > len(answer) {
			t.Errorf("%d bytes of %d", size, len(answer))
		}
	})
}
