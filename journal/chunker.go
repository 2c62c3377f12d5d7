package journal

import (
	"fmt"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"
)

// Sizes of chunks, in bytes. They may change at any time: each chunk tells its own length.
const (
	chunkMin     = 16 << 10
	chunkAverage = 64 << 10
	chunkMax     = 256 << 10
	pieceMin     = 8 << 10 // cut at the border of a MIME part when the piece before or behind it has this size
	shareMin     = 4 << 10 // smaller chunks are not shared
)

// cutter finds where to cut a message into chunks: at the borders of MIME parts, and inside long parts by content (FastCDC). A message
// enclosed in another one is thus cut alike.
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

// next returns the length of the first chunk of data, which holds at least chunkMax bytes or the rest of the message. border is the
// distance to the next border of a MIME part to cut at, or 0.
func (c *cutter) next(data []byte, border int) int {
	if border > 0 {
		data = data[:border]
	}
	if len(data) <= chunkMin {
		return len(data)
	}
	return c.algorithm.Algorithm(&c.options, data, min(len(data), chunkMax))
}
