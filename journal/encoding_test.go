package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"testing"

	"copialettere/journal/codec"
	"copialettere/journal/part"
)

func sampleEntry(t testing.TB) *Entry {
	s := part.NewScanner(part.DefaultLimits())
	message := enclosing(enclosed(1, 1))
	s.Write(message)
	return &Entry{
		Ref:       Ref{mario, "2026-11", "INBOX", 7},
		Envelope:  Envelope{MailFrom: giove, Peer: Peer{"n", "a", "h", "p"}, QueueID: "4X", Transaction: "t"},
		Direction: Received, Time: november, RcptTo: mario, ORCPT: "rfc822;" + mario, Recipients: []string{"a@x.test", "b@x.test"},
		Size: int64(len(message)), SHA256: Digest{1, 2}, Chunks: []ChunkRef{{ChunkID{1}, 1}, {ChunkID{2}, codec.MaxSize}},
		Class: "ordinary", From: "f", To: "t", Subject: "s", Date: "d", MessageID: "m", Flags: []string{FlagOriginUnknown, "x"},
		DeclaredClass: "posta-certificata", Signature: "verified", SentTo: "other", Certification: []byte{0, 1}, Links: []string{"<id>", "l"},
		Parts: *s.Close(),
	}
}

func encoded(t testing.TB, e *Entry) []byte {
	parts, err := e.Parts.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if b := e.encode(parts); len(b) <= e.sizeEstimate()+len(parts) {
		return b
	}
	t.Fatal("the entry is longer than its estimate")
	return nil
}

func TestEntryEncoding(t *testing.T) {
	e := sampleEntry(t)
	b := encoded(t, e)
	got, err := decodeEntry(e.Ref, b)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
		t.Errorf("decoded\n%+v, want\n%+v", got, e)
	}
	// A field that a later version may add is passed over.
	later := append([]byte{200, 3, 'a', 'b', 'c'}, b...)
	if got, err := decodeEntry(e.Ref, later); err != nil || got.Subject != "s" {
		t.Errorf("with a field of a later version: %+v, %v", got, err)
	}
}

func TestMalformedEntries(t *testing.T) {
	field := func(tag byte, v ...byte) []byte {
		enc := encoder{}
		enc.bytes(tag, v)
		return enc.b
	}
	uvarint := func(n uint64) []byte { return binary.AppendUvarint(nil, n) }
	for name, b := range map[string][]byte{
		"tag without length":   {tagSubject},
		"length over the end":  {tagSubject, 5, 'a'},
		"length of 2^64-1":     append([]byte{tagSubject}, uvarint(math.MaxUint64)...),
		"length without end":   {tagSubject, 0x80},
		"length too long":      append([]byte{tagSubject}, bytes.Repeat([]byte{0xff}, 11)...),
		"short time":           field(tagTime, 1, 2, 3),
		"no direction":         field(tagDirection),
		"direction 0":          field(tagDirection, 0),
		"direction 3":          field(tagDirection, 3),
		"size of 2^63":         field(tagSize, uvarint(1<<63)...),
		"size of 2^50 and one": field(tagSize, uvarint(maxSize+1)...),
		"size with a tail":     field(tagSize, 1, 1),
		"short digest":         field(tagSHA256, make([]byte, 31)...),
		"short chunk":          field(tagChunk, make([]byte, 11)...),
		"chunk without size":   field(tagChunk, make([]byte, 12)...),
		"empty chunk":          field(tagChunk, make([]byte, 13)...),
		"chunk of 2^64-1":      field(tagChunk, append(make([]byte, 12), uvarint(math.MaxUint64)...)...),
		"chunk too large":      field(tagChunk, append(make([]byte, 12), uvarint(codec.MaxSize+1)...)...),
		"part table":           field(tagParts, 1, 0),
	} {
		if _, err := decodeEntry(Ref{}, b); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

// FuzzDecodeEntry decodes values as a damaged store may hold them, and reads the message of what decodes.
func FuzzDecodeEntry(f *testing.F) {
	f.Add(encoded(f, sampleEntry(f)))
	f.Add([]byte{tagSize, 1, 5, tagChunk, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5})
	f.Add([]byte{})
	j, err := Open(new(memory), Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { j.Close() })
	if _, err := j.engine.Volume(f.Context(), "2026-11", true); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(Ref{mario, "2026-11", "INBOX", 1}, b)
		if err != nil {
			return
		}
		if e.Size < 0 {
			t.Fatalf("size %d", e.Size)
		}
		body, err := j.Body(t.Context(), e)
		if err != nil {
			return
		}
		// No chunk is there, so nothing but the empty message reads.
		if n, err := body.WriteTo(new(bytes.Buffer)); n != 0 || (err == nil) != (e.Size == 0) {
			t.Fatalf("%d bytes of %d, %v", n, e.Size, err)
		}
		if len(e.Parts.Parts) == 0 {
			return
		}
		again, err := decodeEntry(e.Ref, encoded(t, e))
		if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", e) {
			t.Fatalf("encoded again: %+v, %v; want %+v", again, err, e)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	full := gap("detail", november)
	full.Until, full.Direction = november, Sent
	f.Add(full.encode())
	f.Add([]byte{tagKind, 0})
	f.Add((&Record{Time: november, Bytes: 36}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(mario, b)
		if err != nil || r.Time.IsZero() {
			return
		}
		again, err := decodeRecord(mario, r.encode())
		if err != nil || *again != *r {
			t.Fatalf("encoded again: %+v, %v; want %+v", again, err, r)
		}
	})
}

func FuzzDecodeOutcome(f *testing.F) {
	f.Add(outcome{state: Deferred, withdrawal: true, refused: true, transaction: "t"}.encode())
	f.Add(outcome{state: Unknown, transaction: "t", supersedes: []delivery{{"2026-10", Digest{1}}, {"2026-11", Digest{2}}}}.encode())
	f.Add([]byte{1, 4, 1})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOutcome(b)
		if err != nil {
			return
		}
		if again, err := decodeOutcome(o.encode()); err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("encoded again: %+v, %v; want %+v", again, err, o)
		}
	})
}

// FuzzKeys takes apart keys as a damaged store may hold them.
func FuzzKeys(f *testing.F) {
	f.Add(entryKey(Ref{mario, "2026-11", "INBOX", 1}), encodePlace(Ref{Folder: "INBOX", UID: 1}))
	f.Add([]byte{}, folderCounters{1, 2, 3, 4, 0, 0}.encode())
	f.Add([]byte{}, folderCounters{1, 2, 3, 4, 5, 0}.encode())
	f.Add([]byte{}, folderCounters{1, 2, 3, 4, 0, 6}.encode())
	f.Add([]byte{}, folderCounters{1, 2, 3, 4, 5, 6}.encode())
	f.Add([]byte("e\x00\x00"), []byte{0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if mailbox, folder, rest, err := splitFolderKey(key); err == nil {
			if again := append(folderKey(key[0], mailbox, folder), rest...); !bytes.Equal(again, key) {
				t.Fatalf("%q made again is %q", key, again)
			}
		}
		if mailbox, rest, err := splitMailboxKey(key); err == nil {
			if again := append(mailboxKey(key[0], mailbox, 0), rest...); !bytes.Equal(again, key) {
				t.Fatalf("%q made again is %q", key, again)
			}
		}
		if r, err := decodePlace(mario, "2026-11", value); err == nil && !bytes.Equal(encodePlace(r), value) {
			t.Fatalf("%q made again is %q", value, encodePlace(r))
		}
		if c, err := decodeCounters(value); err == nil && !bytes.Equal(c.encode(), value) {
			t.Fatalf("%x made again is %x", value, c.encode())
		}
		end := after(key)
		if end != nil && bytes.Compare(end, append(bytes.Clone(key), 0xff, 0xff)) <= 0 {
			t.Fatalf("%q does not lie behind what begins with %q", end, key)
		}
	})
}

func TestParseFolder(t *testing.T) {
	for name, want := range map[string]string{
		"INBOX/2026-11": "INBOX 2026-11", "a/b/2026-01": "a/b 2026-01",
		"INBOX": "", "/2026-11": "", "INBOX/": "", "INBOX/2026-13": "", "INBOX/2026-1": "", "": "", "INBOX/2026-11/": "",
	} {
		folder, month, err := ParseFolder(name)
		if got := folder + " " + string(month); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
	}
}
