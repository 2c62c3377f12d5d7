package journal

import (
	"fmt"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"
)

// Sizes of chunks, in bytes. They may change at any time: a chunk says itself how long it is.
const (
	chunkMin     = 16 << 10
	chunkAverage = 64 << 10
	chunkMax     = 256 << 10
	pieceMin     = 8 << 10 // the border of a MIME part is a cut when the piece before or behind it is of this size
	shareMin     = 4 << 10 // smaller chunks are not looked for again
)

// cutter finds where the bytes of a message are cut into chunks: at the borders of MIME parts, and inside long parts by content
// (FastCDC), so that a message enclosed in another one is cut alike.
type cutter struct {
	options   chunkers.ChunkerOpts
	algorithm fastcdc.FastCDC
}

func newCutter() (*cutter, error) {
	c := &cutter{options: chunkers.ChunkerOpts{MinSize: chunkMin, NormalSize: chunkAverage, MaxSize: chunkMax}}
	if err := c.algorithm.Setup(&c.options); err != nil {
		return nil, fmt.Errorf("set up chunking: %w", err)
	}
	return c, nil
}

// next returns the length of the first chunk of data, which goes on for at least chunkMax bytes or to the end of the message.
// border is how far away the next border of a MIME part is at which to cut, or 0.
func (c *cutter) next(data []byte, border int) int {
	if border > 0 {
		data = data[:border]
	}
	if len(data) <= chunkMin {
		return len(data)
	}
	return c.algorithm.Algorithm(&c.options, data, min(len(data), chunkMax))
}
