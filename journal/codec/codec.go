// Package codec is the stored form of a chunk: its bytes, compressed, and before that made easier to compress where they allow it.
//
// # Layout of a value
//
//	form       1 byte: 0x28, a value is a zstd frame of the bytes (0x28 is the first byte of the frame); 0x01, runs of base64 are stored decoded
//	frame      form 0x01: a zstd frame of the unfolded bytes
//
// The header of the frame may name a dictionary by its number, of one byte: see Dictionaries. Who keeps the values keeps their dictionaries too.
//
// Unfolded bytes have a table of runs, what these decode to, and the rest. Numbers are uvarints:
//
//	runs       number of runs
//	run        three numbers each: bytes of text between it and the run before; characters of a line, a multiple of 4; decoded bytes
//	decoded    the decoded bytes of all runs
//	text       all other bytes
//
// A run is base64 as RFC 2045 has it, in lines of one length that all end in CRLF, but for a last one that is shorter: it has no line end in the run. So the
// decoded bytes and the length of a line give back every byte, and Encode looks whether they do. Every frame has a checksum.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// MaxSize is the size of the largest chunk, in bytes. A value that claims to hold more is damaged.
const MaxSize = 4 << 20

// The forms of a value.
const (
	formPlain  = 0x28 // the first byte of a zstd frame
	formBase64 = 0x01
)

// ErrMalformed says that a value is none that Encode returned.
var ErrMalformed = errors.New("malformed chunk")

// Codec makes values of chunks, and chunks of values. Its methods may be called concurrently; two chunks at a time are compressed, and two decompressed.
type Codec struct {
	compressor   *zstd.Encoder
	quick        *zstd.Encoder // of short chunks
	decompressor *zstd.Decoder
	scratch      sync.Pool // *[]byte
}

// New returns a codec for chunks that are seldom larger than usual, in bytes: within that distance it looks for repetitions.
func New(usual int) (*Codec, error) {
	compressor, err := zstd.NewWriter(nil, compression(zstd.SpeedDefault, usual)...)
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	quick, err := zstd.NewWriter(nil, compression(zstd.SpeedFastest, mostQuick)...)
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	decompressor, err := zstd.NewReader(nil, decompression()...)
	if err != nil {
		return nil, fmt.Errorf("set up decompression: %w", err)
	}
	c := &Codec{compressor: compressor, quick: quick, decompressor: decompressor}
	c.scratch.New = func() any { return new([]byte) }
	return c, nil
}

// mostQuick is how many bytes are compressed at the fastest level: of 4 kB of text that takes a third less time, and a fortieth more space.
const mostQuick = 8 << 10

// compression returns the options of an encoder for chunks of which the longest repetitions are so many bytes apart.
func compression(level zstd.EncoderLevel, window int) []zstd.EOption {
	// Base64 has no matches but only 6 bits a byte: compressing literals all the same saves a quarter of an attachment.
	return []zstd.EOption{zstd.WithEncoderConcurrency(2), zstd.WithEncoderLevel(level), zstd.WithAllLitEntropyCompression(true),
		zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true)}
}

func decompression() []zstd.DOption {
	return []zstd.DOption{zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxSize + maxTable), zstd.WithDecoderLowmem(true)}
}

// Close frees what the codec holds. No other call may be under way or follow.
func (c *Codec) Close() error {
	c.decompressor.Close()
	return errors.Join(c.compressor.Close(), c.quick.Close())
}

// Encode returns the value of a chunk, in memory of exactly its length: it may stay there for a while. A chunk that is not too long is compressed with the
// newest of the dictionaries.
func (c *Codec) Encode(chunk []byte, with *Dictionaries) []byte {
	value := c.scratch.Get().(*[]byte)
	defer c.scratch.Put(value)
	*value = c.append((*value)[:0], chunk, with)
	return bytes.Clone(*value)
}

// append appends the value of a chunk.
func (c *Codec) append(value, chunk []byte, with *Dictionaries) []byte {
	unfolded, again := c.scratch.Get().(*[]byte), c.scratch.Get().(*[]byte)
	defer c.scratch.Put(unfolded)
	defer c.scratch.Put(again)
	if plain, ok := unfold(unfolded, chunk); ok {
		var err error
		if *again, err = fold((*again)[:0], plain); err == nil && bytes.Equal(*again, chunk) {
			return c.frame(append(value, formBase64), plain, with)
		}
	}
	return c.frame(value, chunk, with)
}

// Pack returns a value that begins with a mark and has a frame of plain, compressed with the newest of the dictionaries. Where there are none, plain is
// too long for them, or nothing is gained, it returns plain. Decode opens what is behind the mark.
func (c *Codec) Pack(mark byte, plain []byte, with *Dictionaries) []byte {
	if with == nil || len(plain) > MostWithDictionary {
		return plain
	}
	scratch := c.scratch.Get().(*[]byte)
	defer c.scratch.Put(scratch)
	*scratch = with.compressor.EncodeAll(plain, append((*scratch)[:0], mark))
	if len(*scratch) >= len(plain) {
		return plain
	}
	return bytes.Clone(*scratch)
}

// frame appends a frame.
func (c *Codec) frame(value, plain []byte, with *Dictionaries) []byte {
	switch {
	case with != nil && len(plain) <= MostWithDictionary:
		return with.compressor.EncodeAll(plain, value)
	case len(plain) <= mostQuick:
		return c.quick.EncodeAll(plain, value)
	}
	return c.compressor.EncodeAll(plain, value)
}

// Decode appends the bytes of a chunk to buf. The error is ErrMalformed, or one of decompression, where the value is damaged, and ErrDictionary where its
// dictionary is not among those given.
func (c *Codec) Decode(value, buf []byte, with *Dictionaries) ([]byte, error) {
	if len(value) > 0 && value[0] == formPlain {
		return c.decompress(value, buf, with)
	}
	scratch := c.scratch.Get().(*[]byte)
	defer c.scratch.Put(scratch)
	unfolded, err := c.Unfolded(value, (*scratch)[:0], with)
	if err != nil {
		return nil, err
	}
	*scratch = unfolded
	return fold(buf, unfolded)
}

// Unfolded appends to buf what was compressed to make a value: the chunk, or its unfolded bytes. Errors are those of Decode.
func (c *Codec) Unfolded(value, buf []byte, with *Dictionaries) ([]byte, error) {
	if len(value) == 0 || value[0] != formPlain && value[0] != formBase64 {
		return nil, ErrMalformed
	}
	if value[0] == formBase64 {
		value = value[1:]
	}
	return c.decompress(value, buf, with)
}

// decompress appends what a frame holds.
func (c *Codec) decompress(frame, buf []byte, with *Dictionaries) ([]byte, error) {
	decompressor := c.decompressor
	if number := NumberOf(frame); number != 0 {
		if !with.Has(number) {
			return nil, ErrDictionary
		}
		decompressor = with.decompressor
	}
	return decompressor.DecodeAll(frame, buf)
}
