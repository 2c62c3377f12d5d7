package codec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Bounds of dictionaries.
const (
	// MaxDictionaries is the greatest number of a dictionary; the least is 1.
	MaxDictionaries = 32
	// MaxDictionary is the size of the longest dictionary, in bytes.
	MaxDictionary = 32 << 10
	// MostWithDictionary is how many unfolded bytes a chunk has at most that is compressed with a dictionary: of a longer one it is a small part, and the
	// search that is used with it finds less in the rest.
	MostWithDictionary = 32 << 10
)

// ErrDictionary says that the dictionary of a value is not among those given.
var ErrDictionary = errors.New("unknown dictionary")

// Dictionary is a dictionary by its number, from 1 to MaxDictionaries. Its content is pieces of messages in a row, at most MaxDictionary bytes: a chunk is
// compressed as if they stood before it.
type Dictionary struct {
	Number  byte
	Content []byte
}

// Dictionaries are those of one month. They do not change, and may be used concurrently. A nil Dictionaries has none.
type Dictionaries struct {
	list         []Dictionary // by number
	compressor   *zstd.Encoder
	decompressor *zstd.Decoder
}

// NewDictionaries returns dictionaries of different numbers. It keeps the slices. Of the greatest number Encode makes use.
func NewDictionaries(list ...Dictionary) (*Dictionaries, error) {
	d := &Dictionaries{list: slices.Clone(list)}
	slices.SortFunc(d.list, func(a, b Dictionary) int { return int(a.Number) - int(b.Number) })
	options := decompression()
	for _, one := range d.list {
		if one.Number == 0 || one.Number > MaxDictionaries || len(one.Content) == 0 || len(one.Content) > MaxDictionary {
			return nil, fmt.Errorf("dictionary %d of %d bytes: %w", one.Number, len(one.Content), ErrMalformed)
		}
		options = append(options, zstd.WithDecoderDictRaw(uint32(one.Number), one.Content))
	}
	if len(d.list) == 0 {
		return nil, nil
	}
	var err error
	if d.decompressor, err = zstd.NewReader(nil, options...); err != nil {
		return nil, fmt.Errorf("set up decompression: %w", err)
	}
	newest := d.Newest()
	// Its search takes half the time of the default one, and finds as much in a dictionary.
	d.compressor, err = zstd.NewWriter(nil, append(compression(zstd.SpeedFastest, dictionaryWindow),
		zstd.WithEncoderDictRaw(uint32(newest.Number), newest.Content))...)
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return d, nil
}

// dictionaryWindow takes in a dictionary and a chunk.
const dictionaryWindow = MaxDictionary + MostWithDictionary

// Newest returns the dictionary of the greatest number; without any, its number is 0.
func (d *Dictionaries) Newest() Dictionary {
	if d == nil {
		return Dictionary{}
	}
	return d.list[len(d.list)-1]
}

// Numbers returns the numbers of the dictionaries, ascending.
func (d *Dictionaries) Numbers() (numbers []byte) {
	if d == nil {
		return nil
	}
	for _, one := range d.list {
		numbers = append(numbers, one.Number)
	}
	return numbers
}

// Has says whether a dictionary of that number is among them; 0 stands for none, and always is.
func (d *Dictionaries) Has(number byte) bool {
	return number == 0 || d != nil && slices.ContainsFunc(d.list, func(one Dictionary) bool { return one.Number == number })
}

// With returns these dictionaries and one more, or another one of its number.
func (d *Dictionaries) With(one Dictionary) (*Dictionaries, error) {
	var list []Dictionary
	if d != nil {
		list = slices.DeleteFunc(slices.Clone(d.list), func(o Dictionary) bool { return o.Number == one.Number })
	}
	return NewDictionaries(append(list, one)...)
}

// NumberOf returns the number of the dictionary that a value was compressed with; 0 for none.
func NumberOf(value []byte) byte {
	if len(value) > 0 && value[0] == formBase64 {
		value = value[1:]
	}
	// The header of a frame: magic number (4 bytes); descriptor, whose lowest two bits tell that a number of one byte follows, and the bit of 0x20 that no
	// byte for the size of the window stands between.
	const magic, oneByte, noWindow = 4, 1, 0x20
	if len(value) < magic+3 || value[magic]&3 != oneByte {
		return 0
	}
	if value[magic]&noWindow != 0 {
		return value[magic+1]
	}
	return value[magic+2]
}
