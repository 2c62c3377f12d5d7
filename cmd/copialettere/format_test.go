package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"copialettere/journal/datafolder"
)

// foldersOfOld has data folders that earlier programs made: see make.sh there. Each has the folder in data/, and the output of the program that
// made it in said/: MAILBOX.list, MAILBOX.why and so on.
const foldersOfOld = "../../testdata/folders"

// plainFormat is the newest format of a folder that is not encrypted.
const plainFormat = datafolder.Format - 1

// TestEarlierFormats opens a folder of each earlier format: everything in it is there, and new mail goes in.
func TestEarlierFormats(t *testing.T) {
	for _, test := range []struct {
		name      string
		format    int
		encrypted bool
	}{
		{"format-1", 1, false},
		{"format-2", 2, false},
		{"format-3", 3, false},
		{"format-4", 4, false},
		{"format-5", 5, true},
		{"format-5-plain", 5, false},
		{"format-6", 6, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, newest := newPlace(t), plainFormat
			config := "\n[pec]\ntrust = \"headers\"\n"
			if test.encrypted {
				newest, config = datafolder.Format, config+"[encryption]\nkey_file = \""+filepath.Join(p.dir, "key")+"\"\n"
			}
			p.configure(config)
			unpack(t, filepath.Join(foldersOfOld, test.name+".tar.gz"), p.dir)
			p.hasFormat(test.format)
			inbox := p.inboxOfOld()
			before := p.saysWhatItSaid()
			p.hasFormat(newest)

			stop := p.daemon()
			p.deliver(message, "anna@alpha.test", "rfc822;anna@alpha.test")
			p.must("delete", "anna@alpha.test", inbox, "5")
			if code, _, stderr := p.run("delete", "anna@alpha.test", inbox, "4"); code == 0 || !strings.Contains(stderr, ": held") {
				t.Errorf("the message under a hold: exit status %d, %s", code, stderr)
			}
			stop()
			after := said(t, p.must("list", "anna@alpha.test", "-json"))
			if len(after) != before {
				t.Errorf("%d entries after a delivery and a deletion, want %d", len(after), before)
			}
			if !slices.ContainsFunc(after, func(e map[string]any) bool { return e["message_id"] == "<1@ext.test>" && e["state"] == "delivered" }) {
				t.Errorf("no new entry in %v", after)
			}
			p.must("verify")
		})
	}
}

// inboxOfOld returns the folder that mail was delivered to when the data folder was made.
func (p *place) inboxOfOld() string {
	p.t.Helper()
	months, err := filepath.Glob(filepath.Join(p.dir, "data", "journal", "2*"))
	if err != nil || len(months) != 1 {
		p.t.Fatalf("months %q, %v", months, err)
	}
	return "INBOX/" + filepath.Base(months[0])
}

// saysWhatItSaid compares the output of the commands with that of the program that made the folder. It returns the number of entries of the
// mailbox anna@alpha.test.
func (p *place) saysWhatItSaid() (entries int) {
	p.t.Helper()
	commands := map[string][]string{"list": {"list"}, "why": {"why"}, "gaps": {"gaps"}, "show": {"mailbox", "show"}, "log": {"mailbox", "log"}}
	files, err := filepath.Glob(filepath.Join(p.dir, "said", "*.*"))
	if err != nil || len(files) != 2*len(commands) {
		p.t.Fatalf("%d files of what was said, %v", len(files), err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		mailbox, what, _ := strings.Cut(filepath.Base(path), ".")
		want := said(p.t, string(b))
		got := said(p.t, p.must(append(commands[what], mailbox+"@alpha.test", "-json")...))
		if len(got) != len(want) {
			p.t.Errorf("%s: %d lines, want %d", filepath.Base(path), len(got), len(want))
			continue
		}
		for i := range want {
			if err := covers(got[i], want[i]); err != nil {
				p.t.Errorf("%s, line %d: %v\n%v", filepath.Base(path), i+1, err, got[i])
			}
		}
		if what != "list" {
			continue
		}
		if mailbox == "anna" {
			entries = len(want)
		}
		for _, e := range want {
			text := p.must("cat", mailbox+"@alpha.test", e["folder"].(string), strconv.Itoa(int(e["uid"].(float64))))
			if digest := sha256.Sum256([]byte(text)); hex.EncodeToString(digest[:]) != e["sha256"] {
				p.t.Errorf("%s %v %v: another SHA-256", mailbox, e["folder"], e["uid"])
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(p.dir, "said", "verify"))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := covers(said(p.t, p.must("verify", "-json"))[0], said(p.t, string(b))[0]); err != nil {
		p.t.Errorf("verify: %v", err)
	}
	return entries
}

// hasFormat checks the format in the identity of the data folder.
func (p *place) hasFormat(want int) {
	p.t.Helper()
	if b := p.identity(); !strings.HasPrefix(b, fmt.Sprintf(`{"format":%d,`, want)) {
		p.t.Errorf("the identity is %s, want format %d", b, want)
	}
}

// setFormat changes the format in the identity of the data folder.
func (p *place) setFormat(format int) {
	p.t.Helper()
	old := fmt.Sprintf(`"format":%d,`, plainFormat)
	b := strings.Replace(p.identity(), old, fmt.Sprintf(`"format":%d,`, format), 1)
	p.do(os.WriteFile(filepath.Join(p.dir, "data", "identity"), []byte(b), 0o600))
}

func (p *place) identity() string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "data", "identity"))
	p.do(err)
	return string(b)
}

// TestNewerFormat runs every command on a folder of a newer program. Each refuses it in words, and leaves it as it is.
func TestNewerFormat(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	identity := filepath.Join(p.dir, "data", "identity")
	newer := fmt.Sprintf(`{"format":%d,"id":{"archive":7},"created":[]}`+"\n", datafolder.Format+1)
	if err := os.WriteFile(identity, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s has format %d, and this program knows 1 to %d: use the copialettere that wrote it, or a newer one",
		filepath.Join(p.dir, "data"), datafolder.Format+1, datafolder.Format)
	for _, args := range [][]string{
		{"init"}, {"serve"}, {"list", "anna@alpha.test"}, {"cat", "anna@alpha.test", "INBOX/2026-11", "1"}, {"verify"}, {"mailbox", "enable", "anna@alpha.test"},
	} {
		if code, stdout, stderr := p.run(args...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit status %d, %s%s", args[0], code, stdout, stderr)
		}
	}
	if code, stdout, stderr := p.run("check"); code == 0 || !strings.Contains(stdout+stderr, want) {
		t.Errorf("check: exit status %d, %s%s", code, stdout, stderr)
	}
	if b, err := os.ReadFile(identity); err != nil || string(b) != newer {
		t.Errorf("the identity is %q now, %v", b, err)
	}
}

// said decodes the output of a command with -json.
func said(t testing.TB, text string) (list []map[string]any) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var line map[string]any
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, line)
	}
}

// covers returns an error that names what of want is missing in got. got may have more names, and more elements in a list; its labels, which are words
// for people, may be others.
func covers(got, want any) error {
	switch want := want.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		for name := range want {
			if (name == "label" || name == "value_label") && got[name] != nil {
				continue
			}
			if err := covers(got[name], want[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	case []any:
		got, _ := got.([]any)
		for _, w := range want {
			for len(got) > 0 && covers(got[0], w) != nil {
				got = got[1:]
			}
			if len(got) == 0 {
				return fmt.Errorf("no %v", w)
			}
			got = got[1:]
		}
		return nil
	}
	if got != want {
		return fmt.Errorf("%v, want %v", got, want)
	}
	return nil
}

// unpack unpacks a .tar.gz of ours.
func unpack(t testing.TB, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			path := filepath.Join(dir, filepath.FromSlash(h.Name))
			if h.FileInfo().IsDir() {
				err = os.MkdirAll(path, 0o700)
			} else {
				err = unpackFile(r, path, h.FileInfo().Mode())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unpackFile(r io.Reader, path string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
