package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// usual is the size of usual chunks in these tests, in bytes.
const usual = 256 << 10

func newCodec(t testing.TB) *Codec {
	t.Helper()
	c, err := New(usual)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// noise returns random bytes, the same for the same size.
func noise(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(b) //nolint:errcheck // never fails
	return b
}

// prose returns text of so many bytes, with few words.
func prose(size int) []byte {
	r := rand.New(rand.NewPCG(uint64(size), 1))
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, "<voce numero=%d>%s</voce>\n", r.IntN(1000), []string{"fattura", "contratto", "ricevuta", "avviso"}[r.IntN(4)])
	}
	return b.Bytes()[:size]
}

// lines returns base64 in lines of so many characters, the last one with a line end too.
func lines(content []byte, length int) []byte {
	var b bytes.Buffer
	for text := base64.StdEncoding.EncodeToString(content); text != ""; {
		n := min(length, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	return b.Bytes()
}

func join(pieces ...any) []byte {
	var b []byte
	for _, p := range pieces {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

// manyParts returns so many parts.
func manyParts(count int) []byte {
	var b []byte
	for i := range count {
		b = join(b, partHead, lines(prose(200+i), 76))
	}
	return b
}

const partHead = "--x\r\nContent-Type: application/xml\r\nContent-Transfer-Encoding: base64\r\n\r\n"

func TestForms(t *testing.T) {
	c := newCodec(t)
	encoded := lines(prose(3000), 76)
	for name, test := range map[string]struct {
		chunk []byte
		form  byte
	}{
		"one byte":                       {[]byte("a"), formPlain},
		"text":                           {[]byte(strings.Repeat("Gentile cliente, la fattura.\r\n", 100)), formPlain},
		"a part":                         {join(partHead, encoded, "\r\n--x--\r\n"), formBase64},
		"nothing but a part":             {encoded, formBase64},
		"lines of 64":                    {join(partHead, lines(prose(1000), 64)), formBase64},
		"lines of 60":                    {join(partHead, lines(prose(1001), 60)), formBase64},
		"one byte of padding":            {join(partHead, lines(prose(1001), 76), "--x--"), formBase64},
		"two bytes of padding":           {join(partHead, lines(prose(1002), 76), "--x--"), formBase64},
		"ends with a whole line":         {join(partHead, lines(prose(570), 76), "--x--"), formBase64},
		"padding in a whole line":        {join(partHead, lines(prose(569), 76), "--x--"), formBase64},
		"no line end at the end":         {join(partHead, bytes.TrimSuffix(encoded, []byte("\r\n"))), formBase64},
		"begins within a line":           {encoded[33:], formBase64},
		"ends within a line":             {encoded[:len(encoded)/2], formBase64},
		"ends between CR and LF":         {encoded[:77+78*9], formBase64},
		"two parts":                      {join(partHead, encoded, partHead, lines(prose(500), 72), "--x--"), formBase64},
		"padding, and more":              {join(partHead, lines(prose(1000), 76), lines(prose(500), 76), "--x--"), formBase64},
		"a line that is longer":          {join(partHead, encoded[:78*10], "AAAA", encoded[78*10:]), formBase64},
		"a line without CR":              {join(partHead, encoded[:78*10], "AAAA\n", encoded[78*10:]), formBase64},
		"something else within":          {join(partHead, encoded[:78*10+5], "!", encoded[78*10+6:]), formBase64},
		"a short signature":              {join(partHead, lines(noise(256), 76)), formBase64},
		"LF alone":                       {bytes.ReplaceAll(encoded, []byte("\r"), nil), formPlain},
		"lines of 75 characters":         {lines(prose(3000), 75), formPlain},
		"one line":                       {join(partHead, lines(prose(50), 76)), formPlain},
		"bits in the padding":            {join(partHead, "QUJDREVGR0hJSktMTU5PUFFS\r\nQUJDREVGR0hJSktMTU5PUFFS\r\nQUJ=\r\n"), formBase64},
		"padding in the middle":          {join(partHead, strings.Repeat("QUJDREVGR0hJSktMTU5PUFF=\r\n", 20)), formPlain},
		"a large picture":                {join(partHead, lines(noise(60<<10), 76)), formPlain},
		"a large text":                   {join(partHead, lines(prose(150<<10), 76)), formBase64},
		"a picture, and text":            {join(partHead, lines(noise(60<<10), 76), partHead, encoded), formBase64},
		"more parts than the table has":  {manyParts(2 * maxRuns), formBase64},
		"as long as a chunk can ever be": {lines(prose(MaxSize/78*57), 76), formBase64},
	} {
		t.Run(name, func(t *testing.T) {
			value := c.Encode(test.chunk, nil)
			if value[0] != test.form {
				t.Errorf("form %#x, want %#x", value[0], test.form)
			}
			got, err := c.Decode(value, []byte("before"), nil)
			if err != nil || !bytes.Equal(got, append([]byte("before"), test.chunk...)) {
				t.Fatalf("decoded %d bytes of %d, %v", len(got), len(test.chunk), err)
			}
			if plain := c.compressor.EncodeAll(test.chunk, nil); test.form == formBase64 && len(test.chunk) > 1000 && len(value) > len(plain) {
				t.Errorf("%d bytes; as they are %d", len(value), len(plain))
			}
		})
	}
}

// TestOlderValues reads what was stored before there were forms.
func TestOlderValues(t *testing.T) {
	c := newCodec(t)
	chunk := join(partHead, lines(prose(3000), 76))
	got, err := c.Decode(c.compressor.EncodeAll(chunk, nil), nil, nil)
	if err != nil || !bytes.Equal(got, chunk) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func table(numbers ...uint64) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func TestMalformed(t *testing.T) {
	c := newCodec(t)
	huge := bytes.Repeat([]byte{0}, MaxSize)
	for name, unfolded := range map[string][]byte{
		"nothing":             {},
		"number cut off":      {0x80},
		"too many runs":       table(maxRuns + 1),
		"run cut off":         table(1, 0, 76),
		"no line":             append(table(1, 0, 0, 3), 1, 2, 3),
		"odd line":            append(table(1, 0, 77, 3), 1, 2, 3),
		"line too long":       append(table(1, 0, longLine+4, 3), 1, 2, 3),
		"text beyond the end": append(table(1, 4, 76, 3), 1, 2, 3),
		"run beyond the end":  append(table(1, 0, 76, 4), 1, 2, 3),
		"two runs beyond it":  append(table(2, 0, 76, 2, 0, 76, 2), 1, 2, 3),
		"too large":           append(table(1, 0, 76, MaxSize/4*3), huge...),
		"too much text":       append(table(0), append(huge, 1)...),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.Decode(c.compressor.EncodeAll(unfolded, []byte{formBase64}), nil, nil)
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	for name, value := range map[string][]byte{
		"no value": {}, "unknown form": {0x7f, 1, 2}, "no frame": {formBase64}, "no table": {formBase64, 1, 2, 3},
		"too large": c.compressor.EncodeAll(make([]byte, 2*MaxSize), []byte{formBase64}),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.Decode(value, nil, nil); err == nil {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}

// FuzzRoundTrip has every chunk come back.
func FuzzRoundTrip(f *testing.F) {
	for _, length := range []int{16, 64, 76} {
		f.Add(join(partHead, lines(prose(500), length), "--x--"))
	}
	f.Add(lines(noise(10<<10), 76)[5:])
	c := newCodec(f)
	f.Fuzz(func(t *testing.T, chunk []byte) {
		if len(chunk) == 0 || len(chunk) > MaxSize {
			t.Skip()
		}
		got, err := c.Decode(c.Encode(chunk, nil), nil, nil)
		if err != nil || !bytes.Equal(got, chunk) {
			t.Errorf("%d bytes of %d, %v", len(got), len(chunk), err)
		}
	})
}

// FuzzFold has no unfolded bytes do more than be refused.
func FuzzFold(f *testing.F) {
	f.Add(append(table(1, 0, 76, 3), 1, 2, 3))
	f.Add(append(table(2, 1, 16, 24, 1, 64, 3), make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, unfolded []byte) {
		chunk, err := fold(nil, unfolded)
		if err == nil && len(chunk) > MaxSize {
			t.Errorf("%d bytes", len(chunk))
		}
	})
}
