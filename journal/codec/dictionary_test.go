package codec

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// receipt is a message of a provider: its words and its certificate, which repeat, and what one person wrote.
func receipt(provider string, n int) []byte {
	return join(fmt.Sprintf("From: posta-certificata@%s\r\nSubject: ACCETTAZIONE: pratica %d\r\n\r\n", provider, n),
		strings.Repeat("Il messaggio e' stato accettato dal sistema di "+provider+" ed inoltrato.\r\n", 3), private(n), "\r\n", partHead,
		lines(append(noise(2000+len(provider)), noise(100+n%50)...), 76))
}

// private is what nobody else wrote.
func private(n int) string {
	return fmt.Sprintf("pratica riservata %x di una sola persona", noise(100 + n)[:20])
}

// learn has receipts vote, each of another mailbox than the one before.
func learn(t testing.TB, c *Codec, l *Learner, provider string, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		unfolded, err := c.Unfolded(c.Encode(receipt(provider, n), nil), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Vote(fmt.Sprint("mailbox ", n%8), unfolded)
	}
}

func learned(t testing.TB, c *Codec) *Dictionaries {
	t.Helper()
	l := NewLearner()
	learn(t, c, l, "alpha.test", 0, 100)
	d, err := NewDictionaries(Dictionary{3, l.Round(nil)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDictionary(t *testing.T) {
	c := newCodec(t)
	d := learned(t, c)
	for name, test := range map[string]struct {
		chunk  []byte
		number byte
	}{
		"a receipt":         {receipt("alpha.test", 1000), 3},
		"another provider":  {receipt("beta.test", 1), 3},
		"text":              {prose(4 << 10), 3},
		"one byte":          {[]byte("a"), 3},
		"random bytes":      {noise(500), 3},
		"a picture":         {join(partHead, lines(noise(60<<10), 76)), 0},
		"as long as can be": {prose(MostWithDictionary), 3},
		"too long":          {prose(MostWithDictionary + 1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			value := c.Encode(test.chunk, d)
			if n := NumberOf(value); n != test.number {
				t.Errorf("dictionary %d, want %d", n, test.number)
			}
			got, err := c.Decode(value, []byte("before"), d)
			if err != nil || !bytes.Equal(got, append([]byte("before"), test.chunk...)) {
				t.Errorf("decoded %d bytes of %d, %v", len(got), len(test.chunk), err)
			}
			if _, err := c.Decode(value, nil, nil); (test.number != 0) != errors.Is(err, ErrDictionary) {
				t.Errorf("without the dictionary: %v", err)
			}
			plain := c.Encode(test.chunk, nil)
			if NumberOf(plain) != 0 {
				t.Errorf("without a dictionary: number %d", NumberOf(plain))
			}
			if got, err := c.Decode(plain, nil, d); err != nil || !bytes.Equal(got, test.chunk) {
				t.Errorf("what was compressed without one: %d bytes, %v", len(got), err)
			}
		})
	}
	chunk := receipt("alpha.test", 1000)
	if with, plain := len(c.Encode(chunk, d)), len(c.Encode(chunk, nil)); with > plain/3 {
		t.Errorf("%d bytes with the dictionary, %d without", with, plain)
	}
	changed, err := NewDictionaries(Dictionary{3, bytes.ToUpper(d.Newest().Content)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(c.Encode(chunk, d), nil, changed); err == nil {
		t.Errorf("with another dictionary of the number: %d bytes", len(got))
	}
}

// TestDictionaries has each value be read with the dictionary that it was made with, whatever others there are.
func TestDictionaries(t *testing.T) {
	c := newCodec(t)
	var d *Dictionaries
	var values [][]byte
	chunk := receipt("alpha.test", 1)
	for _, number := range []byte{2, 1, MaxDictionaries} {
		values = append(values, c.Encode(chunk, d))
		var err error
		if d, err = d.With(Dictionary{number, receipt("alpha.test", int(number))}); err != nil {
			t.Fatal(err)
		}
	}
	if values = append(values, c.Encode(chunk, d)); !slices.Equal(d.Numbers(), []byte{1, 2, MaxDictionaries}) || d.Newest().Number != MaxDictionaries {
		t.Errorf("numbers %v, newest %d", d.Numbers(), d.Newest().Number)
	}
	var numbers []byte
	for _, value := range values {
		numbers = append(numbers, NumberOf(value))
		if got, err := c.Decode(value, nil, d); err != nil || !bytes.Equal(got, chunk) {
			t.Errorf("dictionary %d: %d bytes, %v", NumberOf(value), len(got), err)
		}
	}
	if !slices.Equal(numbers, []byte{0, 2, 2, MaxDictionaries}) {
		t.Errorf("dictionaries %v", numbers)
	}
	for name, bad := range map[string]Dictionary{
		"no number": {0, []byte("x")}, "number too great": {MaxDictionaries + 1, []byte("x")}, "empty": {1, nil}, "too long": {1, make([]byte, MaxDictionary+1)},
	} {
		if _, err := NewDictionaries(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if none, err := NewDictionaries(); none != nil || err != nil {
		t.Errorf("none: %v, %v", none, err)
	}
}

// TestLearns has a dictionary hold what repeats, and nothing that one person wrote.
func TestLearns(t *testing.T) {
	c, l := newCodec(t), NewLearner()
	learn(t, c, l, "alpha.test", 0, 128)
	first := l.Round(nil)
	if !bytes.Contains(first, noise(2000 + len("alpha.test"))[100:1900]) || !bytes.Contains(first, []byte("accettato dal sistema di alpha.test")) {
		t.Errorf("what repeats is not in the dictionary of %d bytes", len(first))
	}
	wantNothingPrivate(t, first, 128)
	learn(t, c, l, "alpha.test", 128, 256)
	if again := l.Round(first); again != nil {
		t.Errorf("another dictionary of %d bytes, with nothing new", len(again))
	}
	learn(t, c, l, "beta.test", 0, 128) // the provider has another certificate
	second := l.Round(first)
	if !bytes.Contains(second, noise(2000 + len("beta.test"))[100:1900]) {
		t.Errorf("what is new is not in the dictionary of %d bytes", len(second))
	}
	wantNothingPrivate(t, second, 256)
}

func wantNothingPrivate(t *testing.T, dictionary []byte, messages int) {
	t.Helper()
	for n := range messages {
		text := private(n)
		for i := len("pratica riservata "); i+8 <= len(text)-len(" di una sola persona"); i++ {
			if bytes.Contains(dictionary, []byte(text[i:i+8])) {
				t.Fatalf("the dictionary holds %q of one person", text[i:i+8])
			}
		}
	}
}

func TestVotes(t *testing.T) {
	text := prose(4 << 10)
	for name, test := range map[string]struct {
		mailboxes, messages int // messages of each mailbox
		want                bool
	}{
		"one mailbox": {1, 100, false}, "four mailboxes": {Voters - 1, 100, false}, "five mailboxes": {Voters, 20, true}, "many": {50, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLearner()
			for range test.messages {
				for m := range test.mailboxes {
					l.Vote(fmt.Sprint("mailbox ", m), text)
				}
			}
			if got := l.Round(nil); (got != nil) != test.want {
				t.Errorf("dictionary of %d bytes", len(got))
			}
		})
	}
	l := NewLearner()
	for i, want := range []bool{true, false, true, false, false} {
		names := [][]string{{"a", "b"}, {"a", "b"}, {"c"}, {"d", "c"}, {"d"}}[i]
		if got := l.Fresh(names...); got != want {
			t.Errorf("%q: %t", names, got)
		}
	}
}

// TestLearnsWithinBounds has a learner forget what does not repeat, and keep what does.
func TestLearnsWithinBounds(t *testing.T) {
	c, l := newCodec(t), NewLearner()
	for n := range 400 {
		l.Vote(fmt.Sprint("mailbox ", n%100), noise(10_000+n))
		learn(t, c, l, "alpha.test", n, n+1)
		l.Fresh(fmt.Sprint(n), fmt.Sprint("more ", n))
		if len(l.pieces) > maxPieces || len(l.seen) > maxSeen {
			t.Fatalf("%d pieces, %d names", len(l.pieces), len(l.seen))
		}
	}
	for n := range 5 * 3 { // more than a dictionary takes repeats
		for m := range 60 {
			l.Vote(fmt.Sprint("mailbox ", m), noise(20_000+n))
		}
	}
	if l.qualified > maxQualified {
		t.Errorf("%d bytes qualify", l.qualified)
	}
	if d := l.Round(nil); len(d) == 0 || len(d) > MaxDictionary {
		t.Errorf("a dictionary of %d bytes", len(d))
	}
	sum := 0
	for _, p := range l.pieces {
		sum += len(p.content)
	}
	for range 12 {
		l.Round(nil)
	}
	if sum == 0 || len(l.pieces) != 0 || l.qualified != 0 {
		t.Errorf("after many rounds %d pieces of %d bytes are left", len(l.pieces), l.qualified)
	}
}

// FuzzValue has no value do more than be refused.
func FuzzValue(f *testing.F) {
	c := newCodec(f)
	d := learned(f, c)
	for _, chunk := range [][]byte{receipt("alpha.test", 1000), []byte("a"), prose(3000)} {
		f.Add(c.Encode(chunk, d))
		f.Add(c.Encode(chunk, nil))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if chunk, err := c.Decode(value, nil, d); err == nil && len(chunk) > MaxSize {
			t.Errorf("%d bytes", len(chunk))
		}
	})
}

// FuzzDictionary has every chunk come back that was compressed with a dictionary, whatever that holds.
func FuzzDictionary(f *testing.F) {
	c := newCodec(f)
	f.Add(receipt("alpha.test", 1), receipt("alpha.test", 2))
	f.Add([]byte("a"), []byte("aaaaaaaaaaaaaaaaaaaaa"))
	f.Fuzz(func(t *testing.T, content, chunk []byte) {
		if len(content) == 0 || len(content) > MaxDictionary || len(chunk) == 0 || len(chunk) > MostWithDictionary {
			t.Skip()
		}
		d, err := NewDictionaries(Dictionary{1, content})
		if err != nil {
			t.Fatal(err)
		}
		value := c.Encode(chunk, d)
		if got, err := c.Decode(value, nil, d); err != nil || !bytes.Equal(got, chunk) {
			t.Errorf("%d bytes of %d, %v", len(got), len(chunk), err)
		}
		var header zstd.Header
		if err := header.Decode(bytes.TrimPrefix(value, []byte{formBase64})); err != nil || header.DictionaryID != uint32(NumberOf(value)) {
			t.Errorf("dictionary %d, and NumberOf says %d: %v", header.DictionaryID, NumberOf(value), err)
		}
	})
}
